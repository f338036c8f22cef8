#include "server/reload.h"

#include "common/text.h"

static enum err_code commit_as(struct deployment *deployment, Twokey__V1__Event event, Twokey__V1__Record *record,
                               enum reason reason, const uint8_t *sha256, uint64_t *ret_index, struct err *err)
{
	record->event = event;
	record->gatekeeper = deployment->config->name;
	record->decision =
	    reason == REASON_NONE ? TWOKEY__V1__DECISION__DECISION_GRANTED : TWOKEY__V1__DECISION__DECISION_DENIED;
	record->reason = (char *)reason_name(reason);
	if (sha256)
		record->sha256 = (ProtobufCBinaryData){32, (uint8_t *)sha256};
	struct audit_commit done;
	enum err_code code = audit_commit(deployment->audit, record, NULL, &done, err);
	if (code == ERR_OK)
		*ret_index = done.index;
	return code;
}

static enum err_code commit(struct deployment *deployment, Twokey__V1__Record *record, enum reason reason,
                            const uint8_t *sha256, uint64_t *ret_index, struct err *err)
{
	return commit_as(deployment, TWOKEY__V1__EVENT__EVENT_POLICY, record, reason, sha256, ret_index, err);
}

static void describe(const struct rules_version *version, struct reload_result *ret)
{
	memcpy(ret->sha256, version->sha256, sizeof ret->sha256);
	ret->rules = (uint32_t)policy_count(version->policy);
}

static enum reason refuse(struct deployment *deployment, Twokey__V1__Record *record, struct reload_result *ret,
                          const struct err *why)
{
	struct err err = {0};
	rules_set_trouble(deployment->rules, why->text);
	record->detail = (char *)why->text;
	log_event(LOG_ERROR, "rules refused, the old ones go on", "error", why->text, NULL);
	if (commit(deployment, record, REASON_RULES_INVALID, NULL, &ret->record, &err) != ERR_OK)
		log_event(LOG_ERROR, "refused rules could not be recorded", "error", err.text, NULL);
	return REASON_RULES_INVALID;
}

/* What is to take the place of what is in force. */
struct following {
	struct rules_version *rules;
	struct vendor_keys *vendor_keys; /* NULL: they stay */
};

static void following_drop(struct following *next)
{
	rules_give_back(next->rules);
	vendors_drop(next->vendor_keys);
}

static enum reason put(struct deployment *deployment, Twokey__V1__Record *record, struct following *next,
                       struct reload_result *ret, struct err *detail)
{
	const struct vendor_keys *vendor_keys = next->vendor_keys ? next->vendor_keys : vendors_now(deployment->vendors);
	char hex[65];
	text_hex(span_of(ret->sha256, sizeof ret->sha256), hex);
	record->detail = (char *)rules_path(deployment->rules);
	record->vendor_keys = vendor_keys->text;
	if (commit(deployment, record, REASON_NONE, ret->sha256, &ret->record, detail) != ERR_OK) {
		log_event(LOG_ERROR, "new rules could not be recorded, the old ones go on", "error", detail->text, NULL);
		following_drop(next);
		return REASON_LEDGER_UNAVAILABLE;
	}
	rules_put(deployment->rules, next->rules);
	if (next->vendor_keys)
		vendors_put(deployment->vendors, next->vendor_keys);
	ret->vendor_keys = vendor_keys->text;
	rules_set_trouble(deployment->rules, "");
	log_event(LOG_INFO, "rules loaded", "sha256", hex, "rules", rules_path(deployment->rules), "vendor_keys",
	          vendor_keys->text, NULL);
	return REASON_NONE;
}

/* With new vendor keys: nobody makes one of them ours meanwhile. */
static enum reason check_and_put(struct deployment *deployment, Twokey__V1__Record *record, struct following *next,
                                 struct reload_result *ret, struct err *detail)
{
	enum reason reason = REASON_RULES_INVALID;
	keys_lock_changes(deployment->keys);
	if (vendors_check(next->vendor_keys, deployment->keys, detail) == ERR_OK)
		reason = put(deployment, record, next, ret, detail);
	else
		following_drop(next);
	keys_unlock_changes(deployment->keys);
	return reason == REASON_RULES_INVALID ? refuse(deployment, record, ret, detail) : reason;
}

static enum reason reload_locked(struct deployment *deployment, Twokey__V1__Record *record, bool with_vendor_keys,
                                 struct reload_result *ret, struct err *detail)
{
	struct following next = {0};
	enum err_code code = rules_read(deployment->rules, &next.rules, detail);
	if (code == ERR_OK && with_vendor_keys)
		code = vendors_read(deployment->config->path, &next.vendor_keys, detail);
	if (code != ERR_OK) {
		following_drop(&next);
		return refuse(deployment, record, ret, detail);
	}
	describe(next.rules, ret);
	const struct rules_version *old = rules_take(deployment->rules);
	ret->changed = memcmp(old->sha256, next.rules->sha256, sizeof old->sha256) != 0;
	rules_give_back(old);
	if (next.vendor_keys && vendors_differ(next.vendor_keys, vendors_now(deployment->vendors))) {
		ret->vendor_keys_changed = true;
		return check_and_put(deployment, record, &next, ret, detail);
	}
	vendors_drop(next.vendor_keys);
	next.vendor_keys = NULL;
	return put(deployment, record, &next, ret, detail);
}

/* ---- authorities and revocation lists ---- */

static void describe_trust(const struct identity_trust_state *state, struct buf *out)
{
	char until[CLOCK_TEXT_MAX] = "";
	if (state->next_update_ms)
		clock_format(state->next_update_ms, until);
	buf_printf(out, "%zu authorities, %zu revocation lists, %zu revoked%s%s", state->authorities, state->lists,
	           state->revoked, until[0] ? ", good until " : "", until);
}

static enum err_code commit_trust(struct deployment *deployment, const Twokey__V1__Record *who, uint64_t *ret_index,
                                  struct err *err)
{
	Twokey__V1__Record record = *who;
	struct identity_trust_state state;
	autobuf struct buf text = {0};
	identity_trust_state(deployment->trust, &state);
	describe_trust(&state, &text);
	record.detail = (char *)buf_cstr(&text);
	log_event(LOG_INFO, "authorities loaded", "what", record.detail, NULL);
	return commit_as(deployment, TWOKEY__V1__EVENT__EVENT_AUTHORITIES, &record, REASON_NONE, state.sha256, ret_index,
	                 err);
}

static enum reason refuse_trust(struct deployment *deployment, Twokey__V1__Record *record, uint64_t *ret_index,
                                const struct err *why)
{
	struct err err = {0};
	record->detail = (char *)why->text;
	log_event(LOG_ERROR, "authorities or revocation lists refused, the old ones go on", "error", why->text, NULL);
	if (commit_as(deployment, TWOKEY__V1__EVENT__EVENT_AUTHORITIES, record, REASON_AUTHORITIES_INVALID, NULL, ret_index,
	              &err) != ERR_OK)
		log_event(LOG_ERROR, "refused authorities could not be recorded", "error", err.text, NULL);
	return REASON_AUTHORITIES_INVALID;
}

/* What was taken up holds, also when it cannot be recorded: then nothing is granted anyway. */
static enum reason reload_trust_locked(struct deployment *deployment, Twokey__V1__Record *record,
                                       struct reload_result *ret, struct err *detail)
{
	struct identity_trust_state before, after;
	identity_trust_state(deployment->trust, &before);
	if (identity_trust_reload(deployment->trust, detail) != ERR_OK)
		return refuse_trust(deployment, record, &ret->record, detail);
	identity_trust_state(deployment->trust, &after);
	const bool changed = memcmp(before.sha256, after.sha256, sizeof before.sha256) != 0;
	ret->changed |= changed;
	if (!changed && deployment->rules)
		return REASON_NONE; /* the rules' record says that somebody asked */
	uint64_t index = 0;
	if (commit_trust(deployment, record, &index, detail) != ERR_OK)
		return REASON_LEDGER_UNAVAILABLE;
	if (!deployment->rules)
		ret->record = index;
	return REASON_NONE;
}

void reload_trust_if_changed(struct deployment *deployment)
{
	if (!deployment->trust || !identity_trust_changed(deployment->trust))
		return;
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	struct reload_result result = {0};
	struct err detail = {0};
	record.why = (char *)"a file has changed";
	pthread_mutex_lock(&deployment->reloading);
	if (identity_trust_changed(deployment->trust))
		(void)reload_trust_locked(deployment, &record, &result, &detail);
	pthread_mutex_unlock(&deployment->reloading);
}

/* ---- all ---- */

enum reason reload_all(struct deployment *deployment, const Twokey__V1__Record *about, struct reload_result *ret,
                       struct err *detail)
{
	Twokey__V1__Record record = *about;
	struct err trust_detail = {0};
	enum reason reason = REASON_NONE, trust_reason = REASON_NONE;
	*ret = (struct reload_result){0};
	pthread_mutex_lock(&deployment->reloading);
	if (deployment->rules)
		reason = reload_locked(deployment, &record, true, ret, detail);
	const uint64_t rules_record = ret->record;
	record = *about;
	if (deployment->trust)
		trust_reason = reload_trust_locked(deployment, &record, ret, &trust_detail);
	pthread_mutex_unlock(&deployment->reloading);
	if (reason == REASON_NONE && trust_reason != REASON_NONE) {
		*detail = trust_detail;
		return trust_reason;
	}
	ret->record = deployment->rules ? rules_record : ret->record;
	return reason;
}

void reload_all_because(struct deployment *deployment, const char *why)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	struct reload_result result;
	struct err detail = {0};
	record.why = (char *)why;
	(void)reload_all(deployment, &record, &result, &detail);
}

void reload_if_changed(struct deployment *deployment)
{
	reload_trust_if_changed(deployment);
	if (!deployment->rules || !rules_changed(deployment->rules))
		return;
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	struct reload_result result = {0};
	struct err detail = {0};
	record.why = (char *)"the file has changed";
	pthread_mutex_lock(&deployment->reloading);
	(void)reload_locked(deployment, &record, false, &result, &detail);
	pthread_mutex_unlock(&deployment->reloading);
}

static enum err_code record_rules(struct deployment *deployment, struct err *err)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	const struct rules_version *version = rules_take(deployment->rules);
	uint64_t index;
	record.why = (char *)"start";
	record.detail = (char *)rules_path(deployment->rules);
	record.vendor_keys = vendors_now(deployment->vendors)->text;
	enum err_code code = commit(deployment, &record, REASON_NONE, version->sha256, &index, err);
	rules_give_back(version);
	return code;
}

enum err_code reload_record_start(struct deployment *deployment, struct err *err)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	uint64_t index;
	record.why = (char *)"start";
	enum err_code code = deployment->trust ? commit_trust(deployment, &record, &index, err) : ERR_OK;
	return code == ERR_OK && deployment->rules ? record_rules(deployment, err) : code;
}
