/* A calibrated memory-traffic generator: a process that streams over a block of memory on the cores
 * of one gpu-let, as fast as told. Beside it a model shows how much it feels a neighbour, on
 * machines that have no counters of cache and bandwidth (the idea of Bubble-Up's "bubble", MICRO
 * 2011).
 *
 * The process is forked before the caller starts threads, dies with it, and holds none of its
 * descriptors. One owner, on one thread. */
#ifndef GPULET_SERVER_TRAFFIC_H
#define GPULET_SERVER_TRAFFIC_H

#include <stdint.h>

#include "base/status.h"
#include "device/backend.h"

typedef struct gpulet_traffic gpulet_traffic_t;

/* Enters the partition of that grant and waits, idle. footprint_max: the largest block, in bytes.
 */
gpulet_status_t gpulet_traffic_start(gpulet_traffic_t **out, const gpulet_device_backend_t *backend,
                                     const char *grant, uint64_t footprint_max,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Streams over `footprint` bytes, spread over the gpu-let's cores, at bytes_per_s (UINT64_MAX: as
 * fast as can be). footprint 0: idle. */
void gpulet_traffic_set(gpulet_traffic_t *traffic, uint64_t footprint, uint64_t bytes_per_s);
/* Bytes read and written since the start. */
uint64_t gpulet_traffic_bytes(const gpulet_traffic_t *traffic);
/* E_UNAVAILABLE, with the reason, when the process is gone. */
gpulet_status_t gpulet_traffic_check(gpulet_traffic_t *traffic,
                                     gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_traffic_stop(gpulet_traffic_t *traffic); /* NULL is fine */

/* Blocks worth streaming over on this machine: one that fits in half of the last-level cache, and
 * one that no cache holds. */
uint64_t gpulet_traffic_cache_bytes(void);
uint64_t gpulet_traffic_memory_bytes(void);

#endif
