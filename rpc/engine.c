/* The ENGINE interface is deprecated in OpenSSL 3 and all that libgrpc 1.51 knows. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "rpc/engine.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/ec.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/x509.h>

#define ENGINE_NAME   "twokey"
#define NAME_PREFIX   "engine:" ENGINE_NAME ":"
#define DIGEST_BYTES  32
#define SIGNATURE_MAX 128

/* A signer that keys may be loaded of, by the last part of its name. */
struct entry {
	struct entry *next;
	char id[24];
	struct rpc_signer *signer;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;
static unsigned long last_id;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static ENGINE *engine;        /* for good: the core keeps references to it */
static EC_KEY_METHOD *method; /* NULL: there is no engine */
static int signer_index;      /* of a key's extra data */

/* ECDSA takes the leftmost bits of a longer digest (FIPS 186-4, 6.4); a shorter one is SHA-1, which nobody should ask
 * for. */
static int sign(int type, const unsigned char *digest, int len, unsigned char *out, unsigned int *ret_len,
                const BIGNUM *kinv, const BIGNUM *r, EC_KEY *key)
{
	(void)type, (void)kinv, (void)r;
	struct rpc_signer *signer = EC_KEY_get_ex_data(key, signer_index);
	autobuf struct buf sig = {.max = SIGNATURE_MAX};
	if (!signer || len < DIGEST_BYTES || !rpc_signer_sign(signer, digest, &sig) || sig.len > (size_t)ECDSA_size(key)) {
		ERR_raise_data(ERR_LIB_ENGINE, ENGINE_R_FAILED_LOADING_PRIVATE_KEY, "the token does not sign");
		return 0;
	}
	memcpy(out, sig.data, sig.len);
	*ret_len = (unsigned int)sig.len;
	return 1;
}

static void forget_signer(void *parent, void *signer, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
	(void)parent, (void)data, (void)index, (void)argl, (void)argp;
	rpc_signer_unref(signer);
}

static struct rpc_signer *signer_by_id(const char *id)
{
	struct rpc_signer *signer = NULL;
	pthread_mutex_lock(&lock);
	for (const struct entry *entry = entries; entry && !signer; entry = entry->next)
		if (strcmp(entry->id, id) == 0)
			signer = rpc_signer_ref(entry->signer);
	pthread_mutex_unlock(&lock);
	return signer;
}

/* The public key, with signatures by somebody else. Takes the reference. */
static EVP_PKEY *key_of(struct rpc_signer *signer)
{
	const struct span spki = rpc_signer_spki(signer);
	const unsigned char *at = spki.ptr;
	EC_KEY *key = d2i_EC_PUBKEY(NULL, &at, (long)spki.len);
	EVP_PKEY *made = EVP_PKEY_new();
	bool ok = key && made && EC_KEY_set_method(key, method) == 1 && EC_KEY_set_ex_data(key, signer_index, signer) == 1;
	if (!ok)
		rpc_signer_unref(signer);
	ok = ok && EVP_PKEY_set1_EC_KEY(made, key) == 1;
	EC_KEY_free(key);
	if (ok)
		return made;
	EVP_PKEY_free(made);
	return NULL;
}

static EVP_PKEY *load(ENGINE *unused, const char *id, UI_METHOD *ui, void *data)
{
	(void)unused, (void)ui, (void)data;
	struct rpc_signer *signer = signer_by_id(id);
	return signer ? key_of(signer) : NULL;
}

/* Without methods of its own: the core makes every engine that it uses OpenSSL's default for all that it offers. */
static bool engine_register(void)
{
	engine = ENGINE_new();
	return engine && ENGINE_set_id(engine, ENGINE_NAME) && ENGINE_set_name(engine, "twokey's token") &&
	       ENGINE_set_load_privkey_function(engine, load) && ENGINE_add(engine);
}

static void make(void)
{
	signer_index = EC_KEY_get_ex_new_index(0, NULL, NULL, NULL, forget_signer);
	EC_KEY_METHOD *made = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
	if (made && signer_index >= 0 && engine_register()) {
		EC_KEY_METHOD_set_sign(made, sign, NULL, NULL);
		method = made;
	} else {
		EC_KEY_METHOD_free(made);
	}
}

enum err_code rpc_engine_add(struct rpc_signer *signer, char **ret_name, struct err *err)
{
	pthread_once(&once, make);
	if (!method)
		return err_set(err, ERR_UNAVAILABLE, 0, "TLS key: this OpenSSL lets no engine be added");
	struct entry *entry = xcalloc(1, sizeof(*entry));
	entry->signer = rpc_signer_ref(signer);
	pthread_mutex_lock(&lock);
	snprintf(entry->id, sizeof(entry->id), "%lu", ++last_id);
	entry->next = entries;
	entries = entry;
	*ret_name = xasprintf(NAME_PREFIX "%s", entry->id);
	pthread_mutex_unlock(&lock);
	return ERR_OK;
}

void rpc_engine_remove(char *name)
{
	if (!name)
		return;
	pthread_mutex_lock(&lock);
	struct entry **at = &entries;
	while (*at && strcmp((*at)->id, name + strlen(NAME_PREFIX)) != 0)
		at = &(*at)->next;
	struct entry *entry = *at;
	if (entry)
		*at = entry->next;
	pthread_mutex_unlock(&lock);
	if (entry)
		rpc_signer_unref(entry->signer);
	free(entry);
	free(name);
}
