/* A log-linear histogram of unsigned values (the idea of HdrHistogram): each power of two is cut
 * into 64 equal parts, so any quantile is exact to 1/64 of its value. Fixed memory, O(1) record.
 * One owner at a time. */
#ifndef GPULET_BASE_HIST_H
#define GPULET_BASE_HIST_H

#include <stdint.h>

enum {
    GPULET_HIST_SUB_BITS = 6,
    GPULET_HIST_BUCKETS = (64 - GPULET_HIST_SUB_BITS + 1) << GPULET_HIST_SUB_BITS
};

typedef struct gpulet_hist {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[GPULET_HIST_BUCKETS];
} gpulet_hist_t;

void gpulet_hist_clear(gpulet_hist_t *hist);
void gpulet_hist_record(gpulet_hist_t *hist, uint64_t value);
void gpulet_hist_merge(gpulet_hist_t *into, const gpulet_hist_t *from);
/* The smallest recorded bucket's upper end with at least quantile (0 … 1) of the values at or below
 * it, never above max; 0 when empty. */
uint64_t gpulet_hist_quantile(const gpulet_hist_t *hist, double quantile);

#endif
