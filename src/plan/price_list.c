/* All devices that are worth at least so much, without those that another one serves as much as. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/price_internal.h"

enum { GPULETS_MAX = 6000, DEVICES_MAX = 6000, CUTS_MAX = 4000, CUT_GPULETS_MAX = 16 };

/* What serves `parts` (by model, of the whole demand, at most 1). */
typedef struct entry {
    gpulet_price_gpulet_t gpulet;
    uint64_t value;
    double memory_mb;
} entry_t;

typedef struct bag {
    size_t count;
    size_t capacity;
    entry_t *items;
    float *parts; /* count · models */
} bag_t;

typedef struct lister {
    gpulet_pricer_t *p;
    size_t type;
    size_t models;
    const double *rates_rps;
    uint64_t least;
    uint64_t work_max;
    uint64_t *work;
    bag_t *bags;     /* by cell */
    uint64_t *needs; /* by cell: a gpu-let worth less is in no device of interest */
    gpulet_price_list_t *out;
    size_t others; /* first cells of the mix at work */
    size_t top;
    uint32_t sizes[CUT_GPULETS_MAX];
    uint32_t chosen[CUT_GPULETS_MAX]; /* index in the bag; UINT32_MAX: left out */
    uint32_t count;
    uint32_t cuts;
    bool counting; /* first pass: only needs are set */
    bool failed;
    double memory_mb; /* shared by the gpu-lets of a device; INFINITY: each has its own */
} lister_t;

/* ---- gpu-lets ---- */

typedef struct collector {
    lister_t *l;
    bag_t *bag;
    const gpulet_price_world_t *world;
} collector_t;

/* Rounded up: what is served is never too little. */
static void set_parts(float *parts, const lister_t *l, const gpulet_price_world_t *w,
                      const gpulet_price_gpulet_t *g)
{
    const gpulet_workspace_t *ws = l->p->ws;
    double duty_ms = 0.0;
    for (uint32_t i = 0; i < g->count; i++) {
        const gpulet_choices_t *c = gpulet_workspace_choices(ws, g->models[i], w->type, g->size);
        duty_ms += gpulet_choice_latency_ms(&c->items[g->choices[i]], w->beside);
    }
    memset(parts, 0, l->models * sizeof(*parts));
    for (uint32_t i = 0; i < g->count; i++) {
        const gpulet_choices_t *c = gpulet_workspace_choices(ws, g->models[i], w->type, g->size);
        double rate = c->items[g->choices[i]].load * 1000.0 / duty_ms;
        double part = rate / l->rates_rps[g->models[i]] * (1.0 + 2e-7);
        parts[g->models[i]] = part < 1.0 ? (float)part : 1.0F;
    }
}

/* Its process included; 0 where gpu-lets do not share memory: then it decides nothing. */
static double memory_of(const lister_t *l, const gpulet_price_world_t *w,
                        const gpulet_price_gpulet_t *g)
{
    double sum_mb = 0.0;
    if (isfinite(l->memory_mb) && g->count > 0)
        sum_mb = l->p->ws->types[w->type].type->memory_mb_process;
    for (uint32_t i = 0; isfinite(l->memory_mb) && i < g->count; i++)
        sum_mb += gpulet_workspace_choices(l->p->ws, g->models[i], w->type, g->size)
                      ->items[g->choices[i]]
                      .memory_mb;
    return sum_mb;
}

static bool covers(const float *a, const float *b, size_t models)
{
    for (size_t m = 0; m < models; m++) {
        if (a[m] < b[m])
            return false;
    }
    return true;
}

static bool reserve(bag_t *bag, size_t models)
{
    if (bag->count < bag->capacity)
        return true;
    size_t wanted = bag->capacity * 2 + 64;
    entry_t *items = realloc(bag->items, wanted * sizeof(*items));
    if (items != NULL)
        bag->items = items;
    float *parts = realloc(bag->parts, wanted * models * sizeof(*parts));
    if (parts != NULL)
        bag->parts = parts;
    if (items == NULL || parts == NULL)
        return false;
    bag->capacity = wanted;
    return true;
}

static bool collect(void *ctx, const gpulet_price_gpulet_t *gpulet, uint64_t value)
{
    const collector_t *c = ctx;
    lister_t *l = c->l;
    bag_t *bag = c->bag;
    if (bag->count >= GPULETS_MAX || !reserve(bag, l->models)) {
        l->failed = true;
        return false;
    }
    size_t models = l->models;
    float *parts = bag->parts + bag->count * models;
    gpulet_price_gpulet_t g = *gpulet;
    g.size = (uint32_t)((size_t)(bag - l->bags) % l->p->ws->types[l->type].type->sizes_count);
    g.beside = c->world->beside;
    set_parts(parts, l, c->world, &g);
    double memory_mb = memory_of(l, c->world, &g);
    *l->work += bag->count / 4;
    size_t kept = 0;
    for (size_t i = 0; i < bag->count; i++) {
        const float *other = bag->parts + i * models;
        if (kept == i && bag->items[i].memory_mb <= memory_mb && covers(other, parts, models))
            return true;
        if (memory_mb <= bag->items[i].memory_mb && covers(parts, other, models))
            continue;
        if (kept != i) {
            bag->items[kept] = bag->items[i];
            memmove(bag->parts + kept * models, other, models * sizeof(*parts));
        }
        kept++;
    }
    if (kept != bag->count)
        memmove(bag->parts + kept * models, parts, models * sizeof(*parts));
    bag->items[kept] = (entry_t){g, value, memory_mb};
    bag->count = kept + 1;
    return true;
}

static void fill_bag(lister_t *l, size_t world, uint32_t size, size_t cell, const uint64_t *prices)
{
    const gpulet_price_world_t *w = &l->p->worlds[world];
    collector_t c = {l, &l->bags[cell], w};
    gpulet_price_gpulet_query_t q = {.work_max = l->work_max, .least = l->needs[cell]};
    gpulet_price_gpulet_t scratch;
    uint64_t value;
    uint64_t bound = UINT64_MAX;
    q.collect = collect;
    q.ctx = &c;
    if (gpulet_price_query(&q, l->p, w, size, prices, l->rates_rps))
        *l->work += gpulet_price_gpulet(&scratch, &value, &bound, &q);
    l->failed = l->failed || bound == UINT64_MAX;
}

/* ---- devices ---- */

/* Of the i-th gpu-let of the cut. */
static size_t cell_of(const lister_t *l, uint32_t i)
{
    return (i == 0 && l->top != SIZE_MAX ? l->top : l->others) + l->sizes[i];
}

static void emit(lister_t *l)
{
    gpulet_price_list_t *out = l->out;
    if (out->count == out->capacity) {
        size_t wanted = out->capacity * 2 + 64;
        gpulet_price_listed_t *more = realloc(out->items, wanted * sizeof(*more));
        if (more == NULL || out->count >= DEVICES_MAX) {
            out->items = more != NULL ? more : out->items;
            l->failed = true;
            return;
        }
        out->items = more;
        out->capacity = wanted;
    }
    gpulet_price_listed_t d = {.count = 0};
    double memory_mb = 0.0;
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->chosen[i] != UINT32_MAX)
            memory_mb += l->bags[cell_of(l, i)].items[l->chosen[i]].memory_mb;
    }
    if (memory_mb > l->memory_mb)
        return;
    d.parts = calloc(l->models + 1, sizeof(*d.parts));
    d.gpulets = calloc(l->count + 1, sizeof(*d.gpulets));
    if (d.parts == NULL || d.gpulets == NULL) {
        free(d.parts);
        free(d.gpulets);
        l->failed = true;
        return;
    }
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->chosen[i] == UINT32_MAX)
            continue;
        const bag_t *bag = &l->bags[cell_of(l, i)];
        const float *parts = bag->parts + l->chosen[i] * l->models;
        d.gpulets[d.count++] = bag->items[l->chosen[i]].gpulet;
        for (size_t m = 0; m < l->models; m++)
            d.parts[m] = d.parts[m] + parts[m] < 1.0F ? (d.parts[m] + parts[m]) * 1.0000002F : 1.0F;
    }
    size_t kept = 0;
    bool drop = false;
    *l->work += out->count / 4;
    for (size_t i = 0; i < out->count; i++) {
        drop = drop || (kept == i && covers(out->items[i].parts, d.parts, l->models));
        if (!drop && covers(d.parts, out->items[i].parts, l->models)) {
            free(out->items[i].parts);
            free(out->items[i].gpulets);
            continue;
        }
        out->items[kept++] = out->items[i];
        if (drop)
            break;
    }
    if (drop) {
        free(d.parts);
        free(d.gpulets);
        return;
    }
    out->items[kept] = d;
    out->count = kept + 1;
}

/* All ways to fill the gpu-lets from `at` on; worth_rest is what those can be worth at most. Depth
 * is at most CUT_GPULETS_MAX. */
static void choose(lister_t *l, uint32_t at, uint64_t worth, uint64_t worth_rest)
{
    if (l->failed || ++*l->work > l->work_max) {
        l->failed = true;
        return;
    }
    if (at == l->count) {
        emit(l);
        return;
    }
    size_t cell = cell_of(l, at);
    uint64_t rest = worth_rest - l->p->values[cell];
    uint32_t from = 0;
    bool twin = at > 0 && l->sizes[at - 1] == l->sizes[at] && !(at == 1 && l->top != SIZE_MAX);
    if (twin) /* equal gpu-lets in one order only */
        from = l->chosen[at - 1];
    for (size_t i = from; i < l->bags[cell].count; i++) {
        uint64_t value = l->bags[cell].items[i].value;
        if (worth + value + rest < l->least)
            continue;
        l->chosen[at] = (uint32_t)i;
        choose(l, at + 1, worth + value, rest);
    }
    l->chosen[at] = UINT32_MAX;
    if (worth + rest >= l->least)
        choose(l, at + 1, worth, rest);
}

static void visit_cut(lister_t *l)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < l->count; i++)
        sum += l->p->values[cell_of(l, i)];
    if (sum < l->least)
        return;
    if (!l->counting) {
        choose(l, 0, 0, sum);
        return;
    }
    for (uint32_t i = 0; i < l->count; i++) {
        size_t cell = cell_of(l, i);
        uint64_t rest = sum - l->p->values[cell];
        uint64_t need = l->least > rest ? l->least - rest : 1;
        l->needs[cell] = need < l->needs[cell] ? need : l->needs[cell];
    }
}

/* All legal cuts that begin with sizes[0 … count); the top one stands first, the others descend. */
static void visit_cuts(lister_t *l, uint32_t units)
{
    const gpulet_device_type_t *type = l->p->ws->types[l->type].type;
    if (l->failed || ++l->cuts > CUTS_MAX || l->count == CUT_GPULETS_MAX) {
        l->failed = true;
        return;
    }
    if (l->count > 0 && gpulet_placement_find(type, l->sizes, l->count, NULL))
        visit_cut(l);
    if (l->count >= type->gpulets_max)
        return;
    bool free_order = l->count == 0 || (l->count == 1 && l->top != SIZE_MAX);
    uint32_t most = free_order ? type->sizes_count : l->sizes[l->count - 1] + 1;
    for (uint32_t s = 0; s < most; s++) {
        size_t cell = (l->count == 0 && l->top != SIZE_MAX ? l->top : l->others) + s;
        if (type->sizes[s] > units || l->p->values[cell] == 0)
            continue;
        l->sizes[l->count++] = s;
        visit_cuts(l, units - type->sizes[s]);
        l->count--;
    }
}

static void visit_mix(lister_t *l, size_t others, size_t top)
{
    l->others = others;
    l->top = top;
    l->cuts = 0;
    l->count = 0;
    visit_cuts(l, l->p->ws->types[l->type].type->units);
}

static void visit_mixes(lister_t *l)
{
    uint32_t levels = l->p->levels[l->type];
    size_t step = l->p->ws->types[l->type].type->sizes_count;
    if (levels == 0) {
        visit_mix(l, 0, SIZE_MAX);
        return;
    }
    for (uint32_t s = 0; s < step; s++) { /* alone */
        l->others = 0;
        l->top = SIZE_MAX;
        l->sizes[0] = s;
        l->count = 1;
        visit_cut(l);
    }
    for (uint32_t high = 0; high < levels; high++) {
        for (uint32_t second = 0; second <= high && !l->failed; second++)
            visit_mix(l, (1 + (size_t)high * levels + second) * step,
                      (1 + (size_t)second * levels + high) * step);
    }
}

static gpulet_status_t list_devices(lister_t *l, const uint64_t *prices)
{
    size_t sizes = l->p->ws->types[l->type].type->sizes_count;
    size_t worlds = 1 + (size_t)l->p->levels[l->type] * l->p->levels[l->type];
    size_t cells = worlds * sizes;
    l->bags = calloc(cells, sizeof(*l->bags));
    l->needs = calloc(cells, sizeof(*l->needs));
    if (l->bags == NULL || l->needs == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < cells; i++)
        l->needs[i] = UINT64_MAX;
    l->counting = true;
    visit_mixes(l);
    for (size_t i = 0; i < cells && !l->failed; i++) {
        if (l->needs[i] != UINT64_MAX)
            fill_bag(l, l->p->first_world[l->type] + i / sizes, (uint32_t)(i % sizes), i, prices);
    }
    l->counting = false;
    if (!l->failed)
        visit_mixes(l);
    return GPULET_OK;
}

gpulet_status_t gpulet_pricer_list(gpulet_price_list_t *list, gpulet_pricer_t *pricer, size_t type,
                                   const uint64_t *prices, const double *rates_rps, uint64_t least,
                                   uint64_t work_max)
{
    lister_t l = {.p = pricer, .type = type, .models = pricer->ws->models_count};
    list->complete = false;
    list->work = 0;
    l.rates_rps = rates_rps;
    l.least = least;
    const gpulet_device_type_t *dt = pricer->ws->types[type].type;
    l.memory_mb = dt->memory_mb_by_size == NULL ? dt->memory_mb : INFINITY;
    l.work_max = work_max;
    l.work = &list->work;
    l.out = list;
    assert(least > 0);
    gpulet_status_t st = list_devices(&l, prices);
    size_t worlds = 1 + (size_t)pricer->levels[type] * pricer->levels[type];
    for (size_t i = 0; l.bags != NULL && i < worlds * pricer->ws->types[type].type->sizes_count;
         i++) {
        free(l.bags[i].items);
        free(l.bags[i].parts);
    }
    free(l.bags);
    free(l.needs);
    list->complete = !l.failed;
    return st;
}

void gpulet_price_list_deinit(gpulet_price_list_t *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].parts);
        free(list->items[i].gpulets);
    }
    free(list->items);
    *list = (gpulet_price_list_t){0};
}
