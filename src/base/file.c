#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

enum { CHUNK_SIZE = 1 << 16, PATH_SIZE = 4096 };

static gpulet_status_t read_all(gpulet_buf_t *buf, FILE *f, size_t size_max)
{
    for (;;) {
        if (gpulet_buf_reserve(buf, CHUNK_SIZE) != GPULET_OK)
            return GPULET_E_NOMEM;
        size_t got = fread(buf->data + buf->size, 1, CHUNK_SIZE, f);
        buf->size += got;
        buf->data[buf->size] = '\0';
        if (buf->size > size_max)
            return GPULET_E_TOO_LARGE;
        if (got < CHUNK_SIZE)
            return ferror(f) ? GPULET_E_IO : GPULET_OK;
    }
}

gpulet_status_t gpulet_file_read(char **out, size_t *out_size, const char *path, size_t size_max,
                                 gpulet_error_t *err)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
    if (f == NULL)
        return gpulet_fail(err, errno == ENOENT ? GPULET_E_NOT_FOUND : GPULET_E_IO, "%s: %s", path,
                           strerror(errno));
    gpulet_status_t st = read_all(&buf, f, size_max);
    int saved = errno;
    if (f != stdin)
        (void)fclose(f);
    if (st != GPULET_OK) {
        gpulet_buf_deinit(&buf);
        if (st == GPULET_E_TOO_LARGE)
            return gpulet_fail(err, st, "%s: larger than %zu bytes", path, size_max);
        return gpulet_fail(err, st, "%s: %s", path,
                           st == GPULET_E_IO ? strerror(saved) : "out of memory");
    }
    *out_size = buf.size;
    *out = gpulet_buf_release(&buf);
    return GPULET_OK;
}

gpulet_status_t gpulet_file_write(const char *path, const void *data, size_t size,
                                  gpulet_error_t *err)
{
    char temporary[PATH_SIZE];
    if (strcmp(path, "-") == 0) {
        if (fwrite(data, 1, size, stdout) != size || fflush(stdout) != 0)
            return gpulet_fail(err, GPULET_E_IO, "standard output: %s", strerror(errno));
        return GPULET_OK;
    }
    if (snprintf(temporary, sizeof(temporary), "%s.tmp.%ld", path, (long)getpid()) >=
        (int)sizeof(temporary))
        return gpulet_fail(err, GPULET_E_INVALID, "%.64s…: the path is too long", path);
    FILE *f = fopen(temporary, "wbe");
    if (f == NULL)
        return gpulet_fail(err, GPULET_E_IO, "%s: %s", path, strerror(errno));
    int failed = fwrite(data, 1, size, f) != size || fflush(f) != 0;
    failed |= fclose(f) != 0;
    if (failed || rename(temporary, path) != 0) {
        gpulet_status_t st = gpulet_fail(err, GPULET_E_IO, "%s: %s", path, strerror(errno));
        (void)unlink(temporary);
        return st;
    }
    return GPULET_OK;
}
