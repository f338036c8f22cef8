/* What the files of hsm/ share. Nobody else includes this: it has PKCS#11 in it.
 *
 * Layers, lowest first: rv (what a CK_RV means and what helps), call (one wrapper per C_* function), attr and object
 * (reading and finding), pool and login (sessions), flight (who is in the token, and since when), run (one operation
 * with its retries), then one file per public operation; keeper (the thread that brings the token back) above them. */
#ifndef TWOKEY_HSM_INTERNAL_H
#define TWOKEY_HSM_INTERNAL_H

#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
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
	bool answer;        /* the failure is what the operation wanted to know: not to be tried again */
};

struct hsm_pool {
	pthread_mutex_t lock;
	pthread_cond_t freed; /* a session became idle, or one less is open; monotonic clock */
	struct hsm_session *idle;
	unsigned open, limit; /* without the session that holds the login */
};

/* One operation, from its first try to its last: on the stack of hsm_run. */
struct hsm_flight {
	struct hsm_flight *next, *previous;
	int64_t started_us, deadline_us;
	const struct hsm_guard *guard; /* of the calling thread; NULL: none */
	bool overdue;                  /* counted as stuck */
	bool answering, answered;      /* the guard is running; has run */
};

struct hsm_flights {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* answered, or to stop; monotonic clock */
	pthread_cond_t drained; /* nobody is left; apart, since the watch would be woken by every single operation */
	struct hsm_flight *first;
	unsigned n, stuck;
	_Atomic int64_t landed_us; /* when the last operation ended well */
	bool stop;
	pthread_t watch;
	bool watching;
	/* Too many are stuck, or nothing has landed since the first of them is: nobody else is let in. */
	atomic_bool stalled;
};

/* The breaker, and the thread that closes it again. Nobody but the keeper gets past an open one. */
struct hsm_keeper {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* monotonic clock */
	pthread_t thread;
	bool running, stop, ended;
	atomic_bool open;
	struct err why;           /* while open */
	atomic_uint failures;     /* of class C in a row */
	int64_t failing_from_us;  /* the first of them */
	unsigned asked, answered; /* hsm_check: looks wanted, looks done */
	struct err found;         /* by the last look; ERR_OK when all was well */
};

struct hsm {
	CK_FUNCTION_LIST *loaded; /* what p11-kit manages */
	CK_FUNCTION_LIST *module; /* what is called; the same, outside of tests */
	CK_SLOT_ID slot;
	struct hsm_token_info info;
	char *token_uri;
	char *pin_source;
	enum hsm_gcm_iv gcm_iv;
	unsigned timeout_ms;
	struct hsm_pool pool;
	struct hsm_flights flights;
	struct hsm_keeper keeper;

	/* The session that holds the login and does nothing else: a token logs out with its last session. It belongs to
	 * whoever has set logging_in; the lock is not held during calls. */
	struct hsm_session *login;
	pthread_mutex_t login_lock;
	pthread_cond_t login_free; /* monotonic clock */
	bool logging_in;
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
	atomic_bool gone; /* looked for after a recovery, and not there */

	CK_KEY_TYPE type;
	char label[HSM_LABEL_MAX + 1];
	uint8_t id[HSM_ID_MAX];
	size_t id_len;
	struct buf spki;
	char key_id[2 * HSM_ID_MAX + 1];
};

/* rv.c: what a CK_RV means. docs/TOKEN.md has the classes for people. */
enum hsm_class {
	HSM_NEVER,   /* E: the same call would fail again */
	HSM_PIN,     /* E: the PIN was refused; sending it again may lock the token */
	HSM_FRESH,   /* A: this session is spoilt; another one will do, at once */
	HSM_LOGIN,   /* B: log in and find the keys again, one thread for all, then once more */
	HSM_BACKOFF, /* C: trouble that may pass; again after a pause, until the deadline */
	HSM_LOST,    /* D: the token is gone; the module has to be initialised anew */
};
enum err_code hsm_rv_code(CK_RV rv);
enum hsm_class hsm_rv_class(CK_RV rv);
const char *hsm_rv_name(CK_RV rv); /* "CKR_DEVICE_ERROR"; "unknown error" */
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
CK_RV hsm_call_destroy(struct hsm_session *session, CK_OBJECT_HANDLE object);
CK_RV hsm_call_generate(struct hsm_session *session, CK_MECHANISM_TYPE mechanism, CK_ATTRIBUTE *template, size_t n,
                        CK_OBJECT_HANDLE *ret);
CK_RV hsm_call_wrap_key(struct hsm_session *session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                        CK_OBJECT_HANDLE key, uint8_t *out, CK_ULONG *len);
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
void hsm_pool_init(struct hsm_pool *pool, unsigned limit);
void hsm_pool_done(struct hsm_pool *pool);
/* Waits for a session until then (monotonic clock). */
enum err_code hsm_pool_take(struct hsm *hsm, int64_t deadline_us, struct hsm_session **ret, struct err *err);
void hsm_pool_give_back(struct hsm_session *session);
/* Closes the sessions that wait: after a recovery they may be stale. */
void hsm_pool_drop_idle(struct hsm *hsm);
enum err_code hsm_session_new(struct hsm *hsm, struct hsm_session **ret, struct err *err);
void hsm_session_free(struct hsm_session *session); /* closes; accepts NULL */

/* module.c */
enum err_code hsm_module_load(const char *path, CK_FUNCTION_LIST **ret, struct err *err);
void hsm_module_unload(CK_FUNCTION_LIST *module); /* accepts NULL */
/* Finalises and initialises; nobody may be in the module. */
enum err_code hsm_module_restart(CK_FUNCTION_LIST *module, struct err *err);

/* token.c: finds the one slot whose token the URI names; fills slot, info and *ret_max_sessions (0: unlimited). */
enum err_code hsm_token_find(struct hsm *hsm, CK_ULONG *ret_max_sessions, struct err *err);

/* pin.c: reads a PIN from its source. "prompt" asks for it with `what` on the terminal. */
enum err_code hsm_pin_read(const char *source, const char *what, struct secret **ret, struct err *err);

/* login.c */
enum err_code hsm_login(struct hsm *hsm, struct err *err);
/* The same when it may be needed, and without anybody to type a PIN. By one thread at a time. */
enum err_code hsm_login_again(struct hsm *hsm, struct err *err);
/* Fails with CKR_USER_NOT_LOGGED_IN, which is worth a retry, when the token has logged us out: private objects would
 * seem not to exist. */
enum err_code hsm_login_check(struct hsm_session *session, struct err *err);
/* Makes ready for a retry of what failed under that generation: fresh sessions, logged in, handles found again. One
 * thread does it, the others find it done. */
enum err_code hsm_recover(struct hsm *hsm, unsigned generation, int64_t deadline_us, struct err *err);

/* flight.c: registers an operation, and says whether its caller still waits for the result. */
void hsm_flights_init(struct hsm_flights *flights);
void hsm_flights_done(struct hsm_flights *flights);
void hsm_watch_start(struct hsm *hsm);
void hsm_watch_stop(struct hsm *hsm);
void hsm_flight_begin(struct hsm *hsm, struct hsm_flight *flight);
bool hsm_flight_end(struct hsm *hsm, struct hsm_flight *flight);
/* Until nobody is in the token. False: somebody is still there. */
bool hsm_flights_drained(struct hsm *hsm, int64_t deadline_us);
enum err_code hsm_flights_fail(struct hsm *hsm, struct err *err);

/* keeper.c */
void hsm_keeper_init(struct hsm_keeper *keeper);
void hsm_keeper_done(struct hsm_keeper *keeper);
void hsm_keeper_start(struct hsm *hsm);
/* False: its thread is stuck in the token. */
bool hsm_keeper_stop(struct hsm *hsm);
/* ERR_UNAVAILABLE and why, when the token is not to be used now. */
enum err_code hsm_keeper_admit(struct hsm *hsm, struct err *err);
/* The token is lost: nobody uses it until the keeper has brought it back. */
void hsm_keeper_open(struct hsm *hsm, const struct err *why);
/* How an operation went: trouble of class C that does not end opens the breaker. */
void hsm_keeper_success(struct hsm *hsm);
void hsm_keeper_trouble(struct hsm *hsm, const struct err *why);
/* Sleeps, but not into an open breaker. */
void hsm_keeper_pause(struct hsm *hsm, int64_t until_us);

/* run.c: takes a session, runs the operation, gives the session back; again when the class of the error says that it
 * helps and the deadline allows. With a key the operation gets its handle, found again when it is stale. The operation
 * returns hsm_session_fail() when a call failed, and starts from scratch when it is repeated. */
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

/* wrap.c: one try. *ret_refused: what C_Decrypt itself said of these bytes, or CKR_OK. They are longer than IV and
 * tag. */
enum err_code hsm_unwrap_once(struct hsm_key *key, struct span aad, struct span wrapped, struct secret **ret,
                              CK_RV *ret_refused, struct err *err);

/* selftest.c */
enum err_code hsm_selftest_random(struct hsm *hsm, struct err *err);
enum err_code hsm_selftest_key(struct hsm_key *key, struct err *err);

/* clock.c: the monotonic clock, for deadlines. */
struct timespec hsm_timespec(int64_t us);
void hsm_cond_init(pthread_cond_t *cond);
int64_t hsm_deadline(const struct hsm *hsm);

#endif
