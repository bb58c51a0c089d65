/* `gpulet profile`: measures a repository on this machine, into a CSV and the store. Every point is
 * in the store as soon as it is measured, so a run that was broken off goes on where it stopped. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/parse.h"
#include "cmd/cmd.h"
#include "cmd/cmd_profile.h"
#include "server/profiler.h"
#include "store/content.h"

enum { RUNS_MIN = 5, LOAD_LIMIT_S = 300, EARLY_TICKS = 200 };

#define AT(field) offsetof(profile_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_profile_options[] = {
    {"model-repository", GPULET_OPTION_STRING, AT(model_repository), NULL, ANY, "DIR", "the models",
     "What"},
    {"models", GPULET_OPTION_STRING, AT(models), NULL, ANY, "A,B", "only these", NULL},
    {"batches", GPULET_OPTION_STRING, AT(batches), NULL, ANY, "1,2,4",
     "these batches [powers of two up to each model's largest]", NULL},
    {"sizes", GPULET_OPTION_STRING, AT(sizes), NULL, ANY, "1,2",
     "these gpu-let sizes, in device units [all up to 8, then powers of two]", NULL},
    {"batch-max", GPULET_OPTION_U64, AT(batch_max), "32", 1, 1024, "N",
     "largest batch of a model that does not say", NULL},
    {"device", GPULET_OPTION_STRING, AT(device), "cpu", ANY, "NAME",
     "device backend: cpu, mps (NVIDIA GPUs) or fake", "Where"},
    {"fake-devices", GPULET_OPTION_STRING, AT(fake_devices), "fake:100:1", ANY, "SPEC",
     "of the fake backend", NULL},
    {"reserve-cores", GPULET_OPTION_STRING, AT(reserve_cores), NULL, ANY, "CORES",
     "cores not to use", NULL},
    {"mps-step", GPULET_OPTION_U64, AT(mps_step), "10", 1, 100, "N",
     "of the mps backend: sizes are multiples of N percent", NULL},
    {"engine", GPULET_OPTION_STRING, AT(engine), "ort", ANY, "NAME", "ort or fake", NULL},
    {"ort-library", GPULET_OPTION_STRING, AT(ort_library), NULL, ANY, "PATH",
     "ONNX Runtime's shared library", NULL},
    {"fake-profile", GPULET_OPTION_STRING, AT(fake_profile), NULL, ANY, "FILE",
     "latencies of the fake engine", NULL},
    {"seconds", GPULET_OPTION_F64, AT(seconds), "5", 0.05, 3600, "S",
     "most time for measuring one model", "How"},
    {"runs-max", GPULET_OPTION_U64, AT(runs_max), "100", 5, 1000000, "N", "most runs of one point",
     NULL},
    {"interference", GPULET_OPTION_BOOL, AT(interference), NULL, ANY, NULL,
     "then measure the models beside one another and beside memory traffic, and fit interference",
     "Interference"},
    {"rounds", GPULET_OPTION_U64, AT(rounds), "7", 1, 1000, "N",
     "rounds a pair, each alone, beside, alone", NULL},
    {"slice-ms", GPULET_OPTION_F64, AT(slice_ms), "60", 1, 60000, "MS",
     "least time a model runs in one go", NULL},
    {"traffic", GPULET_OPTION_BOOL, AT(traffic), "true", ANY, NULL,
     "measure beside the memory-traffic generator too", NULL},
    {"store", GPULET_OPTION_STRING, AT(store), NULL, ANY, "FILE",
     "SQLite file of measured points; 'none': keep nothing "
     "[$XDG_STATE_HOME/gpulet/gpulet.db, else ~/.local/state/gpulet/gpulet.db]",
     "Store"},
    {"fresh", GPULET_OPTION_BOOL, AT(fresh), NULL, ANY, NULL, "measure again what the store has",
     NULL},
    {"out", GPULET_OPTION_STRING, AT(out), NULL, ANY, "FILE", "the profile (CSV); '-': stdout",
     "Output"},
    {"pairs-out", GPULET_OPTION_STRING, AT(pairs_out), NULL, ANY, "FILE",
     "with --interference: the measured pairs (CSV) [FILE.pairs.csv of --out FILE.csv]", NULL},
    {"interference-out", GPULET_OPTION_STRING, AT(interference_out), NULL, ANY, "FILE",
     "with --interference: the fitted interference (CSV) [FILE.interference.csv]", NULL},
    {"log-level", GPULET_OPTION_STRING, AT(log_level), "error", ANY, "LEVEL", "of workers", NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "a JSON summary on stdout", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

/* Ascending whole numbers separated by commas; *count 0 for NULL. out has room for
 * PROFILE_LIST_MAX. */
static gpulet_status_t read_list(uint32_t *out, size_t *count, const char *option, const char *text,
                                 gpulet_error_t *err)
{
    *count = 0;
    for (const char *at = text; text != NULL; at++) {
        size_t size = strcspn(at, ",");
        uint64_t value = 0;
        if (gpulet_parse_u64(&value, at, size) != GPULET_OK || value == 0 || value > UINT32_MAX ||
            *count >= PROFILE_LIST_MAX || (*count > 0 && value <= out[*count - 1]))
            return gpulet_fail(
                err, GPULET_E_INVALID,
                "--%s: expected ascending whole numbers separated by commas, found '%s'", option,
                text);
        out[(*count)++] = (uint32_t)value;
        at += size;
        if (*at == '\0')
            break;
    }
    return GPULET_OK;
}

static bool is_chosen(const char *list, const char *name)
{
    size_t name_size = strlen(name);
    for (const char *at = list; at != NULL; at++) {
        size_t size = strcspn(at, ",");
        if (size == name_size && memcmp(at, name, size) == 0)
            return true;
        at += size;
        if (*at == '\0')
            return false;
    }
    return list == NULL;
}

static const gpulet_repository_model_t *find_model(const profile_run_t *run, const char *key,
                                                   size_t size)
{
    for (size_t i = 0; i < run->repository.count; i++) {
        const gpulet_repository_model_t *model = &run->repository.models[i];
        if (strlen(model->key) == size && memcmp(model->key, key, size) == 0)
            return model;
    }
    return NULL;
}

static gpulet_status_t check_chosen(const profile_run_t *run, gpulet_error_t *err)
{
    for (const char *at = run->settings->models; at != NULL; at++) {
        size_t size = strcspn(at, ",");
        const gpulet_repository_model_t *model = find_model(run, at, size);
        if (model == NULL)
            return gpulet_fail(err, GPULET_E_NOT_FOUND, "--models: no model is called '%.*s'",
                               (int)size, at);
        if (model->problem == NULL && model->config.app != NULL)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "--models: %s is an ensemble: its models are what can be measured",
                               model->key);
        at += size;
        if (*at == '\0')
            break;
    }
    return GPULET_OK;
}

static gpulet_status_t choose_models(profile_run_t *run, gpulet_error_t *err)
{
    run->models = calloc(run->repository.count + 1, sizeof(*run->models));
    if (run->models == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < run->repository.count; i++) {
        const gpulet_repository_model_t *model = &run->repository.models[i];
        if (!is_chosen(run->settings->models, model->key))
            continue;
        if (model->problem != NULL)
            return gpulet_fail(err, GPULET_E_INVALID, "model %s: %s", model->key, model->problem);
        if (model->config.app != NULL)
            continue;
        run->models[run->models_count++] = model;
    }
    return run->models_count > 0 ? GPULET_OK
                                 : gpulet_fail(err, GPULET_E_NOT_FOUND, "no model in %s",
                                               run->settings->model_repository);
}

/* What can be said of the options before anything is opened. */
static gpulet_status_t read_options(profile_run_t *run, gpulet_error_t *err)
{
    const profile_settings_t *s = run->settings;
    run->backend = gpulet_device_backend_find(s->device);
    if (run->backend == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--device: no backend is called '%s'", s->device);
    gpulet_status_t st = read_list(run->batches, &run->batches_count, "batches", s->batches, err);
    if (st != GPULET_OK || s->sizes == NULL)
        return st;
    run->sizes = calloc(PROFILE_LIST_MAX, sizeof(*run->sizes));
    return run->sizes != NULL ? read_list(run->sizes, &run->sizes_count, "sizes", s->sizes, err)
                              : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

/* Sizes to measure where none were named, and the program that does. */
static gpulet_status_t choose_points(profile_run_t *run, gpulet_error_t *err)
{
    gpulet_status_t st = cmd_beside(run->worker, sizeof(run->worker), "gpulet-worker", err);
    if (st == GPULET_OK && run->sizes == NULL)
        run->sizes =
            gpulet_profiler_default_sizes(&run->sizes_count, run->desc.units, run->desc.step);
    return st != GPULET_OK || run->sizes != NULL
               ? st
               : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

static gpulet_status_t read_repository(profile_run_t *run, gpulet_error_t *err)
{
    const profile_settings_t *s = run->settings;
    return gpulet_repository_read(&run->repository, s->model_repository, s->engine,
                                  (uint32_t)s->batch_max, err);
}

static gpulet_status_t open_run(profile_run_t *run, gpulet_error_t *err)
{
    const profile_settings_t *s = run->settings;
    gpulet_device_options_t options = {.reserve_cores = s->reserve_cores,
                                       .fake_spec = s->fake_devices,
                                       .mps_step = (uint32_t)s->mps_step};
    uint32_t count = 0;
    gpulet_status_t st = choose_models(run, err);
    if (st == GPULET_OK)
        st = run->backend->probe(&run->desc, 1, &count, &options, err);
    if (st == GPULET_OK)
        st = choose_points(run, err);
    if (st == GPULET_OK)
        st = run->backend->open(&run->device, 0, &options, err);
    gpulet_measured_by(run->measured_by, s->engine, s->ort_library, s->device);
    if (st == GPULET_OK && (s->store == NULL || strcmp(s->store, "none") != 0))
        st = gpulet_store_open(&run->store, s->store, err);
    if (st == GPULET_OK)
        st = gpulet_profile_create(&run->profile);
    run->base = event_base_new();
    return st == GPULET_OK && run->base == NULL ? gpulet_fail(err, GPULET_E_NOMEM, "no event loop")
                                                : st;
}

static void close_run(profile_run_t *run)
{
    gpulet_profile_destroy(run->profile);
    gpulet_pairs_destroy(run->pairs);
    gpulet_store_close(run->store);
    if (run->backend != NULL)
        run->backend->close(run->device);
    gpulet_repository_deinit(&run->repository);
    free((void *)run->models);
    free(run->sizes);
    if (run->base != NULL)
        event_base_free(run->base);
}

/* So that what is measured of one file is known of its copies. */
static gpulet_status_t tell_content(profile_run_t *run, const gpulet_repository_model_t *model,
                                    gpulet_error_t *err)
{
    char digest[GPULET_DIGEST_TEXT_MAX + 1];
    if (model->path[0] == '\0') /* it is rehearsed without a file */
        return GPULET_OK;
    gpulet_status_t st = gpulet_store_get_content(digest, run->store, model->file_key, err);
    if (st != GPULET_E_NOT_FOUND)
        return st;
    st = gpulet_content_digest(digest, model->path, model->file_key, NULL, err);
    return st == GPULET_OK ? gpulet_store_put_content(run->store, model->file_key, digest, err)
                           : st;
}

static gpulet_status_t load_known(profile_run_t *run, gpulet_error_t *err)
{
    for (size_t i = 0; i < run->models_count && run->store != NULL; i++) {
        gpulet_status_t st = tell_content(run, run->models[i], err);
        if (st != GPULET_OK)
            return st;
    }
    for (size_t i = 0; i < run->models_count && run->store != NULL && !run->settings->fresh; i++) {
        size_t points = 0;
        char measured_by[GPULET_MEASURED_BY_MAX + 1];
        gpulet_measured_by_shapes(measured_by, run->measured_by, &run->models[i]->warmup, NULL);
        gpulet_status_t st = gpulet_store_get_points(run->store, run->desc.type, measured_by,
                                                     run->models[i]->file_key, run->models[i]->key,
                                                     run->profile, &points, err);
        if (st != GPULET_OK)
            return st;
        run->known += points;
    }
    return GPULET_OK;
}

/* Whoever asks for some points only leaves others to be measured. */
static gpulet_status_t tell_whole(profile_run_t *run, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    if (run->store == NULL || run->problems > 0 || run->settings->sizes != NULL ||
        run->settings->batches != NULL)
        return GPULET_OK;
    for (size_t i = 0; st == GPULET_OK && i < run->models_count; i++) {
        char measured_by[GPULET_MEASURED_BY_MAX + 1];
        gpulet_measured_by_shapes(measured_by, run->measured_by, &run->models[i]->warmup, NULL);
        st = gpulet_store_put_whole(run->store, run->desc.type, measured_by,
                                    run->models[i]->file_key, run->desc.units,
                                    gpulet_profiler_batch_max(run->models[i]), err);
    }
    return st;
}

static double known_ms(void *context, const gpulet_repository_model_t *model, uint32_t units,
                       uint32_t batch)
{
    const profile_run_t *run = context;
    const gpulet_curve_t *curve =
        gpulet_profile_curve(run->profile, run->desc.type, model->key, units, 1);
    for (uint32_t i = 0; curve != NULL && i < curve->points_count; i++) {
        if (curve->points[i].batch == batch)
            return curve->points[i].latency_ms;
    }
    return NAN;
}

/* Says so as soon as it is clear: who measures may still stop what disturbs. */
static void look_at_others(profile_run_t *run)
{
    const gpulet_cpu_meter_t *meter = gpulet_profiler_meter(run->profiler);
    run->others = gpulet_cpu_meter_others(meter);
    run->disturbed = gpulet_cpu_meter_disturbed(meter);
    if (!run->disturbed || run->warned || meter->sum.all < EARLY_TICKS)
        return;
    (void)fprintf(stderr,
                  "gpulet profile: warning: other processes have %.0f %% of the CPUs, latencies "
                  "come out too high\n",
                  100 * run->others);
    run->warned = true;
}

static void on_row(void *context, const gpulet_profiler_row_t *row)
{
    profile_run_t *run = context;
    gpulet_error_t err = {""};
    gpulet_profile_point_t point = {
        row->batch, row->latency_ms, row->latency_ms_p99, NAN, row->memory_mb, NAN, NAN,
        NAN,        row->cold_ms};
    run->measured++;
    look_at_others(run);
    (void)fprintf(stderr,
                  "%-20s %4u units  batch %4u  p50 %9.3f ms  p99 %9.3f ms  %7.1f MiB  %5u runs\n",
                  row->model->key, row->units, row->batch, row->latency_ms, row->latency_ms_p99,
                  row->memory_mb, row->runs);
    gpulet_status_t st = gpulet_profile_add(run->profile, run->desc.type, row->model->key,
                                            row->units, 1, &point, true, &err);
    if (st == GPULET_OK && run->store != NULL) {
        char measured_by[GPULET_MEASURED_BY_MAX + 1];
        gpulet_measured_by_shapes(measured_by, run->measured_by, &row->model->warmup, NULL);
        st = gpulet_store_put_point(run->store, run->desc.type, measured_by, row->model->file_key,
                                    row->model->key, row->units, 1, &point, &err);
    }
    run->problems += st != GPULET_OK;
    if (st != GPULET_OK)
        (void)cmd_complain("profile", CMD_FAILED, err.text);
}

static void on_problem(void *context, const gpulet_repository_model_t *model, uint32_t units,
                       const char *text)
{
    profile_run_t *run = context;
    run->problems++;
    (void)fprintf(stderr, "gpulet profile: %s at %u units: %s\n", model->key, units, text);
}

static void on_end(void *context, gpulet_status_t status, const char *text)
{
    profile_run_t *run = context;
    (void)status;
    (void)text;
    run->ended = true;
    (void)event_base_loopbreak(run->base);
}

gpulet_measurer_options_t cmd_profile_workers(const profile_run_t *run)
{
    const profile_settings_t *s = run->settings;
    return (gpulet_measurer_options_t){.base = run->base,
                                       .backend = run->backend,
                                       .device = run->device,
                                       .device_backend_name = s->device,
                                       .worker_program = run->worker,
                                       .engine = s->engine,
                                       .ort_library = s->ort_library,
                                       .fake_profile = s->fake_profile,
                                       .device_type = run->desc.type,
                                       .log_level = s->log_level,
                                       .load_limit_s = LOAD_LIMIT_S};
}

static gpulet_status_t measure(profile_run_t *run, gpulet_error_t *err)
{
    const profile_settings_t *s = run->settings;
    const gpulet_measurer_options_t w = cmd_profile_workers(run);
    gpulet_profiler_options_t options = {
        .base = w.base,
        .backend = w.backend,
        .device = w.device,
        .sizes = run->sizes,
        .sizes_count = run->sizes_count,
        .models = run->models,
        .models_count = run->models_count,
        .batches = run->batches,
        .batches_count = run->batches_count,
        .seconds_per_model = s->seconds,
        .runs_min = RUNS_MIN,
        .runs_max = (uint32_t)s->runs_max,
        .device_backend_name = w.device_backend_name,
        .worker_program = w.worker_program,
        .engine = w.engine,
        .ort_library = w.ort_library,
        .fake_profile = w.fake_profile,
        .device_type = w.device_type,
        .log_level = w.log_level,
        .load_limit_s = w.load_limit_s,
        .context = run,
        .on_row = on_row,
        .on_problem = on_problem,
        .known_ms = known_ms,
        .on_end = on_end,
    };
    gpulet_status_t st = gpulet_profiler_start(&run->profiler, &options, err);
    while (st == GPULET_OK && !run->ended)
        (void)event_base_loop(run->base, EVLOOP_ONCE);
    gpulet_profiler_destroy(run->profiler);
    run->profiler = NULL;
    return st;
}

static gpulet_status_t write_out(profile_run_t *run, gpulet_error_t *err)
{
    gpulet_buf_t csv = GPULET_BUF_INIT;
    if (run->disturbed)
        gpulet_buf_printf(&csv,
                          "# Measured while other processes had %.0f %% of the CPUs: latencies may "
                          "be too high.\n",
                          100 * run->others);
    gpulet_status_t st = gpulet_profile_format_csv(&csv, run->profile);
    if (st == GPULET_OK)
        st = gpulet_file_write(run->settings->out, csv.data, csv.size, err);
    gpulet_buf_deinit(&csv);
    return st;
}

static void sum_up(const profile_run_t *run, double seconds)
{
    char others[32] = "null";
    if (!isnan(run->others))
        (void)snprintf(others, sizeof(others), "%.1f", 100 * run->others);
    if (run->settings->json)
        (void)printf("{\"models\": %zu, \"measured\": %llu, \"known\": %llu, \"pairs_measured\": "
                     "%llu, \"pairs_known\": %llu, \"problems\": %llu, \"seconds\": %.3f, "
                     "\"others_percent\": %s}\n",
                     run->models_count, (unsigned long long)run->measured,
                     (unsigned long long)run->known, (unsigned long long)run->pairs_measured,
                     (unsigned long long)run->pairs_known, (unsigned long long)run->problems,
                     seconds, others);
    else
        (void)fprintf(
            stderr, "%zu models: %llu points measured, %llu known before, %llu problems, %.1f s\n",
            run->models_count, (unsigned long long)run->measured, (unsigned long long)run->known,
            (unsigned long long)run->problems, seconds);
    if (run->disturbed)
        (void)fprintf(stderr,
                      "gpulet profile: warning: other processes had %.0f %% of the CPUs while this "
                      "was measured; measure again with --fresh when the machine is quiet\n",
                      100 * run->others);
}

static gpulet_status_t check_usage(const profile_settings_t *s, gpulet_log_level_t *level,
                                   gpulet_error_t *err)
{
    const char *expected = NULL;
    if (s->model_repository == NULL)
        expected = "expected --model-repository DIR";
    else if (s->out == NULL)
        expected = "expected --out FILE";
    else if (s->interference && strcmp(s->out, "-") == 0 &&
             (s->pairs_out == NULL || s->interference_out == NULL))
        expected = "--interference with --out -: expected --pairs-out FILE and --interference-out "
                   "FILE";
    else if (gpulet_log_level_parse(level, s->log_level) != GPULET_OK)
        expected = "--log-level: expected debug, info, warning or error";
    if (expected != NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%s", expected);
    gpulet_status_t st = cmd_check_stdout(s->json, "out", s->out, err);
    if (st == GPULET_OK)
        st = cmd_check_stdout(s->json, "pairs-out", s->pairs_out, err);
    return st == GPULET_OK ? cmd_check_stdout(s->json, "interference-out", s->interference_out, err)
                           : st;
}

static int run_all(profile_run_t *run, gpulet_error_t *err)
{
    const profile_settings_t *s = run->settings;
    uint64_t begin_ns = gpulet_clock_ns();
    gpulet_status_t st = read_options(run, err);
    if (st != GPULET_OK)
        return st == GPULET_E_NOMEM ? CMD_FAILED : CMD_USAGE;
    st = read_repository(run, err);
    if (st == GPULET_OK && check_chosen(run, err) != GPULET_OK)
        return CMD_USAGE;
    if (st == GPULET_OK)
        st = open_run(run, err);
    if (st == GPULET_OK && s->interference)
        st = cmd_profile_pairs_check(run, err);
    if (st == GPULET_OK)
        st = load_known(run, err);
    if (st == GPULET_OK)
        st = measure(run, err);
    if (st == GPULET_OK)
        st = write_out(run, err);
    if (st == GPULET_OK)
        st = tell_whole(run, err);
    if (st == GPULET_OK && s->interference)
        st = cmd_profile_pairs(run, err);
    if (st != GPULET_OK)
        return CMD_FAILED;
    err->text[0] = '\0';
    sum_up(run, (double)(gpulet_clock_ns() - begin_ns) / 1e9);
    return run->problems > 0 ? CMD_FAILED : CMD_DONE;
}

int cmd_profile(int argc, char **argv)
{
    profile_settings_t s = {0};
    profile_run_t run = {.settings = &s, .others = NAN};
    gpulet_error_t err = {"out of memory"};
    gpulet_log_level_t level = GPULET_LOG_ERROR;
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("profile"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    if (check_usage(&s, &level, &err) != GPULET_OK) {
        exit_code = CMD_USAGE;
    } else {
        gpulet_log_setup(level, "gpulet");
        exit_code = run_all(&run, &err);
        close_run(&run);
    }
    if (exit_code != CMD_DONE && err.text[0] != '\0')
        (void)cmd_complain("profile", exit_code, err.text);
    gpulet_options_deinit(cmd_profile_options, &s);
    return exit_code;
}
