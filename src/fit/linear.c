/* The linear and the constant kind: least squares. */
#include <math.h>
#include <stdlib.h>

#include <lapacke.h>

#include "fit/internal.h"

enum { COLUMNS = 5 };

/* Utilisations are measured to a percent or so: columns that are nearer to dependent than this are
 * not told apart by them. */
static const double CONDITION = 1e-6;

gpulet_status_t gpulet_fit_least_squares(double *x, int *rank, double *a, const double *y,
                                         size_t rows, size_t columns)
{
    lapack_int found = 0;
    lapack_int *pivots = calloc(columns, sizeof(*pivots));
    size_t most = rows > columns ? rows : columns;
    double *right = calloc(most, sizeof(*right)); /* y in, x out: the longer of the two */
    gpulet_status_t st = GPULET_E_NOMEM;
    if (pivots == NULL || right == NULL)
        goto done;
    for (size_t i = 0; i < rows; i++)
        right[i] = y[i];
    if (LAPACKE_dgelsy(LAPACK_ROW_MAJOR, (lapack_int)rows, (lapack_int)columns, 1, a,
                       (lapack_int)columns, right, 1, pivots, CONDITION, &found) != 0) {
        st = GPULET_E_INVALID;
        goto done;
    }
    *rank = (int)found;
    st = (size_t)found == columns ? GPULET_OK : GPULET_E_INVALID;
    for (size_t i = 0; st == GPULET_OK && i < columns; i++)
        x[i] = right[i];
done:
    free(pivots);
    free(right);
    return st;
}

static gpulet_status_t check_side(const fit_data_t *data, const gpulet_pair_side_t *side,
                                  const gpulet_interference_side_t *known, gpulet_error_t *err)
{
    if (!isnan(known->l2_util) && !isnan(known->dram_util))
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID,
                       "the profile has no %s of %s on %s (units %u, batch %u), which linear "
                       "coefficients need",
                       isnan(known->l2_util) ? "l2_util" : "dram_util", side->model, data->device,
                       side->units, side->batch);
}

static gpulet_status_t fill(double *a, double *y, const fit_data_t *data, gpulet_error_t *err)
{
    for (size_t i = 0; i < data->count; i++) {
        const gpulet_pair_t *pair = data->pairs[i];
        gpulet_interference_side_t self = fit_side(data, &pair->self);
        gpulet_interference_side_t other = fit_side(data, &pair->other);
        gpulet_status_t st = check_side(data, &pair->self, &self, err);
        if (st == GPULET_OK)
            st = check_side(data, &pair->other, &other, err);
        if (st != GPULET_OK)
            return st;
        if (i >= data->train_count)
            continue; /* held out: it only has to be known */
        double *row = &a[i * COLUMNS];
        row[0] = self.l2_util;
        row[1] = other.l2_util;
        row[2] = self.dram_util;
        row[3] = other.dram_util;
        row[4] = 1.0;
        y[i] = pair->slowdown;
    }
    return GPULET_OK;
}

gpulet_status_t fit_linear(gpulet_interference_row_t *row, const fit_data_t *data,
                           gpulet_error_t *err)
{
    double x[COLUMNS];
    int rank = 0;
    double *a = calloc(data->train_count * COLUMNS + 1, sizeof(*a));
    double *y = calloc(data->train_count + 1, sizeof(*y));
    gpulet_status_t st = GPULET_E_NOMEM;
    if (a == NULL || y == NULL) {
        st = gpulet_fail(err, st, "out of memory");
        goto done;
    }
    if ((st = fill(a, y, data, err)) != GPULET_OK)
        goto done;
    if (data->train_count < COLUMNS) {
        st = gpulet_fail(err, GPULET_E_INVALID,
                         "device %s: %zu pairs to fit, five coefficients need at least %d",
                         data->device, data->train_count, COLUMNS);
        goto done;
    }
    st = gpulet_fit_least_squares(x, &rank, a, y, data->train_count, COLUMNS);
    if (st == GPULET_E_INVALID)
        (void)gpulet_fail(err, st,
                          "device %s: the utilisations of these pairs are collinear (rank %d of "
                          "%d): more different models, batches or sizes are needed",
                          data->device, rank, COLUMNS);
    if (st != GPULET_OK)
        goto done;
    row->l2_self = x[0];
    row->l2_other = x[1];
    row->dram_self = x[2];
    row->dram_other = x[3];
    row->constant = x[4];
done:
    free(a);
    free(y);
    return st;
}

gpulet_status_t fit_constant(gpulet_interference_row_t *row, const fit_data_t *data,
                             gpulet_error_t *err)
{
    double sum = 0.0;
    (void)err;
    for (size_t i = 0; i < data->train_count; i++)
        sum += data->pairs[i]->slowdown;
    row->constant = fmax(1.0, sum / (double)data->train_count);
    return GPULET_OK;
}
