/* Walks a small XML document that a server sent. Document type declarations, and with them entities, are refused;
 * depth and sizes are limited. Namespaces are ignored. Thread-safe. */
#ifndef TWOKEY_S3CLIENT_XML_H
#define TWOKEY_S3CLIENT_XML_H

#include "common/err.h"
#include "common/span.h"

#define XML_DEPTH_MAX    16
#define XML_PATH_MAX     256
#define XML_TEXT_MAX     ((size_t)16 << 10) /* of one element */
#define XML_DOCUMENT_MAX ((size_t)8 << 20)

/* Called at the end of each element with its path ("ListBucketResult/Contents/Key") and its text: of an element with
 * children, what followed the last of them. False stops with ERR_CORRUPT. */
typedef bool xml_element(const char *path, const char *text, void *user);

/* ERR_CORRUPT when it is not well-formed or over a limit. */
must_check enum err_code xml_walk(struct span document, xml_element *element, void *user, struct err *err);

/* Appends text with the five special characters escaped. */
void xml_escape(const char *text, struct buf *out);

#endif
