#include <stdio.h>
#include <stdlib.h>

#include "common/text.h"
#include "s3client/s3_upload.h"

#define ETAG_BYTES_MAX 256

/* ---- sending one ---- */

static bool stopped(void *user)
{
	const struct s3_upload *upload = user;
	return atomic_load(&upload->stop);
}

static void read_answer(struct s3_part_job *job, const struct s3_reply *reply)
{
	const char *etag = http_header(reply->exchange, "etag");
	if (etag && etag[0] && strlen(etag) <= ETAG_BYTES_MAX)
		job->sent.etag = xstrdup(etag);
	else
		job->code = err_set(&job->err, ERR_CORRUPT, 0, "UploadPart: S3 gave the part no ETag");
}

/* `cancel`: the caller's own belongs to the caller's thread. */
static void send_part(struct s3_part_job *job, const struct store_cancel *cancel)
{
	struct s3_upload *upload = job->upload;
	struct span body = span_of(job->part.data, job->part.len);
	text_sha256(body, job->sent.sha256);
	autobuf struct buf sha256 = {0};
	text_base64(span_of(job->sent.sha256, sizeof job->sent.sha256), &sha256);
	char number[16];
	snprintf(number, sizeof number, "%u", job->number);
	const struct sigv4_pair query[] = {{"partNumber", number}, {"uploadId", upload->upload_id}};
	const struct sigv4_pair header = {"x-amz-checksum-sha256", buf_cstr(&sha256)};
	struct s3_call call = {.operation = "UploadPart",
	                       .method = "PUT",
	                       .key = upload->put.key,
	                       .query = query,
	                       .n_query = 2,
	                       .headers = &header,
	                       .n_headers = 1,
	                       .body = body,
	                       .sha256 = job->sent.sha256,
	                       .cancel = cancel};
	struct s3_reply reply = {0};
	job->code = s3_send(upload->store, &call, &reply, &job->err);
	if (job->code == ERR_OK)
		read_answer(job, &reply);
	job->loose = reply.uncertain;
	s3_reply_done(&reply);
	part_clear(&job->part);
}

static void *run(void *user)
{
	struct s3_part_job *job = user;
	const struct store_cancel *of = job->upload->put.cancel;
	const struct store_cancel cancel = {
	    .cancelled = stopped, .user = job->upload, .deadline_ms = of ? of->deadline_ms : 0};
	send_part(job, &cancel);
	atomic_store(&job->done, true);
	return NULL;
}

/* ---- starting and ending ---- */

/* The right to one more buffer, kept until the upload ends: so does the buffer. */
static bool is_granted(struct s3_store *store, struct s3_part_job *job)
{
	if (job->granted || store->jobs_max <= 1)
		return job->granted;
	job->granted = (unsigned)atomic_fetch_add(&store->jobs, 1) < store->jobs_max;
	if (!job->granted)
		atomic_fetch_sub(&store->jobs, 1);
	return job->granted;
}

void s3_part_job_start(struct s3_upload *upload, struct s3_part_job *job, unsigned number, bool background)
{
	const struct part empty = job->part;
	job->part = upload->part;
	upload->part = empty;
	job->upload = upload;
	job->number = number;
	job->err = (struct err){0};
	job->sent = (struct s3_sent_part){0};
	atomic_store(&job->done, false);
	job->threaded = background && is_granted(upload->store, job) && pthread_create(&job->thread, NULL, run, job) == 0;
	if (job->threaded)
		return;
	send_part(job, upload->put.cancel);
	/* One buffer is enough for whoever goes without threads. */
	const struct part used = job->part;
	job->part = upload->part;
	upload->part = used;
}

static void join(struct s3_upload *upload, struct s3_part_job *job)
{
	if (job->threaded)
		pthread_join(job->thread, NULL);
	job->threaded = false;
	upload->sent[job->number - 1] = job->sent;
	upload->loose |= job->loose;
	job->number = 0;
}

enum err_code s3_part_job_wait(struct s3_upload *upload, struct s3_part_job *job, struct err *err)
{
	if (job->number == 0)
		return ERR_OK;
	const struct wait wait = {upload->put.cancel, upload->store->clock};
	while (job->threaded && !atomic_load(&job->done)) {
		enum err_code code = wait_sleep(&wait, 1, err);
		if (code != ERR_OK)
			return code; /* whoever aborts ends it */
	}
	join(upload, job);
	return job->code == ERR_OK ? ERR_OK : err_set(err, job->code, job->err.native, "%s", job->err.text);
}

enum err_code s3_part_jobs_wait(struct s3_upload *upload, struct err *err)
{
	for (unsigned i = 0; i < S3_JOBS; i++) {
		/* From the oldest on. */
		enum err_code code = s3_part_job_wait(upload, &upload->jobs[(upload->n_sent + i) % S3_JOBS], err);
		if (code != ERR_OK)
			return code;
	}
	return ERR_OK;
}

void s3_part_jobs_stop(struct s3_upload *upload)
{
	atomic_store(&upload->stop, true);
	for (unsigned i = 0; i < S3_JOBS; i++) {
		if (upload->jobs[i].number != 0)
			join(upload, &upload->jobs[i]);
	}
}

void s3_part_jobs_done(struct s3_upload *upload)
{
	s3_part_jobs_stop(upload);
	for (unsigned i = 0; i < S3_JOBS; i++) {
		part_done(&upload->jobs[i].part);
		if (upload->jobs[i].granted)
			atomic_fetch_sub(&upload->store->jobs, 1);
	}
}
