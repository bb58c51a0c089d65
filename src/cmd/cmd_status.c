/* `gpulet status` and `gpulet models`: what a running server says of itself, as a table or as its
 * JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "client/http_client.h"
#include "cmd/cmd.h"

enum { TIMEOUT_MS = 300000 /* a load waits for its model */, RATE_SIZE = 32 };

typedef struct status_settings {
    char *url;
    bool json;
    bool help;
    gpulet_url_t server; /* url, read */
} status_settings_t;

#define AT(field) offsetof(status_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_status_options[] = {
    {"url", GPULET_OPTION_STRING, AT(url), "http://127.0.0.1:8000", ANY, "URL", "the server",
     "Options"},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

const gpulet_option_t cmd_models_options[] = {
    {"url", GPULET_OPTION_STRING, AT(url), "http://127.0.0.1:8000", ANY, "URL", "the server",
     "Options"},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

static gpulet_status_t ask(gpulet_buf_t *body, status_settings_t *s, const char *method,
                           const char *path, gpulet_error_t *err)
{
    int http = 0;
    gpulet_status_t st = gpulet_url_resolve(&s->server, err);
    if (st == GPULET_OK)
        st = gpulet_client_fetch(&http, body, &s->server, method, path, NULL, 0, TIMEOUT_MS, err);
    if (st == GPULET_OK && http != 200)
        st = gpulet_fail(err, GPULET_E_UNAVAILABLE, "%s answers %d: %.300s", s->url, http,
                         body->size > 0 ? body->data : "");
    return st;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_gpulets(const json_t *root)
{
    size_t i = 0;
    size_t k = 0;
    json_t *g = NULL;
    json_t *m = NULL;
    (void)printf("%-12s %-9s %5s %-14s %7s %6s  %s\n", "gpu-let", "state", "units", "place",
                 "duty ms", "busy", "models (batch, rate/s, ms)");
    json_array_foreach(json_object_get(root, "gpulets"), i, g)
    {
        (void)printf("%-12s %-9s %5.0f %-14s %7.1f %5.1f%%  ", text_of(g, "name"),
                     text_of(g, "state"), number_of(g, "units"), text_of(g, "place"),
                     number_of(g, "duty_ms"), 100 * number_of(g, "busy"));
        json_array_foreach(json_object_get(g, "models"), k, m)
        {
            (void)printf("%s%s (%.0f, %.1f, %.2f)", k > 0 ? ", " : "", text_of(m, "model"),
                         number_of(m, "batch"), number_of(m, "rate_rps"),
                         number_of(m, "estimate_ms"));
        }
        (void)printf("\n");
    }
}

/* Rates of ensembles are null: those of their models tell. */
static const char *rate_of(char out[static RATE_SIZE], const json_t *model, const char *key)
{
    const json_t *value = json_object_get(model, key);
    if (!json_is_number(value))
        return "-";
    (void)snprintf(out, RATE_SIZE, "%.1f", json_number_value(value));
    return out;
}

static void print_models(const json_t *root)
{
    size_t i = 0;
    json_t *m = NULL;
    char now[RATE_SIZE];
    char covered[RATE_SIZE];
    (void)printf("\n%-20s %-11s %8s %8s %8s %10s %9s %9s %9s %8s %8s %8s\n", "model", "state",
                 "SLO ms", "rate/s", "covered", "offered", "in time", "p50 ms", "p99 ms", "late",
                 "rejected", "failed");
    json_array_foreach(json_object_get(root, "models"), i, m)
    {
        (void)printf("%-20s %-11s %8.1f %8s %8s %10.0f %8.2f%% %9.3f %9.3f %8.0f %8.0f %8.0f\n",
                     text_of(m, "model"), text_of(m, "state"), number_of(m, "slo_ms"),
                     rate_of(now, m, "rate_now_rps"), rate_of(covered, m, "rate_covered_rps"),
                     number_of(m, "offered"), 100 * number_of(m, "attainment"),
                     number_of(m, "latency_ms_p50"), number_of(m, "latency_ms_p99"),
                     number_of(m, "late"), number_of(m, "rejected"), number_of(m, "failed"));
    }
}

/* What the plan cannot promise, and what it leaves to spare. */
static void print_plan(const json_t *root)
{
    const json_t *transition = json_object_get(root, "transition");
    const json_t *headroom = json_object_get(root, "headroom");
    const char *missed = text_of(root, "plan_reason");
    if (missed[0] != '\0')
        (void)printf("not every objective is met: %s\n", missed);
    (void)printf("%.0f device%s used", number_of(root, "devices_used"),
                 number_of(root, "devices_used") == 1 ? "" : "s");
    if (json_is_number(headroom))
        (void)printf(", the plan covers %.3g times the rates", json_number_value(headroom));
    if (json_is_object(transition))
        (void)printf(", on the way to another plan (%s) for %.1f s", text_of(transition, "reason"),
                     number_of(transition, "since_ms") / 1e3);
    (void)printf("\n\n");
}

static void print_status(const json_t *root)
{
    (void)printf(
        "gpulet %s, %s, up %.0f s, plan %s%s, %.0f re-plans\n", text_of(root, "version"),
        json_is_true(json_object_get(root, "ready")) ? "ready" : "not ready",
        number_of(root, "uptime_s"), text_of(root, "planner"),
        json_is_true(json_object_get(root, "feasible")) ? "" : " (does not meet every objective)",
        number_of(root, "replans"));
    print_plan(root);
    print_gpulets(root);
    print_models(root);
}

static void print_index(const json_t *root)
{
    size_t i = 0;
    json_t *m = NULL;
    (void)printf("%-24s %8s %-12s %s\n", "model", "version", "state", "reason");
    json_array_foreach(root, i, m)
    {
        (void)printf("%-24s %8s %-12s %s\n", text_of(m, "name"), text_of(m, "version"),
                     text_of(m, "state"), text_of(m, "reason"));
    }
}

/* The options, read and checked: see cmd_parse. */
static bool parse(status_settings_t *s, const cmd_row_t *row, int argc, char **argv, int *words,
                  int *exit_code)
{
    gpulet_error_t err = {""};
    if (!cmd_parse(row, s, argc, argv, words, exit_code))
        return false;
    if (gpulet_url_parse(&s->server, s->url, &err) == GPULET_OK)
        return true;
    *exit_code = cmd_complain(row->name, CMD_USAGE, err.text);
    gpulet_options_deinit(row->options, s);
    return false;
}

static int show(const char *name, status_settings_t *s, const char *method, const char *path,
                void (*print)(const json_t *root))
{
    gpulet_buf_t body = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    int exit_code = CMD_DONE;
    if (ask(&body, s, method, path, &err) != GPULET_OK) {
        exit_code = cmd_complain(name, CMD_FAILED, err.text);
    } else if (s->json) {
        (void)printf("%s\n", body.data != NULL ? body.data : "");
    } else {
        json_t *root = json_loadb(body.data, body.size, 0, NULL);
        if (root != NULL)
            print(root);
        else
            exit_code = cmd_complain(name, CMD_FAILED, "the answer is no JSON");
        json_decref(root);
    }
    gpulet_buf_deinit(&body);
    return exit_code;
}

/* Waits until the plan with, or without, the model is served. */
static int change_model(status_settings_t *s, const char *model, const char *verb)
{
    gpulet_buf_t path = GPULET_BUF_INIT;
    gpulet_buf_t body = GPULET_BUF_INIT;
    gpulet_error_t err = {"out of memory"};
    int exit_code = CMD_DONE;
    gpulet_buf_append_str(&path, "/v2/repository/models/");
    gpulet_url_append_segment(&path, model);
    gpulet_buf_printf(&path, "/%s", verb);
    if (path.failed || ask(&body, s, "POST", path.data, &err) != GPULET_OK)
        exit_code = cmd_complain("models", CMD_FAILED, err.text);
    gpulet_buf_deinit(&path);
    gpulet_buf_deinit(&body);
    return exit_code;
}

int cmd_status(int argc, char **argv)
{
    status_settings_t s = {0};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!parse(&s, cmd_find("status"), argc, argv, &words, &exit_code))
        return exit_code;
    exit_code = show("status", &s, "GET", "/gpulet/v1/status", print_status);
    gpulet_options_deinit(cmd_status_options, &s);
    return exit_code;
}

int cmd_models(int argc, char **argv)
{
    status_settings_t s = {0};
    int words = 0;
    int exit_code = CMD_DONE;
    if (!parse(&s, cmd_find("models"), argc, argv, &words, &exit_code))
        return exit_code;
    if (words == 0 || (words == 1 && strcmp(argv[0], "list") == 0))
        exit_code = show("models", &s, "POST", "/v2/repository/index", print_index);
    else if (words == 2 && (strcmp(argv[0], "load") == 0 || strcmp(argv[0], "unload") == 0))
        exit_code = change_model(&s, argv[1], argv[0]);
    else
        exit_code = cmd_complain("models", CMD_USAGE,
                                 "expected 'list', 'load MODEL' or 'unload MODEL' (see --help)");
    gpulet_options_deinit(cmd_models_options, &s);
    return exit_code;
}
