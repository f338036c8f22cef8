#include "s3client/http_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

/* Beyond this many idle handles a returned one is closed: a burst leaves no crowd of sockets behind. */
#define IDLE_MAX 64

struct http_pool {
	struct http_options options;
	char *ca_file, *proxy;
	pthread_mutex_t lock;
	struct http_handle *idle; /* most recently used first: its connection is the likeliest to be alive */
	size_t n_idle;
};

static void global_init(void)
{
	/* OpenSSL writes to a connection that the server has closed without MSG_NOSIGNAL. */
	struct sigaction action;
	if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
		fputs("twokey: libcurl cannot be initialised\n", stderr);
		abort();
	}
}

struct http_pool *http_pool_new(const struct http_options *options)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, global_init);
	struct http_pool *pool = xcalloc(1, sizeof *pool);
	pool->options = *options;
	if (options->ca_file)
		pool->options.ca_file = pool->ca_file = xstrdup(options->ca_file);
	if (options->proxy)
		pool->options.proxy = pool->proxy = xstrdup(options->proxy);
	pthread_mutex_init(&pool->lock, NULL);
	return pool;
}

static struct http_handle *handle_new(void)
{
	struct http_handle *handle = xcalloc(1, sizeof *handle);
	handle->multi = curl_multi_init();
	handle->easy = curl_easy_init();
	if (!handle->multi || !handle->easy) {
		fputs("twokey: out of memory\n", stderr);
		abort();
	}
	curl_multi_setopt(handle->multi, CURLMOPT_MAXCONNECTS, 1L);
	return handle;
}

static void handle_free(struct http_handle *handle)
{
	curl_easy_cleanup(handle->easy);
	curl_multi_cleanup(handle->multi);
	free(handle);
}

void http_pool_free(struct http_pool *pool)
{
	if (!pool)
		return;
	while (pool->idle) {
		struct http_handle *handle = pool->idle;
		pool->idle = handle->next;
		handle_free(handle);
	}
	pthread_mutex_destroy(&pool->lock);
	free(pool->ca_file);
	free(pool->proxy);
	free(pool);
}

size_t http_pool_idle(struct http_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	size_t n = pool->n_idle;
	pthread_mutex_unlock(&pool->lock);
	return n;
}

const struct http_options *http_pool_options(const struct http_pool *pool)
{
	return &pool->options;
}

struct http_handle *http_pool_take(struct http_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	struct http_handle *handle = pool->idle;
	if (handle) {
		pool->idle = handle->next;
		pool->n_idle--;
	}
	pthread_mutex_unlock(&pool->lock);
	if (!handle)
		return handle_new();
	handle->next = NULL;
	return handle;
}

void http_pool_give_back(struct http_pool *pool, struct http_handle *handle)
{
	/* Nothing of one exchange (pointers to its memory, its Authorization header) stays for the next. */
	curl_easy_reset(handle->easy);
	pthread_mutex_lock(&pool->lock);
	bool keep = pool->n_idle < IDLE_MAX;
	if (keep) {
		handle->next = pool->idle;
		pool->idle = handle;
		pool->n_idle++;
	}
	pthread_mutex_unlock(&pool->lock);
	if (!keep)
		handle_free(handle);
}
