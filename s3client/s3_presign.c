/* A URL that gets one object for a while, for whoever has it: SigV4 in the query, over the host and nothing else.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
#include <stdio.h>
#include <stdlib.h>

#include "s3client/s3.h"
#include "s3client/sigv4_presign.h"

enum err_code s3_presign(struct store *base, const char *key, const char *version_id, unsigned seconds, char **ret_url,
                         struct err *err)
{
	struct s3_store *store = s3_of(base);
	const struct s3_place *place = atomic_load(&store->places.now);
	const struct wait wait = {NULL, store->clock};
	struct session *session = NULL;
	enum err_code code = credentials_take(store->credentials, &wait, &session, err);
	if (code != ERR_OK)
		return code;
	char timestamp[17];
	sigv4_timestamp(clock_now_ms(store->clock) + atomic_load(&store->clock_offset_ms), timestamp);
	autofree char *path = xasprintf("%s%s", store->object_path, key);
	const struct sigv4_presign asked = {
	    .host = place->host,
	    .path = path,
	    .version_id = version_id,
	    .access_key_id = session->access_key_id,
	    .token = session->token ? (const char *)secret_span(session->token).ptr : NULL,
	    .seconds = seconds,
	    .scope = {timestamp, place->region, "s3", NULL},
	};
	autobuf struct buf url = {0};
	buf_append_str(&url, place->origin);
	code = sigv4_presign(&asked, &session->day_key, &url, err);
	session_give_back(session);
	if (code == ERR_OK)
		*ret_url = xstrdup(buf_cstr(&url));
	return code;
}
