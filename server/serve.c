/* The life of a server: open, serve, drain, close. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "proto/descriptors.h"
#include "server/abuse.h"
#include "server/checkpoints.h"
#include "server/deployment.h"
#include "server/gaps.h"
#include "server/health.h"
#include "server/last_resort.h"
#include "server/methods.h"
#include "server/reload.h"
#include "server/server.h"
#include "server/web_console.h"

#define AFTER_DRAIN_MS 10000 /* for calls that the token keeps */
#define TEND_S         1     /* how often files are looked at */
#define ADDRESS_MAX    256

static const char *const services[] = {"twokey.v1.Gatekeeper", "twokey.v1.Audit",   "twokey.v1.Policy",
                                       "twokey.v1.Key",        "twokey.v1.Witness", NULL};

struct server {
	const struct config *config;
	struct deployment *deployment;
	struct rpc_server *rpc;
	struct rpc_method methods[METHODS_MAX];
	struct health *health;
};

/* Keys are in the token, but the day's S3 key and data keys pass through this process: no core files, no ptrace by the
 * same user. */
static void protect_memory(void)
{
	const struct rlimit none = {0, 0};
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
}

static enum err_code record_event(struct server *server, Twokey__V1__Event event, const char *detail, struct err *err)
{
	Twokey__V1__Record record = TWOKEY__V1__RECORD__INIT;
	record.event = event;
	record.detail = (char *)detail;
	record.gatekeeper = server->config->name;
	struct audit_commit commit;
	return audit_commit(server->deployment->audit, &record, NULL, &commit, err);
}

/* Borrows from the configuration and the server's own TLS. */
static struct rpc_web_options web_options(const struct config *config, const struct rpc_tls *tls)
{
	struct rpc_web_options options = {
	    .listen = config->web.listen,
	    .tls = *tls,
	    .origins = (const char *const *)config->web.origins.items,
	    .n_origins = config->web.origins.n,
	    .assets = config->web.console ? web_console_assets : NULL,
	};
	if (config->web.certificate)
		options.tls = (struct rpc_tls){
		    .certificate = config->web.certificate, .key = config->web.key, .client_ca = config->tls.client_ca};
	return options;
}

/* Borrows from the server. */
static struct rpc_server_options rpc_options(struct server *server)
{
	const struct config *config = server->config;
	const bool in_token = config_tls_in_token(config);
	methods_table(server->deployment, server->methods);
	const struct rpc_tls tls = {.certificate = config->tls.certificate,
	                            .key = in_token ? NULL : config->tls.key,
	                            .client_ca = config->tls.client_ca,
	                            .token_key = in_token ? &server->deployment->tls_key : NULL};
	return (struct rpc_server_options){
	    .listen = config->listen,
	    .tls = tls,
	    .methods = server->methods,
	    .unknown = methods_unknown,
	    .unknown_user = server->deployment,
	    .descriptors = config->reflection ? span_of(proto_descriptors, proto_descriptors_len) : (struct span){0},
	    .services = services,
	    .max_connections = (unsigned)config->limits.max_connections,
	    .max_calls = (unsigned)config->limits.max_calls,
	    .max_streams = (unsigned)config->limits.max_streams,
	    .web = web_options(config, &tls),
	};
}

static enum err_code start(struct server *server, struct err *err)
{
	const struct config *config = server->config;
	enum err_code code = deployment_open(config, &server->deployment, err);
	if (code == ERR_OK)
		code = deployment_open_ledger(server->deployment, err);
	if (code != ERR_OK)
		return code;
	code = gaps_record_start(server->deployment, err);
	if (code != ERR_OK)
		return code;
	code = record_event(server, TWOKEY__V1__EVENT__EVENT_START, "twokey " TWOKEY_VERSION, err);
	if (code != ERR_OK)
		return code;
	code = reload_record_start(server->deployment, err);
	if (code != ERR_OK)
		return code;
	const struct rpc_server_options options = rpc_options(server);
	return rpc_server_start(&options, &server->rpc, err);
}

/* With the port that was bound. */
static void address_format(const char *listen, unsigned port, char address[ADDRESS_MAX])
{
	const char *colon = strrchr(listen, ':');
	snprintf(address, ADDRESS_MAX, "%.*s:%u", colon ? (int)(colon - listen) : 0, listen, port);
}

static void announce(const struct server *server)
{
	char address[ADDRESS_MAX];
	if (server->config->web.listen) {
		address_format(server->config->web.listen, rpc_server_web_port(server->rpc), address);
		log_event(LOG_INFO, "serving browsers", "address", address, NULL);
	}
	address_format(server->config->listen, rpc_server_port(server->rpc), address);
	autobuf struct buf vkey = {0};
	if (checkpoints_vkey(server->deployment, &vkey, NULL) == ERR_OK)
		log_event(LOG_INFO, "checkpoints", "vkey", buf_cstr(&vkey), NULL);
	log_event(LOG_INFO, "serving", "address", address, "role",
	          server->config->role == CONFIG_VENDOR ? "vendor" : "gatekeeper", "name", server->config->name,
	          "transaction_key", hsm_key_id(keys_transaction(server->deployment->keys)), NULL);
	sd_notifyf(0, "READY=1\nSTATUS=serving %s", address);
}

static void follow_keys(struct server *server)
{
	struct err err = {0};
	if (deployment_follow_keys(server->deployment, &err) != ERR_OK)
		log_event(LOG_ERROR, "changed credentials cannot be used", "error", err.text, NULL);
}

/* Until SIGTERM or SIGINT. SIGHUP, and files that have changed, bring new rules, authorities and revocation lists. */
static int run_until_stopped(struct server *server, const sigset_t *signals)
{
	const struct timespec period = {.tv_sec = TEND_S};
	struct gaps_watch watch = {0};
	for (;;) {
		int got = sigtimedwait(signals, NULL, &period);
		if (got == SIGTERM || got == SIGINT)
			return got;
		if (got == SIGHUP)
			reload_all_because(server->deployment, "SIGHUP");
		reload_if_changed(server->deployment);
		restricting_tend(server->deployment->restrictions);
		follow_keys(server);
		gaps_look(&watch, server->deployment);
		abuse_tend(server->deployment, false);
	}
}

static void stop(struct server *server)
{
	if (server->rpc) {
		log_event(LOG_INFO, "draining", NULL);
		sd_notify(0, "STOPPING=1\nSTATUS=draining");
		health_stop(server->health);
		const unsigned drain_ms = (unsigned)server->config->limits.drain * 1000;
		struct last_resort *resort = last_resort_start(server->deployment->hsm, drain_ms + AFTER_DRAIN_MS);
		rpc_server_stop(server->rpc, drain_ms);
		abuse_tend(server->deployment, true);
		struct err err = {0};
		if (record_event(server, TWOKEY__V1__EVENT__EVENT_STOP, "", &err) != ERR_OK)
			log_event(LOG_ERROR, "the stop could not be recorded", "error", err.text, NULL);
		checkpoints_close(server->deployment);
		last_resort_stop(resort);
	}
	deployment_close(server->deployment);
}

enum err_code server_run(const struct config *config, struct err *err)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	protect_memory();
	log_setup((enum log_level)config->log.level, (enum log_format)config->log.format);
	rpc_init();
	struct server server = {.config = config};
	enum err_code code = start(&server, err);
	if (code == ERR_OK) {
		server.health = health_start(server.deployment, server.rpc);
		announce(&server);
		int got = run_until_stopped(&server, &signals);
		log_event(LOG_INFO, "stopping", "signal", got == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
	}
	stop(&server);
	rpc_shutdown();
	if (code == ERR_OK)
		log_event(LOG_INFO, "stopped", NULL);
	return code;
}

enum err_code server_check(const struct config *config, struct err *err)
{
	rpc_init();
	struct server server = {.config = config};
	enum err_code code = deployment_open(config, &server.deployment, err);
	if (code == ERR_OK) {
		const struct rpc_server_options options = rpc_options(&server);
		code = rpc_server_check(&options, err);
	}
	deployment_close(server.deployment);
	rpc_shutdown();
	return code;
}
