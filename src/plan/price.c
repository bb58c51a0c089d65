#include "plan/price.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/price_internal.h"

/* The shortest latency is so many units long: rounding it down costs a millionth at most. */
static const double UNITS_SHORTEST = 1048576.0;
static const double GAIN_MAX = 4.0e18;
static const double VALUE_MAX = 1.0e15;
static const size_t OPTIONS_MAX = 4000000; /* of all worlds of a type */

/* Levels of pressure: as many as there are pressures, so that nothing is rounded, where options and
 * levels are few; more levels bound more tightly, but each pair of them is a search of its own. */
enum {
    LEVELS_MAX = 48,
    LEVELS_ONE = 24,
    LEVELS_MANY = 5,
    LEVELS_FINE = 16,
    OPTIONS_ENOUGH = 30000
};

/* ---- levels of pressure ---- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Up to levels_max pressures, ascending, of which the lowest is the lowest there is. */
static gpulet_status_t find_levels(double *levels, uint32_t *count, const gpulet_workspace_t *ws,
                                   size_t type, uint32_t levels_max)
{
    size_t room = 0;
    uint32_t sizes = ws->types[type].type->sizes_count;
    for (size_t m = 0; m < ws->models_count; m++) {
        for (uint32_t s = 0; s < sizes; s++)
            room += gpulet_workspace_choices(ws, m, type, s)->count;
    }
    double *all = malloc((room + 1) * sizeof(*all));
    if (all == NULL)
        return GPULET_E_NOMEM;
    size_t n = 0;
    for (size_t m = 0; m < ws->models_count; m++) {
        for (uint32_t s = 0; s < sizes; s++) {
            const gpulet_choices_t *c = gpulet_workspace_choices(ws, m, type, s);
            for (size_t i = 0; i < c->count; i++)
                all[n++] = c->items[i].pressure;
        }
    }
    if (n > 1)
        qsort(all, n, sizeof(*all), compare_doubles);
    size_t distinct = 0;
    for (size_t i = 0; i < n; i++) {
        if (distinct == 0 || all[i] > all[distinct - 1])
            all[distinct++] = all[i];
    }
    *count = 0;
    for (size_t i = 0; i < distinct; i++) {
        /* All of them, or equal steps: what a pressure is rounded by is less than a step. */
        double step = (all[distinct - 1] - all[0]) / (double)levels_max;
        if (*count == 0 || distinct <= levels_max ||
            (*count < levels_max && all[i] >= all[0] + (double)*count * step))
            levels[(*count)++] = all[i];
    }
    free(all);
    return GPULET_OK;
}

static uint32_t level_of(const double *levels, uint32_t count, double pressure)
{
    uint32_t level = 0;
    while (level + 1 < count && levels[level + 1] <= pressure)
        level++;
    return level;
}

/* ---- options ---- */

static bool reserve_options(gpulet_pricer_t *p, size_t need)
{
    if (need <= p->options_capacity)
        return true;
    size_t wanted = p->options_capacity * 2 > need ? p->options_capacity * 2 : need + 256;
    gpulet_price_option_t *more = realloc(p->options, wanted * sizeof(*more));
    if (more == NULL)
        return false;
    p->options = more;
    p->options_capacity = wanted;
    return true;
}

static int compare_options(const void *a, const void *b)
{
    const gpulet_price_option_t *x = a;
    const gpulet_price_option_t *y = b;
    if (x->latency != y->latency)
        return x->latency < y->latency ? -1 : 1;
    if (x->load_ms != y->load_ms)
        return x->load_ms > y->load_ms ? -1 : 1;
    return x->memory_mb < y->memory_mb ? -1 : x->memory_mb > y->memory_mb;
}

/* Ascending by latency, without those that an earlier one serves more than in no more memory. */
static size_t prune(gpulet_price_option_t *options, size_t count, bool memory)
{
    if (count > 1)
        qsort(options, count, sizeof(*options), compare_options);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool drop = false;
        for (size_t k = kept; k > 0 && !drop; k--) {
            drop = options[k - 1].load_ms >= options[i].load_ms &&
                   (!memory || options[k - 1].memory_mb <= options[i].memory_mb);
            if (!memory)
                break; /* loads ascend: the last one kept decides */
        }
        if (!drop)
            options[kept++] = options[i];
    }
    return kept;
}

static bool add_range(gpulet_pricer_t *p, gpulet_price_world_t *w, const double *levels,
                      uint32_t size, size_t model)
{
    const gpulet_workspace_t *ws = p->ws;
    const gpulet_choices_t *c = gpulet_workspace_choices(ws, model, w->type, size);
    gpulet_price_range_t *range = &w->ranges[size * ws->models_count + model];
    range->first = (uint32_t)p->options_count;
    if (!reserve_options(p, p->options_count + c->count))
        return false;
    gpulet_price_option_t *options = p->options + p->options_count;
    size_t n = 0;
    bool memory = false;
    for (size_t i = 0; i < c->count; i++) {
        const gpulet_choice_t *o = &c->items[i];
        if (p->levels[w->type] > 0 &&
            level_of(levels, p->levels[w->type], o->pressure) > w->level_max)
            continue;
        double latency = gpulet_choice_latency_ms(o, w->beside) / p->unit_ms;
        if (2.0 * floor(latency) > (double)p->slo[model])
            continue;
        memory = memory || o->memory_mb > 0.0;
        options[n++] =
            (gpulet_price_option_t){(uint64_t)latency, o->load * 1000.0, o->memory_mb, (uint32_t)i};
    }
    range->count = (uint32_t)prune(options, n, memory);
    p->options_count += range->count;
    return true;
}

static gpulet_status_t add_world(gpulet_pricer_t *p, size_t type, const double *levels,
                                 double beside, uint32_t level_max)
{
    const gpulet_workspace_t *ws = p->ws;
    gpulet_price_world_t *more = realloc(p->worlds, (p->worlds_count + 1) * sizeof(*more));
    if (more == NULL)
        return GPULET_E_NOMEM;
    p->worlds = more;
    gpulet_price_world_t *w = &p->worlds[p->worlds_count];
    uint32_t sizes = ws->types[type].type->sizes_count;
    *w = (gpulet_price_world_t){.type = (uint32_t)type, .level_max = level_max, .beside = beside};
    w->ranges = calloc((size_t)sizes * ws->models_count + 1, sizeof(*w->ranges));
    if (w->ranges == NULL)
        return GPULET_E_NOMEM;
    p->worlds_count++;
    for (uint32_t s = 0; s < sizes; s++) {
        for (size_t m = 0; m < ws->models_count; m++) {
            if (!add_range(p, w, levels, s, m))
                return GPULET_E_NOMEM;
        }
    }
    return GPULET_OK;
}

/* The world without a neighbour, then one for each (beside, level_max). */
static gpulet_status_t add_type(gpulet_pricer_t *p, size_t type, bool fine)
{
    const gpulet_workspace_t *ws = p->ws;
    double levels[LEVELS_MAX] = {0.0};
    gpulet_status_t st = GPULET_OK;
    size_t before = p->options_count;
    p->first_world[type] = p->worlds_count;
    if (ws->types[type].row != NULL)
        st = find_levels(levels, &p->levels[type], ws, type, LEVELS_MAX);
    if (st == GPULET_OK)
        st = add_world(p, type, levels, -INFINITY, UINT32_MAX);
    size_t alone = p->options_count;
    uint32_t levels_min = ws->types[type].type->models_max == 1 ? LEVELS_ONE
                          : fine                                ? LEVELS_FINE
                                                                : LEVELS_MANY;
    alone -= before;
    while (p->levels[type] > 1 && st == GPULET_OK &&
           (alone * p->levels[type] * p->levels[type] > OPTIONS_MAX ||
            (p->levels[type] > levels_min &&
             alone * p->levels[type] * p->levels[type] > OPTIONS_ENOUGH)))
        st = find_levels(levels, &p->levels[type], ws, type, p->levels[type] - 1);
    for (uint32_t b = 0; st == GPULET_OK && b < p->levels[type]; b++) {
        for (uint32_t q = 0; st == GPULET_OK && q < p->levels[type]; q++)
            st = add_world(p, type, levels, levels[b], q);
    }
    size_t worlds = p->worlds_count - p->first_world[type];
    size_t cells = worlds * ws->types[type].type->sizes_count;
    p->cells = cells > p->cells ? cells : p->cells;
    return st;
}

static void set_unit(gpulet_pricer_t *p)
{
    const gpulet_workspace_t *ws = p->ws;
    double shortest = INFINITY;
    for (size_t i = 0; i < ws->models_count * ws->sizes_total; i++) {
        if (ws->choices[i].count > 0)
            shortest = fmin(shortest, ws->choices[i].latency_ms_min);
    }
    double longest = 0.0;
    for (size_t m = 0; m < ws->models_count; m++)
        longest = fmax(longest, ws->models[m].slo_ms);
    if (!isfinite(shortest))
        shortest = 1.0;
    p->unit_ms = fmax(shortest / UNITS_SHORTEST, longest / 1e12);
    for (size_t m = 0; m < ws->models_count; m++)
        p->slo[m] = (uint64_t)(ws->models[m].slo_ms / p->unit_ms) + 2;
}

static gpulet_status_t allocate(gpulet_pricer_t *p)
{
    size_t models = p->ws->models_count;
    size_t most = 0;
    for (size_t w = 0; w < p->worlds_count; w++) {
        uint32_t sizes = p->ws->types[p->worlds[w].type].type->sizes_count;
        for (uint32_t s = 0; s < sizes; s++) {
            size_t sum = 0;
            for (size_t m = 0; m < models; m++)
                sum += p->worlds[w].ranges[s * models + m].count;
            most = sum > most ? sum : most;
        }
    }
    p->gains = malloc((most + 1) * sizeof(*p->gains));
    p->items = malloc((models + 1) * sizeof(*p->items));
    p->found = calloc(p->cells + 1, sizeof(*p->found));
    p->values = calloc(p->cells + 1, sizeof(*p->values));
    p->bounds = calloc(p->cells + 1, sizeof(*p->bounds));
    return p->gains != NULL && p->items != NULL && p->found != NULL && p->values != NULL &&
                   p->bounds != NULL
               ? GPULET_OK
               : GPULET_E_NOMEM;
}

gpulet_status_t gpulet_pricer_create(gpulet_pricer_t **out, const gpulet_workspace_t *ws, bool fine)
{
    gpulet_pricer_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return GPULET_E_NOMEM;
    p->ws = ws;
    p->slo = calloc(ws->models_count + 1, sizeof(*p->slo));
    p->first_world = calloc(ws->types_count + 1, sizeof(*p->first_world));
    p->levels = calloc(ws->types_count + 1, sizeof(*p->levels));
    gpulet_status_t st =
        p->slo != NULL && p->first_world != NULL && p->levels != NULL ? GPULET_OK : GPULET_E_NOMEM;
    if (st == GPULET_OK)
        set_unit(p);
    for (size_t t = 0; st == GPULET_OK && t < ws->types_count; t++)
        st = add_type(p, t, fine);
    if (st == GPULET_OK)
        st = allocate(p);
    if (st != GPULET_OK) {
        gpulet_pricer_destroy(p);
        return st;
    }
    *out = p;
    return GPULET_OK;
}

void gpulet_pricer_destroy(gpulet_pricer_t *p)
{
    if (p == NULL)
        return;
    for (size_t w = 0; w < p->worlds_count; w++)
        free(p->worlds[w].ranges);
    free(p->worlds);
    free(p->slo);
    free(p->first_world);
    free(p->levels);
    free(p->options);
    free(p->gains);
    free(p->items);
    free(p->found);
    free(p->values);
    free(p->bounds);
    free(p->table);
    free(p);
}

void gpulet_price_device_deinit(gpulet_price_device_t *device)
{
    free(device->gpulets);
    *device = (gpulet_price_device_t){0};
}

/* ---- one run ---- */

static int compare_items(const void *a, const void *b)
{
    const gpulet_price_item_t *x = a;
    const gpulet_price_item_t *y = b;
    if (x->density != y->density)
        return x->density > y->density ? -1 : 1;
    return x->model < y->model ? -1 : 1;
}

/* Fills gains[] and the item; false when a figure is too large. */
static bool set_item(gpulet_price_item_t *item, const gpulet_pricer_t *p, uint64_t *gains,
                     double rate_rps)
{
    double scale = (double)item->price / (rate_rps * p->unit_ms);
    item->density = 0.0;
    for (uint32_t k = 0; k < item->count; k++) {
        double gain = item->options[k].load_ms * scale * (1.0 + 1e-15);
        /* A cycle never exceeds the objective: what lasts longer serves all demand anyhow. */
        gain = fmin(gain, (double)item->price * (double)item->slo * (1.0 + 1e-15));
        double density = gain / (double)item->options[k].latency;
        if (gain > GAIN_MAX || density > VALUE_MAX || item->options[k].latency == 0)
            return false;
        gains[k] = (uint64_t)gain + 1;
        item->density = fmax(item->density, (gain + 1.0) / (double)item->options[k].latency);
    }
    item->gains = gains;
    return true;
}

/* The items of one (world, size), most dense first; false when a figure is too large. */
static bool set_items(gpulet_price_gpulet_query_t *q, gpulet_pricer_t *p,
                      const gpulet_price_world_t *w, uint32_t size, const uint64_t *prices,
                      const double *rates_rps)
{
    size_t models = p->ws->models_count;
    size_t n = 0;
    uint64_t *gains = p->gains;
    for (size_t m = 0; m < models; m++) {
        const gpulet_price_range_t *range = &w->ranges[size * models + m];
        if (range->count == 0 || prices[m] == 0 || !(rates_rps[m] > 0.0))
            continue;
        gpulet_price_item_t *item = &p->items[n++];
        *item = (gpulet_price_item_t){.model = (uint32_t)m,
                                      .count = range->count,
                                      .options = p->options + range->first,
                                      .price = prices[m],
                                      .slo = p->slo[m]};
        if ((double)prices[m] > VALUE_MAX || !set_item(item, p, gains, rates_rps[m]))
            return false;
        gains += range->count;
    }
    if (n > 1)
        qsort(p->items, n, sizeof(*p->items), compare_items);
    double sum = 0.0;
    double highest = 0.0;
    for (size_t i = n; i > 0; i--) {
        gpulet_price_item_t *item = &p->items[i - 1];
        sum += (double)item->price;
        highest = fmax(highest, (double)item->price);
        item->price_after = sum;
        item->price_highest = highest;
    }
    q->items = p->items;
    q->count = n;
    return true;
}

bool gpulet_price_query(gpulet_price_gpulet_query_t *q, gpulet_pricer_t *p,
                        const gpulet_price_world_t *w, uint32_t size, const uint64_t *prices,
                        const double *rates_rps)
{
    const gpulet_device_type_t *type = p->ws->types[w->type].type;
    q->members_max = type->models_max;
    q->memory_mb = gpulet_device_type_models_mb(type, size);
    q->prototype_duty = p->ws->input->prototype_duty;
    return set_items(q, p, w, size, prices, rates_rps);
}

typedef struct run_limits {
    uint64_t work_max;
    bool bounded;
} run_limits_t;

static bool price_world(gpulet_pricer_t *p, size_t world, const uint64_t *prices,
                        const double *rates_rps, const run_limits_t *limits, uint64_t *work)
{
    const gpulet_price_world_t *w = &p->worlds[world];
    const gpulet_device_type_t *type = p->ws->types[w->type].type;
    size_t at = (world - p->first_world[w->type]) * type->sizes_count;
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        gpulet_price_gpulet_query_t q = {.work_max = limits->work_max, .bounded = limits->bounded};
        if (!gpulet_price_query(&q, p, w, s, prices, rates_rps))
            return false;
        gpulet_price_gpulet_t *found = &p->found[at + s];
        *work += q.count + gpulet_price_gpulet(found, &p->values[at + s], &p->bounds[at + s], &q);
        found->size = s;
        found->beside = w->beside;
    }
    return true;
}

static bool reserve_gpulets(gpulet_price_device_t *d, uint32_t need)
{
    if (need <= d->capacity)
        return true;
    gpulet_price_gpulet_t *more = realloc(d->gpulets, need * sizeof(*more));
    if (more == NULL)
        return false;
    d->gpulets = more;
    d->capacity = need;
    return true;
}

/* A device with the gpu-lets of `others`, and of those one of `top` where that is not NULL. */
typedef struct mix {
    size_t others; /* first cell */
    size_t top;    /* SIZE_MAX: none */
} mix_t;

/* Keeps the best device that the mix allows, and the bound of all that it allows. */
static gpulet_status_t cut_mix(gpulet_price_device_t *d, gpulet_pricer_t *p, size_t type, mix_t mix,
                               uint32_t *sizes)
{
    gpulet_price_cut_t cut = {p->ws->types[type].type, p->values + mix.others,
                              mix.top != SIZE_MAX ? p->values + mix.top : NULL};
    gpulet_price_cut_t above = {cut.type, p->bounds + mix.others,
                                mix.top != SIZE_MAX ? p->bounds + mix.top : NULL};
    bool differs = false;
    bool unknown = false;
    for (uint32_t s = 0; s < cut.type->sizes_count; s++) {
        unknown = unknown || above.values[s] == GPULET_PRICE_UNKNOWN ||
                  (above.top != NULL && above.top[s] == GPULET_PRICE_UNKNOWN);
        differs = differs || cut.values[s] != above.values[s];
        differs = differs || (cut.top != NULL && cut.top[s] != above.top[s]);
    }
    uint64_t value = 0;
    uint64_t bound;
    uint32_t count = 0;
    bool exact;
    gpulet_status_t st = gpulet_price_cut(&value, sizes, &count, &exact, p, &cut);
    bound = value;
    if (st == GPULET_OK && value > d->value) {
        if (!reserve_gpulets(d, count))
            return GPULET_E_NOMEM;
        d->value = value;
        d->count = count;
        for (uint32_t i = 0; i < count; i++)
            d->gpulets[i] =
                p->found[(i == 0 && mix.top != SIZE_MAX ? mix.top : mix.others) + sizes[i]];
    }
    if (unknown)
        bound = GPULET_PRICE_UNKNOWN;
    else if (st == GPULET_OK && differs)
        st = gpulet_price_cut(&bound, sizes, &count, &exact, p, &above);
    d->bound = bound > d->bound ? bound : d->bound;
    return st;
}

/* One gpu-let that has the device to itself. */
static gpulet_status_t cut_alone(gpulet_price_device_t *d, const gpulet_pricer_t *p, size_t type)
{
    for (uint32_t s = 0; s < p->ws->types[type].type->sizes_count; s++) {
        if (p->values[s] > d->value) {
            if (!reserve_gpulets(d, 1))
                return GPULET_E_NOMEM;
            d->value = p->values[s];
            d->count = 1;
            d->gpulets[0] = p->found[s];
        }
        d->bound = p->bounds[s] > d->bound ? p->bounds[s] : d->bound;
    }
    return GPULET_OK;
}

static gpulet_status_t cut_all(gpulet_price_device_t *d, gpulet_pricer_t *p, size_t type,
                               uint32_t *sizes)
{
    if (p->levels[type] == 0)
        return cut_mix(d, p, type, (mix_t){0, SIZE_MAX}, sizes);
    gpulet_status_t st = cut_alone(d, p, type);
    uint32_t levels = p->levels[type];
    size_t step = p->ws->types[type].type->sizes_count;
    for (uint32_t high = 0; high < levels; high++) {
        for (uint32_t second = 0; st == GPULET_OK && second <= high; second++) {
            /* Cells of the world beside b that presses at most q: 1 + b·levels + q. */
            mix_t mix = {(1 + (size_t)high * levels + second) * step,
                         (1 + (size_t)second * levels + high) * step};
            st = cut_mix(d, p, type, mix, sizes);
        }
    }
    return st;
}

gpulet_status_t gpulet_pricer_run(gpulet_price_device_t *device, gpulet_pricer_t *p, size_t type,
                                  const uint64_t *prices, const double *rates_rps,
                                  uint64_t work_max, bool bounded)
{
    run_limits_t limits = {work_max, bounded};
    device->count = 0;
    device->value = 0;
    device->bound = 0;
    device->work = 0;
    size_t worlds = 1 + (size_t)p->levels[type] * p->levels[type];
    for (size_t w = 0; w < worlds; w++) {
        if (!price_world(p, p->first_world[type] + w, prices, rates_rps, &limits, &device->work))
            return GPULET_E_INVALID;
    }
    uint32_t most = p->ws->types[type].type->units / p->ws->types[type].type->sizes[0];
    uint32_t *sizes = malloc(((size_t)most + 1) * sizeof(*sizes));
    if (sizes == NULL)
        return GPULET_E_NOMEM;
    gpulet_status_t st = cut_all(device, p, type, sizes);
    free(sizes);
    return st;
}
