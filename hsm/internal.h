/* What the files of hsm/ share. Nobody else includes this: it has PKCS#11 in it.
 *
 * Layers, lowest first: rv (what a CK_RV means), call (one wrapper per C_* function), attr and object (reading and
 * finding), pool and login (sessions), run (one operation with its one retry), then one file per public operation. */
#ifndef TWOKEY_HSM_INTERNAL_H
#define TWOKEY_HSM_INTERNAL_H

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdatomic.h>

#include "hsm/hsm.h"

#define HSM_LABEL_MAX  127 /* bytes of a CKA_LABEL */
#define HSM_ID_MAX     32  /* bytes of a CKA_ID: 64 hex digits */
#define HSM_DATA_MAX   4096
#define HSM_IV_BYTES   12
#define HSM_TAG_BYTES  16
#define HSM_MIN_RSA    2048
#define HSM_SIG_MAX    1024 /* RSA 8192 */
#define HSM_AES_BYTES  32
#define HSM_SHA256_LEN 32

/* A session belongs to one operation at a time. The first call that fails marks it, and it is closed when given back:
 * what state a failed call leaves behind differs from module to module. */
struct hsm_session {
	struct hsm *hsm;
	struct hsm_session *next; /* among the idle ones */
	CK_SESSION_HANDLE handle;
	CK_RV rv;           /* of the call that failed, else CKR_OK */
	const char *failed; /* its name, "C_Sign" */
};

struct hsm_pool {
	pthread_mutex_t lock;
	pthread_cond_t freed; /* a session became idle, or one less is open; monotonic clock */
	struct hsm_session *idle;
	unsigned open, limit; /* without the session that holds the login */
	unsigned timeout_ms;
};

struct hsm {
	CK_FUNCTION_LIST *module;
	CK_SLOT_ID slot;
	struct hsm_token_info info;
	char *token_uri;
	char *pin_source;
	enum hsm_gcm_iv gcm_iv;
	struct hsm_pool pool;

	/* Guards the session that holds the login and does nothing else: a token logs out with its last session. */
	pthread_mutex_t login_lock;
	struct hsm_session *login;
	bool pin_refused; /* for good: the PIN is never sent again */

	/* Counts the recoveries. Object handles found under an older number are found again before use. */
	atomic_uint generation;

	pthread_mutex_t keys_lock; /* guards the list, and each key's handle and generation */
	struct hsm_key *keys;
};

struct hsm_key {
	struct hsm *hsm;
	struct hsm_key *next;
	enum hsm_key_kind kind;
	CK_OBJECT_HANDLE handle;
	unsigned generation;

	CK_KEY_TYPE type;
	char label[HSM_LABEL_MAX + 1];
	uint8_t id[HSM_ID_MAX];
	size_t id_len;
	struct buf spki;
	char key_id[2 * HSM_ID_MAX + 1];
};

/* rv.c: what a CK_RV means. */
enum err_code hsm_rv_code(CK_RV rv);
const char *hsm_rv_name(CK_RV rv); /* "CKR_DEVICE_ERROR"; "unknown error" */
/* Worth one retry on a fresh session after making sure that we are logged in? */
bool hsm_rv_retry(CK_RV rv);
/* Has the token refused the PIN? */
bool hsm_rv_pin_refused(CK_RV rv);
enum err_code hsm_rv_fail(struct err *err, CK_RV rv, const char *function);
/* The error of the session's failed call. */
enum err_code hsm_session_fail(const struct hsm_session *session, struct err *err);

/* call.c: one wrapper per C_* function (or pair of Init and operation); a failure is noted in the session. */
CK_RV hsm_call_open_session(struct hsm_session *session);
void hsm_call_close_session(struct hsm_session *session);
CK_RV hsm_call_session_info(struct hsm_session *session, CK_SESSION_INFO *ret);
CK_RV hsm_call_token_info(struct hsm_session *session, CK_TOKEN_INFO *ret);
CK_RV hsm_call_login(struct hsm_session *session, struct span pin);
CK_RV hsm_call_random(struct hsm_session *session, uint8_t *out, size_t len);
/* At most max handles; *ret_count says how many. */
CK_RV hsm_call_find(struct hsm_session *session, CK_ATTRIBUTE *template, size_t n, CK_OBJECT_HANDLE *ret, size_t max,
                    size_t *ret_count);
CK_RV hsm_call_attribute(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attribute);
CK_RV hsm_call_create(struct hsm_session *session, CK_ATTRIBUTE *template, size_t n);
CK_RV hsm_call_generate(struct hsm_session *session, CK_MECHANISM_TYPE mechanism, CK_ATTRIBUTE *template, size_t n);
CK_RV hsm_call_generate_pair(struct hsm_session *session, CK_MECHANISM_TYPE mechanism, CK_ATTRIBUTE *public,
                             size_t n_public, CK_ATTRIBUTE *private, size_t n_private);
/* *len: the room in out, then the bytes written. */
CK_RV hsm_call_sign(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, struct span data,
                    uint8_t *out, CK_ULONG *len);
CK_RV hsm_call_encrypt(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, struct span data,
                       uint8_t *out, CK_ULONG *len);
CK_RV hsm_call_decrypt(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key, struct span data,
                       uint8_t *out, CK_ULONG *len);

/* attr.c: attributes, read one by one, since modules differ in how they answer when one of several is missing. */
struct hsm_attr {
	bool present; /* false: the object has none, or it is sensitive, or it is too long */
	size_t len;
	uint8_t value[1032];
};
CK_RV hsm_attr_read(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, struct hsm_attr *ret);
CK_RV hsm_attr_flag(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool when_absent,
                    bool *ret);
CK_RV hsm_attr_number(struct hsm_session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                      CK_ULONG when_absent, CK_ULONG *ret);
bool hsm_attr_is_p256(const struct hsm_attr *ec_params);
/* Bits of a big-endian number. */
unsigned hsm_attr_bits(const struct hsm_attr *number);
extern const uint8_t hsm_p256_oid[10]; /* CKA_EC_PARAMS */

/* pool.c */
void hsm_pool_init(struct hsm_pool *pool, unsigned limit, unsigned timeout_ms);
void hsm_pool_done(struct hsm_pool *pool);
enum err_code hsm_pool_take(struct hsm *hsm, struct hsm_session **ret, struct err *err);
void hsm_pool_give_back(struct hsm_session *session);
/* Closes the sessions that wait: after a recovery they may be stale. */
void hsm_pool_drop_idle(struct hsm *hsm);
enum err_code hsm_session_new(struct hsm *hsm, struct hsm_session **ret, struct err *err);
void hsm_session_free(struct hsm_session *session); /* closes; accepts NULL */

/* module.c */
enum err_code hsm_module_load(const char *path, CK_FUNCTION_LIST **ret, struct err *err);
void hsm_module_unload(CK_FUNCTION_LIST *module); /* accepts NULL */

/* token.c: finds the one slot whose token the URI names; fills slot, info and *ret_max_sessions (0: unlimited). */
enum err_code hsm_token_find(struct hsm *hsm, CK_ULONG *ret_max_sessions, struct err *err);

/* pin.c: reads a PIN from its source. "prompt" asks for it with `what` on the terminal. */
enum err_code hsm_pin_read(const char *source, const char *what, struct secret **ret, struct err *err);

/* login.c */
enum err_code hsm_login(struct hsm *hsm, struct err *err);
/* Fails with CKR_USER_NOT_LOGGED_IN, which is worth a retry, when the token has logged us out: private objects would
 * seem not to exist. */
enum err_code hsm_login_check(struct hsm_session *session, struct err *err);
/* Makes ready for a retry of what failed under that generation: fresh sessions, logged in, handles found again. One
 * thread does it, the others find it done. */
enum err_code hsm_recover(struct hsm *hsm, unsigned generation, struct err *err);

/* run.c: takes a session, runs the operation, gives the session back; once more when that can help. With a key the
 * operation gets its handle, found again when it is stale. The operation returns hsm_session_fail() when a call failed,
 * and starts from scratch when it is repeated. */
typedef enum err_code hsm_op(struct hsm_session *session, CK_OBJECT_HANDLE object, void *args, struct err *err);
must_check enum err_code hsm_run(struct hsm *hsm, struct hsm_key *key, hsm_op *op, void *args, struct err *err);

/* uri.c */
struct hsm_uri;
enum err_code hsm_uri_parse_token(const char *text, struct hsm_uri **ret, struct err *err);
enum err_code hsm_uri_parse_key(const char *text, struct hsm_uri **ret, struct err *err);
void hsm_uri_free(struct hsm_uri *uri); /* accepts NULL */
bool hsm_uri_matches(const struct hsm_uri *uri, CK_SLOT_ID slot, const CK_TOKEN_INFO *info);
/* The object and id attributes, borrowed; at most HSM_URI_ATTRIBUTES. */
#define HSM_URI_ATTRIBUTES 2
size_t hsm_uri_template(const struct hsm_uri *uri, CK_ATTRIBUTE *out);
/* The class that a "type" attribute asks for, or CK_UNAVAILABLE_INFORMATION. */
CK_OBJECT_CLASS hsm_uri_class(const struct hsm_uri *uri);

/* object.c: from a template to the one key it names, checked. `key` has kind and hsm; the rest is filled. */
enum err_code hsm_object_find(struct hsm_session *session, CK_ATTRIBUTE *template, size_t n, struct hsm_key *key,
                              struct err *err);

/* key.c: the handle for this session; finds the key again after a recovery. */
enum err_code hsm_key_handle(struct hsm_session *session, struct hsm_key *key, CK_OBJECT_HANDLE *ret, struct err *err);

void hsm_key_free_all(struct hsm *hsm);

/* spki.c: public keys in software. */
enum err_code hsm_spki_ec(const struct hsm_attr *point, struct buf *ret, struct err *err);
enum err_code hsm_spki_rsa(const struct hsm_attr *modulus, const struct hsm_attr *exponent, struct buf *ret,
                           struct err *err);
bool hsm_spki_verify(struct span spki, const uint8_t digest[32], struct span sig);
/* r || s as DER (RFC 3279), appended. */
bool hsm_spki_ecdsa_der(struct span raw, struct buf *ret);

/* wrap.c: one try. *ret_refused: the token had the key and everything, and said no to these bytes. They are longer than
 * IV and tag. */
enum err_code hsm_unwrap_once(struct hsm_key *key, struct span aad, struct span wrapped, struct secret **ret,
                              bool *ret_refused, struct err *err);

/* selftest.c */
enum err_code hsm_selftest_random(struct hsm *hsm, struct err *err);
enum err_code hsm_selftest_key(struct hsm_key *key, struct err *err);

#endif
