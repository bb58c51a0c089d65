/* For the files of fit/ alone. */
#ifndef GPULET_FIT_INTERNAL_H
#define GPULET_FIT_INTERNAL_H

#include "fit/fit.h"

/* The pairs of one device type, those to fit in front. All borrowed. */
typedef struct fit_data {
    const char *device;
    const gpulet_profile_t *profile; /* may be NULL */
    const gpulet_pair_t *const *pairs;
    size_t train_count;
    size_t count;
    double quantile;
} fit_data_t;

/* Each fills the row from the first train_count pairs. E_INVALID: cannot be fitted, err says why.
 */
gpulet_status_t fit_linear(gpulet_interference_row_t *row, const fit_data_t *data,
                           gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t fit_sensitivity(gpulet_interference_row_t *row, const fit_data_t *data,
                                gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t fit_constant(gpulet_interference_row_t *row, const fit_data_t *data,
                             gpulet_error_t *err) GPULET_MUST_USE;

/* One side with what the profile knows of it; utilisations are NAN where it knows nothing. */
gpulet_interference_side_t fit_side(const fit_data_t *data, const gpulet_pair_side_t *side);

/* The value of rank ⌈(n+1)·q⌉ of n ascending ones, the last where there are too few for that: a new
 * value drawn like these exceeds it in at most 1-q of cases (split conformal prediction, Vovk et
 * al. 2005). */
double fit_quantile(const double *sorted, size_t count, double quantile);
int fit_compare_f64(const void *a, const void *b);

#endif
