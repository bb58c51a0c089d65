/* Fits interference from measured pairs, and says how wrong each kind is on pairs that it has not
 * seen (docs/planning.md "Interference").
 *
 * Pairs of one key (both sides: model, units, batch) are measurements of the same thing and stay
 * together; keys are shuffled by the seed and cut into a part to fit and a part held out, for each
 * device type on its own. The same pairs, in any order, and the same seed give the same result.
 * Values; one owner. */
#ifndef GPULET_FIT_FIT_H
#define GPULET_FIT_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/interference.h"
#include "core/pairs.h"
#include "core/profile.h"

enum { GPULET_FIT_KINDS = 3, GPULET_FIT_TEXT_MAX = 383 };

typedef struct gpulet_fit_options {
    double train;    /* part of the pairs that is fitted; 0 < t < 1 */
    uint64_t seed;   /* of the shuffle */
    double quantile; /* 0 < q < 1: of the slowdowns, the factor where a model is not known; and one
                        more quantile of the error in the file */
} gpulet_fit_options_t;

/* |predicted - measured| / measured over the pairs held out. */
typedef struct gpulet_fit_errors {
    size_t count;
    double mean;
    double p50;
    double p90;
    double p95;
} gpulet_fit_errors_t;

typedef struct gpulet_fit_kind {
    bool fitted;
    char why_not[GPULET_FIT_TEXT_MAX + 1]; /* "" when fitted */
    gpulet_fit_errors_t errors;            /* over all devices */
    gpulet_interference_t *interference;   /* owned; NULL when not fitted. Its rows carry quantiles
                                              of measured/predicted - 1 on the pairs held out */
} gpulet_fit_kind_t;

typedef struct gpulet_fit {
    size_t devices_count;
    size_t pairs_count;
    size_t train_count;                        /* pairs fitted, all devices */
    size_t held_out_count;                     /* the others */
    gpulet_fit_kind_t kinds[GPULET_FIT_KINDS]; /* by gpulet_interference_kind_t */
    gpulet_interference_kind_t best; /* of those fitted the one with the least mean error */
} gpulet_fit_t;

/* profile may be NULL: then nothing is known of utilisations. E_INVALID when there are too few
 * pairs to fit and to hold out; a kind that cannot be fitted is no error, its why_not says why.
 * Caller destroys. */
gpulet_status_t gpulet_fit_run(gpulet_fit_t **out, const gpulet_profile_t *profile,
                               const gpulet_pairs_t *pairs, const gpulet_fit_options_t *options,
                               gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_fit_destroy(gpulet_fit_t *fit); /* NULL is fine */

/* x that minimises |A·x - y|, A by rows (rows × columns), by LAPACK's QR with column pivoting.
 * E_INVALID when the columns are so near to dependent that x is not determined; *rank gets how many
 * are not. A is overwritten. */
gpulet_status_t gpulet_fit_least_squares(double *x, int *rank, double *a, const double *y,
                                         size_t rows, size_t columns) GPULET_MUST_USE;

#endif
