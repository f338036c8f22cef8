/* Ending multipart uploads whose bytes are not wanted. While S3 cannot be reached, or an attempt to send a part may
 * still be under way inside S3 (its documentation asks for another abort then), the upload is remembered and ended
 * later, with the next check of the bucket. What a process takes into its grave, s3_sweep finds. */
#include <stdlib.h>

#include "s3client/s3.h"

#define ABANDONED_MAX 4096U

struct s3_abandoned {
	char *key, *upload_id;
	struct s3_abandoned *next;
};

void s3_abandon_init(struct s3_abandon *abandon)
{
	*abandon = (struct s3_abandon){0};
	pthread_mutex_init(&abandon->lock, NULL);
}

static void free_all(struct s3_abandoned *list)
{
	for (struct s3_abandoned *next; list; list = next) {
		next = list->next;
		free(list->key);
		free(list->upload_id);
		free(list);
	}
}

void s3_abandon_done(struct s3_abandon *abandon)
{
	free_all(abandon->list);
	pthread_mutex_destroy(&abandon->lock);
}

enum err_code s3_abort_upload(struct s3_store *store, const char *key, const char *upload_id,
                              const struct store_cancel *cancel, struct err *err)
{
	const struct sigv4_pair query = {"uploadId", upload_id};
	struct s3_call call = {.operation = "AbortMultipartUpload",
	                       .method = "DELETE",
	                       .key = key,
	                       .query = &query,
	                       .n_query = 1,
	                       .cancel = cancel};
	struct s3_reply reply = {0};
	enum err_code code = s3_send(store, &call, &reply, err);
	s3_reply_done(&reply);
	return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static void put_back_locked(struct s3_abandon *abandon, struct s3_abandoned *each)
{
	each->next = abandon->list;
	abandon->list = each;
	abandon->n++;
}

void s3_abandon_later(struct s3_store *store, const char *key, const char *upload_id)
{
	struct s3_abandon *abandon = &store->abandon;
	struct s3_abandoned *each = xcalloc(1, sizeof *each);
	each->key = xstrdup(key);
	each->upload_id = xstrdup(upload_id);
	pthread_mutex_lock(&abandon->lock);
	bool room = abandon->n < ABANDONED_MAX;
	if (room)
		put_back_locked(abandon, each);
	pthread_mutex_unlock(&abandon->lock);
	if (!room)
		free_all(each);
}

static struct s3_abandoned *take_one(struct s3_abandon *abandon)
{
	pthread_mutex_lock(&abandon->lock);
	struct s3_abandoned *each = abandon->list;
	if (each) {
		abandon->list = each->next;
		abandon->n--;
		each->next = NULL;
	}
	pthread_mutex_unlock(&abandon->lock);
	return each;
}

void s3_abandon_now(struct s3_store *store, const struct store_cancel *cancel)
{
	enum err_code code = ERR_OK;
	for (struct s3_abandoned *each; code == ERR_OK && (each = take_one(&store->abandon));) {
		code = s3_abort_upload(store, each->key, each->upload_id, cancel, NULL);
		if (code == ERR_OK) {
			free_all(each);
			continue;
		}
		pthread_mutex_lock(&store->abandon.lock);
		put_back_locked(&store->abandon, each);
		pthread_mutex_unlock(&store->abandon.lock);
	}
}
