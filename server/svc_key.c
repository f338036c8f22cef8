/* The Key service: which keys there are, and changing them while serving. */
#include <stdio.h>
#include <stdlib.h>

#include "common/pb.h"
#include "server/key_change.h"
#include "server/key_count.h"
#include "server/methods.h"

#define KEYS_MAX 256 /* that are told: more generations than that should have been removed from the token */

/* ---- List ---- */

struct page {
	struct {
		Twokey__V1__KeyGeneration key;
		Google__Protobuf__Timestamp since, until;
		char label[KEY_LABEL_MAX];
	} entries[KEYS_MAX];
	Twokey__V1__KeyGeneration *pointers[KEYS_MAX];
	size_t n;
};

static Twokey__V1__KeyState state_of(const struct key_view *view)
{
	return view->current   ? TWOKEY__V1__KEY_STATE__KEY_STATE_CURRENT
	       : view->retired ? TWOKEY__V1__KEY_STATE__KEY_STATE_RETIRED
	       : view->used    ? TWOKEY__V1__KEY_STATE__KEY_STATE_OLD
	                       : TWOKEY__V1__KEY_STATE__KEY_STATE_WAITING;
}

static void add_key(const struct key_view *view, void *user)
{
	struct page *page = (struct page *)user;
	if (page->n == KEYS_MAX)
		return;
	Twokey__V1__KeyGeneration *key = &page->entries[page->n].key;
	Google__Protobuf__Timestamp *since = &page->entries[page->n].since, *until = &page->entries[page->n].until;
	char *label = page->entries[page->n].label;
	page->pointers[page->n++] = key;
	twokey__v1__key_generation__init(key);
	snprintf(label, KEY_LABEL_MAX, "%s", view->label);
	key->role = view->role;
	key->bucket = (char *)view->bucket;
	key->generation = view->generation;
	key->label = label;
	key->key_id = (char *)(view->key ? hsm_key_id(view->key) : "");
	key->state = state_of(view);
	key->access_key_id = (char *)view->access_key_id;
	if (view->because) {
		*since = *view->because->time;
		key->since = since;
		key->who = view->because->identity;
		key->why = view->because->why;
		key->record = view->because->index;
	}
	if (view->accepted_until_ms && !view->retired) {
		*until = transaction_timestamp(view->accepted_until_ms);
		key->accepted_until = until;
	}
}

static void list(struct request *request)
{
	keys_lock_changes(request->deployment->keys);
	enum reason reason = key_change_look(request->deployment, &request->detail);
	keys_unlock_changes(request->deployment->keys);
	if (reason != REASON_NONE) {
		request_refuse(request, reason);
		return;
	}
	if (!request_grant(request, REQUEST_NO_USE))
		return;
	struct page *page = xcalloc(1, sizeof *page);
	keys_each(request->deployment->keys, add_key, page);
	Twokey__V1__ListKeysResponse response = TWOKEY__V1__LIST_KEYS_RESPONSE__INIT;
	response.keys = page->pointers;
	response.n_keys = page->n;
	request_answer(request, &response.base);
	free(page);
}

void svc_key_list(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__list_keys_request__descriptor);
	if (message)
		list(request);
	pb_free(message);
}

/* ---- Count ---- */

static bool cancelled(void *user)
{
	return rpc_cancelled((struct rpc_call *)user);
}

static struct store_cancel cancel_of(const struct request *request)
{
	return (struct store_cancel){
	    .cancelled = cancelled, .user = request->call, .deadline_ms = rpc_deadline_ms(request->call)};
}

static enum err_code send_count(struct request *request, const struct key_count *count, bool complete)
{
	Twokey__V1__KekCount counts[KEY_COUNT_KEKS], *pointers[KEY_COUNT_KEKS];
	Twokey__V1__CountObjectsResponse response = TWOKEY__V1__COUNT_OBJECTS_RESPONSE__INIT;
	response.objects = count->objects;
	response.complete = complete;
	for (size_t i = 0; i < count->n_keks; i++) {
		twokey__v1__kek_count__init(&counts[i]);
		counts[i].key_id = (char *)count->keks[i].kek_id;
		counts[i].objects = count->keks[i].objects;
		pointers[i] = &counts[i];
	}
	response.n_counts = count->n_keks;
	response.counts = pointers;
	return request_send(request, &response.base, &request->detail);
}

static bool tell_count(const struct key_count *count, void *user)
{
	return send_count((struct request *)user, count, false) == ERR_OK;
}

static void count_objects(struct request *request, const Twokey__V1__CountObjectsRequest *asked)
{
	const struct bucket *bucket = deployment_bucket(request->deployment, asked->bucket);
	if (!bucket) {
		err_set(&request->detail, ERR_NOT_FOUND, 0, "there is no such bucket");
		request_refuse(request, REASON_NO_SUCH_KEY);
		return;
	}
	if (!request_grant(request, REQUEST_NO_USE))
		return;
	const struct store_cancel cancel = cancel_of(request);
	struct key_count count;
	enum err_code code = key_count(bucket, &cancel, tell_count, request, &count, &request->detail);
	if (code != ERR_OK)
		request_fail(request, request_reason_of(request, code));
	else if (send_count(request, &count, true) == ERR_OK)
		request_finish(request);
	else
		request_fail(request, REASON_CLIENT_GONE);
}

void svc_key_count(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__count_objects_request__descriptor);
	if (message)
		count_objects(request, (const Twokey__V1__CountObjectsRequest *)message);
	pb_free(message);
}

/* ---- Use and Retire ---- */

static void refuse(struct request *request, const struct key_change *change, enum reason reason)
{
	Twokey__V1__Record record;
	struct record_times times;
	request_record(request, &record, &times);
	key_change_record(change, &record);
	request_refuse_as(request, &record, reason);
}

static void use(struct request *request, const Twokey__V1__UseKeyRequest *asked)
{
	struct key_change change = {.role = asked->role,
	                            .action = TWOKEY__V1__KEY_ACTION__KEY_ACTION_USE,
	                            .bucket = asked->bucket,
	                            .why = asked->why,
	                            .access_key_id = asked->access_key_id,
	                            .generation = asked->generation};
	enum reason reason = key_change_use(request, &change);
	if (reason != REASON_NONE) {
		refuse(request, &change, reason);
		return;
	}
	log_event(LOG_INFO, "a key is current", "label", change.view.label, "id", hsm_key_id(change.view.key), NULL);
	Twokey__V1__KeyChangeResponse response = TWOKEY__V1__KEY_CHANGE_RESPONSE__INIT;
	response.record = request->record;
	response.key_id = (char *)hsm_key_id(change.view.key);
	request_answer(request, &response.base);
}

void svc_key_use(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__use_key_request__descriptor);
	if (message)
		use(request, (const Twokey__V1__UseKeyRequest *)message);
	pb_free(message);
}

static bool tell_retiring(const struct key_count *count, void *user)
{
	struct request *request = (struct request *)user;
	Twokey__V1__RetireKeyResponse response = TWOKEY__V1__RETIRE_KEY_RESPONSE__INIT;
	response.objects = count->objects;
	return request_send(request, &response.base, &request->detail) == ERR_OK;
}

static enum reason check_objects(struct request *request, const struct key_change *change, bool force,
                                 struct key_count *count)
{
	const struct bucket *bucket = deployment_bucket(request->deployment, change->bucket);
	const struct store_cancel cancel = cancel_of(request);
	enum err_code code = key_count(bucket, &cancel, tell_retiring, request, count, &request->detail);
	if (code != ERR_OK)
		return request_reason_of(request, code);
	uint64_t needed = key_count_of(count, hsm_key_id(change->view.key));
	if (needed == 0 && !count->versions)
		return REASON_NONE;
	if (needed > 0)
		err_set(&request->detail, ERR_PRECONDITION, 0, "%llu of %llu objects are sealed under %s",
		        (unsigned long long)needed, (unsigned long long)count->objects, change->view.label);
	else
		err_set(&request->detail, ERR_PRECONDITION, 0,
		        "the bucket keeps versions, and older ones may be sealed under %s", change->view.label);
	return force ? REASON_NONE : REASON_KEY_NEEDED;
}

static void retire(struct request *request, const Twokey__V1__RetireKeyRequest *asked)
{
	struct key_change change = {.role = asked->role,
	                            .action = TWOKEY__V1__KEY_ACTION__KEY_ACTION_RETIRE,
	                            .bucket = asked->bucket,
	                            .why = asked->why,
	                            .generation = asked->generation};
	struct key_count count = {0};
	enum reason reason = key_change_find(request->deployment, &change, &request->detail);
	if (reason == REASON_NONE)
		reason = key_change_may_retire(request, &change);
	if (reason == REASON_NONE && change.role == TWOKEY__V1__KEY_ROLE__KEY_ROLE_KEK)
		reason = check_objects(request, &change, asked->force, &count);
	if (reason == REASON_NONE)
		reason = key_change_retire(request, &change);
	if (reason != REASON_NONE) {
		refuse(request, &change, reason);
		return;
	}
	log_event(LOG_INFO, "a key is retired", "label", change.view.label, "id", hsm_key_id(change.view.key), NULL);
	Twokey__V1__RetireKeyResponse response = TWOKEY__V1__RETIRE_KEY_RESPONSE__INIT;
	response.objects = count.objects;
	response.complete = true;
	response.record = request->record;
	request_answer(request, &response.base);
}

void svc_key_retire(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__retire_key_request__descriptor);
	if (message)
		retire(request, (const Twokey__V1__RetireKeyRequest *)message);
	pb_free(message);
}
