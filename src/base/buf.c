#include "base/buf.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 64 };

void gpulet_buf_deinit(gpulet_buf_t *buf)
{
    free(buf->data);
    *buf = (gpulet_buf_t)GPULET_BUF_INIT;
}

void gpulet_buf_clear(gpulet_buf_t *buf)
{
    buf->size = 0;
    buf->failed = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

gpulet_status_t gpulet_buf_reserve(gpulet_buf_t *buf, size_t extra)
{
    if (buf->failed)
        return GPULET_E_NOMEM;
    if (extra >= SIZE_MAX / 4 || buf->size >= SIZE_MAX / 4) {
        buf->failed = true;
        return GPULET_E_NOMEM;
    }
    size_t needed = buf->size + extra + 1;
    if (needed <= buf->capacity)
        return GPULET_OK;
    size_t capacity = buf->capacity < CAPACITY_MIN ? CAPACITY_MIN : buf->capacity * 2;
    if (capacity < needed)
        capacity = needed;
    char *data = realloc(buf->data, capacity);
    if (data == NULL) {
        buf->failed = true;
        return GPULET_E_NOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return GPULET_OK;
}

void gpulet_buf_append(gpulet_buf_t *buf, const void *data, size_t size)
{
    if (gpulet_buf_reserve(buf, size) != GPULET_OK)
        return;
    assert(buf->data != NULL);
    if (size > 0)
        memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    buf->data[buf->size] = '\0';
}

void gpulet_buf_append_str(gpulet_buf_t *buf, const char *text)
{
    gpulet_buf_append(buf, text, strlen(text));
}

void gpulet_buf_append_char(gpulet_buf_t *buf, char c)
{
    gpulet_buf_append(buf, &c, 1);
}

void gpulet_buf_vprintf(gpulet_buf_t *buf, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    if (length >= 0 && gpulet_buf_reserve(buf, (size_t)length) == GPULET_OK) {
        (void)vsnprintf(buf->data + buf->size, (size_t)length + 1, fmt, again);
        buf->size += (size_t)length;
    }
    va_end(again);
}

void gpulet_buf_printf(gpulet_buf_t *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    gpulet_buf_vprintf(buf, fmt, args);
    va_end(args);
}

gpulet_status_t gpulet_buf_status(const gpulet_buf_t *buf)
{
    return buf->failed ? GPULET_E_NOMEM : GPULET_OK;
}

char *gpulet_buf_release(gpulet_buf_t *buf)
{
    if (buf->data == NULL)
        gpulet_buf_append(buf, "", 0);
    char *data = buf->failed ? NULL : buf->data;
    if (buf->failed)
        free(buf->data);
    *buf = (gpulet_buf_t)GPULET_BUF_INIT;
    return data;
}
