#include "server/reload.h"

#include "common/text.h"

static enum err_code commit(struct deployment *deployment, Twokey__V1__Record *record, enum reason reason,
                            const uint8_t *sha256, uint64_t *ret_index, struct err *err)
{
	record->event = TWOKEY__V1__EVENT__EVENT_POLICY;
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

static enum reason put(struct deployment *deployment, Twokey__V1__Record *record, struct rules_version *version,
                       struct reload_result *ret, struct err *detail)
{
	char hex[65];
	text_hex(span_of(version->sha256, sizeof version->sha256), hex);
	record->detail = (char *)rules_path(deployment->rules);
	if (commit(deployment, record, REASON_NONE, version->sha256, &ret->record, detail) != ERR_OK) {
		log_event(LOG_ERROR, "new rules could not be recorded, the old ones go on", "error", detail->text, NULL);
		rules_give_back(version);
		return REASON_LEDGER_UNAVAILABLE;
	}
	rules_put(deployment->rules, version);
	rules_set_trouble(deployment->rules, "");
	log_event(LOG_INFO, "rules loaded", "sha256", hex, "rules", rules_path(deployment->rules), NULL);
	return REASON_NONE;
}

static enum reason reload_locked(struct deployment *deployment, Twokey__V1__Record *record, struct reload_result *ret,
                                 struct err *detail)
{
	struct rules_version *version = NULL;
	if (rules_read(deployment->rules, &version, detail) != ERR_OK)
		return refuse(deployment, record, ret, detail);
	describe(version, ret);
	const struct rules_version *old = rules_take(deployment->rules);
	ret->changed = memcmp(old->sha256, version->sha256, sizeof version->sha256) != 0;
	rules_give_back(old);
	return put(deployment, record, version, ret, detail);
}

enum reason reload_rules(struct deployment *deployment, Twokey__V1__Record *record, struct reload_result *ret,
                         struct err *detail)
{
	*ret = (struct reload_result){0};
	pthread_mutex_lock(&deployment->reloading);
	enum reason reason = reload_locked(deployment, record, ret, detail);
	pthread_mutex_unlock(&deployment->reloading);
	return reason;
}

void reload_rules_because(struct deployment *deployment, const char *why)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	struct reload_result result;
	struct err detail = {0};
	if (!deployment->rules)
		return;
	record.why = (char *)why;
	(void)reload_rules(deployment, &record, &result, &detail);
}

void reload_rules_if_changed(struct deployment *deployment)
{
	if (deployment->rules && rules_changed(deployment->rules))
		reload_rules_because(deployment, "the file has changed");
}

enum err_code reload_record_start(struct deployment *deployment, struct err *err)
{
	if (!deployment->rules)
		return ERR_OK;
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	const struct rules_version *version = rules_take(deployment->rules);
	uint64_t index;
	record.why = (char *)"start";
	record.detail = (char *)rules_path(deployment->rules);
	enum err_code code = commit(deployment, &record, REASON_NONE, version->sha256, &index, err);
	rules_give_back(version);
	return code;
}
