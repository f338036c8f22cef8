#include "s3client/xml.h"

#include <expat.h>

struct walk {
	XML_Parser parser;
	xml_element *element;
	void *user;
	char path[XML_PATH_MAX];
	size_t ends[XML_DEPTH_MAX]; /* where each open element's path ends */
	unsigned depth;
	struct buf text;
	const char *refused; /* why the document is refused although expat has no complaint */
};

static void refuse(struct walk *walk, const char *why)
{
	if (!walk->refused)
		walk->refused = why;
	XML_StopParser(walk->parser, XML_FALSE);
}

static void on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
	(void)attributes;
	struct walk *walk = user;
	const char *colon = strchr(name, ':');
	if (colon)
		name = colon + 1;
	size_t at = walk->depth > 0 ? walk->ends[walk->depth - 1] : 0, len = strlen(name);
	if (walk->depth == XML_DEPTH_MAX || at + len + 2 > sizeof walk->path) {
		refuse(walk, "nested too deeply");
		return;
	}
	if (walk->depth > 0)
		walk->path[at++] = '/';
	memcpy(walk->path + at, name, len + 1);
	walk->ends[walk->depth++] = at + len;
	buf_clear(&walk->text);
}

static void on_end(void *user, const XML_Char *name)
{
	(void)name;
	struct walk *walk = user;
	if (walk->refused)
		return;
	if (!walk->element(walk->path, buf_cstr(&walk->text), walk->user))
		refuse(walk, "not what was asked for");
	walk->depth--;
	walk->path[walk->depth > 0 ? walk->ends[walk->depth - 1] : 0] = 0;
	buf_clear(&walk->text);
}

static void on_text(void *user, const XML_Char *text, int len)
{
	struct walk *walk = user;
	buf_append(&walk->text, span_of(text, (size_t)len));
	if (walk->text.failed)
		refuse(walk, "an element's text is too long");
}

static void on_doctype(void *user, const XML_Char *name, const XML_Char *system_id, const XML_Char *public_id,
                       int subset)
{
	(void)name, (void)system_id, (void)public_id, (void)subset;
	refuse(user, "it has a document type declaration");
}

enum err_code xml_walk(struct span document, xml_element *element, void *user, struct err *err)
{
	if (document.len > XML_DOCUMENT_MAX)
		return err_set(err, ERR_CORRUPT, 0, "XML: longer than %zu bytes", XML_DOCUMENT_MAX);
	struct walk walk = {.element = element, .user = user, .text = {.max = XML_TEXT_MAX}};
	walk.parser = XML_ParserCreate(NULL);
	if (!walk.parser)
		return err_set(err, ERR_EXHAUSTED, 0, "XML: out of memory");
	XML_SetUserData(walk.parser, &walk);
	XML_SetElementHandler(walk.parser, on_start, on_end);
	XML_SetCharacterDataHandler(walk.parser, on_text);
	XML_SetStartDoctypeDeclHandler(walk.parser, on_doctype);
	/* An empty buffer would be a null pointer. */
	const char *bytes = document.len ? (const char *)document.ptr : "";
	enum XML_Status status = XML_Parse(walk.parser, bytes, (int)document.len, 1);
	enum XML_Error problem = XML_GetErrorCode(walk.parser);
	XML_ParserFree(walk.parser);
	buf_done(&walk.text);
	if (walk.refused)
		return err_set(err, ERR_CORRUPT, 0, "XML: %s", walk.refused);
	if (status != XML_STATUS_OK)
		return err_set(err, ERR_CORRUPT, (long)problem, "XML: %s", XML_ErrorString(problem));
	return ERR_OK;
}

void xml_escape(const char *text, struct buf *out)
{
	static const char *const entities[256] = {
	    ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&apos;"};
	for (; *text; text++) {
		const char *entity = entities[(uint8_t)*text];
		if (entity)
			buf_append_str(out, entity);
		else
			buf_append_byte(out, (uint8_t)*text);
	}
}
