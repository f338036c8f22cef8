/* room: s3client */
/* Every XML answer that is read from S3: whatever the bytes are, each reader answers, and frees what it made. */
#include "s3client/s3_xml.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span document = span_of(data, size);
	struct s3_error error;
	s3_xml_error(document, &error);
	struct s3_list_page page = {0};
	if (s3_xml_list(document, &page, NULL) == ERR_OK)
		s3_list_page_done(&page);
	struct s3_upload_page uploads = {0};
	if (s3_xml_uploads(document, &uploads, NULL) == ERR_OK)
		s3_upload_page_done(&uploads);
	char *text = NULL;
	if (s3_xml_upload_id(document, &text, NULL) == ERR_OK)
		free(text);
	if (s3_xml_completed(document, &text, NULL) == ERR_OK)
		free(text);
	return 0;
}
