/* Device sets as values; device_yaml.c reads them. */
#include "core/device_type.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "core/text.h"

static void deinit_type(gpulet_device_type_t *type)
{
    free(type->sizes);
    free(type->memory_mb_by_size);
    free(type->placements);
}

void gpulet_device_set_destroy(gpulet_device_set_t *set)
{
    if (set == NULL)
        return;
    for (uint32_t i = 0; i < set->types_count; i++)
        deinit_type(&set->types[i]);
    free(set->types);
    free(set->counts);
    free(set);
}

/* NULL for NULL or nothing; *failed is set when there is no memory. */
static void *copy_array(const void *from, size_t count, size_t size, bool *failed)
{
    if (from == NULL)
        return NULL;
    void *to = reallocarray(NULL, count, size);
    if (to == NULL)
        *failed = true;
    else
        memcpy(to, from, count * size);
    return to;
}

static bool clone_type(gpulet_device_type_t *out, const gpulet_device_type_t *type)
{
    bool failed = false;
    *out = *type;
    out->sizes = copy_array(type->sizes, type->sizes_count, sizeof(*type->sizes), &failed);
    out->memory_mb_by_size = copy_array(type->memory_mb_by_size, type->sizes_count,
                                        sizeof(*type->memory_mb_by_size), &failed);
    out->placements =
        copy_array(type->placements, type->sizes_count, sizeof(*type->placements), &failed);
    return !failed;
}

gpulet_status_t gpulet_device_set_clone(gpulet_device_set_t **out, const gpulet_device_set_t *set,
                                        const int32_t *counts)
{
    gpulet_device_set_t *copy = calloc(1, sizeof(*copy));
    if (copy == NULL)
        return GPULET_E_NOMEM;
    copy->types = calloc(set->types_count + 1U, sizeof(copy->types[0]));
    copy->counts = calloc(set->types_count + 1U, sizeof(copy->counts[0]));
    bool ok = copy->types != NULL && copy->counts != NULL;
    for (uint32_t i = 0; ok && i < set->types_count; i++) {
        if (counts[i] == 0)
            continue;
        copy->counts[copy->types_count] = counts[i];
        ok = clone_type(&copy->types[copy->types_count++], &set->types[i]);
    }
    if (!ok || copy->types_count == 0) {
        gpulet_device_set_destroy(copy);
        return ok ? GPULET_E_NOT_FOUND : GPULET_E_NOMEM;
    }
    *out = copy;
    return GPULET_OK;
}

gpulet_status_t gpulet_device_set_create_simple(gpulet_device_set_t **out, const char *name,
                                                uint32_t units, double memory_mb, int32_t count)
{
    return gpulet_device_set_create_stepped(out, name, units, 1, units, memory_mb, count);
}

gpulet_status_t gpulet_device_set_create_stepped(gpulet_device_set_t **out, const char *name,
                                                 uint32_t units, uint32_t step,
                                                 uint32_t gpulets_max, double memory_mb,
                                                 int32_t count)
{
    gpulet_status_t st = gpulet_text_check_name(name, strlen(name), GPULET_DEVICE_NAME_MAX, NULL);
    if (st != GPULET_OK || units < 1 || units > GPULET_DEVICE_SIZES_MAX || step < 1 ||
        step > units || gpulets_max < 1 || gpulets_max > units || !(memory_mb > 0) ||
        (count != -1 && (count < 1 || count > GPULET_DEVICE_COUNT_MAX)))
        return GPULET_E_INVALID;
    gpulet_device_set_t *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return GPULET_E_NOMEM;
    set->types = calloc(1, sizeof(set->types[0]));
    set->counts = calloc(1, sizeof(set->counts[0]));
    uint32_t *sizes = reallocarray(NULL, units, sizeof(sizes[0]));
    if (set->types == NULL || set->counts == NULL || sizes == NULL) {
        free(sizes);
        gpulet_device_set_destroy(set);
        return GPULET_E_NOMEM;
    }
    uint32_t sizes_count = 0;
    for (uint32_t size = step; size < units; size += step)
        sizes[sizes_count++] = size;
    sizes[sizes_count++] = units;
    gpulet_device_type_t *type = &set->types[0];
    memcpy(type->name, name, strlen(name) + 1);
    type->units = units;
    type->sizes_count = sizes_count;
    type->sizes = sizes;
    type->gpulets_max = gpulets_max;
    type->memory_mb = memory_mb;
    type->cost = 1;
    set->types_count = 1;
    set->counts[0] = count;
    *out = set;
    return GPULET_OK;
}

int gpulet_device_set_find(const gpulet_device_set_t *set, const char *name)
{
    for (uint32_t i = 0; i < set->types_count; i++) {
        if (strcmp(set->types[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

static gpulet_status_t parse_count(int32_t *out, const char *text, size_t len, gpulet_error_t *err)
{
    int64_t value = 0;
    char found[GPULET_TEXT_EXCERPT_SIZE];
    if (gpulet_parse_i64(&value, text, len) == GPULET_OK &&
        (value == -1 || (value >= 1 && value <= GPULET_DEVICE_COUNT_MAX))) {
        *out = (int32_t)value;
        return GPULET_OK;
    }
    return gpulet_fail(err, GPULET_E_INVALID,
                       "count: expected a whole number from 1 to %d, or -1, found %s",
                       GPULET_DEVICE_COUNT_MAX, gpulet_text_excerpt(found, text, len));
}

/* "type=N" into counts; given[] says which types were named before. */
static gpulet_status_t parse_pair(const gpulet_device_set_t *set, const char *text, size_t len,
                                  int32_t *counts, bool *given, gpulet_error_t *err)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    const char *equals = memrchr(text, '=', len);
    if (equals == NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "count: expected type=N for each of several types, found %s",
                           gpulet_text_excerpt(found, text, len));
    size_t name_len = (size_t)(equals - text);
    for (uint32_t i = 0; i < set->types_count; i++) {
        const char *name = set->types[i].name;
        if (strlen(name) != name_len || memcmp(name, text, name_len) != 0)
            continue;
        if (given[i])
            return gpulet_fail(err, GPULET_E_INVALID,
                               "count: expected each device type once, found %s twice", name);
        given[i] = true;
        return parse_count(&counts[i], equals + 1, len - name_len - 1, err);
    }
    return gpulet_fail(err, GPULET_E_INVALID, "count: expected a known device type, found %s",
                       gpulet_text_excerpt(found, text, name_len));
}

gpulet_status_t gpulet_device_set_override_counts(gpulet_device_set_t *set, const char *text,
                                                  gpulet_error_t *err)
{
    int32_t counts[GPULET_DEVICE_TYPES_MAX];
    bool given[GPULET_DEVICE_TYPES_MAX] = {false};
    gpulet_status_t st = GPULET_OK;
    assert(set->types_count >= 1 && set->types_count <= GPULET_DEVICE_TYPES_MAX);
    memcpy(counts, set->counts, set->types_count * sizeof(counts[0]));
    if (set->types_count == 1 && strchr(text, '=') == NULL) {
        st = parse_count(&counts[0], text, strlen(text), err);
    } else {
        for (const char *at = text; st == GPULET_OK; at++) {
            size_t len = strcspn(at, ",");
            st = parse_pair(set, at, len, counts, given, err);
            at += len;
            if (*at == '\0')
                break;
        }
    }
    if (st == GPULET_OK)
        memcpy(set->counts, counts, set->types_count * sizeof(counts[0]));
    return st;
}

double gpulet_device_type_models_mb(const gpulet_device_type_t *type, uint32_t size)
{
    double most_mb =
        type->memory_mb_by_size != NULL ? type->memory_mb_by_size[size] : type->memory_mb;
    return most_mb - type->memory_mb_process;
}

int gpulet_device_type_size_index(const gpulet_device_type_t *type, uint32_t units)
{
    uint32_t low = 0;
    uint32_t high = type->sizes_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (type->sizes[middle] < units)
            low = middle + 1;
        else
            high = middle;
    }
    return low < type->sizes_count && type->sizes[low] == units ? (int)low : -1;
}
