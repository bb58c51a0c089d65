/* The linear interference model's coefficients by device type (docs/formats.md "Interference";
 * arXiv 2109.01611, section on interference): the factor on the latency of *self* beside *other* is
 * l2_self·l2(self) + l2_other·l2(other) + dram_self·dram(self) + dram_other·dram(other) + constant,
 * at least 1. Plain values, immutable once parsed. */
#ifndef GPULET_CORE_INTERFERENCE_H
#define GPULET_CORE_INTERFERENCE_H

#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"

typedef struct gpulet_interference_row {
    char device[GPULET_DEVICE_NAME_MAX + 1];
    double l2_self;
    double l2_other;
    double dram_self;
    double dram_other;
    double constant;
} gpulet_interference_row_t;

typedef struct gpulet_interference {
    size_t count;
    gpulet_interference_row_t *rows; /* owned; each device once */
} gpulet_interference_t;

gpulet_status_t gpulet_interference_parse(gpulet_interference_t **out, const char *text,
                                          size_t size, const char *file,
                                          gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_interference_load(gpulet_interference_t **out, const char *path,
                                         gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_interference_destroy(gpulet_interference_t *interference);
/* NULL when the device has no row: no interference is known. */
const gpulet_interference_row_t *gpulet_interference_find(const gpulet_interference_t *interference,
                                                          const char *device);
/* The factor, never below 1. Utilisations are 0..1; a NAN utilisation gives NAN (the caller reports
 * it). */
double gpulet_interference_factor(const gpulet_interference_row_t *row, double l2_self,
                                  double dram_self, double l2_other, double dram_other);
/* Writes the CSV of coefficients. */
gpulet_status_t
gpulet_interference_format_csv(gpulet_buf_t *out,
                               const gpulet_interference_t *interference) GPULET_MUST_USE;

#endif
