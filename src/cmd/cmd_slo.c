/* gpulet slo: the paper's rule for objectives, as rows for a workload. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/cmd_planning.h"
#include "core/csv.h"
#include "proto/oip.h"

typedef struct slo_settings {
    cmd_planning_t planning;
    double factor;
    uint64_t batch;
    double rate_rps;
    bool json;
    bool help;
} slo_settings_t;

#define AT(field) offsetof(slo_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_slo_options[] = {
    CMD_PLANNING_INPUTS(slo_settings_t),
    {"factor", GPULET_OPTION_F64, AT(factor), "2", 0.001, 1000, "X",
     "the SLO is so many times the latency", "Rule"},
    {"batch", GPULET_OPTION_U64, AT(batch), "32", 1, GPULET_PROFILE_BATCH_MAX, "N",
     "of this batch, or the largest measured one below it, on the whole device", NULL},
    {"rate-rps", GPULET_OPTION_F64, AT(rate_rps), "0", 0, 1e9, "R", "rate to write into every row",
     NULL},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL,
     "one JSON document on stdout [CSV, a workload]", "Output"},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

/* The curve of the whole device with one instance; where there are several device types, of the
 * first that has the model. NULL: none. */
static const gpulet_curve_t *whole_curve(const cmd_planning_files_t *files, const char *model)
{
    for (uint32_t t = 0; t < files->devices->types_count; t++) {
        const gpulet_device_type_t *type = &files->devices->types[t];
        const gpulet_curve_t *curve =
            gpulet_profile_curve(files->profile, type->name, model, type->units, 1);
        if (curve != NULL)
            return curve;
    }
    return NULL;
}

static gpulet_status_t put_row(gpulet_buf_t *out, const slo_settings_t *s,
                               const cmd_planning_files_t *files, const char *model, bool first,
                               gpulet_error_t *err)
{
    const gpulet_curve_t *curve = whole_curve(files, model);
    if (curve == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "%s: no row has %s on a whole device with one instance",
                           s->planning.profiles, model);
    uint32_t batch = gpulet_curve_batch_max(curve);
    if (s->batch < batch)
        batch = (uint32_t)s->batch;
    double latency_ms = gpulet_curve_latency_ms(curve, batch, false);
    if (isnan(latency_ms))
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "%s: batch: expected %s at batch %u or below, found none",
                           s->planning.profiles, model, batch);
    if (s->json) {
        gpulet_buf_append_str(out, first ? "" : ", ");
        gpulet_buf_append_str(out, "{\"model\": ");
        gpulet_json_string(out, model, strlen(model));
        gpulet_buf_printf(out, ", \"batch\": %u, \"latency_ms\": %.4f, \"slo_ms\": %.4f}", batch,
                          latency_ms, s->factor * latency_ms);
    } else {
        gpulet_csv_append(out, model);
        gpulet_buf_append_char(out, ',');
        gpulet_csv_append_f64(out, s->rate_rps);
        gpulet_buf_printf(out, ",%.4f\n", s->factor * latency_ms);
    }
    return GPULET_OK;
}

static gpulet_status_t put_all(gpulet_buf_t *out, const slo_settings_t *s,
                               const cmd_planning_files_t *files, gpulet_error_t *err)
{
    const char *before = NULL;
    gpulet_buf_append_str(out, s->json ? "{\"models\": [" : "model,rate_rps,slo_ms\n");
    for (size_t i = 0; i < gpulet_profile_curves_count(files->profile); i++) {
        /* Curves stand by device, then model: a model is new where its first device has it. */
        const char *model = gpulet_profile_curve_at(files->profile, i)->model;
        bool again = false;
        for (size_t k = 0; k < i && !again; k++)
            again = strcmp(gpulet_profile_curve_at(files->profile, k)->model, model) == 0;
        if (again)
            continue;
        gpulet_status_t st = put_row(out, s, files, model, before == NULL, err);
        if (st != GPULET_OK)
            return st;
        before = model;
    }
    if (s->json)
        gpulet_buf_append_str(out, "]}\n");
    return gpulet_buf_status(out);
}

static int run(const slo_settings_t *s)
{
    cmd_planning_files_t files = {0};
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    int exit_code = cmd_planning_open(&files, &s->planning, &err);
    if (exit_code == CMD_DONE && (put_all(&out, s, &files, &err) != GPULET_OK ||
                                  gpulet_file_write("-", out.data, out.size, &err) != GPULET_OK))
        exit_code = CMD_FAILED;
    if (exit_code != CMD_DONE)
        (void)cmd_complain("slo", exit_code, err.text);
    gpulet_buf_deinit(&out);
    cmd_planning_close(&files);
    return exit_code;
}

int cmd_slo(int argc, char **argv)
{
    slo_settings_t s = {0};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("slo"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    if (s.planning.profiles == NULL) {
        exit_code = cmd_complain("slo", CMD_USAGE, "expected --profiles FILE");
    } else {
        /* The options of planning that this command does not have. */
        s.planning.elastic = "best";
        s.planning.order = "default";
        s.planning.knee = "default";
        exit_code = run(&s);
    }
    gpulet_options_deinit(cmd_slo_options, &s);
    return exit_code;
}
