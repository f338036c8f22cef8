/* room: transaction */
/* A transaction: what parses keeps its form, survives every later check, and parses again when serialised anew. */
#include <stdlib.h>

#include "common/pb.h"
#include "transaction/transaction.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_times(const Twokey__V1__Transaction *transaction)
{
	const int64_t times[] = {INT64_C(0), transaction_time_ms(transaction->issued_at),
	                         transaction_time_ms(transaction->not_before),
	                         transaction_time_ms(transaction->expires_at)};
	for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
		enum reason reason = transaction_check_time(transaction, times[i], TRANSACTION_LIFETIME_MAX_S, NULL);
		/* Nothing has expired when it begins, since it ends later. */
		if (i == 2 && reason == REASON_EXPIRED)
			abort();
	}
}

static void check_values(const Twokey__V1__Transaction *transaction)
{
	struct ip_addr client = {{[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1}};
	enum reason reason = transaction_check_network(transaction, &client);
	if (reason != REASON_NONE && reason != REASON_NETWORK_DENIED)
		abort();
	if (transaction_uses(transaction) < 1 || transaction_uses(transaction) > 1000)
		abort();
	if (transaction_operation_from_name(transaction_operation_name(transaction->operation)) != transaction->operation)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Twokey__V1__Transaction *transaction, *again;
	if (transaction_parse(span_of(data, size), &transaction, NULL))
		return 0;
	if (transaction_check_form(transaction, NULL))
		abort();
	check_times(transaction);
	check_values(transaction);
	autobuf struct buf bytes = {0};
	pb_pack(&transaction->base, &bytes);
	if (transaction_parse(buf_span(&bytes), &again, NULL))
		abort();
	transaction_free(again);
	transaction_free(transaction);
	return 0;
}
