/* The cores that gpu-lets of this process may be made of, neighbours in the topology side by side.
 *
 * A unit is one physical core with all of its hardware threads that the process may run on: two
 * gpu-lets on the two threads of one core would share its execution units, which is no partition.
 * Owned by whoever built it; constant once built. */
#ifndef GPULET_DEVICE_CPU_LAYOUT_H
#define GPULET_DEVICE_CPU_LAYOUT_H

#include <hwloc.h>
#include <stdint.h>

#include "base/status.h"
#include "device/cpu/cgroup.h"
#include "device/cpulist.h"

typedef struct gpulet_cpu_core {
    gpulet_cpulist_t cpus;  /* its hardware threads, as the operating system numbers them */
    gpulet_cpulist_t nodes; /* NUMA nodes it is local to */
} gpulet_cpu_core_t;

typedef struct gpulet_cpu_layout {
    uint32_t count; /* ≥ 1 */
    uint32_t nodes_count;
    gpulet_cpu_core_t *cores;  /* owned */
    uint32_t *groups;          /* owned; the last-level cache of each, ascending numbers */
    gpulet_cpulist_t reserved; /* the CPUs of the cores that stay out; may be none */
    double memory_mb;
    char model[128];
} gpulet_cpu_layout_t;

/* The machine as it is seen here; tests bring their own. */
typedef struct gpulet_cpu_machine {
    hwloc_topology_t topology; /* loaded; borrowed */
    gpulet_cpulist_t allowed;  /* CPUs that the process may run on */
    gpulet_cgroup_limits_t limits;
    uint64_t memory_bytes;
} gpulet_cpu_machine_t;

/* reserve: CPUs that stay out, with the whole of their cores; NULL: none. They are taken from the
 * quota too, as whoever they are kept for uses it up. E_INVALID when a reserved CPU is not there or
 * nothing is left. Caller destroys. */
gpulet_status_t gpulet_cpu_layout_build(gpulet_cpu_layout_t **out,
                                        const gpulet_cpu_machine_t *machine, const char *reserve,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* Of this machine. cpus: what may be used; NULL: what the calling process may run on.
 * E_UNAVAILABLE when the topology cannot be read. */
gpulet_status_t gpulet_cpu_layout_probe(gpulet_cpu_layout_t **out, const char *reserve,
                                        const char *cpus, gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_cpu_layout_destroy(gpulet_cpu_layout_t *layout);

#endif
