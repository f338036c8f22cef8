/* How an object key becomes a path below a directory, and back. Thread-safe.
 *
 * The key is cut at its slashes. Of each component a-z 0-9 _ - and '.' (unless first) stand for themselves, every other
 * byte is %xx in lower-case hex: no letter case is relied on, no name is "." or "..", none can leave the directory. A
 * component of 64 bytes or more is cut into pieces of 64, each a folder whose name ends in '+', and a last one of
 *fewer. The last component's name ends in '='; a component of no bytes, which is not the last, is "%".
 *
 *	"photos/2024/Berlin.jpg"  ->  photos/2024/%42erlin.jpg=
 *	"a//b/"                   ->  a/%/b/=
 *
 * No two keys share a path, no key's path is in the way of another's, every name has at most 193 bytes, and the names
 *of one folder can be put in the order of the keys below them. */
#ifndef TWOKEY_S3CLIENT_DIRECTORY_KEY_H
#define TWOKEY_S3CLIENT_DIRECTORY_KEY_H

#include "common/span.h"

#define DIRECTORY_PIECE_BYTES 64

void directory_key_path(const char *key, struct buf *out);

enum directory_kind {
	DIRECTORY_FOREIGN, /* nothing that directory_key_path makes */
	DIRECTORY_OBJECT,  /* the key ends here */
	DIRECTORY_FOLDER,  /* a slash follows */
	DIRECTORY_PIECE,   /* the component goes on below */
};
/* Reads one name; appends the bytes of the key that it stands for, a folder's slash included. */
enum directory_kind directory_key_name(const char *name, struct buf *out);

#endif
