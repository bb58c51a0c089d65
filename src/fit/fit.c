#include "fit/fit.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "fit/internal.h"

enum { PERCENTS = 5 };

static const double percents[PERCENTS] = {50.0, 75.0, 90.0, 95.0, 99.0};

typedef gpulet_status_t (*fit_fn)(gpulet_interference_row_t *row, const fit_data_t *data,
                                  gpulet_error_t *err);
static const fit_fn fits[GPULET_FIT_KINDS] = {
    [GPULET_INTERFERENCE_LINEAR] = fit_linear,
    [GPULET_INTERFERENCE_SENSITIVITY] = fit_sensitivity,
    [GPULET_INTERFERENCE_CONSTANT] = fit_constant,
};

/* What is kept while devices are fitted one after another. */
typedef struct run {
    gpulet_fit_t *fit;
    const gpulet_profile_t *profile;
    const gpulet_fit_options_t *options;
    const gpulet_pair_t **pairs;      /* owned; sorted, then each device's shuffled */
    double *errors[GPULET_FIT_KINDS]; /* owned; of all pairs held out so far */
    double *residuals;                /* owned; scratch */
} run_t;

int fit_compare_f64(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double fit_quantile(const double *sorted, size_t count, double quantile)
{
    assert(count > 0);
    double rank = ceil((double)(count + 1) * quantile - 1e-9);
    size_t at = rank < 1.0 ? 1 : rank > (double)count ? count : (size_t)rank;
    return sorted[at - 1];
}

gpulet_interference_side_t fit_side(const fit_data_t *data, const gpulet_pair_side_t *side)
{
    const gpulet_curve_t *curve =
        data->profile == NULL
            ? NULL
            : gpulet_profile_curve(data->profile, data->device, side->model, side->units, 1);
    return (gpulet_interference_side_t){
        .model = side->model,
        .units = side->units,
        .batch = side->batch,
        .part = 1.0,
        .l2_util = curve == NULL ? NAN : gpulet_curve_l2_util(curve, side->batch),
        .dram_util = curve == NULL ? NAN : gpulet_curve_dram_util(curve, side->batch),
    };
}

/* ---- what is fitted and what is held out ---- */

/* Measurements of one key by their value, so that the order of the file does not matter. */
static int compare_pairs(const void *a, const void *b)
{
    const gpulet_pair_t *x = *(const gpulet_pair_t *const *)a;
    const gpulet_pair_t *y = *(const gpulet_pair_t *const *)b;
    int order = gpulet_pair_compare(x, y);
    return order != 0 ? order : (x->slowdown > y->slowdown) - (x->slowdown < y->slowdown);
}

static bool same_key(const gpulet_pair_t *a, const gpulet_pair_t *b)
{
    return gpulet_pair_compare(a, b) == 0;
}

/* Shuffles the keys of pairs[0 … count) and puts those to fit in front. */
static gpulet_status_t split(fit_data_t *data, const gpulet_pair_t **pairs, size_t count,
                             const gpulet_fit_options_t *options, gpulet_error_t *err)
{
    const gpulet_pair_t **copy = calloc(count, sizeof(*copy));
    size_t *starts = calloc(count + 1, sizeof(*starts));
    size_t *order = calloc(count, sizeof(*order));
    gpulet_rng_t rng;
    size_t keys = 0;
    size_t used = 0;
    gpulet_status_t st = GPULET_E_NOMEM;
    if (copy == NULL || starts == NULL || order == NULL) {
        st = gpulet_fail(err, st, "out of memory");
        goto done;
    }
    memcpy((void *)copy, (const void *)pairs, count * sizeof(*copy));
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || !same_key(copy[i - 1], copy[i]))
            starts[keys++] = i;
    }
    starts[keys] = count;
    if (keys < 2) {
        st = gpulet_fail(err, GPULET_E_INVALID,
                         "device %s: expected at least 2 different pairs, one to fit and one to "
                         "hold out, found %zu",
                         data->device, keys);
        goto done;
    }
    gpulet_rng_init(&rng, options->seed);
    for (size_t i = 0; i < keys; i++) {
        size_t at = (size_t)gpulet_rng_below(&rng, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    size_t train = (size_t)llround(options->train * (double)keys);
    train = train < 1 ? 1 : train >= keys ? keys - 1 : train;
    data->train_count = 0;
    for (size_t i = 0; i < keys; i++) {
        for (size_t k = starts[order[i]]; k < starts[order[i] + 1]; k++)
            pairs[used++] = copy[k];
        if (i + 1 == train)
            data->train_count = used;
    }
    st = GPULET_OK;
done:
    free((void *)copy);
    free(starts);
    free(order);
    return st;
}

/* ---- judging ---- */

/* Residuals of the pairs held out, ascending; their relative errors go behind those of the devices
 * before. */
static size_t judge(run_t *r, const gpulet_interference_row_t *row, const fit_data_t *data)
{
    gpulet_fit_kind_t *kind = &r->fit->kinds[row->kind];
    size_t count = 0;
    for (size_t i = data->train_count; i < data->count; i++) {
        gpulet_interference_side_t self = fit_side(data, &data->pairs[i]->self);
        gpulet_interference_side_t other = fit_side(data, &data->pairs[i]->other);
        double measured = data->pairs[i]->slowdown;
        double predicted = gpulet_interference_between(row, &self, &other);
        r->residuals[count++] = measured / predicted - 1.0;
        r->errors[row->kind][kind->errors.count++] = fabs(predicted - measured) / measured;
    }
    qsort(r->residuals, count, sizeof(*r->residuals), fit_compare_f64);
    return count;
}

static void set_residuals(gpulet_interference_row_t *row, const run_t *r, size_t count)
{
    double wanted[PERCENTS + 1];
    double asked = r->options->quantile * 100.0;
    size_t used = 0;
    bool more = true; /* the quantile asked for is still to come */
    for (size_t i = 0; i < PERCENTS; i++) {
        if (more && asked < percents[i] + 1e-9) {
            more = false;
            if (asked < percents[i] - 1e-9)
                wanted[used++] = asked;
        }
        wanted[used++] = percents[i];
    }
    if (more)
        wanted[used++] = asked;
    for (size_t i = 0; i < used; i++)
        row->residuals[row->residuals_count++] = (gpulet_interference_residual_t){
            wanted[i], fit_quantile(r->residuals, count, wanted[i] / 100.0)};
}

static gpulet_status_t fit_kind(run_t *r, gpulet_interference_kind_t k, const fit_data_t *data,
                                gpulet_error_t *err)
{
    gpulet_fit_kind_t *kind = &r->fit->kinds[k];
    gpulet_interference_row_t *row = NULL;
    gpulet_error_t why = {""};
    if (!kind->fitted)
        return GPULET_OK; /* another device could not be */
    gpulet_status_t st = gpulet_interference_add(&row, kind->interference, data->device);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "device %s: no room for its row", data->device);
    st = fits[k](row, data, &why);
    if (st == GPULET_E_INVALID) {
        kind->fitted = false;
        (void)snprintf(kind->why_not, sizeof(kind->why_not), "%s", why.text);
        return GPULET_OK;
    }
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s", why.text);
    gpulet_interference_finish(row);
    set_residuals(row, r, judge(r, row, data));
    return GPULET_OK;
}

static gpulet_status_t fit_device(run_t *r, size_t first, size_t count, gpulet_error_t *err)
{
    fit_data_t data = {
        .device = r->pairs[first]->device,
        .profile = r->profile,
        .pairs = r->pairs + first,
        .count = count,
        .quantile = r->options->quantile,
    };
    gpulet_status_t st = split(&data, r->pairs + first, count, r->options, err);
    for (int k = 0; st == GPULET_OK && k < GPULET_FIT_KINDS; k++)
        st = fit_kind(r, (gpulet_interference_kind_t)k, &data, err);
    r->fit->devices_count++;
    r->fit->train_count += data.train_count;
    r->fit->held_out_count += count - data.train_count;
    return st;
}

static void sum_up(run_t *r)
{
    double least = INFINITY;
    for (int k = 0; k < GPULET_FIT_KINDS; k++) {
        gpulet_fit_kind_t *kind = &r->fit->kinds[k];
        gpulet_fit_errors_t *e = &kind->errors;
        double *errors = r->errors[k];
        double sum = 0.0;
        if (!kind->fitted) {
            gpulet_interference_destroy(kind->interference);
            kind->interference = NULL;
            *e = (gpulet_fit_errors_t){0, NAN, NAN, NAN, NAN};
            continue;
        }
        for (size_t i = 0; i < e->count; i++)
            sum += errors[i];
        qsort(errors, e->count, sizeof(*errors), fit_compare_f64);
        e->mean = sum / (double)e->count;
        e->p50 = errors[(e->count - 1) / 2];
        e->p90 = errors[(size_t)ceil(0.90 * (double)e->count) - 1];
        e->p95 = errors[(size_t)ceil(0.95 * (double)e->count) - 1];
        if (e->mean < least) {
            least = e->mean;
            r->fit->best = (gpulet_interference_kind_t)k;
        }
    }
}

static gpulet_status_t run_init(run_t *r, const gpulet_pairs_t *pairs)
{
    r->fit = calloc(1, sizeof(*r->fit));
    r->pairs = calloc(pairs->count + 1, sizeof(*r->pairs));
    r->residuals = calloc(pairs->count + 1, sizeof(*r->residuals));
    if (r->fit == NULL || r->pairs == NULL || r->residuals == NULL)
        return GPULET_E_NOMEM;
    for (int k = 0; k < GPULET_FIT_KINDS; k++) {
        r->errors[k] = calloc(pairs->count + 1, sizeof(*r->errors[k]));
        r->fit->kinds[k].fitted = true;
        if (r->errors[k] == NULL ||
            gpulet_interference_create(&r->fit->kinds[k].interference,
                                       (gpulet_interference_kind_t)k) != GPULET_OK)
            return GPULET_E_NOMEM;
    }
    r->fit->pairs_count = pairs->count;
    for (size_t i = 0; i < pairs->count; i++)
        r->pairs[i] = &pairs->items[i];
    qsort((void *)r->pairs, pairs->count, sizeof(*r->pairs), compare_pairs);
    return GPULET_OK;
}

gpulet_status_t gpulet_fit_run(gpulet_fit_t **out, const gpulet_profile_t *profile,
                               const gpulet_pairs_t *pairs, const gpulet_fit_options_t *options,
                               gpulet_error_t *err)
{
    run_t r = {.profile = profile, .options = options};
    assert(options->train > 0.0 && options->train < 1.0);
    assert(options->quantile > 0.0 && options->quantile < 1.0);
    if (pairs->count == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "expected pairs, found none");
    gpulet_status_t st = run_init(&r, pairs);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    for (size_t i = 0; st == GPULET_OK && i < pairs->count;) {
        size_t count = 1;
        while (i + count < pairs->count &&
               strcmp(r.pairs[i]->device, r.pairs[i + count]->device) == 0)
            count++;
        st = fit_device(&r, i, count, err);
        i += count;
    }
    if (st == GPULET_OK) {
        sum_up(&r);
        *out = r.fit;
    } else {
        gpulet_fit_destroy(r.fit);
    }
    for (int k = 0; k < GPULET_FIT_KINDS; k++)
        free(r.errors[k]);
    free((void *)r.pairs);
    free(r.residuals);
    return st;
}

void gpulet_fit_destroy(gpulet_fit_t *fit)
{
    if (fit == NULL)
        return;
    for (int k = 0; k < GPULET_FIT_KINDS; k++)
        gpulet_interference_destroy(fit->kinds[k].interference);
    free(fit);
}
