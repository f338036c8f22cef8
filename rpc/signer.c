#include "rpc/signer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <openssl/x509.h>

#include "common/log.h"

#define THREADS       4
#define WAIT_S        3
#define SIGNATURE_MAX 128
#define STACK_BYTES   ((size_t)1 << 20) /* PKCS#11 modules and their crypto libraries */

/* Belongs to the thread that waits for it, or, once abandoned, to the one that signs. */
struct job {
	struct job *next;
	uint8_t digest[32];
	struct buf sig;
	bool done, ok, abandoned;
};

struct rpc_signer {
	atomic_uint references;
	struct rpc_token_key key; /* its spki is a copy */
	struct buf spki;
	pthread_mutex_t lock;
	pthread_cond_t work, done; /* monotonic clock */
	struct job *first, **last;
	unsigned waiting; /* jobs in the list */
	unsigned idle;    /* threads that wait for one, or have just been started */
	unsigned overdue; /* jobs that were abandoned and are not done */
	unsigned n_threads;
	bool closing;
	pthread_t threads[THREADS];
};

static bool is_p256(struct span spki)
{
	char group[32] = "";
	const unsigned char *at = spki.ptr;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)spki.len);
	bool ok = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	          EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 && strcmp(group, "prime256v1") == 0;
	EVP_PKEY_free(key);
	return ok;
}

enum err_code rpc_signer_new(const struct rpc_token_key *key, struct rpc_signer **ret, struct err *err)
{
	if (!is_p256(key->spki))
		return err_set(err, ERR_INVALID, 0, "TLS key: a key in the token must be EC P-256");
	struct rpc_signer *signer = xcalloc(1, sizeof(*signer));
	atomic_init(&signer->references, 1);
	buf_append(&signer->spki, key->spki);
	signer->key = *key;
	signer->key.spki = buf_span(&signer->spki);
	signer->last = &signer->first;
	pthread_mutex_init(&signer->lock, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&signer->work, &monotonic);
	pthread_cond_init(&signer->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*ret = signer;
	return ERR_OK;
}

struct rpc_signer *rpc_signer_ref(struct rpc_signer *signer)
{
	atomic_fetch_add(&signer->references, 1);
	return signer;
}

void rpc_signer_unref(struct rpc_signer *signer)
{
	if (!signer || atomic_fetch_sub(&signer->references, 1) > 1)
		return;
	pthread_cond_destroy(&signer->done);
	pthread_cond_destroy(&signer->work);
	pthread_mutex_destroy(&signer->lock);
	buf_done(&signer->spki);
	free(signer);
}

struct span rpc_signer_spki(const struct rpc_signer *signer)
{
	return signer->key.spki;
}

/* ---- those who sign ---- */

static void job_free(struct job *job)
{
	buf_done(&job->sig);
	free(job);
}

static struct job *take_locked(struct rpc_signer *signer)
{
	while (!signer->first && !signer->closing)
		pthread_cond_wait(&signer->work, &signer->lock);
	struct job *job = signer->first;
	if (!job)
		return NULL;
	signer->first = job->next;
	if (!signer->first)
		signer->last = &signer->first;
	signer->waiting--;
	return job;
}

static void run(const struct rpc_signer *signer, struct job *job)
{
	struct err err = {0};
	job->ok = signer->key.sign(signer->key.user, job->digest, &job->sig, &err) == ERR_OK;
	if (!job->ok)
		log_event(LOG_DEBUG, "no TLS signature", "error", err.text, NULL);
}

static void end_locked(struct rpc_signer *signer, struct job *job)
{
	job->done = true;
	if (job->abandoned) {
		signer->overdue--;
		job_free(job);
	} else {
		pthread_cond_broadcast(&signer->done);
	}
}

static void *work(void *user)
{
	struct rpc_signer *signer = user;
	struct job *job;
	pthread_mutex_lock(&signer->lock);
	while ((job = take_locked(signer))) {
		signer->idle--;
		if (!job->abandoned) {
			pthread_mutex_unlock(&signer->lock);
			run(signer, job);
			pthread_mutex_lock(&signer->lock);
		}
		end_locked(signer, job);
		signer->idle++;
	}
	pthread_mutex_unlock(&signer->lock);
	return NULL;
}

static void spawn_locked(struct rpc_signer *signer)
{
	if (signer->n_threads == THREADS)
		return;
	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	if (pthread_create(&signer->threads[signer->n_threads], &attributes, work, signer) == 0) {
		signer->n_threads++;
		signer->idle++;
	}
	pthread_attr_destroy(&attributes);
}

void rpc_signer_close(struct rpc_signer *signer)
{
	pthread_mutex_lock(&signer->lock);
	signer->closing = true;
	pthread_cond_broadcast(&signer->work);
	pthread_mutex_unlock(&signer->lock);
	for (unsigned i = 0; i < signer->n_threads; i++)
		pthread_join(signer->threads[i], NULL);
}

/* ---- those who wait ---- */

static bool submit_locked(struct rpc_signer *signer, struct job *job)
{
	if (signer->closing || signer->overdue > 0)
		return false;
	if (signer->waiting >= signer->idle)
		spawn_locked(signer);
	if (signer->n_threads == 0)
		return false;
	*signer->last = job;
	signer->last = &job->next;
	signer->waiting++;
	pthread_cond_signal(&signer->work);
	return true;
}

static void wait_locked(struct rpc_signer *signer, struct job *job)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	int rc = 0;
	while (!job->done && rc == 0)
		rc = pthread_cond_timedwait(&signer->done, &signer->lock, &until);
	job->abandoned = !job->done;
	if (job->abandoned)
		signer->overdue++;
}

bool rpc_signer_sign(struct rpc_signer *signer, const uint8_t digest[32], struct buf *sig)
{
	struct job *job = xcalloc(1, sizeof(*job));
	memcpy(job->digest, digest, sizeof(job->digest));
	job->sig.max = SIGNATURE_MAX;
	pthread_mutex_lock(&signer->lock);
	bool submitted = submit_locked(signer, job);
	if (submitted)
		wait_locked(signer, job);
	bool abandoned = job->abandoned, ok = submitted && !abandoned && job->ok;
	pthread_mutex_unlock(&signer->lock);
	if (ok)
		buf_append(sig, buf_span(&job->sig));
	if (!abandoned)
		job_free(job);
	return ok && !sig->failed;
}
