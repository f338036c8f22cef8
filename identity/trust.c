#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "identity/identity.h"
#include "identity/trust_files.h"

#define VERDICTS        1024
#define VERDICT_US      1000000
#define CHAIN_MAX       16
#define FINGERPRINT_LEN 64

struct verdict {
	char fingerprint[FINGERPRINT_LEN + 1];
	unsigned generation;
	int64_t made_us;
	enum reason reason;
	struct err detail;
};

struct identity_trust {
	struct trust_files *files;
	const struct clock *clock;
	pthread_mutex_t lock; /* of everything below */
	X509_STORE *store;
	struct identity_trust_state state;
	unsigned generation;
	struct verdict *verdicts; /* by the first digits of the fingerprint */
};

static void put(struct identity_trust *trust, X509_STORE *store, const struct identity_trust_state *state)
{
	pthread_mutex_lock(&trust->lock);
	X509_STORE *old = trust->store;
	trust->store = store;
	trust->state = *state;
	trust->generation++;
	pthread_mutex_unlock(&trust->lock);
	X509_STORE_free(old);
}

enum err_code identity_trust_reload(struct identity_trust *trust, struct err *err)
{
	X509_STORE *store = NULL;
	struct identity_trust_state state;
	enum err_code code = trust_files_read(trust->files, &store, &state, err);
	ERR_clear_error();
	if (code == ERR_OK)
		put(trust, store, &state);
	return code;
}

enum err_code identity_trust_new(const struct identity_trust_options *options, struct identity_trust **ret,
                                 struct err *err)
{
	struct identity_trust *trust = xcalloc(1, sizeof *trust);
	pthread_mutex_init(&trust->lock, NULL);
	trust->files = trust_files_new(options->authorities, options->lists, options->n_lists);
	trust->clock = options->clock;
	trust->verdicts = xcalloc(VERDICTS, sizeof *trust->verdicts);
	enum err_code code = identity_trust_reload(trust, err);
	if (code == ERR_OK)
		*ret = trust;
	else
		identity_trust_free(trust);
	return code;
}

void identity_trust_free(struct identity_trust *trust)
{
	if (!trust)
		return;
	X509_STORE_free(trust->store);
	trust_files_free(trust->files);
	free(trust->verdicts);
	pthread_mutex_destroy(&trust->lock);
	free(trust);
}

bool identity_trust_changed(struct identity_trust *trust)
{
	return trust_files_changed(trust->files);
}

void identity_trust_state(struct identity_trust *trust, struct identity_trust_state *ret)
{
	pthread_mutex_lock(&trust->lock);
	*ret = trust->state;
	pthread_mutex_unlock(&trust->lock);
}

unsigned identity_trust_generation(struct identity_trust *trust)
{
	pthread_mutex_lock(&trust->lock);
	unsigned generation = trust->generation;
	pthread_mutex_unlock(&trust->lock);
	return generation;
}

/* ---- one certificate ---- */

static const struct {
	int error;
	enum reason reason;
} meanings[] = {
    {X509_V_ERR_CERT_REVOKED, REASON_CERTIFICATE_REVOKED},
    {X509_V_ERR_CERT_HAS_EXPIRED, REASON_CERTIFICATE_EXPIRED},
    {X509_V_ERR_CERT_NOT_YET_VALID, REASON_CERTIFICATE_EXPIRED},
    {X509_V_ERR_UNABLE_TO_GET_CRL, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_CRL_NOT_YET_VALID, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_CRL_HAS_EXPIRED, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_CRL_SIGNATURE_FAILURE, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_KEYUSAGE_NO_CRL_SIGN, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_DIFFERENT_CRL_SCOPE, REASON_REVOCATION_UNKNOWN},
    {X509_V_ERR_UNHANDLED_CRITICAL_CRL_EXTENSION, REASON_REVOCATION_UNKNOWN},
};

static enum reason reason_of(int error)
{
	for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
		if (meanings[i].error == error)
			return meanings[i].reason;
	return REASON_CERTIFICATE_UNTRUSTED;
}

static X509 *next_certificate(BIO *bio)
{
	return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

static STACK_OF(X509) * read_chain(const char *pem)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new_mem_buf(pem, -1);
	for (X509 *one; chain && sk_X509_num(chain) < CHAIN_MAX && (one = next_certificate(bio));)
		if (sk_X509_push(chain, one) <= 0)
			X509_free(one);
	BIO_free(bio);
	return chain;
}

static enum reason verify(X509_STORE_CTX *context, int64_t now_ms, struct err *detail)
{
	X509_STORE_CTX_set_time(context, 0, (time_t)(now_ms / 1000));
	X509_STORE_CTX_set_purpose(context, X509_PURPOSE_SSL_CLIENT);
	if (X509_verify_cert(context) == 1)
		return REASON_NONE;
	const int error = X509_STORE_CTX_get_error(context);
	err_set(detail, ERR_UNAUTHENTICATED, error, "client certificate: %s", X509_verify_cert_error_string(error));
	return reason_of(error);
}

static enum reason check(X509_STORE *store, const struct identity_certificate *certificate, int64_t now_ms,
                         struct err *detail)
{
	BIO *bio = BIO_new_mem_buf(certificate->pem, -1);
	X509 *leaf = next_certificate(bio);
	STACK_OF(X509) *chain = read_chain(certificate->chain);
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	enum reason reason = REASON_CERTIFICATE_UNTRUSTED;
	if (leaf && chain && context && X509_STORE_CTX_init(context, store, leaf, chain) == 1)
		reason = verify(context, now_ms, detail);
	else
		err_set(detail, ERR_UNAUTHENTICATED, 0, "client certificate: cannot be read");
	X509_STORE_CTX_free(context);
	sk_X509_pop_free(chain, X509_free);
	X509_free(leaf);
	BIO_free(bio);
	ERR_clear_error();
	return reason;
}

static struct verdict *place_of(const struct identity_trust *trust, const char *fingerprint)
{
	uint8_t bytes[2] = {0};
	(void)text_unhex((char[]){fingerprint[0], fingerprint[1], fingerprint[2], fingerprint[3], '\0'}, bytes,
	                 sizeof bytes);
	return &trust->verdicts[((unsigned)bytes[0] << 8 | bytes[1]) % VERDICTS];
}

static bool still_holds(const struct identity_trust *trust, const struct verdict *verdict, const char *fingerprint)
{
	return verdict->generation == trust->generation && clock_monotonic_us() - verdict->made_us < VERDICT_US &&
	       strcmp(verdict->fingerprint, fingerprint) == 0;
}

enum reason identity_trust_check(struct identity_trust *trust, const struct identity_certificate *certificate,
                                 struct err *detail)
{
	struct verdict made = {.made_us = clock_monotonic_us()};
	struct verdict *place = place_of(trust, certificate->fingerprint);
	pthread_mutex_lock(&trust->lock);
	const bool known = still_holds(trust, place, certificate->fingerprint);
	if (known)
		made = *place;
	X509_STORE *store = trust->store;
	made.generation = trust->generation;
	X509_STORE_up_ref(store);
	pthread_mutex_unlock(&trust->lock);
	if (!known) {
		memcpy(made.fingerprint, certificate->fingerprint, FINGERPRINT_LEN);
		made.reason = check(store, certificate, clock_now_ms(trust->clock), &made.detail);
		pthread_mutex_lock(&trust->lock);
		*place = made;
		pthread_mutex_unlock(&trust->lock);
	}
	X509_STORE_free(store);
	if (made.reason != REASON_NONE)
		*detail = made.detail;
	return made.reason;
}
