#include "device/cpu/layout.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES_PER_MB 1048576.0

static void from_bitmap(gpulet_cpulist_t *out, hwloc_const_bitmap_t bitmap,
                        const gpulet_cpulist_t *within)
{
    for (int i = hwloc_bitmap_first(bitmap); i >= 0 && i < GPULET_CPULIST_MAX;
         i = hwloc_bitmap_next(bitmap, i)) {
        if (within == NULL || gpulet_cpulist_has(within, (uint32_t)i))
            gpulet_cpulist_set(out, (uint32_t)i);
    }
}

static bool meets(const gpulet_cpulist_t *a, const gpulet_cpulist_t *b)
{
    for (size_t i = 0; i < GPULET_CPULIST_WORDS; i++) {
        if ((a->words[i] & b->words[i]) != 0)
            return true;
    }
    return false;
}

/* What units share most: the outermost cache, else the package. Its address tells one from another.
 */
static const void *group_of(hwloc_obj_t object)
{
    const void *group = NULL;
    for (hwloc_obj_t at = object; at != NULL; at = at->parent) {
        if (at->type == HWLOC_OBJ_L3CACHE)
            return at;
        if (at->type == HWLOC_OBJ_PACKAGE || (at->type == HWLOC_OBJ_L2CACHE && at != object))
            group = at;
    }
    return group;
}

static gpulet_status_t parse_reserve(gpulet_cpulist_t *out, const char *reserve,
                                     const gpulet_cpu_machine_t *machine, gpulet_error_t *err)
{
    if (reserve == NULL || reserve[0] == '\0')
        return GPULET_OK;
    gpulet_status_t st = gpulet_cpulist_parse(out, reserve, strlen(reserve), err);
    if (st != GPULET_OK) {
        gpulet_error_prefix(err, "reserve-cores '%s'", reserve);
        return st;
    }
    for (uint32_t i = 0; i < GPULET_CPULIST_MAX; i++) {
        if (gpulet_cpulist_has(out, i) && !gpulet_cpulist_has(&machine->allowed, i)) {
            char there[256];
            (void)gpulet_cpulist_format(there, sizeof(there), &machine->allowed);
            return gpulet_fail(
                err, GPULET_E_INVALID,
                "reserve-cores '%s': there is no core %u for this process (it has %s)", reserve, i,
                there);
        }
    }
    return GPULET_OK;
}

static void add_cpus(gpulet_cpulist_t *to, const gpulet_cpulist_t *cpus)
{
    for (size_t w = 0; w < GPULET_CPULIST_WORDS; w++)
        to->words[w] |= cpus->words[w];
}

/* Adds the cores in the order of the topology, which is the order of hwloc's logical numbers.
 * Returns how many were reserved. */
static uint32_t add_cores(gpulet_cpu_layout_t *layout, const gpulet_cpu_machine_t *machine,
                          const gpulet_cpulist_t *reserved, hwloc_obj_type_t type)
{
    const void *group = NULL;
    uint32_t group_number = 0;
    uint32_t reserved_count = 0;
    for (hwloc_obj_t o = hwloc_get_next_obj_by_type(machine->topology, type, NULL); o != NULL;
         o = hwloc_get_next_obj_by_type(machine->topology, type, o)) {
        gpulet_cpu_core_t *core = &layout->cores[layout->count];
        memset(core, 0, sizeof(*core));
        from_bitmap(&core->cpus, o->cpuset, &machine->allowed);
        if (gpulet_cpulist_count(&core->cpus) == 0)
            continue;
        if (meets(&core->cpus, reserved)) {
            add_cpus(&layout->reserved, &core->cpus);
            reserved_count++;
            continue;
        }
        if (o->nodeset != NULL)
            from_bitmap(&core->nodes, o->nodeset, NULL);
        const void *own = group_of(o);
        if (layout->count > 0 && own != group)
            group_number++;
        group = own;
        layout->groups[layout->count++] = group_number;
    }
    return reserved_count;
}

static void set_model(gpulet_cpu_layout_t *layout, hwloc_topology_t topology)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    hwloc_obj_t root = hwloc_get_root_obj(topology);
    const char *name = package == NULL ? NULL : hwloc_obj_get_info_by_name(package, "CPUModel");
    if (name == NULL)
        name = hwloc_obj_get_info_by_name(root, "CPUModel");
    while (name != NULL && *name == ' ')
        name++;
    (void)snprintf(layout->model, sizeof(layout->model), "%s",
                   name == NULL || name[0] == '\0' ? "CPU" : name);
}

static void count_nodes(gpulet_cpu_layout_t *layout)
{
    gpulet_cpulist_t nodes = {{0}};
    for (uint32_t i = 0; i < layout->count; i++) {
        for (size_t w = 0; w < GPULET_CPULIST_WORDS; w++)
            nodes.words[w] |= layout->cores[i].nodes.words[w];
    }
    layout->nodes_count = gpulet_cpulist_count(&nodes);
    if (layout->nodes_count == 0)
        layout->nodes_count = 1;
}

static gpulet_status_t fill(gpulet_cpu_layout_t *layout, const gpulet_cpu_machine_t *machine,
                            const char *reserve, gpulet_error_t *err)
{
    gpulet_cpulist_t reserved = {{0}};
    gpulet_status_t st = parse_reserve(&reserved, reserve, machine, err);
    if (st != GPULET_OK)
        return st;
    /* Some virtual machines show hardware threads and no cores. */
    hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(machine->topology, HWLOC_OBJ_CORE) > 0
                                ? HWLOC_OBJ_CORE
                                : HWLOC_OBJ_PU;
    int objects = hwloc_get_nbobjs_by_type(machine->topology, type);
    if (objects <= 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "the topology shows no processors");
    layout->cores = calloc((size_t)objects + 1, sizeof(*layout->cores));
    layout->groups = calloc((size_t)objects + 1, sizeof(*layout->groups));
    if (layout->cores == NULL || layout->groups == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    uint32_t reserved_count = add_cores(layout, machine, &reserved, type);
    if (layout->count == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "reserve-cores '%s' leaves no core for gpu-lets",
                           reserve == NULL ? "" : reserve);
    uint32_t quota = gpulet_cgroup_cores(&machine->limits);
    quota = quota > reserved_count ? quota - reserved_count : 1;
    if (layout->count > quota)
        layout->count = quota;
    uint64_t memory = machine->memory_bytes < machine->limits.memory_bytes
                          ? machine->memory_bytes
                          : machine->limits.memory_bytes;
    layout->memory_mb = (double)memory / BYTES_PER_MB;
    count_nodes(layout);
    set_model(layout, machine->topology);
    return GPULET_OK;
}

gpulet_status_t gpulet_cpu_layout_build(gpulet_cpu_layout_t **out,
                                        const gpulet_cpu_machine_t *machine, const char *reserve,
                                        gpulet_error_t *err)
{
    gpulet_cpu_layout_t *layout = calloc(1, sizeof(*layout));
    if (layout == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = fill(layout, machine, reserve, err);
    if (st != GPULET_OK) {
        gpulet_cpu_layout_destroy(layout);
        return st;
    }
    *out = layout;
    return GPULET_OK;
}

static gpulet_status_t read_machine(gpulet_cpu_machine_t *machine, const char *cpus,
                                    gpulet_error_t *err)
{
    if (cpus != NULL) {
        gpulet_status_t st = gpulet_cpulist_parse(&machine->allowed, cpus, strlen(cpus), err);
        if (st != GPULET_OK)
            return st;
        /* The bits of a cpulist lie as in a cpu_set_t of any size. */
    } else if (sched_getaffinity(0, sizeof(machine->allowed),
                                 (cpu_set_t *)(void *)&machine->allowed) != 0) {
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "sched_getaffinity: %s", strerror(errno));
    }
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_size = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page_size <= 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "the size of the memory is unknown");
    machine->memory_bytes = (uint64_t)pages * (uint64_t)page_size;
    return gpulet_cgroup_read(&machine->limits, "", err);
}

gpulet_status_t gpulet_cpu_layout_probe(gpulet_cpu_layout_t **out, const char *reserve,
                                        const char *cpus, gpulet_error_t *err)
{
    gpulet_cpu_machine_t machine = {0};
    gpulet_status_t st = read_machine(&machine, cpus, err);
    if (st != GPULET_OK)
        return st;
    if (hwloc_topology_init(&machine.topology) != 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "hwloc cannot be started");
    if (hwloc_topology_load(machine.topology) != 0)
        st = gpulet_fail(err, GPULET_E_UNAVAILABLE, "the topology of the machine cannot be read");
    else
        st = gpulet_cpu_layout_build(out, &machine, reserve, err);
    hwloc_topology_destroy(machine.topology);
    return st;
}

void gpulet_cpu_layout_destroy(gpulet_cpu_layout_t *layout)
{
    if (layout == NULL)
        return;
    free(layout->cores);
    free(layout->groups);
    free(layout);
}
