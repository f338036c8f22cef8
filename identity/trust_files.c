#include "identity/trust_files.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "common/text.h"

#define FILE_MAX ((size_t)32 << 20)

/* Tells a replaced file from the one that was read. */
struct stamp {
	struct timespec changed;
	ino_t inode;
	off_t size;
};

struct trust_files {
	char **paths; /* the authorities, then the lists */
	size_t n;
	pthread_mutex_t lock;
	struct stamp *stamps; /* as they were before the last read */
};

struct trust_files *trust_files_new(const char *authorities, const char *const *lists, size_t n_lists)
{
	struct trust_files *files = xcalloc(1, sizeof *files);
	pthread_mutex_init(&files->lock, NULL);
	files->n = n_lists + 1;
	files->paths = xcalloc(files->n, sizeof *files->paths);
	files->stamps = xcalloc(files->n, sizeof *files->stamps);
	files->paths[0] = xstrdup(authorities);
	for (size_t i = 0; i < n_lists; i++)
		files->paths[i + 1] = xstrdup(lists[i]);
	return files;
}

void trust_files_free(struct trust_files *files)
{
	if (!files)
		return;
	for (size_t i = 0; i < files->n; i++)
		free(files->paths[i]);
	free(files->paths);
	free(files->stamps);
	pthread_mutex_destroy(&files->lock);
	free(files);
}

static struct stamp stamp_of(const char *path)
{
	struct stamp stamp;
	struct stat st;
	memset(&stamp, 0, sizeof stamp);
	if (stat(path, &st) == 0) {
		stamp.changed = st.st_ctim;
		stamp.inode = st.st_ino;
		stamp.size = st.st_size;
	}
	return stamp;
}

static bool same(const struct stamp *a, const struct stamp *b)
{
	return a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec && a->inode == b->inode &&
	       a->size == b->size;
}

bool trust_files_changed(struct trust_files *files)
{
	bool changed = false;
	pthread_mutex_lock(&files->lock);
	for (size_t i = 0; i < files->n && !changed; i++) {
		const struct stamp now = stamp_of(files->paths[i]);
		changed = !same(&now, &files->stamps[i]);
	}
	pthread_mutex_unlock(&files->lock);
	return changed;
}

/* ---- reading ---- */

struct reading {
	X509_STORE *store;
	STACK_OF(X509) * authorities;
	struct identity_trust_state state;
	const char *path;
	struct err *err;
};

/* One PEM object after the other; anything else in the file is an error, not its end. */
static bool at_end(void)
{
	const unsigned long error = ERR_peek_last_error();
	const bool end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	return end;
}

static enum err_code read_authorities(struct reading *reading, BIO *bio)
{
	for (X509 *one; (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)); reading->state.authorities++)
		if (X509_STORE_add_cert(reading->store, one) != 1 || sk_X509_push(reading->authorities, one) <= 0) {
			X509_free(one);
			return err_set(reading->err, ERR_INVALID, 0, "%s: an authority cannot be used", reading->path);
		}
	if (!at_end() || reading->state.authorities == 0)
		return err_set(reading->err, ERR_INVALID, 0, "%s holds no certificates in PEM form, or broken ones",
		               reading->path);
	return ERR_OK;
}

/* Of an authority that only clients show, the signature is verified when the list is used. */
static bool signed_by_whom_it_names(const struct reading *reading, X509_CRL *list)
{
	bool named = false;
	for (int i = 0; i < sk_X509_num(reading->authorities); i++) {
		const X509 *authority = sk_X509_value(reading->authorities, i);
		if (X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(list)) != 0)
			continue;
		named = true;
		if (X509_CRL_verify(list, X509_get0_pubkey(authority)) == 1)
			return true;
	}
	return !named;
}

static void note_next_update(struct reading *reading, const X509_CRL *list)
{
	struct tm tm;
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(list);
	if (!next || ASN1_TIME_to_tm(next, &tm) != 1)
		return;
	const int64_t ms = (int64_t)timegm(&tm) * 1000;
	if (!reading->state.next_update_ms || ms < reading->state.next_update_ms)
		reading->state.next_update_ms = ms;
}

static enum err_code add_list(struct reading *reading, X509_CRL *list)
{
	if (!X509_CRL_get0_nextUpdate(list))
		return err_set(reading->err, ERR_INVALID, 0, "%s: a revocation list without nextUpdate would be good for ever",
		               reading->path);
	if (!signed_by_whom_it_names(reading, list))
		return err_set(reading->err, ERR_INVALID, 0, "%s: a revocation list is not signed by the authority it names",
		               reading->path);
	if (X509_STORE_add_crl(reading->store, list) != 1)
		return err_set(reading->err, ERR_INVALID, 0, "%s: a revocation list cannot be used", reading->path);
	STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(list);
	reading->state.revoked += revoked ? (size_t)sk_X509_REVOKED_num(revoked) : 0;
	reading->state.lists++;
	note_next_update(reading, list);
	return ERR_OK;
}

static enum err_code read_lists(struct reading *reading, BIO *bio)
{
	size_t before = reading->state.lists;
	for (X509_CRL *one; (one = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL));) {
		enum err_code code = add_list(reading, one);
		X509_CRL_free(one);
		if (code != ERR_OK)
			return code;
	}
	if (!at_end() || reading->state.lists == before)
		return err_set(reading->err, ERR_INVALID, 0, "%s holds no revocation lists in PEM form, or broken ones",
		               reading->path);
	return ERR_OK;
}

static enum err_code read_file(struct reading *reading, bool lists, struct buf *all)
{
	autobuf struct buf bytes = {0};
	enum err_code code = text_read_file(reading->path, FILE_MAX, &bytes, reading->err);
	if (code != ERR_OK)
		return code;
	BIO *bio = BIO_new_mem_buf(bytes.len ? (const void *)bytes.data : "", (int)bytes.len);
	code = lists ? read_lists(reading, bio) : read_authorities(reading, bio);
	BIO_free(bio);
	uint8_t digest[32];
	text_sha256(buf_span(&bytes), digest);
	buf_append(all, span_of(digest, sizeof digest));
	return code;
}

static enum err_code read_all(struct trust_files *files, struct reading *reading)
{
	autobuf struct buf digests = {0};
	enum err_code code = ERR_OK;
	for (size_t i = 0; code == ERR_OK && i < files->n; i++) {
		reading->path = files->paths[i];
		code = read_file(reading, i > 0, &digests);
	}
	text_sha256(buf_span(&digests), reading->state.sha256);
	/* An authority that is no root is as good as one: it is listed. */
	unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST;
	if (files->n > 1)
		flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
	X509_STORE_set_flags(reading->store, flags);
	return code;
}

enum err_code trust_files_read(struct trust_files *files, X509_STORE **ret, struct identity_trust_state *ret_state,
                               struct err *err)
{
	struct reading reading = {.store = X509_STORE_new(), .authorities = sk_X509_new_null(), .err = err};
	pthread_mutex_lock(&files->lock);
	for (size_t i = 0; i < files->n; i++)
		files->stamps[i] = stamp_of(files->paths[i]);
	enum err_code code = reading.store && reading.authorities
	                         ? read_all(files, &reading)
	                         : err_set(err, ERR_INTERNAL, 0, "no memory for certificates");
	pthread_mutex_unlock(&files->lock);
	sk_X509_pop_free(reading.authorities, X509_free);
	if (code == ERR_OK) {
		*ret = reading.store;
		*ret_state = reading.state;
	} else {
		X509_STORE_free(reading.store);
	}
	return code;
}
