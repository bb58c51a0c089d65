#include "cmd/cmd_planning.h"

#include <string.h>

#include "cmd/cmd.h"
#include "device/backend.h"

void cmd_planning_close(cmd_planning_files_t *files)
{
    gpulet_profile_destroy(files->profile);
    gpulet_device_set_destroy(files->devices);
    gpulet_interference_destroy(files->interference);
}

static gpulet_status_t own_cpu(gpulet_device_set_t **out, gpulet_error_t *err)
{
    gpulet_device_desc_t desc;
    uint32_t count = 0;
    gpulet_device_options_t options = {0};
    gpulet_status_t st = gpulet_device_backend_find("cpu")->probe(&desc, 1, &count, &options, err);
    if (st != GPULET_OK)
        return st;
    return gpulet_device_set_create_simple(out, desc.type, desc.units, desc.memory_mb,
                                           (int32_t)count);
}

static gpulet_status_t interpolate(cmd_planning_files_t *files, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < files->devices->types_count; i++) {
        const gpulet_device_type_t *type = &files->devices->types[i];
        gpulet_status_t st = gpulet_profile_interpolate_units(files->profile, type->name,
                                                              type->sizes, type->sizes_count, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

int cmd_planning_open(cmd_planning_files_t *files, const cmd_planning_t *s, gpulet_error_t *err)
{
    bool glet = strcmp(s->format, "glet") == 0;
    if (!glet && strcmp(s->format, "csv") != 0) {
        (void)gpulet_fail(err, GPULET_E_INVALID, "--format: expected csv or glet, found '%s'",
                          s->format);
        return CMD_USAGE;
    }
    gpulet_status_t st = s->devices != NULL
                             ? gpulet_device_set_load(&files->devices, s->devices, err)
                             : own_cpu(&files->devices, err);
    if (st == GPULET_OK && s->count != NULL &&
        gpulet_device_set_override_counts(files->devices, s->count, err) != GPULET_OK)
        return CMD_USAGE;
    if (st == GPULET_OK)
        st = gpulet_profile_load(&files->profile, s->profiles,
                                 glet ? GPULET_PROFILE_FORMAT_GLET : GPULET_PROFILE_FORMAT_CSV,
                                 glet ? files->devices->types[0].name : NULL, err);
    if (st == GPULET_OK && s->interference != NULL)
        st = gpulet_interference_load(&files->interference, s->interference, err);
    if (st == GPULET_OK && s->interpolate_units)
        st = interpolate(files, err);
    return st == GPULET_OK ? CMD_DONE : CMD_FAILED;
}

gpulet_plan_input_t cmd_planning_input(const cmd_planning_files_t *files, const cmd_planning_t *s)
{
    return (gpulet_plan_input_t){
        .profile = files->profile,
        .devices = files->devices,
        .interference = files->interference,
        .latency_margin = s->latency_margin,
        .slo_fraction = s->slo_fraction,
        .rate_percentile = s->rate_percentile,
        .p99 = s->p99,
        .prototype_duty = s->prototype_duty,
    };
}
