/* The form of a transaction: transaction.proto's comments as tables. */
#include "common/text.h"
#include "transaction/internal.h"

#define ID_LEN       16
#define NETWORKS_MAX 16
#define USES_MAX     1000

/* A string of a message: how many bytes it may have. */
struct text_rule {
	const char *name;
	size_t offset;
	size_t min, max;
};

static const struct text_rule transaction_texts[] = {
    {"gatekeeper", offsetof(Twokey__V1__Transaction, gatekeeper), 1, 256},
    {"bucket", offsetof(Twokey__V1__Transaction, bucket), 1, 256},
    {"object", offsetof(Twokey__V1__Transaction, object), 0, 1024}, /* not empty unless LIST: check_object */
    {"account", offsetof(Twokey__V1__Transaction, account), 0, 256},
    {"subject", offsetof(Twokey__V1__Transaction, subject), 1, 256},
    {"purpose", offsetof(Twokey__V1__Transaction, purpose), 0, 2048},
    {"correlation_id", offsetof(Twokey__V1__Transaction, correlation_id), 0, 128},
};

static const struct text_rule consent_texts[] = {
    {"consent.given_by", offsetof(Twokey__V1__Consent, given_by), 0, 256},
    {"consent.text", offsetof(Twokey__V1__Consent, text), 0, 2048},
};

static const struct text_rule constraints_texts[] = {
    {"constraints.content_type", offsetof(Twokey__V1__Constraints, content_type), 0, 256},
    {"constraints.version_id", offsetof(Twokey__V1__Constraints, version_id), 0, 1024},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static enum reason malformed(struct err *detail, const char *name, const char *what)
{
	return transaction_refuse(REASON_MALFORMED, detail, "%s %s", name, what);
}

static enum reason check_texts(const void *message, const struct text_rule *rules, size_t n_rules, struct err *detail)
{
	for (size_t i = 0; i < n_rules; i++) {
		const char *value = *(char *const *)((const char *)message + rules[i].offset);
		struct span text = span_str(value);
		if (text.len < rules[i].min)
			return malformed(detail, rules[i].name, "is missing");
		if (text.len > rules[i].max)
			return transaction_refuse(REASON_MALFORMED, detail, "%s has more than %zu bytes", rules[i].name,
			                          rules[i].max);
		if (!text_utf8(text))
			return malformed(detail, rules[i].name, "is not UTF-8");
	}
	return REASON_NONE;
}

static bool known_operation(Twokey__V1__Operation operation)
{
	return operation >= TWOKEY__V1__OPERATION__OPERATION_GET && operation <= TWOKEY__V1__OPERATION__OPERATION_DELETE;
}

static enum reason check_object(const Twokey__V1__Transaction *transaction, struct err *detail)
{
	bool prefix = transaction->operation == TWOKEY__V1__OPERATION__OPERATION_LIST;
	if (!prefix && !*transaction->object)
		return malformed(detail, "object", "is missing");
	return REASON_NONE;
}

static enum reason check_times(const Twokey__V1__Transaction *transaction, struct err *detail)
{
	const Twokey__V1__Consent *consent = transaction->consent;
	const struct {
		const char *name;
		const Google__Protobuf__Timestamp *time;
		bool optional;
	} times[] = {
	    {"issued_at", transaction->issued_at, false},
	    {"not_before", transaction->not_before, false},
	    {"expires_at", transaction->expires_at, false},
	    {"consent.given_at", consent ? consent->given_at : NULL, true},
	};
	for (size_t i = 0; i < COUNT(times); i++) {
		if (!times[i].time && !times[i].optional)
			return malformed(detail, times[i].name, "is missing");
		if (times[i].time && !transaction_time_valid(times[i].time))
			return malformed(detail, times[i].name, "is not a time");
	}
	return REASON_NONE;
}

/* ---- constraints ---- */

#define ON(operation) (1u << TWOKEY__V1__OPERATION__OPERATION_##operation)

/* A constraint that the operation cannot obey would promise what nobody keeps. */
static enum reason check_fit(const Twokey__V1__Constraints *constraints, Twokey__V1__Operation operation,
                             struct err *detail)
{
	const struct {
		const char *name;
		bool present;
		unsigned operations;
	} rows[] = {
	    {"constraints.length", constraints->length_case != TWOKEY__V1__CONSTRAINTS__LENGTH__NOT_SET, ON(PUT)},
	    {"constraints.content_sha256", constraints->content_sha256.len > 0, ON(PUT)},
	    {"constraints.content_type", *constraints->content_type, ON(PUT)},
	    {"constraints.overwrite", constraints->overwrite, ON(PUT)},
	    {"constraints.range", constraints->range, ON(GET)},
	    {"constraints.version_id", *constraints->version_id, ON(GET) | ON(DELETE)},
	};
	for (size_t i = 0; i < COUNT(rows); i++)
		if (rows[i].present && !(rows[i].operations & 1u << operation))
			return malformed(detail, rows[i].name, "does not fit the operation");
	return REASON_NONE;
}

static enum reason check_networks(const Twokey__V1__Constraints *constraints, struct err *detail)
{
	if (constraints->n_networks > NETWORKS_MAX)
		return transaction_refuse(REASON_MALFORMED, detail, "constraints.networks has more than %d entries",
		                          NETWORKS_MAX);
	for (size_t i = 0; i < constraints->n_networks; i++) {
		struct ip_net net;
		if (!ip_net_parse(constraints->networks[i], &net))
			return transaction_refuse(REASON_MALFORMED, detail, "constraints.networks[%zu] is not a network", i);
	}
	return REASON_NONE;
}

static bool absent_or_sha256(const ProtobufCBinaryData *digest)
{
	return digest->len == 0 || digest->len == 32;
}

/* The end of a range fits a signed 64-bit offset, so that nobody who counts with it overflows. */
static bool range_valid(const Twokey__V1__ByteRange *range)
{
	return range->length >= 1 && range->first <= INT64_MAX && range->length <= (uint64_t)INT64_MAX - range->first;
}

static enum reason check_values(const Twokey__V1__Constraints *constraints, struct err *detail)
{
	if (!absent_or_sha256(&constraints->holder_key_sha256))
		return malformed(detail, "constraints.holder_key_sha256", "is not 32 bytes");
	if (!absent_or_sha256(&constraints->content_sha256))
		return malformed(detail, "constraints.content_sha256", "is not 32 bytes");
	if (constraints->range && !range_valid(constraints->range))
		return malformed(detail, "constraints.range", "is empty or ends beyond 2^63 - 1");
	if (constraints->length_case != TWOKEY__V1__CONSTRAINTS__LENGTH__NOT_SET && constraints->max_bytes > INT64_MAX)
		return malformed(detail, "constraints.length", "is above 2^63 - 1");
	if (constraints->uses > USES_MAX)
		return transaction_refuse(REASON_MALFORMED, detail, "constraints.uses is above %d", USES_MAX);
	return REASON_NONE;
}

static enum reason check_constraints(const Twokey__V1__Constraints *constraints, Twokey__V1__Operation operation,
                                     struct err *detail)
{
	enum reason reason = check_texts(constraints, constraints_texts, COUNT(constraints_texts), detail);
	reason = reason ? reason : check_networks(constraints, detail);
	reason = reason ? reason : check_values(constraints, detail);
	return reason ? reason : check_fit(constraints, operation, detail);
}

enum reason transaction_check_form(const Twokey__V1__Transaction *transaction, struct err *detail)
{
	if (transaction->id.len != ID_LEN)
		return malformed(detail, "id", "is not 16 bytes");
	if (!known_operation(transaction->operation))
		return malformed(detail, "operation", "is none that is known");
	enum reason reason = check_texts(transaction, transaction_texts, COUNT(transaction_texts), detail);
	reason = reason ? reason : check_object(transaction, detail);
	reason = reason ? reason : check_times(transaction, detail);
	if (!reason && transaction->consent)
		reason = check_texts(transaction->consent, consent_texts, COUNT(consent_texts), detail);
	if (!reason && transaction->constraints)
		reason = check_constraints(transaction->constraints, transaction->operation, detail);
	return reason;
}
