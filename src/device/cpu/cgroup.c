#include "device/cpu/cgroup.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/parse.h"

enum {
    PATH_SIZE = PATH_MAX + 64,
    VALUE_FILE_MAX = 4096,
    PROC_FILE_MAX = 1 << 20,
    MOUNT_FIELDS = 64,
    MOUNT_ROOT = 3, /* of the fields of a mountinfo line */
    MOUNT_POINT = 4
};

/* Version 1 has no word for "none": it shows a number near the largest. */
#define MEMORY_UNLIMITED (UINT64_C(1) << 60)

/* One hierarchy that can limit: where it is mounted and where the process is in it. */
typedef struct hierarchy {
    bool unified;           /* version 2 */
    const char *controller; /* version 1: "cpu" or "memory" */
    char top[PATH_SIZE];    /* its mount point, root included */
    char group[PATH_SIZE];  /* below top, "" or "/a/b" */
} hierarchy_t;

/* Reads a small file into out, without the line end. False when it is not there. */
static bool read_value(char *out, size_t out_size, const char *folder, const char *name)
{
    char path[PATH_SIZE + 64];
    char *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (gpulet_file_read(&text, &size, path, VALUE_FILE_MAX, NULL) != GPULET_OK)
        return false;
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' '))
        text[--size] = '\0';
    bool fits = size < out_size;
    if (fits)
        memcpy(out, text, size + 1);
    free(text);
    return fits;
}

static gpulet_status_t bad_value(gpulet_error_t *err, const char *folder, const char *name,
                                 const char *value)
{
    return gpulet_fail(err, GPULET_E_INVALID, "%s/%s: '%s' makes no sense", folder, name, value);
}

static void lower_cpus(gpulet_cgroup_limits_t *limits, uint64_t quota, uint64_t period)
{
    double cpus = (double)quota / (double)period;
    if (cpus < limits->cpus)
        limits->cpus = cpus;
}

/* "max 100000" or "150000 100000". */
static gpulet_status_t read_cpu_max(gpulet_cgroup_limits_t *limits, const char *folder,
                                    gpulet_error_t *err)
{
    char value[128];
    uint64_t quota = 0;
    uint64_t period = 100000;
    if (!read_value(value, sizeof(value), folder, "cpu.max"))
        return GPULET_OK;
    const char *blank = strchr(value, ' ');
    size_t first = blank == NULL ? strlen(value) : (size_t)(blank - value);
    if (first == 3 && memcmp(value, "max", 3) == 0)
        return GPULET_OK;
    if (gpulet_parse_u64(&quota, value, first) != GPULET_OK ||
        (blank != NULL && gpulet_parse_u64(&period, blank + 1, strlen(blank + 1)) != GPULET_OK) ||
        period == 0)
        return bad_value(err, folder, "cpu.max", value);
    lower_cpus(limits, quota, period);
    return GPULET_OK;
}

static gpulet_status_t read_cfs(gpulet_cgroup_limits_t *limits, const char *folder,
                                gpulet_error_t *err)
{
    char quota_text[64];
    char period_text[64];
    int64_t quota = 0;
    uint64_t period = 0;
    if (!read_value(quota_text, sizeof(quota_text), folder, "cpu.cfs_quota_us") ||
        !read_value(period_text, sizeof(period_text), folder, "cpu.cfs_period_us"))
        return GPULET_OK;
    if (gpulet_parse_i64(&quota, quota_text, strlen(quota_text)) != GPULET_OK)
        return bad_value(err, folder, "cpu.cfs_quota_us", quota_text);
    if (gpulet_parse_u64(&period, period_text, strlen(period_text)) != GPULET_OK || period == 0)
        return bad_value(err, folder, "cpu.cfs_period_us", period_text);
    if (quota > 0)
        lower_cpus(limits, (uint64_t)quota, period);
    return GPULET_OK;
}

static gpulet_status_t read_memory(gpulet_cgroup_limits_t *limits, const char *folder,
                                   const char *name, gpulet_error_t *err)
{
    char value[64];
    uint64_t bytes = 0;
    if (!read_value(value, sizeof(value), folder, name) || strcmp(value, "max") == 0)
        return GPULET_OK;
    if (gpulet_parse_u64(&bytes, value, strlen(value)) != GPULET_OK)
        return bad_value(err, folder, name, value);
    if (bytes < MEMORY_UNLIMITED && bytes < limits->memory_bytes)
        limits->memory_bytes = bytes;
    return GPULET_OK;
}

static gpulet_status_t read_folder(gpulet_cgroup_limits_t *limits, const hierarchy_t *h,
                                   const char *folder, gpulet_error_t *err)
{
    if (h->unified) {
        gpulet_status_t st = read_cpu_max(limits, folder, err);
        return st != GPULET_OK ? st : read_memory(limits, folder, "memory.max", err);
    }
    if (strcmp(h->controller, "cpu") == 0)
        return read_cfs(limits, folder, err);
    return read_memory(limits, folder, "memory.limit_in_bytes", err);
}

/* From the process's group up to the mount point. */
static gpulet_status_t read_upwards(gpulet_cgroup_limits_t *limits, hierarchy_t *h,
                                    gpulet_error_t *err)
{
    for (;;) {
        char folder[2 * PATH_SIZE];
        (void)snprintf(folder, sizeof(folder), "%s%s", h->top, h->group);
        gpulet_status_t st = read_folder(limits, h, folder, err);
        char *slash = strrchr(h->group, '/');
        if (st != GPULET_OK || slash == NULL)
            return st;
        *slash = '\0';
    }
}

/* Whether a comma-separated list has the word. */
static bool list_has(const char *list, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, size) == 0 && (at[size] == ',' || at[size] == '\0'))
            return true;
    }
    return false;
}

/* The process's path in the hierarchy, from /proc/self/cgroup: "0::/a" or "4:cpu,cpuacct:/a". */
static bool find_group(char *out, const char *proc, const hierarchy_t *h)
{
    for (const char *line = proc; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t size = end == NULL ? strlen(line) : (size_t)(end - line);
        const char *names = memchr(line, ':', size);
        const char *path =
            names == NULL ? NULL : memchr(names + 1, ':', size - (size_t)(names + 1 - line));
        if (path != NULL && size - (size_t)(path + 1 - line) < PATH_SIZE) {
            char list[256];
            (void)snprintf(list, sizeof(list), "%.*s", (int)(path - names - 1), names + 1);
            if (h->unified ? list[0] == '\0' : list_has(list, h->controller)) {
                (void)snprintf(out, PATH_SIZE, "%.*s", (int)(size - (size_t)(path + 1 - line)),
                               path + 1);
                return true;
            }
        }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

/* mountinfo writes blanks in paths as \040. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* What the group is below the mount: in a container the mount shows only the part at mount_root. */
static void set_group(hierarchy_t *h, const char *path, const char *mount_root)
{
    size_t size = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    h->group[0] = '\0';
    if (strncmp(path, mount_root, size) == 0 && (path[size] == '/' || path[size] == '\0') &&
        strstr(path, "/..") == NULL)
        (void)snprintf(h->group, sizeof(h->group), "%s", path + size);
    size_t end = strlen(h->group);
    if (end > 0 && h->group[end - 1] == '/')
        h->group[end - 1] = '\0';
}

/* Fills h from one line of mountinfo when that is its mount. Changes line. */
static bool match_mount(hierarchy_t *h, char *line, const char *root, const char *path)
{
    char *fields[MOUNT_FIELDS];
    int count = 0;
    int dash = 0;
    char *save = NULL;
    for (char *f = strtok_r(line, " ", &save); f != NULL && count < MOUNT_FIELDS;
         f = strtok_r(NULL, " ", &save)) {
        if (dash == 0 && count > MOUNT_POINT && strcmp(f, "-") == 0)
            dash = count;
        fields[count++] = f;
    }
    if (dash == 0 || count < dash + 4)
        return false;
    const char *type = fields[dash + 1];
    if (h->unified ? strcmp(type, "cgroup2") != 0
                   : strcmp(type, "cgroup") != 0 || !list_has(fields[dash + 3], h->controller))
        return false;
    unescape(fields[MOUNT_ROOT]);
    unescape(fields[MOUNT_POINT]);
    (void)snprintf(h->top, sizeof(h->top), "%s%s", root, fields[MOUNT_POINT]);
    set_group(h, path, fields[MOUNT_ROOT]);
    return true;
}

static gpulet_status_t read_hierarchy(gpulet_cgroup_limits_t *limits, hierarchy_t *h,
                                      const char *root, const char *groups, const char *mounts,
                                      gpulet_error_t *err)
{
    char path[PATH_SIZE];
    if (!find_group(path, groups, h))
        return GPULET_OK;
    char *copy = strdup(mounts);
    if (copy == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = GPULET_OK;
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (match_mount(h, line, root, path)) {
            st = read_upwards(limits, h, err);
            break;
        }
    }
    free(copy);
    return st;
}

static gpulet_status_t read_proc(char **out, const char *root, const char *name)
{
    char path[PATH_SIZE];
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/proc/self/%s", root, name);
    return gpulet_file_read(out, &size, path, PROC_FILE_MAX, NULL);
}

gpulet_status_t gpulet_cgroup_read(gpulet_cgroup_limits_t *out, const char *root,
                                   gpulet_error_t *err)
{
    static const struct {
        bool unified;
        const char *controller;
    } kinds[] = {{true, ""}, {false, "cpu"}, {false, "memory"}};
    gpulet_cgroup_limits_t limits = {INFINITY, UINT64_MAX};
    char *groups = NULL;
    char *mounts = NULL;
    gpulet_status_t st = GPULET_OK;
    hierarchy_t *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (read_proc(&groups, root, "cgroup") == GPULET_OK &&
        read_proc(&mounts, root, "mountinfo") == GPULET_OK) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && st == GPULET_OK; i++) {
            h->unified = kinds[i].unified;
            h->controller = kinds[i].controller;
            st = read_hierarchy(&limits, h, root, groups, mounts, err);
        }
    }
    free(groups);
    free(mounts);
    free(h);
    if (st == GPULET_OK)
        *out = limits;
    return st;
}

uint32_t gpulet_cgroup_cores(const gpulet_cgroup_limits_t *limits)
{
    if (limits->cpus < 1)
        return 1;
    return limits->cpus < (double)UINT32_MAX ? (uint32_t)limits->cpus : UINT32_MAX;
}
