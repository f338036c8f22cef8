/* From verified bytes to a transaction, and what it says in small. */
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "common/pb.h"
#include "transaction/internal.h"

/* Memory for an unpacked transaction: its bytes once, and room for its structs. */
#define UNPACK_BUDGET (4 * TRANSACTION_ENVELOPE_MAX)

enum reason transaction_refuse(enum reason reason, struct err *detail, const char *fmt, ...)
{
	char text[sizeof detail->text];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	err_set(detail, reason_code(reason), 0, "%s", text);
	return reason;
}

enum reason transaction_parse(struct span payload, Twokey__V1__Transaction **ret, struct err *detail)
{
	if (payload.len > TRANSACTION_ENVELOPE_MAX)
		return transaction_refuse(REASON_MALFORMED, detail, "the transaction is larger than %zu bytes",
		                          TRANSACTION_ENVELOPE_MAX);
	ProtobufCMessage *message = NULL;
	if (pb_unpack(&twokey__v1__transaction__descriptor, payload, PB_STRICT, UNPACK_BUDGET, &message, detail))
		return REASON_MALFORMED;
	Twokey__V1__Transaction *transaction = (Twokey__V1__Transaction *)message;
	enum reason reason = transaction_check_form(transaction, detail);
	if (reason) {
		transaction_free(transaction);
		return reason;
	}
	*ret = transaction;
	return REASON_NONE;
}

void transaction_free(Twokey__V1__Transaction *transaction)
{
	pb_free((ProtobufCMessage *)transaction);
}

enum reason transaction_check_network(const Twokey__V1__Transaction *transaction, const struct ip_addr *client)
{
	const Twokey__V1__Constraints *constraints = transaction->constraints;
	if (!constraints || constraints->n_networks == 0)
		return REASON_NONE;
	for (size_t i = 0; i < constraints->n_networks; i++) {
		struct ip_net net;
		if (ip_net_parse(constraints->networks[i], &net) && ip_net_contains(&net, client))
			return REASON_NONE;
	}
	return REASON_NETWORK_DENIED;
}

uint32_t transaction_uses(const Twokey__V1__Transaction *transaction)
{
	uint32_t uses = transaction->constraints ? transaction->constraints->uses : 0;
	return uses ? uses : 1;
}

static const struct operation_name {
	Twokey__V1__Operation operation;
	const char *name;
} operation_names[] = {
    {TWOKEY__V1__OPERATION__OPERATION_GET, "GET"},
    {TWOKEY__V1__OPERATION__OPERATION_PUT, "PUT"},
    {TWOKEY__V1__OPERATION__OPERATION_LIST, "LIST"},
    {TWOKEY__V1__OPERATION__OPERATION_DELETE, "DELETE"},
};
#define N_OPERATIONS (sizeof operation_names / sizeof *operation_names)

const char *transaction_operation_name(Twokey__V1__Operation operation)
{
	for (size_t i = 0; i < N_OPERATIONS; i++)
		if (operation_names[i].operation == operation)
			return operation_names[i].name;
	return "UNSPECIFIED";
}

Twokey__V1__Operation transaction_operation_from_name(const char *name)
{
	for (size_t i = 0; name && i < N_OPERATIONS; i++)
		if (strcasecmp(operation_names[i].name, name) == 0)
			return operation_names[i].operation;
	return TWOKEY__V1__OPERATION__OPERATION_UNSPECIFIED;
}
