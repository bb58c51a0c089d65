/* The batch rule: which of the waiting requests, in deadline order, run next on a free lane. Pure
 * functions on arrays. */
#ifndef GPULET_SCHED_BATCHER_H
#define GPULET_SCHED_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "sched/estimate.h"

typedef struct sched_candidate {
    uint32_t items;
    uint64_t deadline_ns; /* UINT64_MAX: none */
} sched_candidate_t;

typedef struct sched_batcher {
    const sched_curve_t *curve;
    uint64_t start_ns;    /* when a batch chosen now would start */
    uint32_t items_max;   /* of a batch, ≥ 1 */
    uint32_t alone_above; /* a request of more items runs alone */
    uint32_t count_max;   /* requests of a batch */
    uint32_t lanes;       /* that serve the model: what is left goes to all of them */
} sched_batcher_t;

/* first candidates are passed over (early drop), then count of them run. */
typedef struct sched_choice {
    uint32_t first;
    uint32_t count;
    uint32_t items;
} sched_choice_t;

/* How many candidates from `first` on may run together when none of them may be late; 0 when the
 * first cannot be in time. */
sched_choice_t sched_batcher_prefix(const sched_batcher_t *b, const sched_candidate_t *candidates,
                                    uint32_t count, uint32_t first);
/* How many of the candidates from `first` on would miss their deadline when served from now_ns on,
 * each time as many as fit. */
uint32_t sched_batcher_misses(const sched_batcher_t *b, const sched_candidate_t *candidates,
                              uint32_t count, uint32_t first, uint64_t now_ns);
/* The choice that misses the fewest of the candidates; among equals the one that passes over
 * fewest. candidates[0] can be in time. */
sched_choice_t sched_batcher_choose(const sched_batcher_t *b, const sched_candidate_t *candidates,
                                    uint32_t count);

#endif
