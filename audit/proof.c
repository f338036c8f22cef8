#include "audit/proof.h"

#include <inttypes.h>
#include <stdlib.h>

#include "audit/merkle.h"
#include "audit/record.h"
#include "common/text.h"

static const char magic[] = "c2sp.org/tlog-proof@v1\n";
enum { TEXT_MAX = 128 << 10 };

void audit_proof_text(uint64_t index, struct span record, const struct audit_proof *proof, struct span note,
                      struct buf *out)
{
	buf_printf(out, "%sextra ", magic);
	text_base64(record, out);
	buf_printf(out, "\nindex %" PRIu64 "\n", index);
	for (size_t i = 0; i < proof->n; i++) {
		text_base64(span_of(proof->hashes[i].bytes, AUDIT_HASH_BYTES), out);
		buf_append_byte(out, '\n');
	}
	buf_append_byte(out, '\n');
	buf_append(out, note);
}

static bool take_line(struct span *rest, struct span *ret)
{
	const uint8_t *end = rest->len ? memchr(rest->ptr, '\n', rest->len) : NULL;
	if (!end)
		return false;
	*ret = span_of(rest->ptr, (size_t)(end - rest->ptr));
	*rest = span_of(end + 1, rest->len - ret->len - 1);
	return true;
}

/* What follows a word and a blank. */
static bool take_word(struct span *rest, const char *word, struct span *ret)
{
	size_t len = strlen(word);
	if (!take_line(rest, ret) || ret->len < len || memcmp(ret->ptr, word, len) != 0)
		return false;
	*ret = span_of(ret->ptr + len, ret->len - len);
	return true;
}

static bool parse_number(struct span text, uint64_t *ret)
{
	uint64_t n = 0;
	if (text.len == 0 || text.len > 19 || (text.ptr[0] == '0' && text.len > 1))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
		n = n * 10 + text.ptr[i] - '0';
	}
	*ret = n;
	return true;
}

static bool parse_hashes(struct span *rest, struct audit_proof *proof)
{
	struct span line;
	while (take_line(rest, &line)) {
		autobuf struct buf bytes = {.max = 64};
		if (line.len == 0)
			return true;
		if (proof->n == AUDIT_PROOF_MAX || !text_unbase64(line, &bytes) || bytes.len != AUDIT_HASH_BYTES)
			return false;
		memcpy(proof->hashes[proof->n++].bytes, bytes.data, AUDIT_HASH_BYTES);
	}
	return false;
}

/* The note is what is left of *rest. */
static bool parse(struct span *rest, struct audit_proven *proven, struct audit_proof *proof)
{
	struct span part;
	if (rest->len > TEXT_MAX || !take_word(rest, "c2sp.org/tlog-proof@v1", &part) || part.len ||
	    !take_word(rest, "extra ", &part) || !text_unbase64(part, &proven->record))
		return false;
	return take_word(rest, "index ", &part) && parse_number(part, &proven->index) && parse_hashes(rest, proof);
}

static enum err_code check_keys(const struct audit_checkpoint *checkpoint, struct audit_verifier *const *keys,
                                size_t n_keys, struct audit_proven *proven, struct err *err)
{
	bool by_log = false;
	for (size_t i = 0; i < n_keys; i++) {
		enum audit_signed answer = audit_checkpoint_signed(checkpoint, keys[i]);
		bool own = strcmp(audit_verifier_name(keys[i]), checkpoint->origin) == 0;
		if (answer == AUDIT_SIGNED_BAD)
			return err_set(err, ERR_CORRUPT, 0, "its checkpoint carries a wrong signature of %s",
			               audit_verifier_name(keys[i]));
		by_log |= own && answer == AUDIT_SIGNED_GOOD;
		proven->witnessed |= !own && answer == AUDIT_SIGNED_GOOD;
	}
	return by_log
	           ? ERR_OK
	           : err_set(err, ERR_CORRUPT, 0, "its checkpoint is not signed by a known key of %s", checkpoint->origin);
}

static enum err_code check(struct span text, struct audit_verifier *const *keys, size_t n_keys,
                           struct audit_proven *proven, struct err *err)
{
	struct audit_proof proof = {.n = 0};
	struct audit_checkpoint checkpoint;
	struct audit_hash leaf;
	uint64_t claimed;
	if (!parse(&text, proven, &proof))
		return err_set(err, ERR_INVALID, 0, "no tlog-proof with a record");
	enum err_code code = audit_checkpoint_parse(text, &checkpoint, err);
	if (code == ERR_OK)
		code = check_keys(&checkpoint, keys, n_keys, proven, err);
	if (code != ERR_OK)
		return code;
	struct audit_hasher *hasher = audit_hasher_new();
	audit_merkle_leaf(hasher, buf_span(&proven->record), &leaf);
	bool holds = audit_merkle_check_inclusion(hasher, proven->index, checkpoint.size, &leaf, &proof, &checkpoint.root);
	audit_hasher_free(hasher);
	if (!holds || !audit_record_index(buf_span(&proven->record), &claimed) || claimed != proven->index)
		return err_set(err, ERR_CORRUPT, 0, "the record is not the one at index %" PRIu64 " of that log",
		               proven->index);
	proven->size = checkpoint.size;
	memcpy(proven->origin, checkpoint.origin, sizeof(proven->origin));
	return ERR_OK;
}

enum err_code audit_proof_check(struct span text, struct audit_verifier *const *keys, size_t n_keys,
                                struct audit_proven *ret, struct err *err)
{
	struct audit_proven proven = {0};
	enum err_code code = check(text, keys, n_keys, &proven, err);
	if (code == ERR_OK)
		*ret = proven;
	else
		buf_done(&proven.record);
	return code;
}
