/* What an authority has issued: index.txt in the form of `openssl ca` (openssl-ca(1)): one line each, fields between
 * tabs: V or R, expiry, revocation (time, comma, reason) or nothing, serial in hex, "unknown", "/CN=identity". Also
 * `openssl ca -gencrl` and `openssl ocsp -index` read it. */
#ifndef TWOKEY_SERVER_CA_INDEX_H
#define TWOKEY_SERVER_CA_INDEX_H

#include "server/ca.h"

/* As openssl writes it: capital hex digits, 2 * IDENTITY_SERIAL_BYTES + 1 bytes. */
void ca_serial_format(const uint8_t serial[IDENTITY_SERIAL_BYTES], char *out);

struct ca_index {
	struct ca_issued *entries;
	size_t n;
};

/* ERR_NOT_FOUND: no such file; ERR_CORRUPT: a line that is none, with its number. */
must_check enum err_code ca_index_read(const char *path, struct ca_index *ret, struct err *err);
void ca_index_done(struct ca_index *index);
/* The entry is copied. */
void ca_index_add(struct ca_index *index, const struct ca_issued *entry);
/* Replaces the file, durably. */
must_check enum err_code ca_index_write(const char *path, const struct ca_index *index, struct err *err);

#endif
