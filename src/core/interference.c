#include "core/interference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 4096, POINTS_MAX = 1000000 };

/* A sensitivity so small that its bound would ask for more is taken for none. */
static const double PRESSURE_LIMIT = 1e12;

static const char *const kind_names[] = {"linear", "sensitivity", "constant"};
enum { KINDS = sizeof(kind_names) / sizeof(kind_names[0]) };

const char *gpulet_interference_kind_name(gpulet_interference_kind_t kind)
{
    return kind_names[kind];
}

bool gpulet_interference_kind_find(gpulet_interference_kind_t *out, const char *name)
{
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *out = (gpulet_interference_kind_t)i;
            return true;
        }
    }
    return false;
}

gpulet_status_t gpulet_interference_create(gpulet_interference_t **out,
                                           gpulet_interference_kind_t kind)
{
    gpulet_interference_t *interference = calloc(1, sizeof(*interference));
    if (interference == NULL)
        return GPULET_E_NOMEM;
    interference->kind = kind;
    *out = interference;
    return GPULET_OK;
}

void gpulet_interference_destroy(gpulet_interference_t *interference)
{
    if (interference == NULL)
        return;
    for (size_t i = 0; i < interference->count; i++) {
        for (size_t k = 0; k < interference->rows[i].curves_count; k++)
            free(interference->rows[i].curves[k].points);
        free(interference->rows[i].curves);
    }
    free(interference->rows);
    free(interference);
}

static gpulet_interference_row_t *find_row(const gpulet_interference_t *interference,
                                           const char *device)
{
    for (size_t i = 0; i < interference->count; i++) {
        if (strcmp(interference->rows[i].device, device) == 0)
            return &interference->rows[i];
    }
    return NULL;
}

const gpulet_interference_row_t *gpulet_interference_find(const gpulet_interference_t *interference,
                                                          const char *device)
{
    return find_row(interference, device);
}

gpulet_status_t gpulet_interference_add(gpulet_interference_row_t **row,
                                        gpulet_interference_t *interference, const char *device)
{
    size_t len = strlen(device);
    if (find_row(interference, device) != NULL)
        return GPULET_E_EXISTS;
    if (interference->count == ROWS_MAX || len > GPULET_DEVICE_NAME_MAX)
        return GPULET_E_TOO_LARGE;
    gpulet_interference_row_t *grown =
        reallocarray(interference->rows, interference->count + 1, sizeof(*grown));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    interference->rows = grown;
    *row = &grown[interference->count++];
    **row = (gpulet_interference_row_t){.kind = interference->kind, .bound = 1.0};
    memcpy((*row)->device, device, len + 1);
    return GPULET_OK;
}

/* ---- curves of a sensitivity row ---- */

/* Index of the curve, or where it would stand; *found says which. */
static size_t curve_index(const gpulet_interference_row_t *row, const char *model, uint32_t units,
                          bool *found)
{
    size_t low = 0;
    size_t high = row->curves_count;
    *found = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(row->curves[mid].model, model);
        if (order == 0)
            order = row->curves[mid].units < units ? -1 : row->curves[mid].units > units;
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static gpulet_status_t insert_curve(gpulet_interference_row_t *row, size_t at, const char *model,
                                    uint32_t units)
{
    size_t len = strlen(model);
    if (len > GPULET_PROFILE_NAME_MAX || row->curves_count >= POINTS_MAX)
        return GPULET_E_TOO_LARGE;
    gpulet_interference_curve_t *grown =
        reallocarray(row->curves, row->curves_count + 1, sizeof(*grown));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    row->curves = grown;
    memmove(&grown[at + 1], &grown[at], (row->curves_count - at) * sizeof(*grown));
    row->curves_count++;
    grown[at] = (gpulet_interference_curve_t){.units = units};
    memcpy(grown[at].model, model, len + 1);
    return GPULET_OK;
}

static gpulet_status_t insert_point(gpulet_interference_curve_t *curve,
                                    const gpulet_interference_point_t *point)
{
    size_t at = curve->points_count;
    while (at > 0 && curve->points[at - 1].batch >= point->batch)
        at--;
    if (at < curve->points_count && curve->points[at].batch == point->batch)
        return GPULET_E_EXISTS;
    gpulet_interference_point_t *grown =
        reallocarray(curve->points, curve->points_count + 1, sizeof(*grown));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    curve->points = grown;
    memmove(&grown[at + 1], &grown[at], (curve->points_count - at) * sizeof(*grown));
    grown[at] = *point;
    curve->points_count++;
    return GPULET_OK;
}

gpulet_status_t gpulet_interference_add_point(gpulet_interference_row_t *row, const char *model,
                                              uint32_t units,
                                              const gpulet_interference_point_t *point)
{
    bool found;
    size_t at = curve_index(row, model, units, &found);
    gpulet_status_t st = found ? GPULET_OK : insert_curve(row, at, model, units);
    return st == GPULET_OK ? insert_point(&row->curves[at], point) : st;
}

static double cap_of(const gpulet_interference_row_t *row, double sensitivity)
{
    return fmax(row->bound, 1.0 + sensitivity * row->pressure_most);
}

/* What is not in the file presses so hard that whoever feels anything meets its cap. */
void gpulet_interference_finish(gpulet_interference_row_t *row)
{
    double least = INFINITY; /* sensitivity above 0 */
    row->pressure_most = 0.0;
    for (size_t i = 0; i < row->curves_count; i++) {
        for (size_t k = 0; k < row->curves[i].points_count; k++) {
            const gpulet_interference_point_t *p = &row->curves[i].points[k];
            if (p->pressure > row->pressure_most)
                row->pressure_most = p->pressure;
            if (p->sensitivity > 0.0 && p->sensitivity < least)
                least = p->sensitivity;
        }
    }
    row->pressure_unknown =
        fmax(row->pressure_most, fmin((row->bound - 1.0) / least, PRESSURE_LIMIT));
}

typedef enum field { FIELD_SENSITIVITY, FIELD_PRESSURE } field_t;

static double field_of(const gpulet_interference_point_t *point, field_t field)
{
    return field == FIELD_SENSITIVITY ? point->sensitivity : point->pressure;
}

/* Linear between measured batches; beyond them the largest that was measured, which errs on the
 * safe side. NAN when nothing was. */
static double curve_read(const gpulet_interference_row_t *row,
                         const gpulet_interference_side_t *side, field_t field)
{
    bool found;
    size_t at = curve_index(row, side->model, side->units, &found);
    const gpulet_interference_point_t *below = NULL;
    bool between = true; /* false: the batch is below all that were measured */
    double most = NAN;
    for (size_t i = 0; found && i < row->curves[at].points_count; i++) {
        const gpulet_interference_point_t *p = &row->curves[at].points[i];
        double value = field_of(p, field);
        if (isnan(value))
            continue;
        if (p->batch == side->batch)
            return value;
        if (p->batch > side->batch && below != NULL && between) {
            double part = (double)(side->batch - below->batch) / (double)(p->batch - below->batch);
            return field_of(below, field) * (1.0 - part) + value * part;
        }
        between = between && p->batch < side->batch;
        most = fmax(most, value);
        below = p;
    }
    return most;
}

/* ---- factors ---- */

gpulet_interference_side_t gpulet_interference_side(const gpulet_curve_t *curve, uint32_t batch,
                                                    uint32_t units_total)
{
    return (gpulet_interference_side_t){
        .model = curve->model,
        .units = curve->units,
        .batch = batch,
        .part = (double)curve->units / (double)units_total,
        .l2_util = gpulet_curve_l2_util(curve, batch),
        .dram_util = gpulet_curve_dram_util(curve, batch),
    };
}

double gpulet_interference_factor(const gpulet_interference_row_t *row, double l2_self,
                                  double dram_self, double l2_other, double dram_other)
{
    double factor = row->l2_self * l2_self + row->l2_other * l2_other + row->dram_self * dram_self +
                    row->dram_other * dram_other + row->constant;
    if (isnan(factor))
        return factor;
    return (1.0 + row->excess) * fmax(1.0, factor);
}

static double part_of(const gpulet_interference_row_t *row, const gpulet_interference_side_t *side)
{
    return row->utilisation_scaled ? side->part : 1.0;
}

static double sensitivity_between(const gpulet_interference_row_t *row,
                                  const gpulet_interference_side_t *self,
                                  const gpulet_interference_side_t *other)
{
    double sensitivity = curve_read(row, self, FIELD_SENSITIVITY);
    double pressure = curve_read(row, other, FIELD_PRESSURE);
    if (isnan(sensitivity))
        return (1.0 + row->excess) * row->bound;
    if (isnan(pressure))
        pressure = row->pressure_unknown;
    return (1.0 + row->excess) * fmin(1.0 + sensitivity * pressure, cap_of(row, sensitivity));
}

double gpulet_interference_between(const gpulet_interference_row_t *row,
                                   const gpulet_interference_side_t *self,
                                   const gpulet_interference_side_t *other)
{
    double of_self = part_of(row, self);
    double of_other = part_of(row, other);
    if (row->kind == GPULET_INTERFERENCE_SENSITIVITY)
        return sensitivity_between(row, self, other);
    if (row->kind == GPULET_INTERFERENCE_CONSTANT)
        return (1.0 + row->excess) * fmax(1.0, row->constant);
    return gpulet_interference_factor(row, of_self * self->l2_util, of_self * self->dram_util,
                                      of_other * other->l2_util, of_other * other->dram_util);
}

gpulet_interference_response_t gpulet_interference_response(const gpulet_interference_row_t *row,
                                                            const gpulet_interference_side_t *self)
{
    gpulet_interference_response_t r = {1.0, 0.0, INFINITY, 1.0 + row->excess};
    switch (row->kind) {
    case GPULET_INTERFERENCE_LINEAR:
        r.own =
            part_of(row, self) * (row->l2_self * self->l2_util + row->dram_self * self->dram_util) +
            row->constant;
        r.slope = 1.0;
        break;
    case GPULET_INTERFERENCE_SENSITIVITY:
        r.slope = curve_read(row, self, FIELD_SENSITIVITY);
        if (isnan(r.slope)) {
            r.slope = 0.0;
            r.own = row->bound;
        }
        r.cap = cap_of(row, r.slope);
        break;
    case GPULET_INTERFERENCE_CONSTANT:
        r.own = row->constant;
        break;
    }
    return r;
}

double gpulet_interference_pressure(const gpulet_interference_row_t *row,
                                    const gpulet_interference_side_t *other)
{
    if (row->kind == GPULET_INTERFERENCE_CONSTANT)
        return 0.0;
    if (row->kind == GPULET_INTERFERENCE_LINEAR)
        return part_of(row, other) *
               (row->l2_other * other->l2_util + row->dram_other * other->dram_util);
    double pressure = curve_read(row, other, FIELD_PRESSURE);
    return isnan(pressure) ? row->pressure_unknown : pressure;
}

double gpulet_interference_factor_at(const gpulet_interference_response_t *response,
                                     double pressure)
{
    return response->scale *
           fmin(response->cap, fmax(1.0, response->own + response->slope * pressure));
}

/* ---- planning with a quantile of the error ---- */

static double residual_at(const gpulet_interference_row_t *row, double quantile)
{
    const gpulet_interference_residual_t *r = row->residuals;
    for (size_t i = 0; i < row->residuals_count; i++) {
        double above = r[i].percent / 100.0;
        if (quantile > above)
            continue;
        if (i == 0)
            return r[i].error;
        double below = r[i - 1].percent / 100.0;
        double part = (quantile - below) / (above - below);
        return r[i - 1].error * (1.0 - part) + r[i].error * part;
    }
    return NAN;
}

gpulet_status_t gpulet_interference_adjust(gpulet_interference_t *interference, double quantile,
                                           bool utilisation_scaled, const char *file,
                                           gpulet_error_t *err)
{
    if (utilisation_scaled && interference->kind != GPULET_INTERFERENCE_LINEAR)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s: utilisation-scaled: expected linear coefficients, found the kind "
                           "%s, which reads no utilisation",
                           file, gpulet_interference_kind_name(interference->kind));
    for (size_t i = 0; i < interference->count; i++) {
        gpulet_interference_row_t *row = &interference->rows[i];
        double residual = quantile > 0.0 ? residual_at(row, quantile) : 0.0;
        if (isnan(residual))
            return gpulet_fail(
                err, GPULET_E_INVALID,
                "%s: interference-quantile: expected a column residual_p%g or above "
                "for device %s, found quantiles up to %g",
                file, quantile * 100.0, row->device,
                row->residuals_count == 0 ? 0.0 : row->residuals[row->residuals_count - 1].percent);
        row->excess = fmax(0.0, residual);
        row->utilisation_scaled = utilisation_scaled;
    }
    return GPULET_OK;
}
