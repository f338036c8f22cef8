/* Fetch: sealed bytes come out of the bucket, verified plain bytes go to the client, a receipt ends it. */
#include <stdlib.h>
#include <time.h>

#include "common/pb.h"
#include "common/text.h"
#include "server/admit.h"
#include "server/methods.h"
#include "server/transfer.h"

#define READ_BYTES  ((size_t)64 << 10)
#define SEND_BYTES  ((size_t)256 << 10) /* travels best, facts of the C core */
#define CHUNK_FIELD 2                   /* FetchResponse.chunk */
/* A Store may come between opening an object and asking the record, and for a moment between the bucket and the record:
 * an object is looked at so often before it counts as stale. */
#define LOOKS    4
#define PAUSE_NS 50000000L

struct fetch {
	struct transfer transfer;
	struct store_object object;
	struct seal_header header;
	enum reason refusal;             /* what neither the bucket nor the seal has to do with */
	struct store_download *download; /* positioned at the planned range, or at the object's start */
	struct opener *opener;
	uint64_t plain_size, first, length; /* of the object; of what is sent */
	struct buf plain;                   /* verified, not yet sent */
};

static const char *object_meta(void *user, const char *name)
{
	return store_object_meta((const struct store_object *)user, name);
}

static struct store_get get_of(struct fetch *fetch)
{
	const Twokey__V1__Transaction *transaction = fetch->transfer.request->transaction;
	const Twokey__V1__Constraints *constraints = transaction->constraints;
	return (struct store_get){
	    .key = transaction->object,
	    .version_id = constraints && constraints->version_id[0] ? constraints->version_id : NULL,
	    .cancel = &fetch->transfer.cancel,
	};
}

static const Twokey__V1__ByteRange *range_of(const struct fetch *fetch)
{
	const Twokey__V1__Constraints *constraints = fetch->transfer.request->transaction->constraints;
	return constraints ? constraints->range : NULL;
}

/* The object's head, and with it, when everything is wanted, the stream of its bytes. */
static enum err_code open_head(struct fetch *fetch, struct err *err)
{
	const struct store_get get = get_of(fetch);
	const struct bucket *bucket = fetch->transfer.request->bucket;
	if (range_of(fetch))
		return store_head(bucket->store, get.key, get.version_id, &fetch->object, err);
	return store_download_begin(bucket->store, &get, &fetch->download, &fetch->object, err);
}

/* Does the record know a later object under this name? A transaction that names a version means that one. */
static enum err_code check_fresh(struct fetch *fetch, bool *ret_fresh, struct err *err)
{
	const struct request *request = fetch->transfer.request;
	const struct store_get get = get_of(fetch);
	uint8_t object_id[SEAL_OBJECT_ID_BYTES];
	enum err_code code = seal_header_read(object_meta, &fetch->object, &fetch->header, err);
	*ret_fresh = true;
	if (code != ERR_OK || get.version_id || !text_unhex(fetch->header.object_id, object_id, sizeof object_id))
		return code;
	const struct audit_object object = {
	    .bucket = request->transaction->bucket, .object = get.key, .id = object_id, .before = request->record};
	code = audit_object_fresh(request->deployment->audit, &object, ret_fresh, err);
	if (code != ERR_OK)
		fetch->refusal = REASON_LEDGER_UNAVAILABLE;
	return code;
}

static void close_head(struct fetch *fetch)
{
	store_download_end(fetch->download);
	fetch->download = NULL;
	store_object_done(&fetch->object);
}

static enum err_code open_fresh(struct fetch *fetch, struct err *err)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	for (int look = 1;; look++) {
		bool fresh = false;
		enum err_code code = open_head(fetch, err);
		if (code == ERR_OK)
			code = check_fresh(fetch, &fresh, err);
		if (code != ERR_OK || fresh)
			return code;
		if (look == LOOKS)
			break;
		close_head(fetch);
		nanosleep(&pause, NULL);
	}
	fetch->refusal = REASON_STALE_OBJECT;
	return err_set(err, ERR_CORRUPT, 0, "object %s is older than what was stored last", fetch->header.object_id);
}

static enum err_code choose_range(struct fetch *fetch, struct err *err)
{
	if (!seal_plain_size(fetch->object.size, &fetch->plain_size))
		return err_set(err, ERR_CORRUPT, 0, "no sealed object has %llu bytes", (unsigned long long)fetch->object.size);
	fetch->length = fetch->plain_size;
	const Twokey__V1__ByteRange *range = range_of(fetch);
	if (!range)
		return ERR_OK;
	if (range->first >= fetch->plain_size)
		return err_set(err, ERR_INVALID, 0, "the range starts at %llu, the object has %llu bytes",
		               (unsigned long long)range->first, (unsigned long long)fetch->plain_size);
	fetch->first = range->first;
	uint64_t left = fetch->plain_size - range->first;
	fetch->length = range->length < left ? range->length : left;
	return ERR_OK;
}

static enum err_code open_seal(struct fetch *fetch, struct err *err)
{
	transfer_note_object(&fetch->transfer, &fetch->header, fetch->object.version_id);
	const struct seal_context context = transfer_seal_context(&fetch->transfer);
	const struct request *request = fetch->transfer.request;
	struct hsm_key *kek = keys_by_id(request->deployment->keys, request->bucket->kek, fetch->header.kek_id);
	enum err_code code = seal_open_begin(kek, &context, &fetch->header, fetch->object.size, fetch->first, fetch->length,
	                                     &fetch->opener, err);
	/* A KEK that this bucket does not have is no missing object. */
	return code == ERR_NOT_FOUND ? ERR_CORRUPT : code;
}

/* The 40 bytes that every segment's key depends on, when the range starts beyond the segment that holds them. */
static enum err_code read_stream_header(struct fetch *fetch, struct err *err)
{
	struct store_get get = get_of(fetch);
	get.has_range = true;
	get.length = SEAL_HEADER_BYTES;
	struct store_object object = {0};
	struct store_download *download = NULL;
	uint8_t bytes[SEAL_HEADER_BYTES];
	size_t have = 0;
	enum err_code code = store_download_begin(fetch->transfer.request->bucket->store, &get, &download, &object, err);
	while (code == ERR_OK && have < sizeof bytes) {
		size_t got = 0;
		code = store_download_read(download, bytes + have, sizeof bytes - have, &got, err);
		if (code == ERR_OK && got == 0)
			code = err_set(err, ERR_CORRUPT, 0, "the object ends within its stream header");
		have += got;
	}
	store_download_end(download);
	store_object_done(&object);
	return code == ERR_OK ? seal_open_stream_header(fetch->opener, span_of(bytes, sizeof bytes), err) : code;
}

static enum err_code open_range(struct fetch *fetch, struct err *err)
{
	struct seal_range plan;
	seal_plan(fetch->plain_size, fetch->first, fetch->length, &plan);
	if (!plan.has_stream_header) {
		enum err_code code = read_stream_header(fetch, err);
		if (code != ERR_OK)
			return code;
	}
	struct store_get get = get_of(fetch);
	get.has_range = true;
	get.first = plan.stored_first;
	get.length = plan.stored_length;
	struct store_object object = {0};
	enum err_code code =
	    store_download_begin(fetch->transfer.request->bucket->store, &get, &fetch->download, &object, err);
	store_object_done(&object);
	return code;
}

static enum err_code open_object(struct fetch *fetch, struct err *err)
{
	enum err_code code = open_fresh(fetch, err);
	if (code == ERR_OK)
		code = choose_range(fetch, err);
	if (code == ERR_OK)
		code = open_seal(fetch, err);
	if (code == ERR_OK && range_of(fetch))
		code = open_range(fetch, err);
	return code;
}

static enum err_code send_head(struct fetch *fetch, struct err *err)
{
	struct request *request = fetch->transfer.request;
	struct envelope_view view;
	Twokey__V1__FetchHead head = TWOKEY__V1__FETCH_HEAD__INIT;
	head.content_type = fetch->object.content_type ? fetch->object.content_type : (char *)"";
	head.size = fetch->length;
	head.object_size = fetch->plain_size;
	head.first = fetch->first;
	head.version_id = fetch->object.version_id ? fetch->object.version_id : (char *)"";
	head.envelope = envelope_to_pb(&request->envelope, &view);
	head.record = request->record;
	Twokey__V1__FetchResponse response = TWOKEY__V1__FETCH_RESPONSE__INIT;
	response.part_case = TWOKEY__V1__FETCH_RESPONSE__PART_HEAD;
	response.head = &head;
	return request_send(request, &response.base, err);
}

static enum err_code send_plain(struct fetch *fetch, struct err *err)
{
	if (fetch->plain.len == 0)
		return ERR_OK;
	enum err_code code = transfer_go_on(&fetch->transfer, err);
	if (code != ERR_OK)
		return code;
	transfer_count(&fetch->transfer, buf_span(&fetch->plain));
	autobuf struct buf head = {0};
	pb_append_bytes_header(&head, CHUNK_FIELD, fetch->plain.len);
	return rpc_send(fetch->transfer.request->call, buf_span(&head), &fetch->plain, err);
}

/* Moves the bytes. *ret_client tells a client that left from a bucket that failed. */
static enum err_code pump(struct fetch *fetch, bool *ret_client, struct err *err)
{
	uint8_t stored[READ_BYTES];
	for (;;) {
		size_t got = 0;
		enum err_code code = store_download_read(fetch->download, stored, sizeof stored, &got, err);
		if (code == ERR_OK && got > 0)
			code = seal_open_update(fetch->opener, span_of(stored, got), &fetch->plain, err);
		else if (code == ERR_OK)
			code = seal_open_final(fetch->opener, &fetch->plain, err);
		if (code != ERR_OK)
			return code;
		if (got > 0 && fetch->plain.len < SEND_BYTES - READ_BYTES)
			continue;
		code = send_plain(fetch, err);
		*ret_client = code != ERR_OK;
		if (code != ERR_OK || got == 0)
			return code;
	}
}

static void send_tail(struct fetch *fetch)
{
	if (!transfer_complete(&fetch->transfer))
		return;
	struct envelope_view view;
	Twokey__V1__FetchTail tail = TWOKEY__V1__FETCH_TAIL__INIT;
	tail.bytes = fetch->transfer.bytes;
	tail.sha256 = (ProtobufCBinaryData){sizeof fetch->transfer.sha256, fetch->transfer.sha256};
	tail.receipt = envelope_to_pb(&fetch->transfer.receipt, &view);
	Twokey__V1__FetchResponse response = TWOKEY__V1__FETCH_RESPONSE__INIT;
	response.part_case = TWOKEY__V1__FETCH_RESPONSE__PART_TAIL;
	response.tail = &tail;
	request_answer(fetch->transfer.request, &response.base);
}

static void fetch_object(struct request *request)
{
	struct fetch fetch = {0};
	transfer_init(&fetch.transfer, request);
	bool client = false;
	enum err_code code = open_object(&fetch, &request->detail);
	if (code == ERR_OK) {
		code = send_head(&fetch, &request->detail);
		client = code != ERR_OK;
	}
	if (code == ERR_OK)
		code = pump(&fetch, &client, &request->detail);
	if (code == ERR_OK)
		send_tail(&fetch);
	else if (fetch.refusal != REASON_NONE)
		transfer_fail(&fetch.transfer, fetch.refusal);
	else
		transfer_fail(&fetch.transfer, request_reason_of(request, client ? ERR_CANCELLED : code));
	seal_open_free(fetch.opener);
	close_head(&fetch);
	buf_done(&fetch.plain);
	transfer_done(&fetch.transfer);
}

void svc_fetch(struct request *request)
{
	ProtobufCMessage *message = request_receive(request, &twokey__v1__fetch_request__descriptor);
	if (message) {
		const Twokey__V1__FetchRequest *asked = (const Twokey__V1__FetchRequest *)message;
		if (admit(request, asked->envelope, asked->proof, TWOKEY__V1__OPERATION__OPERATION_GET) && admit_spend(request))
			fetch_object(request);
	}
	pb_free(message);
}
