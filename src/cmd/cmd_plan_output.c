/* What `gpulet plan` prints and writes. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "cmd/cmd_plan.h"
#include "cmd/cmd_terminal.h"
#include "core/csv.h"
#include "proto/oip.h"
#include "view/answers_text.h"
#include "view/plan_svg.h"
#include "view/plan_text.h"

/* ---- for programs ---- */

static void put_string(gpulet_buf_t *out, const char *text)
{
    gpulet_json_string(out, text, strlen(text));
}

static void put_figure(gpulet_buf_t *out, double value)
{
    if (isfinite(value))
        gpulet_csv_append_f64(out, value);
    else
        gpulet_buf_append_str(out, "null");
}

/* The plan's document without its last brace, for more fields to follow. */
static gpulet_status_t put_open_plan(gpulet_buf_t *out, const gpulet_plan_t *plan)
{
    gpulet_status_t st = gpulet_plan_format_json(out, plan);
    while (st == GPULET_OK && out->data[out->size - 1] != '}')
        out->size--;
    if (st == GPULET_OK)
        out->data[--out->size] = '\0';
    return st;
}

static void put_changes(gpulet_buf_t *out, const char *key, const gpulet_compare_change_t *list,
                        size_t count)
{
    gpulet_buf_printf(out, ",\n \"%s\": [", key);
    for (size_t i = 0; i < count; i++) {
        const gpulet_plan_gpulet_t *g = list[i].gpulet;
        gpulet_buf_printf(out, "%s{\"count\": %zu, \"type\": ", i == 0 ? "" : ", ", list[i].count);
        put_string(out, list[i].type);
        gpulet_buf_printf(out, ", \"units\": %u, \"models\": [", g->units);
        for (size_t k = 0; k < g->shares_count; k++) {
            gpulet_buf_append_str(out, k == 0 ? "{\"model\": " : ", {\"model\": ");
            put_string(out, g->shares[k].model);
            gpulet_buf_printf(out, ", \"batch\": %u, \"instances\": %u}", g->shares[k].batch,
                              g->shares[k].instances);
        }
        gpulet_buf_append_str(out, "]}");
    }
    gpulet_buf_append_char(out, ']');
}

static gpulet_status_t put_variant(gpulet_buf_t *out, const plan_variant_t *variant)
{
    gpulet_buf_t plan = GPULET_BUF_INIT;
    const gpulet_compare_t *c = &variant->compare;
    gpulet_status_t st = put_open_plan(&plan, variant->plan);
    if (st == GPULET_OK) {
        gpulet_buf_append_str(out, "{\"change\": ");
        put_string(out, variant->asked.text);
        gpulet_buf_append_str(out, ", ");
        gpulet_buf_append(out, plan.data + 1, plan.size - 1);
        gpulet_buf_printf(
            out, ",\n \"gpulets_kept\": %zu, \"gpulets_started\": %zu, \"gpulets_stopped\": %zu",
            c->kept, c->started, c->stopped);
        put_changes(out, "started", c->started_list, c->started_kinds);
        put_changes(out, "stopped", c->stopped_list, c->stopped_kinds);
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_deinit(&plan);
    return st;
}

static void put_advice(gpulet_buf_t *out, const gpulet_advice_t *advice)
{
    gpulet_buf_append_str(out, ",\n\"advice\": {\"devices\": {");
    for (size_t i = 0, put = 0; i < advice->types_count; i++) {
        if (advice->types[i].enough < 0)
            continue;
        gpulet_buf_append_str(out, put++ == 0 ? "" : ", ");
        put_string(out, advice->types[i].type);
        gpulet_buf_printf(out, ": %d", advice->types[i].enough);
    }
    gpulet_buf_append_str(out, "}, \"rate_multiple\": ");
    put_figure(out, advice->multiple);
    gpulet_buf_append_str(out, ", \"models\": [");
    for (size_t i = 0; i < advice->models_count; i++) {
        const gpulet_advice_model_t *m = &advice->models[i];
        gpulet_buf_append_str(out, i == 0 ? "{\"model\": " : ", {\"model\": ");
        put_string(out, m->demand->model);
        gpulet_buf_append_str(out, ", \"missing_rps\": ");
        put_figure(out, m->missing_rps);
        gpulet_buf_append_str(out, ", \"rate_rps\": ");
        put_figure(out, m->rate_rps);
        gpulet_buf_append_str(out, ", \"slo_ms\": ");
        put_figure(out, m->slo_ms);
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_append_str(out, "]}");
}

static void put_apps(gpulet_buf_t *out, const gpulet_apps_plan_t *split)
{
    gpulet_buf_append_str(out, ",\n\"apps\": [");
    for (size_t e = 0; e < split->count; e++) {
        const gpulet_apps_entry_t *entry = &split->entries[e];
        gpulet_buf_append_str(out, e == 0 ? "\n{\"app\": " : ",\n{\"app\": ");
        put_string(out, entry->app->name);
        gpulet_buf_append_str(out, ", \"slo_ms\": ");
        put_figure(out, entry->slo_ms);
        gpulet_buf_append_str(out, ", \"rate_rps\": ");
        put_figure(out, entry->rate_rps);
        gpulet_buf_append_str(out, ", \"stages\": [");
        for (size_t s = 0; s < entry->app->stages_count; s++) {
            gpulet_buf_append_str(out, s == 0 ? "{\"stage\": " : ", {\"stage\": ");
            put_string(out, entry->app->stages[s].name);
            gpulet_buf_append_str(out, ", \"model\": ");
            put_string(out, entry->app->stages[s].model);
            gpulet_buf_append_str(out, ", \"share_ms\": ");
            put_figure(out, entry->stages[s].share_ms);
            gpulet_buf_append_str(out, ", \"worst_ms\": ");
            put_figure(out, entry->stages[s].worst_ms);
            gpulet_buf_append_char(out, '}');
        }
        gpulet_buf_append_str(out, "]}");
    }
    gpulet_buf_append_char(out, ']');
}

static gpulet_status_t format_json(gpulet_buf_t *out, const plan_answers_t *answers)
{
    gpulet_status_t st = put_open_plan(out, answers->plan);
    if (st != GPULET_OK)
        return st;
    if (answers->split != NULL)
        put_apps(out, answers->split);
    if (answers->multiple_given) {
        gpulet_buf_append_str(out, ",\n\"max_multiple\": ");
        put_figure(out, answers->multiple);
    }
    if (answers->advice_given)
        put_advice(out, &answers->advice);
    if (answers->variants_count > 0)
        gpulet_buf_append_str(out, ",\n\"what_if\": [");
    for (size_t i = 0; st == GPULET_OK && i < answers->variants_count; i++) {
        gpulet_buf_append_str(out, i == 0 ? "\n" : ",\n");
        st = put_variant(out, &answers->variants[i]);
    }
    gpulet_buf_append_str(out, answers->variants_count > 0 ? "]}\n" : "}\n");
    return st == GPULET_OK ? gpulet_buf_status(out) : st;
}

/* ---- for people ---- */

static gpulet_status_t put_variants(gpulet_buf_t *out, const plan_answers_t *answers,
                                    const gpulet_view_style_t *style)
{
    gpulet_view_variant_t rows[CMD_PLAN_WHATIFS_MAX + 1] = {{"as it is", answers->plan, NULL}};
    for (size_t i = 0; i < answers->variants_count; i++)
        rows[i + 1] =
            (gpulet_view_variant_t){answers->variants[i].asked.text, answers->variants[i].plan,
                                    &answers->variants[i].compare};
    gpulet_buf_append_char(out, '\n');
    return gpulet_view_variants(out, rows, answers->variants_count + 1, style);
}

static gpulet_status_t format_text(gpulet_buf_t *out, const plan_answers_t *answers,
                                   const gpulet_device_set_t *devices)
{
    gpulet_view_style_t style = cmd_terminal_style();
    gpulet_status_t st = gpulet_view_plan_text(out, answers->plan, devices, &style);
    if (st == GPULET_OK && answers->split != NULL)
        st = gpulet_view_apps(out, answers->split, &style);
    if (st == GPULET_OK && answers->advice_given)
        st = gpulet_view_advice(out, &answers->advice, &style);
    if (st == GPULET_OK && answers->multiple_given && isnan(answers->multiple))
        gpulet_buf_append_str(out, "There is no largest multiple of the workload: as many devices "
                                   "as needed may be used, or nothing is asked for.\n");
    else if (st == GPULET_OK && answers->multiple_given && answers->multiple <= 0.0)
        gpulet_buf_append_str(out, "No multiple of the workload fits.\n");
    else if (st == GPULET_OK && answers->multiple_given)
        gpulet_buf_printf(out, "The largest multiple of the workload that fits is %.4g.\n",
                          answers->multiple);
    if (st == GPULET_OK && answers->variants_count > 0)
        st = put_variants(out, answers, &style);
    return st;
}

gpulet_status_t cmd_plan_put_out(const plan_settings_t *s, const plan_answers_t *answers,
                                 const gpulet_device_set_t *devices, gpulet_error_t *err)
{
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_t svg = GPULET_BUF_INIT;
    gpulet_status_t st = format_json(&json, answers);
    if (st == GPULET_OK && !s->json)
        st = format_text(&text, answers, devices);
    if (st == GPULET_OK && s->svg != NULL)
        st = gpulet_view_plan_svg(&svg, answers->plan, devices);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "%s", gpulet_status_text(st));
    if (st == GPULET_OK && s->svg != NULL)
        st = gpulet_file_write(s->svg, svg.data, svg.size, err);
    if (st == GPULET_OK && s->out != NULL)
        st = gpulet_file_write(s->out, json.data, json.size, err);
    if (st == GPULET_OK && s->model_list != NULL)
        st = cmd_plan_put_model_list(s->model_list, answers->plan, devices, err);
    const gpulet_buf_t *shown = s->json ? &json : &text;
    if (st == GPULET_OK)
        st = gpulet_file_write("-", shown->data, shown->size, err);
    gpulet_buf_deinit(&json);
    gpulet_buf_deinit(&text);
    gpulet_buf_deinit(&svg);
    return st;
}
