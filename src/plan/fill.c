#include "plan/fill.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* How many hosts are tried before a rate is placed elsewhere: the tightest come first, so later
 * ones rarely help. */
enum {
    HOSTS_MAX = 24,
    COVER_SIZES_MAX = 32,
    COVER_UNITS_MAX = 1024,
    PLACE_STEPS_MAX = 200000,
    ROUNDS_MAX = 1000,
    ROUNDS_VAIN_MAX = 400,    /* in a row without a gain, when all is served already */
    ROUNDS_HOPELESS_MAX = 100 /* when the bound says that not all can be served */
};

/* A rate below this part of the demand is rounding. */
static const double CRUMB = 1e-9;

typedef struct ranked {
    double key; /* ascending */
    uint32_t a;
    uint32_t b;
} ranked_t;

typedef struct curve {
    size_t count;
    gpulet_rate_point_t *points;         /* borrowed from fill->points */
    uint32_t *sizes;                     /* size index of each point; borrowed from fill->sizes */
    size_t knee[GPULET_FILL_SIZE_COUNT]; /* `count`: there is none */
} curve_t;

struct gpulet_fill {
    const gpulet_workspace_t *ws;
    gpulet_rate_point_t *points;
    uint32_t *sizes;
    curve_t *curves;      /* models · types */
    uint32_t *type_order; /* models · types: cheapest first */
    double *load;         /* by model: devices needed, fluid */
    ranked_t *ranked;     /* scratch, grows */
    size_t ranked_capacity;
    ranked_t *pieces; /* scratch of a whole pass */
    double *piece_rates;
    size_t pieces_count;
    size_t pieces_capacity;
    double *rates; /* scratch by model */
    gpulet_fill_policy_t policy;
    double slack_rps;
    size_t first; /* SIZE_MAX: none */
};

static const curve_t *curve_of(const gpulet_fill_t *fill, size_t model, size_t type)
{
    return &fill->curves[model * fill->ws->types_count + type];
}

static int compare_ranked(const void *a, const void *b)
{
    const ranked_t *x = a;
    const ranked_t *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->a != y->a)
        return x->a < y->a ? -1 : 1;
    return x->b < y->b ? -1 : x->b > y->b;
}

/* The array may be NULL when there is nothing in it. */
static void sort_ranked(ranked_t *items, size_t count)
{
    if (count > 1)
        qsort(items, count, sizeof(*items), compare_ranked);
}

/* ---- what is known before any pass ---- */

static size_t most_efficient(const gpulet_device_type_t *type, const curve_t *curve)
{
    size_t best = 0;
    double best_rate = 0.0;
    for (size_t i = 0; i < curve->count; i++) {
        double rate = curve->points[i].rate_rps / gpulet_pack_share(type, curve->sizes[i]);
        if (rate > best_rate * (1.0 + 1e-9)) {
            best = i;
            best_rate = rate;
        }
    }
    return best;
}

/* The point of the half of a device; count where the model's SLO cannot be met there. */
static size_t half_point(const gpulet_device_type_t *type, const curve_t *curve)
{
    uint32_t half = type->sizes_count;
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        uint32_t both[2] = {s, s};
        if (gpulet_placement_find(type, both, 2, NULL))
            half = s;
    }
    uint32_t wanted = half < type->sizes_count ? half : type->sizes_count - 1;
    for (size_t i = 0; i < curve->count; i++) {
        if (curve->sizes[i] == wanted)
            return i;
    }
    return curve->count;
}

static void set_curve(gpulet_fill_t *fill, size_t model, size_t type)
{
    const gpulet_workspace_t *ws = fill->ws;
    size_t at = model * ws->sizes_total + ws->types[type].offset;
    curve_t *curve = &fill->curves[model * ws->types_count + type];
    curve->points = fill->points + at;
    curve->sizes = fill->sizes + at;
    curve->count = gpulet_workspace_rate_curve(ws, model, type, curve->points, curve->sizes);
    if (curve->count == 0)
        return;
    size_t efficient = most_efficient(ws->types[type].type, curve);
    curve->knee[GPULET_FILL_SIZE_KNEE] =
        gpulet_knee_find(curve->points, curve->count, GPULET_KNEE_CURVATURE);
    curve->knee[GPULET_FILL_SIZE_GAIN] =
        gpulet_knee_find(curve->points, curve->count, GPULET_KNEE_GAIN);
    curve->knee[GPULET_FILL_SIZE_EFFICIENT] = efficient;
    curve->knee[GPULET_FILL_SIZE_COVER] = efficient;
    curve->knee[GPULET_FILL_SIZE_WHOLE] = curve->count - 1;
    curve->knee[GPULET_FILL_SIZE_HALF] = half_point(ws->types[type].type, curve);
    curve->knee[GPULET_FILL_SIZE_REQUIRED] = curve->count - 1;
}

/* Cost of a request a second on a type, when its devices are filled perfectly. */
static double fluid_cost(const gpulet_fill_t *fill, size_t model, size_t type)
{
    const curve_t *curve = curve_of(fill, model, type);
    if (curve->count == 0)
        return INFINITY;
    const gpulet_device_type_t *dt = fill->ws->types[type].type;
    size_t best = curve->knee[GPULET_FILL_SIZE_EFFICIENT];
    return dt->cost * gpulet_pack_share(dt, curve->sizes[best]) / curve->points[best].rate_rps;
}

static void set_model(gpulet_fill_t *fill, size_t model)
{
    const gpulet_workspace_t *ws = fill->ws;
    uint32_t *order = fill->type_order + model * ws->types_count;
    for (size_t t = 0; t < ws->types_count; t++) {
        set_curve(fill, model, t);
        double cost = fluid_cost(fill, model, t);
        size_t k = t;
        for (; k > 0 && fluid_cost(fill, model, order[k - 1]) > cost; k--)
            order[k] = order[k - 1];
        order[k] = (uint32_t)t;
    }
    double cost = ws->types_count > 0 ? fluid_cost(fill, model, order[0]) : INFINITY;
    fill->load[model] = isfinite(cost) ? ws->models[model].rate_rps * cost : 0.0;
}

gpulet_status_t gpulet_fill_create(gpulet_fill_t **out, const gpulet_workspace_t *ws)
{
    gpulet_fill_t *fill = calloc(1, sizeof(*fill));
    if (fill == NULL)
        return GPULET_E_NOMEM;
    fill->ws = ws;
    fill->first = SIZE_MAX;
    size_t cells = ws->models_count * ws->sizes_total + 1;
    size_t pairs = ws->models_count * ws->types_count + 1;
    fill->points = calloc(cells, sizeof(*fill->points));
    fill->sizes = calloc(cells, sizeof(*fill->sizes));
    fill->curves = calloc(pairs, sizeof(*fill->curves));
    fill->type_order = calloc(pairs, sizeof(*fill->type_order));
    fill->load = calloc(ws->models_count + 1, sizeof(*fill->load));
    fill->rates = calloc(ws->models_count + 1, sizeof(*fill->rates));
    if (fill->points == NULL || fill->sizes == NULL || fill->curves == NULL ||
        fill->type_order == NULL || fill->load == NULL || fill->rates == NULL) {
        gpulet_fill_destroy(fill);
        return GPULET_E_NOMEM;
    }
    for (size_t m = 0; m < ws->models_count; m++)
        set_model(fill, m);
    *out = fill;
    return GPULET_OK;
}

void gpulet_fill_destroy(gpulet_fill_t *fill)
{
    if (fill == NULL)
        return;
    free(fill->points);
    free(fill->sizes);
    free(fill->curves);
    free(fill->type_order);
    free(fill->load);
    free(fill->ranked);
    free(fill->pieces);
    free(fill->piece_rates);
    free(fill->rates);
    free(fill);
}

void gpulet_fill_set_slack(gpulet_fill_t *fill, double slack_rps)
{
    fill->slack_rps = slack_rps;
}

void gpulet_fill_set_first(gpulet_fill_t *fill, size_t model)
{
    fill->first = model;
}

/* ---- the size of the next gpu-let ---- */

/* The least units that cover rate_rps, and of the sizes used the largest; count when the table is
 * too small. */
static size_t cover_size(const curve_t *curve, double rate_rps)
{
    double best[COVER_UNITS_MAX + 1];
    uint16_t last[COVER_UNITS_MAX + 1];
    best[0] = 0.0;
    for (uint32_t u = 1; u <= COVER_UNITS_MAX; u++) {
        best[u] = 0.0;
        last[u] = UINT16_MAX;
        for (size_t i = 0; i < curve->count && curve->points[i].units <= u; i++) {
            double rate = best[u - curve->points[i].units] + curve->points[i].rate_rps;
            if (rate >= best[u] * (1.0 + 1e-12)) { /* larger sizes win ties: fewer gpu-lets */
                best[u] = rate;
                last[u] = (uint16_t)i;
            }
        }
        if (best[u] < rate_rps * (1.0 - CRUMB))
            continue;
        size_t largest = 0;
        for (uint32_t left = u; left > 0 && last[left] != UINT16_MAX;
             left -= curve->points[last[left]].units)
            largest = last[left] > largest ? last[left] : largest;
        return largest;
    }
    return curve->count;
}

/* Whether the policy knows one size only. */
static bool fixed_size(const gpulet_fill_policy_t *policy)
{
    return policy->size == GPULET_FILL_SIZE_WHOLE || policy->size == GPULET_FILL_SIZE_HALF;
}

/* Index of the point for what is left to serve; curve->count when there is none. */
static size_t ideal_point(const gpulet_fill_t *fill, const curve_t *curve, double rate_rps)
{
    size_t knee = curve->knee[fill->policy.size];
    if (fixed_size(&fill->policy))
        return knee;
    if (fill->policy.size == GPULET_FILL_SIZE_COVER && curve->count <= COVER_SIZES_MAX &&
        rate_rps < 4.0 * curve->points[knee].rate_rps) {
        size_t point = cover_size(curve, rate_rps);
        if (point < curve->count)
            return point;
    }
    return gpulet_knee_ideal(curve->points, curve->count, knee, rate_rps);
}

/* ---- hosts ---- */

static bool rank_push(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t count, ranked_t item)
{
    if (count == fill->ranked_capacity) {
        size_t wanted = fill->ranked_capacity * 2 + 64;
        ranked_t *more = realloc(fill->ranked, wanted * sizeof(*more));
        if (more == NULL) {
            pack->failed = true;
            return false;
        }
        fill->ranked = more;
        fill->ranked_capacity = wanted;
    }
    fill->ranked[count] = item;
    return true;
}

static bool contains(const gpulet_pack_gpulet_t *g, uint32_t model)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->members[i].model == model)
            return true;
    }
    return false;
}

/* Cheap conditions for a merge, necessary but where interference falls by it; *used gets how full
 * the gpu-let would be. */
static bool may_host(const gpulet_fill_t *fill, const gpulet_pack_device_t *d,
                     const gpulet_pack_gpulet_t *g, uint32_t model, double rate_rps, double *used)
{
    const gpulet_workspace_t *ws = fill->ws;
    const gpulet_choices_t *c = gpulet_workspace_choices(ws, model, d->type, g->size);
    if (c->count == 0 || g->count == 0)
        return false;
    *used = g->used + rate_rps / c->rate_rps;
    if (*used > 1.0 + 1e-7)
        return false;
    if (contains(g, model))
        return true;
    uint32_t most = ws->types[d->type].type->models_max;
    return (most == 0 || g->count < most) &&
           g->slack_ms >= c->latency_ms_min * (1.0 - 1e-9) - 1e-9 &&
           g->duty_ms + 2.0 * c->latency_ms_min <= ws->models[model].slo_ms * (1.0 + 1e-9);
}

static size_t rank_hosts(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    size_t count = 0;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        pack->work += 1 + d->count / 4;
        for (uint32_t k = 0; k < d->count; k++) {
            double used;
            if (may_host(fill, d, &d->gpulets[k], model, rate_rps, &used)) {
                if (!rank_push(fill, pack, count, (ranked_t){-used, (uint32_t)i, k}))
                    return 0;
                count++;
            }
        }
    }
    sort_ranked(fill->ranked, count);
    return count;
}

/* Temporal sharing: the whole rate into the fullest gpu-let that takes it. */
static bool merge_whole(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    size_t count = rank_hosts(fill, pack, model, rate_rps);
    for (size_t i = 0; i < count && i < HOSTS_MAX; i++) {
        const ranked_t *r = &fill->ranked[i];
        uint32_t size = pack->devices[r->a].gpulets[r->b].size;
        if (gpulet_pack_try_add(pack, r->a, r->b, size, model, rate_rps))
            return true;
    }
    return false;
}

/* A part of the rate where nothing takes all of it; the rate placed. */
static double merge_part(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    size_t count = rank_hosts(fill, pack, model, 0.0);
    for (size_t i = count; i > 0 && count - i < HOSTS_MAX; i--) {
        const ranked_t *r = &fill->ranked[i - 1]; /* the emptiest first */
        uint32_t size = pack->devices[r->a].gpulets[r->b].size;
        double got = 0.0;
        // NOLINTNEXTLINE(cert-flp30-c,clang-analyzer-security.FloatLoopCounter): halving is exact
        for (double step = 0.5 * rate_rps; step > rate_rps / 300.0; step *= 0.5) {
            if (gpulet_pack_try_add(pack, r->a, r->b, size, model, step))
                got += step;
        }
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

/* Grows a gpu-let into the free units of its device so that it takes the rate as well, by the
 * fewest units. */
static bool grow_whole(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const gpulet_workspace_t *ws = fill->ws;
    size_t count = 0;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        const gpulet_device_type_t *type = ws->types[d->type].type;
        uint32_t room = type->units - d->units_used;
        for (uint32_t k = 0; room > 0 && k < d->count; k++) {
            uint32_t s = d->gpulets[k].size + 1;
            bool mergeable = contains(&d->gpulets[k], model) || type->models_max == 0 ||
                             d->gpulets[k].count < type->models_max;
            if (!mergeable || s >= type->sizes_count || type->sizes[s] - type->sizes[s - 1] > room)
                continue;
            double key = gpulet_pack_share(type, s) - gpulet_pack_share(type, s - 1);
            if (!rank_push(fill, pack, count, (ranked_t){key, (uint32_t)i, k}))
                return false;
            count++;
        }
    }
    sort_ranked(fill->ranked, count);
    for (size_t i = 0; i < count && i < HOSTS_MAX; i++) {
        const ranked_t *r = &fill->ranked[i];
        const gpulet_device_type_t *type = ws->types[pack->devices[r->a].type].type;
        uint32_t had = pack->devices[r->a].gpulets[r->b].size;
        for (uint32_t s = had + 1; s < type->sizes_count; s++) {
            uint32_t used = pack->devices[r->a].units_used - type->sizes[had] + type->sizes[s];
            if (used > type->units)
                break;
            if (gpulet_pack_try_add(pack, r->a, r->b, s, model, rate_rps))
                return true;
        }
    }
    return false;
}

/* ---- new gpu-lets ---- */

/* A gpu-let of that size on the device for at most rate_rps; neighbours that would suffer make it
 * take less. The rate placed. */
static double new_on(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                     double rate_rps)
{
    const gpulet_workspace_t *ws = pack->ws;
    size_t type = pack->devices[device].type;
    double most = fmin(gpulet_workspace_choices(ws, model, type, size)->rate_rps,
                       gpulet_pack_network_rps(pack, device, size, model));
    double rate = fmin(rate_rps, most);
    if (rate <= CRUMB * rate_rps)
        return 0.0;
    if (gpulet_pack_try_new(pack, device, size, model, rate))
        return rate;
    if (ws->types[type].row == NULL || pack->devices[device].count == 0)
        return 0.0;
    for (int i = 9; i >= 3; i -= 2) {
        double less = fmin(rate_rps, most * (double)i / 10.0);
        if (less < rate && gpulet_pack_try_new(pack, device, size, model, less))
            return less;
    }
    return 0.0;
}

/* The size that a new gpu-let gets: larger where it is the last that the device may have. */
static uint32_t size_on(const gpulet_fill_t *fill, const gpulet_pack_device_t *d, uint32_t size)
{
    const gpulet_device_type_t *dt = fill->ws->types[d->type].type;
    if (!fill->policy.grow_last || d->count + 1 < dt->gpulets_max)
        return size;
    while (size + 1 < dt->sizes_count && d->units_used + dt->sizes[size + 1] <= dt->units)
        size++;
    return size;
}

/* Best fit: the open device of the type that is left with least. */
static double new_on_open(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t type, uint32_t size,
                          uint32_t model, double rate_rps)
{
    const gpulet_device_type_t *dt = fill->ws->types[type].type;
    size_t count = 0;
    pack->work += pack->count / 8;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        if (d->type != type || d->units_used + dt->sizes[size] > dt->units ||
            d->count >= dt->gpulets_max)
            continue;
        double left = (double)(dt->units - d->units_used - dt->sizes[size]);
        if (!rank_push(fill, pack, count, (ranked_t){left, (uint32_t)i, 0}))
            return 0.0;
        count++;
    }
    sort_ranked(fill->ranked, count);
    for (size_t i = 0; i < count && i < HOSTS_MAX; i++) {
        size_t device = fill->ranked[i].a;
        uint32_t grown = size_on(fill, &pack->devices[device], size);
        double got = new_on(pack, device, grown, model, rate_rps);
        if (got <= 0.0 && grown != size)
            got = new_on(pack, device, size, model, rate_rps);
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

static double split_open(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const uint32_t *order = fill->type_order + model * fill->ws->types_count;
    for (size_t i = 0; i < fill->ws->types_count; i++) {
        const curve_t *curve = curve_of(fill, model, order[i]);
        size_t point = curve->count > 0 ? ideal_point(fill, curve, rate_rps) : 0;
        if (point >= curve->count)
            continue;
        double got = new_on_open(fill, pack, order[i], curve->sizes[point], model, rate_rps);
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

static double split_new(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const uint32_t *order = fill->type_order + model * fill->ws->types_count;
    for (size_t i = 0; i < fill->ws->types_count; i++) {
        const curve_t *curve = curve_of(fill, model, order[i]);
        size_t point = curve->count > 0 ? ideal_point(fill, curve, rate_rps) : 0;
        size_t device = point < curve->count ? gpulet_pack_open(pack, order[i]) : SIZE_MAX;
        if (device == SIZE_MAX)
            continue;
        double got = new_on(pack, device, curve->sizes[point], model, rate_rps);
        if (got > 0.0)
            return got;
        gpulet_pack_close(pack, device);
    }
    return 0.0;
}

/* Any size that still fits somewhere, most rate first. */
static double split_any(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const uint32_t *order = fill->type_order + model * fill->ws->types_count;
    for (size_t i = 0; i < fill->ws->types_count; i++) {
        const curve_t *curve = curve_of(fill, model, order[i]);
        size_t first = gpulet_knee_required(curve->points, curve->count, rate_rps);
        for (size_t p = first; p < curve->count; p++) {
            double got = new_on_open(fill, pack, order[i], curve->sizes[p], model, rate_rps);
            if (got > 0.0)
                return got;
        }
        for (size_t p = first; p > 0; p--) {
            double got = new_on_open(fill, pack, order[i], curve->sizes[p - 1], model, rate_rps);
            if (got > 0.0)
                return got;
        }
    }
    return 0.0;
}

double gpulet_fill_new(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t type, uint32_t size,
                       uint32_t model, double rate_rps)
{
    double got = new_on_open(fill, pack, type, size, model, rate_rps);
    size_t device = got > 0.0 ? SIZE_MAX : gpulet_pack_open(pack, type);
    if (device == SIZE_MAX)
        return got;
    got = new_on(pack, device, size, model, rate_rps);
    if (got <= 0.0)
        gpulet_pack_close(pack, device);
    return got;
}

/* ---- gpu-lets that are cut already and empty ---- */

/* Fills an empty gpu-let with at most rate_rps; neighbours that would suffer make it take less. */
static double fill_empty(gpulet_pack_t *pack, const ranked_t *at, uint32_t model, double rate_rps)
{
    const gpulet_pack_device_t *d = &pack->devices[at->a];
    uint32_t size = d->gpulets[at->b].size;
    double most = fmin(gpulet_workspace_choices(pack->ws, model, d->type, size)->rate_rps,
                       gpulet_pack_network_rps(pack, at->a, size, model));
    double rate = fmin(rate_rps, most);
    if (rate <= CRUMB * rate_rps)
        return 0.0;
    if (gpulet_pack_try_add(pack, at->a, at->b, size, model, rate))
        return rate;
    for (int i = 9; i >= 3 && pack->ws->types[d->type].row != NULL; i -= 2) {
        double less = fmin(rate_rps, most * (double)i / 10.0);
        if (less < rate && gpulet_pack_try_add(pack, at->a, at->b, size, model, less))
            return less;
    }
    return 0.0;
}

/* Best fit: the smallest empty gpu-let of at least the ideal size (large), or the largest one below
 * it; the cheapest type first. */
static double place_empty(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps,
                          bool large)
{
    const gpulet_workspace_t *ws = fill->ws;
    size_t count = 0;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        const gpulet_device_type_t *type = ws->types[d->type].type;
        const curve_t *curve = curve_of(fill, model, d->type);
        size_t point = curve->count > 0 ? ideal_point(fill, curve, rate_rps) : 0;
        pack->work += 1 + d->count / 4;
        for (uint32_t k = 0; point < curve->count && k < d->count; k++) {
            const gpulet_pack_gpulet_t *g = &d->gpulets[k];
            if (g->count > 0 || (g->size >= curve->sizes[point]) != large ||
                gpulet_workspace_choices(ws, model, d->type, g->size)->count == 0)
                continue;
            double share = gpulet_pack_share(type, g->size);
            if (!rank_push(fill, pack, count, (ranked_t){large ? share : -share, (uint32_t)i, k}))
                return 0.0;
            count++;
        }
    }
    sort_ranked(fill->ranked, count);
    for (size_t i = 0; i < count && i < HOSTS_MAX; i++) {
        double got = fill_empty(pack, &fill->ranked[i], model, rate_rps);
        if (got > 0.0)
            return got;
    }
    return 0.0;
}

static double place_step_precut(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                                double rate_rps)
{
    const gpulet_fill_policy_t *policy = &fill->policy;
    double got = 0.0;
    pack->work += 8;
    if (policy->merge_first && merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if ((got = place_empty(fill, pack, model, rate_rps, true)) > 0.0)
        return got;
    if (!policy->merge_first && merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if ((got = place_empty(fill, pack, model, rate_rps, false)) > 0.0)
        return got;
    return merge_part(fill, pack, model, rate_rps);
}

/* ---- one model's rate ---- */

/* One step: the rate placed, 0 when nothing more fits. */
static double place_step(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    const gpulet_fill_policy_t *policy = &fill->policy;
    bool whole = policy->size == GPULET_FILL_SIZE_WHOLE;
    bool fixed = fixed_size(policy) || policy->strict;
    double got = 0.0;
    pack->work += 8;
    if (policy->merge && policy->merge_first && merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if (policy->spread && (got = split_new(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if (!whole && (got = split_open(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if (policy->merge && !policy->merge_first && merge_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if (!fixed && policy->merge && grow_whole(fill, pack, model, rate_rps))
        return rate_rps;
    if (!fixed && policy->fragment && (got = split_any(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if ((got = split_new(fill, pack, model, rate_rps)) > 0.0)
        return got;
    if (!fixed && !policy->fragment && (got = split_any(fill, pack, model, rate_rps)) > 0.0)
        return got;
    return policy->merge ? merge_part(fill, pack, model, rate_rps) : 0.0;
}

static void place(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model, double rate_rps)
{
    double crumb = CRUMB * fill->ws->models[model].rate_rps;
    double left = rate_rps;
    /* Devices only fill up: where nothing of a model fitted before, nothing will. */
    if (pack->missing_rps[model] > 0.0) {
        pack->missing_rps[model] += rate_rps;
        return;
    }
    crumb = fmax(crumb, fill->slack_rps);
    for (int step = 0; step < PLACE_STEPS_MAX && left > crumb && !pack->failed; step++) {
        double got = fill->policy.precut ? place_step_precut(fill, pack, model, left)
                                         : place_step(fill, pack, model, left);
        if (got <= 0.0)
            break;
        left -= got;
    }
    if (left > crumb)
        pack->missing_rps[model] += left;
}

/* ---- a whole pass ---- */

static bool piece_push(gpulet_fill_t *fill, gpulet_pack_t *pack, double key, size_t model,
                       double rate_rps)
{
    if (fill->pieces_count == fill->pieces_capacity) {
        size_t wanted = fill->pieces_capacity * 2 + 64;
        ranked_t *pieces = realloc(fill->pieces, wanted * sizeof(*pieces));
        if (pieces != NULL)
            fill->pieces = pieces;
        double *rates = realloc(fill->piece_rates, wanted * sizeof(*rates));
        if (rates != NULL)
            fill->piece_rates = rates;
        if (pieces == NULL || rates == NULL) {
            pack->failed = true;
            return false;
        }
        fill->pieces_capacity = wanted;
    }
    fill->piece_rates[fill->pieces_count] = rate_rps;
    fill->pieces[fill->pieces_count] =
        (ranked_t){key, (uint32_t)model, (uint32_t)fill->pieces_count};
    fill->pieces_count++;
    return true;
}

/* The gpu-lets that a model would get by itself, as pieces. */
static void push_pieces(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t model, double rate_rps)
{
    size_t type = fill->ws->types_count > 0 ? fill->type_order[model * fill->ws->types_count] : 0;
    const curve_t *curve = fill->ws->types_count > 0 ? curve_of(fill, model, type) : NULL;
    double left = rate_rps;
    while (curve != NULL && curve->count > 0 && fill->pieces_count < GPULET_PACK_GPULETS_MAX) {
        size_t p = ideal_point(fill, curve, left);
        if (p >= curve->count)
            break;
        double rate = fmin(left, curve->points[p].rate_rps);
        double share = gpulet_pack_share(fill->ws->types[type].type, curve->sizes[p]);
        double key = -share * rate / curve->points[p].rate_rps;
        if (!fixed_size(&fill->policy))
            key -= share; /* large gpu-lets first, full ones before others of their size */
        left -= rate;
        if (left <= CRUMB * rate_rps) {
            (void)piece_push(fill, pack, key, model, rate + left);
            return;
        }
        if (!piece_push(fill, pack, key, model, rate))
            return;
    }
    (void)piece_push(fill, pack, 0.0, model, left);
}

static void push_model(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t model, double rate_rps)
{
    const gpulet_ws_model_t *m = &fill->ws->models[model];
    double key = 0.0;
    if (model == fill->first) {
        (void)piece_push(fill, pack, -INFINITY, model, rate_rps);
        return;
    }
    switch (fill->policy.order) {
    case GPULET_FILL_ORDER_RATE:
        key = -rate_rps;
        break;
    case GPULET_FILL_ORDER_RATE_SLO:
        key = rate_rps * m->slo_ms;
        break;
    case GPULET_FILL_ORDER_LOAD:
        key = -fill->load[model] * rate_rps / m->rate_rps;
        break;
    case GPULET_FILL_ORDER_SLO:
        key = m->slo_ms;
        break;
    case GPULET_FILL_ORDER_PIECE:
    case GPULET_FILL_ORDER_COUNT:
        push_pieces(fill, pack, model, rate_rps);
        return;
    }
    (void)piece_push(fill, pack, key, model, rate_rps);
}

/* Places rates[] (by model) in the order of the policy. */
static void place_rates(gpulet_fill_t *fill, gpulet_pack_t *pack, const double *rates)
{
    fill->pieces_count = 0;
    for (size_t m = 0; m < fill->ws->models_count; m++) {
        if (rates[m] > 0.0)
            push_model(fill, pack, m, rates[m]);
    }
    sort_ranked(fill->pieces, fill->pieces_count);
    for (size_t i = 0; i < fill->pieces_count && !pack->failed; i++)
        place(fill, pack, fill->pieces[i].a, fill->piece_rates[fill->pieces[i].b]);
}

void gpulet_fill_place(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy,
                       uint32_t model, double rate_rps)
{
    fill->policy = *policy;
    if (rate_rps > CRUMB * fill->ws->models[model].rate_rps)
        place(fill, pack, model, rate_rps);
}

void gpulet_fill_all(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy)
{
    gpulet_pack_clear(pack);
    gpulet_fill_cut(fill, pack, policy);
}

void gpulet_fill_cut(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy)
{
    fill->policy = *policy;
    for (size_t m = 0; m < fill->ws->models_count; m++)
        fill->rates[m] = fill->ws->models[m].rate_rps;
    place_rates(fill, pack, fill->rates);
}

void gpulet_fill_rest(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy,
                      const double *rates_rps)
{
    fill->policy = *policy;
    place_rates(fill, pack, rates_rps);
}

/* ---- comparing and improving ---- */

/* Σ (use of a device)²: the larger, the more the free room is in one place. */
static double concentration(const gpulet_pack_t *pack)
{
    double sum = 0.0;
    for (size_t i = 0; i < pack->count; i++) {
        const gpulet_pack_device_t *d = &pack->devices[i];
        const gpulet_device_type_t *type = pack->ws->types[d->type].type;
        double use = 0.0;
        for (uint32_t k = 0; k < d->count; k++)
            use += gpulet_pack_share(type, d->gpulets[k].size) *
                   (0.75 + 0.25 * fmin(1.0, d->gpulets[k].used));
        sum += type->cost * use * use;
    }
    return sum;
}

int gpulet_fill_compare(const gpulet_pack_t *a, const gpulet_pack_t *b)
{
    double x = gpulet_pack_missing(a);
    double y = gpulet_pack_missing(b);
    if (fabs(x - y) > 1e-9 * (x + y))
        return x < y ? -1 : 1;
    x = gpulet_pack_cost(a);
    y = gpulet_pack_cost(b);
    if (fabs(x - y) > 1e-12 * (x + y))
        return x < y ? -1 : 1;
    if (a->count != b->count)
        return a->count < b->count ? -1 : 1;
    x = concentration(a);
    y = concentration(b);
    if (fabs(x - y) > 1e-9 * (x + y))
        return x > y ? -1 : 1;
    return 0;
}

/* Takes a device out; what it served is added to rates[]. */
static void take_out(gpulet_pack_t *pack, size_t device, double *rates)
{
    const gpulet_pack_device_t *d = &pack->devices[device];
    for (uint32_t k = 0; k < d->count; k++) {
        for (uint32_t j = 0; j < d->gpulets[k].count; j++)
            rates[d->gpulets[k].members[j].model] += d->gpulets[k].members[j].rate_rps;
    }
    gpulet_pack_close(pack, device);
}

/* Policies drawn at random find what a fixed one walks past. */
static gpulet_fill_policy_t draw_policy(gpulet_rng_t *rng, const gpulet_fill_t *fill)
{
    gpulet_fill_policy_t policy = fill->policy;
    policy.size = (gpulet_fill_size_t)gpulet_rng_below(rng, GPULET_FILL_SIZE_WHOLE);
    policy.order = (gpulet_fill_order_t)gpulet_rng_below(rng, GPULET_FILL_ORDER_COUNT);
    policy.merge = true;
    policy.merge_first = gpulet_rng_below(rng, 2) == 0;
    policy.fragment = gpulet_rng_below(rng, 2) == 0;
    return policy;
}

/* Whether the bound, of cost, is above what all devices that there are cost. */
static bool hopeless(const gpulet_pack_t *pack, double cost_bound)
{
    double cost = 0.0;
    for (size_t t = 0; t < pack->ws->types_count; t++) {
        if (pack->devices_max[t] < 0)
            return false;
        cost += (double)pack->devices_max[t] * pack->ws->types[t].type->cost;
    }
    return cost_bound > cost * (1.0 + 1e-9);
}

void gpulet_fill_improve(gpulet_fill_t *fill, gpulet_pack_t *pack, gpulet_pack_t *scratch,
                         uint64_t work_max, double cost_enough)
{
    size_t rounds_max = hopeless(pack, cost_enough) ? ROUNDS_HOPELESS_MAX : ROUNDS_MAX;
    size_t vain = 0;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 1); /* fixed: the same input gives the same plan */
    for (size_t round = 0; round < rounds_max && !pack->failed && !scratch->failed; round++) {
        bool complete = gpulet_pack_missing(pack) <= 0.0;
        if (pack->count == 0 || (complete && gpulet_pack_cost(pack) <= cost_enough) ||
            pack->work + scratch->work > work_max || (complete && vain >= ROUNDS_VAIN_MAX))
            return;
        scratch->work += pack->gpulets_count;
        gpulet_pack_copy(scratch, pack);
        for (size_t m = 0; m < fill->ws->models_count; m++) {
            fill->rates[m] = scratch->missing_rps[m];
            scratch->missing_rps[m] = 0.0;
        }
        size_t out = 1 + (size_t)gpulet_rng_below(&rng, 4);
        for (size_t i = 0; i < out && scratch->count > 0; i++)
            take_out(scratch, (size_t)gpulet_rng_below(&rng, scratch->count), fill->rates);
        fill->policy = draw_policy(&rng, fill);
        place_rates(fill, scratch, fill->rates);
        vain++;
        if (gpulet_fill_compare(scratch, pack) < 0) {
            vain = 0;
            gpulet_pack_t swap = *pack;
            *pack = *scratch;
            *scratch = swap;
        }
    }
}
