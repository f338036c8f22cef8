#include "server/limits.h"

#include <stdlib.h>

#define MINUTE_MS   60000
#define HOUR_MS     3600000
#define ADDRESSES   65536
#define USERS       65536
#define VENDOR_KEYS 1024

/* A table of their own each, so that a flood of one kind makes no room among another. */
struct limits {
	struct policy_rates *addresses, *vendor_keys, *users;
};

struct limits *limits_new(void)
{
	struct limits *limits = xcalloc(1, sizeof *limits);
	limits->addresses = policy_rates_new(ADDRESSES);
	limits->vendor_keys = policy_rates_new(VENDOR_KEYS);
	limits->users = policy_rates_new(USERS);
	return limits;
}

void limits_free(struct limits *limits)
{
	if (!limits)
		return;
	policy_rates_free(limits->addresses);
	policy_rates_free(limits->vendor_keys);
	policy_rates_free(limits->users);
	free(limits);
}

struct span limits_network(const struct request *request)
{
	struct ip_net v4;
	bool is_v4 = ip_net_parse("0.0.0.0/0", &v4) && ip_net_contains(&v4, &request->address);
	return span_of(request->address.bytes, is_v4 ? sizeof request->address.bytes : 8);
}

bool limits_flood(const struct request *request)
{
	const struct policy_rate rate = {request->deployment->config->limits.flood, MINUTE_MS};
	if (!rate.amount)
		return true;
	return policy_rates_use(request->deployment->limits->addresses, limits_network(request), &rate, POLICY_RATE_TAKE, 1,
	                        clock_monotonic_us());
}

/* Requests and bytes of one vendor key or one user. */
static bool use_both(const struct request *request, bool bytes, enum policy_rate_use use, uint64_t amount)
{
	const struct limits *limits = request->deployment->limits;
	const Twokey__V1__Transaction *transaction = request->transaction;
	const struct {
		struct policy_rates *rates;
		const struct policy_limit *limit;
		const char *account, *name;
	} sides[] = {
	    /* The user first: who has used up their own share must not use up that of all others. */
	    {limits->users, &request->user_limit, transaction->account, transaction->subject},
	    {limits->vendor_keys, &request->vendor_key_limit, "", request->vendor_key},
	};
	for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
		const struct policy_limit *limit = sides[i].limit;
		const struct policy_rate rate = {bytes ? limit->bytes_per_hour : limit->requests_per_minute,
		                                 bytes ? HOUR_MS : MINUTE_MS};
		if (!rate.amount)
			continue;
		autobuf struct buf key = {0};
		buf_append_byte(&key, bytes ? 'b' : 'r');
		buf_append(&key, span_of(sides[i].account, strlen(sides[i].account) + 1));
		buf_append_str(&key, sides[i].name);
		if (!policy_rates_use(sides[i].rates, buf_span(&key), &rate, use, amount, clock_monotonic_us()))
			return false;
	}
	return true;
}

bool limits_admit(const struct request *request)
{
	return use_both(request, true, POLICY_RATE_LOOK, 0) && use_both(request, false, POLICY_RATE_TAKE, 1);
}

void limits_charge(const struct request *request, uint64_t bytes)
{
	use_both(request, true, POLICY_RATE_CHARGE, bytes);
}
