#include "base/hist.h"

#include <math.h>
#include <string.h>

static uint32_t bucket_of(uint64_t value)
{
    if (value < (1U << GPULET_HIST_SUB_BITS))
        return (uint32_t)value;
    uint32_t exponent = 63U - (uint32_t)__builtin_clzll(value);
    uint32_t shift = exponent - GPULET_HIST_SUB_BITS;
    uint32_t sub = (uint32_t)(value >> shift) & ((1U << GPULET_HIST_SUB_BITS) - 1U);
    return ((shift + 1U) << GPULET_HIST_SUB_BITS) + sub;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < (1U << GPULET_HIST_SUB_BITS))
        return bucket;
    uint32_t shift = (bucket >> GPULET_HIST_SUB_BITS) - 1U;
    uint64_t sub = (bucket & ((1U << GPULET_HIST_SUB_BITS) - 1U)) | (1U << GPULET_HIST_SUB_BITS);
    return (sub << shift) + ((UINT64_C(1) << shift) - 1U);
}

void gpulet_hist_clear(gpulet_hist_t *hist)
{
    memset(hist, 0, sizeof(*hist));
}

void gpulet_hist_record(gpulet_hist_t *hist, uint64_t value)
{
    hist->count++;
    hist->sum += value;
    if (value > hist->max)
        hist->max = value;
    hist->buckets[bucket_of(value)]++;
}

void gpulet_hist_merge(gpulet_hist_t *into, const gpulet_hist_t *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    for (uint32_t i = 0; i < GPULET_HIST_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t gpulet_hist_quantile(const gpulet_hist_t *hist, double quantile)
{
    uint64_t seen = 0;
    if (hist->count == 0)
        return 0;
    uint64_t wanted = (uint64_t)ceil(quantile * (double)hist->count);
    if (wanted == 0)
        wanted = 1;
    for (uint32_t i = 0; i < GPULET_HIST_BUCKETS; i++) {
        seen += hist->buckets[i];
        if (seen >= wanted)
            return bucket_end(i) < hist->max ? bucket_end(i) : hist->max;
    }
    return hist->max;
}
