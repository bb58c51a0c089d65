/* Sets of small numbers (CPUs, cores, NUMA nodes) and their text form, as the kernel writes it:
 * "0-3,8". Plain values. */
#ifndef GPULET_DEVICE_CPULIST_H
#define GPULET_DEVICE_CPULIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { GPULET_CPULIST_MAX = 4096, GPULET_CPULIST_WORDS = GPULET_CPULIST_MAX / 64 };

/* The bits lie as in a cpu_set_t of that many CPUs. */
typedef struct gpulet_cpulist {
    uint64_t words[GPULET_CPULIST_WORDS];
} gpulet_cpulist_t;

void gpulet_cpulist_set(gpulet_cpulist_t *list, uint32_t index);
bool gpulet_cpulist_has(const gpulet_cpulist_t *list, uint32_t index);
uint32_t gpulet_cpulist_count(const gpulet_cpulist_t *list);
/* The whole text must be a list; numbers may repeat, ranges may not run backwards. "" is no list.
 */
gpulet_status_t gpulet_cpulist_parse(gpulet_cpulist_t *out, const char *text, size_t size,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Returns the length, or 0 when it does not fit (or the list is empty). Always zero-terminated. */
size_t gpulet_cpulist_format(char *out, size_t out_size, const gpulet_cpulist_t *list);

#endif
