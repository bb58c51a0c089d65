#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/engine.h"

#define LIBRARY "libonnxruntime.so"
#define HINT                                                                                       \
    "install ONNX Runtime's shared library (the onnxruntime wheels from 1.20 on carry it) and "    \
    "name it in GPULET_ORT_LIBRARY"

static gpulet_status_t put(char *out, size_t out_size, const char *folder, const char *name,
                           gpulet_error_t *err)
{
    int len = snprintf(out, out_size, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", name);
    if (len < 0 || (size_t)len >= out_size)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s/%s: the path is too long", folder, name);
    return GPULET_OK;
}

/* The library in folder: the unversioned name, the short one, or the only full one. E_NOT_FOUND
 * when there is none, E_INVALID when it is not clear which is meant. */
static gpulet_status_t find_in(char *out, size_t out_size, const char *folder, gpulet_error_t *err)
{
    static const char *const plain[] = {LIBRARY, LIBRARY ".1"};
    char found[NAME_MAX + 1] = "";
    unsigned count = 0;
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        gpulet_status_t st = put(out, out_size, folder, plain[i], err);
        if (st != GPULET_OK || access(out, F_OK) == 0)
            return st;
    }
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", folder, strerror(errno));
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, LIBRARY ".1.", sizeof(LIBRARY ".1.") - 1) != 0)
            continue;
        (void)snprintf(found, sizeof(found), "%s", entry->d_name);
        count++;
    }
    (void)closedir(dir);
    if (count == 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s holds no %s", folder, LIBRARY);
    if (count > 1)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s holds %u libraries %s.1.*; name the one to use", folder, count,
                           LIBRARY);
    return put(out, out_size, folder, found, err);
}

/* A path that somebody asked for must be right: no other place is searched instead. source names
 * who asked. */
static gpulet_status_t take_named(char *out, size_t out_size, const char *path, const char *source,
                                  gpulet_error_t *err)
{
    struct stat info;
    gpulet_status_t st;
    if (stat(path, &info) != 0)
        st = gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(info.st_mode))
        st = find_in(out, out_size, path, err);
    else
        st = put(out, out_size, "", path, err);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "ONNX Runtime's library (%s)", source);
    return st;
}

/* dir/relative/ of the running program. */
static gpulet_status_t find_beside_program(char *out, size_t out_size, const char *relative,
                                           gpulet_error_t *err)
{
    char folder[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", folder, sizeof(folder) - 1);
    if (len <= 0)
        return GPULET_E_NOT_FOUND;
    folder[len] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return GPULET_E_NOT_FOUND;
    size_t used = (size_t)(slash - folder) + 1;
    if (used + strlen(relative) >= sizeof(folder))
        return GPULET_E_NOT_FOUND;
    memcpy(slash + 1, relative, strlen(relative) + 1);
    char *real = realpath(folder, NULL);
    if (real == NULL)
        return GPULET_E_NOT_FOUND;
    gpulet_status_t st = find_in(out, out_size, real, err);
    free(real);
    return st;
}

/* Where the dynamic loader would find it. Only opening it tells; it then stays open, since the
 * library does not stand being closed. */
static gpulet_status_t find_by_loader(char *out, size_t out_size, gpulet_error_t *err)
{
    const struct link_map *map = NULL;
    void *library = dlopen(LIBRARY ".1", RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL)
        return GPULET_E_NOT_FOUND;
    if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0 || map == NULL || map->l_name[0] == '\0')
        return put(out, out_size, "", LIBRARY ".1", err);
    return put(out, out_size, "", map->l_name, err);
}

gpulet_status_t gpulet_engine_ort_locate(char *path_out, size_t path_size, const char *ort_library,
                                         gpulet_error_t *err)
{
    /* Installed: bin/../lib/gpulet. In the source tree: build/PRESET/bin/../../../.setup/ort. */
    static const char *const folders[] = {"../lib/gpulet", "../../../.setup/ort"};
    if (ort_library != NULL)
        return take_named(path_out, path_size, ort_library, "as configured", err);
    const char *variable = getenv("GPULET_ORT_LIBRARY");
    if (variable != NULL && variable[0] != '\0')
        return take_named(path_out, path_size, variable, "GPULET_ORT_LIBRARY", err);
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        gpulet_status_t st = find_beside_program(path_out, path_size, folders[i], err);
        if (st != GPULET_E_NOT_FOUND)
            return st;
    }
    gpulet_status_t st = find_by_loader(path_out, path_size, err);
    if (st == GPULET_E_NOT_FOUND)
        return gpulet_fail(err, st, "no %s was found: %s", LIBRARY, HINT);
    return st;
}
