#include "server/key_change.h"

#include "server/bucket.h"

/* ---- finding ---- */

struct found {
	struct deployment *deployment;
	struct key_view views[8]; /* more than appear between two looks, as a rule; the next look finds the rest */
	size_t n;
};

/* First generations were there from the beginning. */
static void collect_new(const struct key_view *view, void *user)
{
	struct found *found = (struct found *)user;
	if (view->key && !view->because && view->generation > 1 && found->n < sizeof found->views / sizeof found->views[0])
		found->views[found->n++] = *view;
}

enum reason key_change_look(struct deployment *deployment, struct err *detail)
{
	if (keys_look(deployment->keys, detail) != ERR_OK)
		return REASON_TOKEN_UNAVAILABLE;
	struct found found = {.deployment = deployment};
	keys_each(deployment->keys, collect_new, &found);
	enum reason reason = REASON_NONE;
	for (size_t i = 0; reason == REASON_NONE && i < found.n; i++) {
		Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
		const struct key_change change = {.action = TWOKEY__V1__KEY_ACTION__KEY_ACTION_FOUND,
		                                  .role = found.views[i].role,
		                                  .bucket = found.views[i].bucket,
		                                  .view = found.views[i]};
		record.event = TWOKEY__V1__EVENT__EVENT_KEY;
		record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
		record.gatekeeper = deployment->config->name;
		key_change_record(&change, &record);
		uint64_t index;
		reason = restricting_change_key(deployment->restrictions, &record, &index, detail);
	}
	return reason;
}

enum reason key_change_find(struct deployment *deployment, struct key_change *change, struct err *detail)
{
	change->line = keys_line(deployment->keys, change->role, change->bucket);
	if (!change->line || !keys_view(deployment->keys, change->line, change->generation, &change->view)) {
		err_set(detail, ERR_NOT_FOUND, 0, "`key status` tells roles, buckets and generations");
		return REASON_NO_SUCH_KEY;
	}
	if (!change->why[0]) {
		err_set(detail, ERR_INVALID, 0, "say why, for the record");
		return REASON_MALFORMED;
	}
	if (change->view.key)
		return REASON_NONE;
	err_set(detail, ERR_NOT_FOUND, 0, "%s is not in the token any more", change->view.label);
	return REASON_NO_SUCH_KEY;
}

void key_change_record(const struct key_change *change, Twokey__V1__Record *record)
{
	record->key_role = change->role;
	record->key_action = change->action;
	record->key_label = (char *)change->view.label;
	record->key_id = (char *)(change->view.key ? hsm_key_id(change->view.key) : "");
	record->bucket = (char *)(change->bucket ? change->bucket : "");
	record->access_key_id = (char *)(change->access_key_id ? change->access_key_id : "");
	record->why = (char *)(change->why ? change->why : "");
}

static enum reason commit(struct request *request, const struct key_change *change)
{
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	record.decision = TWOKEY__V1__DECISION__DECISION_GRANTED;
	record.gatekeeper = request->deployment->config->name;
	key_change_record(change, &record);
	record.detail = request->detail.text; /* what a forced change disregarded */
	return restricting_change_key(request->deployment->restrictions, &record, &request->record, &request->detail);
}

/* ---- use ---- */

static enum reason try_transaction(struct request *request, const struct key_change *change)
{
	const struct vendors *vendors = request->deployment->vendors;
	if (!vendors || !keyring_has_spki(vendors_now(vendors)->ring, hsm_key_spki(change->view.key)))
		return REASON_NONE;
	err_set(&request->detail, ERR_INVALID, 0, "it is one of vendor_keys: two signatures need two keys");
	return REASON_KEY_UNUSABLE;
}

/* A secret that the bucket does not accept must not become current. */
static enum reason try_secret(struct request *request, const struct key_change *change)
{
	const struct bucket *bucket = deployment_bucket(request->deployment, change->bucket);
	struct store *store = NULL;
	enum err_code code = ERR_NOT_FOUND;
	if (bucket)
		code = bucket_try_secret(bucket->config, change->view.key, change->access_key_id, &store, &request->detail);
	if (code == ERR_OK)
		code = store_check(store, &request->detail);
	store_free(store);
	return code == ERR_OK ? REASON_NONE : REASON_KEY_UNUSABLE;
}

static enum reason may_use(struct request *request, const struct key_change *change)
{
	if (change->view.current) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "%s is current already", change->view.label);
		return REASON_KEY_UNUSABLE;
	}
	if (change->access_key_id[0] && change->role != TWOKEY__V1__KEY_ROLE__KEY_ROLE_S3) {
		err_set(&request->detail, ERR_INVALID, 0, "an access key id belongs to an S3 secret");
		return REASON_MALFORMED;
	}
	switch (change->role) {
	case TWOKEY__V1__KEY_ROLE__KEY_ROLE_TRANSACTION:
		return try_transaction(request, change);
	case TWOKEY__V1__KEY_ROLE__KEY_ROLE_S3:
		return try_secret(request, change);
	default:
		return REASON_NONE;
	}
}

enum reason key_change_use(struct request *request, struct key_change *change)
{
	struct deployment *deployment = request->deployment;
	keys_lock_changes(deployment->keys);
	enum reason reason = key_change_look(deployment, &request->detail);
	if (reason == REASON_NONE)
		reason = key_change_find(deployment, change, &request->detail);
	if (reason == REASON_NONE)
		reason = may_use(request, change);
	if (reason == REASON_NONE)
		reason = commit(request, change);
	keys_unlock_changes(deployment->keys);
	/* Tried just now; should it fail all the same, it is tried again every second. */
	if (reason == REASON_NONE && deployment_follow_keys(deployment, &request->detail) != ERR_OK)
		log_event(LOG_ERROR, "changed credentials cannot be used", "error", request->detail.text, NULL);
	return reason;
}

/* ---- retire ---- */

enum reason key_change_may_retire(struct request *request, const struct key_change *change)
{
	const struct key_view *view = &change->view;
	if (view->current) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "%s is the current one: use another first", view->label);
		return REASON_KEY_NEEDED;
	}
	if (view->retired) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "%s is retired already", view->label);
		return REASON_KEY_UNUSABLE;
	}
	int64_t now = request_now_ms(request);
	if (view->accepted_until_ms > now) {
		err_set(&request->detail, ERR_PRECONDITION, 0,
		        "what %s signed may be valid for another %lld s (lifetime.max and clock skew)", view->label,
		        (long long)(view->accepted_until_ms - now + 999) / 1000);
		return REASON_KEY_NEEDED;
	}
	if (keys_holders(request->deployment->keys, change->line, change->generation) > 0) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "a Store that began under %s is still running", view->label);
		return REASON_KEY_NEEDED;
	}
	return REASON_NONE;
}

enum reason key_change_retire(struct request *request, struct key_change *change)
{
	struct deployment *deployment = request->deployment;
	const Twokey__V1__Record *because = change->view.because;
	keys_lock_changes(deployment->keys);
	enum reason reason = key_change_find(deployment, change, &request->detail);
	if (reason == REASON_NONE)
		reason = key_change_may_retire(request, change);
	if (reason == REASON_NONE && change->view.because != because) {
		err_set(&request->detail, ERR_PRECONDITION, 0, "%s was used again in the meantime", change->view.label);
		reason = REASON_KEY_NEEDED;
	}
	if (reason == REASON_NONE)
		reason = commit(request, change);
	keys_unlock_changes(deployment->keys);
	return reason;
}
