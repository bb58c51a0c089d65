#include "core/profile.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/profile_store.h"
#include "core/text.h"

enum { CAPACITY_MIN = 8 };

int gpulet_profile_key_compare(const gpulet_profile_key_t *a, const gpulet_profile_key_t *b)
{
    int order = a->device == b->device ? 0 : strcmp(a->device, b->device);
    if (order == 0 && a->model != b->model)
        order = strcmp(a->model, b->model);
    if (order != 0)
        return order;
    if (a->units != b->units)
        return a->units < b->units ? -1 : 1;
    if (a->instances != b->instances)
        return a->instances < b->instances ? -1 : 1;
    return 0;
}

static gpulet_profile_key_t key_of(const gpulet_curve_t *curve)
{
    return (gpulet_profile_key_t){curve->device, curve->model, curve->units, curve->instances};
}

/* Index of the first curve that is not below the key. */
static size_t lower_bound(const gpulet_profile_t *profile, const gpulet_profile_key_t *key)
{
    size_t low = 0;
    size_t high = profile->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        gpulet_profile_key_t at = key_of(&profile->nodes[middle]->curve);
        if (gpulet_profile_key_compare(&at, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t gpulet_curve_point_index(const gpulet_curve_t *curve, uint32_t batch)
{
    uint32_t low = 0;
    uint32_t high = curve->points_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (curve->points[middle].batch < batch)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Room for one more element of an array of `count`; doubles. */
static gpulet_status_t grow(void **array, size_t *capacity, size_t count, size_t element_size)
{
    if (count < *capacity)
        return GPULET_OK;
    size_t wanted = *capacity < CAPACITY_MIN ? CAPACITY_MIN : *capacity * 2;
    void *grown = reallocarray(*array, wanted, element_size);
    if (grown == NULL)
        return GPULET_E_NOMEM;
    *array = grown;
    *capacity = wanted;
    return GPULET_OK;
}

/* A name the profile owns: that of a neighbour in the sorted order, one that was left, or a new
 * copy. */
static const char *own_name(gpulet_profile_t *profile, size_t index, const char *name, bool device)
{
    for (size_t i = index == 0 ? 0 : index - 1; i < profile->count && i <= index; i++) {
        const gpulet_curve_t *curve = &profile->nodes[i]->curve;
        const char *owned = device ? curve->device : curve->model;
        if (strcmp(owned, name) == 0)
            return owned;
    }
    for (size_t i = 0; profile->names_left && i < profile->names_count; i++) {
        if (strcmp(profile->names[i], name) == 0)
            return profile->names[i];
    }
    void *names = profile->names;
    if (grow(&names, &profile->names_capacity, profile->names_count, sizeof(char *)) != GPULET_OK)
        return NULL;
    profile->names = names;
    char *copy = strdup(name);
    if (copy != NULL)
        profile->names[profile->names_count++] = copy;
    return copy;
}

static gpulet_status_t insert_node(gpulet_profile_t *profile, size_t index,
                                   const gpulet_profile_key_t *key)
{
    void *nodes = profile->nodes;
    if (grow(&nodes, &profile->capacity, profile->count, sizeof(void *)) != GPULET_OK)
        return GPULET_E_NOMEM;
    profile->nodes = nodes;
    const char *device = own_name(profile, index, key->device, true);
    const char *model = own_name(profile, index, key->model, false);
    gpulet_profile_node_t *node = calloc(1, sizeof(*node));
    if (device == NULL || model == NULL || node == NULL) {
        free(node);
        return GPULET_E_NOMEM;
    }
    node->curve.device = device;
    node->curve.model = model;
    node->curve.units = key->units;
    node->curve.instances = key->instances;
    memmove(profile->nodes + index + 1, profile->nodes + index,
            (profile->count - index) * sizeof(void *));
    profile->nodes[index] = node;
    profile->count++;
    return GPULET_OK;
}

static gpulet_status_t reserve_point(gpulet_profile_node_t *node)
{
    if (node->curve.points_count < node->capacity)
        return GPULET_OK;
    uint32_t wanted = node->capacity < CAPACITY_MIN ? CAPACITY_MIN : node->capacity * 2;
    void *points = reallocarray(node->points, wanted, sizeof(node->points[0]));
    if (points == NULL)
        return GPULET_E_NOMEM;
    node->points = points;
    node->curve.points = points;
    void *extras = reallocarray(node->extras, wanted, sizeof(node->extras[0]));
    if (extras == NULL)
        return GPULET_E_NOMEM;
    node->extras = extras;
    node->capacity = wanted;
    return GPULET_OK;
}

static gpulet_status_t insert_point(gpulet_profile_node_t *node,
                                    const gpulet_profile_point_t *point,
                                    gpulet_profile_extras_t extras, bool replace)
{
    uint32_t index = gpulet_curve_point_index(&node->curve, point->batch);
    assert(index <= node->curve.points_count);
    uint32_t after = node->curve.points_count - index;
    if (after > 0 && node->points[index].batch == point->batch) {
        if (!replace)
            return GPULET_E_EXISTS;
        node->points[index] = *point;
        free(extras);
        return GPULET_OK;
    }
    if (reserve_point(node) != GPULET_OK)
        return GPULET_E_NOMEM;
    memmove(node->points + index + 1, node->points + index, after * sizeof(node->points[0]));
    memmove(node->extras + index + 1, node->extras + index, after * sizeof(node->extras[0]));
    node->points[index] = *point;
    node->extras[index] = extras;
    node->curve.points_count++;
    return GPULET_OK;
}

static void destroy_node(gpulet_profile_node_t *node)
{
    for (uint32_t i = 0; i < node->curve.points_count; i++)
        free(node->extras[i]);
    free(node->extras);
    free(node->points);
    free(node);
}

gpulet_status_t gpulet_profile_insert(gpulet_profile_t *profile, const gpulet_profile_key_t *key,
                                      const gpulet_profile_point_t *point,
                                      gpulet_profile_extras_t extras, bool replace)
{
    gpulet_profile_key_t last = {"", "", 0, 0};
    if (profile->count > 0)
        last = key_of(&profile->nodes[profile->count - 1]->curve);
    /* Rows that come in order, as a parsed file's do, are appended without a search. */
    bool append = profile->count == 0 || gpulet_profile_key_compare(&last, key) < 0;
    size_t index = append ? profile->count : lower_bound(profile, key);
    gpulet_profile_key_t found = {"", "", 0, 0};
    if (!append)
        found = key_of(&profile->nodes[index]->curve);
    bool fresh = append || gpulet_profile_key_compare(&found, key) != 0;
    if (fresh && insert_node(profile, index, key) != GPULET_OK)
        return GPULET_E_NOMEM;
    gpulet_status_t st = insert_point(profile->nodes[index], point, extras, replace);
    if (st != GPULET_OK && fresh) {
        /* A curve never stands without a point. */
        destroy_node(profile->nodes[index]);
        profile->count--;
        memmove(profile->nodes + index, profile->nodes + index + 1,
                (profile->count - index) * sizeof(void *));
    }
    return st;
}

gpulet_status_t gpulet_profile_create(gpulet_profile_t **out)
{
    gpulet_profile_t *profile = calloc(1, sizeof(*profile));
    if (profile == NULL)
        return GPULET_E_NOMEM;
    *out = profile;
    return GPULET_OK;
}

void gpulet_profile_destroy(gpulet_profile_t *profile)
{
    if (profile == NULL)
        return;
    for (size_t i = 0; i < profile->count; i++)
        destroy_node(profile->nodes[i]);
    for (size_t i = 0; i < profile->names_count; i++)
        free(profile->names[i]);
    for (size_t i = 0; i < profile->extras_count; i++)
        free(profile->extras_names[i]);
    free(profile->nodes);
    free(profile->names);
    free(profile->extras_names);
    free(profile);
}

gpulet_status_t gpulet_profile_merge(gpulet_profile_t *profile, const gpulet_profile_t *other)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; st == GPULET_OK && i < other->count; i++) {
        const gpulet_curve_t *c = &other->nodes[i]->curve;
        const gpulet_profile_key_t key = key_of(c);
        for (uint32_t p = 0; st == GPULET_OK && p < c->points_count; p++)
            st = gpulet_profile_insert(profile, &key, &c->points[p], NULL, true);
    }
    return st;
}

gpulet_status_t gpulet_profile_clone(gpulet_profile_t **out, const gpulet_profile_t *profile)
{
    gpulet_profile_t *copy = NULL;
    gpulet_status_t st = gpulet_profile_create(&copy);
    if (st == GPULET_OK && (st = gpulet_profile_merge(copy, profile)) == GPULET_OK)
        *out = copy;
    else
        gpulet_profile_destroy(copy);
    return st;
}

/* Leaves out the curves of a model, or with NULL those of several instances; their number. */
static size_t drop_curves(gpulet_profile_t *profile, const char *model)
{
    size_t kept = 0;
    for (size_t i = 0; i < profile->count; i++) {
        const gpulet_curve_t *curve = &profile->nodes[i]->curve;
        if (model != NULL ? strcmp(curve->model, model) == 0 : curve->instances > 1)
            destroy_node(profile->nodes[i]);
        else
            profile->nodes[kept++] = profile->nodes[i];
    }
    size_t dropped = profile->count - kept;
    profile->count = kept;
    profile->names_left |= dropped > 0;
    return dropped;
}

size_t gpulet_profile_keep_single(gpulet_profile_t *profile)
{
    return drop_curves(profile, NULL);
}

size_t gpulet_profile_remove_model(gpulet_profile_t *profile, const char *model)
{
    return drop_curves(profile, model);
}

static gpulet_status_t check_whole(const char *field, uint32_t value, uint32_t max,
                                   gpulet_error_t *err)
{
    if (value >= 1 && value <= max)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "%s: expected a whole number from 1 to %u, found %u",
                       field, max, value);
}

static gpulet_status_t check_value(const char *field, double value, bool optional,
                                   const gpulet_text_range_t *range, gpulet_error_t *err)
{
    if ((optional && isnan(value)) || gpulet_text_in_range(range, value))
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "%s: expected %s, found %g", field, range->expected,
                       value);
}

static gpulet_status_t check_name(const char *field, const char *name, gpulet_error_t *err)
{
    gpulet_error_t why;
    gpulet_status_t st = gpulet_text_check_name(name, strlen(name), GPULET_PROFILE_NAME_MAX, &why);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "%s: %s", field, why.text);
}

static gpulet_status_t check_row(const gpulet_profile_key_t *key,
                                 const gpulet_profile_point_t *point, gpulet_error_t *err)
{
    gpulet_status_t st = check_name("device", key->device, err);
    if (st == GPULET_OK)
        st = check_name("model", key->model, err);
    if (st == GPULET_OK)
        st = check_whole("units", key->units, GPULET_PROFILE_UNITS_MAX, err);
    if (st == GPULET_OK)
        st = check_whole("instances", key->instances, GPULET_PROFILE_INSTANCES_MAX, err);
    if (st == GPULET_OK)
        st = check_whole("batch", point->batch, GPULET_PROFILE_BATCH_MAX, err);
    if (st == GPULET_OK)
        st = check_value("latency_ms", point->latency_ms, false, &gpulet_text_positive, err);
    if (st == GPULET_OK)
        st = check_value("latency_ms_p99", point->latency_ms_p99, true, &gpulet_text_positive, err);
    if (st == GPULET_OK)
        st = check_value("throughput_rps", point->throughput_rps, true, &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = check_value("memory_mb", point->memory_mb, true, &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = check_value("l2_util", point->l2_util, true, &gpulet_text_fraction, err);
    if (st == GPULET_OK)
        st = check_value("dram_util", point->dram_util, true, &gpulet_text_fraction, err);
    if (st == GPULET_OK)
        st = check_value("cold_ms", point->cold_ms, true, &gpulet_text_natural, err);
    return st;
}

gpulet_status_t gpulet_profile_add(gpulet_profile_t *profile, const char *device, const char *model,
                                   uint32_t units, uint32_t instances,
                                   const gpulet_profile_point_t *point, bool replace,
                                   gpulet_error_t *err)
{
    gpulet_profile_key_t key = {device, model, units, instances};
    gpulet_status_t st = check_row(&key, point, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_profile_insert(profile, &key, point, NULL, replace);
    if (st == GPULET_E_EXISTS)
        return gpulet_fail(err, st, "%s on %s, units %u, instances %u, batch %u: already there",
                           model, device, units, instances, point->batch);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "out of memory");
}

size_t gpulet_profile_curves_count(const gpulet_profile_t *profile)
{
    return profile->count;
}

const gpulet_curve_t *gpulet_profile_curve_at(const gpulet_profile_t *profile, size_t index)
{
    assert(index < profile->count);
    return &profile->nodes[index]->curve;
}

const gpulet_curve_t *gpulet_profile_curve(const gpulet_profile_t *profile, const char *device,
                                           const char *model, uint32_t units, uint32_t instances)
{
    gpulet_profile_key_t key = {device, model, units, instances};
    size_t index = lower_bound(profile, &key);
    if (index == profile->count)
        return NULL;
    gpulet_profile_key_t found = key_of(&profile->nodes[index]->curve);
    return gpulet_profile_key_compare(&found, &key) == 0 ? &profile->nodes[index]->curve : NULL;
}

/* Index of the first curve behind those of the device. */
static size_t device_end(const gpulet_profile_t *profile, size_t from)
{
    const char *device = profile->nodes[from]->curve.device;
    size_t low = from;
    size_t high = profile->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(profile->nodes[middle]->curve.device, device) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool device_has_model(const gpulet_profile_t *profile, const char *device, const char *model)
{
    gpulet_profile_key_t key = {device, model, 0, 0};
    size_t index = lower_bound(profile, &key);
    return index < profile->count && strcmp(profile->nodes[index]->curve.device, device) == 0 &&
           strcmp(profile->nodes[index]->curve.model, model) == 0;
}

bool gpulet_profile_has_model(const gpulet_profile_t *profile, const char *device,
                              const char *model)
{
    if (device != NULL)
        return device_has_model(profile, device, model);
    for (size_t i = 0; i < profile->count; i = device_end(profile, i)) {
        if (device_has_model(profile, profile->nodes[i]->curve.device, model))
            return true;
    }
    return false;
}
