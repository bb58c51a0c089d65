#include "device/fake/fake.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/parse.h"
#include "device/cpulist.h"
#include "device/partition.h"

enum {
    UNITS_MAX = 1024,
    COUNT_MAX = 1024,
    TYPES_MAX = GPULET_DEVICE_TYPES_MAX,
    MEMORY_MB_MAX = 1 << 30,
    GONE_SIZE_MAX = 1 << 16
};

#define FAKE_MEMORY_MB 1048576.0
#define FAKE_DEFAULT   "fake:100:1"

typedef struct fake_type {
    char name[GPULET_DEVICE_NAME_MAX + 1];
    uint32_t units;
    uint32_t count;
    double memory_mb;
} fake_type_t;

static char entered[GPULET_GRANT_MAX + 1];

const char *gpulet_device_fake_entered(void)
{
    return entered;
}

static bool name_valid(const char *name, size_t size)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (size == 0 || size > GPULET_DEVICE_NAME_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (name[i] == '\0' || strchr(allowed, name[i]) == NULL)
            return false;
    }
    return true;
}

static gpulet_status_t parse_number(uint32_t *out, const char *text, size_t size, uint32_t max,
                                    const char *what, gpulet_error_t *err)
{
    uint64_t value = 0;
    if (gpulet_parse_u64(&value, text, size) != GPULET_OK || value < 1 || value > max)
        return gpulet_fail(err, GPULET_E_INVALID, "%s '%.*s' is no number from 1 to %u", what,
                           (int)(size < 32 ? size : 32), text, max);
    *out = (uint32_t)value;
    return GPULET_OK;
}

static gpulet_status_t parse_type(fake_type_t *out, const char *text, size_t size,
                                  gpulet_error_t *err)
{
    const char *end = text + size;
    const char *units = memchr(text, ':', size);
    const char *count = units == NULL ? NULL : memchr(units + 1, ':', (size_t)(end - units - 1));
    const char *memory = count == NULL ? NULL : memchr(count + 1, ':', (size_t)(end - count - 1));
    const char *count_end = memory != NULL ? memory : end;
    uint32_t memory_mb = 0;
    if (count == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "'%.*s' is not type:units:count[:memory_mb]",
                           (int)(size < 96 ? size : 96), text);
    size_t name_size = (size_t)(units - text);
    if (!name_valid(text, name_size))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "'%.*s' is no type name: 1 to %d letters, digits, '.', '_', '-'",
                           (int)(name_size < 96 ? name_size : 96), text, GPULET_DEVICE_NAME_MAX);
    memcpy(out->name, text, name_size);
    out->name[name_size] = '\0';
    gpulet_status_t st =
        parse_number(&out->units, units + 1, (size_t)(count - units - 1), UNITS_MAX, "units", err);
    if (st != GPULET_OK)
        return st;
    st = parse_number(&out->count, count + 1, (size_t)(count_end - count - 1), COUNT_MAX, "count",
                      err);
    out->memory_mb = FAKE_MEMORY_MB;
    if (st != GPULET_OK || memory == NULL)
        return st;
    st = parse_number(&memory_mb, memory + 1, (size_t)(end - memory - 1), MEMORY_MB_MAX,
                      "memory_mb", err);
    out->memory_mb = memory_mb;
    return st;
}

static gpulet_status_t parse_spec(fake_type_t *types, uint32_t *types_count, const char *spec,
                                  gpulet_error_t *err)
{
    uint32_t count = 0;
    gpulet_status_t st = GPULET_OK;
    for (const char *at = spec; st == GPULET_OK;) {
        const char *comma = strchr(at, ',');
        size_t size = comma == NULL ? strlen(at) : (size_t)(comma - at);
        if (count == TYPES_MAX)
            st = gpulet_fail(err, GPULET_E_INVALID, "more than %d types", TYPES_MAX);
        else
            st = parse_type(&types[count], at, size, err);
        for (uint32_t i = 0; st == GPULET_OK && i < count; i++) {
            if (strcmp(types[i].name, types[count].name) == 0)
                st = gpulet_fail(err, GPULET_E_INVALID, "type '%s' stands there twice",
                                 types[i].name);
        }
        count++;
        if (comma == NULL)
            break;
        at = comma + 1;
    }
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "fake devices '%.200s'", spec);
    else
        *types_count = count;
    return st;
}

static const char *spec_of(const gpulet_device_options_t *options)
{
    return options == NULL || options->fake_spec == NULL ? FAKE_DEFAULT : options->fake_spec;
}

static void describe_device(gpulet_device_desc_t *out, const fake_type_t *type, uint32_t index)
{
    memset(out, 0, sizeof(*out));
    memcpy(out->type, type->name, sizeof(out->type));
    out->index = index;
    out->units = type->units;
    out->step = 1;
    out->gpulets_max = type->units;
    out->memory_mb = type->memory_mb;
    out->caps = GPULET_CAP_RESIZE_LIVE | GPULET_CAP_RESERVED;
    (void)snprintf(out->text, sizeof(out->text), "a fake %s of %u unit%s", type->name, type->units,
                   type->units == 1 ? "" : "s");
}

static gpulet_status_t fake_probe(gpulet_device_desc_t *out, uint32_t cap, uint32_t *count,
                                  const gpulet_device_options_t *options, gpulet_error_t *err)
{
    fake_type_t types[TYPES_MAX] = {0};
    uint32_t types_count = 0;
    uint32_t total = 0;
    gpulet_status_t st = parse_spec(types, &types_count, spec_of(options), err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t t = 0; t < types_count; t++) {
        for (uint32_t i = 0; i < types[t].count; i++, total++) {
            if (total < cap)
                describe_device(&out[total], &types[t], i);
        }
    }
    *count = total;
    return GPULET_OK;
}

static void describe(gpulet_partition_t *partition)
{
    const gpulet_device_desc_t *desc = &partition->device->desc;
    gpulet_cpulist_t units = {{0}};
    char list[GPULET_PARTITION_TEXT_MAX - GPULET_DEVICE_NAME_MAX - 32];
    for (uint32_t i = 0; i < partition->count; i++)
        gpulet_cpulist_set(&units, partition->units[i]);
    (void)gpulet_cpulist_format(list, sizeof(list), &units);
    (void)snprintf(partition->text, sizeof(partition->text), "%s %u units %s", desc->type,
                   desc->index, list);
}

static gpulet_status_t fake_open(gpulet_device_t **out, uint32_t index,
                                 const gpulet_device_options_t *options, gpulet_error_t *err)
{
    fake_type_t types[TYPES_MAX] = {0};
    uint32_t types_count = 0;
    uint32_t below = 0;
    gpulet_device_desc_t desc;
    gpulet_status_t st = parse_spec(types, &types_count, spec_of(options), err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t t = 0; t < types_count; below += types[t].count, t++) {
        if (index - below >= types[t].count)
            continue;
        describe_device(&desc, &types[t], index - below);
        return gpulet_device_create(out, &desc, NULL, describe, err);
    }
    return gpulet_fail(err, GPULET_E_NOT_FOUND, "there are %u fake devices, not a number %u", below,
                       index);
}

/* "fake:gpu/1:0-49" */
static gpulet_status_t fake_grant(char *out, size_t out_size, const gpulet_partition_t *partition)
{
    const gpulet_device_desc_t *desc = &partition->device->desc;
    gpulet_cpulist_t units = {{0}};
    char list[GPULET_GRANT_MAX + 1];
    for (uint32_t i = 0; i < partition->count; i++)
        gpulet_cpulist_set(&units, partition->units[i]);
    if (gpulet_cpulist_format(list, sizeof(list), &units) == 0)
        return GPULET_E_TOO_LARGE;
    int size = snprintf(out, out_size, "fake:%s/%u:%s", desc->type, desc->index, list);
    if (size < 0 || (size_t)size >= out_size || size > GPULET_GRANT_MAX)
        return GPULET_E_TOO_LARGE;
    return GPULET_OK;
}

static gpulet_status_t fake_enter(const char *grant, gpulet_device_entry_t *entry,
                                  gpulet_error_t *err)
{
    gpulet_cpulist_t units;
    size_t size = strlen(grant);
    const char *slash = strchr(grant, '/');
    const char *colon = slash == NULL ? NULL : strchr(slash, ':');
    uint64_t index = 0;
    if (size > GPULET_GRANT_MAX || strncmp(grant, "fake:", 5) != 0 || colon == NULL ||
        !name_valid(grant + 5, (size_t)(slash - grant) - 5) ||
        gpulet_parse_u64(&index, slash + 1, (size_t)(colon - slash - 1)) != GPULET_OK ||
        gpulet_cpulist_parse(&units, colon + 1, strlen(colon + 1), NULL) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INVALID, "grant '%.100s' is not fake:type/index:units",
                           grant);
    memcpy(entered, grant, size + 1);
    /* Its units are no cores. */
    *entry = (gpulet_device_entry_t){.threads = 1, .provider = "cpu"};
    return GPULET_OK;
}

/* There are no threads to move: a copy of a model on the fake engine sleeps as its profile says for
 * all its units. */
static gpulet_status_t fake_lend(pid_t worker, const gpulet_partition_t *own,
                                 const gpulet_partition_t *const *lenders, size_t lenders_count,
                                 gpulet_error_t *err)
{
    (void)worker;
    (void)own;
    (void)lenders;
    (void)lenders_count;
    (void)err;
    return GPULET_OK;
}

/* As long as the file names it. */
static gpulet_status_t fake_health(const gpulet_device_t *device,
                                   const gpulet_device_options_t *options, gpulet_error_t *err)
{
    char name[GPULET_DEVICE_NAME_MAX + 16];
    char *text = NULL;
    size_t size = 0;
    bool gone = false;
    if (options->fake_gone == NULL ||
        gpulet_file_read(&text, &size, options->fake_gone, GONE_SIZE_MAX, NULL) != GPULET_OK)
        return GPULET_OK;
    (void)snprintf(name, sizeof(name), "%s/%u", device->desc.type, device->desc.index);
    for (const char *line = text; *line != '\0' && !gone;) {
        size_t length = strcspn(line, "\n");
        gone = length == strlen(name) && strncmp(line, name, length) == 0;
        line += length;
        line += *line == '\n';
    }
    free(text);
    return gone ? gpulet_fail(err, GPULET_E_UNAVAILABLE, "%s is said to be gone", name) : GPULET_OK;
}

/* Of all its memory a sixteenth is in use; it has no sensor of the power that it takes. */
static gpulet_status_t fake_telemetry(gpulet_device_telemetry_t *out, const gpulet_device_t *device,
                                      gpulet_error_t *err)
{
    const uint64_t bytes = (uint64_t)(device->desc.memory_mb * 1048576.0);
    (void)err;
    *out = (gpulet_device_telemetry_t){.memory_total_bytes = bytes,
                                       .memory_used_bytes = bytes / 16,
                                       .utilization = 0.5,
                                       .power_watts = -1.0,
                                       .power_limit_watts = 300.0};
    (void)snprintf(out->uuid, sizeof(out->uuid), "FAKE-%s-%u", device->desc.type,
                   device->desc.index);
    return GPULET_OK;
}

const gpulet_device_backend_t gpulet_device_fake = {
    .abi_version = GPULET_DEVICE_ABI,
    .name = "fake",
    .probe = fake_probe,
    .open = fake_open,
    .close = gpulet_device_destroy,
    .carve = gpulet_partition_carve,
    .grant = fake_grant,
    .health = fake_health,
    .telemetry = fake_telemetry,
    .enter = fake_enter,
    .settle = gpulet_partition_settle,
    .lend = fake_lend,
    .release = gpulet_partition_release,
    .units = gpulet_partition_units,
    .describe = gpulet_partition_describe,
};
