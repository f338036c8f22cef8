/* A record as JSON: the names of audit.proto, times in RFC 3339, bytes in hex, empty fields left out. */
#ifndef TWOKEY_CLI_RECORD_JSON_H
#define TWOKEY_CLI_RECORD_JSON_H

#include <jansson.h>

#include "twokey/v1/audit.pb-c.h"

json_t *record_json(const Twokey__V1__Record *record);
/* "FETCH", "GRANTED": an enum value's name without its prefix, "" for the unspecified one. */
const char *record_enum_name(const ProtobufCEnumDescriptor *type, int value);
/* The value whose name it is, of either case; 0 when there is none. */
int record_enum_value(const ProtobufCEnumDescriptor *type, const char *name);

#endif
