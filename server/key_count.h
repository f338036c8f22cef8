/* Under which KEK is each object of a bucket sealed? */
#ifndef TWOKEY_SERVER_KEY_COUNT_H
#define TWOKEY_SERVER_KEY_COUNT_H

#include "server/deployment.h"

#define KEY_COUNT_KEKS 64

struct key_count {
	uint64_t objects;
	struct {
		char kek_id[65]; /* "": not sealed by us */
		uint64_t objects;
	} keks[KEY_COUNT_KEKS];
	size_t n_keks;
	bool versions; /* the bucket keeps versions, of which only the newest are counted */
};

/* Lists the bucket and reads the head of every object; older versions are not looked at. Calls back now and then with
 * what has been counted; false stops. ERR_EXHAUSTED: more KEKs than can be told apart. */
must_check enum err_code key_count(const struct bucket *bucket, const struct store_cancel *cancel,
                                   bool (*progress)(const struct key_count *count, void *user), void *user,
                                   struct key_count *ret, struct err *err);
/* Of one KEK. */
uint64_t key_count_of(const struct key_count *count, const char *kek_id);

#endif
