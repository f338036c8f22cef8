/* The process as the room needs it. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include "common/log.h"
#include "rpc/rpc.h"

/* The core's log is the only place where it tells. */
static const char refused_words[] = "Handshake failed with fatal error ";

static pthread_mutex_t refused_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned refused_count;
static char refused_text[RPC_REFUSED_TEXT_MAX];

static void note_refused(const char *message)
{
	pthread_mutex_lock(&refused_lock);
	refused_count++;
	snprintf(refused_text, sizeof refused_text, "%s", message + sizeof refused_words - 1);
	pthread_mutex_unlock(&refused_lock);
}

unsigned rpc_refused_handshakes(char text[RPC_REFUSED_TEXT_MAX])
{
	pthread_mutex_lock(&refused_lock);
	unsigned n = refused_count;
	memcpy(text, refused_text, RPC_REFUSED_TEXT_MAX);
	refused_count = 0;
	pthread_mutex_unlock(&refused_lock);
	return n;
}

static void core_log(gpr_log_func_args *args)
{
	if (strncmp(args->message, refused_words, sizeof refused_words - 1) == 0)
		note_refused(args->message);
	log_event(LOG_DEBUG, "grpc", "message", args->message, "severity", gpr_log_severity_string(args->severity), NULL);
}

static void descriptors_raise(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

void rpc_init(void)
{
	signal(SIGPIPE, SIG_IGN);
	descriptors_raise();
	gpr_set_log_function(core_log);
	grpc_init();
}

void rpc_shutdown(void)
{
	grpc_shutdown_blocking();
}
