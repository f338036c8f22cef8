#include "server/key_rewrap.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/text.h"

#define TELL_US 500000
#define LOOKS   5 /* at an object that is being replaced again and again */

struct run {
	struct request *request;
	struct key_rewrap *rewrap;
	int64_t told_us;
	enum err_code code;
	struct err *err;
};

/* One object, as it was seen. */
struct wrapped {
	const char *key;
	struct store_object object;
	struct seal_header header;
	char *version_id; /* after the change; owned */
};

static const char *object_meta(void *user, const char *name)
{
	return store_object_meta((const struct store_object *)user, name);
}

/* The metadata as they are, but for the two that change. */
static size_t new_meta(const struct wrapped *wrapped, const struct seal_header *header,
                       struct store_meta out[STORE_META_MAX])
{
	for (size_t i = 0; i < wrapped->object.n_meta; i++) {
		const char *name = wrapped->object.meta[i].name, *value = wrapped->object.meta[i].value;
		if (strcmp(name, SEAL_META_KEK) == 0)
			value = header->kek_id;
		else if (strcmp(name, SEAL_META_WRAPPED) == 0)
			value = header->wrapped;
		out[i] = (struct store_meta){name, value};
	}
	return wrapped->object.n_meta;
}

static enum err_code change(struct run *run, struct wrapped *wrapped, struct hsm_key *to, struct err *err)
{
	const struct request *request = run->request;
	const struct seal_context context = {.gatekeeper = request->deployment->config->name,
	                                     .bucket = request->bucket->config->name,
	                                     .object = wrapped->key};
	struct hsm_key *from = keys_by_id(request->deployment->keys, request->bucket->kek, wrapped->header.kek_id);
	struct seal_header header;
	struct store_meta meta[STORE_META_MAX];
	enum err_code code = seal_rewrap(from, to, &context, &wrapped->header, &header, err);
	if (code != ERR_OK)
		return code == ERR_NOT_FOUND ? ERR_CORRUPT : code; /* that is the KEK, not the object */
	size_t n = new_meta(wrapped, &header, meta);
	return store_replace_meta(request->bucket->store, wrapped->key, &wrapped->object, meta, n, run->rewrap->cancel,
	                          &wrapped->version_id, err);
}

static enum err_code record_object(const struct run *run, const struct wrapped *wrapped, const char *kek_id,
                                   const char *outcome, const struct err *why)
{
	struct request *request = run->request;
	Twokey__V1__Record record;
	struct record_times times;
	uint8_t object_id[SEAL_OBJECT_ID_BYTES];
	struct audit_commit commit;
	request_record(request, &record, &times);
	record.gatekeeper = request->deployment->config->name;
	record.bucket = request->bucket->config->name;
	record.object = (char *)wrapped->key;
	record.decision_index = request->record;
	record.outcome = (char *)outcome;
	record.key_role = TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK;
	record.key_id = (char *)kek_id;
	record.version_id = wrapped->version_id ? wrapped->version_id : (char *)"";
	if (text_unhex(wrapped->header.object_id, object_id, sizeof object_id))
		record.object_id = (ProtobufCBinaryData){sizeof object_id, object_id};
	record.detail = (char *)why->text;
	return audit_commit(request->deployment->audit, &record, NULL, &commit, run->err);
}

/* The KEK is held: nobody retires it between wrapping and the bucket. */
static enum err_code rewrap_once(struct run *run, struct wrapped *wrapped, struct err *err)
{
	struct request *request = run->request;
	struct keys *keys = request->deployment->keys;
	unsigned generation;
	struct hsm_key *to = keys_hold(keys, request->bucket->kek, &generation);
	enum err_code code = seal_header_read(object_meta, &wrapped->object, &wrapped->header, err);
	bool needed = code == ERR_OK && strcmp(wrapped->header.kek_id, hsm_key_id(to)) != 0;
	if (needed)
		code = change(run, wrapped, to, err);
	if (needed && code != ERR_PRECONDITION && code != ERR_NOT_FOUND && code != ERR_CANCELLED && code != ERR_DEADLINE) {
		run->rewrap->rewrapped += code == ERR_OK;
		run->code = record_object(run, wrapped, hsm_key_id(to),
		                          code == ERR_OK ? "complete" : reason_name(request_reason_of(request, code)), err);
	}
	keys_give_back(keys, request->bucket->kek, generation);
	return code;
}

static bool is_sealed(const struct store_object *object)
{
	return store_object_meta(object, SEAL_META_FORMAT) != NULL;
}

/* ERR_PRECONDITION: it was replaced in between, so look again. */
static enum err_code look_at(struct run *run, const char *key, struct err *err)
{
	struct wrapped wrapped = {.key = key};
	enum err_code code = store_head(run->request->bucket->store, key, NULL, &wrapped.object, err);
	if (code == ERR_OK && is_sealed(&wrapped.object))
		code = rewrap_once(run, &wrapped, err);
	else if (code == ERR_OK)
		run->rewrap->not_sealed++;
	store_object_done(&wrapped.object);
	free(wrapped.version_id);
	return code;
}

static void rewrap_object(struct run *run, const char *key)
{
	struct err err = {0};
	enum err_code code = ERR_PRECONDITION;
	for (int look = 0; look < LOOKS && code == ERR_PRECONDITION && run->code == ERR_OK; look++)
		code = look_at(run, key, &err);
	if (code == ERR_CANCELLED || code == ERR_DEADLINE) {
		run->code = code;
		*run->err = err;
	} else if (code != ERR_OK && code != ERR_NOT_FOUND) { /* one that has been removed needs no key */
		run->rewrap->failed++;
		log_event(LOG_WARN, "a data key could not be re-wrapped", "error", err.text, NULL);
	}
}

static bool each(const struct store_entry *entry, void *user)
{
	struct run *run = (struct run *)user;
	struct key_rewrap *rewrap = run->rewrap;
	if (rewrap->after[0] && strcmp(entry->key, rewrap->after) <= 0)
		return true;
	rewrap_object(run, entry->key);
	if (run->code != ERR_OK)
		return false;
	rewrap->objects++;
	snprintf(rewrap->last, sizeof rewrap->last, "%s", entry->key);
	int64_t now = clock_monotonic_us();
	if (now - run->told_us >= TELL_US) {
		run->told_us = now;
		if (!rewrap->progress(rewrap, rewrap->user))
			run->code = err_set(run->err, ERR_CANCELLED, 0, "nobody waits for it any more");
	}
	return run->code == ERR_OK;
}

enum err_code key_rewrap_run(struct request *request, struct key_rewrap *rewrap, struct err *err)
{
	struct run run = {.request = request, .rewrap = rewrap, .told_us = clock_monotonic_us(), .err = err};
	enum err_code code = store_list(request->bucket->store, "", rewrap->cancel, each, &run, err);
	return run.code != ERR_OK ? run.code : code;
}
