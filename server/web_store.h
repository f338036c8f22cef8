/* Store over HTTP: PUT /twokey.v1.Gatekeeper/Store, docs/BROWSER.md. */
#ifndef TWOKEY_SERVER_WEB_STORE_H
#define TWOKEY_SERVER_WEB_STORE_H

#include "rpc/rpc.h"

extern const struct rpc_put web_store_put;

#endif
