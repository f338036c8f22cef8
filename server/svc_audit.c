/* Audit: who may read the record reads it, and that is on record too. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/methods.h"
#include "server/request.h"

#define WHY_MAX       512
#define PAGE_RECORDS  200
#define PAGE_BYTES    ((size_t)256 << 10)
#define RECORDS_FIELD 1 /* SearchResponse.records */
#define WAIT_MS       10000
#define FRESH_MS      1000
#define TAIL_WAIT_MS  500 /* between two looks whether the caller is still there */
#define TAIL_RECORDS  1000

static enum reason reason_of(enum err_code code)
{
	switch (code) {
	case ERR_NOT_FOUND:
		return REASON_NO_SUCH_RECORD;
	case ERR_INVALID:
		return REASON_MALFORMED;
	case ERR_DEADLINE:
		return REASON_DEADLINE_PASSED;
	case ERR_UNAVAILABLE:
		return REASON_SEARCH_UNAVAILABLE;
	default:
		return REASON_INTERNAL;
	}
}

/* Whoever may read the record may also know what is wrong with a question. */
static ProtobufCMessage *receive_from_auditor(struct request *request, const ProtobufCMessageDescriptor *type)
{
	request->tell_detail = true;
	return request_receive(request, type);
}

/* A page of records as they stand in the log: their exact bytes are the field's content. */
struct page {
	struct request *request;
	struct buf bytes;
	size_t n;
	enum err_code sent;
};

static bool send_page(struct page *page)
{
	page->n = 0;
	page->sent = rpc_send(page->request->call, (struct span){0}, &page->bytes, &page->request->detail);
	return page->sent == ERR_OK;
}

static bool add_record(uint64_t index, struct span record, void *user)
{
	(void)index;
	struct page *page = (struct page *)user;
	pb_append_bytes_header(&page->bytes, RECORDS_FIELD, record.len);
	buf_append(&page->bytes, record);
	page->n++;
	return (page->n < PAGE_RECORDS && page->bytes.len < PAGE_BYTES) || send_page(page);
}

static unsigned wait_ms(const struct request *request)
{
	int64_t deadline = rpc_deadline_ms(request->call);
	if (!deadline)
		return WAIT_MS;
	int64_t left = deadline - clock_now_ms(NULL);
	return left <= 0 ? 1 : left < WAIT_MS ? (unsigned)left : WAIT_MS;
}

/* Who names no record to wait for sees at least what was recorded before the search began, unless the index lags badly.
 */
static enum err_code search_fresh(struct page *page, const Twokey__V1__SearchRequest *asked,
                                  struct audit_search_result *ret)
{
	struct request *request = page->request;
	struct audit *audit = request->deployment->audit;
	if (asked->freshness_case == TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX)
		return audit_search(audit, asked, wait_ms(request), add_record, page, ret, &request->detail);
	Twokey__V1__SearchRequest fresh = *asked;
	fresh.freshness_case = TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX;
	fresh.wait_for_index = request->record;
	enum err_code code = audit_search(audit, &fresh, FRESH_MS, add_record, page, ret, &request->detail);
	if (code != ERR_DEADLINE || page->n > 0)
		return code;
	request->detail = (struct err){0};
	return audit_search(audit, asked, wait_ms(request), add_record, page, ret, &request->detail);
}

/* What was asked, for the record: "search subject=alice decision=DENIED limit=20". */
static void describe(const char *what, const Twokey__V1__SearchRequest *asked, struct buf *out)
{
	buf_append_str(out, what);
	const ProtobufCMessageDescriptor *type = asked->base.descriptor;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		const void *at = (const char *)asked + field->offset;
		if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF || strcmp(field->name, "why") == 0)
			continue;
		if (field->type == PROTOBUF_C_TYPE_STRING && (*(char *const *)at)[0])
			buf_printf(out, " %s=%s", field->name, *(char *const *)at);
		else if (field->type == PROTOBUF_C_TYPE_ENUM && *(const int *)at)
			buf_printf(out, " %s=%d", field->name, *(const int *)at);
		else if (field->type == PROTOBUF_C_TYPE_UINT32 && *(const uint32_t *)at)
			buf_printf(out, " %s=%u", field->name, *(const uint32_t *)at);
		else if (field->type == PROTOBUF_C_TYPE_MESSAGE && *(void *const *)at)
			buf_printf(out, " %s=%lld", field->name, (long long)(*(Google__Protobuf__Timestamp *const *)at)->seconds);
		else if (field->type == PROTOBUF_C_TYPE_BYTES && ((const ProtobufCBinaryData *)at)->len)
			buf_printf(out, " %s", field->name);
	}
}

/* The grant of a search or a tail, with what was asked and why. */
static bool grant_search(struct request *request, const char *what, const Twokey__V1__SearchRequest *asked)
{
	autobuf struct buf about = {0};
	if (strlen(asked->why) > WHY_MAX) {
		err_set(&request->detail, ERR_INVALID, 0, "say why in at most %d bytes", WHY_MAX);
		request_refuse(request, REASON_MALFORMED);
		return false;
	}
	describe(what, asked, &about);
	request->why = asked->why;
	request->about = buf_cstr(&about);
	bool granted = request_grant(request, REQUEST_NO_USE);
	request->why = request->about = NULL;
	return granted;
}

static void search(struct request *request, const Twokey__V1__SearchRequest *asked)
{
	struct page page = {.request = request};
	struct audit_search_result result;
	enum err_code code = search_fresh(&page, asked, &result);
	if (page.sent != ERR_OK) {
		request_fail(request, REASON_CLIENT_GONE);
	} else if (code != ERR_OK) {
		request_fail(request, reason_of(code));
	} else {
		Twokey__V1__SearchTail tail = TWOKEY__V1__SEARCH_TAIL__INIT;
		tail.returned = result.returned;
		tail.more = result.more;
		tail.indexed = result.indexed;
		tail.committed = result.committed;
		tail.total = result.total;
		Twokey__V1__SearchResponse last = TWOKEY__V1__SEARCH_RESPONSE__INIT;
		last.tail = &tail;
		/* Serialised fields of one message may stand one after the other: the last page carries the tail. */
		pb_pack(&last.base, &page.bytes);
		if (send_page(&page))
			request_finish(request);
		else
			request_fail(request, REASON_CLIENT_GONE);
	}
	buf_done(&page.bytes);
}

void svc_audit_search(struct request *request)
{
	ProtobufCMessage *message = receive_from_auditor(request, &twokey__v1__search_request__descriptor);
	const Twokey__V1__SearchRequest *asked = (const Twokey__V1__SearchRequest *)message;
	if (asked && grant_search(request, "search", asked))
		search(request, asked);
	pb_free(message);
}

/* ---- tail ---- */

struct tail {
	struct page page;
	uint64_t next; /* the first record that has not been looked at */
};

static bool add_tailed(uint64_t index, struct span record, void *user)
{
	struct tail *tail = (struct tail *)user;
	tail->next = index + 1;
	return add_record(index, record, &tail->page);
}

/* Sends what has come since, in order; waits a moment when nothing has. */
static enum err_code tail_once(struct tail *tail, Twokey__V1__SearchRequest *asked)
{
	struct request *request = tail->page.request;
	struct audit_search_result result = {0};
	struct err err = {0};
	asked->from_index = asked->wait_for_index = tail->next;
	enum err_code code = audit_search(request->deployment->audit, asked, TAIL_WAIT_MS, add_tailed, tail, &result, &err);
	if (code == ERR_DEADLINE)
		return ERR_OK;
	if (code != ERR_OK) {
		request->detail = err;
		return code;
	}
	if (!result.more && result.indexed > tail->next)
		tail->next = result.indexed;
	if (tail->page.sent == ERR_OK && tail->page.n > 0)
		send_page(&tail->page);
	return tail->page.sent;
}

static void tail_records(struct request *request, const Twokey__V1__SearchRequest *matching)
{
	uint64_t committed, indexed;
	struct tail tail = {.page.request = request};
	Twokey__V1__SearchRequest asked = *matching;
	audit_progress(request->deployment->audit, &committed, &indexed);
	tail.next = matching->start_case == TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX ? matching->from_index : committed;
	asked.start_case = TWOKEY__V1__SEARCH_REQUEST__START_FROM_INDEX;
	asked.freshness_case = TWOKEY__V1__SEARCH_REQUEST__FRESHNESS_WAIT_FOR_INDEX;
	asked.cursor_case = TWOKEY__V1__SEARCH_REQUEST__CURSOR__NOT_SET;
	asked.oldest_first = true;
	asked.count = false;
	asked.limit = TAIL_RECORDS;
	enum err_code code = ERR_OK;
	while (code == ERR_OK && !rpc_cancelled(request->call))
		code = tail_once(&tail, &asked);
	request_fail(request, code == ERR_OK || tail.page.sent != ERR_OK ? REASON_CLIENT_GONE : reason_of(code));
	buf_done(&tail.page.bytes);
}

void svc_audit_tail(struct request *request)
{
	ProtobufCMessage *message = receive_from_auditor(request, &twokey__v1__tail_request__descriptor);
	static const Twokey__V1__SearchRequest everything = TWOKEY__V1__SEARCH_REQUEST__INIT;
	const Twokey__V1__TailRequest *asked = (const Twokey__V1__TailRequest *)message;
	const Twokey__V1__SearchRequest *matching = asked && asked->matching ? asked->matching : &everything;
	if (asked && grant_search(request, "tail", matching))
		tail_records(request, matching);
	pb_free(message);
}

static void get_record(struct request *request, uint64_t index)
{
	autobuf struct buf record = {0};
	enum err_code code = audit_read(request->deployment->audit, index, &record, &request->detail);
	if (code != ERR_OK)
		request_fail(request, reason_of(code));
	else if (rpc_send(request->call, (struct span){0}, &record, &request->detail) == ERR_OK)
		request_finish(request);
	else
		request_fail(request, REASON_CLIENT_GONE);
}

void svc_audit_get(struct request *request)
{
	ProtobufCMessage *message = receive_from_auditor(request, &twokey__v1__get_record_request__descriptor);
	if (message) {
		const uint64_t index = ((const Twokey__V1__GetRecordRequest *)message)->index;
		autofree char *about = xasprintf("record %llu", (unsigned long long)index);
		request->about = about;
		if (request_grant(request, REQUEST_NO_USE))
			get_record(request, index);
		request->about = NULL;
	}
	pb_free(message);
}
