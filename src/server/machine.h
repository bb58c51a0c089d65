/* How busy and how full the machine is, whoever uses it, as the kernel tells in /proc. The parsers
 * are pure. On the loop's thread. */
#ifndef GPULET_SERVER_MACHINE_H
#define GPULET_SERVER_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

/* Time of all CPUs together since the machine was started, in ticks. */
typedef struct server_cpu_ticks {
    uint64_t busy;
    uint64_t idle;
} server_cpu_ticks_t;

typedef struct server_machine {
    server_cpu_ticks_t sampled;
    uint64_t sampled_ns;    /* 0: never */
    bool utilization_known; /* two samples were taken */
    double utilization;     /* 0 … 1, between the last two samples */
} server_machine_t;

/* The first line of /proc/stat. E_INVALID when it is none. */
gpulet_status_t server_machine_parse_stat(server_cpu_ticks_t *out,
                                          const char *text) GPULET_MUST_USE;
/* /proc/meminfo. Used is what is not available, as `free` has it. E_INVALID when it does not say.
 */
gpulet_status_t server_machine_parse_meminfo(uint64_t *total_bytes, uint64_t *used_bytes,
                                             const char *text) GPULET_MUST_USE;
/* The share of the time between two samples that was not idle; 0 when there was none. */
double server_machine_utilization(const server_cpu_ticks_t *from, const server_cpu_ticks_t *to);

/* Brings the utilization up to date unless the last sample is younger than a second: what is asked
 * for too often would be noise. Where there is no /proc it stays unknown. */
void server_machine_sample(server_machine_t *machine, uint64_t now_ns);
/* Appends the first line of /proc/cpuinfo that begins with name; nothing where there is none. */
void server_machine_cpu_line(gpulet_buf_t *out, const char *name);
/* E_IO, E_INVALID: not known here. */
gpulet_status_t server_machine_memory(uint64_t *total_bytes, uint64_t *used_bytes) GPULET_MUST_USE;

#endif
