#include <stdlib.h>

#include "s3client/s3.h"

/* A list under way: pages are read one after the other, none is kept. */
struct listing {
	struct s3_store *store;
	const char *prefix;
	const struct store_cancel *cancel;
	store_each *each;
	void *user;
	char *token; /* of the next page; NULL: the first */
	char *last;  /* key handed out last */
	bool stopped;
};

static enum err_code read_page(const struct listing *listing, struct s3_list_page *ret, struct err *err)
{
	/* Without the encoding, a key with a control character makes a document that no XML parser takes. */
	struct sigv4_pair query[] = {{"encoding-type", "url"},
	                             {"list-type", "2"},
	                             {"prefix", listing->prefix},
	                             {"continuation-token", listing->token}};
	struct s3_call call = {.operation = "ListObjectsV2",
	                       .method = "GET",
	                       .query = query,
	                       .n_query = listing->token ? 4 : 3,
	                       .cancel = listing->cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(listing->store, &call, &reply, err);
	if (code == ERR_OK)
		code = s3_xml_list(buf_span(&reply.body), ret, err);
	s3_reply_done(&reply);
	return code;
}

static enum err_code hand_out(struct listing *listing, struct s3_list_page *page, struct err *err)
{
	for (size_t i = 0; i < page->n && !listing->stopped; i++) {
		struct s3_list_entry *from = &page->entries[i];
		if (strncmp(from->key, listing->prefix, strlen(listing->prefix)) != 0)
			return err_set(err, ERR_CORRUPT, 0, "ListObjectsV2: S3 lists an object outside of the prefix");
		/* Also what ends a server's endless circle of pages. */
		if (listing->last && strcmp(from->key, listing->last) <= 0)
			return err_set(err, ERR_CORRUPT, 0, "ListObjectsV2: S3 lists the objects out of order");
		struct store_entry entry = {.key = from->key, .size = from->size, .modified_ms = from->modified_ms};
		listing->stopped = !listing->each(&entry, listing->user);
		free(listing->last);
		listing->last = from->key;
		from->key = NULL;
	}
	return ERR_OK;
}

static enum err_code next_page(struct listing *listing, bool *ret_more, struct err *err)
{
	struct s3_list_page page = {0};
	enum err_code code = read_page(listing, &page, err);
	if (code == ERR_OK)
		code = hand_out(listing, &page, err);
	if (code == ERR_OK && page.next_token && listing->token && strcmp(page.next_token, listing->token) == 0)
		code = err_set(err, ERR_CORRUPT, 0, "ListObjectsV2: S3 answers with the same page again");
	free(listing->token);
	listing->token = page.next_token;
	page.next_token = NULL;
	*ret_more = listing->token && !listing->stopped;
	s3_list_page_done(&page);
	return code;
}

enum err_code s3_list(struct store *store, const char *prefix, const struct store_cancel *cancel, store_each *each,
                      void *user, struct err *err)
{
	struct listing listing = {.store = s3_of(store), .prefix = prefix, .cancel = cancel, .each = each, .user = user};
	enum err_code code = ERR_OK;
	for (bool more = true; more && code == ERR_OK;)
		code = next_page(&listing, &more, err);
	free(listing.token);
	free(listing.last);
	return code;
}
