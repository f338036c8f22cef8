#include "server/provision.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

#include "common/text.h"

#define SYNC_TRIES    80 /* 20 s: what AWS CloudHSM takes is not documented, "a short time" */
#define SYNC_PAUSE_NS 250000000

void provision_tell(const struct provision *provision, const char *what, const char *name, const char *more)
{
	char line[1024];
	snprintf(line, sizeof line, "%s %s%s%s", what, name, more[0] ? ": " : "", more);
	provision->tell(line, provision->user);
}

/* What a fresh key fails with on a cluster member that does not know it yet. */
static bool may_be_unsynchronised(enum err_code code)
{
	return code == ERR_NOT_FOUND || code == ERR_UNAVAILABLE;
}

enum err_code provision_find_made(const struct provision *provision, enum hsm_key_kind kind, const char *uri,
                                  struct hsm_key **ret, struct err *err)
{
	const struct timespec pause = {.tv_nsec = SYNC_PAUSE_NS};
	enum err_code code = hsm_key_find(provision->hsm, kind, uri, ret, err);
	for (int i = 0; i < SYNC_TRIES && may_be_unsynchronised(code); i++) {
		nanosleep(&pause, NULL);
		code = hsm_key_find(provision->hsm, kind, uri, ret, err);
	}
	if (code == ERR_NOT_FOUND)
		err_prefix(err, "made, but the token does not show it yet");
	return code;
}

enum err_code provision_key(const struct provision *provision, enum hsm_key_kind kind, const char *uri,
                            enum err_code (*make)(struct hsm *hsm, const char *label, struct err *err),
                            struct hsm_key **ret, struct err *err)
{
	char label[128];
	enum err_code code = hsm_uri_object(uri, label, sizeof label, err);
	if (code != ERR_OK)
		return code;
	code = hsm_key_find(provision->hsm, kind, uri, ret, err);
	if (code == ERR_OK)
		provision_tell(provision, "there is already", label, hsm_key_id(*ret));
	if (code != ERR_NOT_FOUND)
		return code;
	code = make(provision->hsm, label, err);
	if (code == ERR_OK)
		code = provision_find_made(provision, kind, uri, ret, err);
	if (code == ERR_OK)
		provision_tell(provision, "made", label, hsm_key_id(*ret));
	return code;
}

enum err_code provision_write_public(const struct provision *provision, const struct hsm_key *key, const char *use,
                                     struct err *err)
{
	const struct span spki = hsm_key_spki(key);
	const unsigned char *at = spki.ptr;
	EVP_PKEY *public = d2i_PUBKEY(NULL, &at, (long)spki.len);
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = NULL;
	long len = 0;
	if (public && bio && PEM_write_bio_PUBKEY(bio, public))
		len = BIO_get_mem_data(bio, &pem);
	enum err_code code = err_set(err, ERR_INTERNAL, 0, "the public key of %s cannot be written as PEM", use);
	if (len > 0) {
		autofree char *path = xasprintf("%s/%s.%s.pem", provision->folder, provision->config->name, use);
		code = text_write_file(path, span_of(pem, (size_t)len), 0644, err);
		if (code == ERR_OK)
			provision_tell(provision, "wrote", path, "");
	}
	BIO_free(bio);
	EVP_PKEY_free(public);
	return code;
}

struct secret *provision_s3_value(const struct secret *secret)
{
	const struct span bytes = secret_span(secret);
	struct secret *value = secret_new(4 + bytes.len);
	memcpy(secret_bytes(value), "AWS4", 4);
	memcpy(secret_bytes(value) + 4, bytes.ptr, bytes.len);
	return value;
}
