/* Where is an address? A MaxMind database, copied into memory of our own, so that nothing that happens to the file can
 * harm who is reading (a mapped file that is cut kills the process), and replaced while others read. */
#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/country.h"
#include "policy/policy.h"

#define DATABASE_MAX ((off_t)1 << 30)
#define DAY_MS       INT64_C(86400000)

/* Two slots: one is current; the other is empty, or is left by its last readers. Readers announce themselves in the
 * slot and look again whether it still is the current one; they never wait. */
struct slot {
	atomic_uint readers;
	bool open;
	MMDB_s database;
};

struct policy_countries {
	char *path;
	struct slot slots[2];
	atomic_uint current;
	pthread_mutex_t lock; /* of what follows: one refresh at a time */
	struct stat seen;     /* the file that was read last, or tried */
	bool failing;
	int64_t failing_since_ms;
	struct err trouble;
};

struct policy_countries *policy_countries_new(const char *path)
{
	struct policy_countries *countries = xcalloc(1, sizeof *countries);
	countries->path = xstrdup(path);
	pthread_mutex_init(&countries->lock, NULL);
	return countries;
}

static void slot_close(struct slot *slot)
{
	if (slot->open)
		MMDB_close(&slot->database);
	slot->open = false;
}

void policy_countries_free(struct policy_countries *countries)
{
	if (!countries)
		return;
	slot_close(&countries->slots[0]);
	slot_close(&countries->slots[1]);
	pthread_mutex_destroy(&countries->lock);
	free(countries->path);
	free(countries);
}

/* ---- reading the file ---- */

static int copy_of(int file, off_t size)
{
	int copy = memfd_create("countries", MFD_CLOEXEC);
	for (off_t left = size; copy >= 0 && left > 0;) {
		ssize_t n = sendfile(copy, file, NULL, (size_t)left);
		if (n <= 0) {
			close(copy);
			return -1;
		}
		left -= n;
	}
	return copy;
}

static enum err_code open_copy(const struct policy_countries *countries, int copy, MMDB_s *ret, struct err *err)
{
	char name[32];
	snprintf(name, sizeof name, "/proc/self/fd/%d", copy);
	int status = MMDB_open(name, MMDB_MODE_MMAP, ret);
	if (status == MMDB_SUCCESS)
		return ERR_OK;
	return err_set(err, ERR_CORRUPT, status, "%s: %s", countries->path, MMDB_strerror(status));
}

static enum err_code open_database(const struct policy_countries *countries, MMDB_s *ret, struct err *err)
{
	autofd int file = open(countries->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	if (file < 0 || fstat(file, &st) != 0)
		return err_set(err, ERR_NOT_FOUND, errno, "%s: %s", countries->path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size > DATABASE_MAX)
		return err_set(err, ERR_INVALID, 0, "%s: no file, or a file of more than 1 GiB", countries->path);
	autofd int copy = copy_of(file, st.st_size);
	if (copy < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "%s: cannot be read", countries->path);
	return open_copy(countries, copy, ret, err);
}

/* ---- replacing ---- */

/* Makes a database current, or none. The last readers of the slot's former one have been gone for long: readers stay
 * for a microsecond, refreshes are seconds apart. */
static void put(struct policy_countries *countries, const MMDB_s *database)
{
	unsigned next = 1 - atomic_load(&countries->current);
	struct slot *slot = &countries->slots[next];
	while (atomic_load(&slot->readers))
		sched_yield();
	slot_close(slot);
	if (database) {
		slot->database = *database;
		slot->open = true;
	}
	atomic_store(&countries->current, next);
}

static bool has_changed(struct policy_countries *countries)
{
	struct stat now = {0};
	if (stat(countries->path, &now) != 0)
		now = (struct stat){0};
	const struct stat *seen = &countries->seen;
	bool same = now.st_ino == seen->st_ino && now.st_dev == seen->st_dev && now.st_size == seen->st_size &&
	            now.st_mtim.tv_sec == seen->st_mtim.tv_sec && now.st_mtim.tv_nsec == seen->st_mtim.tv_nsec;
	countries->seen = now;
	return !same;
}

static enum err_code fail(struct policy_countries *countries, int64_t now_ms, struct err *err)
{
	if (!countries->failing)
		countries->failing_since_ms = now_ms;
	countries->failing = true;
	bool current = countries->slots[atomic_load(&countries->current)].open;
	if (current && now_ms - countries->failing_since_ms >= POLICY_COUNTRIES_GRACE_MS)
		put(countries, NULL);
	if (err)
		*err = countries->trouble;
	return countries->trouble.code;
}

static enum err_code refresh_locked(struct policy_countries *countries, int64_t now_ms, bool *ret_loaded,
                                    struct err *err)
{
	bool changed = has_changed(countries);
	bool open = countries->slots[atomic_load(&countries->current)].open;
	if (!changed && open && !countries->failing)
		return ERR_OK;
	MMDB_s database;
	if (open_database(countries, &database, &countries->trouble) != ERR_OK)
		return fail(countries, now_ms, err);
	countries->failing = false;
	put(countries, &database);
	*ret_loaded = true;
	return ERR_OK;
}

enum err_code policy_countries_refresh(struct policy_countries *countries, int64_t now_ms,
                                       struct policy_countries_state *ret, struct err *err)
{
	*ret = (struct policy_countries_state){0};
	pthread_mutex_lock(&countries->lock);
	enum err_code code = refresh_locked(countries, now_ms, &ret->loaded, err);
	const struct slot *slot = &countries->slots[atomic_load(&countries->current)];
	ret->usable = slot->open;
	if (slot->open) {
		ret->built_ms = (int64_t)slot->database.metadata.build_epoch * 1000;
		ret->old = now_ms - ret->built_ms > POLICY_COUNTRIES_OLD_DAYS * DAY_MS;
	}
	pthread_mutex_unlock(&countries->lock);
	return code;
}

/* ---- asking ---- */

static MMDB_lookup_result_s lookup(const MMDB_s *database, const struct ip_addr *addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	int error = MMDB_SUCCESS;
	MMDB_lookup_result_s found;
	if (memcmp(addr->bytes, mapped, sizeof mapped) == 0) {
		struct sockaddr_in v4 = {.sin_family = AF_INET};
		memcpy(&v4.sin_addr, addr->bytes + sizeof mapped, sizeof v4.sin_addr);
		found = MMDB_lookup_sockaddr(database, (const struct sockaddr *)&v4, &error);
	} else {
		struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
		memcpy(&v6.sin6_addr, addr->bytes, sizeof v6.sin6_addr);
		found = MMDB_lookup_sockaddr(database, (const struct sockaddr *)&v6, &error);
	}
	found.found_entry = found.found_entry && error == MMDB_SUCCESS;
	return found;
}

static void find(const MMDB_s *database, const struct ip_addr *addr, char out[3])
{
	static const char *const path[] = {"country", "iso_code", NULL};
	MMDB_lookup_result_s found = lookup(database, addr);
	MMDB_entry_data_s data;
	if (!found.found_entry || MMDB_aget_value(&found.entry, &data, path) != MMDB_SUCCESS || !data.has_data ||
	    data.type != MMDB_DATA_TYPE_UTF8_STRING || data.data_size != 2)
		return;
	const char code[3] = {data.utf8_string[0], data.utf8_string[1], '\0'};
	if (policy_country_is_known(code))
		memcpy(out, code, sizeof code);
}

void policy_country(struct policy_countries *countries, const struct ip_addr *addr, char out[3])
{
	memset(out, 0, 3);
	if (!countries)
		return;
	for (;;) {
		unsigned current = atomic_load(&countries->current);
		struct slot *slot = &countries->slots[current];
		atomic_fetch_add(&slot->readers, 1);
		bool still = atomic_load(&countries->current) == current;
		if (still && slot->open)
			find(&slot->database, addr, out);
		atomic_fetch_sub(&slot->readers, 1);
		if (still)
			return;
	}
}
