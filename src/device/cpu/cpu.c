/* The machine's own CPU as a device: a gpu-let is a set of cores. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/parse.h"
#include "device/cpu/layout.h"
#include "device/partition.h"

enum {
    POLICY_PREFERRED =
        1, /* of set_mempolicy(2); its header belongs to a library that is not needed here */
    POLICY_LOCAL = 4,
    PIN_PASSES_MAX = 16
};

/* "cpu:0-1,4;mem=0;cores=3", taken apart. */
typedef struct cpu_grant {
    gpulet_cpulist_t cpus;
    gpulet_cpulist_t nodes;
    uint64_t cores;
} cpu_grant_t;

static void union_of(cpu_grant_t *out, const gpulet_partition_t *partition)
{
    const gpulet_cpu_layout_t *layout = partition->device->layout;
    memset(out, 0, sizeof(*out));
    out->cores = partition->count;
    for (uint32_t i = 0; i < partition->count; i++) {
        const gpulet_cpu_core_t *core = &layout->cores[partition->units[i]];
        for (size_t w = 0; w < GPULET_CPULIST_WORDS; w++) {
            out->cpus.words[w] |= core->cpus.words[w];
            out->nodes.words[w] |= core->nodes.words[w];
        }
    }
}

static void describe(gpulet_partition_t *partition)
{
    cpu_grant_t all;
    char list[GPULET_PARTITION_TEXT_MAX - 16];
    union_of(&all, partition);
    /* A list that does not fit is cut; this text is for people. */
    (void)gpulet_cpulist_format(list, sizeof(list), &all.cpus);
    (void)snprintf(partition->text, sizeof(partition->text), "%s %s",
                   gpulet_cpulist_count(&all.cpus) == 1 ? "core" : "cores", list);
}

static void describe_device(gpulet_device_desc_t *out, const gpulet_cpu_layout_t *layout)
{
    memset(out, 0, sizeof(*out));
    (void)snprintf(out->type, sizeof(out->type), "cpu");
    out->units = layout->count;
    out->step = 1;
    out->gpulets_max = layout->count;
    out->memory_mb = layout->memory_mb;
    out->caps = GPULET_CAP_RESIZE_LIVE | GPULET_CAP_RESERVED;
    (void)snprintf(out->text, sizeof(out->text), "%s, %u core%s, %u NUMA node%s", layout->model,
                   layout->count, layout->count == 1 ? "" : "s", layout->nodes_count,
                   layout->nodes_count == 1 ? "" : "s");
}

static gpulet_status_t probe_layout(gpulet_cpu_layout_t **out,
                                    const gpulet_device_options_t *options, gpulet_error_t *err)
{
    static const gpulet_device_options_t none = {0};
    const gpulet_device_options_t *o = options == NULL ? &none : options;
    return gpulet_cpu_layout_probe(out, o->reserve_cores, o->cpus, err);
}

static gpulet_status_t cpu_probe(gpulet_device_desc_t *out, uint32_t cap, uint32_t *count,
                                 const gpulet_device_options_t *options, gpulet_error_t *err)
{
    gpulet_cpu_layout_t *layout = NULL;
    gpulet_status_t st = probe_layout(&layout, options, err);
    if (st != GPULET_OK)
        return st;
    if (cap > 0)
        describe_device(&out[0], layout);
    *count = 1;
    gpulet_cpu_layout_destroy(layout);
    return GPULET_OK;
}

static gpulet_status_t cpu_open(gpulet_device_t **out, uint32_t index,
                                const gpulet_device_options_t *options, gpulet_error_t *err)
{
    gpulet_cpu_layout_t *layout = NULL;
    gpulet_device_desc_t desc;
    gpulet_device_t *device = NULL;
    if (index != 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "there is one CPU device, not a number %u",
                           index);
    gpulet_status_t st = probe_layout(&layout, options, err);
    if (st != GPULET_OK)
        return st;
    describe_device(&desc, layout);
    st = gpulet_device_create(&device, &desc, layout->groups, describe, err);
    if (st != GPULET_OK) {
        gpulet_cpu_layout_destroy(layout);
        return st;
    }
    device->layout = layout;
    *out = device;
    return GPULET_OK;
}

static void cpu_close(gpulet_device_t *device)
{
    if (device != NULL)
        gpulet_cpu_layout_destroy(device->layout);
    gpulet_device_destroy(device);
}

static gpulet_status_t cpu_grant(char *out, size_t out_size, const gpulet_partition_t *partition)
{
    cpu_grant_t all;
    char cpus[GPULET_GRANT_MAX + 1];
    char nodes[GPULET_GRANT_MAX + 1];
    union_of(&all, partition);
    if (gpulet_cpulist_format(cpus, sizeof(cpus), &all.cpus) == 0)
        return GPULET_E_TOO_LARGE;
    bool has_nodes = gpulet_cpulist_format(nodes, sizeof(nodes), &all.nodes) > 0;
    int size = snprintf(out, out_size, "cpu:%s;%s%s%scores=%u", cpus, has_nodes ? "mem=" : "",
                        has_nodes ? nodes : "", has_nodes ? ";" : "", partition->count);
    if (size < 0 || (size_t)size >= out_size || size > GPULET_GRANT_MAX)
        return GPULET_E_TOO_LARGE;
    return GPULET_OK;
}

static gpulet_status_t parse_part(cpu_grant_t *grant, const char *part, size_t size,
                                  gpulet_error_t *err)
{
    if (size > 4 && memcmp(part, "cpu:", 4) == 0)
        return gpulet_cpulist_parse(&grant->cpus, part + 4, size - 4, err);
    if (size > 4 && memcmp(part, "mem=", 4) == 0)
        return gpulet_cpulist_parse(&grant->nodes, part + 4, size - 4, err);
    if (size > 6 && memcmp(part, "cores=", 6) == 0 &&
        gpulet_parse_u64(&grant->cores, part + 6, size - 6) == GPULET_OK)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "'%.*s' is no part of it",
                       (int)(size < 64 ? size : 64), part);
}

static gpulet_status_t parse_grant(cpu_grant_t *grant, const char *text, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    memset(grant, 0, sizeof(*grant));
    for (const char *at = text; st == GPULET_OK;) {
        const char *end = strchr(at, ';');
        st = parse_part(grant, at, end == NULL ? strlen(at) : (size_t)(end - at), err);
        if (end == NULL)
            break;
        at = end + 1;
    }
    uint32_t cpus = gpulet_cpulist_count(&grant->cpus);
    if (st == GPULET_OK && cpus == 0)
        st = gpulet_fail(err, GPULET_E_INVALID, "it names no CPU");
    if (st == GPULET_OK && (grant->cores == 0 || grant->cores > cpus))
        st = gpulet_fail(err, GPULET_E_INVALID, "it speaks of %llu cores and names %u CPUs",
                         (unsigned long long)grant->cores, cpus);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "grant '%.100s'", text);
    return st;
}

static gpulet_status_t pin_thread(pid_t thread, const gpulet_cpulist_t *cpus, bool *changed,
                                  gpulet_error_t *err)
{
    gpulet_cpulist_t now = {{0}};
    if (sched_getaffinity(thread, sizeof(now), (cpu_set_t *)(void *)&now) == 0 &&
        memcmp(&now, cpus, sizeof(now)) == 0)
        return GPULET_OK;
    if (sched_setaffinity(thread, sizeof(*cpus), (const cpu_set_t *)(const void *)cpus) != 0) {
        if (errno == ESRCH) /* It ended meanwhile. */
            return GPULET_OK;
        char list[256];
        int saved = errno;
        (void)gpulet_cpulist_format(list, sizeof(list), cpus);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot run on CPUs %s: %s", list,
                           strerror(saved));
    }
    /* The kernel silently leaves out CPUs that the control group forbids. */
    memset(&now, 0, sizeof(now));
    if (sched_getaffinity(thread, sizeof(now), (cpu_set_t *)(void *)&now) == 0 &&
        memcmp(&now, cpus, sizeof(now)) != 0) {
        char list[256];
        (void)gpulet_cpulist_format(list, sizeof(list), cpus);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "some of the CPUs %s cannot be had", list);
    }
    *changed = true;
    return GPULET_OK;
}

/* The pool of a copy of a model is what runs at idle priority in a worker, and nothing else is (but
 * a whole process may be, and is then all pinned). On a core that other threads of its worker keep
 * busy it would come to nothing, and they wait for it: where it runs is for cpu_lend alone to say.
 */
static bool yields(pid_t thread)
{
    return sched_getscheduler(thread) == SCHED_IDLE && sched_getscheduler(0) != SCHED_IDLE;
}

static gpulet_status_t pin_pass(const gpulet_cpulist_t *cpus, bool *changed, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return pin_thread(0, cpus, changed, err);
    for (const struct dirent *e = readdir(tasks); e != NULL && st == GPULET_OK;
         e = readdir(tasks)) {
        uint64_t id = 0;
        if (gpulet_parse_u64(&id, e->d_name, strlen(e->d_name)) == GPULET_OK && !yields((pid_t)id))
            st = pin_thread((pid_t)id, cpus, changed, err);
    }
    (void)closedir(tasks);
    return st;
}

/* A thread started during a pass may have the old CPUs of the one that started it: until a pass
 * finds nothing to do. */
static gpulet_status_t pin_all(const gpulet_cpulist_t *cpus, gpulet_error_t *err)
{
    for (int pass = 0; pass < PIN_PASSES_MAX; pass++) {
        bool changed = false;
        gpulet_status_t st = pin_pass(cpus, &changed, err);
        if (st != GPULET_OK || !changed)
            return st;
    }
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, "threads come faster than they can be moved");
}

static gpulet_status_t cpu_stand_aside(char *cpus, size_t cpus_size,
                                       const gpulet_device_options_t *options, gpulet_error_t *err)
{
    gpulet_cpu_layout_t *layout = NULL;
    gpulet_cpulist_t before = {{0}};
    cpus[0] = '\0';
    if (sched_getaffinity(0, sizeof(before), (cpu_set_t *)(void *)&before) != 0 ||
        gpulet_cpulist_format(cpus, cpus_size, &before) == 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "the CPUs of this process are unknown");
    gpulet_status_t st = probe_layout(&layout, options, err);
    if (st != GPULET_OK)
        return st;
    if (gpulet_cpulist_count(&layout->reserved) > 0)
        st = pin_all(&layout->reserved, err);
    gpulet_cpu_layout_destroy(layout);
    return st;
}

/* Memory near the cores. Where that is forbidden (containers often do) the kernel's own choice is
 * local too. */
static void prefer_memory(const gpulet_cpulist_t *nodes)
{
    long rc = 0;
    if (gpulet_cpulist_count(nodes) == 1)
        rc = syscall(SYS_set_mempolicy, POLICY_PREFERRED, nodes->words, GPULET_CPULIST_MAX);
    else
        rc = syscall(SYS_set_mempolicy, POLICY_LOCAL, NULL, 0);
    (void)rc;
}

static gpulet_status_t cpu_enter(const char *grant, gpulet_device_entry_t *entry,
                                 gpulet_error_t *err)
{
    cpu_grant_t parsed;
    gpulet_status_t st = parse_grant(&parsed, grant, err);
    if (st != GPULET_OK)
        return st;
    if ((st = pin_all(&parsed.cpus, err)) != GPULET_OK)
        return st;
    prefer_memory(&parsed.nodes);
    *entry = (gpulet_device_entry_t){.threads = (uint32_t)parsed.cores, .provider = "cpu"};
    return GPULET_OK;
}

static void add_cpus(gpulet_cpulist_t *to, const gpulet_partition_t *partition)
{
    cpu_grant_t all;
    union_of(&all, partition);
    for (size_t w = 0; w < GPULET_CPULIST_WORDS; w++)
        to->words[w] |= all.cpus.words[w];
}

static gpulet_status_t cpu_lend(pid_t worker, const gpulet_partition_t *own,
                                const gpulet_partition_t *const *lenders, size_t lenders_count,
                                gpulet_error_t *err)
{
    gpulet_cpulist_t cpus = {{0}};
    gpulet_status_t st = GPULET_OK;
    char path[64];
    /* One core of its own is taken by the thread that calls the engine. */
    if (own->count > 1)
        add_cpus(&cpus, own);
    for (size_t i = 0; i < lenders_count; i++)
        add_cpus(&cpus, lenders[i]);
    (void)snprintf(path, sizeof(path), "/proc/%ld/task", (long)worker);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    for (const struct dirent *e = readdir(tasks); e != NULL && st == GPULET_OK;
         e = readdir(tasks)) {
        uint64_t id = 0;
        bool changed = false;
        if (gpulet_parse_u64(&id, e->d_name, strlen(e->d_name)) == GPULET_OK && yields((pid_t)id))
            st = pin_thread((pid_t)id, &cpus, &changed, err);
    }
    (void)closedir(tasks);
    return st;
}

const gpulet_device_backend_t gpulet_device_cpu = {
    .abi_version = GPULET_DEVICE_ABI,
    .name = "cpu",
    .probe = cpu_probe,
    .open = cpu_open,
    .close = cpu_close,
    .stand_aside = cpu_stand_aside,
    .carve = gpulet_partition_carve,
    .grant = cpu_grant,
    .enter = cpu_enter,
    .settle = gpulet_partition_settle,
    .lend = cpu_lend,
    .release = gpulet_partition_release,
    .units = gpulet_partition_units,
    .describe = gpulet_partition_describe,
};
