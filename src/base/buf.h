/* A growable byte buffer, used for texts and messages that are written out as a whole.
 *
 * A buffer is owned by whoever initialised it. After a failed allocation it keeps its old content
 * and `failed` is set; later appends do nothing, so a caller may check once at the end. Not
 * thread-safe. */
#ifndef GPULET_BASE_BUF_H
#define GPULET_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct gpulet_buf {
    char *data; /* data[size] is always a zero byte once anything was appended */
    size_t size;
    size_t capacity;
    bool failed;
} gpulet_buf_t;

#define GPULET_BUF_INIT                                                                            \
    {                                                                                              \
        NULL, 0, 0, false                                                                          \
    }

void gpulet_buf_deinit(gpulet_buf_t *buf);
/* Empties the buffer and clears `failed`, keeping its memory. */
void gpulet_buf_clear(gpulet_buf_t *buf);
/* Makes room for at least extra more bytes. */
gpulet_status_t gpulet_buf_reserve(gpulet_buf_t *buf, size_t extra);
void gpulet_buf_append(gpulet_buf_t *buf, const void *data, size_t size);
void gpulet_buf_append_str(gpulet_buf_t *buf, const char *text);
void gpulet_buf_append_char(gpulet_buf_t *buf, char c);
void gpulet_buf_printf(gpulet_buf_t *buf, const char *fmt, ...) GPULET_PRINTF(2, 3);
void gpulet_buf_vprintf(gpulet_buf_t *buf, const char *fmt, va_list args) GPULET_PRINTF(2, 0);
/* OK, or E_NOMEM if any append failed. */
gpulet_status_t gpulet_buf_status(const gpulet_buf_t *buf) GPULET_MUST_USE;
/* Hands the bytes (zero-terminated, never NULL unless failed) to the caller, who frees them. The
 * buffer is empty after. */
char *gpulet_buf_release(gpulet_buf_t *buf);

#endif
