/* The XML answers of S3 that are read here. Thread-safe. */
#ifndef TWOKEY_S3CLIENT_S3_XML_H
#define TWOKEY_S3CLIENT_S3_XML_H

#include "common/err.h"
#include "common/span.h"

/* Copies a word of letters, digits, dots and dashes that fits with its NUL; otherwise false, and nothing is written:
 * what a server says is shown to people only when it is no more than that. */
bool s3_copy_word(const char *text, char *out, size_t size);

/* Only what is shown or decided on: the message and the resource can repeat what the request held. */
struct s3_error {
	char code[64];   /* letters, digits and dots; "" when the document is no <Error> */
	char region[64]; /* of AuthorizationHeaderMalformed and redirects; "" otherwise */
};

struct s3_list_entry {
	char *key;
	uint64_t size;
	int64_t modified_ms;
};
struct s3_list_page {
	struct s3_list_entry *entries;
	size_t n, cap;
	char *next_token; /* NULL: this was the last page */
};
void s3_list_page_done(struct s3_list_page *page);

/* Does the document say <Error>? Anything that cannot be read is no error document. */
bool s3_xml_error(struct span document, struct s3_error *ret);
/* ListObjectsV2, with or without encoding-type=url. On failure *ret is empty. */
must_check enum err_code s3_xml_list(struct span document, struct s3_list_page *ret, struct err *err);
/* A multipart upload that is open. */
struct s3_open_upload {
	char *key, *upload_id, *initiator; /* initiator: "" when S3 does not say */
	int64_t initiated_ms;
	bool sha256; /* its parts carry SHA-256 checksums */
};
struct s3_upload_page {
	struct s3_open_upload *entries;
	size_t n, cap;
	char *next_key, *next_upload_id; /* NULL: this was the last page */
};
void s3_upload_page_done(struct s3_upload_page *page);
/* ListMultipartUploads, with or without encoding-type=url. On failure *ret is empty. */
must_check enum err_code s3_xml_uploads(struct span document, struct s3_upload_page *ret, struct err *err);
/* As HTML forms have it ('+' is a blank), in place; false when it cannot be, or has a NUL. */
bool s3_url_decode(char *text);
/* The caller frees *ret. */
must_check enum err_code s3_xml_upload_id(struct span document, char **ret, struct err *err);
/* The ETag of CompleteMultipartUploadResult; the caller frees it. */
must_check enum err_code s3_xml_completed(struct span document, char **ret_etag, struct err *err);

#endif
