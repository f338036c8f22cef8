/* Private to identity/: the files that trust is read from. */
#ifndef TWOKEY_IDENTITY_TRUST_FILES_H
#define TWOKEY_IDENTITY_TRUST_FILES_H

#include <openssl/x509.h>

#include "identity/identity.h"

struct trust_files;

struct trust_files *trust_files_new(const char *authorities, const char *const *lists, size_t n_lists);
void trust_files_free(struct trust_files *files); /* accepts NULL */
/* Others than at the last trust_files_read? Thread-safe. */
bool trust_files_changed(struct trust_files *files);
/* Reads and checks all of them. The caller owns *ret. Thread-safe. */
must_check enum err_code trust_files_read(struct trust_files *files, X509_STORE **ret,
                                          struct identity_trust_state *ret_state, struct err *err);

#endif
