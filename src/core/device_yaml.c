/* Reads device types from YAML. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/device_type.h"
#include "core/text.h"
#include "core/yaml_reader.h"

enum { FILE_SIZE_MAX = 1 << 20 };

/* The keys of a device type, in the order of type_keys. */
enum {
    KEY_UNITS,
    KEY_SIZES,
    KEY_GPULETS_MAX,
    KEY_MODELS_MAX,
    KEY_MEMORY_MB,
    KEY_MEMORY_MB_BY_SIZE,
    KEY_PLACEMENT,
    KEY_ISOLATED,
    KEY_COST,
    KEY_MEMORY_HEADROOM,
    KEY_MEMORY_MB_PROCESS,
    KEY_NETWORK_GBPS,
    KEYS_COUNT
};

static const char *const type_keys[] = {"units",
                                        "sizes",
                                        "gpulets_max",
                                        "models_max",
                                        "memory_mb",
                                        "memory_mb_by_size",
                                        "placement",
                                        "isolated",
                                        "cost",
                                        "memory_headroom",
                                        "memory_mb_process",
                                        "network_gbps",
                                        NULL};

/* What a list of numbers may hold. */
typedef struct list_limits {
    uint32_t count_max;
    uint32_t min;
    uint32_t max;
} list_limits_t;

static int compare_u32(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* Reads a list of different whole numbers into out[0..limits->count_max), ascending. */
static gpulet_status_t read_list(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 const list_limits_t *limits, uint32_t *out, uint32_t *count)
{
    *count = 0;
    if (node->type != YAML_SEQUENCE_NODE)
        return gpulet_yaml_fail(r, node, field, "a list");
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        if (*count == limits->count_max)
            return gpulet_fail(r->err, GPULET_E_TOO_LARGE,
                               "%s:%zu: %s: expected at most %u entries, found more", r->file,
                               node->start_mark.line + 1, field, limits->count_max);
        gpulet_status_t st = gpulet_yaml_u32(r, gpulet_yaml_node(r, *item), field, &out[*count],
                                             limits->min, limits->max);
        if (st != GPULET_OK)
            return st;
        ++*count;
    }
    if (*count == 0)
        return gpulet_yaml_fail_missing(r, node, field, "at least one entry");
    qsort(out, *count, sizeof(out[0]), compare_u32);
    for (uint32_t i = 1; i < *count; i++) {
        if (out[i] == out[i - 1])
            return gpulet_fail(r->err, GPULET_E_INVALID,
                               "%s:%zu: %s: expected each number once, found %u twice", r->file,
                               node->start_mark.line + 1, field, out[i]);
    }
    return GPULET_OK;
}

static gpulet_status_t read_sizes(const gpulet_yaml_t *r, const yaml_node_t *node,
                                  gpulet_device_type_t *type)
{
    list_limits_t limits = {GPULET_DEVICE_SIZES_MAX, 1, type->units};
    type->sizes = reallocarray(NULL, GPULET_DEVICE_SIZES_MAX, sizeof(type->sizes[0]));
    if (type->sizes == NULL)
        return gpulet_yaml_fail_memory(r);
    return read_list(r, node, "sizes", &limits, type->sizes, &type->sizes_count);
}

/* The size that a key of a mapping by size names, as an index into type->sizes. */
static gpulet_status_t read_size_key(const gpulet_yaml_t *r, const yaml_node_t *key,
                                     const char *field, const gpulet_device_type_t *type,
                                     uint32_t *index)
{
    uint32_t units = 0;
    gpulet_status_t st = gpulet_yaml_u32(r, key, field, &units, 1, type->units);
    if (st != GPULET_OK)
        return st;
    int found = gpulet_device_type_size_index(type, units);
    if (found < 0)
        return gpulet_yaml_fail(r, key, field, "one of the sizes");
    *index = (uint32_t)found;
    return GPULET_OK;
}

static gpulet_status_t fail_size(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 uint32_t units)
{
    return gpulet_fail(r->err, GPULET_E_INVALID,
                       "%s:%zu: %s: expected an entry for every size, found none for %u", r->file,
                       node->start_mark.line + 1, field, units);
}

static gpulet_status_t read_memory_by_size(const gpulet_yaml_t *r, const yaml_node_t *node,
                                           gpulet_device_type_t *type)
{
    const char *field = "memory_mb_by_size";
    gpulet_status_t st = gpulet_yaml_check_mapping(r, node, field, GPULET_DEVICE_SIZES_MAX);
    if (st != GPULET_OK)
        return st;
    type->memory_mb_by_size = calloc(type->sizes_count, sizeof(double));
    if (type->memory_mb_by_size == NULL)
        return gpulet_yaml_fail_memory(r);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        uint32_t index = 0;
        st = read_size_key(r, gpulet_yaml_node(r, pair->key), field, type, &index);
        if (st == GPULET_OK && type->memory_mb_by_size[index] > 0)
            st = gpulet_yaml_fail(r, gpulet_yaml_node(r, pair->key), field, "each size once");
        if (st == GPULET_OK)
            st = gpulet_yaml_positive(r, gpulet_yaml_node(r, pair->value), field,
                                      &type->memory_mb_by_size[index]);
        if (st != GPULET_OK)
            return st;
    }
    for (uint32_t i = 0; i < type->sizes_count; i++) {
        if (type->memory_mb_by_size[i] <= 0)
            return fail_size(r, node, field, type->sizes[i]);
    }
    return GPULET_OK;
}

/* {length: L, starts: [S, …]} */
static gpulet_status_t read_placement(const gpulet_yaml_t *r, const yaml_node_t *node,
                                      uint32_t slots, gpulet_placement_t *placement)
{
    static const char *const names[] = {"length", "starts", NULL};
    const yaml_node_t *values[2];
    gpulet_status_t st = gpulet_yaml_check_mapping(r, node, "placement", GPULET_DEVICE_SIZES_MAX);
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, node, names, false, values);
    if (st != GPULET_OK)
        return st;
    if (values[0] == NULL)
        return gpulet_yaml_fail_missing(r, node, "length", "the slots that the size covers");
    if (values[1] == NULL)
        return gpulet_yaml_fail_missing(r, node, "starts", "the slots where the size may start");
    if ((st = gpulet_yaml_u32(r, values[0], "length", &placement->length, 1, slots)) != GPULET_OK)
        return st;
    list_limits_t limits = {GPULET_DEVICE_STARTS_MAX, 0, slots - placement->length};
    return read_list(r, values[1], "starts", &limits, placement->starts, &placement->starts_count);
}

static gpulet_status_t read_placements(const gpulet_yaml_t *r, const yaml_node_t *node,
                                       gpulet_device_type_t *type)
{
    static const char *const names[] = {"slots", NULL};
    const yaml_node_t *slots = NULL;
    gpulet_status_t st =
        gpulet_yaml_check_mapping(r, node, "placement", GPULET_DEVICE_SIZES_MAX + 1);
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, node, names, true, &slots);
    if (st == GPULET_OK && slots == NULL)
        st = gpulet_yaml_fail_missing(r, node, "slots", "the slots of the device");
    if (st == GPULET_OK)
        st = gpulet_yaml_u32(r, slots, "slots", &type->slots, 1, GPULET_DEVICE_SLOTS_MAX);
    if (st != GPULET_OK)
        return st;
    type->placements = calloc(type->sizes_count, sizeof(type->placements[0]));
    if (type->placements == NULL)
        return gpulet_yaml_fail_memory(r);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
        uint32_t index = 0;
        if (gpulet_yaml_key_index(key, names) >= 0)
            continue;
        st = read_size_key(r, key, "placement", type, &index);
        if (st == GPULET_OK && type->placements[index].length > 0)
            st = gpulet_yaml_fail(r, key, "placement", "each size once");
        if (st == GPULET_OK)
            st = read_placement(r, gpulet_yaml_node(r, pair->value), type->slots,
                                &type->placements[index]);
        if (st != GPULET_OK)
            return st;
    }
    for (uint32_t i = 0; i < type->sizes_count; i++) {
        if (type->placements[i].length == 0)
            return fail_size(r, node, "placement", type->sizes[i]);
    }
    return GPULET_OK;
}

/* Takes the headroom off: the part of the memory that may be used. */
static gpulet_status_t read_headroom(const gpulet_yaml_t *r, const yaml_node_t *node,
                                     gpulet_device_type_t *type)
{
    double part = 0;
    if (gpulet_yaml_positive(r, node, "memory_headroom", &part) != GPULET_OK || part > 1)
        return gpulet_yaml_fail(r, node, "memory_headroom", "a number above 0 and at most 1");
    type->memory_mb *= part;
    for (uint32_t i = 0; type->memory_mb_by_size != NULL && i < type->sizes_count; i++)
        type->memory_mb_by_size[i] *= part;
    return GPULET_OK;
}

/* The keys that need nothing but units and sizes, each with a default. */
static gpulet_status_t read_limits(const gpulet_yaml_t *r, const yaml_node_t *const *values,
                                   gpulet_device_type_t *type)
{
    gpulet_status_t st = GPULET_OK;
    type->gpulets_max = type->units;
    type->memory_mb = INFINITY;
    type->cost = 1;
    type->cost_given = values[KEY_COST] != NULL;
    if (values[KEY_GPULETS_MAX] != NULL)
        st = gpulet_yaml_u32(r, values[KEY_GPULETS_MAX], "gpulets_max", &type->gpulets_max, 1,
                             GPULET_DEVICE_UNITS_MAX);
    if (st == GPULET_OK && values[KEY_MODELS_MAX] != NULL)
        st = gpulet_yaml_u32(r, values[KEY_MODELS_MAX], "models_max", &type->models_max, 0,
                             GPULET_DEVICE_UNITS_MAX);
    if (st == GPULET_OK && values[KEY_MEMORY_MB] != NULL)
        st = gpulet_yaml_positive(r, values[KEY_MEMORY_MB], "memory_mb", &type->memory_mb);
    if (st == GPULET_OK && values[KEY_ISOLATED] != NULL)
        st = gpulet_yaml_bool(r, values[KEY_ISOLATED], "isolated", &type->isolated);
    if (st == GPULET_OK && values[KEY_COST] != NULL)
        st = gpulet_yaml_positive(r, values[KEY_COST], "cost", &type->cost);
    if (st == GPULET_OK && values[KEY_MEMORY_MB_PROCESS] != NULL)
        st = gpulet_yaml_positive(r, values[KEY_MEMORY_MB_PROCESS], "memory_mb_process",
                                  &type->memory_mb_process);
    if (st == GPULET_OK && values[KEY_NETWORK_GBPS] != NULL)
        st = gpulet_yaml_positive(r, values[KEY_NETWORK_GBPS], "network_gbps", &type->network_gbps);
    return st;
}

static gpulet_status_t read_type(const gpulet_yaml_t *r, const yaml_node_t *node,
                                 gpulet_device_type_t *type)
{
    const yaml_node_t *values[KEYS_COUNT];
    gpulet_status_t st = gpulet_yaml_check_mapping(r, node, type->name, GPULET_DEVICE_SIZES_MAX);
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, node, type_keys, false, values);
    if (st != GPULET_OK)
        return st;
    if (values[KEY_UNITS] == NULL)
        return gpulet_yaml_fail_missing(r, node, "units", "the size of the whole device");
    if (values[KEY_SIZES] == NULL)
        return gpulet_yaml_fail_missing(r, node, "sizes", "a list of gpu-let sizes");
    st = gpulet_yaml_u32(r, values[KEY_UNITS], "units", &type->units, 1, GPULET_DEVICE_UNITS_MAX);
    if (st == GPULET_OK)
        st = read_sizes(r, values[KEY_SIZES], type);
    if (st == GPULET_OK)
        st = read_limits(r, values, type);
    if (st == GPULET_OK && values[KEY_MEMORY_MB_BY_SIZE] != NULL)
        st = read_memory_by_size(r, values[KEY_MEMORY_MB_BY_SIZE], type);
    if (st == GPULET_OK && values[KEY_MEMORY_HEADROOM] != NULL)
        st = read_headroom(r, values[KEY_MEMORY_HEADROOM], type);
    if (st == GPULET_OK && values[KEY_PLACEMENT] != NULL)
        st = read_placements(r, values[KEY_PLACEMENT], type);
    return st;
}

static gpulet_status_t read_types(const gpulet_yaml_t *r, const yaml_node_t *node,
                                  gpulet_device_set_t *set)
{
    gpulet_status_t st = gpulet_yaml_check_mapping(r, node, "types", GPULET_DEVICE_TYPES_MAX);
    if (st != GPULET_OK)
        return st;
    if (gpulet_yaml_pairs(node) == 0)
        return gpulet_yaml_fail_missing(r, node, "types", "at least one device type");
    set->types = calloc(gpulet_yaml_pairs(node), sizeof(set->types[0]));
    set->counts = calloc(gpulet_yaml_pairs(node), sizeof(set->counts[0]));
    if (set->types == NULL || set->counts == NULL)
        return gpulet_yaml_fail_memory(r);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
        set->counts[set->types_count] = -1;
        gpulet_device_type_t *type = &set->types[set->types_count++];
        st = gpulet_yaml_name(r, key, "types", type->name, GPULET_DEVICE_NAME_MAX);
        if (st == GPULET_OK)
            st = read_type(r, gpulet_yaml_node(r, pair->value), type);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_count(const gpulet_yaml_t *r, const yaml_node_t *node, int32_t *out)
{
    if (node->type == YAML_SCALAR_NODE && node->data.scalar.length == 2 &&
        memcmp(node->data.scalar.value, "-1", 2) == 0) {
        *out = -1;
        return GPULET_OK;
    }
    uint32_t count = 0;
    gpulet_yaml_t quiet = {r->document, r->file, NULL};
    if (gpulet_yaml_u32(&quiet, node, "devices", &count, 1, GPULET_DEVICE_COUNT_MAX) != GPULET_OK)
        return gpulet_yaml_fail(r, node, "devices",
                                "a number of devices of at least 1, or -1 for as many as needed");
    *out = (int32_t)count;
    return GPULET_OK;
}

static gpulet_status_t read_counts(const gpulet_yaml_t *r, const yaml_node_t *node,
                                   gpulet_device_set_t *set)
{
    gpulet_status_t st = gpulet_yaml_check_mapping(r, node, "devices", GPULET_DEVICE_TYPES_MAX);
    if (st != GPULET_OK)
        return st;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
        const char *name = (const char *)key->data.scalar.value;
        int index =
            strlen(name) == key->data.scalar.length ? gpulet_device_set_find(set, name) : -1;
        if (index < 0)
            return gpulet_yaml_fail(r, key, "devices", "one of the types");
        if ((st = read_count(r, gpulet_yaml_node(r, pair->value), &set->counts[index])) !=
            GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static gpulet_status_t read_root(const gpulet_yaml_t *r, void *context)
{
    gpulet_device_set_t *set = context;
    static const char *const names[] = {"types", "devices", NULL};
    const yaml_node_t *values[2];
    const yaml_node_t *root = yaml_document_get_root_node(r->document);
    if (root == NULL)
        return gpulet_fail(r->err, GPULET_E_INVALID,
                           "%s:1: types: expected device types, found an empty file", r->file);
    gpulet_status_t st = gpulet_yaml_check_mapping(r, root, "file", GPULET_DEVICE_TYPES_MAX);
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, root, names, false, values);
    if (st == GPULET_OK && values[0] == NULL)
        st = gpulet_yaml_fail_missing(r, root, "types", "device types");
    if (st == GPULET_OK)
        st = read_types(r, values[0], set);
    if (st == GPULET_OK && values[1] != NULL)
        st = read_counts(r, values[1], set);
    return st;
}

gpulet_status_t gpulet_device_set_parse(gpulet_device_set_t **out, const char *text, size_t size,
                                        const char *file, gpulet_error_t *err)
{
    if (size > FILE_SIZE_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s: larger than %d bytes", file,
                           FILE_SIZE_MAX);
    gpulet_device_set_t *set = calloc(1, sizeof(*set));
    if (set == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    gpulet_status_t st = gpulet_yaml_read(text, size, file, read_root, set, err);
    if (st == GPULET_OK)
        *out = set;
    else
        gpulet_device_set_destroy(set);
    return st;
}

gpulet_status_t gpulet_device_set_load(gpulet_device_set_t **out, const char *path,
                                       gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_device_set_parse(out, text, size, path, err);
    free(text);
    return st;
}
