/* How much a batch slows down beside a neighbour on the same device (docs/formats.md
 * "Interference"), as one value with three kinds:
 *
 * - linear: l2_self·l2(self) + l2_other·l2(other) + dram_self·dram(self) + dram_other·dram(other) +
 *   constant, on the utilisations in the profile (arXiv 2109.01611, section on interference);
 * - sensitivity: 1 + sensitivity(self)·pressure(other), both measured in software, one point a
 *   model, size and batch (the idea of Bubble-Up, MICRO 2011: how hard one presses and how much one
 *   feels it are measured apart);
 * - constant: one factor beside any neighbour.
 *
 * Each is affine in one scalar of the neighbour, its *pressure*, and rises with it: with several
 * neighbours, or models in one, the highest pressure counts. The factor is at least 1; without an
 * occupied neighbour, or where gpu-lets are isolated, it is 1 and nothing here is asked. Nothing is
 * assumed about one's own batch: coefficients are fitted and may be negative.
 *
 * Plain values, immutable once parsed and adjusted; then any thread may read them. */
#ifndef GPULET_CORE_INTERFERENCE_H
#define GPULET_CORE_INTERFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/profile.h"

enum { GPULET_INTERFERENCE_RESIDUALS_MAX = 16 };

typedef enum gpulet_interference_kind {
    GPULET_INTERFERENCE_LINEAR,
    GPULET_INTERFERENCE_SENSITIVITY,
    GPULET_INTERFERENCE_CONSTANT
} gpulet_interference_kind_t;

/* One quantile of the fit's error: measured / predicted - 1 on pairs that were not fitted. */
typedef struct gpulet_interference_residual {
    double percent; /* of pairs whose error is at most this; between 0 and 100 */
    double error;   /* > -1 */
} gpulet_interference_residual_t;

/* NAN: not measured. Both are ≥ 0; only their product means something. */
typedef struct gpulet_interference_point {
    uint32_t batch;
    double sensitivity; /* what the slowdown beside a neighbour grows by with its pressure */
    double pressure;    /* what it does to a neighbour of sensitivity 1 */
} gpulet_interference_point_t;

typedef struct gpulet_interference_curve {
    char model[GPULET_PROFILE_NAME_MAX + 1];
    uint32_t units;
    size_t points_count;
    gpulet_interference_point_t *points; /* owned; ascending by batch */
} gpulet_interference_curve_t;

/* What is known of one device type. */
typedef struct gpulet_interference_row {
    char device[GPULET_DEVICE_NAME_MAX + 1];
    double l2_self; /* linear … */
    double l2_other;
    double dram_self;
    double dram_other;
    double constant; /* … and constant */
    gpulet_interference_kind_t kind;
    double bound; /* sensitivity: the factor where a model is not in the file; ≥ 1 */
    size_t curves_count;
    gpulet_interference_curve_t *curves; /* owned; by model, then units */
    double pressure_most;                /* of all points; set by gpulet_interference_finish */
    double pressure_unknown;             /* of what is not in the file; likewise */
    size_t residuals_count;
    gpulet_interference_residual_t residuals[GPULET_INTERFERENCE_RESIDUALS_MAX]; /* ascending */
    double excess;           /* ≥ 0: every factor is (1 + excess) times what was fitted */
    bool utilisation_scaled; /* by the part of the device that a gpu-let has */
} gpulet_interference_row_t;

typedef struct gpulet_interference {
    gpulet_interference_kind_t kind; /* of all rows */
    size_t count;
    gpulet_interference_row_t *rows; /* owned; each device once */
} gpulet_interference_t;

/* The kind is that of the header: a column `sensitivity`, or one of the linear coefficients, or
 * `constant` alone. Errors name file, line and field. Caller destroys. */
gpulet_status_t gpulet_interference_parse(gpulet_interference_t **out, const char *text,
                                          size_t size, const char *file,
                                          gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_interference_load(gpulet_interference_t **out, const char *path,
                                         gpulet_error_t *err) GPULET_MUST_USE;
/* Without rows. */
gpulet_status_t gpulet_interference_create(gpulet_interference_t **out,
                                           gpulet_interference_kind_t kind) GPULET_MUST_USE;
void gpulet_interference_destroy(gpulet_interference_t *interference);
/* Appends a zeroed row of the kind; E_EXISTS when the device has one, E_TOO_LARGE, E_NOMEM. *row is
 * valid until the next one is added. */
gpulet_status_t gpulet_interference_add(gpulet_interference_row_t **row,
                                        gpulet_interference_t *interference,
                                        const char *device) GPULET_MUST_USE;
/* Adds one point of a sensitivity row; E_EXISTS when it is there, E_NOMEM. */
gpulet_status_t
gpulet_interference_add_point(gpulet_interference_row_t *row, const char *model, uint32_t units,
                              const gpulet_interference_point_t *point) GPULET_MUST_USE;
/* After the last point of a row: what is derived from all of them. */
void gpulet_interference_finish(gpulet_interference_row_t *row);
/* NULL when the device has no row: no interference is known. */
const gpulet_interference_row_t *gpulet_interference_find(const gpulet_interference_t *interference,
                                                          const char *device);
const char *gpulet_interference_kind_name(gpulet_interference_kind_t kind);
/* False: there is no such kind. */
bool gpulet_interference_kind_find(gpulet_interference_kind_t *out, const char *name);

/* How to plan with it. quantile 0: with what was fitted; else with that quantile of the fit's error
 * on top, which never makes a factor smaller (between the file's quantiles linear, above the
 * highest an error). utilisation_scaled: the prototype's scaling of utilisations by the part of the
 * device that the gpu-let has; linear only. E_INVALID says what the file lacks. */
gpulet_status_t gpulet_interference_adjust(gpulet_interference_t *interference, double quantile,
                                           bool utilisation_scaled, const char *file,
                                           gpulet_error_t *err) GPULET_MUST_USE;

/* One of two that stand beside one another. */
typedef struct gpulet_interference_side {
    const char *model; /* borrowed */
    uint32_t units;
    uint32_t batch;
    double part;    /* units of all units of the device */
    double l2_util; /* NAN where the profile has none */
    double dram_util;
} gpulet_interference_side_t;

gpulet_interference_side_t gpulet_interference_side(const gpulet_curve_t *curve, uint32_t batch,
                                                    uint32_t units_total);
/* The factor on self's latency beside other, ≥ 1; NAN where a utilisation that is needed is blank.
 */
double gpulet_interference_between(const gpulet_interference_row_t *row,
                                   const gpulet_interference_side_t *self,
                                   const gpulet_interference_side_t *other);

/* The same, taken apart for planning: factor = scale·min(cap, max(1, own + slope·pressure)) with
 * slope ≥ 0, cap ≥ 1 and scale ≥ 1. A pressure below 0 occurs only where every slope is 1 (linear).
 */
typedef struct gpulet_interference_response {
    double own;
    double slope;
    double cap;
    double scale;
} gpulet_interference_response_t;

/* own is NAN where a utilisation is blank. */
gpulet_interference_response_t gpulet_interference_response(const gpulet_interference_row_t *row,
                                                            const gpulet_interference_side_t *self);
/* NAN where a utilisation is blank. */
double gpulet_interference_pressure(const gpulet_interference_row_t *row,
                                    const gpulet_interference_side_t *other);
double gpulet_interference_factor_at(const gpulet_interference_response_t *response,
                                     double pressure);

/* The linear factor, never below 1. Utilisations are 0..1; a NAN utilisation gives NAN (the caller
 * reports it). */
double gpulet_interference_factor(const gpulet_interference_row_t *row, double l2_self,
                                  double dram_self, double l2_other, double dram_other);
/* Writes the CSV, rows in their order, points sorted. */
gpulet_status_t
gpulet_interference_format_csv(gpulet_buf_t *out,
                               const gpulet_interference_t *interference) GPULET_MUST_USE;

#endif
