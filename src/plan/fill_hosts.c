/* Turns in gpu-lets that run, at their size or grown. */
#include <stdlib.h>

#include "plan/fill_internal.h"

static int compare_ranked(const void *a, const void *b)
{
    const gpulet_fill_ranked_t *x = a;
    const gpulet_fill_ranked_t *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->a != y->a)
        return x->a < y->a ? -1 : 1;
    return x->b < y->b ? -1 : x->b > y->b;
}

void gpulet_fill_sort(gpulet_fill_ranked_t *items, size_t count)
{
    if (count > 1)
        qsort(items, count, sizeof(*items), compare_ranked);
}

bool gpulet_fill_rank(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t count,
                      gpulet_fill_ranked_t item)
{
    if (count == fill->ranked_capacity) {
        size_t wanted = fill->ranked_capacity * 2 + 64;
        gpulet_fill_ranked_t *more = realloc(fill->ranked, wanted * sizeof(*more));
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
                if (!gpulet_fill_rank(fill, pack, count,
                                      (gpulet_fill_ranked_t){-used, (uint32_t)i, k}))
                    return 0;
                count++;
            }
        }
    }
    gpulet_fill_sort(fill->ranked, count);
    return count;
}

bool gpulet_fill_merge_whole(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                             double rate_rps)
{
    size_t count = rank_hosts(fill, pack, model, rate_rps);
    for (size_t i = 0; i < count && i < GPULET_FILL_HOSTS_MAX; i++) {
        const gpulet_fill_ranked_t *r = &fill->ranked[i];
        uint32_t size = pack->devices[r->a].gpulets[r->b].size;
        if (gpulet_pack_try_add(pack, r->a, r->b, size, model, rate_rps))
            return true;
    }
    return false;
}

double gpulet_fill_merge_part(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                              double rate_rps)
{
    size_t count = rank_hosts(fill, pack, model, 0.0);
    for (size_t i = count; i > 0 && count - i < GPULET_FILL_HOSTS_MAX; i--) {
        const gpulet_fill_ranked_t *r = &fill->ranked[i - 1]; /* the emptiest first */
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

bool gpulet_fill_grow_whole(gpulet_fill_t *fill, gpulet_pack_t *pack, uint32_t model,
                            double rate_rps)
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
            if (!gpulet_fill_rank(fill, pack, count, (gpulet_fill_ranked_t){key, (uint32_t)i, k}))
                return false;
            count++;
        }
    }
    gpulet_fill_sort(fill->ranked, count);
    for (size_t i = 0; i < count && i < GPULET_FILL_HOSTS_MAX; i++) {
        const gpulet_fill_ranked_t *r = &fill->ranked[i];
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
