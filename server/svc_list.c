/* List: every object below a prefix, in key order, pages of a few hundred, a receipt at the end. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/admit.h"
#include "server/methods.h"
#include "server/transfer.h"

#define PAGE_ENTRIES 250 /* at most 1,024 bytes of key each: well below a message's limit */

struct listing {
	struct transfer transfer;
	size_t n;
	uint64_t count;
	Twokey__V1__ObjectEntry entries[PAGE_ENTRIES];
	Google__Protobuf__Timestamp modified[PAGE_ENTRIES];
	Twokey__V1__ObjectEntry *pointers[PAGE_ENTRIES];
	char keys[PAGE_ENTRIES][1025];
	enum err_code sent;
};

/* Sends the page, with the tail when there is one. */
static enum err_code send_page(struct listing *listing, Twokey__V1__ListTail *tail, struct err *err)
{
	Twokey__V1__ListResponse response = TWOKEY__V1__LIST_RESPONSE__INIT;
	response.n_objects = listing->n;
	response.objects = listing->pointers;
	response.tail = tail;
	listing->n = 0;
	return request_send(listing->transfer.request, &response.base, err);
}

static bool add_entry(const struct store_entry *stored, void *user)
{
	struct listing *listing = (struct listing *)user;
	size_t len = strlen(stored->key);
	if (len >= sizeof listing->keys[0])
		return true; /* longer than any key that a transaction can name */
	size_t i = listing->n++;
	memcpy(listing->keys[i], stored->key, len + 1);
	transfer_hash_more(&listing->transfer, span_of(stored->key, len + 1));
	listing->count++;
	Twokey__V1__ObjectEntry *entry = listing->pointers[i] = &listing->entries[i];
	twokey__v1__object_entry__init(entry);
	entry->object = listing->keys[i];
	entry->stored_size = stored->size;
	if (!seal_plain_size(stored->size, &entry->size))
		entry->size = 0; /* not sealed by us: Fetch will refuse it */
	listing->modified[i] = transaction_timestamp(stored->modified_ms);
	entry->modified = &listing->modified[i];
	if (listing->n < PAGE_ENTRIES)
		return true;
	listing->sent = transfer_go_on(&listing->transfer, &listing->transfer.request->detail);
	if (listing->sent == ERR_OK)
		listing->sent = send_page(listing, NULL, &listing->transfer.request->detail);
	return listing->sent == ERR_OK;
}

static void send_tail(struct listing *listing)
{
	struct request *request = listing->transfer.request;
	listing->transfer.bytes = listing->count;
	if (!transfer_complete(&listing->transfer))
		return;
	struct envelope_view view;
	Twokey__V1__ListTail tail = TWOKEY__V1__LIST_TAIL__INIT;
	tail.count = listing->count;
	tail.receipt = envelope_to_pb(&listing->transfer.receipt, &view);
	tail.record = request->record;
	if (send_page(listing, &tail, &request->detail) == ERR_OK)
		request_finish(request);
	else
		request_fail(request, REASON_CLIENT_GONE);
}

static void list_objects(struct request *request)
{
	struct listing *listing = xcalloc(1, sizeof *listing);
	transfer_init(&listing->transfer, request);
	enum err_code code = store_list(request->bucket->store, request->transaction->object, &listing->transfer.cancel,
	                                add_entry, listing, &request->detail);
	if (code == ERR_OK)
		code = transfer_go_on(&listing->transfer, &request->detail);
	if (listing->sent != ERR_OK)
		transfer_fail(&listing->transfer, request_reason_of(request, ERR_CANCELLED));
	else if (code != ERR_OK)
		transfer_fail(&listing->transfer, request_reason_of(request, code));
	else
		send_tail(listing);
	transfer_done(&listing->transfer);
	free(listing);
}

void svc_list(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__list_request__descriptor);
	if (message) {
		const Twokey__V1__ListRequest *asked = (const Twokey__V1__ListRequest *)message;
		if (admit(request, asked->envelope, asked->proof, TWOKEY__V1__OPERATION__OPERATION_LIST) &&
		    admit_spend(request))
			list_objects(request);
	}
	pb_free(message);
}
