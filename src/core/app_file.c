/* Applications read from YAML and CSV, and written as YAML. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "core/app.h"
#include "core/csv.h"
#include "core/yaml_reader.h"

enum { FILE_SIZE_MAX = 1 << 22 };

/* ---- YAML ---- */

static const char *const app_keys[] = {"slo_ms", "rate_rps", "stages", NULL};
static const char *const stage_keys[] = {"model", "after", "requests", NULL};

/* What stages come after is looked up once all are known. */
static gpulet_status_t read_after(const gpulet_yaml_t *r, const yaml_node_t *node,
                                  gpulet_app_t *app, uint32_t stage)
{
    char name[GPULET_APP_NAME_MAX + 1];
    if (node->type != YAML_SEQUENCE_NODE)
        return gpulet_yaml_fail(r, node, "after", "a list of stages");
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top; item++) {
        const yaml_node_t *entry = gpulet_yaml_node(r, *item);
        gpulet_status_t st = gpulet_yaml_name(r, entry, "after", name, GPULET_APP_NAME_MAX);
        if (st != GPULET_OK)
            return st;
        uint32_t before = gpulet_app_find_stage(app, name);
        if (before == UINT32_MAX)
            return gpulet_yaml_fail(r, entry, "after", "a stage of the application");
        gpulet_app_add_after(app, stage, before);
    }
    return GPULET_OK;
}

static gpulet_status_t read_stage(const gpulet_yaml_t *r, const yaml_node_pair_t *pair,
                                  gpulet_app_t *app)
{
    const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
    const yaml_node_t *node = gpulet_yaml_node(r, pair->value);
    const yaml_node_t *values[3];
    char name[GPULET_APP_NAME_MAX + 1];
    char model[GPULET_APP_NAME_MAX + 1];
    gpulet_error_t why;
    uint32_t stage = 0;
    gpulet_status_t st = gpulet_yaml_name(r, key, "stages", name, GPULET_APP_NAME_MAX);
    if (st == GPULET_OK)
        st = gpulet_yaml_check_mapping(r, node, name, sizeof(values) / sizeof(values[0]));
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, node, stage_keys, false, values);
    if (st == GPULET_OK && values[0] == NULL)
        st = gpulet_yaml_fail_missing(r, node, "model", "the name of a model");
    if (st == GPULET_OK)
        st = gpulet_yaml_name(r, values[0], "model", model, GPULET_APP_NAME_MAX);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_app_add_stage(app, &stage, name, model, &why)) != GPULET_OK)
        return gpulet_fail(r->err, st, "%s:%zu: stages: %s", r->file, key->start_mark.line + 1,
                           why.text);
    return values[2] == NULL
               ? GPULET_OK
               : gpulet_yaml_u32(r, values[2], "requests", &app->stages[stage].requests, 1,
                                 GPULET_APP_REQUESTS_MAX);
}

static gpulet_status_t read_stages(const gpulet_yaml_t *r, const yaml_node_t *node,
                                   gpulet_app_t *app)
{
    gpulet_status_t st = gpulet_yaml_check_mapping(r, node, "stages", GPULET_APP_STAGES_MAX);
    if (st != GPULET_OK)
        return st;
    const yaml_node_pair_t *start = node->data.mapping.pairs.start;
    const yaml_node_pair_t *top = node->data.mapping.pairs.top;
    for (const yaml_node_pair_t *pair = start; pair < top && st == GPULET_OK; pair++)
        st = read_stage(r, pair, app);
    for (const yaml_node_pair_t *pair = start; pair < top && st == GPULET_OK; pair++) {
        const yaml_node_t *values[3];
        st = gpulet_yaml_map(r, gpulet_yaml_node(r, pair->value), stage_keys, false, values);
        if (st == GPULET_OK && values[1] != NULL)
            st = read_after(r, values[1], app, (uint32_t)(pair - start));
    }
    return st;
}

static gpulet_status_t read_app_fields(const gpulet_yaml_t *r, const yaml_node_t *node,
                                       gpulet_app_t *app)
{
    const yaml_node_t *values[3];
    gpulet_error_t why;
    gpulet_status_t st =
        gpulet_yaml_check_mapping(r, node, app->name, sizeof(values) / sizeof(values[0]));
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, node, app_keys, false, values);
    if (st == GPULET_OK && values[0] == NULL)
        st = gpulet_yaml_fail_missing(r, node, "slo_ms", "the objective of the whole");
    if (st == GPULET_OK && values[2] == NULL)
        st = gpulet_yaml_fail_missing(r, node, "stages", "the stages of the application");
    if (st == GPULET_OK)
        st = gpulet_yaml_positive(r, values[0], "slo_ms", &app->slo_ms);
    if (st == GPULET_OK && values[1] != NULL)
        st = gpulet_yaml_positive(r, values[1], "rate_rps", &app->rate_rps);
    if (st == GPULET_OK)
        st = read_stages(r, values[2], app);
    if (st != GPULET_OK)
        return st;
    if ((st = gpulet_app_finish(app, &why)) != GPULET_OK)
        return gpulet_fail(r->err, st, "%s:%zu: %s: %s", r->file, node->start_mark.line + 1,
                           app->name, why.text);
    return GPULET_OK;
}

static gpulet_status_t read_app(const gpulet_yaml_t *r, const yaml_node_pair_t *pair,
                                gpulet_apps_t *apps)
{
    const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
    char name[GPULET_APP_NAME_MAX + 1];
    gpulet_app_t *app = NULL;
    gpulet_error_t why;
    gpulet_status_t st = gpulet_yaml_name(r, key, "apps", name, GPULET_APP_NAME_MAX);
    if (st != GPULET_OK)
        return st;
    if (gpulet_app_create(&app, name, &why) != GPULET_OK)
        return gpulet_yaml_fail_memory(r);
    if ((st = read_app_fields(r, gpulet_yaml_node(r, pair->value), app)) != GPULET_OK) {
        gpulet_app_destroy(app);
        return st;
    }
    if ((st = gpulet_apps_add(apps, app, &why)) != GPULET_OK)
        return gpulet_fail(r->err, st, "%s:%zu: apps: %s", r->file, key->start_mark.line + 1,
                           why.text);
    return GPULET_OK;
}

static gpulet_status_t read_root(const gpulet_yaml_t *r, void *context)
{
    static const char *const names[] = {"apps", NULL};
    const yaml_node_t *list = NULL;
    const yaml_node_t *root = yaml_document_get_root_node(r->document);
    if (root == NULL)
        return gpulet_fail(r->err, GPULET_E_INVALID,
                           "%s:1: apps: expected applications, found an empty file", r->file);
    gpulet_status_t st = gpulet_yaml_check_mapping(r, root, "file", 1);
    if (st == GPULET_OK)
        st = gpulet_yaml_map(r, root, names, false, &list);
    if (st == GPULET_OK && list == NULL)
        st = gpulet_yaml_fail_missing(r, root, "apps", "applications");
    if (st == GPULET_OK)
        st = gpulet_yaml_check_mapping(r, list, "apps", GPULET_APPS_MAX);
    if (st == GPULET_OK && gpulet_yaml_pairs(list) == 0)
        st = gpulet_yaml_fail_missing(r, list, "apps", "at least one application");
    if (st != GPULET_OK)
        return st;
    for (const yaml_node_pair_t *pair = list->data.mapping.pairs.start;
         pair < list->data.mapping.pairs.top && st == GPULET_OK; pair++)
        st = read_app(r, pair, context);
    return st;
}

/* ---- CSV: a row a stage; the rows of one application stand together ---- */

typedef struct columns {
    int app, slo_ms, rate_rps, stage, model, after, requests;
} columns_t;

/* What one reading of a file works with. */
typedef struct table {
    gpulet_csv_t csv;
    columns_t c;
    gpulet_apps_t *apps;
    gpulet_app_t *app; /* the application at hand; owned until it is finished */
    size_t line;       /* where it began */
    gpulet_error_t *err;
} table_t;

static const char *field_text(const table_t *t, int column)
{
    return t->csv.fields[column].text;
}

static gpulet_status_t fail_row(const table_t *t, gpulet_status_t status, size_t line,
                                const char *field, const char *why)
{
    return gpulet_fail(t->err, status, "%s:%zu: %s: %s", t->csv.file, line, field, why);
}

static gpulet_status_t finish_app(table_t *t)
{
    gpulet_error_t why;
    gpulet_app_t *app = t->app;
    if (app == NULL)
        return GPULET_OK;
    gpulet_status_t st = gpulet_app_finish(app, &why);
    if (st != GPULET_OK)
        return fail_row(t, st, t->line, app->name, why.text);
    t->app = NULL;
    st = gpulet_apps_add(t->apps, app, &why);
    return st == GPULET_OK ? st : fail_row(t, st, t->line, "app", why.text);
}

static gpulet_status_t begin_app(table_t *t)
{
    gpulet_error_t why;
    gpulet_status_t st = finish_app(t);
    if (st == GPULET_OK)
        st = gpulet_csv_name(&t->csv, t->c.app, GPULET_APP_NAME_MAX, t->err);
    if (st != GPULET_OK)
        return st;
    t->line = t->csv.line;
    if ((st = gpulet_app_create(&t->app, field_text(t, t->c.app), &why)) != GPULET_OK)
        return fail_row(t, st, t->line, "app", why.text);
    st = gpulet_csv_f64(&t->csv, t->c.slo_ms, &t->app->slo_ms, &gpulet_text_positive, t->err);
    if (st == GPULET_OK && gpulet_csv_has(&t->csv, t->c.rate_rps))
        st = gpulet_csv_f64(&t->csv, t->c.rate_rps, &t->app->rate_rps, &gpulet_text_positive,
                            t->err);
    return st;
}

/* Later rows may leave out what the first said, or say the same. */
static gpulet_status_t check_same(const table_t *t)
{
    const struct {
        int column;
        double value;
        const char *expected;
    } fields[] = {
        {t->c.slo_ms, t->app->slo_ms, "what the application's first row says, or nothing"},
        {t->c.rate_rps, t->app->rate_rps, "what the application's first row says, or nothing"}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        double value = 0;
        if (!gpulet_csv_has(&t->csv, fields[i].column))
            continue;
        gpulet_status_t st =
            gpulet_csv_f64(&t->csv, fields[i].column, &value, &gpulet_text_positive, t->err);
        if (st != GPULET_OK)
            return st;
        if (value != fields[i].value)
            return gpulet_csv_fail(&t->csv, fields[i].column, fields[i].expected, t->err);
    }
    return GPULET_OK;
}

/* Names between blanks; each a stage that stands above. */
static gpulet_status_t read_after_names(const table_t *t, uint32_t stage)
{
    char name[GPULET_APP_NAME_MAX + 1];
    const char *text = field_text(t, t->c.after);
    for (;;) {
        text += strspn(text, " ");
        size_t length = strcspn(text, " ");
        if (length == 0)
            return GPULET_OK;
        uint32_t before = UINT32_MAX;
        if (length <= GPULET_APP_NAME_MAX) {
            memcpy(name, text, length);
            name[length] = '\0';
            before = gpulet_app_find_stage(t->app, name);
        }
        if (before == UINT32_MAX || before == stage)
            return gpulet_csv_fail(&t->csv, t->c.after,
                                   "names of stages in rows above, with blanks between", t->err);
        gpulet_app_add_after(t->app, stage, before);
        text += length;
    }
}

static gpulet_status_t read_row(table_t *t)
{
    gpulet_error_t why;
    uint32_t stage = 0;
    bool same = t->app != NULL && strcmp(t->app->name, field_text(t, t->c.app)) == 0;
    gpulet_status_t st = same ? check_same(t) : begin_app(t);
    if (st == GPULET_OK)
        st = gpulet_csv_name(&t->csv, t->c.stage, GPULET_APP_NAME_MAX, t->err);
    if (st == GPULET_OK)
        st = gpulet_csv_name(&t->csv, t->c.model, GPULET_APP_NAME_MAX, t->err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_app_add_stage(t->app, &stage, field_text(t, t->c.stage), field_text(t, t->c.model),
                              &why);
    if (st != GPULET_OK)
        return fail_row(t, st, t->csv.line, "stage", why.text);
    if (gpulet_csv_has(&t->csv, t->c.requests))
        st = gpulet_csv_u32(&t->csv, t->c.requests, &t->app->stages[stage].requests, 1,
                            GPULET_APP_REQUESTS_MAX, t->err);
    if (st == GPULET_OK && gpulet_csv_has(&t->csv, t->c.after))
        st = read_after_names(t, stage);
    return st;
}

static gpulet_status_t read_columns(table_t *t)
{
    columns_t *c = &t->c;
    gpulet_status_t st = gpulet_csv_require(&t->csv, &c->app, "app", t->err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(&t->csv, &c->slo_ms, "slo_ms", t->err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(&t->csv, &c->stage, "stage", t->err);
    if (st == GPULET_OK)
        st = gpulet_csv_require(&t->csv, &c->model, "model", t->err);
    c->rate_rps = gpulet_csv_column(&t->csv, "rate_rps");
    c->after = gpulet_csv_column(&t->csv, "after");
    c->requests = gpulet_csv_column(&t->csv, "requests");
    return st;
}

static gpulet_status_t parse_csv(gpulet_apps_t *apps, const char *text, size_t size,
                                 const char *file, gpulet_error_t *err)
{
    table_t t = {.apps = apps, .err = err};
    bool more = true;
    gpulet_status_t st = gpulet_csv_open(&t.csv, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    st = read_columns(&t);
    while (st == GPULET_OK) {
        st = gpulet_csv_next(&t.csv, &more, err);
        if (st != GPULET_OK || !more)
            break;
        st = read_row(&t);
    }
    if (st == GPULET_OK)
        st = finish_app(&t);
    if (st == GPULET_OK && apps->count == 0)
        st = gpulet_fail(err, GPULET_E_INVALID, "%s: app: expected at least one row, found none",
                         file);
    gpulet_app_destroy(t.app);
    gpulet_csv_close(&t.csv);
    return st;
}

/* ---- either ---- */

static bool is_csv(const char *file)
{
    size_t length = strlen(file);
    return length >= 4 && strcmp(file + length - 4, ".csv") == 0;
}

gpulet_status_t gpulet_apps_parse(gpulet_apps_t **out, const char *text, size_t size,
                                  const char *file, gpulet_error_t *err)
{
    gpulet_apps_t *apps = NULL;
    if (size > FILE_SIZE_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s: larger than %d bytes", file,
                           FILE_SIZE_MAX);
    gpulet_status_t st = gpulet_apps_create(&apps);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s: out of memory", file);
    st = is_csv(file) ? parse_csv(apps, text, size, file, err)
                      : gpulet_yaml_read(text, size, file, read_root, apps, err);
    if (st == GPULET_OK)
        *out = apps;
    else
        gpulet_apps_destroy(apps);
    return st;
}

gpulet_status_t gpulet_apps_load(gpulet_apps_t **out, const char *path, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, FILE_SIZE_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_apps_parse(out, text, size, path, err);
    free(text);
    return st;
}

/* The character that text begins with, and its bytes; names are valid UTF-8. */
static uint32_t character(const char *text, size_t *bytes)
{
    const unsigned char *c = (const unsigned char *)text;
    *bytes = gpulet_text_utf8(text, strlen(text));
    switch (*bytes) {
    case 2:
        return (c[0] & 0x1fU) << 6 | (c[1] & 0x3fU);
    case 3:
        return (c[0] & 0x0fU) << 12 | (c[1] & 0x3fU) << 6 | (c[2] & 0x3fU);
    case 4:
        return (c[0] & 0x07U) << 18 | (c[1] & 0x3fU) << 12 | (c[2] & 0x3fU) << 6 | (c[3] & 0x3fU);
    default:
        *bytes = 1;
        return c[0];
    }
}

/* What YAML takes for a line's end, a mark of byte order or no text at all. */
static bool must_escape(uint32_t c)
{
    return (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe ||
           c == 0xffff;
}

/* A name as a YAML string between double quotes, which any name can be. */
static void put_name(gpulet_buf_t *out, const char *name)
{
    size_t bytes = 0;
    gpulet_buf_append_char(out, '"');
    for (; *name != '\0'; name += bytes) {
        uint32_t c = character(name, &bytes);
        if (c == '"' || c == '\\')
            gpulet_buf_append_char(out, '\\');
        if (must_escape(c))
            gpulet_buf_printf(out, "\\u%04x", c);
        else
            gpulet_buf_append(out, name, bytes);
    }
    gpulet_buf_append_char(out, '"');
}

static void put_stage(gpulet_buf_t *out, const gpulet_app_t *app, const gpulet_app_stage_t *s)
{
    const char *separator = ", after: [";
    gpulet_buf_append_str(out, "      ");
    put_name(out, s->name);
    gpulet_buf_append_str(out, ": {model: ");
    put_name(out, s->model);
    for (gpulet_app_set_t left = s->before; left != 0; left &= left - 1) {
        gpulet_buf_append_str(out, separator);
        put_name(out, app->stages[__builtin_ctzll(left)].name);
        separator = ", ";
    }
    if (s->before != 0)
        gpulet_buf_append_char(out, ']');
    if (s->requests != 1)
        gpulet_buf_printf(out, ", requests: %u", s->requests);
    gpulet_buf_append_str(out, "}\n");
}

gpulet_status_t gpulet_apps_format_yaml(gpulet_buf_t *out, const gpulet_apps_t *apps)
{
    char number[GPULET_TEXT_NUMBER_SIZE];
    gpulet_buf_append_str(out, "apps:\n");
    for (size_t i = 0; i < apps->count; i++) {
        const gpulet_app_t *app = apps->items[i];
        gpulet_buf_append_str(out, "  ");
        put_name(out, app->name);
        gpulet_buf_printf(out, ":\n    slo_ms: %s\n", gpulet_text_number(number, app->slo_ms));
        if (app->rate_rps > 0)
            gpulet_buf_printf(out, "    rate_rps: %s\n", gpulet_text_number(number, app->rate_rps));
        gpulet_buf_append_str(out, "    stages:\n");
        for (size_t s = 0; s < app->stages_count; s++)
            put_stage(out, app, &app->stages[s]);
    }
    return gpulet_buf_status(out);
}
