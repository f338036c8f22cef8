#include "audit/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"

enum {
	PERIOD_US = 60000000, /* another one is due after so long, if anything has happened */
	PAGE_BUCKETS = 1024,  /* looked at in one hold of the lock */
	DURABLE_MS = 10000,   /* how long the records may take that it has seen */
	USE_BYTES = 68,       /* of an entry in the file */
	TRANSFER_BYTES = 12,  /* of an entry, and the record */
	SEAL_MAX = 16 << 10,
	ATTEMPTS = 3,
};

static const char magic[8] = "T2KSTATE";
enum { VERSION = 1 };

/* ---- bytes in and out, hashed on the way ---- */

struct file {
	FILE *stream;
	EVP_MD_CTX *hash;
	bool failed;
};

static bool file_init(struct file *file, const char *path, const char *mode)
{
	*file = (struct file){.stream = fopen(path, mode), .hash = EVP_MD_CTX_new()};
	if (!file->hash || !EVP_DigestInit_ex(file->hash, EVP_sha256(), NULL))
		abort(); /* libcrypto without SHA-256: nothing could be trusted */
	if (file->stream)
		setvbuf(file->stream, NULL, _IOFBF, 1 << 20);
	return file->stream != NULL;
}

static void file_done(struct file *file)
{
	if (file->stream)
		fclose(file->stream);
	EVP_MD_CTX_free(file->hash);
}

static void put(struct file *file, struct span bytes)
{
	EVP_DigestUpdate(file->hash, bytes.ptr, bytes.len);
	file->failed |= fwrite(bytes.ptr, 1, bytes.len, file->stream) != bytes.len;
}

static bool get(struct file *file, void *out, size_t len)
{
	file->failed |= fread(out, 1, len, file->stream) != len;
	if (!file->failed)
		EVP_DigestUpdate(file->hash, out, len);
	return !file->failed;
}

static uint64_t number_at(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

static bool get_number(struct file *file, uint64_t *ret)
{
	uint8_t bytes[8] = {0};
	if (!get(file, bytes, sizeof(bytes)))
		return false;
	*ret = number_at(bytes, sizeof(bytes));
	return true;
}

static void finish(struct file *file, uint8_t sha256[32])
{
	EVP_DigestFinal_ex(file->hash, sha256, NULL);
}

/* ---- writing ---- */

static void put_use(const struct audit_uses_entry *entry, void *user)
{
	autobuf struct buf out = {0};
	buf_append(&out, span_of(entry->id, sizeof(entry->id)));
	buf_append(&out, span_of(entry->sha256, sizeof(entry->sha256)));
	buf_append_u32be(&out, entry->spent);
	buf_append_u64be(&out, (uint64_t)entry->forget_ms);
	buf_append_u64be(&out, entry->last_index);
	buf_append((struct buf *)user, buf_span(&out));
}

/* Page by page, so that commits wait for one page at most. An entry that changes behind us is of a record that a start
 * will read. False: the table has been made anew meanwhile, and its order with it. */
static bool put_uses(struct audit_log *log, struct file *file)
{
	autobuf struct buf page = {.max = (size_t)1 << 30};
	struct audit_uses_cursor cursor = {0};
	bool more = true;
	while (more && !file->failed) {
		buf_clear(&page);
		pthread_mutex_lock(&log->lock);
		more = audit_uses_page(log->uses, &cursor, PAGE_BUCKETS, log->last_ms, put_use, &page);
		pthread_mutex_unlock(&log->lock);
		uint8_t count[8];
		for (size_t i = 0; i < 8; i++)
			count[i] = (uint8_t)((uint64_t)(page.len / USE_BYTES) >> (56 - 8 * i));
		if (page.len) {
			put(file, span_of(count, sizeof(count)));
			put(file, buf_span(&page));
		}
	}
	static const uint8_t end[8] = {0};
	put(file, span_of(end, sizeof(end)));
	return !cursor.lost;
}

static void put_transfers(struct audit_log *log, struct file *file)
{
	size_t n;
	pthread_mutex_lock(&log->lock);
	struct audit_transfer *list = audit_transfers_list(log->transfers, &n);
	pthread_mutex_unlock(&log->lock);
	for (size_t i = 0; i < n; i++) {
		autobuf struct buf out = {0};
		buf_append_u64be(&out, list[i].index);
		buf_append_u32be(&out, (uint32_t)list[i].bytes.len);
		buf_append(&out, buf_span(&list[i].bytes));
		put(file, buf_span(&out));
	}
	audit_transfers_list_free(list, n);
	autobuf struct buf end = {0};
	buf_append_u64be(&end, UINT64_MAX);
	buf_append_u32be(&end, 0);
	put(file, buf_span(&end));
}

static void put_position(struct file *file, const struct audit_position *position)
{
	autobuf struct buf out = {0};
	buf_append_u64be(&out, position->next);
	buf_append(&out, span_of(position->chain, sizeof(position->chain)));
	put(file, buf_span(&out));
}

/* All that the state has seen must be durable before it may count. */
static enum err_code await_durable(struct audit_log *log, struct audit_position *ret, struct err *err)
{
	pthread_mutex_lock(&log->lock);
	uint64_t seen = log->next_index;
	pthread_mutex_unlock(&log->lock);
	if (atomic_load(&log->committed) < seen)
		audit_ledger_follow(&log->ledger, seen, DURABLE_MS);
	audit_ledger_position(&log->ledger, ret);
	if (ret->next < seen)
		return err_set(err, ERR_UNAVAILABLE, 0, "what the snapshot has seen did not become durable");
	return ERR_OK;
}

/* ERR_PRECONDITION: to be tried again. */
static enum err_code write_body(struct audit_log *log, struct file *file, struct err *err)
{
	struct audit_snapshot snapshot = {0};
	audit_ledger_position(&log->ledger, &snapshot.begin);
	pthread_mutex_lock(&log->lock);
	snapshot.last_ms = log->last_ms;
	pthread_mutex_unlock(&log->lock);
	autobuf struct buf head = {0};
	buf_append(&head, span_of(magic, sizeof(magic)));
	buf_append_u64be(&head, VERSION);
	buf_append_u64be(&head, (uint64_t)snapshot.last_ms);
	put(file, buf_span(&head));
	put_position(file, &snapshot.begin);
	put_transfers(log, file);
	if (!put_uses(log, file))
		return err_set(err, ERR_PRECONDITION, 0, "the table of uses has grown meanwhile");
	enum err_code code = await_durable(log, &snapshot.end, err);
	if (code != ERR_OK)
		return code;
	put_position(file, &snapshot.end);
	log->snapshot_next = snapshot.begin.next;
	return ERR_OK;
}

static enum err_code write_seal(struct audit_log *log, struct file *file, struct err *err)
{
	autobuf struct buf seal = {.max = SEAL_MAX};
	uint8_t sha256[32];
	finish(file, sha256);
	enum err_code code = log->voucher.sign(log->voucher.user, sha256, &seal, err);
	if (code != ERR_OK)
		return code;
	file->failed |= fwrite(seal.data, 1, seal.len, file->stream) != seal.len || fflush(file->stream) != 0 ||
	                fsync(fileno(file->stream)) != 0;
	return file->failed ? err_set(err, ERR_UNAVAILABLE, errno, "writing the snapshot: %s", strerror(errno)) : ERR_OK;
}

static enum err_code write_once(struct audit_log *log, const char *path, struct err *err)
{
	autofree char *made = xasprintf("%s.new", path);
	struct file file;
	enum err_code code = ERR_OK;
	mode_t mask = umask(077);
	bool opened = file_init(&file, made, "we");
	umask(mask);
	if (!opened)
		code = err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", made, strerror(errno));
	if (code == ERR_OK)
		code = write_body(log, &file, err);
	if (code == ERR_OK)
		code = write_seal(log, &file, err);
	file_done(&file);
	if (code == ERR_OK && rename(made, path) != 0)
		code = err_set(err, ERR_UNAVAILABLE, errno, "%s: %s", path, strerror(errno));
	if (code != ERR_OK)
		unlink(made);
	return code;
}

enum err_code audit_snapshot_tend(struct audit_log *log, struct err *err)
{
	uint64_t behind = atomic_load(&log->committed) - log->snapshot_next;
	int64_t now_us = clock_monotonic_us();
	bool due = behind >= log->snapshot_due || (behind > 0 && now_us - log->snapshot_us >= PERIOD_US);
	if (!log->voucher.sign || !due)
		return ERR_OK;
	autofree char *path = xasprintf("%s/" AUDIT_SNAPSHOT_FILE, log->directory);
	enum err_code code = ERR_PRECONDITION;
	log->snapshot_us = now_us;
	for (int i = 0; code == ERR_PRECONDITION && i < ATTEMPTS; i++)
		code = write_once(log, path, err);
	return code;
}

/* ---- reading ---- */

static bool get_position(struct file *file, struct audit_position *ret)
{
	return get_number(file, &ret->next) && get(file, ret->chain, sizeof(ret->chain));
}

static bool get_uses(struct file *file, struct audit_uses *uses)
{
	uint64_t n = 0;
	while (get_number(file, &n) && n)
		for (; n; n--) {
			struct audit_uses_entry entry;
			uint8_t bytes[USE_BYTES];
			if (!get(file, bytes, sizeof(bytes)))
				return false;
			memcpy(entry.id, bytes, 16);
			memcpy(entry.sha256, bytes + 16, 32);
			entry.spent = (uint32_t)number_at(bytes + 48, 4);
			entry.forget_ms = (int64_t)number_at(bytes + 52, 8);
			entry.last_index = number_at(bytes + 60, 8);
			audit_uses_put(uses, &entry);
		}
	return !file->failed;
}

static bool get_transfers(struct file *file, struct audit_transfers *transfers)
{
	autofree uint8_t *record = xcalloc(1, AUDIT_RECORD_MAX);
	uint8_t head[TRANSFER_BYTES];
	while (get(file, head, sizeof(head))) {
		uint64_t index = number_at(head, 8), len = number_at(head + 8, 4);
		if (index == UINT64_MAX)
			return true;
		if (len > AUDIT_RECORD_MAX || !get(file, record, len))
			return false;
		audit_transfers_restore(transfers, index, span_of(record, len));
	}
	return false;
}

static bool get_body(struct file *file, struct audit_log *log, struct audit_snapshot *ret)
{
	uint8_t mark[sizeof(magic)];
	uint64_t version = 0, last_ms = 0;
	if (!get(file, mark, sizeof(mark)) || memcmp(mark, magic, sizeof(magic)) != 0 || !get_number(file, &version) ||
	    version != VERSION || !get_number(file, &last_ms))
		return false;
	ret->last_ms = (int64_t)last_ms;
	return get_position(file, &ret->begin) && get_transfers(file, log->transfers) && get_uses(file, log->uses) &&
	       get_position(file, &ret->end);
}

/* The rest of the file. */
static bool get_seal(struct file *file, const struct audit_voucher *voucher)
{
	uint8_t sha256[32], seal[SEAL_MAX];
	finish(file, sha256);
	size_t len = fread(seal, 1, sizeof(seal), file->stream);
	return len > 0 && len < sizeof(seal) && voucher->verify(voucher->user, sha256, span_of(seal, len));
}

enum err_code audit_snapshot_read(struct audit_log *log, struct audit_snapshot *ret, struct err *err)
{
	autofree char *path = xasprintf("%s/" AUDIT_SNAPSHOT_FILE, log->directory);
	struct file file;
	enum err_code code = ERR_OK;
	*ret = (struct audit_snapshot){0};
	if (!log->voucher.verify)
		return err_set(err, ERR_NOT_FOUND, 0, "nobody vouches for snapshots");
	if (!file_init(&file, path, "re"))
		code = err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_CORRUPT, errno, "%s: %s", path, strerror(errno));
	else if (!get_body(&file, log, ret))
		code = err_set(err, ERR_CORRUPT, 0, "%s: it is cut short, or no snapshot", path);
	else if (!get_seal(&file, &log->voucher))
		code = err_set(err, ERR_CORRUPT, 0, "%s: nobody whom we know has signed it", path);
	file_done(&file);
	return code;
}
