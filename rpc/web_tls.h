/* GnuTLS' side of web_tls.c: apart, so that GnuTLS stays out of what the other files see. */
#ifndef TWOKEY_RPC_WEB_TLS_H
#define TWOKEY_RPC_WEB_TLS_H

#include <gnutls/abstract.h>

/* For MHD_OPTION_HTTPS_CERT_CALLBACK2. Follows changed files. */
int rpc_web_tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs,
                         unsigned *n_certs, gnutls_ocsp_data_st **ocsp, unsigned *n_ocsp, gnutls_privkey_t *privkey,
                         unsigned *flags);

#endif
