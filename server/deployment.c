#include "server/deployment.h"

#include <stdlib.h>

#include "server/abuse.h"
#include "server/bucket.h"
#include "server/checkpoints.h"
#include "server/limits.h"
#include "server/vouch.h"
#include "server/witness.h"

#define SNAPSHOT_TYPE "application/vnd.twokey.state.v1"

static enum err_code sign_for_tls(void *key, const uint8_t digest[32], struct buf *sig, struct err *err)
{
	return hsm_sign((struct hsm_key *)key, digest, sig, err);
}

static enum err_code find_tls_key(struct deployment *deployment, struct err *err)
{
	struct hsm_key *key = NULL;
	enum err_code code = hsm_key_find(deployment->hsm, HSM_KEY_SIGN, deployment->config->tls.key, &key, err);
	if (code == ERR_OK)
		deployment->tls_key = (struct rpc_token_key){.spki = hsm_key_spki(key), .sign = sign_for_tls, .user = key};
	return code;
}

static enum err_code open_token(struct deployment *deployment, struct err *err)
{
	const struct config *config = deployment->config;
	const struct hsm_options options = config_hsm_options(config);
	enum err_code code = hsm_open(&options, &deployment->hsm, err);
	if (code == ERR_OK)
		code = keys_open(config, deployment->hsm, &deployment->keys, err);
	if (code == ERR_OK && config_tls_in_token(config))
		code = find_tls_key(deployment, err);
	if (code == ERR_NOT_FOUND)
		err_prefix(err, "token (run `twokey init --config %s` to make what is missing)", config->path);
	else if (code != ERR_OK)
		err_prefix(err, "token");
	return code;
}

static enum err_code open_buckets(struct deployment *deployment, struct err *err)
{
	const struct config *config = deployment->config;
	deployment->buckets = xcalloc(config->buckets.n, sizeof *deployment->buckets);
	for (size_t i = 0; i < config->buckets.n; i++) {
		enum err_code code =
		    bucket_open(config_bucket(config, i), deployment->hsm, deployment->keys, &deployment->buckets[i], err);
		deployment->n_buckets = i + 1;
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

static enum err_code open_trust(struct deployment *deployment, struct err *err)
{
	const struct config *config = deployment->config;
	const struct identity_trust_options options = {.authorities = config->tls.client_ca,
	                                               .lists = (const char *const *)config->tls.revocation_lists.items,
	                                               .n_lists = config->tls.revocation_lists.n,
	                                               .clock = deployment->clock};
	return config->tls.client_ca ? identity_trust_new(&options, &deployment->trust, err) : ERR_OK;
}

static enum err_code sign_snapshot(void *user, const uint8_t sha256[32], struct buf *out, struct err *err)
{
	const struct deployment *deployment = (const struct deployment *)user;
	return vouch_sign(keys_audit(deployment->keys), SNAPSHOT_TYPE, sha256, out, err);
}

static bool verify_snapshot(void *user, const uint8_t sha256[32], struct span signature)
{
	struct deployment *deployment = (struct deployment *)user;
	struct err err;
	return vouch_verify(deployment->keys, SNAPSHOT_TYPE, sha256, signature, &err) == ERR_OK;
}

static enum err_code fetch_keys(void *user, struct buf *out, struct err *err)
{
	const struct config *config = (const struct config *)user;
	const struct s3_document document = {
	    .url = config->id_tokens.keys_url, .ca_file = config->id_tokens.ca_file, .proxy = config->id_tokens.proxy};
	enum err_code code = s3_document_get(&document, out, err);
	if (code != ERR_OK)
		log_event(LOG_WARN, "the identity provider's keys cannot be fetched", "error", err->text, NULL);
	return code;
}

static enum err_code open_id_tokens(struct deployment *deployment, struct err *err)
{
	const struct config *config = deployment->config;
	const struct identity_oidc_options options = {
	    .issuer = config->id_tokens.issuer,
	    .audience = config->id_tokens.audience,
	    .claim = config->id_tokens.claim,
	    .keys_file = config->id_tokens.keys,
	    .fetch = fetch_keys,
	    .user = (void *)(uintptr_t)config,
	    .thumbprints = (const char *const *)config->id_tokens.thumbprints.items,
	    .n_thumbprints = config->id_tokens.thumbprints.n,
	    .bind_nonce = config->id_tokens.bind_nonce,
	    .max_age_s = (int64_t)config->id_tokens.max_age,
	    .clock = deployment->clock,
	};
	if (config->id_tokens.issuer)
		return identity_oidc_new(&options, &deployment->id_tokens, err);
	if (rules_ask_id_tokens(deployment->rules))
		log_event(LOG_WARN, "rules ask for ID tokens, but there is no `id_tokens`: nobody has one", "rules",
		          config->rules, NULL);
	return ERR_OK;
}

enum err_code deployment_open_ledger(struct deployment *deployment, struct err *err)
{
	const struct audit_options options = {
	    .directory = deployment->config->ledger.directory,
	    .segment_bytes = deployment->config->ledger.segment_size,
	    .postgresql = config_postgresql(deployment->config),
	    .clock = deployment->clock,
	    .voucher = {sign_snapshot, verify_snapshot, deployment},
	};
	enum err_code code = audit_open(&options, &deployment->audit, err);
	const struct restricting_options restricting = {.audit = deployment->audit,
	                                                .keys = deployment->keys,
	                                                .directory = options.directory,
	                                                .name = deployment->config->name};
	if (code == ERR_OK)
		code = restricting_open(&restricting, &deployment->restrictions, err);
	if (code == ERR_OK)
		code = keys_check(deployment->keys, err);
	if (code == ERR_OK)
		code = deployment_follow_keys(deployment, err);
	if (code == ERR_OK)
		code = checkpoints_open(deployment, err);
	if (code == ERR_OK)
		code = witness_open(deployment, &deployment->witness, err);
	if (code != ERR_OK)
		err_prefix(err, "ledger %s", options.directory);
	return code;
}

enum err_code deployment_open(const struct config *config, struct deployment **ret, struct err *err)
{
	struct deployment *deployment = xcalloc(1, sizeof *deployment);
	deployment->config = config;
	pthread_mutex_init(&deployment->reloading, NULL);
	deployment->limits = limits_new();
	deployment->abuse = abuse_new(config);
	if (config->countries_database)
		deployment->countries = policy_countries_new(config->countries_database);
	enum err_code code = open_token(deployment, err);
	if (code == ERR_OK)
		code = open_trust(deployment, err);
	if (code == ERR_OK && config->role == CONFIG_GATEKEEPER) {
		deployment->proofs = proof_cache_new(config->limits.proofs, clock_now_ms(deployment->clock));
		code = rules_open(config->rules, deployment->clock, &deployment->rules, err);
		if (code == ERR_OK && rules_ask_countries(deployment->rules) && !config->countries_database)
			log_event(LOG_WARN, "rules ask for countries, but there is no countries_database: no country is known",
			          "rules", config->rules, NULL);
		if (code == ERR_OK)
			code = open_id_tokens(deployment, err);
		if (code == ERR_OK)
			code = vendors_open(config, deployment->keys, &deployment->vendors, err);
		if (code == ERR_OK)
			code = open_buckets(deployment, err);
	}
	if (code != ERR_OK) {
		deployment_close(deployment);
		return code;
	}
	*ret = deployment;
	return ERR_OK;
}

void deployment_close(struct deployment *deployment)
{
	if (!deployment)
		return;
	checkpoints_close(deployment);
	restricting_close(deployment->restrictions);
	if (deployment->audit)
		audit_close(deployment->audit);
	for (size_t i = 0; i < deployment->n_buckets; i++)
		bucket_close(&deployment->buckets[i]);
	free(deployment->buckets);
	rules_free(deployment->rules);
	policy_countries_free(deployment->countries);
	identity_oidc_free(deployment->id_tokens);
	limits_free(deployment->limits);
	abuse_free(deployment->abuse);
	proof_cache_free(deployment->proofs);
	vendors_free(deployment->vendors);
	identity_trust_free(deployment->trust);
	keys_free(deployment->keys);
	hsm_free(deployment->hsm);
	pthread_mutex_destroy(&deployment->reloading);
	free(deployment);
}

enum err_code deployment_follow_keys(struct deployment *deployment, struct err *err)
{
	enum err_code code = ERR_OK;
	bool behind = false;
	for (size_t i = 0; i < deployment->n_buckets; i++)
		behind |= bucket_is_behind(&deployment->buckets[i], deployment->keys);
	if (!behind)
		return ERR_OK; /* does not wait for an operator who is trying a key */
	keys_lock_changes(deployment->keys);
	for (size_t i = 0; code == ERR_OK && i < deployment->n_buckets; i++)
		code = bucket_follow_keys(&deployment->buckets[i], deployment->hsm, deployment->keys, err);
	keys_unlock_changes(deployment->keys);
	return code;
}

const struct bucket *deployment_bucket(const struct deployment *deployment, const char *name)
{
	for (size_t i = 0; i < deployment->n_buckets; i++)
		if (strcmp(deployment->buckets[i].config->name, name) == 0)
			return &deployment->buckets[i];
	return NULL;
}

enum err_code deployment_check(struct deployment *deployment, struct err *err)
{
	enum err_code code = hsm_check(deployment->hsm, err);
	if (code != ERR_OK) {
		err_prefix(err, "token");
		return code;
	}
	code = audit_check(deployment->audit, err);
	if (code == ERR_OK)
		code = audit_tree_check(deployment->tree, err);
	if (code != ERR_OK) {
		err_prefix(err, "ledger");
		return code;
	}
	for (size_t i = 0; i < deployment->n_buckets; i++) {
		code = store_check(deployment->buckets[i].store, err);
		if (code != ERR_OK) {
			err_prefix(err, "bucket %s", deployment->buckets[i].config->name);
			return code;
		}
	}
	return ERR_OK;
}
