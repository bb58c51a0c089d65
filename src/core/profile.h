/* Profiles: how long a model takes, by device type, gpu-let size, batch and co-resident instances
 * (docs/formats.md "Profile").
 *
 * A profile is a set of rows, kept sorted, and read as *curves*: one curve is everything measured
 * for one (device type, model, units, instances). Between measured batches of a curve latency is
 * interpolated linearly; beyond the measured range nothing is extrapolated. Memory of an unmeasured
 * batch is that of the next larger measured one. A profile is immutable after it is finished, and
 * may then be read by any thread. */
#ifndef GPULET_CORE_PROFILE_H
#define GPULET_CORE_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

typedef struct gpulet_profile gpulet_profile_t;

enum {
    GPULET_PROFILE_BATCH_MAX = 4096,
    GPULET_PROFILE_INSTANCES_MAX = 4096,
    GPULET_PROFILE_UNITS_MAX = 1000000,
    GPULET_PROFILE_NAME_MAX = 255,
    GPULET_PROFILE_COLD_AFTER_NS = 2000000 /* a pause after which a run is taken for a cold one */
};

/* One measured point. Values that were not given are NAN (never zero). */
typedef struct gpulet_profile_point {
    uint32_t batch;
    double latency_ms;     /* one batch on one instance while the others also run; > 0 */
    double latency_ms_p99; /* NAN when absent */
    double throughput_rps; /* of all instances; NAN when absent; for people only */
    double memory_mb;      /* of all instances; NAN when absent */
    double l2_util;        /* 0..1; NAN when absent */
    double dram_util;      /* 0..1; NAN when absent */
    double input_bytes;    /* of one item on the network; 0 or NAN when absent */
    double cold_ms; /* by how much a run takes longer that does not follow right after another
                       of its model; 0 or NAN when absent */
} gpulet_profile_point_t;

/* Borrowed from the profile; points ascend by batch, points_count ≥ 1. */
typedef struct gpulet_curve {
    const char *device;
    const char *model;
    uint32_t units;
    uint32_t instances;
    uint32_t points_count;
    const gpulet_profile_point_t *points;
} gpulet_curve_t;

typedef enum gpulet_profile_format {
    GPULET_PROFILE_FORMAT_CSV, /* docs/formats.md, with a header */
    GPULET_PROFILE_FORMAT_GLET /* the prototype's model,partition,batch,latency_ms without a header
                                  (SPEC F01) */
} gpulet_profile_format_t;

/* Parses text[0..size). `file` only names the source in errors ("file:line: field: …"). The device
 * type of GLET rows is glet_device (NULL: "gpu"). *out is destroyed by the caller. Unknown columns
 * are kept and written again. */
gpulet_status_t gpulet_profile_parse(gpulet_profile_t **out, const char *text, size_t size,
                                     const char *file, gpulet_profile_format_t format,
                                     const char *glet_device, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_profile_load(gpulet_profile_t **out, const char *path,
                                    gpulet_profile_format_t format, const char *glet_device,
                                    gpulet_error_t *err) GPULET_MUST_USE;
/* An empty profile, for rows added one by one. */
gpulet_status_t gpulet_profile_create(gpulet_profile_t **out) GPULET_MUST_USE;
void gpulet_profile_destroy(gpulet_profile_t *profile);
/* All curves; columns that are not known are left behind. */
gpulet_status_t gpulet_profile_clone(gpulet_profile_t **out,
                                     const gpulet_profile_t *profile) GPULET_MUST_USE;

/* Adds a row; E_EXISTS when the key (device, model, units, instances, batch) is there, unless
 * replace. E_INVALID with a text that names the field for a bad value. Invalidates curves handed
 * out before. */
gpulet_status_t gpulet_profile_add(gpulet_profile_t *profile, const char *device, const char *model,
                                   uint32_t units, uint32_t instances,
                                   const gpulet_profile_point_t *point, bool replace,
                                   gpulet_error_t *err) GPULET_MUST_USE;
/* Writes the CSV of docs/formats.md, rows sorted, columns that no row uses left out. */
gpulet_status_t gpulet_profile_format_csv(gpulet_buf_t *out,
                                          const gpulet_profile_t *profile) GPULET_MUST_USE;

size_t gpulet_profile_curves_count(const gpulet_profile_t *profile);
/* In sorted order: device, model, units, instances. Valid until the profile changes. */
const gpulet_curve_t *gpulet_profile_curve_at(const gpulet_profile_t *profile, size_t index);
/* NULL when there is none. */
const gpulet_curve_t *gpulet_profile_curve(const gpulet_profile_t *profile, const char *device,
                                           const char *model, uint32_t units, uint32_t instances);
/* Whether any row names the model (and device, when not NULL). */
bool gpulet_profile_has_model(const gpulet_profile_t *profile, const char *device,
                              const char *model);
/* Leaves out the curves of several co-resident instances; their number. Invalidates curves handed
 * out before. */
size_t gpulet_profile_keep_single(gpulet_profile_t *profile);
/* Forgets all curves of the model; their number. Likewise. */
size_t gpulet_profile_remove_model(gpulet_profile_t *profile, const char *model);
/* Adds all curves of the other, without columns that are not known; of points that both have, the
 * other's stay. E_NOMEM. Likewise. */
gpulet_status_t gpulet_profile_merge(gpulet_profile_t *profile,
                                     const gpulet_profile_t *other) GPULET_MUST_USE;
/* Adds the curves of sizes[] that are missing between two measured sizes of the same (device,
 * model, instances), each point interpolated linearly in units at the batches that both neighbours
 * cover (--interpolate-units). Memory is the larger of the two neighbours', so that a plan never
 * counts on less than was measured. */
gpulet_status_t gpulet_profile_interpolate_units(gpulet_profile_t *profile, const char *device,
                                                 const uint32_t *sizes, size_t sizes_count,
                                                 gpulet_error_t *err) GPULET_MUST_USE;

uint32_t gpulet_curve_batch_min(const gpulet_curve_t *curve);
uint32_t gpulet_curve_batch_max(const gpulet_curve_t *curve);
/* Latency in ms of a batch in the measured range; with p99 the 99th percentile where both
 * neighbours have it, else the mean. NAN outside of the range: nothing is extrapolated. */
double gpulet_curve_latency_ms(const gpulet_curve_t *curve, uint32_t batch, bool p99);
/* Memory in MiB of the next larger measured batch; NAN when unknown or outside of the range. */
double gpulet_curve_memory_mb(const gpulet_curve_t *curve, uint32_t batch);
/* The two above at one batch after another, from the least measured one to the largest, without a
 * search for each: `while (gpulet_curve_walk_next(&walk))`. Borrows the curve. */
typedef struct gpulet_curve_walk {
    const gpulet_curve_t *curve;
    uint32_t upper; /* index of the measured point at or above the batch */
    bool p99;
    uint32_t batch;
    double latency_ms;
    double memory_mb; /* NAN when unknown */
} gpulet_curve_walk_t;
gpulet_curve_walk_t gpulet_curve_walk(const gpulet_curve_t *curve, bool p99);
/* False behind the largest batch. */
bool gpulet_curve_walk_next(gpulet_curve_walk_t *walk);
/* Utilisations, interpolated; NAN when unknown. */
double gpulet_curve_l2_util(const gpulet_curve_t *curve, uint32_t batch);
double gpulet_curve_dram_util(const gpulet_curve_t *curve, uint32_t batch);
/* Bytes of an item's inputs: the most that any point of the curve says; 0 when none does. */
double gpulet_curve_input_bytes(const gpulet_curve_t *curve);
/* By how much a cold run takes longer, whatever its batch: what is loaded into caches anew is the
 * same. The most that any point of the curve says; 0 when none does. */
double gpulet_curve_cold_ms(const gpulet_curve_t *curve);

#endif
