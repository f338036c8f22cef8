#include "common/secret.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Whole pages of its own: locked, left out of core files, never shared with anything else. */
struct secret {
	size_t len;
	size_t mapped; /* bytes of the mapping that starts at this struct */
	bool locked;
	uint8_t bytes[];
};

static atomic_size_t unlocked;

struct secret *secret_new(size_t len)
{
	assert(len > 0 && len <= 65536);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t mapped = (sizeof(struct secret) + len + page - 1) / page * page;
	void *map = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		fputs("twokey: out of memory\n", stderr);
		abort();
	}
	madvise(map, mapped, MADV_DONTDUMP);
	madvise(map, mapped, MADV_WIPEONFORK);
	struct secret *secret = (struct secret *)map;
	secret->len = len;
	secret->mapped = mapped;
	secret->locked = mlock(map, mapped) == 0;
	if (!secret->locked)
		atomic_fetch_add(&unlocked, 1);
	return secret;
}

struct secret *secret_from(struct span bytes)
{
	struct secret *secret = secret_new(bytes.len);
	memcpy(secret->bytes, bytes.ptr, bytes.len);
	return secret;
}

void secret_free(struct secret *secret)
{
	if (!secret)
		return;
	if (!secret->locked)
		atomic_fetch_sub(&unlocked, 1);
	size_t mapped = secret->mapped;
	OPENSSL_cleanse(secret, mapped);
	munmap(secret, mapped);
}

uint8_t *secret_bytes(struct secret *secret)
{
	return secret->bytes;
}

struct span secret_span(const struct secret *secret)
{
	return span_of(secret->bytes, secret->len);
}

void secret_truncate(struct secret *secret, size_t len)
{
	assert(len <= secret->len);
	OPENSSL_cleanse(secret->bytes + len, secret->len - len);
	secret->len = len;
}

bool secret_eq(const struct secret *a, const struct secret *b)
{
	return a->len == b->len && CRYPTO_memcmp(a->bytes, b->bytes, a->len) == 0;
}

size_t secret_unlocked(void)
{
	return atomic_load(&unlocked);
}

void secret_wipe(void *ptr, size_t len)
{
	OPENSSL_cleanse(ptr, len);
}
