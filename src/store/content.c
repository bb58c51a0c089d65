#include "store/content.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

void gpulet_file_key(char out[GPULET_FILE_KEY_MAX + 1], const struct stat *status)
{
    (void)snprintf(out, GPULET_FILE_KEY_MAX + 1, "%llx:%llx:%lld:%lld.%09ld",
                   (unsigned long long)status->st_dev, (unsigned long long)status->st_ino,
                   (long long)status->st_size, (long long)status->st_mtim.tv_sec,
                   status->st_mtim.tv_nsec);
}

static gpulet_status_t fail_errno(const char *path, gpulet_error_t *err)
{
    return gpulet_fail(err, errno == ENOENT ? GPULET_E_NOT_FOUND : GPULET_E_IO, "%s: %s", path,
                       strerror(errno));
}

static gpulet_status_t check_key(uint64_t *size, int fd, const char *path, const char *file_key,
                                 gpulet_error_t *err)
{
    struct stat status;
    char key[GPULET_FILE_KEY_MAX + 1];
    if (fstat(fd, &status) != 0)
        return fail_errno(path, err);
    gpulet_file_key(key, &status);
    *size = (uint64_t)status.st_size;
    return strcmp(key, file_key) == 0
               ? GPULET_OK
               : gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: changed meanwhile", path);
}

/* Not to the end of one that grows for ever. */
static gpulet_status_t add_all(gpulet_digest_t *digest, int fd, uint64_t size, const char *path,
                               char *piece, const gpulet_content_pace_t *pace, gpulet_error_t *err)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t got = read(fd, piece, PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(path, err);
        if (got == 0)
            return GPULET_OK;
        done += (uint64_t)got;
        gpulet_digest_add(digest, piece, (size_t)got);
        if (pace != NULL && !pace->go_on(pace->context))
            return gpulet_fail(err, GPULET_E_CANCELLED, "%s: not read to its end", path);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_content_digest(char out[GPULET_DIGEST_TEXT_MAX + 1], const char *path,
                                      const char *file_key, const gpulet_content_pace_t *pace,
                                      gpulet_error_t *err)
{
    gpulet_digest_t digest;
    uint64_t size = 0;
    char *piece = malloc(PIECE);
    if (piece == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    /* Without waiting: a pipe that took the file's place is no reason to. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    gpulet_status_t st = fd < 0 ? fail_errno(path, err) : check_key(&size, fd, path, file_key, err);
    gpulet_digest_init(&digest);
    if (st == GPULET_OK)
        st = add_all(&digest, fd, size, path, piece, pace, err);
    if (st == GPULET_OK) /* else it was written to while it was read */
        st = check_key(&size, fd, path, file_key, err);
    if (st == GPULET_OK)
        gpulet_digest_text(out, &digest);
    if (fd >= 0)
        (void)close(fd);
    free(piece);
    return st;
}
