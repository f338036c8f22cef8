/* Policy.Explain: what the rules say of a request that nobody made, or what other rules would have said of those that
 * were. Decides nothing. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/methods.h"

#define RULES_BYTES_MAX ((size_t)3 << 20)
#define DAYS_DEFAULT    30
#define DAYS_MAX        3660
#define DAY_MS          86400000
#define LIMIT_DEFAULT   1000
#define LOOK_EVERY      1024 /* records between two looks whether the caller is still there */

/* ---- one request ---- */

struct verdicts {
	Twokey__V1__RuleVerdict **items;
	size_t n, cap;
};

static void add_verdict(void *user, const struct policy_verdict *verdict)
{
	struct verdicts *verdicts = (struct verdicts *)user;
	if (verdicts->n == verdicts->cap)
		return;
	Twokey__V1__RuleVerdict *item = verdicts->items[verdicts->n++] = xcalloc(1, sizeof *item);
	twokey__v1__rule_verdict__init(item);
	item->rule = (char *)verdict->rule;
	item->allow = verdict->allow;
	item->matches = verdict->matches;
	item->decides = verdict->decides;
	item->failed = (char *)policy_condition_name(verdict->failed);
}

static void verdicts_done(struct verdicts *verdicts)
{
	for (size_t i = 0; i < verdicts->n; i++)
		free(verdicts->items[i]);
	free(verdicts->items);
}

static bool make_question(const struct request *request, const Twokey__V1__HypotheticalRequest *asked,
                          struct policy_request *ret, struct err *detail)
{
	*ret = (struct policy_request){
	    .operation = (enum policy_operation)asked->operation,
	    .bucket = asked->bucket,
	    .object = asked->object,
	    .account = asked->account,
	    .user = asked->subject,
	    .vendor_key = asked->vendor_key,
	    .time_ms = asked->time ? transaction_time_ms(asked->time) : request_now_ms(request),
	    .has_consent = asked->has_consent,
	    .has_purpose = asked->has_purpose,
	    .has_id_token = asked->has_id_token,
	};
	const char *wrong = NULL;
	if (asked->operation < 1 || asked->operation > TWOKEY__V1__OPERATION__OPERATION_DELETE)
		wrong = "say the operation";
	else if (!ip_parse(asked->address, &ret->address))
		wrong = "say the client's network address";
	else if (asked->country[0] && strlen(asked->country) != 2)
		wrong = "a country has two letters";
	if (wrong) {
		err_set(detail, ERR_INVALID, 0, "%s", wrong);
		return false;
	}
	if (asked->country[0])
		memcpy(ret->country, asked->country, sizeof ret->country);
	else
		policy_country(request->deployment->countries, &ret->address, ret->country);
	return true;
}

static enum reason restriction_of(const struct request *request, const struct policy_request *question)
{
	struct restricting_view view;
	const struct restriction_question restricted = {
	    .list = question->operation == POLICY_LIST,
	    .bucket = question->bucket,
	    .object = question->object,
	    .account = question->account[0] ? question->account : NULL,
	    .user = question->user,
	    .vendor_key = question->vendor_key,
	    .now_ms = question->time_ms,
	};
	return restricting_check(request->deployment->restrictions, &restricted, &view);
}

static void explain(struct request *request, const Twokey__V1__HypotheticalRequest *asked)
{
	struct policy_request question;
	if (!make_question(request, asked, &question, &request->detail)) {
		request_refuse(request, REASON_MALFORMED);
		return;
	}
	if (!request_grant(request, REQUEST_NO_USE))
		return;
	const struct policy *policy = request_policy(request);
	struct verdicts verdicts = {.cap = policy_count(policy) + 1};
	verdicts.items = xcalloc(verdicts.cap, sizeof *verdicts.items);
	struct policy_decision decision;
	policy_explain(policy, &question, add_verdict, &verdicts, &decision);
	Twokey__V1__Explanation explanation = TWOKEY__V1__EXPLANATION__INIT;
	explanation.allowed = decision.allowed;
	explanation.reason = (char *)reason_name(decision.reason);
	explanation.rule = (char *)decision.rule;
	explanation.restriction = (char *)reason_name(restriction_of(request, &question));
	explanation.n_rules = verdicts.n;
	explanation.rules = verdicts.items;
	explanation.country = question.country;
	Twokey__V1__ExplainResponse response = TWOKEY__V1__EXPLAIN_RESPONSE__INIT;
	response.part_case = TWOKEY__V1__EXPLAIN_RESPONSE__PART_EXPLANATION;
	response.explanation = &explanation;
	request_answer(request, &response.base);
	verdicts_done(&verdicts);
}

/* ---- a new rule file ---- */

struct replay {
	struct request *request;
	struct policy *policy;
	int64_t since_ms;
	uint64_t limit, looked;
	Twokey__V1__ReplaySummary summary;
	enum err_code sent;
};

static bool is_request(Twokey__V1__Event event)
{
	return event >= TWOKEY__V1__EVENT__EVENT_COSIGN && event <= TWOKEY__V1__EVENT__EVENT_REMOVE;
}

/* Was this denied by a rule? Whatever else refuses has nothing to do with rules, even when one had been asked. */
static bool denied_by_rule(const Twokey__V1__Record *record)
{
	static const enum reason reasons[] = {REASON_RULE_DENIED,      REASON_NETWORK_DENIED,   REASON_COUNTRY_DENIED,
	                                      REASON_HOURS_DENIED,     REASON_CONSENT_REQUIRED, REASON_PURPOSE_REQUIRED,
	                                      REASON_ID_TOKEN_REQUIRED};
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (strcmp(record->reason, reason_name(reasons[i])) == 0)
			return record->decision == TWOKEY__V1__DECISION__DECISION_DENIED;
	return false;
}

/* Did a rule decide this? The transaction's own networks also deny with NETWORK_DENIED, but name no rule. */
static bool decided_by_rule(const Twokey__V1__Record *record)
{
	return is_request(record->event) && !record->unverified && record->rule[0] &&
	       (record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED || denied_by_rule(record));
}

static bool decide_again(const struct replay *replay, const Twokey__V1__Record *record, struct policy_decision *ret)
{
	struct policy_request question = {
	    .operation = (enum policy_operation)record->operation,
	    .bucket = record->bucket,
	    .object = record->object,
	    .account = record->account,
	    .user = record->subject,
	    .vendor_key = record->vendor_key,
	    .time_ms = transaction_time_ms(record->time),
	    .has_consent = record->consent_by[0] != 0,
	    .has_purpose = record->purpose[0] != 0,
	    .has_id_token = record->id_token_issuer[0] != 0,
	};
	if (!ip_parse(record->address, &question.address))
		return false;
	policy_country(replay->request->deployment->countries, &question.address, question.country);
	policy_decide(replay->policy, &question, ret);
	return true;
}

static void send_difference(struct replay *replay, const Twokey__V1__Record *record,
                            const struct policy_decision *decision)
{
	Twokey__V1__Difference difference = TWOKEY__V1__DIFFERENCE__INIT;
	difference.record = record->index;
	difference.time = record->time;
	difference.allowed_then = record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED;
	difference.rule_then = record->rule;
	difference.allowed_now = decision->allowed;
	difference.rule_now = (char *)decision->rule;
	difference.reason_now = (char *)reason_name(decision->reason);
	difference.operation = record->operation;
	difference.bucket = record->bucket;
	difference.object = record->object;
	difference.account = record->account;
	difference.subject = record->subject;
	difference.address = record->address;
	difference.vendor_key = record->vendor_key;
	Twokey__V1__ExplainResponse response = TWOKEY__V1__EXPLAIN_RESPONSE__INIT;
	response.part_case = TWOKEY__V1__EXPLAIN_RESPONSE__PART_DIFFERENCE;
	response.difference = &difference;
	replay->summary.sent++;
	replay->sent = request_send(replay->request, &response.base, &replay->request->detail);
}

static void compare(struct replay *replay, const Twokey__V1__Record *record)
{
	struct policy_decision decision;
	if (transaction_time_ms(record->time) < replay->since_ms || !decided_by_rule(record) ||
	    !decide_again(replay, record, &decision))
		return;
	bool allowed_then = record->decision == TWOKEY__V1__DECISION__DECISION_GRANTED;
	replay->summary.replayed++;
	if (allowed_then == decision.allowed)
		return;
	replay->summary.now_denied += allowed_then;
	replay->summary.now_allowed += decision.allowed;
	if (replay->summary.sent < replay->limit)
		send_difference(replay, record, &decision);
}

static bool replay_record(uint64_t index, struct span bytes, void *user)
{
	(void)index;
	struct replay *replay = (struct replay *)user;
	Twokey__V1__Record *record = twokey__v1__record__unpack(NULL, bytes.len, bytes.ptr);
	if (record) {
		compare(replay, record);
		twokey__v1__record__free_unpacked(record, NULL);
	}
	if (++replay->looked % LOOK_EVERY == 0 && rpc_cancelled(replay->request->call))
		replay->sent = err_set(&replay->request->detail, ERR_CANCELLED, 0, "the caller is gone");
	return replay->sent == ERR_OK;
}

static void send_summary(struct replay *replay)
{
	Google__Protobuf__Timestamp since = transaction_timestamp(replay->since_ms);
	replay->summary.since = &since;
	Twokey__V1__ExplainResponse response = TWOKEY__V1__EXPLAIN_RESPONSE__INIT;
	response.part_case = TWOKEY__V1__EXPLAIN_RESPONSE__PART_SUMMARY;
	response.summary = &replay->summary;
	request_answer(replay->request, &response.base);
}

static void replay_log(struct replay *replay)
{
	struct request *request = replay->request;
	struct audit *audit = request->deployment->audit;
	struct audit_position position;
	enum err_code code = audit_position_at(audit, replay->since_ms, &position, &request->detail);
	if (code == ERR_OK)
		code = audit_replay(audit, TWOKEY__V1__EVENT__EVENT_UNSPECIFIED, &position, replay_record, replay,
		                    &request->detail);
	if (replay->sent != ERR_OK)
		request_fail(request, REASON_CLIENT_GONE);
	else if (code != ERR_OK)
		request_fail(request, REASON_LEDGER_UNAVAILABLE);
	else
		send_summary(replay);
}

static void replay_rules(struct request *request, const Twokey__V1__Replay *asked)
{
	uint32_t days = asked->days ? asked->days : DAYS_DEFAULT;
	struct replay replay = {
	    .request = request,
	    .since_ms = request_now_ms(request) - (int64_t)days * DAY_MS,
	    .limit = asked->limit ? asked->limit : LIMIT_DEFAULT,
	    .summary = TWOKEY__V1__REPLAY_SUMMARY__INIT,
	};
	enum reason reason = REASON_NONE;
	if (days > DAYS_MAX || asked->rules.len > RULES_BYTES_MAX)
		reason = REASON_TOO_LARGE;
	else if (policy_parse("rules", span_of(asked->rules.data, asked->rules.len), &replay.policy, &request->detail) !=
	         ERR_OK)
		reason = REASON_RULES_INVALID;
	if (reason != REASON_NONE)
		request_refuse(request, reason);
	else if (request_grant(request, REQUEST_NO_USE))
		replay_log(&replay);
	policy_free(replay.policy);
}

void svc_policy_explain(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__explain_request__descriptor);
	const Twokey__V1__ExplainRequest *asked = (const Twokey__V1__ExplainRequest *)message;
	if (asked && asked->what_case == TWOKEY__V1__EXPLAIN_REQUEST__WHAT_REQUEST) {
		explain(request, asked->request);
	} else if (asked && asked->what_case == TWOKEY__V1__EXPLAIN_REQUEST__WHAT_REPLAY) {
		replay_rules(request, asked->replay);
	} else if (asked) {
		err_set(&request->detail, ERR_INVALID, 0, "say what to explain: a request or a replay");
		request_refuse(request, REASON_MALFORMED);
	}
	pb_free(message);
}
