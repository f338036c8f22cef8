/* What keys are in the token? */
#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "hsm/internal.h"

#define KEYS_MAX 20000 /* more than AWS CloudHSM can hold */
#define TYPE_MAX 32

struct entry {
	struct hsm_key_info info;
	char type[TYPE_MAX];
};

struct list_args {
	struct entry *entries;
	size_t n, cap;
};

static const struct {
	CK_ATTRIBUTE_TYPE type;
	size_t offset;
} flags[] = {
    {CKA_SENSITIVE, offsetof(struct hsm_key_info, sensitive)},
    {CKA_EXTRACTABLE, offsetof(struct hsm_key_info, extractable)},
    {CKA_ALWAYS_SENSITIVE, offsetof(struct hsm_key_info, always_sensitive)},
    {CKA_NEVER_EXTRACTABLE, offsetof(struct hsm_key_info, never_extractable)},
    {CKA_LOCAL, offsetof(struct hsm_key_info, local)},
};

/* "RSA 2048", "EC P-256", from whichever attributes the token shows. */
static CK_RV describe(struct hsm_session *session, CK_OBJECT_HANDLE object, char *out)
{
	struct hsm_attr attr;
	CK_KEY_TYPE type;
	CK_ULONG len;
	CK_RV rv = hsm_attr_number(session, object, CKA_KEY_TYPE, CK_UNAVAILABLE_INFORMATION, &type);
	if (rv != CKR_OK)
		return rv;
	if (type == CKK_EC) {
		rv = hsm_attr_read(session, object, CKA_EC_PARAMS, &attr);
		snprintf(out, TYPE_MAX, "%s", hsm_attr_is_p256(&attr) ? "EC P-256" : "EC");
	} else if (type == CKK_RSA) {
		rv = hsm_attr_read(session, object, CKA_MODULUS, &attr);
		snprintf(out, TYPE_MAX, "RSA %u", hsm_attr_bits(&attr));
	} else if (type == CKK_AES || type == CKK_GENERIC_SECRET) {
		rv = hsm_attr_number(session, object, CKA_VALUE_LEN, 0, &len);
		snprintf(out, TYPE_MAX, type == CKK_AES ? "AES %lu" : "secret %lu bits", len * 8);
	} else {
		snprintf(out, TYPE_MAX, "type 0x%lx", type);
	}
	return rv;
}

/* Cut to what fits: this is for people to look at. */
static CK_RV read_names(struct hsm_session *session, CK_OBJECT_HANDLE object, struct hsm_key_info *info)
{
	struct hsm_attr attr;
	CK_RV rv = hsm_attr_read(session, object, CKA_LABEL, &attr);
	if (rv != CKR_OK)
		return rv;
	size_t len = attr.len < sizeof info->label ? attr.len : sizeof info->label - 1;
	memcpy(info->label, attr.value, len);
	info->label[len] = 0;
	rv = hsm_attr_read(session, object, CKA_ID, &attr);
	text_hex(span_of(attr.value, attr.len < HSM_ID_MAX ? attr.len : HSM_ID_MAX), info->id);
	return rv;
}

static CK_RV read_entry(struct hsm_session *session, CK_OBJECT_HANDLE object, bool is_secret, struct entry *entry)
{
	struct hsm_key_info *info = &entry->info;
	info->is_secret = is_secret;
	CK_RV rv = read_names(session, object, info);
	if (rv == CKR_OK)
		rv = describe(session, object, entry->type);
	for (size_t i = 0; rv == CKR_OK && is_secret && i < sizeof flags / sizeof flags[0]; i++) {
		bool worst = flags[i].type == CKA_EXTRACTABLE;
		rv = hsm_attr_flag(session, object, flags[i].type, worst, (bool *)((char *)info + flags[i].offset));
	}
	return rv;
}

static struct entry *new_entry(struct list_args *args)
{
	if (args->n == args->cap) {
		size_t cap = args->cap ? 2 * args->cap : 16;
		struct entry *entries = xcalloc(cap, sizeof *entries);
		if (args->n > 0)
			memcpy(entries, args->entries, args->n * sizeof *entries);
		free(args->entries);
		args->entries = entries;
		args->cap = cap;
	}
	struct entry *entry = &args->entries[args->n++];
	memset(entry, 0, sizeof *entry);
	return entry;
}

static CK_RV list_class(struct hsm_session *session, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *objects,
                        struct list_args *args)
{
	CK_ATTRIBUTE template = {CKA_CLASS, &class, sizeof class};
	size_t count = 0;
	CK_RV rv = hsm_call_find(session, &template, 1, objects, KEYS_MAX, &count);
	for (size_t i = 0; rv == CKR_OK && i < count; i++)
		rv = read_entry(session, objects[i], class != CKO_PUBLIC_KEY, new_entry(args));
	return rv;
}

static enum err_code list(struct hsm_session *session, CK_OBJECT_HANDLE unused, void *user, struct err *err)
{
	(void)unused;
	struct list_args *args = (struct list_args *)user;
	args->n = 0;
	enum err_code code = hsm_login_check(session, err);
	if (code != ERR_OK)
		return code;
	autofree CK_OBJECT_HANDLE *objects = xcalloc(KEYS_MAX, sizeof *objects);
	if (list_class(session, CKO_PRIVATE_KEY, objects, args) != CKR_OK ||
	    list_class(session, CKO_SECRET_KEY, objects, args) != CKR_OK ||
	    list_class(session, CKO_PUBLIC_KEY, objects, args) != CKR_OK)
		return hsm_session_fail(session, err);
	return ERR_OK;
}

/* Everything is read first: the callback may use the token itself. */
enum err_code hsm_key_list(struct hsm *hsm, void (*each)(const struct hsm_key_info *info, void *user), void *user,
                           struct err *err)
{
	struct list_args args = {0};
	enum err_code code = hsm_run(hsm, NULL, list, &args, err);
	for (size_t i = 0; code == ERR_OK && i < args.n; i++) {
		args.entries[i].info.type = args.entries[i].type;
		each(&args.entries[i].info, user);
	}
	free(args.entries);
	return code;
}
