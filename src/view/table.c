/* The table of models and the verdict. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/fold.h"
#include "view/plan_text.h"

/* Wide columns without the name, and a few kinds of gpu-lets. */
enum { NAME_MIN = 5, NAME_MAX = 40, WIDE_COLUMNS = 72 };

/* What the plan does for one model. */
typedef struct model_sum {
    double routed_rps;
    double worst_ms;
} model_sum_t;

static model_sum_t sum_of(const gpulet_plan_t *plan, const char *model)
{
    model_sum_t sum = {0};
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t i = 0; i < plan->devices[d].gpulets_count; i++) {
            const gpulet_plan_gpulet_t *g = &plan->devices[d].gpulets[i];
            for (size_t k = 0; k < g->shares_count; k++) {
                if (strcmp(g->shares[k].model, model) != 0)
                    continue;
                sum.routed_rps += g->shares[k].rate_rps;
                sum.worst_ms = fmax(sum.worst_ms, g->shares[k].worst_ms);
            }
        }
    }
    return sum;
}

static int larger_first(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return x > y ? -1 : x < y ? 1 : 0;
}

/* The units of every gpu-let that holds the model, into units[]. */
static size_t list_units(uint32_t *units, const gpulet_plan_t *plan, const char *model)
{
    size_t count = 0;
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t i = 0; i < plan->devices[d].gpulets_count; i++) {
            const gpulet_plan_gpulet_t *g = &plan->devices[d].gpulets[i];
            size_t k = 0;
            while (k < g->shares_count && strcmp(g->shares[k].model, model) != 0)
                k++;
            if (k < g->shares_count)
                units[count++] = g->units;
        }
    }
    return count;
}

/* "2×3 1×1": how many gpu-lets of which size hold the model, the large ones first. `units` has room
 * for every gpu-let. */
static void put_sizes(gpulet_buf_t *out, const gpulet_plan_t *plan, const char *model,
                      uint32_t *units, const gpulet_view_style_t *style)
{
    size_t count = list_units(units, plan, model);
    qsort(units, count, sizeof(*units), larger_first);
    for (size_t begin = 0, end = 0; begin < count; begin = end) {
        while (end < count && units[end] == units[begin])
            end++;
        gpulet_buf_printf(out, "%s%zu%s%u", begin == 0 ? "" : " ", end - begin,
                          style->utf8 ? "×" : "x", units[begin]);
    }
}

static void put_name(gpulet_buf_t *out, const char *name, size_t width,
                     const gpulet_view_style_t *style)
{
    size_t length = 0;
    for (const char *p = name; *p != '\0'; p++) {
        bool begins = ((unsigned char)*p & 0xC0) != 0x80;
        length += begins ? 1 : 0;
        if (!style->utf8 && (unsigned char)*p >= 0x80) {
            if (begins)
                gpulet_buf_append_char(out, '?');
        } else {
            gpulet_buf_append_char(out, *p);
        }
    }
    if (length < width)
        gpulet_buf_printf(out, "%*s", (int)(width - length), "");
}

gpulet_status_t gpulet_view_models(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                   const gpulet_view_style_t *style)
{
    char key[GPULET_VIEW_KEY_SIZE];
    size_t width = NAME_MIN;
    size_t gpulets = 0;
    for (size_t d = 0; d < plan->devices_count; d++)
        gpulets += plan->devices[d].gpulets_count;
    uint32_t *units = calloc(gpulets + 1, sizeof(*units));
    if (units == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < plan->models_count; i++) {
        size_t length = gpulet_view_length(plan->models[i].model);
        width = length > width ? length : width;
    }
    width = width > NAME_MAX ? NAME_MAX : width;
    /* Narrow terminals get narrow columns, and not the one that follows from two others. */
    bool narrow = style->width < width + WIDE_COLUMNS;
    const int column = narrow ? 8 : 10;
    if (narrow)
        gpulet_buf_printf(out, "    %-*s %8s %8s %8s %8s  %s\n", (int)width, "model", "rate/s",
                          "cap./s", "SLO ms", "worst ms", "gpu-lets");
    else
        gpulet_buf_printf(out, "    %-*s %10s %10s %5s %10s %10s  %s\n", (int)width, "model",
                          "rate/s", "capacity/s", "used", "SLO ms", "worst ms",
                          "gpu-lets (number x units)");
    for (size_t i = 0; i < plan->models_count; i++) {
        const gpulet_plan_model_t *m = &plan->models[i];
        model_sum_t sum = sum_of(plan, m->model);
        double missing_rps = m->rate_rps - sum.routed_rps;
        char used[16] = "-";
        char worst[32] = "-";
        if (m->capacity_rps > 0.0) {
            (void)snprintf(used, sizeof(used), "%.0f%%", 100.0 * sum.routed_rps / m->capacity_rps);
            (void)snprintf(worst, sizeof(worst), "%.2f", sum.worst_ms);
        }
        (void)gpulet_view_key(key, i);
        if (style->colour)
            gpulet_buf_printf(out, "\033[38;5;16;48;5;%um%-3s\033[0m ", gpulet_view_background(i),
                              key);
        else
            gpulet_buf_printf(out, "%-3s ", key);
        put_name(out, m->model, width, style);
        gpulet_buf_printf(out, " %*.1f %*.1f", column, m->rate_rps, column, m->capacity_rps);
        if (!narrow)
            gpulet_buf_printf(out, " %5s", used);
        gpulet_buf_printf(out, " %*.2f %*s  ", column, m->slo_ms, column, worst);
        put_sizes(out, plan, m->model, units, style);
        if (m->rate_rps > 0.0 && missing_rps > 1e-6 * m->rate_rps)
            gpulet_buf_printf(out, "  misses %.1f/s", missing_rps);
        gpulet_buf_append_char(out, '\n');
    }
    free(units);
    return gpulet_buf_status(out);
}

static void put_bound(gpulet_buf_t *out, const gpulet_plan_t *plan)
{
    bool costs = !isnan(plan->cost);
    if (isnan(plan->lower_bound))
        return;
    if (plan->proved_optimal)
        gpulet_buf_printf(out, ", and no plan can do with %s", costs ? "less" : "fewer");
    else
        gpulet_buf_printf(out, "; whether %s would do is open, at least %.6g %s needed",
                          costs ? "less" : "fewer", plan->lower_bound,
                          plan->lower_bound == 1.0 || costs ? "is" : "are");
}

static void put_movement(gpulet_buf_t *out, const gpulet_plan_movement_t *m)
{
    const struct {
        const char *one;
        const char *many;
        uint32_t count;
    } parts[] = {
        {"gpu-let started", "gpu-lets started", m->gpulets_started},
        {"stopped", "stopped", m->gpulets_stopped},
        {"model loaded", "models loaded", m->models_loaded},
        {"device added", "devices added", m->devices_added},
        {"removed", "removed", m->devices_removed},
    };
    gpulet_buf_append_str(out, "From the running plan: ");
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        gpulet_buf_printf(out, "%s%u %s", i == 0 ? "" : ", ", parts[i].count,
                          parts[i].count == 1 ? parts[i].one : parts[i].many);
    gpulet_buf_append_str(out, ".\n");
}

gpulet_status_t gpulet_view_verdict(gpulet_buf_t *out, const gpulet_plan_t *plan)
{
    if (!plan->feasible) {
        gpulet_buf_printf(out, "Not enough: %s.", plan->reason);
        if (!isnan(plan->lower_bound) && !isnan(plan->cost))
            gpulet_buf_printf(out, " Any plan needs a cost of at least %.6g.", plan->lower_bound);
        else if (!isnan(plan->lower_bound))
            gpulet_buf_printf(out, " Any plan needs at least %.6g %s.", plan->lower_bound,
                              plan->lower_bound == 1.0 ? "device" : "devices");
        gpulet_buf_append_char(out, '\n');
        return gpulet_buf_status(out);
    }
    if (plan->devices_used == 0) {
        gpulet_buf_append_str(out, "Nothing is asked for: no device is needed.\n");
        return gpulet_buf_status(out);
    }
    gpulet_buf_printf(out, "%u %s", plan->devices_used,
                      plan->devices_used == 1 ? "device is enough" : "devices are enough");
    if (!isnan(plan->cost))
        gpulet_buf_printf(out, " at a cost of %.6g", plan->cost);
    put_bound(out, plan);
    gpulet_buf_append_str(out, ".\n");
    if (plan->reason[0] != '\0') /* feasible under tolerances only */
        gpulet_buf_printf(out, "But %s.\n", plan->reason);
    return gpulet_buf_status(out);
}

/* Characters from `begin` on that are no ASCII become '?'. */
static void keep_ascii(gpulet_buf_t *out, size_t begin)
{
    size_t kept = begin;
    for (size_t i = begin; i < out->size; i++) {
        unsigned char c = (unsigned char)out->data[i];
        if (c < 0x80)
            out->data[kept++] = out->data[i];
        else if ((c & 0xC0) != 0x80)
            out->data[kept++] = '?';
    }
    out->size = kept;
    out->data[kept] = '\0';
}

gpulet_status_t gpulet_view_plan_text(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                      const gpulet_device_set_t *devices,
                                      const gpulet_view_style_t *style)
{
    gpulet_status_t st = gpulet_view_bars(out, plan, devices, style);
    if (st == GPULET_OK && plan->devices_count > 0)
        gpulet_buf_append_char(out, '\n');
    if (st == GPULET_OK && plan->models_count > 0) {
        st = gpulet_view_models(out, plan, style);
        gpulet_buf_append_char(out, '\n');
    }
    size_t begin = out->size;
    if (st == GPULET_OK)
        st = gpulet_view_verdict(out, plan);
    if (st == GPULET_OK && plan->moves)
        put_movement(out, &plan->movement);
    if (st == GPULET_OK && !style->utf8)
        keep_ascii(out, begin);
    return st;
}
