/* Key bytes and PINs: in locked memory that core files leave out, wiped when freed, never printed, compared in constant
 * time. Not thread-safe. */
#ifndef TWOKEY_COMMON_SECRET_H
#define TWOKEY_COMMON_SECRET_H

#include "common/err.h"
#include "common/span.h"

/* Opaque on purpose: there is no way to print one by accident. */
struct secret;

/* A zeroed secret of len bytes (1 .. 65536). Aborts when memory is out. Memory that cannot be locked (RLIMIT_MEMLOCK)
 * is used all the same, left out of core files, and counted by secret_unlocked(). */
struct secret *secret_new(size_t len);
/* Copies the bytes in; the caller wipes its own copy. */
struct secret *secret_from(struct span bytes);
void secret_free(struct secret *secret); /* wipes; accepts NULL */
uint8_t *secret_bytes(struct secret *secret);
struct span secret_span(const struct secret *secret);
/* Shortens; the bytes cut off are wiped. */
void secret_truncate(struct secret *secret, size_t len);
bool secret_eq(const struct secret *a, const struct secret *b);
size_t secret_unlocked(void);
/* Wipes memory in a way that the compiler keeps. */
void secret_wipe(void *ptr, size_t len);

static inline void secret_cleanup_(struct secret **secret)
{
	secret_free(*secret);
}
#define autosecret __attribute__((cleanup(secret_cleanup_)))

#endif
