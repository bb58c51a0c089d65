/* What a file is told apart by: by where it lies and when it was written, which is quick, and by
 * what is in it, by which a copy is known again. */
#ifndef GPULET_STORE_CONTENT_H
#define GPULET_STORE_CONTENT_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/status.h"

struct stat;

enum { GPULET_FILE_KEY_MAX = 127 };

/* Device, inode, size and time of the file: changes when the file does. */
void gpulet_file_key(char out[GPULET_FILE_KEY_MAX + 1], const struct stat *status);

/* How a file is read in the background: NULL reads it in one go. */
typedef struct gpulet_content_pace {
    void *context;
    bool (*go_on)(void *context); /* asked about every millisecond of work; may be called by another
                                     thread than the one that made it, and may sleep */
} gpulet_content_pace_t;

/* The digest of all that is in the file of that path and that file key. E_NOT_FOUND: there is none,
 * or it is another file by now; E_CANCELLED: the pace said no. */
gpulet_status_t gpulet_content_digest(char out[GPULET_DIGEST_TEXT_MAX + 1], const char *path,
                                      const char *file_key, const gpulet_content_pace_t *pace,
                                      gpulet_error_t *err) GPULET_MUST_USE;

#endif
