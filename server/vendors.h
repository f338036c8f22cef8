/* The vendor keys that a gatekeeper trusts: those of the configuration's `vendor_keys`, replaced whole while serving.
 * Thread-safe. What was replaced is kept until the end, since requests that began with it go on with it: some kB for
 * each change. */
#ifndef TWOKEY_SERVER_VENDORS_H
#define TWOKEY_SERVER_VENDORS_H

#include "server/config.h"
#include "server/keys.h"
#include "transaction/transaction.h"

struct vendors;

struct vendor_keys {
	struct vendor_keys *older;
	struct keyring *ring;
	char *text; /* for the record: a line for each key */
};

/* Reads the key files. ERR_INVALID also when one of them is a transaction key of ours. */
must_check enum err_code vendors_open(const struct config *config, struct keys *keys, struct vendors **ret,
                                      struct err *err);
void vendors_free(struct vendors *vendors); /* accepts NULL */
/* Those in force; good until vendors_free. */
const struct vendor_keys *vendors_now(const struct vendors *vendors);

/* Reads the configuration file and its key files anew, without using them. ERR_INVALID with "file:line:column: ..." for
 * whatever is wrong in it, also elsewhere. Free with vendors_drop, or put in force. */
must_check enum err_code vendors_read(const char *config_path, struct vendor_keys **ret, struct err *err);
bool vendors_differ(const struct vendor_keys *a, const struct vendor_keys *b);
/* Two keys are two only when they differ: none of them may be a transaction key of ours, of whatever generation. Under
 * keys_lock_changes until they are put in force. */
must_check enum err_code vendors_check(const struct vendor_keys *vendor_keys, struct keys *keys, struct err *err);
/* Takes them over and puts them in force. One caller at a time. */
void vendors_put(struct vendors *vendors, struct vendor_keys *vendor_keys);
void vendors_drop(struct vendor_keys *vendor_keys); /* accepts NULL */

#endif
