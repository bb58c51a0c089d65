#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "world.h"

static gpulet_error_t err;

static void good(gpulet_status_t st)
{
    if (st != GPULET_OK)
        fail_msg("%s: %s", gpulet_status_name(st), err.text);
}

static gpulet_buf_t text_of(const char *header, const char *rows)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_printf(&text, "%s\n%s", header, rows);
    good(gpulet_buf_status(&text));
    return text;
}

void world_init(world_t *w, const char *profile_rows, const char *devices,
                const char *workload_rows)
{
    gpulet_buf_t profile =
        text_of("device,model,units,batch,latency_ms,latency_ms_p99,memory_mb", profile_rows);
    gpulet_buf_t workload = text_of("model,rate_rps,slo_ms", workload_rows);
    gpulet_buf_t yaml = text_of("types:", devices);
    *w = (world_t){0};
    good(gpulet_profile_parse(&w->profile, profile.data, profile.size, "profile",
                              GPULET_PROFILE_FORMAT_CSV, NULL, &err));
    good(gpulet_device_set_parse(&w->devices, yaml.data, yaml.size, "devices", &err));
    good(gpulet_workload_parse(&w->workload, workload.data, workload.size, "workload", NULL, &err));
    w->options = (gpulet_sim_options_t){
        .seed = 1,
        .planning = {.profile = w->profile, .devices = w->devices, .workload = w->workload},
        .planner = gpulet_planner_find("elastic"),
        .multiple = 1,
        .warmup_s = 1,
        .duration_s = 60,
        .run_limit_ns = 60000000000U,
        .requests_max = 16384,
        .start_s = {1, 1},
        .load_s = 0.1,
        .plan_s = 0.01,
        .transition_limit_s = 60,
        .check = true,
    };
    gpulet_buf_deinit(&profile);
    gpulet_buf_deinit(&workload);
    gpulet_buf_deinit(&yaml);
}

void world_apps(world_t *w, const char *yaml)
{
    gpulet_buf_t text = text_of("apps:", yaml);
    gpulet_workload_t *rows = w->workload;
    good(gpulet_apps_parse(&w->apps, text.data, text.size, "apps.yaml", &err));
    good(gpulet_sim_subjects(&w->workload, &w->subjects, w->apps, rows, &err));
    gpulet_workload_destroy(rows);
    gpulet_buf_deinit(&text);
    w->options.apps = w->apps;
    w->options.planning.workload = w->workload;
}

void world_rates(world_t *w, const char *rows)
{
    gpulet_buf_t text = text_of("time_s,model,rate_rps", rows);
    good(gpulet_sim_rates_parse(&w->rates, text.data, text.size, "rates",
                                w->subjects != NULL ? w->subjects : w->workload, &err));
    gpulet_buf_deinit(&text);
    w->options.rates = w->rates;
}

void world_truth(world_t *w, const char *rows)
{
    gpulet_buf_t text =
        text_of("device,model,units,batch,other_model,other_units,other_batch,slowdown", rows);
    good(gpulet_pairs_parse(&w->pairs, text.data, text.size, "pairs", &err));
    gpulet_buf_deinit(&text);
    w->options.truth_pairs = w->pairs;
}

void world_deinit(world_t *w)
{
    gpulet_sim_rates_destroy(w->rates);
    gpulet_pairs_destroy(w->pairs);
    gpulet_workload_destroy(w->workload);
    gpulet_workload_destroy(w->subjects);
    gpulet_apps_destroy(w->apps);
    gpulet_device_set_destroy(w->devices);
    gpulet_profile_destroy(w->profile);
}

void world_run(gpulet_sim_result_t *result, const world_t *w)
{
    *result = (gpulet_sim_result_t){0};
    good(gpulet_sim_run(result, &w->options, &err));
}
