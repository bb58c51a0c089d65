#include "plan/pack.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rounds of solving the gpu-lets of a device against one another; after the first few, pressures
 * only grow, so it ends. */
enum { ROUNDS_FREE = 4, ROUNDS_MAX = 64, STEPS_MAX = 20000 };

static const double SLO_SLACK = 1e-10;
static const uint32_t ANY_CHOICE = UINT32_MAX;

/* ---- memory of devices and gpu-lets ---- */

static void *grow(void *items, uint32_t *capacity, uint32_t need, size_t size)
{
    if (need <= *capacity)
        return items;
    uint32_t wanted = *capacity * 2 > need ? *capacity * 2 : need;
    char *more = realloc(items, (size_t)wanted * size);
    if (more == NULL)
        return NULL;
    memset(more + (size_t)*capacity * size, 0, (size_t)(wanted - *capacity) * size);
    *capacity = wanted;
    return more;
}

static bool reserve_members(gpulet_pack_gpulet_t *g, uint32_t need)
{
    gpulet_pack_member_t *more = grow(g->members, &g->capacity, need, sizeof(*more));
    if (more != NULL)
        g->members = more;
    return more != NULL || need == 0;
}

static bool reserve_gpulets(gpulet_pack_device_t *d, uint32_t need)
{
    gpulet_pack_gpulet_t *more = grow(d->gpulets, &d->capacity, need, sizeof(*more));
    if (more != NULL)
        d->gpulets = more;
    return more != NULL || need == 0;
}

static bool copy_gpulet(gpulet_pack_gpulet_t *to, const gpulet_pack_gpulet_t *from)
{
    if (!reserve_members(to, from->count))
        return false;
    gpulet_pack_member_t *members = to->members;
    uint32_t capacity = to->capacity;
    *to = *from;
    to->members = members;
    to->capacity = capacity;
    if (from->count > 0)
        memcpy(members, from->members, from->count * sizeof(*members));
    return true;
}

static bool copy_device(gpulet_pack_device_t *to, const gpulet_pack_device_t *from)
{
    if (!reserve_gpulets(to, from->count))
        return false;
    to->type = from->type;
    to->units_used = from->units_used;
    to->count = from->count;
    for (uint32_t i = 0; i < from->count; i++) {
        if (!copy_gpulet(&to->gpulets[i], &from->gpulets[i]))
            return false;
    }
    return true;
}

static void free_device(gpulet_pack_device_t *d)
{
    for (uint32_t i = 0; i < d->capacity; i++)
        free(d->gpulets[i].members);
    free(d->gpulets);
    *d = (gpulet_pack_device_t){0};
}

gpulet_status_t gpulet_pack_init(gpulet_pack_t *pack, const gpulet_workspace_t *ws, bool unlimited)
{
    *pack = (gpulet_pack_t){.ws = ws};
    pack->devices_by_type = calloc(ws->types_count + 1, sizeof(*pack->devices_by_type));
    pack->devices_max = calloc(ws->types_count + 1, sizeof(*pack->devices_max));
    pack->missing_rps = calloc(ws->models_count + 1, sizeof(*pack->missing_rps));
    if (pack->devices_by_type == NULL || pack->devices_max == NULL || pack->missing_rps == NULL) {
        gpulet_pack_deinit(pack);
        return GPULET_E_NOMEM;
    }
    for (size_t t = 0; t < ws->types_count; t++)
        pack->devices_max[t] = unlimited ? -1 : ws->types[t].devices_max;
    return GPULET_OK;
}

void gpulet_pack_deinit(gpulet_pack_t *pack)
{
    for (size_t i = 0; i < pack->capacity; i++)
        free_device(&pack->devices[i]);
    free_device(&pack->trial);
    free(pack->devices);
    free(pack->devices_by_type);
    free(pack->devices_max);
    free(pack->missing_rps);
    *pack = (gpulet_pack_t){0};
}

void gpulet_pack_clear(gpulet_pack_t *pack)
{
    pack->count = 0;
    pack->gpulets_count = 0;
    memset(pack->devices_by_type, 0, pack->ws->types_count * sizeof(*pack->devices_by_type));
    for (size_t m = 0; m < pack->ws->models_count; m++)
        pack->missing_rps[m] = 0.0;
}

static bool reserve_devices(gpulet_pack_t *pack, size_t need)
{
    if (need <= pack->capacity)
        return true;
    size_t wanted = pack->capacity * 2 > need ? pack->capacity * 2 : need + 7;
    gpulet_pack_device_t *more = realloc(pack->devices, wanted * sizeof(*more));
    if (more == NULL) {
        pack->failed = true;
        return false;
    }
    memset(more + pack->capacity, 0, (wanted - pack->capacity) * sizeof(*more));
    pack->devices = more;
    pack->capacity = wanted;
    return true;
}

void gpulet_pack_copy(gpulet_pack_t *to, const gpulet_pack_t *from)
{
    assert(to->ws == from->ws);
    to->failed = to->failed || from->failed;
    if (to->failed || !reserve_devices(to, from->count))
        return;
    for (size_t i = 0; i < from->count; i++) {
        if (!copy_device(&to->devices[i], &from->devices[i])) {
            to->failed = true;
            return;
        }
    }
    to->count = from->count;
    to->gpulets_count = from->gpulets_count;
    const gpulet_workspace_t *ws = to->ws;
    memcpy(to->devices_by_type, from->devices_by_type,
           ws->types_count * sizeof(*to->devices_by_type));
    memcpy(to->missing_rps, from->missing_rps, ws->models_count * sizeof(*to->missing_rps));
}

size_t gpulet_pack_open(gpulet_pack_t *pack, size_t type)
{
    int32_t most = pack->devices_max[type];
    if (pack->failed || (most >= 0 && pack->devices_by_type[type] >= (uint32_t)most))
        return SIZE_MAX;
    if (!reserve_devices(pack, pack->count + 1))
        return SIZE_MAX;
    gpulet_pack_device_t *d = &pack->devices[pack->count];
    d->type = (uint32_t)type;
    d->count = 0;
    d->units_used = 0;
    pack->devices_by_type[type]++;
    return pack->count++;
}

void gpulet_pack_close(gpulet_pack_t *pack, size_t device)
{
    assert(device < pack->count);
    gpulet_pack_device_t gone = pack->devices[device];
    pack->devices_by_type[gone.type]--;
    pack->gpulets_count -= gone.count;
    pack->devices[device] = pack->devices[--pack->count];
    pack->devices[pack->count] = gone; /* keeps its memory for the next one */
}

/* ---- solving ---- */

static bool meets_slo(const gpulet_workspace_t *ws, const gpulet_pack_gpulet_t *g, double sum_ms,
                      double *slack_ms)
{
    double least = INFINITY;
    double slack = g->beside == -INFINITY ? 1.0 : ws->slo_beside;
    for (uint32_t i = 0; i < g->count; i++) {
        double slo_ms = slack * ws->models[g->members[i].model].slo_ms;
        double own_ms = ws->input->prototype_duty ? sum_ms : g->members[i].latency_ms;
        least = fmin(least, slo_ms * (1.0 + SLO_SLACK) - g->duty_ms - own_ms);
    }
    *slack_ms = least;
    return least >= 0.0;
}

/* Σ L_i(duty_ms), or INFINITY where a model has no batch that holds its rate. */
static double choose(const gpulet_workspace_t *ws, size_t type, gpulet_pack_gpulet_t *g,
                     double duty_ms, bool lean)
{
    double sum_ms = 0.0;
    for (uint32_t i = 0; i < g->count; i++) {
        gpulet_pack_member_t *member = &g->members[i];
        const gpulet_choices_t *c = gpulet_workspace_choices(ws, member->model, type, g->size);
        double load = member->rate_rps * duty_ms / 1000.0;
        if (member->pinned) {
            const gpulet_choice_t *o = &c->items[member->choice];
            if (o->load < load * (1.0 - GPULET_WORKSPACE_SLACK) || (lean && o->instances > 1))
                return INFINITY;
            member->latency_ms = gpulet_choice_latency_ms(o, g->beside);
            sum_ms += member->latency_ms;
            continue;
        }
        size_t k = gpulet_choices_pick(c, load, g->beside, lean, &member->latency_ms);
        if (k == c->count)
            return INFINITY;
        member->choice = (uint32_t)k;
        sum_ms += member->latency_ms;
    }
    return sum_ms;
}

static void describe(const gpulet_workspace_t *ws, size_t type, gpulet_pack_gpulet_t *g)
{
    g->pressure = -INFINITY;
    g->memory_mb = g->count > 0 ? ws->types[type].type->memory_mb_process : 0.0;
    g->network_bps = 0.0;
    g->used = 0.0;
    for (uint32_t i = 0; i < g->count; i++) {
        const gpulet_choices_t *c =
            gpulet_workspace_choices(ws, g->members[i].model, type, g->size);
        const gpulet_choice_t *o = &c->items[g->members[i].choice];
        g->pressure = fmax(g->pressure, o->pressure);
        g->memory_mb += o->memory_mb;
        g->network_bps += g->members[i].rate_rps * c->input_bytes;
        g->used += g->members[i].rate_rps / c->rate_rps;
    }
}

static bool solve_gpulet(gpulet_pack_t *pack, size_t type, gpulet_pack_gpulet_t *g, bool lean)
{
    const gpulet_workspace_t *ws = pack->ws;
    double slo_least = INFINITY;
    double used = 0.0;
    double line_ms = 0.0; /* Σ L_i(D) ≥ line_ms + line_part · D */
    double line_part = 0.0;
    for (uint32_t i = 0; i < g->count; i++) {
        const gpulet_choices_t *c =
            gpulet_workspace_choices(ws, g->members[i].model, type, g->size);
        if (c->count == 0)
            return false;
        used += g->members[i].rate_rps / c->rate_rps;
        line_ms += c->line_ms;
        line_part += c->line_slope_ms * g->members[i].rate_rps / 1000.0;
        slo_least = fmin(slo_least, ws->models[g->members[i].model].slo_ms);
    }
    if (used > 1.0 + 1e-7)
        return false;
    /* No cycle shorter than this holds its batches, so the search for the shortest begins there. */
    double duty_ms = 0.0;
    if (line_ms > 0.0 && line_part < 1.0)
        duty_ms = line_ms / (1.0 - line_part) * (1.0 - 1e-9);
    for (int step = 0; step < STEPS_MAX; step++) {
        pack->work += g->count;
        double sum_ms = choose(ws, type, g, duty_ms, lean);
        if (sum_ms > slo_least * ws->slo_beside * (1.0 + SLO_SLACK))
            return false;
        if (sum_ms <= duty_ms * (1.0 + 1e-12)) {
            g->duty_ms = fmax(duty_ms, sum_ms);
            describe(ws, type, g);
            return meets_slo(ws, g, sum_ms, &g->slack_ms);
        }
        duty_ms = sum_ms;
    }
    return false;
}

static double pressure_beside(const gpulet_pack_device_t *d, uint32_t self)
{
    double highest = -INFINITY;
    for (uint32_t i = 0; i < d->count; i++) {
        if (i != self)
            highest = fmax(highest, d->gpulets[i].pressure);
    }
    return highest;
}

/* Solves the gpu-lets of a device with interference together. */
static bool solve_coupled(gpulet_pack_t *pack, gpulet_pack_device_t *d, bool lean)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        bool settled = round > 0;
        for (uint32_t i = 0; i < d->count; i++) {
            gpulet_pack_gpulet_t *g = &d->gpulets[i];
            double beside = pressure_beside(d, i);
            if (round >= ROUNDS_FREE && beside < g->beside)
                beside = g->beside;
            if (round > 0 && beside == g->beside)
                continue;
            g->beside = beside;
            settled = false;
            if (!solve_gpulet(pack, d->type, g, lean))
                return false;
        }
        if (settled)
            return true;
    }
    return false;
}

static bool memory_fits(const gpulet_workspace_t *ws, const gpulet_pack_device_t *d)
{
    const gpulet_device_type_t *type = ws->types[d->type].type;
    double sum_mb = 0.0;
    for (uint32_t i = 0; i < d->count; i++) {
        const gpulet_pack_gpulet_t *g = &d->gpulets[i];
        if (type->memory_mb_by_size != NULL && g->memory_mb > type->memory_mb_by_size[g->size])
            return false;
        sum_mb += g->memory_mb;
    }
    return type->memory_mb_by_size != NULL || sum_mb <= type->memory_mb;
}

/* Bytes a second that the network of a device of the type takes; INFINITY when not limited. */
static double network_most(const gpulet_device_type_t *type)
{
    return type->network_gbps > 0.0 ? type->network_gbps * GPULET_WORKSPACE_GBPS : INFINITY;
}

static double network_used(const gpulet_pack_device_t *d)
{
    double sum_bps = 0.0;
    for (uint32_t i = 0; i < d->count; i++)
        sum_bps += d->gpulets[i].network_bps;
    return sum_bps;
}

static bool network_fits(const gpulet_workspace_t *ws, const gpulet_pack_device_t *d)
{
    return network_used(d) <= network_most(ws->types[d->type].type) * (1.0 + 1e-12);
}

double gpulet_pack_network_rps(const gpulet_pack_t *pack, size_t device, uint32_t size,
                               uint32_t model)
{
    const gpulet_pack_device_t *d = &pack->devices[device];
    double bytes = gpulet_workspace_choices(pack->ws, model, d->type, size)->input_bytes;
    double left_bps = network_most(pack->ws->types[d->type].type) - network_used(d);
    return bytes > 0.0 ? fmax(0.0, left_bps) / bytes : INFINITY;
}

static bool solve_once(gpulet_pack_t *pack, gpulet_pack_device_t *d, uint32_t changed, bool lean)
{
    const gpulet_workspace_t *ws = pack->ws;
    bool solved;
    if (ws->types[d->type].row == NULL) {
        d->gpulets[changed].beside = -INFINITY;
        solved = solve_gpulet(pack, d->type, &d->gpulets[changed], lean);
    } else {
        solved = solve_coupled(pack, d, lean);
    }
    return solved && memory_fits(ws, d) && network_fits(ws, d);
}

/* Several instances cost memory: when that is what fails, one instance may do. */
static bool solve(gpulet_pack_t *pack, gpulet_pack_device_t *d, uint32_t changed)
{
    return solve_once(pack, d, changed, false) || solve_once(pack, d, changed, true);
}

/* ---- operations ---- */

static bool sizes_fit(const gpulet_workspace_t *ws, const gpulet_pack_device_t *d)
{
    const gpulet_device_type_t *type = ws->types[d->type].type;
    if (d->units_used > type->units || d->count > type->gpulets_max)
        return false;
    if (type->slots == 0)
        return true;
    uint32_t sizes[64];
    if (d->count > 64)
        return false;
    for (uint32_t i = 0; i < d->count; i++)
        sizes[i] = d->gpulets[i].size;
    return gpulet_placement_find(type, sizes, d->count, NULL);
}

static bool begin_trial(gpulet_pack_t *pack, size_t device)
{
    assert(device < pack->count);
    pack->work += pack->devices[device].count;
    if (pack->failed || !copy_device(&pack->trial, &pack->devices[device])) {
        pack->failed = true;
        return false;
    }
    return true;
}

static void commit_trial(gpulet_pack_t *pack, size_t device)
{
    gpulet_pack_device_t before = pack->devices[device];
    pack->devices[device] = pack->trial;
    pack->trial = before;
}

static bool append_member(gpulet_pack_t *pack, gpulet_pack_gpulet_t *g, uint32_t model,
                          uint32_t choice, double rate_rps)
{
    if (!reserve_members(g, g->count + 1)) {
        pack->failed = true;
        return false;
    }
    bool pinned = choice != ANY_CHOICE;
    g->members[g->count++] =
        (gpulet_pack_member_t){model, pinned ? choice : 0, rate_rps, 0.0, pinned};
    return true;
}

/* An empty gpu-let at the end of the device; NULL when out of memory. */
static gpulet_pack_gpulet_t *append_gpulet(gpulet_pack_t *pack, gpulet_pack_device_t *d,
                                           uint32_t size)
{
    if (!reserve_gpulets(d, d->count + 1)) {
        pack->failed = true;
        return NULL;
    }
    gpulet_pack_gpulet_t *g = &d->gpulets[d->count++];
    gpulet_pack_member_t *members = g->members;
    uint32_t capacity = g->capacity;
    *g = (gpulet_pack_gpulet_t){.size = size,
                                .capacity = capacity,
                                .members = members,
                                .pressure = -INFINITY,
                                .beside = -INFINITY,
                                .slack_ms = INFINITY};
    d->units_used += pack->ws->types[d->type].type->sizes[size];
    return g;
}

bool gpulet_pack_cut(gpulet_pack_t *pack, size_t device, const uint32_t *sizes, size_t count)
{
    if (!begin_trial(pack, device))
        return false;
    gpulet_pack_device_t *d = &pack->trial;
    for (size_t i = 0; i < count; i++) {
        if (append_gpulet(pack, d, sizes[i]) == NULL)
            return false;
    }
    if (!sizes_fit(pack->ws, d))
        return false;
    commit_trial(pack, device);
    pack->gpulets_count += count;
    return true;
}

static bool try_new(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                    uint32_t choice, double rate_rps)
{
    const gpulet_workspace_t *ws = pack->ws;
    const gpulet_pack_device_t *now = &pack->devices[device];
    const gpulet_device_type_t *type = ws->types[now->type].type;
    if (pack->failed || pack->gpulets_count >= GPULET_PACK_GPULETS_MAX ||
        now->units_used + type->sizes[size] > type->units || now->count >= type->gpulets_max)
        return false;
    if (!begin_trial(pack, device))
        return false;
    gpulet_pack_device_t *d = &pack->trial;
    gpulet_pack_gpulet_t *g = append_gpulet(pack, d, size);
    if (g == NULL || !append_member(pack, g, model, choice, rate_rps) || !sizes_fit(ws, d) ||
        !solve(pack, d, d->count - 1))
        return false;
    commit_trial(pack, device);
    pack->gpulets_count++;
    return true;
}

bool gpulet_pack_try_new(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                         double rate_rps)
{
    return try_new(pack, device, size, model, ANY_CHOICE, rate_rps);
}

bool gpulet_pack_try_new_pinned(gpulet_pack_t *pack, size_t device, uint32_t size, uint32_t model,
                                uint32_t choice, double rate_rps)
{
    return try_new(pack, device, size, model, choice, rate_rps);
}

bool gpulet_pack_try_add_pinned(gpulet_pack_t *pack, size_t device, size_t gpulet, uint32_t model,
                                uint32_t choice, double rate_rps)
{
    const gpulet_device_type_t *type = pack->ws->types[pack->devices[device].type].type;
    if (!begin_trial(pack, device))
        return false;
    gpulet_pack_gpulet_t *g = &pack->trial.gpulets[gpulet];
    if ((type->models_max > 0 && g->count >= type->models_max) ||
        !append_member(pack, g, model, choice, rate_rps) ||
        !solve(pack, &pack->trial, (uint32_t)gpulet))
        return false;
    commit_trial(pack, device);
    return true;
}

bool gpulet_pack_try_add(gpulet_pack_t *pack, size_t device, size_t gpulet, uint32_t size,
                         uint32_t model, double rate_rps)
{
    const gpulet_workspace_t *ws = pack->ws;
    if (!begin_trial(pack, device))
        return false;
    gpulet_pack_device_t *d = &pack->trial;
    const gpulet_device_type_t *type = ws->types[d->type].type;
    gpulet_pack_gpulet_t *g = &d->gpulets[gpulet];
    if (size != g->size) {
        d->units_used = d->units_used - type->sizes[g->size] + type->sizes[size];
        g->size = size;
        if (!sizes_fit(ws, d))
            return false;
    }
    for (uint32_t i = 0; i < g->count; i++) /* a choice is one of its size's */
        g->members[i].pinned =
            g->members[i].pinned && size == pack->devices[device].gpulets[gpulet].size;
    uint32_t at = 0;
    while (at < g->count && g->members[at].model != model)
        at++;
    if (at < g->count)
        g->members[at].rate_rps += rate_rps;
    else if ((type->models_max > 0 && g->count >= type->models_max) ||
             !append_member(pack, g, model, ANY_CHOICE, rate_rps))
        return false;
    if (!solve(pack, d, (uint32_t)gpulet))
        return false;
    commit_trial(pack, device);
    return true;
}

bool gpulet_pack_try_scale(gpulet_pack_t *pack, size_t device, size_t gpulet, double factor)
{
    if (!begin_trial(pack, device))
        return false;
    gpulet_pack_device_t *d = &pack->trial;
    for (uint32_t i = 0; i < d->gpulets[gpulet].count; i++)
        d->gpulets[gpulet].members[i].rate_rps *= factor;
    if (!solve(pack, d, (uint32_t)gpulet))
        return false;
    commit_trial(pack, device);
    return true;
}

double gpulet_pack_share(const gpulet_device_type_t *type, uint32_t size)
{
    double share = (double)type->sizes[size] / (double)type->units;
    if (type->slots > 0)
        share = fmax(share, (double)type->placements[size].length / (double)type->slots);
    return share;
}

double gpulet_pack_cost(const gpulet_pack_t *pack)
{
    double cost = 0.0;
    for (size_t t = 0; t < pack->ws->types_count; t++)
        cost += (double)pack->devices_by_type[t] * pack->ws->types[t].type->cost;
    return cost;
}

double gpulet_pack_missing(const gpulet_pack_t *pack)
{
    double sum = 0.0;
    for (size_t m = 0; m < pack->ws->models_count; m++)
        sum += pack->missing_rps[m];
    return sum;
}
