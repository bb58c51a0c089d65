#include "store/model_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/parse.h"

/* An entry in the making is named making-PID-KEY. */
#define MAKING "making-"

struct gpulet_model_cache {
    char folder[PATH_MAX];
    uint64_t bytes_max;
};

static gpulet_status_t path_of(char *out, size_t out_size, const gpulet_model_cache_t *cache,
                               const char *name)
{
    int length = snprintf(out, out_size, "%s/%s", cache->folder, name);
    return length > 0 && (size_t)length < out_size ? GPULET_OK : GPULET_E_TOO_LARGE;
}

static gpulet_status_t making_path(char *out, size_t out_size, const gpulet_model_cache_t *cache,
                                   const char *key)
{
    char name[sizeof(MAKING) + 24 + GPULET_DIGEST_TEXT_MAX];
    (void)snprintf(name, sizeof(name), MAKING "%ld-%s", (long)getpid(), key);
    return path_of(out, out_size, cache, name);
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Entries are flat: files only. A name that is taken for something else stays. */
static void remove_folder(const char *path)
{
    DIR *d = opendir(path);
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (!is_dots(e->d_name))
            (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    (void)closedir(d);
    (void)rmdir(path);
}

static uint64_t folder_bytes(const char *path)
{
    uint64_t bytes = 0;
    struct stat info;
    DIR *d = opendir(path);
    if (d == NULL)
        return 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (!is_dots(e->d_name) && fstatat(dirfd(d), e->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0)
            bytes += (uint64_t)info.st_blocks * 512;
    }
    (void)closedir(d);
    return bytes;
}

/* ---- open ---- */

static void make_parents(char *path)
{
    for (char *c = path + 1; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        (void)mkdir(path, 0755); /* a failure shows when the folder itself is made */
        *c = '/';
    }
}

static void remove_leftovers(const gpulet_model_cache_t *cache)
{
    char path[PATH_MAX];
    DIR *d = opendir(cache->folder);
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        uint64_t pid = 0;
        const char *digits = e->d_name + sizeof(MAKING) - 1;
        if (strncmp(e->d_name, MAKING, sizeof(MAKING) - 1) != 0 ||
            gpulet_parse_u64(&pid, digits, strspn(digits, "0123456789")) != GPULET_OK || pid == 0 ||
            pid > INT_MAX || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
            continue;
        if (path_of(path, sizeof(path), cache, e->d_name) == GPULET_OK)
            remove_folder(path);
    }
    (void)closedir(d);
}

gpulet_status_t gpulet_model_cache_open(gpulet_model_cache_t **out, const char *folder,
                                        uint64_t bytes_max, gpulet_error_t *err)
{
    struct stat info;
    gpulet_model_cache_t *cache = calloc(1, sizeof(*cache));
    if (cache == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = GPULET_OK;
    cache->bytes_max = bytes_max;
    int length = snprintf(cache->folder, sizeof(cache->folder), "%s", folder);
    if (length <= 0 || (size_t)length >= sizeof(cache->folder)) {
        st = gpulet_fail(err, GPULET_E_TOO_LARGE, "model cache: the path is too long");
    } else {
        make_parents(cache->folder);
        if ((mkdir(folder, 0700) != 0 && errno != EEXIST) || stat(folder, &info) != 0)
            st = gpulet_fail(err, GPULET_E_IO, "model cache %s: %s", folder, strerror(errno));
        else if (!S_ISDIR(info.st_mode))
            st = gpulet_fail(err, GPULET_E_IO, "model cache %s: no folder", folder);
        else if (info.st_uid != geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
            st = gpulet_fail(err, GPULET_E_INVALID,
                             "model cache %s: it must belong to the user that runs the server and "
                             "nobody else may write to it",
                             folder);
    }
    if (st != GPULET_OK) {
        free(cache);
        return st;
    }
    remove_leftovers(cache);
    *out = cache;
    return GPULET_OK;
}

void gpulet_model_cache_close(gpulet_model_cache_t *cache)
{
    free(cache);
}

/* ---- entries ---- */

gpulet_status_t gpulet_model_cache_find(char *out, size_t out_size, gpulet_model_cache_t *cache,
                                        const char *key)
{
    struct stat info;
    gpulet_status_t st = path_of(out, out_size, cache, key);
    if (st != GPULET_OK)
        return st;
    if (stat(out, &info) != 0 || !S_ISDIR(info.st_mode))
        return GPULET_E_NOT_FOUND;
    (void)utimensat(AT_FDCWD, out, NULL, 0);
    return GPULET_OK;
}

gpulet_status_t gpulet_model_cache_begin(char *out, size_t out_size, gpulet_model_cache_t *cache,
                                         const char *key, gpulet_error_t *err)
{
    gpulet_status_t st = making_path(out, out_size, cache, key);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "model cache: the path is too long");
    remove_folder(out);
    if (mkdir(out, 0700) != 0)
        return gpulet_fail(err, GPULET_E_IO, "%s: %s", out, strerror(errno));
    return GPULET_OK;
}

/* The entry unused for the longest time other than `keep`; its size is taken off *total. */
static bool evict_one(uint64_t *total, const gpulet_model_cache_t *cache, const char *keep)
{
    char path[PATH_MAX], oldest[PATH_MAX] = "";
    struct timespec oldest_time = {0};
    struct stat info;
    DIR *d = opendir(cache->folder);
    if (d == NULL)
        return false;
    *total = 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strlen(e->d_name) != GPULET_DIGEST_TEXT_MAX ||
            path_of(path, sizeof(path), cache, e->d_name) != GPULET_OK || stat(path, &info) != 0 ||
            !S_ISDIR(info.st_mode))
            continue;
        *total += folder_bytes(path);
        bool older = info.st_mtim.tv_sec < oldest_time.tv_sec ||
                     (info.st_mtim.tv_sec == oldest_time.tv_sec &&
                      info.st_mtim.tv_nsec < oldest_time.tv_nsec);
        if (strcmp(e->d_name, keep) != 0 && (oldest[0] == '\0' || older)) {
            memcpy(oldest, path, sizeof(oldest));
            oldest_time = info.st_mtim;
        }
    }
    (void)closedir(d);
    if (*total <= cache->bytes_max || oldest[0] == '\0')
        return false;
    remove_folder(oldest);
    return true;
}

gpulet_status_t gpulet_model_cache_commit(gpulet_model_cache_t *cache, const char *key,
                                          gpulet_error_t *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    uint64_t total = 0;
    gpulet_status_t st = making_path(from, sizeof(from), cache, key);
    if (st == GPULET_OK)
        st = path_of(to, sizeof(to), cache, key);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "model cache: the path is too long");
    if (rename(from, to) != 0) {
        int why = errno;
        remove_folder(from);
        if (why != EEXIST && why != ENOTEMPTY) /* else another server was quicker */
            return gpulet_fail(err, GPULET_E_IO, "%s: %s", to, strerror(why));
    }
    while (evict_one(&total, cache, key))
        continue;
    if (total <= cache->bytes_max)
        return GPULET_OK;
    remove_folder(to);
    return gpulet_fail(err, GPULET_E_TOO_LARGE,
                       "a prepared model of %" PRIu64 " MiB is over the "
                       "limit of the model cache",
                       total >> 20);
}

void gpulet_model_cache_abandon(gpulet_model_cache_t *cache, const char *key)
{
    char path[PATH_MAX];
    if (making_path(path, sizeof(path), cache, key) == GPULET_OK)
        remove_folder(path);
}

void gpulet_model_cache_remove(gpulet_model_cache_t *cache, const char *key)
{
    char path[PATH_MAX];
    if (path_of(path, sizeof(path), cache, key) == GPULET_OK)
        remove_folder(path);
}
