/* How much neighbours really slow a batch down, whatever the planner believes: from measured pairs,
 * or from a fitted interference. One owner at a time. */
#ifndef GPULET_SIM_TRUTH_H
#define GPULET_SIM_TRUTH_H

#include <stdint.h>

#include "base/status.h"
#include "core/interference.h"
#include "core/pairs.h"
#include "sim/curves.h"

typedef struct sim_truth sim_truth_t;

/* Either may be NULL; with both NULL neighbours do not disturb one another. Borrowed. */
gpulet_status_t sim_truth_create(sim_truth_t **out, const gpulet_pairs_t *pairs,
                                 const gpulet_interference_t *interference,
                                 const sim_curves_t *curves) GPULET_MUST_USE;
void sim_truth_destroy(sim_truth_t *truth); /* NULL is fine */

/* The factor on a batch of `self` beside one of `other`, on one device of their type. Of pairs: the
 * sizes nearest to the gpu-lets', then linear between the nearest measured batches of both, flat
 * beyond them. E_NOT_FOUND: the pair was not measured; E_INVALID: the profile lacks a utilisation.
 * err names both. */
gpulet_status_t sim_truth_factor(double *out, sim_truth_t *truth, const sim_curve_t *self,
                                 uint32_t self_batch, const sim_curve_t *other,
                                 uint32_t other_batch, gpulet_error_t *err) GPULET_MUST_USE;

#endif
