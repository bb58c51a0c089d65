/* `gpulet fit`: interference from measured pairs, and how wrong it is on pairs held out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cmd/cmd.h"
#include "core/interference.h"
#include "core/pairs.h"
#include "core/profile.h"
#include "core/text.h"
#include "fit/fit.h"
#include "proto/oip.h"

typedef struct fit_settings {
    char *profiles;
    char *pairs;
    char *kind;
    double train;
    uint64_t seed;
    double quantile;
    char *out;
    bool json;
    bool help;
} fit_settings_t;

#define AT(field) offsetof(fit_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_fit_options[] = {
    {"profiles", GPULET_OPTION_STRING, AT(profiles), NULL, ANY, "FILE",
     "profiles with l2_util and dram_util (CSV)", "Inputs"},
    {"pairs", GPULET_OPTION_STRING, AT(pairs), NULL, ANY, "FILE",
     "measured slowdowns (CSV of gpulet profile --interference)", NULL},
    {"kind", GPULET_OPTION_STRING, AT(kind), "linear", ANY, "NAME",
     "linear, sensitivity, constant, or auto: the one with the least error", "How"},
    {"train", GPULET_OPTION_F64, AT(train), "0.7", 0.01, 0.99, "X",
     "part of the pairs to fit; the others are held out and judge it", NULL},
    {"seed", GPULET_OPTION_U64, AT(seed), "1", ANY, "N", "of the shuffle before the cut", NULL},
    {"quantile", GPULET_OPTION_F64, AT(quantile), "0.95", 0.01, 0.999, "Q",
     "of the slowdowns: the factor for models that are not in the pairs; also a quantile of the "
     "error in the file",
     NULL},
    {"out", GPULET_OPTION_STRING, AT(out), NULL, ANY, "FILE",
     "the fitted interference (CSV); '-': stdout", "Output"},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

/* ---- for programs ---- */

static void put_number(gpulet_buf_t *out, const char *key, double value)
{
    char text[GPULET_TEXT_NUMBER_SIZE];
    gpulet_buf_printf(out, "\"%s\": %s", key,
                      isfinite(value) ? gpulet_text_number(text, value) : "null");
}

static void put_string(gpulet_buf_t *out, const char *key, const char *value)
{
    gpulet_buf_printf(out, "\"%s\": ", key);
    gpulet_json_string(out, value, strlen(value));
}

static void put_errors(gpulet_buf_t *out, const gpulet_fit_errors_t *errors)
{
    put_number(out, "error_mean", errors->mean);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "error_p50", errors->p50);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "error_p90", errors->p90);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "error_p95", errors->p95);
}

/* A constant is the linear model with one coefficient; sensitivities are none. */
static void put_coefficients(gpulet_buf_t *out, const gpulet_interference_row_t *row)
{
    bool none = row->kind == GPULET_INTERFERENCE_SENSITIVITY;
    gpulet_buf_append_str(out, "\"coefficients\": {");
    put_number(out, "l2_self", none ? NAN : row->l2_self);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "l2_other", none ? NAN : row->l2_other);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "dram_self", none ? NAN : row->dram_self);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "dram_other", none ? NAN : row->dram_other);
    gpulet_buf_append_str(out, ", ");
    put_number(out, "constant", none ? NAN : row->constant);
    gpulet_buf_append_char(out, '}');
}

static void put_points(gpulet_buf_t *out, const gpulet_interference_row_t *row)
{
    gpulet_buf_append_str(out, ", ");
    put_number(out, "bound", row->bound);
    gpulet_buf_append_str(out, ", \"points\": [");
    for (size_t i = 0; i < row->curves_count; i++) {
        const gpulet_interference_curve_t *curve = &row->curves[i];
        for (size_t k = 0; k < curve->points_count; k++) {
            gpulet_buf_append_str(out, i + k > 0 ? ", {" : "{");
            put_string(out, "model", curve->model);
            gpulet_buf_printf(out, ", \"units\": %u, \"batch\": %u, ", curve->units,
                              curve->points[k].batch);
            put_number(out, "sensitivity", curve->points[k].sensitivity);
            gpulet_buf_append_str(out, ", ");
            put_number(out, "pressure", curve->points[k].pressure);
            gpulet_buf_append_char(out, '}');
        }
    }
    gpulet_buf_append_char(out, ']');
}

static void put_devices(gpulet_buf_t *out, const gpulet_interference_t *interference)
{
    gpulet_buf_append_str(out, "\"devices\": [");
    for (size_t i = 0; i < interference->count; i++) {
        const gpulet_interference_row_t *row = &interference->rows[i];
        gpulet_buf_append_str(out, i > 0 ? ", {" : "{");
        put_string(out, "device", row->device);
        gpulet_buf_append_str(out, ", ");
        put_coefficients(out, row);
        if (row->kind == GPULET_INTERFERENCE_SENSITIVITY)
            put_points(out, row);
        gpulet_buf_append_str(out, ", \"residuals\": {");
        for (size_t k = 0; k < row->residuals_count; k++) {
            char key[GPULET_TEXT_NUMBER_SIZE + 1] = "p";
            (void)gpulet_text_number(key + 1, row->residuals[k].percent);
            gpulet_buf_append_str(out, k > 0 ? ", " : "");
            put_number(out, key, row->residuals[k].error);
        }
        gpulet_buf_append_str(out, "}}");
    }
    gpulet_buf_append_char(out, ']');
}

static void put_kinds(gpulet_buf_t *out, const gpulet_fit_t *fit)
{
    gpulet_buf_append_str(out, "\"kinds\": {");
    for (int k = 0; k < GPULET_FIT_KINDS; k++) {
        const gpulet_fit_kind_t *kind = &fit->kinds[k];
        gpulet_buf_printf(out, "%s\"%s\": {\"fitted\": %s, ", k > 0 ? ", " : "",
                          gpulet_interference_kind_name((gpulet_interference_kind_t)k),
                          kind->fitted ? "true" : "false");
        put_errors(out, &kind->errors);
        gpulet_buf_append_str(out, ", ");
        if (kind->fitted)
            gpulet_buf_append_str(out, "\"reason\": null");
        else
            put_string(out, "reason", kind->why_not);
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_append_char(out, '}');
}

static gpulet_status_t print_json(const gpulet_fit_t *fit, gpulet_interference_kind_t chosen)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    const gpulet_fit_kind_t *kind = &fit->kinds[chosen];
    gpulet_buf_append_char(&out, '{');
    put_string(&out, "kind", gpulet_interference_kind_name(chosen));
    gpulet_buf_printf(&out, ", \"pairs\": %zu, \"train\": %zu, \"held_out\": %zu, ",
                      fit->pairs_count, fit->train_count, fit->held_out_count);
    put_coefficients(&out, &kind->interference->rows[0]);
    gpulet_buf_append_str(&out, ", ");
    put_errors(&out, &kind->errors);
    gpulet_buf_append_str(&out, ",\n ");
    put_string(&out, "best", gpulet_interference_kind_name(fit->best));
    gpulet_buf_append_str(&out, ", ");
    put_kinds(&out, fit);
    gpulet_buf_append_str(&out, ",\n ");
    put_devices(&out, kind->interference);
    gpulet_buf_append_str(&out, "}\n");
    gpulet_status_t st = gpulet_buf_status(&out);
    if (st == GPULET_OK)
        (void)fputs(out.data, stdout);
    gpulet_buf_deinit(&out);
    return st;
}

/* ---- for people ---- */

static void print_text(FILE *to, const gpulet_fit_t *fit, gpulet_interference_kind_t chosen)
{
    (void)fprintf(to,
                  "%zu pairs: %zu fitted, %zu held out. Error on those held out, of the "
                  "measured latency:\n\n",
                  fit->pairs_count, fit->train_count, fit->held_out_count);
    (void)fprintf(to, "  %-12s %8s %8s %8s %8s\n", "kind", "mean", "p50", "p90", "p95");
    for (int k = 0; k < GPULET_FIT_KINDS; k++) {
        const gpulet_fit_kind_t *kind = &fit->kinds[k];
        const char *name = gpulet_interference_kind_name((gpulet_interference_kind_t)k);
        if (kind->fitted)
            (void)fprintf(to, "%c %-12s %7.2f%% %7.2f%% %7.2f%% %7.2f%%\n",
                          k == (int)chosen ? '*' : ' ', name, kind->errors.mean * 100,
                          kind->errors.p50 * 100, kind->errors.p90 * 100, kind->errors.p95 * 100);
        else
            (void)fprintf(to, "  %-12s not fitted: %s\n", name, kind->why_not);
    }
}

/* ---- the command ---- */

static gpulet_status_t write_file(const char *path, const gpulet_interference_t *interference,
                                  gpulet_error_t *err)
{
    gpulet_buf_t csv = GPULET_BUF_INIT;
    gpulet_status_t st = gpulet_interference_format_csv(&csv, interference);
    if (st == GPULET_OK)
        st = gpulet_file_write(path, csv.data, csv.size, err);
    else
        (void)gpulet_fail(err, st, "out of memory");
    gpulet_buf_deinit(&csv);
    return st;
}

static gpulet_status_t fit_files(gpulet_fit_t **out, const fit_settings_t *s, gpulet_error_t *err)
{
    gpulet_profile_t *profile = NULL;
    gpulet_pairs_t *pairs = NULL;
    gpulet_fit_options_t options = {s->train, s->seed, s->quantile};
    gpulet_status_t st =
        s->profiles != NULL
            ? gpulet_profile_load(&profile, s->profiles, GPULET_PROFILE_FORMAT_CSV, NULL, err)
            : GPULET_OK;
    if (st == GPULET_OK)
        st = gpulet_pairs_load(&pairs, s->pairs, err);
    if (st == GPULET_OK && (st = gpulet_fit_run(out, profile, pairs, &options, err)) != GPULET_OK)
        gpulet_error_prefix(err, "%s", s->pairs);
    gpulet_profile_destroy(profile);
    gpulet_pairs_destroy(pairs);
    return st;
}

static int run(const fit_settings_t *s, bool best, gpulet_interference_kind_t kind)
{
    gpulet_fit_t *fit = NULL;
    gpulet_error_t err = {""};
    gpulet_status_t st = fit_files(&fit, s, &err);
    if (st == GPULET_OK && best)
        kind = fit->best;
    if (st == GPULET_OK && !fit->kinds[kind].fitted)
        st = gpulet_fail(&err, GPULET_E_INVALID, "%s: %s", gpulet_interference_kind_name(kind),
                         fit->kinds[kind].why_not);
    if (st == GPULET_OK && s->out != NULL)
        st = write_file(s->out, fit->kinds[kind].interference, &err);
    if (st == GPULET_OK && s->json)
        st = print_json(fit, kind);
    else if (st == GPULET_OK)
        print_text(s->out != NULL && strcmp(s->out, "-") == 0 ? stderr : stdout, fit, kind);
    gpulet_fit_destroy(fit);
    return st == GPULET_OK ? CMD_DONE : cmd_complain("fit", CMD_FAILED, err.text);
}

int cmd_fit(int argc, char **argv)
{
    fit_settings_t s = {0};
    gpulet_error_t err = {""};
    gpulet_interference_kind_t kind = GPULET_INTERFERENCE_LINEAR;
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("fit"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    bool best = strcmp(s.kind, "auto") == 0;
    if (s.pairs == NULL) {
        exit_code = cmd_complain("fit", CMD_USAGE, "expected --pairs FILE");
    } else if (!best && !gpulet_interference_kind_find(&kind, s.kind)) {
        (void)gpulet_fail(&err, GPULET_E_INVALID,
                          "--kind: expected linear, sensitivity, constant or auto, found '%s'",
                          s.kind);
        exit_code = cmd_complain("fit", CMD_USAGE, err.text);
    } else if (!best && kind == GPULET_INTERFERENCE_LINEAR && s.profiles == NULL) {
        exit_code = cmd_complain("fit", CMD_USAGE,
                                 "expected --profiles FILE, with l2_util and dram_util: --kind "
                                 "linear reads them");
    } else if (cmd_check_stdout(s.json, "out", s.out, &err) != GPULET_OK) {
        exit_code = cmd_complain("fit", CMD_USAGE, err.text);
    } else {
        exit_code = run(&s, best, kind);
    }
    gpulet_options_deinit(cmd_fit_options, &s);
    return exit_code;
}
