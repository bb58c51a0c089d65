/* "What if": changes of a planning input, written as they are said.
 *
 *   resnet50.rate*2        the rate of one model; operators = * / + -
 *   vgg16.slo=80           its SLO in ms
 *   all.rate*1.5           every model of the workload
 *   devices=3              devices of the only type; -1: as many as needed
 *   devices.a100+2         devices of one of several types
 *   a.rate*2,devices=3     several at once, applied from left to right
 *
 * Plain values. Pure. */
#ifndef GPULET_STUDY_WHATIF_H
#define GPULET_STUDY_WHATIF_H

#include <stddef.h>

#include "base/status.h"
#include "core/device_type.h"
#include "core/workload.h"

enum { GPULET_WHATIF_CHANGES_MAX = 16, GPULET_WHATIF_TEXT_MAX = 1023 };

typedef enum gpulet_whatif_field {
    GPULET_WHATIF_FIELD_RATE,
    GPULET_WHATIF_FIELD_SLO,
    GPULET_WHATIF_FIELD_DEVICES
} gpulet_whatif_field_t;

typedef struct gpulet_whatif_change {
    gpulet_whatif_field_t field;
    char name[GPULET_WORKLOAD_NAME_MAX + 1]; /* model or device type; "": all models, or the only
                                                type */
    char op;                                 /* = * / + - */
    double value;
} gpulet_whatif_change_t;

typedef struct gpulet_whatif {
    char text[GPULET_WHATIF_TEXT_MAX + 1]; /* as it was written */
    size_t changes_count;
    gpulet_whatif_change_t changes[GPULET_WHATIF_CHANGES_MAX];
} gpulet_whatif_t;

/* E_INVALID says what was expected and what was found. *out is written only on success. */
gpulet_status_t gpulet_whatif_parse(gpulet_whatif_t *out, const char *text, size_t len,
                                    gpulet_error_t *err) GPULET_MUST_USE;

/* Changes both in place. E_NOT_FOUND: a model or device type that is not there; E_INVALID: a rate
 * below 0, an SLO that is not above 0, devices that are no whole number from 1 (or -1), "devices="
 * without a type where there are several. After an error the two are half changed. */
gpulet_status_t gpulet_whatif_apply(gpulet_workload_t *workload, gpulet_device_set_t *devices,
                                    const gpulet_whatif_t *whatif,
                                    gpulet_error_t *err) GPULET_MUST_USE;

#endif
