/* Device types and how many there are (docs/formats.md "Device types and counts"). Plain values,
 * immutable once parsed. */
#ifndef GPULET_CORE_DEVICE_TYPE_H
#define GPULET_CORE_DEVICE_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    GPULET_DEVICE_NAME_MAX = 63,
    GPULET_DEVICE_SIZES_MAX =
        1024, /* gpu-let sizes of one type (a CPU of 1,024 cores has that many) */
    GPULET_DEVICE_STARTS_MAX = 64,
    GPULET_DEVICE_SLOTS_MAX = 64,
    GPULET_DEVICE_UNITS_MAX = 1000000, /* of one device */
    GPULET_DEVICE_COUNT_MAX = 1000000, /* devices of one type */
    GPULET_DEVICE_TYPES_MAX = 64
};

/* Where a gpu-let of one size may stand on a device that has slots (MIG). */
typedef struct gpulet_placement {
    uint32_t length; /* slots it covers */
    uint32_t starts_count;
    uint32_t starts[GPULET_DEVICE_STARTS_MAX]; /* ascending */
} gpulet_placement_t;

typedef struct gpulet_device_type {
    char name[GPULET_DEVICE_NAME_MAX + 1];
    uint32_t units;            /* size of the whole device, ≥ 1 */
    uint32_t sizes_count;      /* ≥ 1 */
    uint32_t *sizes;           /* ascending, each 1..units; owned */
    uint32_t gpulets_max;      /* at most so many gpu-lets a device; ≥ 1 (default: units) */
    uint32_t models_max;       /* models a gpu-let may hold, 0: no limit (default 0) */
    double memory_mb;          /* of the whole device, > 0; INFINITY when not given. This and the
                                  sizes' are what may be used: the headroom is taken off */
    double *memory_mb_by_size; /* sizes_count entries, or NULL: not given (memory is then shared by
                                  the device); owned */
    double memory_mb_process;  /* what the process of a gpu-let takes beside its models; 0 when not
                                  given */
    double network_gbps;       /* 2^30 bits a second that the inputs of all its requests may take
                                  together; 0: not limited */
    uint32_t slots;            /* 0: no placement rule, a sum of sizes ≤ units is enough */
    gpulet_placement_t *placements; /* sizes_count entries when slots > 0; owned */
    bool isolated;                  /* gpu-lets do not disturb one another */
    double cost;                    /* > 0; 1 when not given */
    bool cost_given;
} gpulet_device_type_t;

typedef struct gpulet_device_set {
    uint32_t types_count;
    gpulet_device_type_t *types; /* owned; in the order of the file */
    int32_t *counts;             /* devices of each type; -1: as many as needed; owned */
} gpulet_device_set_t;

/* Parses the YAML. Errors name file, line and field. Caller destroys. */
gpulet_status_t gpulet_device_set_parse(gpulet_device_set_t **out, const char *text, size_t size,
                                        const char *file, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_device_set_load(gpulet_device_set_t **out, const char *path,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* One type with sizes 1..units, no placement, no interference known: the machine's own CPU. */
gpulet_status_t gpulet_device_set_create_simple(gpulet_device_set_t **out, const char *name,
                                                uint32_t units, double memory_mb,
                                                int32_t count) GPULET_MUST_USE;
/* The same with the sizes step, 2·step, … up to units, and units; at most gpulets_max gpu-lets a
 * device. */
gpulet_status_t gpulet_device_set_create_stepped(gpulet_device_set_t **out, const char *name,
                                                 uint32_t units, uint32_t step,
                                                 uint32_t gpulets_max, double memory_mb,
                                                 int32_t count) GPULET_MUST_USE;
void gpulet_device_set_destroy(gpulet_device_set_t *set);
/* counts: of each type, in place of those of the set; types of which there are none are left out.
 * E_NOT_FOUND when that leaves no type. */
gpulet_status_t gpulet_device_set_clone(gpulet_device_set_t **out, const gpulet_device_set_t *set,
                                        const int32_t *counts) GPULET_MUST_USE;
/* Index of the type, or -1. */
int gpulet_device_set_find(const gpulet_device_set_t *set, const char *name);
/* `text` is "N" (one type only) or "type=N,type=N"; N ≥ 1 or -1. 0 is E_INVALID (a usage error). */
gpulet_status_t gpulet_device_set_override_counts(gpulet_device_set_t *set, const char *text,
                                                  gpulet_error_t *err) GPULET_MUST_USE;
/* What the models of one gpu-let of that size (an index) may hold at most, without its process;
 * INFINITY when no memory is given, and below 0 when not even the process fits. */
double gpulet_device_type_models_mb(const gpulet_device_type_t *type, uint32_t size);
/* Index into type->sizes, or -1 when the size is not allowed. */
int gpulet_device_type_size_index(const gpulet_device_type_t *type, uint32_t units);

#endif
