/* The serialised FileDescriptorSet (with imports) of everything in proto/, made by the build. */
#ifndef TWOKEY_PROTO_DESCRIPTORS_H
#define TWOKEY_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t proto_descriptors[];
extern const size_t proto_descriptors_len;

#endif
