#include "enumerate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MODELS_MAX = 4,
    PARTS_MAX = 4,
    OPTIONS_MAX = 64,
    GPULETS_MAX = 400000,
    DEVICES_MAX = 400000
};

/* One filled gpu-let: what it serves of each model, and what it does to its neighbours. All choices
 * stay open: with interference its latency depends on them. */
typedef struct option {
    double latency_ms;
    double items; /* batch · instances */
    double memory_mb;
    double l2;
    double dram;
} option_t;

typedef struct filling {
    uint32_t type;
    uint32_t size;
    uint32_t models; /* bit set */
    const option_t *options[MODELS_MAX];
} filling_t;

typedef struct device {
    uint32_t type;
    double rate_rps[MODELS_MAX];
} device_t;

typedef struct world {
    const gpulet_plan_input_t *input;
    size_t models;
    double rate_rps[MODELS_MAX];
    double slo_ms[MODELS_MAX];
    double margin;
    option_t *options; /* models · types · sizes · OPTIONS_MAX */
    uint32_t *counts;
    size_t fillings_count;
    filling_t *fillings;
    size_t devices_count;
    device_t *devices;
    bool too_large;
} world_t;

static option_t *options_of(const world_t *w, size_t model, uint32_t type, uint32_t size,
                            uint32_t **count)
{
    size_t cell = (model * 8 + type) * 8 + size;
    *count = &w->counts[cell];
    return w->options + cell * OPTIONS_MAX;
}

static void read_options(world_t *w, size_t model, const char *name)
{
    const gpulet_device_set_t *set = w->input->devices;
    for (size_t i = 0; i < gpulet_profile_curves_count(w->input->profile); i++) {
        const gpulet_curve_t *c = gpulet_profile_curve_at(w->input->profile, i);
        int type = gpulet_device_set_find(set, c->device);
        int size = type >= 0 ? gpulet_device_type_size_index(&set->types[type], c->units) : -1;
        if (size < 0 || strcmp(c->model, name) != 0)
            continue;
        uint32_t *count;
        option_t *options = options_of(w, model, (uint32_t)type, (uint32_t)size, &count);
        for (uint32_t b = gpulet_curve_batch_min(c); b <= gpulet_curve_batch_max(c); b++) {
            double mb = gpulet_curve_memory_mb(c, b);
            if (*count == OPTIONS_MAX) {
                w->too_large = true;
                return;
            }
            options[(*count)++] = (option_t){
                gpulet_curve_latency_ms(c, b, w->input->p99) * w->margin, (double)b * c->instances,
                isnan(mb) ? 0.0 : mb, gpulet_curve_l2_util(c, b), gpulet_curve_dram_util(c, b)};
        }
    }
}

static void add_filling(world_t *w, filling_t *f, size_t model)
{
    if (w->too_large)
        return;
    if (model == w->models) {
        uint32_t held = 0;
        for (uint32_t bits = f->models; bits != 0; bits &= bits - 1)
            held++;
        uint32_t most = w->input->devices->types[f->type].models_max;
        if (held == 0 || (most > 0 && held > most))
            return;
        if (w->fillings_count == GPULETS_MAX) {
            w->too_large = true;
            return;
        }
        w->fillings[w->fillings_count++] = *f;
        return;
    }
    add_filling(w, f, model + 1);
    uint32_t *count;
    const option_t *options = options_of(w, model, f->type, f->size, &count);
    for (uint32_t i = 0; i < *count; i++) {
        if (2.0 * options[i].latency_ms > w->slo_ms[model] * (1.0 + 1e-9))
            continue;
        f->models |= 1u << model;
        f->options[model] = &options[i];
        add_filling(w, f, model + 1);
        f->models &= ~(1u << model);
    }
}

/* ---- devices ---- */

typedef struct cut {
    const filling_t *parts[PARTS_MAX];
    uint32_t count;
} cut_t;

static double factor_of(const world_t *w, const cut_t *cut, uint32_t part, const option_t *self)
{
    const gpulet_device_type_t *type = &w->input->devices->types[cut->parts[0]->type];
    const gpulet_interference_row_t *row =
        w->input->interference != NULL && !type->isolated && type->gpulets_max > 1
            ? gpulet_interference_find(w->input->interference, type->name)
            : NULL;
    double factor = 1.0;
    for (uint32_t p = 0; row != NULL && p < cut->count; p++) {
        for (size_t m = 0; p != part && m < w->models; m++) {
            if ((cut->parts[p]->models >> m & 1u) == 0)
                continue;
            const option_t *o = cut->parts[p]->options[m];
            factor =
                fmax(factor, gpulet_interference_factor(row, self->l2, self->dram, o->l2, o->dram));
        }
    }
    return factor;
}

/* Adds what one gpu-let serves; false when it breaks a promise. */
static bool serve(const world_t *w, const cut_t *cut, uint32_t part, device_t *d, double *memory_mb)
{
    const filling_t *f = cut->parts[part];
    double latency_ms[MODELS_MAX] = {0.0};
    double sum_ms = 0.0;
    *memory_mb = w->input->devices->types[f->type].memory_mb_process;
    for (size_t m = 0; m < w->models; m++) {
        if ((f->models >> m & 1u) == 0)
            continue;
        latency_ms[m] = f->options[m]->latency_ms * factor_of(w, cut, part, f->options[m]);
        sum_ms += latency_ms[m];
        *memory_mb += f->options[m]->memory_mb;
    }
    for (size_t m = 0; m < w->models; m++) {
        double own = w->input->prototype_duty ? sum_ms : latency_ms[m];
        if ((f->models >> m & 1u) == 0)
            continue;
        if (sum_ms + own > w->slo_ms[m] * (1.0 + 1e-9))
            return false;
        d->rate_rps[m] += f->options[m]->items * 1000.0 / sum_ms;
    }
    return true;
}

/* Whether the gpu-lets from `at` on find slots that are not in the set `taken`. */
static bool place(const gpulet_device_type_t *type, const uint32_t *sizes, uint32_t count,
                  uint32_t at, uint64_t taken)
{
    if (at == count)
        return true;
    const gpulet_placement_t *rule = &type->placements[sizes[at]];
    for (uint32_t i = 0; i < rule->starts_count; i++) {
        uint64_t slots = ((1ull << rule->length) - 1) << rule->starts[i];
        if (rule->starts[i] + rule->length <= type->slots && (slots & taken) == 0 &&
            place(type, sizes, count, at + 1, taken | slots))
            return true;
    }
    return false;
}

static void add_device(world_t *w, const cut_t *cut)
{
    const gpulet_device_type_t *type = &w->input->devices->types[cut->parts[0]->type];
    uint32_t sizes[PARTS_MAX];
    double sum_mb = 0.0;
    device_t d = {.type = cut->parts[0]->type};
    for (uint32_t i = 0; i < cut->count; i++) {
        double mb;
        sizes[i] = cut->parts[i]->size;
        if (!serve(w, cut, i, &d, &mb))
            return;
        sum_mb += mb;
        if (type->memory_mb_by_size != NULL && mb > type->memory_mb_by_size[sizes[i]])
            return;
    }
    if (type->memory_mb_by_size == NULL && sum_mb > type->memory_mb)
        return;
    if (type->slots > 0 && !place(type, sizes, cut->count, 0, 0))
        return;
    for (size_t m = 0; m < w->models; m++)
        d.rate_rps[m] = fmin(d.rate_rps[m], w->rate_rps[m]);
    size_t kept = 0;
    for (size_t i = 0; i < w->devices_count; i++) {
        const device_t *o = &w->devices[i];
        bool old_covers = o->type == d.type;
        bool new_covers = o->type == d.type;
        for (size_t m = 0; m < w->models; m++) {
            old_covers = old_covers && o->rate_rps[m] >= d.rate_rps[m];
            new_covers = new_covers && d.rate_rps[m] >= o->rate_rps[m];
        }
        if (old_covers)
            return;
        if (!new_covers)
            w->devices[kept++] = *o;
    }
    w->devices_count = kept;
    if (w->devices_count == DEVICES_MAX) {
        w->too_large = true;
        return;
    }
    w->devices[w->devices_count++] = d;
}

static uint64_t cuts_left;

/* All devices whose gpu-lets are `cut` and some of fillings[from …). */
static void add_cuts(world_t *w, cut_t *cut, size_t from, uint32_t units)
{
    if (w->too_large || cuts_left-- == 0) {
        w->too_large = true;
        return;
    }
    if (cut->count > 0)
        add_device(w, cut);
    for (size_t i = from; i < w->fillings_count && !w->too_large; i++) {
        const filling_t *f = &w->fillings[i];
        const gpulet_device_type_t *type = &w->input->devices->types[f->type];
        if (cut->count > 0 && f->type != cut->parts[0]->type)
            continue;
        uint32_t room = cut->count > 0 ? units : type->units;
        if (type->sizes[f->size] > room || cut->count >= type->gpulets_max)
            continue;
        if (cut->count == PARTS_MAX) {
            w->too_large = true;
            return;
        }
        cut->parts[cut->count++] = f;
        add_cuts(w, cut, i, room - type->sizes[f->size]);
        cut->count--;
    }
}

/* ---- plans ---- */

static double least(const world_t *w, const double *left_rps, size_t from, double cost_max)
{
    bool any = false;
    for (size_t m = 0; m < w->models; m++)
        any = any || left_rps[m] > w->rate_rps[m] * 1e-9;
    if (!any)
        return 0.0;
    double best = INFINITY;
    for (size_t i = from; i < w->devices_count; i++) {
        double cost = w->input->devices->types[w->devices[i].type].cost;
        double rest[MODELS_MAX];
        bool helps = false;
        if (cost > cost_max * (1.0 + 1e-9))
            continue;
        for (size_t m = 0; m < w->models; m++) {
            rest[m] = fmax(0.0, left_rps[m] - w->devices[i].rate_rps[m]);
            helps = helps || rest[m] < left_rps[m];
        }
        if (!helps)
            continue;
        double found = cost + least(w, rest, i, fmin(cost_max, best) - cost);
        best = fmin(best, found);
    }
    return best <= cost_max * (1.0 + 1e-9) ? best : INFINITY;
}

double enumerate_least_cost(const gpulet_plan_input_t *input, double cost_max)
{
    world_t w = {.input = input};
    w.margin = input->latency_margin > 0.0 ? input->latency_margin : 1.0;
    w.options = calloc((size_t)MODELS_MAX * 64 * OPTIONS_MAX, sizeof(*w.options));
    w.counts = calloc((size_t)MODELS_MAX * 64, sizeof(*w.counts));
    w.fillings = malloc(GPULETS_MAX * sizeof(*w.fillings));
    w.devices = malloc(DEVICES_MAX * sizeof(*w.devices));
    assert(w.options != NULL && w.counts != NULL && w.fillings != NULL && w.devices != NULL);
    assert(input->devices->types_count <= 8 && input->rate_percentile <= 0.0);
    double fraction = input->slo_fraction > 0.0 ? input->slo_fraction : 1.0;
    for (size_t i = 0; i < input->workload->count; i++) {
        const gpulet_demand_t *d = &input->workload->demands[i];
        if (d->rate_rps <= 0.0)
            continue;
        assert(w.models < MODELS_MAX);
        w.rate_rps[w.models] = d->rate_rps;
        w.slo_ms[w.models] = d->slo_ms * fraction;
        read_options(&w, w.models++, d->model);
    }
    for (uint32_t t = 0; t < input->devices->types_count; t++) {
        for (uint32_t s = 0; s < input->devices->types[t].sizes_count; s++) {
            filling_t f = {.type = t, .size = s};
            add_filling(&w, &f, 0);
        }
    }
    cut_t cut = {.count = 0};
    cuts_left = 3000000;
    add_cuts(&w, &cut, 0, 0);
    double cost = w.too_large ? NAN : least(&w, w.rate_rps, 0, cost_max);
    free(w.options);
    free(w.counts);
    free(w.fillings);
    free(w.devices);
    return cost;
}
