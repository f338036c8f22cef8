#include "s3client/s3_xml.h"

#include "s3client/xml.h"
#include "tests/unit/harness.h"

#define LIST(contents, more)                                                                                           \
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "                                                   \
	"xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>" more contents "</ListBucketResult>"
#define ENTRY(key, size)                                                                                               \
	"<Contents><LastModified>2026-11-21T18:47:47.000Z</LastModified><ETag>&#34;x&#34;</ETag><Key>" key                 \
	"</Key><Size>" size "</Size></Contents>"

static enum err_code list(const char *text, struct s3_list_page *page)
{
	return s3_xml_list(span_str(text), page, NULL);
}

static void test_list_page(void **state)
{
	(void)state;
	struct s3_list_page page = {0};
	assert_err(list(LIST(ENTRY("a &amp; b", "12") ENTRY("c", "0"),
	                     "<IsTruncated>true</IsTruncated><NextContinuationToken>t/1=</NextContinuationToken>"),
	                &page),
	           ERR_OK);
	assert_int_equal(page.n, 2);
	assert_string_equal(page.entries[0].key, "a & b");
	assert_int_equal(page.entries[0].size, 12);
	assert_int_equal(page.entries[0].modified_ms, 1795286867000);
	assert_string_equal(page.entries[1].key, "c");
	assert_string_equal(page.next_token, "t/1=");
	s3_list_page_done(&page);
}

static void test_empty_list(void **state)
{
	(void)state;
	struct s3_list_page page = {0};
	assert_err(list(LIST("", "<IsTruncated>false</IsTruncated>"), &page), ERR_OK);
	assert_int_equal(page.n, 0);
	assert_null(page.next_token);
}

static void test_url_encoded_keys(void **state)
{
	(void)state;
	struct s3_list_page page = {0};
	assert_err(list(LIST(ENTRY("a+b%2Bc%01%C3%A9", "1"), "<EncodingType>url</EncodingType>"), &page), ERR_OK);
	assert_string_equal(page.entries[0].key, "a b+c\x01\xC3\xA9");
	s3_list_page_done(&page);
	assert_err(list(LIST(ENTRY("a+b%2B", "1"), "<EncodingType></EncodingType>"), &page), ERR_OK);
	assert_string_equal(page.entries[0].key, "a+b%2B");
	s3_list_page_done(&page);
}

static void test_refused_lists(void **state)
{
	(void)state;
	static const char *const refused[] = {
	    "",
	    "<",
	    "no XML",
	    "<Other/>",
	    LIST(ENTRY("a", "1"), "") "<more/>",
	    LIST(ENTRY("", "1"), ""),
	    LIST(ENTRY("a", "-1"), ""),
	    LIST(ENTRY("a", "18446744073709551616"), ""),
	    LIST(ENTRY("a", "1 "), ""),
	    LIST("<Contents><Size>1</Size></Contents>", ""),
	    LIST("<Contents><Key>a</Key><Key>b</Key></Contents>", ""),
	    LIST("", "<IsTruncated>true</IsTruncated>"),
	    LIST(ENTRY("%4", "1"), "<EncodingType>url</EncodingType>"),
	    LIST(ENTRY("%00", "1"), "<EncodingType>url</EncodingType>"),
	    LIST(ENTRY("%FF", "1"), "<EncodingType>url</EncodingType>"),
	    LIST("<Contents><Key>a</Key><LastModified>yesterday</LastModified></Contents>", ""),
	    "<!DOCTYPE x [<!ENTITY a \"b\">]>"
	    "<ListBucketResult><Name>&a;</Name></ListBucketResult>",
	    "<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><ListBucketResult/>",
	};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		struct s3_list_page page = {0};
		if (list(refused[i], &page) != ERR_CORRUPT)
			fail_msg("accepted: %s", refused[i]);
		assert_null(page.entries);
	}
}

static bool ignore_element(const char *path, const char *text, void *user)
{
	(void)path, (void)text, (void)user;
	return true;
}

static void test_depth_and_size_limits(void **state)
{
	(void)state;
	autobuf struct buf deep = {0}, fits = {0}, lengthy = {0}, name = {0};
	for (int i = 0; i < XML_DEPTH_MAX; i++)
		buf_append_str(&fits, "<a>");
	for (int i = 0; i < XML_DEPTH_MAX; i++)
		buf_append_str(&fits, "</a>");
	assert_err(xml_walk(buf_span(&fits), ignore_element, NULL, NULL), ERR_OK);
	for (int i = 0; i < 100000; i++)
		buf_append_str(&deep, "<a>");
	assert_err(xml_walk(buf_span(&deep), ignore_element, NULL, NULL), ERR_CORRUPT);
	buf_append_str(&lengthy, "<a>");
	for (size_t i = 0; i <= XML_TEXT_MAX; i++)
		buf_append_byte(&lengthy, 'x');
	buf_append_str(&lengthy, "</a>");
	assert_err(xml_walk(buf_span(&lengthy), ignore_element, NULL, NULL), ERR_CORRUPT);
	buf_append_byte(&name, '<');
	for (size_t i = 0; i < XML_PATH_MAX; i++)
		buf_append_byte(&name, 'n');
	buf_append_str(&name, "/>");
	assert_err(xml_walk(buf_span(&name), ignore_element, NULL, NULL), ERR_CORRUPT);
}

static void test_error_document(void **state)
{
	(void)state;
	struct s3_error error;
	assert_true(s3_xml_error(span_str("<Error><Code>NoSuchKey</Code><Message>m</Message></Error>"), &error));
	assert_string_equal(error.code, "NoSuchKey");
	assert_string_equal(error.region, "");
	assert_true(s3_xml_error(
	    span_str("<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"), &error));
	assert_string_equal(error.region, "eu-west-1");
	assert_false(s3_xml_error(span_str("<html><body>502</body></html>"), &error));
	assert_false(s3_xml_error(span_str("<Error><Code>a\nb</Code></Error>"), &error));
	assert_false(s3_xml_error(span_str(""), &error));
	assert_string_equal(error.code, "");
}

static void test_multipart_answers(void **state)
{
	(void)state;
	char *text = NULL;
	const char *created = "<InitiateMultipartUploadResult><Bucket>b</Bucket><UploadId>id-1</UploadId>"
	                      "</InitiateMultipartUploadResult>";
	assert_err(s3_xml_upload_id(span_str(created), &text, NULL), ERR_OK);
	assert_string_equal(text, "id-1");
	free(text);
	const char *completed =
	    "<CompleteMultipartUploadResult><ETag>&quot;e-2&quot;</ETag></CompleteMultipartUploadResult>";
	assert_err(s3_xml_completed(span_str(completed), &text, NULL), ERR_OK);
	assert_string_equal(text, "\"e-2\"");
	free(text);
	assert_err(s3_xml_upload_id(span_str(completed), &text, NULL), ERR_CORRUPT);
	assert_err(s3_xml_completed(span_str(created), &text, NULL), ERR_CORRUPT);
	assert_err(s3_xml_completed(span_str(""), &text, NULL), ERR_CORRUPT);
}

static void test_escape(void **state)
{
	(void)state;
	autobuf struct buf out = {0};
	xml_escape("<\"a\" & 'b'>", &out);
	assert_string_equal(buf_cstr(&out), "&lt;&quot;a&quot; &amp; &apos;b&apos;&gt;");
}

static void test_copy_word(void **state)
{
	(void)state;
	char out[8] = "before";
	assert_true(s3_copy_word("eu-1.b", out, sizeof out));
	assert_string_equal(out, "eu-1.b");
	assert_false(s3_copy_word("12345678", out, sizeof out));
	assert_false(s3_copy_word("a b", out, sizeof out));
	assert_false(s3_copy_word("", out, sizeof out));
	assert_string_equal(out, "eu-1.b");
}

/* ---- uploads ---- */

#define UPLOADS(inside) "<ListMultipartUploadsResult>" inside "</ListMultipartUploadsResult>"
#define UPLOAD(inside)  "<Upload>" inside "</Upload>"

static void test_uploads(void **state)
{
	(void)state;
	struct s3_upload_page page = {0};
	struct err err = {0};
	assert_ok(
	    s3_xml_uploads(span_str(UPLOADS(
	                       "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
	                       "<NextKeyMarker>a%2Bb</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker>" UPLOAD(
	                           "<Key>a+b%2F</Key><UploadId>u1</UploadId><Initiated>2026-11-21T19:40:00.000Z</Initiated>"
	                           "<Initiator><ID>arn:x</ID></Initiator><ChecksumAlgorithm>SHA256</ChecksumAlgorithm>")
	                           UPLOAD("<Key>b</Key><UploadId>u2</UploadId>"))),
	                   &page, &err),
	    err);
	assert_int_equal(page.n, 2);
	assert_string_equal(page.entries[0].key, "a b/");
	assert_string_equal(page.entries[0].upload_id, "u1");
	assert_string_equal(page.entries[0].initiator, "arn:x");
	assert_int_equal(page.entries[0].initiated_ms, 1795290000000);
	assert_true(page.entries[0].sha256);
	assert_string_equal(page.entries[1].initiator, "");
	assert_false(page.entries[1].sha256);
	assert_string_equal(page.next_key, "a+b");
	assert_string_equal(page.next_upload_id, "u2");
	s3_upload_page_done(&page);
	assert_ok(s3_xml_uploads(span_str(UPLOADS("<NextKeyMarker></NextKeyMarker>")), &page, &err), err);
	assert_int_equal(page.n, 0);
	assert_null(page.next_key);
	s3_upload_page_done(&page);
}

static void test_bad_uploads(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    "",
	    "<Other/>",
	    UPLOADS("<IsTruncated>true</IsTruncated>"),
	    UPLOADS(UPLOAD("<Key>a</Key>")),
	    UPLOADS(UPLOAD("<UploadId>u</UploadId>")),
	    UPLOADS(UPLOAD("<Key>a</Key><Key>b</Key><UploadId>u</UploadId>")),
	    UPLOADS(UPLOAD("<Key>a</Key><UploadId>u</UploadId><Initiated>soon</Initiated>")),
	    UPLOADS("<EncodingType>url</EncodingType>" UPLOAD("<Key>%zz</Key><UploadId>u</UploadId>"))};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct s3_upload_page page = {0};
		struct err err = {0};
		if (s3_xml_uploads(span_str(bad[i]), &page, &err) != ERR_CORRUPT)
			fail_msg("%s is taken", bad[i]);
		assert_null(page.entries);
	}
}

HARNESS_MAIN(NULL, NULL, cmocka_unit_test(test_uploads), cmocka_unit_test(test_bad_uploads),
             cmocka_unit_test(test_list_page), cmocka_unit_test(test_empty_list),
             cmocka_unit_test(test_url_encoded_keys), cmocka_unit_test(test_refused_lists),
             cmocka_unit_test(test_depth_and_size_limits), cmocka_unit_test(test_error_document),
             cmocka_unit_test(test_multipart_answers), cmocka_unit_test(test_escape), cmocka_unit_test(test_copy_word))
