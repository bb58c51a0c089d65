/* The monotonic clock, in nanoseconds. Only the runtimes (net, worker, server, client, study, cmd)
 * read it, once a turn of their loop; pure code gets now_ns as a parameter. */
#ifndef GPULET_BASE_CLOCK_H
#define GPULET_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define GPULET_NS_PER_MS UINT64_C(1000000)
#define GPULET_NS_PER_S  UINT64_C(1000000000)

static inline uint64_t gpulet_clock_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * GPULET_NS_PER_S + (uint64_t)t.tv_nsec;
}

#endif
