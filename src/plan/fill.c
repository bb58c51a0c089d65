#include "plan/fill.h"

#include <math.h>
#include <stdlib.h>

#include "plan/fill_internal.h"

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
        gpulet_fill_set_model(fill, m);
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

/* ---- a whole pass ---- */

static bool piece_push(gpulet_fill_t *fill, gpulet_pack_t *pack, double key, size_t model,
                       double rate_rps)
{
    if (fill->pieces_count == fill->pieces_capacity) {
        size_t wanted = fill->pieces_capacity * 2 + 64;
        gpulet_fill_ranked_t *pieces = realloc(fill->pieces, wanted * sizeof(*pieces));
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
        (gpulet_fill_ranked_t){key, (uint32_t)model, (uint32_t)fill->pieces_count};
    fill->pieces_count++;
    return true;
}

/* The gpu-lets that a model would get by itself, as pieces. */
static void push_pieces(gpulet_fill_t *fill, gpulet_pack_t *pack, size_t model, double rate_rps)
{
    size_t type = fill->ws->types_count > 0 ? fill->type_order[model * fill->ws->types_count] : 0;
    const gpulet_fill_curve_t *curve =
        fill->ws->types_count > 0 ? gpulet_fill_curve(fill, model, type) : NULL;
    double left = rate_rps;
    while (curve != NULL && curve->count > 0 && fill->pieces_count < GPULET_PACK_GPULETS_MAX) {
        size_t p = gpulet_fill_ideal_point(fill, curve, left);
        if (p >= curve->count)
            break;
        double rate = fmin(left, curve->points[p].rate_rps);
        double share = gpulet_pack_share(fill->ws->types[type].type, curve->sizes[p]);
        double key = -share * rate / curve->points[p].rate_rps;
        if (!gpulet_fill_fixed_size(&fill->policy))
            key -= share; /* large gpu-lets first, full ones before others of their size */
        left -= rate;
        if (left <= GPULET_FILL_CRUMB * rate_rps) {
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

void gpulet_fill_place_rates(gpulet_fill_t *fill, gpulet_pack_t *pack, const double *rates)
{
    fill->pieces_count = 0;
    for (size_t m = 0; m < fill->ws->models_count; m++) {
        if (rates[m] > 0.0)
            push_model(fill, pack, m, rates[m]);
    }
    gpulet_fill_sort(fill->pieces, fill->pieces_count);
    for (size_t i = 0; i < fill->pieces_count && !pack->failed; i++)
        gpulet_fill_place_rate(fill, pack, fill->pieces[i].a, fill->piece_rates[fill->pieces[i].b]);
}

void gpulet_fill_place(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy,
                       uint32_t model, double rate_rps)
{
    fill->policy = *policy;
    if (rate_rps > GPULET_FILL_CRUMB * fill->ws->models[model].rate_rps)
        gpulet_fill_place_rate(fill, pack, model, rate_rps);
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
    gpulet_fill_place_rates(fill, pack, fill->rates);
}

void gpulet_fill_rest(gpulet_fill_t *fill, gpulet_pack_t *pack, const gpulet_fill_policy_t *policy,
                      const double *rates_rps)
{
    fill->policy = *policy;
    gpulet_fill_place_rates(fill, pack, rates_rps);
}
