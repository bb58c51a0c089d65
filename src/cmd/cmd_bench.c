#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/process.h"
#include "client/load.h"
#include "cmd/cmd.h"
#include "cmd/cmd_attainment.h"
#include "cmd/cmd_bench_look.h"
#include "core/csv.h"
#include "core/workload.h"
#include "sim/load.h"

typedef struct bench_settings {
    char *url;
    char *model;
    double rate_rps;
    char *workload;
    char *scenario;
    char *rates;
    char *arrivals;
    double duration_s;
    double warmup_s;
    uint64_t batch;
    double slo_ms;
    char *protocol;
    uint64_t seed;
    uint64_t connections;
    uint64_t in_flight;
    uint64_t dim;
    char *shapes;
    double multiple;
    double min_attainment;
    bool tensors_json;
    bool json;
    bool quiet;
    bool help;
} bench_settings_t;

#define AT(field) offsetof(bench_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_bench_options[] = {
    {"url", GPULET_OPTION_STRING, AT(url), "http://127.0.0.1:8000", ANY, "URL", "the server",
     "What"},
    {"model", GPULET_OPTION_STRING, AT(model), NULL, ANY, "NAME", "one model, or", NULL},
    {"workload", GPULET_OPTION_STRING, AT(workload), NULL, ANY, "FILE",
     "many models with rates and SLOs (CSV)", NULL},
    {"scenario", GPULET_OPTION_STRING, AT(scenario), NULL, ANY, "NAME", "scenario of the workload",
     NULL},
    {"rate-rps", GPULET_OPTION_F64, AT(rate_rps), "10", 0.001, 1e7, "R",
     "items a second of --model", NULL},
    {"rates", GPULET_OPTION_STRING, AT(rates), NULL, ANY, "FILE",
     "rates that change, for models of --workload (CSV time_s,model,rate_rps); others keep theirs",
     NULL},
    {"multiple", GPULET_OPTION_F64, AT(multiple), "1", 0.0001, 1e6, "X", "multiplies every rate",
     NULL},
    {"slo-ms", GPULET_OPTION_F64, AT(slo_ms), "0", 0, 1e9, "MS", "objective of --model; 0: none",
     NULL},
    {"batch", GPULET_OPTION_U64, AT(batch), "1", 1, 1024, "N", "items a request", NULL},
    {"dim", GPULET_OPTION_U64, AT(dim), "64", 0, 1048576, "N",
     "size of dynamic dimensions other than the batch", NULL},
    {"shapes", GPULET_OPTION_STRING, AT(shapes), NULL, ANY, "TEXT",
     "shapes by input name, NAME:1,3,48,320;OTHER:1", NULL},
    {"tensors-json", GPULET_OPTION_BOOL, AT(tensors_json), NULL, ANY, NULL,
     "tensors as JSON numbers instead of binary", NULL},
    {"arrivals", GPULET_OPTION_STRING, AT(arrivals), "poisson", ANY, "KIND", "poisson or uniform",
     "How"},
    {"in-flight", GPULET_OPTION_U64, AT(in_flight), "0", 0, 100000, "N",
     "closed loop: so many requests of --model in flight, whatever the rate; 0: open loop", NULL},
    {"duration-s", GPULET_OPTION_F64, AT(duration_s), "10", 0.1, 1e6, "S",
     "how long requests are counted", NULL},
    {"warmup-s", GPULET_OPTION_F64, AT(warmup_s), "1", 0, 1e6, "S",
     "how long before that they are sent uncounted", NULL},
    {"connections", GPULET_OPTION_U64, AT(connections), "256", 1, 60000, "N", "connections at most",
     NULL},
    {"protocol", GPULET_OPTION_STRING, AT(protocol), "http", ANY, "NAME", "http", NULL},
    {"seed", GPULET_OPTION_U64, AT(seed), "1", ANY, "N", "of arrivals and data", NULL},
    CMD_MIN_ATTAINMENT(bench_settings_t),
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout",
     "Output"},
    {"quiet", GPULET_OPTION_BOOL, AT(quiet), NULL, ANY, NULL, "no progress line", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

static gpulet_status_t check(const bench_settings_t *s, gpulet_error_t *err)
{
    gpulet_url_t url;
    if ((s->model == NULL) == (s->workload == NULL))
        return gpulet_fail(err, GPULET_E_INVALID, "expected --model or --workload");
    if (strcmp(s->arrivals, "poisson") != 0 && strcmp(s->arrivals, "uniform") != 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--arrivals: expected poisson or uniform, found '%s'", s->arrivals);
    if (strcmp(s->protocol, "http") != 0)
        return gpulet_fail(err, GPULET_E_INVALID, "--protocol: expected http, found '%s'",
                           s->protocol);
    if (s->rates != NULL && s->workload == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--rates goes with --workload");
    if (s->in_flight > 0 && s->workload != NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--in-flight goes with --model");
    return gpulet_url_parse(&url, s->url, err);
}

/* What was read from files. */
typedef struct bench_files {
    gpulet_workload_t *workload; /* NULL: one model */
    gpulet_sim_rates_t *rates;   /* NULL: they do not change */
    gpulet_rate_step_t *steps;   /* those of all models, one after the other, times the multiple */
} bench_files_t;

static gpulet_status_t read_rates(bench_files_t *f, const bench_settings_t *s, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    size_t total = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, s->rates, GPULET_CSV_FILE_SIZE_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_sim_rates_parse(&f->rates, text, size, s->rates, f->workload, err);
    free(text);
    if (st != GPULET_OK)
        return st;
    for (size_t i = 0; i < f->rates->models_count; i++)
        total += f->rates->models[i].count;
    f->steps = calloc(total + 1, sizeof(*f->steps));
    if (f->steps == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    total = 0;
    for (size_t i = 0; i < f->rates->models_count; i++) {
        for (size_t k = 0; k < f->rates->models[i].count; k++) {
            const gpulet_rate_step_t *step = &f->rates->models[i].steps[k];
            f->steps[total++] = (gpulet_rate_step_t){step->begin_s, step->rate_rps * s->multiple};
        }
    }
    return GPULET_OK;
}

static size_t fill_models(gpulet_load_model_t *models, const bench_settings_t *s,
                          const bench_files_t *f)
{
    size_t count = 0;
    const gpulet_rate_step_t *steps = f->steps;
    if (f->workload == NULL) {
        models[0] = (gpulet_load_model_t){
            s->model, s->rate_rps * s->multiple, s->slo_ms, s->shapes, NULL, 0};
        return 1;
    }
    for (size_t i = 0; i < f->workload->count; i++) {
        const gpulet_demand_t *d = &f->workload->demands[i];
        size_t steps_count = f->rates != NULL ? f->rates->models[i].count : 0;
        if (d->rate_rps > 0 || steps_count > 0)
            models[count++] = (gpulet_load_model_t){
                d->model, d->rate_rps * s->multiple, d->slo_ms, s->shapes, steps, steps_count};
        steps = steps_count > 0 ? steps + steps_count : steps;
    }
    return count;
}

static int judge(const bench_settings_t *s, const gpulet_load_result_t *results, size_t count,
                 gpulet_error_t *err)
{
    cmd_attainment_t attainment;
    cmd_attainment_begin(&attainment, s->min_attainment);
    for (size_t i = 0; i < count; i++)
        cmd_attainment_add(&attainment, results[i].name, results[i].in_time, results[i].offered);
    return cmd_attainment_end(&attainment, "bench", err);
}

/* Puts the load on the server, and what came of it into out. */
static gpulet_status_t put_load(gpulet_buf_t *out, gpulet_load_result_t *results,
                                const bench_settings_t *s, const gpulet_load_options_t *options,
                                gpulet_error_t *err)
{
    cmd_bench_look_t before;
    cmd_bench_look_t after;
    double seconds = 0;
    if (s->json)
        cmd_bench_look(&before, s->url);
    gpulet_status_t st = gpulet_load_run(results, &seconds, options, err);
    if (st != GPULET_OK)
        return st;
    if (s->json) {
        cmd_bench_look(&after, s->url);
        const gpulet_load_server_t server = cmd_bench_between(&before, &after);
        st =
            gpulet_load_report_json(out, results, options->models_count, seconds, s->seed, &server);
    } else {
        gpulet_load_report_table(out, "model", results, options->models_count, seconds);
        st = gpulet_buf_status(out);
    }
    return st == GPULET_OK ? st : gpulet_fail(err, st, "out of memory");
}

static int run(const bench_settings_t *s, const bench_files_t *files, gpulet_error_t *err)
{
    size_t most =
        files->workload != NULL && files->workload->count > 0 ? files->workload->count : 1;
    gpulet_load_model_t *models = calloc(most, sizeof(*models));
    gpulet_load_result_t *results = calloc(most, sizeof(*results));
    gpulet_buf_t out = GPULET_BUF_INIT;
    int exit_code = CMD_FAILED;
    gpulet_status_t st = models != NULL && results != NULL
                             ? GPULET_OK
                             : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st == GPULET_OK) {
        gpulet_load_options_t options = {
            .url = s->url,
            .models = models,
            .models_count = fill_models(models, s, files),
            .uniform = strcmp(s->arrivals, "uniform") == 0,
            .in_flight = (uint32_t)s->in_flight,
            .connections_max = (uint32_t)s->connections,
            .batch = (uint32_t)s->batch,
            .dim = (int64_t)s->dim,
            .json = s->tensors_json,
            .duration_s = s->duration_s,
            .warmup_s = s->warmup_s,
            .seed = s->seed,
            .progress = !s->quiet && !s->json,
        };
        st = put_load(&out, results, s, &options, err);
        if (st == GPULET_OK)
            exit_code = judge(s, results, options.models_count, err);
    }
    if (st == GPULET_OK)
        (void)fputs(out.data, stdout);
    gpulet_buf_deinit(&out);
    free(models);
    free(results);
    return exit_code;
}

int cmd_bench(int argc, char **argv)
{
    bench_settings_t s = {0};
    bench_files_t files = {NULL, NULL, NULL};
    gpulet_error_t err = {""};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("bench"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    if (check(&s, &err) != GPULET_OK) {
        exit_code = cmd_complain("bench", CMD_USAGE, err.text);
    } else {
        gpulet_status_t st =
            s.workload != NULL ? gpulet_workload_load(&files.workload, s.workload, s.scenario, &err)
                               : GPULET_OK;
        if (st == GPULET_OK && s.rates != NULL)
            st = read_rates(&files, &s, &err);
        gpulet_process_short_slices();
        exit_code = st == GPULET_OK ? run(&s, &files, &err) : CMD_FAILED;
        if (exit_code == CMD_FAILED)
            (void)cmd_complain("bench", exit_code, err.text);
    }
    gpulet_workload_destroy(files.workload);
    gpulet_sim_rates_destroy(files.rates);
    free(files.steps);
    gpulet_options_deinit(cmd_bench_options, &s);
    return exit_code;
}
