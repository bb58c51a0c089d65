/* The planners of this folder, for the table in planner.c, and what they share. Each returns a plan
 * with devices, models and `feasible`; the rest is filled by gpulet_planner_run. */
#ifndef GPULET_PLAN_ELASTIC_H
#define GPULET_PLAN_ELASTIC_H

#include "plan/fill.h"
#include "plan/planner.h"

/* Elastic partitioning: many greedy passes under different policies, the best of them improved. */
gpulet_status_t gpulet_plan_elastic(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                    gpulet_error_t *err) GPULET_MUST_USE;
/* The forms of one pass: the paper's and the prototype's. */
gpulet_status_t gpulet_plan_elastic_once(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                         gpulet_error_t *err) GPULET_MUST_USE;
/* The best pack that elastic partitioning finds, into *best; it ends early at a cost of at most
 * cost_enough (NAN: not known). Both packs are of the fill's workspace. */
void gpulet_elastic_fill(gpulet_fill_t *fill, gpulet_pack_t *best, gpulet_pack_t *scratch,
                         double cost_enough);
/* Squishy bin packing (Nexus) on whole devices: one pass, gpu-lets by occupancy. */
gpulet_status_t gpulet_plan_temporal(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* The same on devices cut in two halves. */
gpulet_status_t gpulet_plan_even(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                 gpulet_error_t *err) GPULET_MUST_USE;
/* Guided self-tuning (GSLICE), fed by the profile; no turns. */
gpulet_status_t gpulet_plan_selftune(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Space-share: the smallest size that covers the rate; no turns. */
gpulet_status_t gpulet_plan_greedy(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                   gpulet_error_t *err) GPULET_MUST_USE;
/* The paper's ideal: every cut of the devices, filled greedily. */
gpulet_status_t gpulet_plan_exhaustive(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                       gpulet_error_t *err) GPULET_MUST_USE;

/* The plan `from` under this input: rates routed anew over the same gpu-lets, models that are no
 * longer asked for left out, figures recomputed. Whether it still keeps its promises is the
 * verifier's question. *out stays NULL when the input does not know some type, size or batch of it.
 */
gpulet_status_t gpulet_plan_rebase(gpulet_plan_t **out, const gpulet_plan_t *from,
                                   const gpulet_plan_input_t *input) GPULET_MUST_USE;

/* What follows from the gpu-lets, models, batches and cycles of a plan of others, which stay as
 * they are (a cycle is only stretched by what rounding took of it): rates and figures, NAN where
 * the input does not know the model, size or batch. For the verifier, so nothing is mended and *out
 * is never NULL on success. */
gpulet_status_t gpulet_plan_refresh(gpulet_plan_t **out, const gpulet_plan_t *from,
                                    const gpulet_plan_input_t *input) GPULET_MUST_USE;

/* The verifier; with partial, capacity and rate may fall short of the demand (an infeasible plan's
 * promises). */
gpulet_status_t gpulet_plan_verify_partial(const gpulet_plan_t *plan,
                                           const gpulet_plan_input_t *input, bool partial,
                                           gpulet_error_t *err) GPULET_MUST_USE;

#endif
