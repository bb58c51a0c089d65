/* How much of the machine the process's control groups let it use: CPU quota and memory, versions 1
 * and 2, in containers and outside. Reads files only; thread-safe. */
#ifndef GPULET_DEVICE_CPU_CGROUP_H
#define GPULET_DEVICE_CPU_CGROUP_H

#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_cgroup_limits {
    double cpus;           /* of CPU time; INFINITY: no quota */
    uint64_t memory_bytes; /* UINT64_MAX: no limit */
} gpulet_cgroup_limits_t;

/* root: what stands before /proc/self/cgroup, /proc/self/mountinfo and the mount points named
 * there; "" for the machine's own. A limit anywhere above the process's group counts: the lowest
 * one holds. What is not mounted or cannot be read limits nothing; E_INVALID only when a file that
 * is there makes no sense. */
gpulet_status_t gpulet_cgroup_read(gpulet_cgroup_limits_t *out, const char *root,
                                   gpulet_error_t *err) GPULET_MUST_USE;
/* Whole cores of that much CPU time: at least 1, UINT32_MAX without a quota. */
uint32_t gpulet_cgroup_cores(const gpulet_cgroup_limits_t *limits);

#endif
