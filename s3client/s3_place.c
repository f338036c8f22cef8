#include "s3client/s3_place.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "s3client/s3client.h"

#define REGION_MAX 63
#define MOVES_MAX  8 /* a bucket does not wander: whoever says so again and again is not believed */

/* ---- the endpoint ---- */

struct endpoint {
	CURLU *url;
	char *scheme, *host, *port, *path, *other;
};

static void endpoint_done(struct endpoint *endpoint)
{
	curl_url_cleanup(endpoint->url);
	curl_free(endpoint->scheme);
	curl_free(endpoint->host);
	curl_free(endpoint->port);
	curl_free(endpoint->path);
	curl_free(endpoint->other);
}

static bool endpoint_parse(const char *text, struct endpoint *endpoint)
{
	endpoint->url = curl_url();
	if (!endpoint->url || curl_url_set(endpoint->url, CURLUPART_URL, text, 0) != CURLUE_OK)
		return false;
	if (curl_url_get(endpoint->url, CURLUPART_SCHEME, &endpoint->scheme, 0) != CURLUE_OK ||
	    curl_url_get(endpoint->url, CURLUPART_HOST, &endpoint->host, 0) != CURLUE_OK ||
	    curl_url_get(endpoint->url, CURLUPART_PATH, &endpoint->path, 0) != CURLUE_OK)
		return false;
	if (strcmp(endpoint->scheme, "http") != 0 && strcmp(endpoint->scheme, "https") != 0)
		return false;
	/* A default port is not part of the Host header: CURLUE_NO_PORT. */
	curl_url_get(endpoint->url, CURLUPART_PORT, &endpoint->port, CURLU_NO_DEFAULT_PORT);
	static const CURLUPart refused[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT};
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		if (curl_url_get(endpoint->url, refused[i], &endpoint->other, 0) == CURLUE_OK)
			return false;
	}
	return strcmp(endpoint->path, "/") == 0;
}

static char *copy_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

/* ---- places ---- */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), tail = strlen(end);
	return len >= tail && strcmp(text + len - tail, end) == 0;
}

/* AWS's own names hold the region ("s3.dualstack.eu-west-1.amazonaws.com"); any other host stays what it is. */
static char *host_in(const char *host, const char *from, const char *to)
{
	if (!ends_with(host, ".amazonaws.com") && !ends_with(host, ".amazonaws.com.cn"))
		return xstrdup(host);
	if (strcmp(host, "s3.amazonaws.com") == 0)
		return xasprintf("s3.%s.amazonaws.com", to);
	autofree char *label = xasprintf(".%s.", from);
	const char *at = strstr(host, label);
	return at ? xasprintf("%.*s.%s.%s", (int)(at - host), host, to, at + strlen(label)) : xstrdup(host);
}

static struct s3_place *place_new(const struct s3_places *places, const char *name, const char *region)
{
	struct s3_place *place = xcalloc(1, sizeof *place);
	const char *colon = places->port ? ":" : "", *port = places->port ? places->port : "";
	place->region = xstrdup(region);
	place->host = places->path_style ? xasprintf("%s%s%s", name, colon, port)
	                                 : xasprintf("%s.%s%s%s", places->bucket, name, colon, port);
	place->origin = xasprintf("%s://%s", places->scheme, place->host);
	return place;
}

static void place_free(struct s3_place *place)
{
	free(place->region);
	free(place->host);
	free(place->origin);
	free(place);
}

enum err_code s3_places_init(struct s3_places *places, const struct s3_options *options, struct err *err)
{
	struct endpoint endpoint = {0};
	bool good = endpoint_parse(options->endpoint, &endpoint);
	if (good) {
		places->scheme = xstrdup(endpoint.scheme);
		places->name = xstrdup(endpoint.host);
		places->port = copy_or_null(endpoint.port);
		places->bucket = xstrdup(options->bucket);
		places->path_style = options->path_style;
		atomic_store(&places->now, place_new(places, places->name, options->region));
	}
	endpoint_done(&endpoint);
	return good ? ERR_OK
	            : err_set(err, ERR_INVALID, 0,
	                      "S3: the endpoint is not like https://s3.example.com or http://host:port");
}

void s3_places_done(struct s3_places *places)
{
	for (struct s3_place *place = atomic_load(&places->now), *older; place; place = older) {
		older = place->older;
		place_free(place);
	}
	free(places->scheme);
	free(places->name);
	free(places->port);
	free(places->bucket);
}

static bool is_region(const char *region)
{
	size_t len = strlen(region);
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)region[i]) && region[i] != '-')
			return false;
	}
	return len > 0 && len <= REGION_MAX;
}

static unsigned age(const struct s3_place *place)
{
	unsigned n = 0;
	for (; place->older; place = place->older)
		n++;
	return n;
}

bool s3_places_move(struct s3_places *places, const struct s3_place *seen, const char *region)
{
	struct s3_place *now = atomic_load(&places->now);
	if (now != seen)
		return true; /* somebody was told before us */
	if (!is_region(region) || strcmp(region, now->region) == 0 || age(now) >= MOVES_MAX)
		return false;
	const struct s3_place *first = now;
	while (first->older)
		first = first->older;
	autofree char *name = host_in(places->name, first->region, region);
	struct s3_place *place = place_new(places, name, region);
	place->older = now;
	if (!atomic_compare_exchange_strong(&places->now, &now, place))
		place_free(place);
	return true;
}
