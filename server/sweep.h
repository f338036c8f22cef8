/* Removes what uploads left in the buckets that a killed process could not abort. */
#ifndef TWOKEY_SERVER_SWEEP_H
#define TWOKEY_SERVER_SWEEP_H

#include "server/deployment.h"

/* Once after start. A bucket that cannot be swept is logged and left: serving does not depend on it. */
void sweep_buckets(const struct deployment *deployment, const struct store_cancel *cancel);

#endif
