#include "sim/truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAP_SIZE_FIRST = 256 };

typedef struct point {
    uint32_t self_batch;
    uint32_t other_batch;
    double slowdown;
} point_t;

/* What was measured of two curves: same models, sizes nearest. */
typedef struct entry {
    uint64_t key; /* self's id and other's, plus one; 0: free */
    uint32_t count;
    point_t *points; /* owned */
} entry_t;

struct sim_truth {
    const gpulet_interference_t *interference; /* borrowed; used without pairs */
    const sim_curves_t *curves;
    size_t pairs_count;
    gpulet_pair_t *pairs; /* a copy, sorted; equal ones made one by their mean */
    entry_t *map;         /* open addressing; a power of two */
    size_t map_size;
    size_t map_used;
};

void sim_truth_destroy(sim_truth_t *truth)
{
    if (truth == NULL)
        return;
    for (size_t i = 0; truth->map != NULL && i < truth->map_size; i++)
        free(truth->map[i].points);
    free(truth->pairs);
    free(truth->map);
    free(truth);
}

/* A pair that was measured several times counts once, with the mean. */
static size_t merge_equal(gpulet_pair_t *pairs, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count;) {
        size_t end = i;
        double sum = 0;
        while (end < count && gpulet_pair_compare(&pairs[i], &pairs[end]) == 0)
            sum += pairs[end++].slowdown;
        pairs[kept] = pairs[i];
        pairs[kept++].slowdown = sum / (double)(end - i);
        i = end;
    }
    return kept;
}

gpulet_status_t sim_truth_create(sim_truth_t **out, const gpulet_pairs_t *pairs,
                                 const gpulet_interference_t *interference,
                                 const sim_curves_t *curves)
{
    sim_truth_t *truth = calloc(1, sizeof(*truth));
    if (truth == NULL)
        return GPULET_E_NOMEM;
    truth->interference = interference;
    truth->curves = curves;
    truth->map_size = MAP_SIZE_FIRST;
    truth->map = calloc(truth->map_size, sizeof(*truth->map));
    if (pairs != NULL)
        truth->pairs = reallocarray(NULL, pairs->count + 1, sizeof(*truth->pairs));
    if (truth->map == NULL || (pairs != NULL && truth->pairs == NULL)) {
        sim_truth_destroy(truth);
        return GPULET_E_NOMEM;
    }
    if (pairs != NULL && pairs->count > 0) {
        memcpy(truth->pairs, pairs->items, pairs->count * sizeof(*truth->pairs));
        qsort(truth->pairs, pairs->count, sizeof(*truth->pairs), gpulet_pair_compare);
        truth->pairs_count = merge_equal(truth->pairs, pairs->count);
    }
    *out = truth;
    return GPULET_OK;
}

/* ---- which rows belong to two curves ---- */

static uint32_t apart(uint32_t a, uint32_t b)
{
    return a > b ? a - b : b - a;
}

/* The row that says best how long the pair is beside one another: of the models, on the device, of
 * the sizes nearest to theirs. NULL: there is none. */
static const gpulet_pair_t *find_nearest(const sim_truth_t *truth, const sim_curve_t *self,
                                         const sim_curve_t *other)
{
    const gpulet_pair_t *best = NULL;
    uint32_t best_distance = 0;
    const char *device = truth->curves->devices->types[self->type].name;
    for (size_t i = 0; i < truth->pairs_count; i++) {
        const gpulet_pair_t *p = &truth->pairs[i];
        if (strcmp(p->device, device) != 0 ||
            strcmp(p->self.model, truth->curves->workload->demands[self->model].model) != 0 ||
            strcmp(p->other.model, truth->curves->workload->demands[other->model].model) != 0)
            continue;
        uint32_t distance = apart(p->self.units, self->units) + apart(p->other.units, other->units);
        if (best == NULL || distance < best_distance) {
            best = p;
            best_distance = distance;
        }
    }
    return best;
}

static bool same_curves(const gpulet_pair_t *a, const gpulet_pair_t *b)
{
    return strcmp(a->device, b->device) == 0 && strcmp(a->self.model, b->self.model) == 0 &&
           a->self.units == b->self.units && strcmp(a->other.model, b->other.model) == 0 &&
           a->other.units == b->other.units;
}

/* Copies the rows of the two curves; they come sorted by self's batch, then the other's. */
static gpulet_status_t gather(entry_t *out, const sim_truth_t *truth, const gpulet_pair_t *like)
{
    uint32_t count = 0;
    for (size_t i = 0; i < truth->pairs_count; i++)
        count += same_curves(&truth->pairs[i], like);
    out->points = calloc(count, sizeof(*out->points));
    if (out->points == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < truth->pairs_count; i++) {
        const gpulet_pair_t *p = &truth->pairs[i];
        if (same_curves(p, like))
            out->points[out->count++] = (point_t){p->self.batch, p->other.batch, p->slowdown};
    }
    return GPULET_OK;
}

/* ---- the map from two curves to their rows ---- */

/* Where the key is, or would be put. */
static entry_t *place(entry_t *map, size_t size, uint64_t key)
{
    size_t at = (key * 0x9e3779b97f4a7c15U) & (size - 1);
    while (map[at].key != 0 && map[at].key != key)
        at = (at + 1) & (size - 1);
    return &map[at];
}

static gpulet_status_t grow(sim_truth_t *truth)
{
    size_t size = truth->map_size * 2;
    entry_t *map = calloc(size, sizeof(*map));
    if (map == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < truth->map_size; i++) {
        if (truth->map[i].key != 0)
            *place(map, size, truth->map[i].key) = truth->map[i];
    }
    free(truth->map);
    truth->map = map;
    truth->map_size = size;
    return GPULET_OK;
}

static gpulet_status_t resolve(const entry_t **out, sim_truth_t *truth, const sim_curve_t *self,
                               const sim_curve_t *other, gpulet_error_t *err)
{
    uint64_t key = ((uint64_t)self->id << 32 | other->id) + 1;
    entry_t *entry = place(truth->map, truth->map_size, key);
    if (entry->key == key) {
        *out = entry;
        return GPULET_OK;
    }
    const gpulet_pair_t *like = find_nearest(truth, self, other);
    if (like == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "the measured pairs have no row of model %s beside %s on %s",
                           truth->curves->workload->demands[self->model].model,
                           truth->curves->workload->demands[other->model].model,
                           truth->curves->devices->types[self->type].name);
    entry_t made = {.key = key};
    gpulet_status_t st = gather(&made, truth, like);
    if (st == GPULET_OK && 2 * ++truth->map_used > truth->map_size)
        st = grow(truth);
    if (st != GPULET_OK) {
        free(made.points);
        return gpulet_fail(err, st, "out of memory");
    }
    entry = place(truth->map, truth->map_size, key);
    *entry = made;
    *out = entry;
    return GPULET_OK;
}

/* ---- reading between rows ---- */

static double part_of(uint32_t low, uint32_t high, uint32_t at)
{
    return high == low ? 0 : (double)(at - low) / (double)(high - low);
}

/* Along the rows [first, end) of one batch of self. */
static double along(const point_t *points, uint32_t first, uint32_t end, uint32_t other_batch)
{
    uint32_t high = first;
    while (high < end && points[high].other_batch < other_batch)
        high++;
    if (high == end)
        return points[end - 1].slowdown;
    if (high == first)
        return points[first].slowdown;
    const point_t *low = &points[high - 1];
    double part = part_of(low->other_batch, points[high].other_batch, other_batch);
    return low->slowdown + (points[high].slowdown - low->slowdown) * part;
}

static uint32_t end_of_row(const entry_t *e, uint32_t first)
{
    uint32_t end = first;
    while (end < e->count && e->points[end].self_batch == e->points[first].self_batch)
        end++;
    return end;
}

static double read_pairs(const entry_t *e, uint32_t self_batch, uint32_t other_batch)
{
    uint32_t low = 0;
    uint32_t high = 0;
    while (high < e->count && e->points[high].self_batch < self_batch) {
        low = high;
        high = end_of_row(e, high);
    }
    double below = along(e->points, low, end_of_row(e, low), other_batch);
    if (high == e->count || high == low)
        return below;
    double above = along(e->points, high, end_of_row(e, high), other_batch);
    return below + (above - below) *
                       part_of(e->points[low].self_batch, e->points[high].self_batch, self_batch);
}

/* ---- a fitted interference ---- */

static gpulet_interference_side_t side_of(const sim_truth_t *truth, const sim_curve_t *curve,
                                          uint32_t batch)
{
    uint32_t min = gpulet_curve_batch_min(curve->profile);
    uint32_t max = gpulet_curve_batch_max(curve->profile);
    gpulet_interference_side_t side =
        gpulet_interference_side(curve->profile,
                                 batch < min   ? min
                                 : batch > max ? max
                                               : batch,
                                 truth->curves->devices->types[curve->type].units);
    side.units = curve->units;
    return side;
}

static gpulet_status_t read_interference(double *out, const sim_truth_t *truth,
                                         const sim_curve_t *self, uint32_t self_batch,
                                         const sim_curve_t *other, uint32_t other_batch,
                                         gpulet_error_t *err)
{
    const gpulet_interference_row_t *row = gpulet_interference_find(
        truth->interference, truth->curves->devices->types[self->type].name);
    *out = 1;
    if (row == NULL)
        return GPULET_OK;
    gpulet_interference_side_t a = side_of(truth, self, self_batch);
    gpulet_interference_side_t b = side_of(truth, other, other_batch);
    double factor = gpulet_interference_between(row, &a, &b);
    if (isnan(factor))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "the profile has no utilisation of %s beside %s, which the true "
                           "interference needs",
                           a.model, b.model);
    *out = factor;
    return GPULET_OK;
}

gpulet_status_t sim_truth_factor(double *out, sim_truth_t *truth, const sim_curve_t *self,
                                 uint32_t self_batch, const sim_curve_t *other,
                                 uint32_t other_batch, gpulet_error_t *err)
{
    const entry_t *entry = NULL;
    *out = 1;
    if (truth->pairs == NULL && truth->interference == NULL)
        return GPULET_OK;
    if (truth->pairs == NULL)
        return read_interference(out, truth, self, self_batch, other, other_batch, err);
    gpulet_status_t st = resolve(&entry, truth, self, other, err);
    if (st == GPULET_OK)
        *out = read_pairs(entry, self_batch, other_batch);
    return st;
}
