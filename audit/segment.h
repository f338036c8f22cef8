/* Segment files: directory/log/<20-digit number>.seg, made ahead of need as log/next. Thread-safe, except that one
 * thread at a time prepares or activates in a directory. */
#ifndef TWOKEY_AUDIT_SEGMENT_H
#define TWOKEY_AUDIT_SEGMENT_H

#include "audit/frame.h"

/* Every segment, in order. */
struct audit_segments {
	struct audit_header *items; /* owned */
	size_t n, cap;
};
void audit_segments_done(struct audit_segments *segments);
void audit_segments_add(struct audit_segments *segments, const struct audit_header *header);

/* Makes directory and directory/log where missing. */
must_check enum err_code audit_directory_make(const char *directory, struct err *err);
/* Keeps a second process out, until the caller closes *ret_fd. ERR_PRECONDITION: one has it. */
must_check enum err_code audit_directory_lock(const char *directory, int *ret_fd, struct err *err);
/* Reads the headers of all segments. ERR_CORRUPT: a number is missing, or a header does not hold. */
must_check enum err_code audit_segment_list(const char *directory, struct audit_segments *ret, struct err *err);
/* Opens a segment and reads its header. The caller closes *ret_fd. */
must_check enum err_code audit_segment_open(const char *directory, uint64_t number, bool writable, int *ret_fd,
                                            struct audit_header *ret, struct err *err);
/* Writes log/next: all zeros, on disk. */
must_check enum err_code audit_segment_prepare(const char *directory, uint64_t bytes, const struct audit_io *io,
                                               struct err *err);
/* Gives log/next its header (bytes and salt are filled in) and its name, durably. The caller closes *ret_fd. */
must_check enum err_code audit_segment_activate(const char *directory, struct audit_header *header,
                                                const struct audit_io *io, int *ret_fd, struct err *err);
/* Removes a log/next that an earlier process left. */
void audit_segment_discard_next(const char *directory);

/* Is the file that `fd` has open still the one at that path? ERR_UNAVAILABLE says what became of it. */
must_check enum err_code audit_file_check(const char *path, int fd, struct err *err);
/* The path of a segment; the caller frees it. */
char *audit_segment_path(const char *directory, uint64_t number);
/* Writes all of it. */
must_check enum err_code audit_write_all(const struct audit_io *io, int fd, struct span bytes, uint64_t offset,
                                         struct err *err);
/* Reads up to len bytes; less only at the file's end. */
must_check enum err_code audit_read_some(int fd, void *out, size_t len, uint64_t offset, size_t *ret_len,
                                         struct err *err);

#endif
