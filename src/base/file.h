/* Whole files in and out. Not thread-safe on the same path. */
#ifndef GPULET_BASE_FILE_H
#define GPULET_BASE_FILE_H

#include <stddef.h>

#include "base/status.h"

/* Reads the whole file; *out is zero-terminated and the caller frees it. Errors name the path;
 * E_NOT_FOUND when there is none, E_TOO_LARGE over size_max. "-" is standard input. */
gpulet_status_t gpulet_file_read(char **out, size_t *out_size, const char *path, size_t size_max,
                                 gpulet_error_t *err) GPULET_MUST_USE;

/* Writes to a temporary file beside path and renames it, so that the file appears whole or not at
 * all. "-" is standard output. */
gpulet_status_t gpulet_file_write(const char *path, const void *data, size_t size,
                                  gpulet_error_t *err) GPULET_MUST_USE;

#endif
