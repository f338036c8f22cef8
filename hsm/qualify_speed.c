/* How fast is each operation, as the service runs it? */
#include <stdlib.h>
#include <time.h>

#include "hsm/qualify.h"

#define THREADS_MAX 4

static enum err_code once_sign(struct qualify *qualify, struct err *err)
{
	static const uint8_t digest[32] = {1};
	autobuf struct buf sig = {0};
	return hsm_sign(qualify->ec, digest, &sig, err);
}

static enum err_code once_hmac(struct qualify *qualify, struct err *err)
{
	uint8_t out[32];
	return hsm_hmac(qualify->mac, span_str("20150830"), out, err);
}

static enum err_code once_wrap(struct qualify *qualify, struct err *err)
{
	autosecret struct secret *plain = secret_new(HSM_AES_BYTES);
	autobuf struct buf wrapped = {0};
	return hsm_wrap(qualify->aes, span_str("aad"), plain, &wrapped, err);
}

static enum err_code once_unwrap(struct qualify *qualify, struct err *err)
{
	autosecret struct secret *back = NULL;
	return hsm_unwrap(qualify->aes, span_str("aad"), buf_span(&qualify->wrapped), &back, err);
}

static enum err_code once_random(struct qualify *qualify, struct err *err)
{
	uint8_t out[32];
	return hsm_random(qualify->hsm, out, sizeof out, err);
}

static const struct {
	const char *name;
	enum err_code (*once)(struct qualify *qualify, struct err *err);
} operations[] = {{"sign (P-256)", once_sign},
                  {"HMAC-SHA-256", once_hmac},
                  {"wrap a data key", once_wrap},
                  {"unwrap a data key", once_unwrap},
                  {"random, 32 bytes", once_random}};

struct runner {
	pthread_t thread;
	struct qualify *qualify;
	enum err_code (*once)(struct qualify *qualify, struct err *err);
	int64_t until_us, worst_us;
	uint64_t done;
	struct err err;
};

static void *run_thread(void *user)
{
	struct runner *runner = (struct runner *)user;
	int64_t now = clock_monotonic_us();
	while (now < runner->until_us) {
		if (runner->once(runner->qualify, &runner->err) != ERR_OK)
			break;
		int64_t before = now;
		now = clock_monotonic_us();
		runner->worst_us = now - before > runner->worst_us ? now - before : runner->worst_us;
		runner->done++;
	}
	return NULL;
}

static double cpu_us(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static enum err_code measure(struct qualify *qualify, size_t operation, unsigned threads, unsigned ms,
                             struct hsm_speed *ret, struct err *err)
{
	struct runner runners[THREADS_MAX] = {0};
	int64_t start = clock_monotonic_us();
	double cpu = cpu_us();
	for (unsigned i = 0; i < threads; i++) {
		runners[i].qualify = qualify;
		runners[i].once = operations[operation].once;
		runners[i].until_us = start + (int64_t)ms * 1000;
		if (pthread_create(&runners[i].thread, NULL, run_thread, &runners[i]) != 0)
			abort();
	}
	*ret = (struct hsm_speed){.operation = operations[operation].name, .threads = threads};
	uint64_t done = 0;
	enum err_code code = ERR_OK;
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(runners[i].thread, NULL);
		done += runners[i].done;
		double worst = (double)runners[i].worst_us / 1e3;
		ret->worst_ms = worst > ret->worst_ms ? worst : ret->worst_ms;
		if (runners[i].err.code != ERR_OK)
			code = err_set(err, runners[i].err.code, runners[i].err.native, "%s, %u threads: %s", ret->operation,
			               threads, runners[i].err.text);
	}
	ret->per_second = (double)done * 1e6 / (double)(clock_monotonic_us() - start);
	ret->cpu_us = done ? (cpu_us() - cpu) / (double)done : 0;
	return code;
}

enum err_code hsm_qualify_measure(struct qualify *qualify, const struct hsm_qualify *asked, struct err *err)
{
	enum err_code code = hsm_qualify_wrap(qualify, err);
	for (size_t i = 0; code == ERR_OK && i < sizeof operations / sizeof operations[0]; i++)
		for (unsigned threads = 1; code == ERR_OK && threads <= THREADS_MAX; threads *= 2) {
			struct hsm_speed speed;
			code = measure(qualify, i, threads, asked->ms, &speed, err);
			if (code == ERR_OK)
				asked->speed(&speed, asked->user);
		}
	return code;
}
