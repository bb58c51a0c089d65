#include "cmd/cmd_planning.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cmd/cmd.h"
#include "core/glet.h"
#include "core/host_cost.h"
#include "device/backend.h"
#include "solve/solve.h"

enum { GLET_FILE_SIZE_MAX = 64 << 20, DEVICES_MAX = 64 };

void cmd_planning_close(cmd_planning_files_t *files)
{
    gpulet_profile_destroy(files->profile);
    gpulet_device_set_destroy(files->devices);
    gpulet_interference_destroy(files->interference);
}

/* The devices of this machine, which must be of one type: others need a file. */
static gpulet_status_t own_devices(gpulet_device_set_t **out, const cmd_planning_t *s,
                                   gpulet_error_t *err)
{
    gpulet_device_desc_t descs[DEVICES_MAX];
    uint32_t count = 0;
    gpulet_device_options_t options = {.mps_step = (uint32_t)s->mps_step};
    const gpulet_device_backend_t *backend = gpulet_device_backend_find(s->device);
    gpulet_status_t st = backend->probe(descs, DEVICES_MAX, &count, &options, err);
    if (st != GPULET_OK)
        return st;
    for (uint32_t i = 1; i < count && i < DEVICES_MAX; i++) {
        if (strcmp(descs[i].type, descs[0].type) != 0)
            return gpulet_fail(err, GPULET_E_INVALID, "devices of several types need --devices");
    }
    return gpulet_device_set_create_stepped(out, descs[0].type, descs[0].units, descs[0].step,
                                            descs[0].gpulets_max, descs[0].memory_mb,
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

bool cmd_planning_glet(const cmd_planning_t *s)
{
    return strcmp(s->format, "glet") == 0;
}

bool cmd_planning_elastic_best(const cmd_planning_t *s)
{
    return strcmp(s->elastic, "best") == 0;
}

/* ---- words ---- */

/* Index of the word in names (NULL-terminated), or -1. */
static int word_index(const char *const *names, const char *word)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], word) == 0)
            return i;
    }
    return -1;
}

static gpulet_status_t check_word(const char *option, const char *const *names, const char *word,
                                  gpulet_error_t *err)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    if (word_index(names, word) >= 0)
        return GPULET_OK;
    for (int i = 0; names[i] != NULL; i++)
        gpulet_buf_printf(&text, "%s%s", i == 0 ? "" : ", ", names[i]);
    (void)gpulet_fail(err, GPULET_E_INVALID, "--%s: expected one of %s, found '%s'", option,
                      text.data, word);
    gpulet_buf_deinit(&text);
    return GPULET_E_INVALID;
}

/* In the order of the enums of plan/planner.h. */
static const char *const forms[] = {"best", "paper", "prototype", NULL};
static const char *const orders[] = {"default", "rate", "rate-slo", "load", "slo", "piece", NULL};
static const char *const knees[] = {"default", "curvature", "gain", NULL};

static gpulet_elastic_options_t elastic_of(const cmd_planning_t *s)
{
    return (gpulet_elastic_options_t){
        .form = (gpulet_elastic_form_t)word_index(forms, s->elastic),
        .order = (gpulet_elastic_order_t)word_index(orders, s->order),
        .knee = (gpulet_elastic_knee_t)word_index(knees, s->knee),
        .rate_slack_rps = s->rate_slack,
        .rate_enough = s->rate_enough,
        .residual_slack = s->residual_slack,
    };
}

static gpulet_status_t check_words(const cmd_planning_t *s, gpulet_error_t *err)
{
    static const char *const formats[] = {"csv", "glet", NULL};
    gpulet_status_t st = check_word("format", formats, s->format, err);
    if (st == GPULET_OK)
        st = check_word("elastic", forms, s->elastic, err);
    if (st == GPULET_OK)
        st = check_word("order", orders, s->order, err);
    if (st == GPULET_OK)
        st = check_word("knee", knees, s->knee, err);
    if (st != GPULET_OK)
        return st;
    gpulet_elastic_options_t o = elastic_of(s);
    if (o.form == GPULET_ELASTIC_FORM_BEST &&
        (o.order != 0 || o.knee != 0 || gpulet_elastic_lenient(&o)))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--elastic: expected paper or prototype, which the options of one pass "
                           "and its tolerances belong to, found 'best'");
    if (s->utilisation != NULL && !cmd_planning_glet(s))
        return gpulet_fail(err, GPULET_E_INVALID, "--utilisation: expected --format glet with it");
    if (s->utilisation != NULL && s->utilisation_scaled)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--utilisation-scaled: expected no --utilisation with it, which is "
                           "scaled as it is read");
    return GPULET_OK;
}

/* ---- files ---- */

static gpulet_status_t open_devices(cmd_planning_files_t *files, const cmd_planning_t *s,
                                    gpulet_error_t *err)
{
    if (s->devices == NULL)
        return own_devices(&files->devices, s, err);
    if (!cmd_planning_glet(s))
        return gpulet_device_set_load(&files->devices, s->devices, err);
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, s->devices, GLET_FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    size_t first = 0;
    while (first < size && isspace((unsigned char)text[first]))
        first++;
    /* device-config.json is JSON; our own YAML does as well. */
    st = first < size && text[first] == '{'
             ? gpulet_glet_devices_parse(&files->devices, text, size, s->devices, err)
             : gpulet_device_set_parse(&files->devices, text, size, s->devices, err);
    free(text);
    return st;
}

static gpulet_status_t read_interference(cmd_planning_files_t *files, const cmd_planning_t *s,
                                         gpulet_error_t *err)
{
    if (!cmd_planning_glet(s))
        return gpulet_interference_load(&files->interference, s->interference, err);
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, s->interference, GLET_FILE_SIZE_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_glet_constants_parse(&files->interference, files->devices->types[0].name, text,
                                         size, s->interference, err);
    free(text);
    return st;
}

static gpulet_status_t open_interference(cmd_planning_files_t *files, const cmd_planning_t *s,
                                         gpulet_error_t *err)
{
    gpulet_status_t st = read_interference(files, s, err);
    if (st != GPULET_OK)
        return st;
    return gpulet_interference_adjust(files->interference, s->interference_quantile,
                                      s->utilisation_scaled, s->interference, err);
}

static void replace_profile(cmd_planning_files_t *files, gpulet_profile_t *profile)
{
    gpulet_profile_destroy(files->profile);
    files->profile = profile;
}

static gpulet_status_t add_utilisation(cmd_planning_files_t *files, const cmd_planning_t *s,
                                       gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_profile_t *profile = NULL;
    gpulet_status_t st = gpulet_file_read(&text, &size, s->utilisation, GLET_FILE_SIZE_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_glet_utilisation_apply(&profile, files->profile, files->devices, text, size,
                                           s->utilisation, err);
    free(text);
    if (st == GPULET_OK)
        replace_profile(files, profile);
    return st;
}

static gpulet_status_t add_host_cost(cmd_planning_files_t *files, const cmd_planning_t *s,
                                     gpulet_error_t *err)
{
    gpulet_host_cost_t *cost = NULL;
    gpulet_profile_t *profile = NULL;
    gpulet_status_t st = gpulet_host_cost_load(&cost, s->host_cost, err);
    if (st == GPULET_OK)
        st = gpulet_host_cost_apply(&profile, files->profile, cost, err);
    gpulet_host_cost_destroy(cost);
    if (st == GPULET_OK)
        replace_profile(files, profile);
    return st;
}

/* Only without --devices is it asked for. */
static gpulet_status_t check_device(const cmd_planning_t *s, gpulet_error_t *err)
{
    if (s->devices != NULL || gpulet_device_backend_find(s->device) != NULL)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "--device: no backend is called '%s'", s->device);
}

int cmd_planning_open(cmd_planning_files_t *files, const cmd_planning_t *s, gpulet_error_t *err)
{
    bool glet = cmd_planning_glet(s);
    if (check_words(s, err) != GPULET_OK || check_device(s, err) != GPULET_OK)
        return CMD_USAGE;
    gpulet_status_t st = open_devices(files, s, err);
    if (st == GPULET_OK && s->count != NULL &&
        gpulet_device_set_override_counts(files->devices, s->count, err) != GPULET_OK)
        return CMD_USAGE;
    if (st == GPULET_OK)
        st = gpulet_profile_load(&files->profile, s->profiles,
                                 glet ? GPULET_PROFILE_FORMAT_GLET : GPULET_PROFILE_FORMAT_CSV,
                                 glet ? files->devices->types[0].name : NULL, err);
    if (st == GPULET_OK && s->utilisation != NULL)
        st = add_utilisation(files, s, err);
    if (st == GPULET_OK && s->interference != NULL)
        st = open_interference(files, s, err);
    if (st == GPULET_OK && s->interpolate_units)
        st = interpolate(files, err);
    if (st == GPULET_OK && s->host_cost != NULL)
        st = add_host_cost(files, s, err);
    return st == GPULET_OK ? CMD_DONE : CMD_FAILED;
}

gpulet_status_t cmd_planning_workload(gpulet_workload_t **out, cmd_planning_files_t *files,
                                      const cmd_planning_t *s, const char *path,
                                      const char *scenario, gpulet_error_t *err)
{
    if (!cmd_planning_glet(s))
        return gpulet_workload_load(out, path, scenario, err);
    char *text = NULL;
    size_t size = 0;
    gpulet_profile_t *profile = NULL;
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GLET_FILE_SIZE_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_glet_tasks_parse(&workload, text, size, path, err);
    free(text);
    if (st == GPULET_OK)
        st = gpulet_glet_alias(&profile, files->profile, workload, err);
    if (st == GPULET_OK) {
        replace_profile(files, profile);
        *out = workload;
    } else {
        gpulet_workload_destroy(workload);
    }
    return st;
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
        .elastic = elastic_of(s),
        .solver = gpulet_solve_coin(),
    };
}
