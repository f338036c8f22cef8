/* The process as the room needs it. */
#include <signal.h>
#include <sys/resource.h>

#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include "common/log.h"
#include "rpc/rpc.h"

static void core_log(gpr_log_func_args *args)
{
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
