/* A real S3 server of one's own: versitygw over a folder of its own, on a free port of 127.0.0.1. */
#ifndef TWOKEY_TESTS_UNIT_S3CLIENT_S3_SERVER_H
#define TWOKEY_TESTS_UNIT_S3CLIENT_S3_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "s3client/s3.h"
#include "tests/unit/harness.h"

#define SERVER_ID     "AKIDEXAMPLE"
#define SERVER_SECRET "a secret/of+the bucket="
#define SERVER_REGION "eu-central-1"
#define SERVER_BUCKET "test-bucket"
#define SKIPPED       77 /* what CTest takes for "could not be run here" */

struct s3_server {
	char folder[64], endpoint[64], certificate[96];
	int port;
	pid_t pid;
};

/* What the token does, with `user` as the secret. */
static inline enum err_code secret_date_key(void *user, const char *yyyymmdd, uint8_t out[32], struct err *err)
{
	(void)err;
	autofree char *key = xasprintf("AWS4%s", (const char *)user);
	unsigned len = 32;
	HMAC(EVP_sha256(), key, (int)strlen(key), (const uint8_t *)yyyymmdd, strlen(yyyymmdd), out, &len);
	return ERR_OK;
}

static inline struct s3_options server_options(const struct s3_server *server)
{
	return (struct s3_options){.endpoint = server->endpoint,
	                           .region = SERVER_REGION,
	                           .bucket = SERVER_BUCKET,
	                           .path_style = true,
	                           .part_bytes = (uint64_t)5 << 20,
	                           .credentials = {SERVER_ID, secret_date_key, SERVER_SECRET}};
}

/* Connected (>= 0), or not. */
static inline bool port_answers(int port)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
}

/* A port below 32768 that nobody listens on. */
static inline int free_port(void)
{
	for (int i = 0;; i++) {
		int port = 20000 + (getpid() * 7 + i * 131) % 12000, one = 1;
		struct sockaddr_in address = {
		    .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0)
			return port;
	}
}

static inline char *server_binary(void)
{
	const char *tools = getenv("TWOKEY_TOOLS");
	char *path =
	    tools ? xasprintf("%s/bin/versitygw", tools) : xasprintf("%s/../build/tools/bin/versitygw", TEST_SOURCE_DIR);
	if (access(path, X_OK) != 0) {
		fprintf(stderr, "skipped: %s is not there\n", path);
		exit(SKIPPED);
	}
	return path;
}

static inline void server_exec(const struct s3_server *server, const char *binary, bool tls)
{
	autofree char *address = xasprintf("127.0.0.1:%d", server->port), *key = xasprintf("%s/key.pem", server->folder);
	autofree char *data = xasprintf("%s/data", server->folder), *versions = xasprintf("%s/versions", server->folder);
	char *arguments[32] = {(char *)binary, "--port",   address,       "--access",     SERVER_ID, "--secret",
	                       SERVER_SECRET,  "--region", SERVER_REGION, "--keep-alive", "--quiet"};
	int n = 11;
	if (tls) {
		char *more[] = {"--cert", (char *)server->certificate, "--key", key};
		memcpy(arguments + n, more, sizeof more);
		n += 4;
	}
	char *backend[] = {"posix", "--versioning-dir", versions, data};
	memcpy(arguments + n, backend, sizeof backend);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execv(binary, arguments);
	_exit(127);
}

static inline void make_certificate(struct s3_server *server)
{
	snprintf(server->certificate, sizeof server->certificate, "%s/cert.pem", server->folder);
	autofree char *command =
	    xasprintf("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test "
	              "-addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem -out %s 2>/dev/null",
	              server->folder, server->certificate);
	assert_int_equal(system(command), 0);
}

/* Waits until the server answers, or has ended: somebody else may have taken the port. */
static inline bool server_started(struct s3_server *server)
{
	while (!port_answers(server->port)) {
		int status;
		if (waitpid(server->pid, &status, WNOHANG) == server->pid)
			return false;
		poll(NULL, 0, 10);
	}
	return true;
}

static inline void server_make_bucket(const struct s3_server *server)
{
	struct s3_options options = server_options(server);
	if (server->certificate[0])
		options.ca_file = server->certificate;
	struct store *store = NULL;
	struct err err = {0};
	assert_ok(store_open_s3(&options, &store, &err), err);
	struct s3_call call = {.operation = "CreateBucket", .method = "PUT"};
	struct s3_reply reply = {0};
	assert_ok(s3_send(s3_of(store), &call, &reply, &err), err);
	s3_reply_done(&reply);
	store_free(store);
}

static inline void server_start(struct s3_server *server, bool tls)
{
	*server = (struct s3_server){0};
	autofree char *binary = server_binary();
	snprintf(server->folder, sizeof server->folder, "/tmp/twokey-s3-XXXXXX");
	assert_non_null(mkdtemp(server->folder));
	static const char *const folders[] = {"data", "versions"};
	for (int i = 0; i < 2; i++) {
		autofree char *path = xasprintf("%s/%s", server->folder, folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	if (tls)
		make_certificate(server);
	do {
		server->port = free_port();
		server->pid = fork();
		if (server->pid == 0)
			server_exec(server, binary, tls);
	} while (!server_started(server));
	snprintf(server->endpoint, sizeof server->endpoint, "http%s://127.0.0.1:%d", tls ? "s" : "", server->port);
	server_make_bucket(server);
}

static inline int server_remove_one(const char *name, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(name);
}

static inline void server_stop(struct s3_server *server)
{
	int status;
	kill(server->pid, SIGKILL);
	waitpid(server->pid, &status, 0);
	assert_int_equal(nftw(server->folder, server_remove_one, 64, FTW_DEPTH | FTW_PHYS), 0);
}

#endif
