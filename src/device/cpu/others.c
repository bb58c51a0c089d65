#include "device/cpu/others.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/parse.h"

enum {
    PATH_SIZE = PATH_MAX,
    FILE_MAX = 4 << 20,
    STAT_FIELDS = 8, /* of a CPU: user nice system idle iowait irq softirq steal; guests' time is in
                        the first two */
    STAT_IDLE = 3,
    STAT_IOWAIT = 4,
    PROCESS_UTIME = 11, /* fields of /proc/PID/stat, counted from behind the name */
    PROCESS_CSTIME = 14,
    GENERATIONS_MAX = 4, /* workers have no children of their own */
    TICKS_LEAST = 20     /* a fifth of a second of one CPU */
};

/* ---- texts of the kernel ---- */

/* The next number of a line, blanks before it left out. False at its end. */
static bool next_number(uint64_t *out, const char **at, const char *end)
{
    while (*at < end && **at == ' ')
        (*at)++;
    const char *begin = *at;
    while (*at < end && **at != ' ')
        (*at)++;
    return *at > begin && gpulet_parse_u64(out, begin, (size_t)(*at - begin)) == GPULET_OK;
}

/* "cpu3 …": adds it up when it counts. */
static bool add_cpu(gpulet_cpu_ticks_t *out, const char *line, const char *end,
                    const gpulet_cpulist_t *cpus)
{
    uint64_t index = 0;
    const char *at = line + strlen("cpu");
    if (!next_number(&index, &at, end))
        return false;
    if (index >= GPULET_CPULIST_MAX || !gpulet_cpulist_has(cpus, (uint32_t)index))
        return true;
    for (int i = 0; i < STAT_FIELDS; i++) {
        uint64_t ticks = 0;
        if (!next_number(&ticks, &at, end))
            return i > STAT_IDLE; /* old kernels have fewer */
        out->all += ticks;
        out->busy += i == STAT_IDLE || i == STAT_IOWAIT ? 0 : ticks;
    }
    return true;
}

static gpulet_status_t read_cpus(gpulet_cpu_ticks_t *out, const char *root,
                                 const gpulet_cpulist_t *cpus, gpulet_error_t *err)
{
    char path[PATH_SIZE];
    char *text = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/proc/stat", root);
    gpulet_status_t st = gpulet_file_read(&text, &size, path, FILE_MAX, err);
    if (st != GPULET_OK)
        return st;
    for (const char *line = text; line < text + size && st == GPULET_OK;) {
        const char *end = memchr(line, '\n', (size_t)(text + size - line));
        end = end != NULL ? end : text + size;
        if (end - line > 3 && strncmp(line, "cpu", 3) == 0 && line[3] != ' ' &&
            !add_cpu(out, line, end, cpus))
            st = gpulet_fail(err, GPULET_E_INVALID, "%s: '%.*s' makes no sense", path,
                             (int)(end - line < 40 ? end - line : 40), line);
        line = end + 1;
    }
    free(text);
    if (st == GPULET_OK && out->all == 0)
        st = gpulet_fail(err, GPULET_E_INVALID, "%s: none of the CPUs is in it", path);
    return st;
}

/* Of the process and those of its children that have ended; 0 for one that is gone. */
static uint64_t process_ticks(const char *root, const char *process)
{
    char path[PATH_SIZE];
    char *text = NULL;
    size_t size = 0;
    uint64_t ticks = 0;
    (void)snprintf(path, sizeof(path), "%s/proc/%s/stat", root, process);
    if (gpulet_file_read(&text, &size, path, FILE_MAX, NULL) != GPULET_OK)
        return 0;
    /* A name may hold blanks and brackets: what counts is behind the last one. */
    const char *at = memrchr(text, ')', size);
    const char *end = text + size;
    for (int field = 0; at != NULL && field <= PROCESS_CSTIME; field++) {
        uint64_t value = 0;
        if (field == 0)
            at++;
        const char *before = at;
        bool number = next_number(&value, &at, end);
        if (field >= PROCESS_UTIME && number)
            ticks += value;
        if (at == before)
            break;
    }
    free(text);
    return ticks;
}

static uint64_t family_ticks(const char *root, const char *process, int generations);

static uint64_t children_ticks(const char *root, const char *process, int generations)
{
    char path[PATH_SIZE];
    char *text = NULL;
    size_t size = 0;
    uint64_t ticks = 0;
    /* Children belong to the thread that started them: ours is the first. */
    (void)snprintf(path, sizeof(path), "%s/proc/%s/task/%s/children", root, process, process);
    if (gpulet_file_read(&text, &size, path, FILE_MAX, NULL) != GPULET_OK)
        return 0;
    for (const char *at = text, *end = text + size; at < end;) {
        uint64_t pid = 0;
        char name[24];
        if (!next_number(&pid, &at, end))
            break;
        (void)snprintf(name, sizeof(name), "%llu", (unsigned long long)pid);
        ticks += family_ticks(root, name, generations);
    }
    free(text);
    return ticks;
}

static uint64_t family_ticks(const char *root, const char *process, int generations)
{
    return process_ticks(root, process) +
           (generations > 0 ? children_ticks(root, process, generations - 1) : 0);
}

gpulet_status_t gpulet_cpu_ticks_read(gpulet_cpu_ticks_t *out, const char *root,
                                      const gpulet_cpulist_t *cpus, gpulet_error_t *err)
{
    gpulet_cpu_ticks_t ticks = {0};
    char self[24];
    gpulet_status_t st = read_cpus(&ticks, root, cpus, err);
    if (st != GPULET_OK)
        return st;
    (void)snprintf(self, sizeof(self), "%ld", (long)getpid());
    ticks.own = family_ticks(root, self, GENERATIONS_MAX);
    *out = ticks;
    return GPULET_OK;
}

/* ---- meter ---- */

static bool look(gpulet_cpu_ticks_t *out)
{
    gpulet_cpulist_t cpus = {{0}};
    cpu_set_t mine;
    CPU_ZERO(&mine);
    if (sched_getaffinity(0, sizeof(mine), &mine) != 0)
        return false;
    for (uint32_t i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &mine))
            gpulet_cpulist_set(&cpus, i);
    }
    return gpulet_cpu_ticks_read(out, "", &cpus, NULL) == GPULET_OK;
}

void gpulet_cpu_meter_begin(gpulet_cpu_meter_t *meter)
{
    meter->begun = look(&meter->at);
}

static uint64_t since(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0; /* a child may be gone between two looks */
}

void gpulet_cpu_meter_add(gpulet_cpu_meter_t *meter, const gpulet_cpu_ticks_t *from,
                          const gpulet_cpu_ticks_t *to)
{
    meter->sum.all += since(from->all, to->all);
    meter->sum.busy += since(from->busy, to->busy);
    meter->sum.own += since(from->own, to->own);
}

void gpulet_cpu_meter_end(gpulet_cpu_meter_t *meter)
{
    gpulet_cpu_ticks_t now;
    if (meter->begun && look(&now))
        gpulet_cpu_meter_add(meter, &meter->at, &now);
    meter->begun = false;
}

double gpulet_cpu_meter_others(const gpulet_cpu_meter_t *meter)
{
    if (meter->sum.all < TICKS_LEAST)
        return NAN;
    return fmin((double)since(meter->sum.own, meter->sum.busy) / (double)meter->sum.all, 1);
}

bool gpulet_cpu_meter_disturbed(const gpulet_cpu_meter_t *meter)
{
    return gpulet_cpu_meter_others(meter) > GPULET_CPU_OTHERS_MANY; /* false for NAN */
}
