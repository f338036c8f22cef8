/* C_Sign through our pool, against bare C_SignInit and C_Sign in a loop on sessions of their own: CPU per operation.
 *
 * Short rounds of both kinds alternate, so that what else happens on the machine hits both; the ratio is the median of
 * the ratios of neighbours. The operation through the pool is what the service does: a session taken and given back, a
 * deadline, the breaker, and the signature as DER. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "hsm/internal.h"
#include "tests/unit/softhsm.h"

enum {
	ROUNDS = 41,
	SIGNATURES = 500, /* per thread and round */
	THREADS_MAX = 4
};

static struct softhsm token;
static struct hsm *hsm;
static struct hsm_key *key;

static void stop(const char *what, const char *why)
{
	fprintf(stderr, "bench_hsm_sign: %s: %s\n", what, why);
	exit(1);
}

static double cpu_us(void)
{
	struct timespec cpu;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
	return (double)cpu.tv_sec * 1e6 + (double)cpu.tv_nsec / 1e3;
}

static void *bare(void *unused)
{
	(void)unused;
	CK_FUNCTION_LIST *module = hsm->module;
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	CK_SESSION_HANDLE session;
	uint8_t digest[32] = {1}, out[64];
	if (module->C_OpenSession(hsm->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session) != CKR_OK)
		stop("C_OpenSession", "failed");
	for (int i = 0; i < SIGNATURES; i++) {
		CK_ULONG len = sizeof out;
		if (module->C_SignInit(session, &mechanism, key->handle) != CKR_OK ||
		    module->C_Sign(session, digest, sizeof digest, out, &len) != CKR_OK)
			stop("C_Sign", "failed");
	}
	module->C_CloseSession(session);
	return NULL;
}

static void *pooled(void *unused)
{
	(void)unused;
	uint8_t digest[32] = {1};
	for (int i = 0; i < SIGNATURES; i++) {
		autobuf struct buf sig = {0};
		struct err err;
		if (hsm_sign(key, digest, &sig, &err) != ERR_OK)
			stop("hsm_sign", err.text);
	}
	return NULL;
}

static double one_round(void *(*work)(void *), int n_threads)
{
	pthread_t threads[THREADS_MAX];
	double before = cpu_us();
	for (int i = 0; i < n_threads; i++)
		if (pthread_create(&threads[i], NULL, work, NULL) != 0)
			stop("thread", "cannot be made");
	for (int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	return (cpu_us() - before) / n_threads / SIGNATURES;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof *values, by_size);
	return values[ROUNDS / 2];
}

static void compare(int n_threads)
{
	double ours[ROUNDS], theirs[ROUNDS], ratios[ROUNDS];
	for (int i = 0; i < ROUNDS; i++) {
		theirs[i] = one_round(bare, n_threads);
		ours[i] = one_round(pooled, n_threads);
		ratios[i] = ours[i] / theirs[i];
	}
	printf(
	    "C_Sign through our pool / bare C_Sign in a loop, CPU per operation, %d thread%s: %.3f  (%.1f us / %.1f us)\n",
	    n_threads, n_threads == 1 ? "" : "s", median(ratios), median(ours), median(theirs));
}

int main(void)
{
	struct err err;
	softhsm_setup(&token, "bench");
	struct hsm_options options = softhsm_options(&token, "pkcs11:token=bench");
	if (hsm_open(&options, &hsm, &err) != ERR_OK || hsm_generate_ec(hsm, "ec", &err) != ERR_OK ||
	    hsm_key_find(hsm, HSM_KEY_SIGN, "pkcs11:object=ec", &key, &err) != ERR_OK)
		stop("token", err.text);
	for (int threads = 1; threads <= THREADS_MAX; threads *= 2)
		compare(threads);
	hsm_free(hsm);
	softhsm_teardown(&token);
	return 0;
}
