/* Making keys. Every usage flag is set, true or false: the defaults of tokens differ. CKA_PRIVATE and CKA_MODIFIABLE of
 * public keys are left alone, since AWS CloudHSM takes only its own default there. */
#include "common/text.h"
#include "hsm/internal.h"

#define ID_BYTES       16
#define HMAC_VALUE_MIN 32  /* RFC 2104 section 3; SoftHSM2 refuses to use shorter ones */
#define HMAC_VALUE_MAX 800 /* what AWS CloudHSM takes */
#define SAME_LABEL_MAX 16
#define TEMPLATE_ROOM  16

static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

#define FLAG(type, value) ((CK_ATTRIBUTE){(type), (void *)&(value), sizeof(value)})

struct template
{
	CK_ATTRIBUTE attributes[TEMPLATE_ROOM];
	size_t n;
};

struct make_args {
	const char *label;
	const struct secret *value; /* import */
	uint8_t id[ID_BYTES];       /* the same in every try */
	bool tried;
	enum err_code (*make)(struct hsm_session *session, const struct make_args *args, struct span id, struct err *err);
};

static void add(struct template *template, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	template->attributes[template->n++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

static void add_flags(struct template *template, const CK_ATTRIBUTE *flags, size_t n)
{
	memcpy(template->attributes + template->n, flags, n * sizeof *flags);
	template->n += n;
}

static void add_names(struct template *template, const struct make_args *args, struct span id)
{
	add(template, CKA_TOKEN, &yes, sizeof yes);
	add(template, CKA_LABEL, args->label, strlen(args->label));
	add(template, CKA_ID, id.ptr, id.len);
}

/* Nobody gets the value, not even with a wrapping key. */
static void add_custody(struct template *template)
{
	const CK_ATTRIBUTE flags[] = {FLAG(CKA_PRIVATE, yes), FLAG(CKA_SENSITIVE, yes), FLAG(CKA_EXTRACTABLE, no)};
	add_flags(template, flags, 3);
}

static enum err_code make_ec(struct hsm_session *session, const struct make_args *args, struct span id, struct err *err)
{
	const CK_ATTRIBUTE public_flags[] = {FLAG(CKA_VERIFY, yes), FLAG(CKA_ENCRYPT, no), FLAG(CKA_WRAP, no)};
	const CK_ATTRIBUTE private_flags[] = {FLAG(CKA_SIGN, yes), FLAG(CKA_DECRYPT, no), FLAG(CKA_UNWRAP, no),
	                                      FLAG(CKA_DERIVE, no)};
	struct template public = {0}, private = {0};
	add_names(&public, args, id);
	add(&public, CKA_EC_PARAMS, hsm_p256_oid, sizeof hsm_p256_oid);
	add_flags(&public, public_flags, 3);
	add_names(&private, args, id);
	add_custody(&private);
	add_flags(&private, private_flags, 4);
	if (hsm_call_generate_pair(session, CKM_EC_KEY_PAIR_GEN, public.attributes, public.n, private.attributes,
	                           private.n) != CKR_OK)
		return hsm_session_fail(session, err);
	return ERR_OK;
}

static enum err_code make_aes(struct hsm_session *session, const struct make_args *args, struct span id,
                              struct err *err)
{
	static const CK_ULONG len = HSM_AES_BYTES;
	const CK_ATTRIBUTE flags[] = {FLAG(CKA_ENCRYPT, yes), FLAG(CKA_DECRYPT, yes), FLAG(CKA_SIGN, no),
	                              FLAG(CKA_VERIFY, no),   FLAG(CKA_WRAP, no),     FLAG(CKA_UNWRAP, no),
	                              FLAG(CKA_DERIVE, no)};
	struct template key = {0};
	add_names(&key, args, id);
	add_custody(&key);
	add(&key, CKA_VALUE_LEN, &len, sizeof len);
	add_flags(&key, flags, 7);
	CK_OBJECT_HANDLE object;
	if (hsm_call_generate(session, CKM_AES_KEY_GEN, key.attributes, key.n, &object) != CKR_OK)
		return hsm_session_fail(session, err);
	return ERR_OK;
}

static enum err_code make_hmac(struct hsm_session *session, const struct make_args *args, struct span id,
                               struct err *err)
{
	static const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	static const CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	const CK_ATTRIBUTE flags[] = {FLAG(CKA_SIGN, yes),   FLAG(CKA_VERIFY, no), FLAG(CKA_ENCRYPT, no),
	                              FLAG(CKA_DECRYPT, no), FLAG(CKA_WRAP, no),   FLAG(CKA_UNWRAP, no),
	                              FLAG(CKA_DERIVE, no)};
	struct template key = {0};
	struct span value = secret_span(args->value);
	add(&key, CKA_CLASS, &class, sizeof class);
	add(&key, CKA_KEY_TYPE, &type, sizeof type);
	add_names(&key, args, id);
	add_custody(&key);
	add(&key, CKA_VALUE, value.ptr, value.len);
	add_flags(&key, flags, 7);
	return hsm_call_create(session, key.attributes, key.n) == CKR_OK ? ERR_OK : hsm_session_fail(session, err);
}

static bool is_key(CK_OBJECT_CLASS class)
{
	return class == CKO_PRIVATE_KEY || class == CKO_PUBLIC_KEY || class == CKO_SECRET_KEY;
}

/* Is that object a key, and is it one that an earlier try of ours has made? */
static CK_RV look_at(struct hsm_session *session, CK_OBJECT_HANDLE object, const struct make_args *args, bool *ret_key,
                     bool *ret_ours)
{
	CK_OBJECT_CLASS class = CK_UNAVAILABLE_INFORMATION;
	struct hsm_attr id;
	CK_RV rv = hsm_attr_number(session, object, CKA_CLASS, CK_UNAVAILABLE_INFORMATION, &class);
	if (rv == CKR_OK)
		rv = hsm_attr_read(session, object, CKA_ID, &id);
	*ret_key = is_key(class);
	*ret_ours = rv == CKR_OK && args->tried && span_eq(span_of(id.value, id.len), span_of(args->id, ID_BYTES));
	return rv;
}

static enum err_code refuse_existing(struct hsm_session *session, const struct make_args *args, bool *ret_done,
                                     struct err *err)
{
	CK_ATTRIBUTE template = {CKA_LABEL, (void *)args->label, strlen(args->label)};
	CK_OBJECT_HANDLE objects[SAME_LABEL_MAX];
	size_t count = 0;
	if (hsm_call_find(session, &template, 1, objects, SAME_LABEL_MAX, &count) != CKR_OK)
		return hsm_session_fail(session, err);
	bool exists = count == SAME_LABEL_MAX;
	for (size_t i = 0; i < count && !exists; i++) {
		bool key = false, ours = false;
		if (look_at(session, objects[i], args, &key, &ours) != CKR_OK)
			return hsm_session_fail(session, err);
		exists = key && !ours;
		*ret_done |= key && ours;
	}
	return exists ? err_set(err, ERR_EXISTS, 0, "the token has a key \"%s\" already", args->label) : ERR_OK;
}

/* Making is not safe to repeat: an error may follow a key that was made. What an earlier try has made is known by its
 * id. */
static enum err_code make(struct hsm_session *session, CK_OBJECT_HANDLE unused, void *user, struct err *err)
{
	(void)unused;
	struct make_args *args = (struct make_args *)user;
	bool done = false;
	enum err_code code = hsm_login_check(session, err);
	if (code == ERR_OK)
		code = refuse_existing(session, args, &done, err);
	if (code != ERR_OK || done)
		return code;
	if (!args->tried && hsm_call_random(session, args->id, sizeof args->id) != CKR_OK)
		return hsm_session_fail(session, err);
	args->tried = true;
	return args->make(session, args, span_of(args->id, sizeof args->id), err);
}

static enum err_code run(struct hsm *hsm, struct make_args *args, struct err *err)
{
	struct span label = span_str(args->label);
	if (label.len == 0 || label.len > HSM_LABEL_MAX || !text_utf8(label))
		return err_set(err, ERR_INVALID, 0, "a key's label is 1 to %d bytes of UTF-8", HSM_LABEL_MAX);
	return hsm_run(hsm, NULL, make, args, err);
}

enum err_code hsm_generate_ec(struct hsm *hsm, const char *label, struct err *err)
{
	return run(hsm, &(struct make_args){.label = label, .make = make_ec}, err);
}

enum err_code hsm_generate_aes(struct hsm *hsm, const char *label, struct err *err)
{
	return run(hsm, &(struct make_args){.label = label, .make = make_aes}, err);
}

enum err_code hsm_import_hmac(struct hsm *hsm, const char *label, const struct secret *value, struct err *err)
{
	size_t len = secret_span(value).len;
	if (len < HMAC_VALUE_MIN || len > HMAC_VALUE_MAX)
		return err_set(err, ERR_INVALID, 0, "a secret of %zu bytes; tokens take %d to %d", len, HMAC_VALUE_MIN,
		               HMAC_VALUE_MAX);
	return run(hsm, &(struct make_args){.label = label, .value = value, .make = make_hmac}, err);
}
