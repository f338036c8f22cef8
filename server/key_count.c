#include "server/key_count.h"

#include <stdio.h>

#include "common/clock.h"
#include "seal/seal.h"

#define TELL_US 500000

struct counting {
	const struct bucket *bucket;
	bool (*progress)(const struct key_count *count, void *user);
	void *user;
	struct key_count *count;
	int64_t told_us;
	enum err_code code;
	struct err *err;
};

static enum err_code add(struct key_count *count, const char *kek_id, struct err *err)
{
	size_t i = 0;
	while (i < count->n_keks && strcmp(count->keks[i].kek_id, kek_id) != 0)
		i++;
	if (i == KEY_COUNT_KEKS)
		return err_set(err, ERR_EXHAUSTED, 0, "more than %d KEKs", KEY_COUNT_KEKS);
	if (i == count->n_keks)
		snprintf(count->keks[count->n_keks++].kek_id, sizeof count->keks[0].kek_id, "%s", kek_id);
	count->keks[i].objects++;
	count->objects++;
	return ERR_OK;
}

/* An object that has been removed in the meantime needs no key. */
static enum err_code look_at(struct counting *counting, const char *key)
{
	struct store_object object = {0};
	enum err_code code = store_head(counting->bucket->store, key, NULL, &object, counting->err);
	if (code == ERR_NOT_FOUND)
		return ERR_OK;
	if (code == ERR_OK) {
		counting->count->versions |= object.version_id && object.version_id[0];
		const char *kek_id = store_object_meta(&object, SEAL_META_KEK);
		code = add(counting->count, kek_id && strlen(kek_id) <= 64 ? kek_id : "", counting->err);
	}
	store_object_done(&object);
	return code;
}

static bool each(const struct store_entry *entry, void *user)
{
	struct counting *counting = (struct counting *)user;
	counting->code = look_at(counting, entry->key);
	int64_t now = clock_monotonic_us();
	if (counting->code == ERR_OK && now - counting->told_us >= TELL_US) {
		counting->told_us = now;
		if (!counting->progress(counting->count, counting->user))
			counting->code = err_set(counting->err, ERR_CANCELLED, 0, "nobody waits for the count any more");
	}
	return counting->code == ERR_OK;
}

enum err_code key_count(const struct bucket *bucket, const struct store_cancel *cancel,
                        bool (*progress)(const struct key_count *count, void *user), void *user, struct key_count *ret,
                        struct err *err)
{
	*ret = (struct key_count){0};
	struct counting counting = {.bucket = bucket,
	                            .progress = progress,
	                            .user = user,
	                            .count = ret,
	                            .told_us = clock_monotonic_us(),
	                            .err = err};
	enum err_code code = store_list(bucket->store, "", cancel, each, &counting, err);
	return counting.code != ERR_OK ? counting.code : code;
}

uint64_t key_count_of(const struct key_count *count, const char *kek_id)
{
	for (size_t i = 0; i < count->n_keks; i++)
		if (strcmp(count->keks[i].kek_id, kek_id) == 0)
			return count->keks[i].objects;
	return 0;
}
