/* The operator console's files (web/console/), made part of the program by cmake/assets.py. */
#ifndef TWOKEY_SERVER_WEB_CONSOLE_H
#define TWOKEY_SERVER_WEB_CONSOLE_H

#include "rpc/rpc.h"

/* Ended by a NULL path. */
extern const struct rpc_asset web_console_assets[];

#endif
