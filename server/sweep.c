#include "server/sweep.h"

#include <stdio.h>

static void sweep_bucket(const struct bucket *bucket, const struct store_cancel *cancel)
{
	unsigned removed = 0;
	struct err err = {0};
	enum err_code code = store_sweep(bucket->store, cancel, &removed, &err);
	char text[16];
	snprintf(text, sizeof text, "%u", removed);
	if (removed > 0)
		log_event(LOG_INFO, "removed uploads that were never finished", "bucket", bucket->config->name, "count", text,
		          NULL);
	if (code != ERR_OK && code != ERR_CANCELLED)
		log_event(LOG_WARN, "uploads that were never finished cannot be looked for", "bucket", bucket->config->name,
		          "error", err.text, NULL);
}

void sweep_buckets(const struct deployment *deployment, const struct store_cancel *cancel)
{
	for (size_t i = 0; i < deployment->n_buckets; i++)
		sweep_bucket(&deployment->buckets[i], cancel);
}
