#include "rpc/accept_guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/unit/rpc/fixture.h"

static const struct rpc_method no_methods[] = {{0}};

/* The server's accept holds the last descriptor for a moment even when nobody waits to be let in: so is waited for. */
static int socket_patiently(void)
{
	int fd;
	while ((fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 && errno == EMFILE)
		sched_yield();
	return fd;
}

static int dup_patiently(void)
{
	int fd;
	while ((fd = dup(0)) < 0 && errno == EMFILE)
		sched_yield();
	return fd;
}

static int connect_to(unsigned port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket_patiently();
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The server says nothing before the client does: so what can be read is the end. */
static bool sent_away(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	char byte;
	return poll(&poll_fd, 1, -1) == 1 && recv(fd, &byte, 1, 0) <= 0;
}

static enum err_code check(struct fixture *f)
{
	autobuf struct buf response = {0};
	struct rpc_client *client = fixture_client(f, false);
	enum err_code code = fixture_unary(client, "/grpc.health.v1.Health/Check", "", &response);
	rpc_client_free(client);
	return code;
}

static void test_out_of_descriptors(void **state)
{
	(void)state;
	struct fixture f;
	fixture_start(&f, no_methods);
	/* All descriptors are taken, but for one that is then the client's end: the server's accept finds none. */
	int highest = dup(0);
	close(highest);
	struct rlimit limit;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	struct rlimit low = {.rlim_cur = (rlim_t)highest + 40, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	int taken[64], n_taken = 0;
	while (n_taken < 64 && (taken[n_taken] = dup(0)) >= 0)
		n_taken++;
	for (int round = 0; round < 20; round++) {
		close(taken[--n_taken]);
		int fd = connect_to(rpc_server_port(f.server));
		assert_true(fd >= 0);
		assert_true(sent_away(fd));
		close(fd);
		taken[n_taken] = dup_patiently();
		assert_true(taken[n_taken++] >= 0);
	}
	while (n_taken > 0)
		close(taken[--n_taken]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(check(&f), ERR_OK);
	fixture_stop(&f);
}

static void check_cap(unsigned max_connections, unsigned max_per_address)
{
	struct fixture f;
	fixture_init(&f);
	struct rpc_server_options options = fixture_options(&f, no_methods);
	options.max_connections = max_connections;
	options.max_connections_per_address = max_per_address;
	fixture_serve(&f, &options);
	int held[5];
	for (int i = 0; i < 5; i++)
		held[i] = connect_to(rpc_server_port(f.server));
	for (int i = 0; i < 10; i++) {
		int fd = connect_to(rpc_server_port(f.server));
		assert_true(sent_away(fd));
		close(fd);
	}
	/* Room again as soon as the server has noticed that the others are gone. */
	for (int i = 0; i < 5; i++)
		close(held[i]);
	enum err_code code;
	int tries = 0;
	while ((code = check(&f)) != ERR_OK && tries++ < 500)
		assert_int_equal(code, ERR_UNAVAILABLE);
	assert_int_equal(code, ERR_OK);
	fixture_stop(&f);
}

static void test_cap_on_all(void **state)
{
	(void)state;
	check_cap(5, 100);
}

static void test_cap_per_address(void **state)
{
	(void)state;
	check_cap(100, 5);
}

static int listener(unsigned *ret_port)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	socklen_t len = sizeof(own);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	*ret_port = ntohs(own.sin_port);
	return fd;
}

/* Sockets of others see what the kernel says. */
static void test_others_pass_through(void **state)
{
	(void)state;
	unsigned port;
	int fd = listener(&port), clients[3];
	for (int i = 0; i < 3; i++) {
		clients[i] = connect_to(port);
		struct sockaddr_in peer;
		socklen_t len = sizeof(peer);
		int accepted = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		assert_true(accepted >= 0);
		assert_int_equal(peer.sin_family, AF_INET);
		close(accepted);
		close(clients[i]);
	}
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(accept4(fd, NULL, NULL, 0), -1);
	assert_int_equal(errno, EAGAIN);
	close(fd);
	assert_int_equal(accept4(fd, NULL, NULL, 0), -1);
	assert_int_equal(errno, EBADF);
}

static void test_guarded_listener(void **state)
{
	(void)state;
	unsigned port;
	struct err err = {0};
	int fd = listener(&port);
	assert_ok(rpc_accept_guard_add(port, 2, 2, &err), err);
	int clients[3], accepted[3];
	for (int i = 0; i < 3; i++) {
		clients[i] = connect_to(port);
		struct sockaddr_in peer = {0};
		socklen_t len = sizeof(peer);
		accepted[i] = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		if (i < 2)
			assert_int_equal(peer.sin_family, AF_INET);
	}
	assert_true(accepted[0] >= 0 && accepted[1] >= 0);
	assert_int_equal(accepted[2], -1);
	assert_true(sent_away(clients[2]));
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(accept4(fd, NULL, NULL, 0), -1);
	assert_int_equal(errno, EAGAIN);
	/* Its descriptor is used again: so that one is closed, without asking the kernel about all. */
	assert_true(connect_to(port) >= 0);
	close(accepted[0]);
	assert_int_equal(accept4(fd, NULL, NULL, SOCK_CLOEXEC), accepted[0]);
	rpc_accept_guard_remove(port);
	close(fd);
}

static void test_too_many_ports(void **state)
{
	(void)state;
	struct err err = {0};
	for (unsigned port = 1; port <= 16; port++)
		assert_ok(rpc_accept_guard_add(port, 1, 1, &err), err);
	assert_err(rpc_accept_guard_add(17, 1, 1, &err), ERR_UNAVAILABLE);
	rpc_accept_guard_remove(5);
	assert_ok(rpc_accept_guard_add(17, 1, 1, &err), err);
	for (unsigned port = 1; port <= 17; port++)
		rpc_accept_guard_remove(port);
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_out_of_descriptors), cmocka_unit_test(test_cap_on_all),
             cmocka_unit_test(test_cap_per_address), cmocka_unit_test(test_others_pass_through),
             cmocka_unit_test(test_guarded_listener), cmocka_unit_test(test_too_many_ports))
