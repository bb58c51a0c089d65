/* Measured pairs: how much longer a batch takes beside a neighbour than alone (docs/formats.md
 * "Pairs"). What interference is fitted from, and what a simulator may take for the truth. A pair
 * may stand several times: measured again. Plain values; one owner. */
#ifndef GPULET_CORE_PAIRS_H
#define GPULET_CORE_PAIRS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/profile.h"

typedef struct gpulet_pair_side {
    char model[GPULET_PROFILE_NAME_MAX + 1];
    uint32_t units;
    uint32_t batch;
} gpulet_pair_side_t;

typedef struct gpulet_pair {
    char device[GPULET_DEVICE_NAME_MAX + 1];
    gpulet_pair_side_t self;
    gpulet_pair_side_t other;
    double slowdown;     /* of self: latency beside other / latency alone; > 0 */
    double slowdown_p10; /* of the single rounds it is the median of; NAN when absent */
    double slowdown_p90;
    double traffic_mb_s; /* what the other moved meanwhile, MB (1e6 bytes) a second; NAN when not
                            known */
} gpulet_pair_t;

typedef struct gpulet_pairs {
    size_t count;
    size_t capacity;
    gpulet_pair_t *items; /* owned; in the order of the file */
} gpulet_pairs_t;

/* Errors name file, line and field. Caller destroys. */
gpulet_status_t gpulet_pairs_parse(gpulet_pairs_t **out, const char *text, size_t size,
                                   const char *file, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_pairs_load(gpulet_pairs_t **out, const char *path,
                                  gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_pairs_create(gpulet_pairs_t **out) GPULET_MUST_USE;
gpulet_status_t gpulet_pairs_add(gpulet_pairs_t *pairs, const gpulet_pair_t *pair) GPULET_MUST_USE;
void gpulet_pairs_destroy(gpulet_pairs_t *pairs); /* NULL is fine */
/* By device, self, other: model, units, batch. For qsort; same order on every machine. */
int gpulet_pair_compare(const void *a, const void *b);
gpulet_status_t gpulet_pairs_format_csv(gpulet_buf_t *out,
                                        const gpulet_pairs_t *pairs) GPULET_MUST_USE;

#endif
