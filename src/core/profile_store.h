/* What a profile is made of: for the files profile*.c alone. Curves stand sorted by device, model,
 * units and instances, each with its points sorted by batch. */
#ifndef GPULET_CORE_PROFILE_STORE_H
#define GPULET_CORE_PROFILE_STORE_H

#include "core/profile.h"

/* The fields of columns we do not know, one string a column, in one allocation; NULL: the row has
 * none. */
typedef char **gpulet_profile_extras_t;

typedef struct gpulet_profile_node {
    gpulet_curve_t curve; /* what callers see; its points are those below */
    uint32_t capacity;
    gpulet_profile_point_t *points;
    gpulet_profile_extras_t *extras; /* one a point; owned */
} gpulet_profile_node_t;

struct gpulet_profile {
    size_t count;
    size_t capacity;
    gpulet_profile_node_t **nodes;
    size_t names_count; /* devices and models, shared by the curves */
    size_t names_capacity;
    char **names;
    bool names_left;     /* some may be of no curve any more */
    size_t extras_count; /* columns we do not know */
    char **extras_names;
};

typedef struct gpulet_profile_key {
    const char *device;
    const char *model;
    uint32_t units;
    uint32_t instances;
} gpulet_profile_key_t;

/* By device, model, units, instances. */
int gpulet_profile_key_compare(const gpulet_profile_key_t *a, const gpulet_profile_key_t *b);

/* Index of the first point whose batch is not below; points_count when there is none. */
uint32_t gpulet_curve_point_index(const gpulet_curve_t *curve, uint32_t batch);

/* Inserts a valid row and takes the extras over on success. E_EXISTS when the key is there, unless
 * replace: then the old row's extras stay. */
gpulet_status_t gpulet_profile_insert(gpulet_profile_t *profile, const gpulet_profile_key_t *key,
                                      const gpulet_profile_point_t *point,
                                      gpulet_profile_extras_t extras, bool replace) GPULET_MUST_USE;

#endif
