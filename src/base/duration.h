/* From the milliseconds that people write to the nanoseconds inside. Thread-safe: no state. */
#ifndef GPULET_BASE_DURATION_H
#define GPULET_BASE_DURATION_H

#include <stdint.h>

/* Some 30 years at most: what is longer never ends, and neither the conversion nor a sum with the
 * time of day overflows. ms ≥ 0. */
static inline uint64_t gpulet_duration_ns(double ms)
{
    const double longest_ms = 1e12;
    return ms < longest_ms ? (uint64_t)(ms * 1e6) : UINT64_C(1000000000000000000);
}

#endif
