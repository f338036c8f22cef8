#include "server/rules.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/text.h"

#define FILE_MAX ((size_t)4 << 20) /* as common/yaml.h */

/* A version and who holds it. The public part comes first. */
struct held {
	struct rules_version version;
	_Atomic(unsigned) refs;
};

/* What tells one state of a file from another. */
struct stamp {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
	bool there;
};

struct rules {
	char *path;
	const struct clock *clock;
	_Atomic(struct held *) current;
	_Atomic(unsigned) phase;     /* grows with every replacement */
	_Atomic(unsigned) takers[2]; /* between reading `current` and holding it, by the phase they began in */

	struct stamp seen; /* the watcher's: when last looked at */
	pthread_mutex_t lock;
	struct stamp read; /* under the lock: when last read */
	struct err trouble;
};

static struct stamp stamp_of(const char *path)
{
	struct stat st;
	struct stamp stamp = {0};
	if (stat(path, &st) != 0)
		return stamp;
	return (struct stamp){.device = st.st_dev,
	                      .inode = st.st_ino,
	                      .size = st.st_size,
	                      .modified = st.st_mtim,
	                      .changed = st.st_ctim,
	                      .there = true};
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct stamp *a, const struct stamp *b)
{
	return a->there == b->there && a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       same_time(a->modified, b->modified) && same_time(a->changed, b->changed);
}

const char *rules_path(const struct rules *rules)
{
	return rules->path;
}

static void held_unref(struct held *held)
{
	if (!held || atomic_fetch_sub(&held->refs, 1) != 1)
		return;
	policy_free(held->version.policy);
	buf_done(&held->version.text);
	free(held);
}

void rules_give_back(const struct rules_version *version)
{
	held_unref((struct held *)(uintptr_t)version);
}

/* The file may be written while we read: then what we have is no version of it. */
static enum err_code read_whole(struct rules *rules, struct buf *text, struct err *err)
{
	const struct stamp before = stamp_of(rules->path);
	enum err_code code = text_read_file(rules->path, FILE_MAX, text, err);
	const struct stamp after = stamp_of(rules->path);
	if (code == ERR_OK && !same(&before, &after))
		code = err_set(err, ERR_UNAVAILABLE, 0, "%s: is being written right now", rules->path);
	pthread_mutex_lock(&rules->lock);
	rules->read = before;
	pthread_mutex_unlock(&rules->lock);
	return code;
}

enum err_code rules_read(struct rules *rules, struct rules_version **ret, struct err *err)
{
	struct held *held = xcalloc(1, sizeof *held);
	atomic_init(&held->refs, 1);
	struct rules_version *version = &held->version;
	enum err_code code = read_whole(rules, &version->text, err);
	if (code == ERR_OK)
		code = policy_parse(rules->path, buf_span(&version->text), &version->policy, err);
	if (code != ERR_OK) {
		held_unref(held);
		return code;
	}
	text_sha256(buf_span(&version->text), version->sha256);
	version->loaded_ms = clock_now_ms(rules->clock);
	*ret = version;
	return ERR_OK;
}

enum err_code rules_open(const char *path, const struct clock *clock, struct rules **ret, struct err *err)
{
	struct rules *rules = xcalloc(1, sizeof *rules);
	rules->path = xstrdup(path);
	rules->clock = clock;
	pthread_mutex_init(&rules->lock, NULL);
	rules->seen = stamp_of(path);
	struct rules_version *version = NULL;
	enum err_code code = rules_read(rules, &version, err);
	if (code != ERR_OK) {
		rules_free(rules);
		return code;
	}
	atomic_store(&rules->current, (struct held *)version);
	*ret = rules;
	return ERR_OK;
}

void rules_free(struct rules *rules)
{
	if (!rules)
		return;
	held_unref(atomic_load(&rules->current));
	pthread_mutex_destroy(&rules->lock);
	free(rules->path);
	free(rules);
}

/* Counted in before `current` is read, out after it is held. A taker that finds the phase unchanged after it has
 * counted itself is seen by whoever replaces the version in that phase; another counts itself anew. */
const struct rules_version *rules_take(struct rules *rules)
{
	unsigned phase = atomic_load(&rules->phase);
	for (;;) {
		atomic_fetch_add(&rules->takers[phase & 1], 1);
		unsigned now = atomic_load(&rules->phase);
		if (now == phase)
			break;
		atomic_fetch_sub(&rules->takers[phase & 1], 1);
		phase = now;
	}
	struct held *held = atomic_load(&rules->current);
	atomic_fetch_add(&held->refs, 1);
	atomic_fetch_sub(&rules->takers[phase & 1], 1);
	return &held->version;
}

bool rules_ask_countries(struct rules *rules)
{
	const struct rules_version *version = rules_take(rules);
	bool ask = policy_asks_countries(version->policy);
	rules_give_back(version);
	return ask;
}

bool rules_ask_id_tokens(struct rules *rules)
{
	const struct rules_version *version = rules_take(rules);
	bool ask = policy_asks_id_tokens(version->policy);
	rules_give_back(version);
	return ask;
}

void rules_put(struct rules *rules, struct rules_version *version)
{
	struct held *old = atomic_exchange(&rules->current, (struct held *)version);
	unsigned phase = atomic_fetch_add(&rules->phase, 1);
	while (atomic_load(&rules->takers[phase & 1]) != 0)
		sched_yield();
	held_unref(old);
}

void rules_set_trouble(struct rules *rules, const char *text)
{
	pthread_mutex_lock(&rules->lock);
	rules->trouble = (struct err){0};
	if (text[0])
		err_set(&rules->trouble, ERR_INVALID, 0, "%s", text);
	pthread_mutex_unlock(&rules->lock);
}

void rules_trouble(struct rules *rules, struct err *ret)
{
	pthread_mutex_lock(&rules->lock);
	*ret = rules->trouble;
	pthread_mutex_unlock(&rules->lock);
}

/* A file that is written in place may be half there, and half a rule file may well parse: it is read when it has not
 * moved for a while. */
bool rules_changed(struct rules *rules)
{
	const struct stamp now = stamp_of(rules->path);
	bool rests = same(&now, &rules->seen);
	rules->seen = now;
	pthread_mutex_lock(&rules->lock);
	bool moved = !same(&now, &rules->read);
	pthread_mutex_unlock(&rules->lock);
	return moved && rests;
}
