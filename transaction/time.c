/* When a transaction may be used. */
#include "transaction/internal.h"

/* google.protobuf.Timestamp: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z */
#define SECONDS_MIN  (-62135596800)
#define SECONDS_MAX  253402300799
#define NANOS_PER_MS 1000000

bool transaction_time_valid(const Google__Protobuf__Timestamp *time)
{
	return time->seconds >= SECONDS_MIN && time->seconds <= SECONDS_MAX && time->nanos >= 0 && time->nanos <= 999999999;
}

/* Any peer's numbers: what lies outside protobuf's range becomes its nearer end. */
int64_t transaction_time_ms(const Google__Protobuf__Timestamp *time)
{
	if (!time)
		return 0;
	if (time->seconds < SECONDS_MIN)
		return SECONDS_MIN * INT64_C(1000);
	if (time->seconds > SECONDS_MAX)
		return SECONDS_MAX * INT64_C(1000) + 999;
	return time->seconds * INT64_C(1000) + time->nanos / NANOS_PER_MS;
}

Google__Protobuf__Timestamp transaction_timestamp(int64_t ms)
{
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	int64_t fraction = ms % 1000;
	if (fraction < 0)
		fraction += 1000; /* nanos count forward, also before 1970 */
	time.seconds = (ms - fraction) / 1000;
	time.nanos = (int32_t)(fraction * NANOS_PER_MS);
	return time;
}

enum reason transaction_check_time(const Twokey__V1__Transaction *transaction, int64_t now_ms, unsigned lifetime_max_s,
                                   struct err *detail)
{
	int64_t issued = transaction_time_ms(transaction->issued_at);
	int64_t begin = transaction_time_ms(transaction->not_before);
	int64_t end = transaction_time_ms(transaction->expires_at);
	unsigned max_s = lifetime_max_s < TRANSACTION_LIFETIME_MAX_S ? lifetime_max_s : TRANSACTION_LIFETIME_MAX_S;
	if (issued > begin || begin >= end)
		return transaction_refuse(REASON_MALFORMED, detail, "issued_at <= not_before < expires_at does not hold");
	if (end - issued > max_s * INT64_C(1000))
		return transaction_refuse(REASON_LIFETIME_TOO_LONG, detail,
		                          "%lld ms from issued_at to expires_at, more than %u s", (long long)(end - issued),
		                          max_s);
	/* Which holds for issued_at as well, since it is not later. */
	if (begin > now_ms + TRANSACTION_CLOCK_SKEW_MS)
		return transaction_refuse(REASON_NOT_YET_VALID, detail, "not_before is %lld ms in the future",
		                          (long long)(begin - now_ms));
	if (now_ms >= end + TRANSACTION_CLOCK_SKEW_MS)
		return transaction_refuse(REASON_EXPIRED, detail, "expired %lld ms ago", (long long)(now_ms - end));
	return REASON_NONE;
}
