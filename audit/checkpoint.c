#include "audit/checkpoint.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "common/text.h"

enum { TYPE_ECDSA = 2, KEY_ID_BYTES = 4 };

/* An em dash and a blank begin each signature. */
static const char dash[] = "\xe2\x80\x94 ";
enum { DASH_BYTES = sizeof(dash) - 1 };

bool audit_origin_valid(const char *origin)
{
	size_t len = strlen(origin);
	if (len == 0 || len > AUDIT_ORIGIN_MAX || !text_utf8(span_of(origin, len)))
		return false;
	/* U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F and U+3000 are blanks too. */
	static const char *const blanks[] = {"\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\xa8",
	                                     "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
	for (size_t i = 0; i < sizeof(blanks) / sizeof(*blanks); i++)
		if (strstr(origin, blanks[i]))
			return false;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)origin[i];
		if (c <= ' ' || c == 0x7f || c == '+')
			return false;
		if (c == 0xe2 && (uint8_t)origin[i + 1] == 0x80 && (uint8_t)origin[i + 2] <= 0x8a)
			return false;
	}
	return true;
}

/* ---- text ---- */

void audit_checkpoint_text(const char *origin, uint64_t size, const struct audit_hash *root, struct buf *out)
{
	buf_printf(out, "%s\n%" PRIu64 "\n", origin, size);
	text_base64(span_of(root->bytes, sizeof(root->bytes)), out);
	buf_append_byte(out, '\n');
}

/* The line at the start of *rest, without its end; false when there is none. */
static bool take_line(struct span *rest, struct span *ret)
{
	const uint8_t *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
	if (!end)
		return false;
	*ret = span_of(rest->ptr, (size_t)(end - rest->ptr));
	*rest = span_of(end + 1, rest->len - ret->len - 1);
	return true;
}

static bool parse_size(struct span line, uint64_t *ret)
{
	uint64_t n = 0;
	if (line.len == 0 || line.len > 19 || (line.ptr[0] == '0' && line.len > 1))
		return false;
	for (size_t i = 0; i < line.len; i++) {
		if (line.ptr[i] < '0' || line.ptr[i] > '9')
			return false;
		n = n * 10 + line.ptr[i] - '0';
	}
	*ret = n;
	return true;
}

/* RFC 4648 section 4 with padding, and nothing else: a text has one reading. */
static bool parse_base64(struct span text, struct buf *out)
{
	autobuf struct buf again = {0};
	if (!text_unbase64(text, out))
		return false;
	text_base64(buf_span(out), &again);
	return span_eq(buf_span(&again), text);
}

static bool parse_root(struct span line, struct audit_hash *ret)
{
	autobuf struct buf bytes = {.max = 64};
	if (!parse_base64(line, &bytes) || bytes.len != sizeof(ret->bytes))
		return false;
	memcpy(ret->bytes, bytes.data, sizeof(ret->bytes));
	return true;
}

static bool parse_text(struct span text, struct audit_checkpoint *ret)
{
	struct span origin, size, root, more;
	if (!take_line(&text, &origin) || !take_line(&text, &size) || !take_line(&text, &root) ||
	    origin.len > AUDIT_ORIGIN_MAX)
		return false;
	while (take_line(&text, &more))
		if (more.len == 0)
			return false;
	memcpy(ret->origin, origin.ptr, origin.len);
	ret->origin[origin.len] = '\0';
	return text.len == 0 && strlen(ret->origin) == origin.len && audit_origin_valid(ret->origin) &&
	       parse_size(size, &ret->size) && parse_root(root, &ret->root);
}

struct signature {
	struct span name, line;
	uint8_t key_id[KEY_ID_BYTES];
	struct buf bytes;
};

/* "— NAME BASE64(key id || signature)". The caller frees bytes. */
static bool parse_signature(struct span line, struct signature *ret)
{
	autobuf struct buf all = {.max = 8192};
	if (line.len < DASH_BYTES || memcmp(line.ptr, dash, DASH_BYTES) != 0)
		return false;
	struct span rest = span_of(line.ptr + DASH_BYTES, line.len - DASH_BYTES);
	const uint8_t *blank = memchr(rest.ptr, ' ', rest.len);
	if (!blank || blank == rest.ptr)
		return false;
	ret->line = line;
	ret->name = span_of(rest.ptr, (size_t)(blank - rest.ptr));
	if (!parse_base64(span_of(blank + 1, rest.len - ret->name.len - 1), &all) || all.len <= KEY_ID_BYTES)
		return false;
	memcpy(ret->key_id, all.data, KEY_ID_BYTES);
	buf_append(&ret->bytes, span_of(all.data + KEY_ID_BYTES, all.len - KEY_ID_BYTES));
	return true;
}

static bool parse_signatures(struct span lines)
{
	struct span line;
	size_t n = 0;
	while (take_line(&lines, &line)) {
		struct signature signature = {0};
		bool good = parse_signature(line, &signature);
		buf_done(&signature.bytes);
		if (!good || ++n > AUDIT_SIGNATURES_MAX)
			return false;
	}
	return lines.len == 0 && n > 0;
}

enum err_code audit_checkpoint_parse(struct span note, struct audit_checkpoint *ret, struct err *err)
{
	struct audit_checkpoint checkpoint = {0};
	if (note.len > AUDIT_NOTE_MAX || !text_utf8(note))
		return err_set(err, ERR_INVALID, 0, "no checkpoint: too long, or not UTF-8");
	const uint8_t *blank = note.len ? memmem(note.ptr, note.len, "\n\n", 2) : NULL;
	if (!blank)
		return err_set(err, ERR_INVALID, 0, "no checkpoint: no blank line before signatures");
	size_t text_len = (size_t)(blank - note.ptr) + 1;
	checkpoint.text = span_of(note.ptr, text_len);
	checkpoint.signatures = span_of(note.ptr + text_len + 1, note.len - text_len - 1);
	if (!parse_text(checkpoint.text, &checkpoint))
		return err_set(err, ERR_INVALID, 0, "no checkpoint: its first lines must be origin, size and root");
	if (!parse_signatures(checkpoint.signatures))
		return err_set(err, ERR_INVALID, 0, "no checkpoint: a line behind the blank one is no signature");
	*ret = checkpoint;
	return ERR_OK;
}

void audit_checkpoint_signers(const struct audit_checkpoint *checkpoint,
                              bool (*each)(struct span name, const uint8_t key_id[4], struct span line, void *user),
                              void *user)
{
	struct span rest = checkpoint->signatures, line;
	bool go_on = true;
	while (go_on && take_line(&rest, &line)) {
		struct signature signature = {0};
		if (parse_signature(line, &signature))
			go_on = each(signature.name, signature.key_id, signature.line, user);
		buf_done(&signature.bytes);
	}
}

/* ---- keys ---- */

struct audit_verifier {
	char *name, *vkey;
	uint8_t key_id[KEY_ID_BYTES];
	EVP_PKEY *key;
};

static void key_id_of(struct span spki, uint8_t out[KEY_ID_BYTES])
{
	uint8_t digest[32];
	text_sha256(spki, digest);
	memcpy(out, digest, KEY_ID_BYTES);
}

static EVP_PKEY *parse_key(struct span spki)
{
	char group[32] = "";
	const uint8_t *end = spki.ptr;
	EVP_PKEY *key = spki.len && spki.len < 4096 ? d2i_PUBKEY(NULL, &end, (long)spki.len) : NULL;
	bool good = key && end == spki.ptr + spki.len && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	            EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 && strcmp(group, "prime256v1") == 0;
	ERR_clear_error();
	if (good)
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

enum err_code audit_verifier_new(const char *name, struct span spki, struct audit_verifier **ret, struct err *err)
{
	EVP_PKEY *key = parse_key(spki);
	if (!key || !audit_origin_valid(name)) {
		EVP_PKEY_free(key);
		return err_set(err, ERR_INVALID, 0, "not a key that checkpoints are signed with: EC P-256, with a name");
	}
	struct audit_verifier *verifier = xcalloc(1, sizeof(*verifier));
	verifier->name = xstrdup(name);
	verifier->key = key;
	key_id_of(spki, verifier->key_id);
	autobuf struct buf typed = {0}, vkey = {0};
	char hex[2 * KEY_ID_BYTES + 1];
	text_hex(span_of(verifier->key_id, KEY_ID_BYTES), hex);
	buf_append_byte(&typed, TYPE_ECDSA);
	buf_append(&typed, spki);
	buf_printf(&vkey, "%s+%s+", name, hex);
	text_base64(buf_span(&typed), &vkey);
	verifier->vkey = xstrdup(buf_cstr(&vkey));
	*ret = verifier;
	return ERR_OK;
}

enum err_code audit_verifier_from_pem(const char *name, struct span pem, struct audit_verifier **ret, struct err *err)
{
	BIO *bio = pem.len < 65536 ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
	EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
	uint8_t *der = NULL;
	int len = key ? i2d_PUBKEY(key, &der) : 0;
	enum err_code code = len > 0 ? audit_verifier_new(name, span_of(der, (size_t)len), ret, err)
	                             : err_set(err, ERR_INVALID, 0, "no public key in PEM");
	OPENSSL_free(der);
	EVP_PKEY_free(key);
	BIO_free(bio);
	ERR_clear_error();
	return code;
}

enum err_code audit_verifier_parse(const char *vkey, struct audit_verifier **ret, struct err *err)
{
	autofree char *copy = xstrdup(vkey);
	autobuf struct buf typed = {.max = 4096};
	struct audit_verifier *verifier = NULL;
	copy[strcspn(copy, " \t\r\n")] = '\0';
	char *id = strchr(copy, '+'), *key = id ? strchr(id + 1, '+') : NULL;
	if (!key || strlen(copy) + 8 < strlen(vkey))
		return err_set(err, ERR_INVALID, 0, "not a vkey: NAME+KEYID+KEY");
	*id++ = '\0';
	*key++ = '\0';
	if (!text_unbase64(span_str(key), &typed) || typed.len < 2 || typed.data[0] != TYPE_ECDSA)
		return err_set(err, ERR_INVALID, 0, "the vkey of %s is not of type 2, ECDSA", copy);
	enum err_code code = audit_verifier_new(copy, span_of(typed.data + 1, typed.len - 1), &verifier, err);
	if (code != ERR_OK)
		return code;
	uint8_t claimed[KEY_ID_BYTES];
	if (!text_unhex(id, claimed, sizeof(claimed)) || memcmp(claimed, verifier->key_id, sizeof(claimed)) != 0) {
		audit_verifier_free(verifier);
		return err_set(err, ERR_INVALID, 0, "the vkey of %s has a key id that is not its key's", copy);
	}
	*ret = verifier;
	return ERR_OK;
}

void audit_verifier_free(struct audit_verifier *verifier)
{
	if (!verifier)
		return;
	EVP_PKEY_free(verifier->key);
	free(verifier->name);
	free(verifier->vkey);
	free(verifier);
}

const char *audit_verifier_name(const struct audit_verifier *verifier)
{
	return verifier->name;
}

const char *audit_verifier_vkey(const struct audit_verifier *verifier)
{
	return verifier->vkey;
}

/* ---- signatures ---- */

static bool verify(EVP_PKEY *key, struct span text, struct span signature)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good = context && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
	            EVP_DigestVerify(context, signature.ptr, signature.len, text.ptr, text.len) == 1;
	EVP_MD_CTX_free(context);
	ERR_clear_error();
	return good;
}

enum audit_signed audit_checkpoint_signed(const struct audit_checkpoint *checkpoint,
                                          const struct audit_verifier *verifier)
{
	struct span rest = checkpoint->signatures, line;
	enum audit_signed found = AUDIT_SIGNED_NOT;
	while (found != AUDIT_SIGNED_BAD && take_line(&rest, &line)) {
		struct signature signature = {0};
		bool ours = parse_signature(line, &signature) && span_eq(signature.name, span_str(verifier->name)) &&
		            memcmp(signature.key_id, verifier->key_id, KEY_ID_BYTES) == 0;
		if (ours)
			found = verify(verifier->key, checkpoint->text, buf_span(&signature.bytes)) ? AUDIT_SIGNED_GOOD
			                                                                            : AUDIT_SIGNED_BAD;
		buf_done(&signature.bytes);
	}
	return found;
}

void audit_note_signature(const char *name, struct span spki, struct span signature, struct buf *out)
{
	autobuf struct buf bytes = {0};
	uint8_t key_id[KEY_ID_BYTES];
	key_id_of(spki, key_id);
	buf_append(&bytes, span_of(key_id, sizeof(key_id)));
	buf_append(&bytes, signature);
	buf_printf(out, "%s%s ", dash, name);
	text_base64(buf_span(&bytes), out);
	buf_append_byte(out, '\n');
}
