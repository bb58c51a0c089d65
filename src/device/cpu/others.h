/* How much of the CPU time processes other than our own had while something was measured: figures
 * that were taken beside them are too high. The kernel counts in ticks of a clock, so what is
 * measured for less than a fifth of a second says nothing.
 *
 * Ours is the process and what it started, workers included; others' is all else, time that a host
 * gave to other guests included. Only the CPUs that the process may run on count. Reads files only;
 * one owner a meter. */
#ifndef GPULET_DEVICE_CPU_OTHERS_H
#define GPULET_DEVICE_CPU_OTHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "device/cpulist.h"

/* Ticks since the machine's start. */
typedef struct gpulet_cpu_ticks {
    uint64_t all;  /* of the CPUs, idle or not */
    uint64_t busy; /* of the CPUs */
    uint64_t own;  /* of the process, the children it has had and those it has */
} gpulet_cpu_ticks_t;

/* root: what stands before /proc; "" for the machine's own. cpus: those that count. E_NOT_FOUND
 * where there is no /proc/stat, E_INVALID where it makes no sense. */
gpulet_status_t gpulet_cpu_ticks_read(gpulet_cpu_ticks_t *out, const char *root,
                                      const gpulet_cpulist_t *cpus,
                                      gpulet_error_t *err) GPULET_MUST_USE;

/* Adds up what happens between begin and end, as often as they are called. Zero-initialised it has
 * measured nothing. */
typedef struct gpulet_cpu_meter {
    bool begun;
    gpulet_cpu_ticks_t at; /* of begin */
    gpulet_cpu_ticks_t sum;
} gpulet_cpu_meter_t;

/* Part of the CPU time above which figures are to be warned of. */
#define GPULET_CPU_OTHERS_MANY 0.10

/* Where the machine does not tell, nothing is measured. */
void gpulet_cpu_meter_begin(gpulet_cpu_meter_t *meter);
void gpulet_cpu_meter_end(gpulet_cpu_meter_t *meter); /* nothing without a begin */
/* The same with ticks from elsewhere. */
void gpulet_cpu_meter_add(gpulet_cpu_meter_t *meter, const gpulet_cpu_ticks_t *from,
                          const gpulet_cpu_ticks_t *to);
/* The others' part of all CPU time, 0 … 1; NAN when too little was measured to say. */
double gpulet_cpu_meter_others(const gpulet_cpu_meter_t *meter);
/* Clearly more than the part above. */
bool gpulet_cpu_meter_disturbed(const gpulet_cpu_meter_t *meter);

#endif
