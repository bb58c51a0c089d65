/* The sensitivity kind: slowdown - 1 = sensitivity(self) · pressure(other), a matrix of rank one of
 * which the measured pairs are some entries. Alternating least squares: with the pressures fixed
 * the best sensitivities have a closed form, and the other way round. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fit/internal.h"

enum { ROUNDS_MAX = 2000, ROUNDS_CHOOSE = 200, FOLDS = 4, PRIORS = 6 };

/* Every value is drawn to the average of its sort as if by this many more measurements: what was
 * seen in few pairs stays sane, and parts of the matrix that share no model have one scale. How
 * many depends on the noise, so it is chosen by cross-validation among the pairs to fit. */
static const double priors[PRIORS] = {0.001, 0.03, 0.3, 1.0, 4.0, 16.0};
static const double SETTLED = 1e-13;

/* The distinct sides of one role, sorted. */
typedef struct sides {
    size_t count;
    const gpulet_pair_side_t **items;
    double *values; /* sensitivities, or pressures */
    double *above;  /* sums of a round */
    double *below;
} sides_t;

typedef struct entry {
    size_t self;
    size_t other;
    double excess; /* slowdown - 1 */
} entry_t;

static int compare_sides(const void *a, const void *b)
{
    const gpulet_pair_side_t *x = *(const gpulet_pair_side_t *const *)a;
    const gpulet_pair_side_t *y = *(const gpulet_pair_side_t *const *)b;
    int order = strcmp(x->model, y->model);
    if (order == 0)
        order = (x->units > y->units) - (x->units < y->units);
    return order != 0 ? order : (x->batch > y->batch) - (x->batch < y->batch);
}

static bool sides_init(sides_t *s, const fit_data_t *data, bool other)
{
    size_t n = data->train_count;
    s->items = calloc(n, sizeof(*s->items));
    s->values = calloc(3 * n, sizeof(*s->values));
    if (s->items == NULL || s->values == NULL)
        return false;
    s->above = s->values + n;
    s->below = s->values + 2 * n;
    for (size_t i = 0; i < n; i++)
        s->items[i] = other ? &data->pairs[i]->other : &data->pairs[i]->self;
    qsort((void *)s->items, n, sizeof(*s->items), compare_sides);
    for (size_t i = 0; i < n; i++) {
        if (s->count == 0 || compare_sides(&s->items[s->count - 1], &s->items[i]) != 0)
            s->items[s->count++] = s->items[i];
    }
    return true;
}

static void sides_deinit(sides_t *s)
{
    free((void *)s->items);
    free(s->values);
}

static size_t find(const sides_t *s, const gpulet_pair_side_t *side)
{
    const gpulet_pair_side_t *const *at = bsearch((const void *)&side, (const void *)s->items,
                                                  s->count, sizeof(*s->items), compare_sides);
    return (size_t)(at - (const gpulet_pair_side_t *const *)s->items);
}

static double mean_of(const sides_t *s)
{
    double sum = 0.0;
    for (size_t i = 0; i < s->count; i++)
        sum += s->values[i];
    return sum / (double)s->count;
}

/* The best values of one role with the other's fixed, none below 0. Returns the largest change. */
static double improve(sides_t *now, const sides_t *fixed, const entry_t *entries, size_t count,
                      bool other, double prior)
{
    double mean = mean_of(now);
    double weight = mean_of(fixed);
    double change = 0.0;
    weight *= prior * weight;
    for (size_t i = 0; i < now->count; i++) {
        now->above[i] = weight * mean;
        now->below[i] = weight;
    }
    for (size_t i = 0; i < count; i++) {
        size_t at = other ? entries[i].other : entries[i].self;
        double value = fixed->values[other ? entries[i].self : entries[i].other];
        now->above[at] += value * entries[i].excess;
        now->below[at] += value * value;
    }
    for (size_t i = 0; i < now->count; i++) {
        double value = now->below[i] > 0.0 ? fmax(0.0, now->above[i] / now->below[i]) : mean;
        change = fmax(change, fabs(value - now->values[i]));
        now->values[i] = value;
    }
    return change;
}

static void alternate(sides_t *self, sides_t *other, const entry_t *entries, size_t count,
                      double prior, int rounds)
{
    double sum = 0.0;
    for (size_t i = 0; i < count; i++)
        sum += entries[i].excess;
    for (size_t i = 0; i < self->count; i++)
        self->values[i] = fmax(0.0, sum / (double)count);
    for (size_t i = 0; i < other->count; i++)
        other->values[i] = 1.0;
    for (int round = 0; round < rounds; round++) {
        double change = improve(self, other, entries, count, false, prior);
        double before = mean_of(self);
        change = fmax(change, improve(other, self, entries, count, true, prior) * before);
        double scale = mean_of(other);
        if (!(scale > 0.0))
            break; /* nobody disturbs anybody */
        /* Only the product means something: the average neighbour presses with 1. */
        for (size_t i = 0; i < other->count; i++)
            other->values[i] /= scale;
        for (size_t i = 0; i < self->count; i++)
            self->values[i] *= scale;
        if (change <= SETTLED)
            break;
    }
}

/* Σ of relative errors on every fold, fitted on the others. scratch has room for all entries. */
static double fold_error(sides_t *self, sides_t *other, entry_t *scratch, const entry_t *entries,
                         size_t count, double prior)
{
    double sum = 0.0;
    for (size_t fold = 0; fold < FOLDS; fold++) {
        size_t used = 0;
        for (size_t i = 0; i < count; i++) {
            if (i % FOLDS != fold)
                scratch[used++] = entries[i];
        }
        alternate(self, other, scratch, used, prior, ROUNDS_CHOOSE);
        for (size_t i = fold; i < count; i += FOLDS) {
            double found = 1.0 + self->values[entries[i].self] * other->values[entries[i].other];
            double measured = 1.0 + entries[i].excess;
            sum += fabs(found - measured) / measured;
        }
    }
    return sum;
}

static double choose_prior(sides_t *self, sides_t *other, entry_t *scratch, const entry_t *entries,
                           size_t count)
{
    double best = priors[PRIORS / 2];
    double least = INFINITY;
    for (int i = 0; i < PRIORS && count >= (size_t)2 * FOLDS; i++) { /* fewer tell nothing */
        double error = fold_error(self, other, scratch, entries, count, priors[i]);
        if (error < least) {
            least = error;
            best = priors[i];
        }
    }
    return best;
}

static gpulet_status_t add(gpulet_interference_row_t *row, const gpulet_pair_side_t *side,
                           double sensitivity, double pressure)
{
    gpulet_interference_point_t point = {side->batch, sensitivity, pressure};
    return gpulet_interference_add_point(row, side->model, side->units, &point);
}

/* Both lists are sorted: one walk merges what is known of a side in either role. */
static gpulet_status_t write(gpulet_interference_row_t *row, const sides_t *self,
                             const sides_t *other)
{
    size_t i = 0;
    size_t k = 0;
    gpulet_status_t st = GPULET_OK;
    while (st == GPULET_OK && (i < self->count || k < other->count)) {
        int order = i == self->count    ? 1
                    : k == other->count ? -1
                                        : compare_sides(&self->items[i], &other->items[k]);
        if (order < 0)
            st = add(row, self->items[i], self->values[i], NAN);
        else if (order > 0)
            st = add(row, other->items[k], NAN, other->values[k]);
        else
            st = add(row, self->items[i], self->values[i], other->values[k]);
        i += order <= 0 ? 1 : 0;
        k += order >= 0 ? 1 : 0;
    }
    return st;
}

static double bound_of(double *scratch, const fit_data_t *data)
{
    for (size_t i = 0; i < data->train_count; i++)
        scratch[i] = data->pairs[i]->slowdown;
    qsort(scratch, data->train_count, sizeof(*scratch), fit_compare_f64);
    return fmax(1.0, fit_quantile(scratch, data->train_count, data->quantile));
}

gpulet_status_t fit_sensitivity(gpulet_interference_row_t *row, const fit_data_t *data,
                                gpulet_error_t *err)
{
    sides_t self = {0};
    sides_t other = {0};
    gpulet_status_t st = GPULET_E_NOMEM;
    entry_t *entries = calloc(2 * data->train_count, sizeof(*entries));
    double *scratch = calloc(data->train_count, sizeof(*scratch));
    if (entries == NULL || scratch == NULL || !sides_init(&self, data, false) ||
        !sides_init(&other, data, true))
        goto done;
    for (size_t i = 0; i < data->train_count; i++)
        entries[i] =
            (entry_t){find(&self, &data->pairs[i]->self), find(&other, &data->pairs[i]->other),
                      data->pairs[i]->slowdown - 1.0};
    double prior =
        choose_prior(&self, &other, entries + data->train_count, entries, data->train_count);
    alternate(&self, &other, entries, data->train_count, prior, ROUNDS_MAX);
    row->bound = bound_of(scratch, data);
    st = write(row, &self, &other);
done:
    free(entries);
    free(scratch);
    sides_deinit(&self);
    sides_deinit(&other);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "out of memory");
}
