/* One running deployment: its token, keys, record, rules and buckets. Opened once, read-only afterwards, then
 * thread-safe. */
#ifndef TWOKEY_SERVER_DEPLOYMENT_H
#define TWOKEY_SERVER_DEPLOYMENT_H

#include <pthread.h>

#include "audit/audit.h"
#include "hsm/hsm.h"
#include "identity/identity.h"
#include "policy/policy.h"
#include "rpc/rpc.h"
#include "s3client/s3client.h"
#include "server/config.h"
#include "server/keys.h"
#include "server/proof_cache.h"
#include "server/restricting.h"
#include "server/rules.h"
#include "server/vendors.h"
#include "transaction/transaction.h"

#define BUCKET_STORES_MAX 64 /* changes of credentials in one run */

/* A guarded bucket: where its objects are and which KEKs wrap their data keys. */
struct bucket {
	const struct config_bucket *config;
	_Atomic(struct store *) store;       /* another one when the credentials change; whoever has it may go on with it */
	struct key_line *kek, *secret;       /* secret: S3 with a secret in the token, else NULL */
	_Atomic(unsigned) secret_generation; /* of the store */
	struct store *old_stores[BUCKET_STORES_MAX];
	size_t n_old_stores;
};

struct deployment {
	const struct config *config;
	const struct clock *clock; /* NULL: the system's */
	struct hsm *hsm;
	struct keys *keys;
	struct rpc_token_key tls_key; /* when tls.key is in the token */
	struct audit *audit;
	struct restricting *restrictions; /* opened with the ledger */
	struct audit_tree *tree;          /* "" */
	struct witness *witness;          /* ""; NULL: none is configured */
	struct identity_trust *trust;     /* who vouches for client certificates; NULL: nobody can show one */
	pthread_mutex_t reloading;        /* of rules, vendor keys and trust: one at a time */
	/* Gatekeeper only. */
	struct vendors *vendors;
	struct rules *rules;
	struct policy_countries *countries; /* NULL: no database is configured */
	struct identity_oidc *id_tokens;    /* NULL: none are looked at */
	struct limits *limits;
	struct abuse *abuse; /* NULL: failures are not counted */
	struct proof_cache *proofs;
	struct bucket *buckets;
	size_t n_buckets;
};

/* Opens everything but the ledger and the network, and refuses what must not serve: a vendor key that is our own, keys
 * with wrong attributes, a rule file with a mistake. Borrows the config. */
must_check enum err_code deployment_open(const struct config *config, struct deployment **ret, struct err *err);
/* Opens the ledger, which one process at a time may have. */
must_check enum err_code deployment_open_ledger(struct deployment *deployment, struct err *err);
void deployment_close(struct deployment *deployment); /* accepts NULL */

/* The bucket of that name, or NULL. */
const struct bucket *deployment_bucket(const struct deployment *deployment, const char *name);

/* Follows the record where keys have changed: opens stores with the credentials that are current. Called at the start,
 * after a change, and once a second. */
must_check enum err_code deployment_follow_keys(struct deployment *deployment, struct err *err);

/* Can it serve right now? ERR_OK, or what is wrong with which part ("token: ..."). */
must_check enum err_code deployment_check(struct deployment *deployment, struct err *err);

#endif
