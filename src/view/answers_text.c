#include "view/answers_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX = 40, KINDS_MAX = 12, CHANGE_MIN = 10 };

/* At least `width` columns; what is no ASCII becomes '?' where the terminal knows no more. */
static void put_padded(gpulet_buf_t *out, const char *text, size_t width,
                       const gpulet_view_style_t *style)
{
    for (const char *p = text; *p != '\0'; p++) {
        bool ascii = (unsigned char)*p < 0x80;
        bool begins = ((unsigned char)*p & 0xC0) != 0x80;
        if (ascii || style->utf8)
            gpulet_buf_append_char(out, *p);
        else if (begins)
            gpulet_buf_append_char(out, '?');
    }
    size_t length = gpulet_view_length(text);
    if (length < width)
        gpulet_buf_printf(out, "%*s", (int)(width - length), "");
}

static size_t widest_change(const gpulet_view_variant_t *variants, size_t count)
{
    size_t width = CHANGE_MIN;
    for (size_t i = 0; i < count; i++) {
        size_t length = gpulet_view_length(variants[i].change);
        width = length > width ? length : width;
    }
    return width < NAME_MAX ? width : NAME_MAX;
}

static void put_figure(gpulet_buf_t *out, double value, int width)
{
    if (isnan(value))
        gpulet_buf_printf(out, " %*s", width, "-");
    else
        gpulet_buf_printf(out, " %*.6g", width, value);
}

static void put_summary(gpulet_buf_t *out, const gpulet_view_variant_t *variants, size_t count,
                        const gpulet_view_style_t *style)
{
    size_t width = widest_change(variants, count);
    bool costs = !isnan(variants[0].plan->cost);
    gpulet_buf_printf(out, "    %-*s %8s%s %8s %9s   %s\n", (int)width, "what if", "devices",
                      costs ? "     cost" : "", "bound", "feasible",
                      "gpu-lets kept, started, stopped");
    for (size_t i = 0; i < count; i++) {
        const gpulet_plan_t *plan = variants[i].plan;
        const gpulet_compare_t *c = variants[i].compare;
        gpulet_buf_printf(out, "%-3zu ", i);
        put_padded(out, variants[i].change, width, style);
        gpulet_buf_printf(out, " %8u", plan->devices_used);
        if (costs)
            put_figure(out, plan->cost, 8);
        put_figure(out, plan->lower_bound, 8);
        gpulet_buf_printf(out, " %9s",
                          !plan->feasible        ? "no"
                          : plan->proved_optimal ? "best"
                                                 : "yes");
        if (c != NULL)
            gpulet_buf_printf(out, "   %zu, %zu, %zu", c->kept, c->started, c->stopped);
        gpulet_buf_append_char(out, '\n');
    }
}

/* A row a model, a column a plan; "!" where the capacity is below the rate. */
static void put_capacities(gpulet_buf_t *out, const gpulet_view_variant_t *variants, size_t count,
                           const gpulet_view_style_t *style)
{
    const gpulet_plan_t *first = variants[0].plan;
    size_t width = sizeof("capacity/s") - 1;
    for (size_t i = 0; i < first->models_count; i++) {
        size_t length = gpulet_view_length(first->models[i].model);
        width = length > width ? length : width;
    }
    width = width < NAME_MAX ? width : NAME_MAX;
    gpulet_buf_printf(out, "\n    %-*s", (int)width, "capacity/s");
    for (size_t v = 0; v < count; v++)
        gpulet_buf_printf(out, " %11zu ", v);
    gpulet_buf_append_char(out, '\n');
    for (size_t i = 0; i < first->models_count; i++) {
        gpulet_buf_append_str(out, "    ");
        put_padded(out, first->models[i].model, width, style);
        for (size_t v = 0; v < count; v++) {
            /* All plans are of the same models in the same order. */
            const gpulet_plan_model_t *m = &variants[v].plan->models[i];
            bool misses = m->capacity_rps < m->rate_rps * (1.0 - 1e-6);
            gpulet_buf_printf(out, " %11.1f%c", m->capacity_rps, misses ? '!' : ' ');
        }
        gpulet_buf_append_char(out, '\n');
    }
}

static void put_kinds(gpulet_buf_t *out, const char *verb, const gpulet_compare_change_t *list,
                      size_t count, const gpulet_view_style_t *style)
{
    const char *times = style->utf8 ? "×" : "x";
    for (size_t i = 0; i < count && i < KINDS_MAX; i++) {
        const gpulet_plan_gpulet_t *g = list[i].gpulet;
        gpulet_buf_printf(out, "      %s %zu%s ", verb, list[i].count, times);
        put_padded(out, list[i].type, 0, style);
        gpulet_buf_printf(out, ", %u units: ", g->units);
        for (size_t k = 0; k < g->shares_count; k++) {
            const gpulet_plan_share_t *s = &g->shares[k];
            gpulet_buf_append_str(out, k > 0 ? " + " : "");
            put_padded(out, s->model, 0, style);
            gpulet_buf_printf(out, " %s%u", times, s->batch);
            if (s->instances > 1)
                gpulet_buf_printf(out, "%s%u", style->utf8 ? "·" : "*", s->instances);
        }
        gpulet_buf_append_char(out, '\n');
    }
    if (count > KINDS_MAX)
        gpulet_buf_printf(out, "      %s %zu other kinds\n", verb, count - KINDS_MAX);
}

gpulet_status_t gpulet_view_variants(gpulet_buf_t *out, const gpulet_view_variant_t *variants,
                                     size_t count, const gpulet_view_style_t *style)
{
    put_summary(out, variants, count, style);
    put_capacities(out, variants, count, style);
    for (size_t i = 1; i < count; i++) {
        const gpulet_compare_t *c = variants[i].compare;
        if (!variants[i].plan->feasible) {
            gpulet_buf_printf(out, "\n%-3zu not enough: ", i);
            put_padded(out, variants[i].plan->reason, 0, style);
            gpulet_buf_append_char(out, '\n');
        } else {
            gpulet_buf_printf(out, "\n%-3zu %s\n", i,
                              c->started + c->stopped > 0 ? "gpu-lets that change:"
                                                          : "the same gpu-lets");
        }
        put_kinds(out, "start", c->started_list, c->started_kinds, style);
        put_kinds(out, "stop ", c->stopped_list, c->stopped_kinds, style);
    }
    return gpulet_buf_status(out);
}

/* ---- advice ---- */

static void put_model_advice(gpulet_buf_t *out, const gpulet_advice_model_t *m,
                             const gpulet_view_style_t *style)
{
    if (!isnan(m->slo_ms)) {
        gpulet_buf_append_str(out, "  ");
        put_padded(out, m->demand->model, 0, style);
        gpulet_buf_printf(out, " with an SLO of %.6g ms in place of %.6g ms\n", m->slo_ms,
                          m->demand->slo_ms);
    }
    if (!isnan(m->rate_rps)) {
        gpulet_buf_append_str(out, "  ");
        put_padded(out, m->demand->model, 0, style);
        if (m->rate_rps > 0.0)
            gpulet_buf_printf(out, " at %.6g requests/s in place of %.6g\n", m->rate_rps,
                              m->demand->rate_rps);
        else
            gpulet_buf_append_str(out, " left out\n");
    }
}

/* What the partial plan serves is a workload that fits: all rates that would have to go down,
 * rounded down. */
static void put_partial(gpulet_buf_t *out, const gpulet_advice_t *advice,
                        const gpulet_view_style_t *style)
{
    if (advice->models_missing < 2 || advice->models_missing > advice->models_count)
        return;
    gpulet_buf_append_str(out, "  together, as in the plan above: ");
    for (size_t i = 0; i < advice->models_count; i++) {
        const gpulet_advice_model_t *m = &advice->models[i];
        double left_rps = floor((m->demand->rate_rps - m->missing_rps) * 10.0) / 10.0;
        gpulet_buf_append_str(out, i == 0 ? "" : ", ");
        put_padded(out, m->demand->model, 0, style);
        if (left_rps > 0.0)
            gpulet_buf_printf(out, " at %.1f requests/s", left_rps);
        else
            gpulet_buf_append_str(out, " left out");
    }
    gpulet_buf_append_char(out, '\n');
}

gpulet_status_t gpulet_view_advice(gpulet_buf_t *out, const gpulet_advice_t *advice,
                                   const gpulet_view_style_t *style)
{
    gpulet_buf_t lines = GPULET_BUF_INIT;
    for (size_t t = 0; t < advice->types_count; t++) {
        const gpulet_advice_type_t *type = &advice->types[t];
        if (type->enough < 0)
            continue;
        gpulet_buf_printf(&lines, "  %d devices of type ", type->enough);
        put_padded(&lines, type->type, 0, style);
        gpulet_buf_printf(&lines, " in place of %d\n", type->was);
    }
    if (!isnan(advice->multiple))
        gpulet_buf_printf(&lines, "  all rates at %.1f %%\n",
                          floor(advice->multiple * 1000.0) / 10.0);
    for (size_t i = 0; i < advice->models_count; i++)
        put_model_advice(&lines, &advice->models[i], style);
    put_partial(&lines, advice, style);
    if (lines.size > 0) {
        gpulet_buf_append_str(out,
                              "\nEach of these alone would be enough (planned and checked):\n");
        gpulet_buf_append(out, lines.data, lines.size);
    } else {
        gpulet_buf_append_str(out, "\nNo single change of devices, rates or one SLO was found that "
                                   "would be enough.\n");
    }
    gpulet_status_t st = gpulet_buf_status(&lines);
    gpulet_buf_deinit(&lines);
    return st == GPULET_OK ? gpulet_buf_status(out) : st;
}

static size_t widest(const gpulet_app_t *app, bool models)
{
    size_t width = models ? sizeof("model") - 1 : sizeof("stage") - 1;
    for (size_t i = 0; i < app->stages_count; i++) {
        size_t length = gpulet_view_length(models ? app->stages[i].model : app->stages[i].name);
        width = length > width ? length : width;
    }
    return width;
}

gpulet_status_t gpulet_view_apps(gpulet_buf_t *out, const gpulet_apps_plan_t *split,
                                 const gpulet_view_style_t *style)
{
    for (size_t e = 0; e < split->count; e++) {
        const gpulet_apps_entry_t *entry = &split->entries[e];
        const gpulet_app_t *app = entry->app;
        const size_t stage_width = widest(app, false);
        const size_t model_width = widest(app, true);
        double share[GPULET_APP_STAGES_MAX];
        double worst[GPULET_APP_STAGES_MAX];
        bool placed = true;
        gpulet_buf_append_char(out, '\n');
        put_padded(out, app->name, 0, style);
        gpulet_buf_printf(out, ": %.6g requests/s within %.6g ms\n  %-*s  %-*s %9s %9s\n",
                          entry->rate_rps, entry->slo_ms, (int)stage_width, "stage",
                          (int)model_width, "model", "share ms", "worst ms");
        for (size_t s = 0; s < app->stages_count; s++) {
            share[s] = entry->stages[s].share_ms;
            worst[s] = entry->stages[s].worst_ms;
            placed = placed && !isnan(worst[s]);
            gpulet_buf_append_str(out, "  ");
            put_padded(out, app->stages[s].name, stage_width, style);
            gpulet_buf_append_str(out, "  ");
            put_padded(out, app->stages[s].model, model_width, style);
            put_figure(out, share[s], 9);
            put_figure(out, worst[s], 9);
            gpulet_buf_append_char(out, '\n');
        }
        gpulet_buf_printf(out, "  %-*s", (int)(stage_width + model_width + 2), "longest way");
        put_figure(out, gpulet_app_rest_ms(NULL, app, share), 9);
        put_figure(out, placed ? gpulet_app_rest_ms(NULL, app, worst) : NAN, 9);
        gpulet_buf_append_char(out, '\n');
    }
    gpulet_buf_append_str(out, "\nWhat is said above of fewer devices holds with these shares.\n");
    return gpulet_buf_status(out);
}
