/* Audit: who may read the record reads it, and that is on record too. */
#include <stdlib.h>

#include "common/pb.h"
#include "server/methods.h"
#include "server/request.h"

#define PAGE_RECORDS  200
#define PAGE_BYTES    ((size_t)256 << 10)
#define RECORDS_FIELD 1 /* SearchResponse.records */
#define WAIT_MS       10000
#define FRESH_MS      1000
#define FRESH_MS      1000

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
	ProtobufCMessage *message = request_receive(request, &twokey__v1__search_request__descriptor);
	if (message && request_grant(request, REQUEST_NO_USE))
		search(request, (const Twokey__V1__SearchRequest *)message);
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
	ProtobufCMessage *message = request_receive(request, &twokey__v1__get_record_request__descriptor);
	if (message && request_grant(request, REQUEST_NO_USE))
		get_record(request, ((const Twokey__V1__GetRecordRequest *)message)->index);
	pb_free(message);
}
