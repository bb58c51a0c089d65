#include "plan/optimal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/optimal_internal.h"

enum { DIVES_MAX = 16, ROOT_ITERATIONS_MAX = 3000, IMPROVES_MAX = 4, CERTIFY_EVERY = 50 };

static const uint64_t WORK_CERTIFY = 2000000; /* of the search of one gpu-let */
static const uint64_t WORK_IMPROVE = 4000000;
static const uint64_t WORK_PROVE = 100000000;
/* The planner's own limit: a step of pricing is of the order of 10 ns. */
static const uint64_t WORK_ALL = 200000000;

/* ---- state ---- */

bool gpulet_optimal_settled(const gpulet_optimal_t *o)
{
    return gpulet_pack_missing(&o->best) <= 0.0 &&
           (o->input->any || gpulet_pack_cost(&o->best) <= o->bound * (1.0 + 1e-9));
}

void gpulet_optimal_offer(gpulet_optimal_t *o)
{
    if (gpulet_fill_compare(&o->trial, &o->best) < 0)
        gpulet_pack_copy(&o->best, &o->trial);
}

/* Whether the devices that there are have been proved too few. */
static bool proved_impossible(const gpulet_optimal_t *o)
{
    double most = 0.0;
    for (size_t t = 0; t < o->ws->types_count; t++) {
        if (o->ws->types[t].devices_max < 0)
            return false;
        most += (double)o->ws->types[t].devices_max * o->ws->types[t].type->cost;
    }
    return o->bound > most * (1.0 + 1e-9);
}

static gpulet_status_t begin(gpulet_optimal_t *o)
{
    for (size_t m = 0; m < o->ws->models_count; m++)
        o->rates[m] = o->ws->models[m].rate_rps;
    gpulet_status_t st = gpulet_pricer_create(&o->pricer, o->ws, false);
    if (st == GPULET_OK)
        st = gpulet_certifier_init(&o->certifier, o->input);
    if (st == GPULET_OK)
        st = gpulet_master_init(&o->root, &o->columns, o->pricer, o->input->solver, o->rates);
    if (st == GPULET_OK)
        st = gpulet_master_seed(&o->root);
    return st;
}

static gpulet_status_t allocate(gpulet_optimal_t *o, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_workspace_create(&o->ws, o->input, err);
    if (st != GPULET_OK)
        return st;
    o->columns.ws = o->ws;
    o->rates = calloc(o->ws->models_count + 1, sizeof(*o->rates));
    if (o->rates == NULL || gpulet_fill_create(&o->fill, o->ws) != GPULET_OK ||
        gpulet_pack_init(&o->best, o->ws, false) != GPULET_OK ||
        gpulet_pack_init(&o->trial, o->ws, false) != GPULET_OK ||
        gpulet_pack_init(&o->scratch, o->ws, false) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    return GPULET_OK;
}

gpulet_status_t gpulet_optimal_create(gpulet_optimal_t **out, const gpulet_plan_input_t *input,
                                      gpulet_error_t *err)
{
    gpulet_optimal_t *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    o->input = input;
    gpulet_status_t st = allocate(o, err);
    if (st != GPULET_OK) {
        gpulet_optimal_destroy(o);
        return st;
    }
    o->bound = gpulet_plan_bound_resource(input, &o->bound_devices, NULL);
    gpulet_elastic_fill(o->fill, &o->best, &o->scratch, o->bound);
    bool open = !isnan(o->bound) && o->ws->models_count > 0 && input->solver != NULL;
    o->phase = open && !gpulet_optimal_settled(o) && !proved_impossible(o) ? GPULET_OPTIMAL_ROOT
                                                                           : GPULET_OPTIMAL_DONE;
    if (o->phase == GPULET_OPTIMAL_ROOT && (st = begin(o)) != GPULET_OK) {
        gpulet_optimal_destroy(o);
        return gpulet_fail(err, st, "%s", gpulet_status_text(st));
    }
    *out = o;
    return GPULET_OK;
}

void gpulet_optimal_destroy(gpulet_optimal_t *o)
{
    if (o == NULL)
        return;
    gpulet_master_deinit(&o->root);
    gpulet_columns_deinit(&o->columns);
    gpulet_certifier_deinit(&o->certifier);
    gpulet_pricer_destroy(o->pricer);
    gpulet_pack_deinit(&o->best);
    gpulet_pack_deinit(&o->trial);
    gpulet_pack_deinit(&o->scratch);
    gpulet_fill_destroy(o->fill);
    free(o->rates);
    gpulet_workspace_destroy(o->ws);
    free(o);
}

/* ---- steps ---- */

static gpulet_status_t certify(gpulet_optimal_t *o)
{
    double bound = 0.0;
    gpulet_status_t st =
        gpulet_certifier_prove(&bound, &o->certifier, o->root.prices, WORK_CERTIFY, &o->root.work);
    double whole = gpulet_certifier_round(o->input->devices, bound);
    o->bound = fmax(o->bound, whole);
    return st;
}

/* Asks for a proof where one would raise the bound: of the best prices, as soon as they say more
 * than is proved. */
static gpulet_status_t step_root(gpulet_optimal_t *o)
{
    gpulet_status_t st = gpulet_master_iterate(&o->root);
    if (st != GPULET_OK)
        return st;
    bool last = o->root.done || ++o->iterations >= ROOT_ITERATIONS_MAX;
    double hope = gpulet_certifier_round(o->input->devices, o->root.bound * (1.0 - 1e-5));
    bool worth = o->root.improved_bound && hope > o->bound * (1.0 + 1e-9);
    /* Where pricing was cut off there is no bound yet, and the relaxation's value is the hope. */
    double most = gpulet_certifier_round(o->input->devices, o->root.value * (1.0 - 1e-5));
    bool blind = o->root.bound <= 0.0 && (last || o->iterations % CERTIFY_EVERY == 0);
    if ((worth && (last || hope > o->certified * (1.0 + 1e-3))) || (blind && most > o->bound)) {
        o->certified = hope;
        st = certify(o);
    }
    if (last)
        o->phase = GPULET_OPTIMAL_INTEGER;
    return st;
}

static bool disturbed(const gpulet_workspace_t *ws)
{
    for (size_t t = 0; t < ws->types_count; t++) {
        if (ws->types[t].row != NULL)
            return true;
    }
    return false;
}

static gpulet_status_t refine_pricer(gpulet_pricer_t **pricer, const gpulet_workspace_t *ws)
{
    gpulet_pricer_t *fine = NULL;
    gpulet_status_t st = gpulet_pricer_create(&fine, ws, true);
    if (st != GPULET_OK)
        return st;
    gpulet_pricer_destroy(*pricer);
    *pricer = fine;
    return GPULET_OK;
}

/* Begins again with finer levels of pressure: columns, bounds and plans found so far stay. */
static gpulet_status_t refine(gpulet_optimal_t *o)
{
    gpulet_status_t st = refine_pricer(&o->pricer, o->ws);
    o->root.pricer = o->pricer;
    if (st == GPULET_OK)
        st = refine_pricer(&o->certifier.pricer, o->certifier.ws);
    o->fine = true;
    o->root.done = false;
    o->root.work = 0;
    o->phase = GPULET_OPTIMAL_ROOT;
    return st;
}

/* Where there is interference the question is first asked with few levels of pressure, which is
 * quick and mostly enough. */
static gpulet_status_t step_prove(gpulet_optimal_t *o)
{
    bool more = false;
    gpulet_status_t st = gpulet_optimal_prove(o, WORK_PROVE, &more);
    if (st != GPULET_OK || more)
        return st;
    o->phase = GPULET_OPTIMAL_DIVE;
    if (gpulet_optimal_settled(o) || proved_impossible(o))
        return GPULET_OK;
    return !o->fine && disturbed(o->ws) ? refine(o) : gpulet_optimal_compact(o);
}

static gpulet_status_t step_dive(gpulet_optimal_t *o)
{
    gpulet_status_t st = gpulet_optimal_dive(o, o->dives++);
    if (o->dives >= DIVES_MAX)
        o->phase = GPULET_OPTIMAL_IMPROVE;
    return st;
}

static gpulet_status_t step_improve(gpulet_optimal_t *o)
{
    double enough = isnan(o->bound) ? 0.0 : o->bound * (1.0 + 1e-12);
    gpulet_fill_improve(o->fill, &o->best, &o->scratch, WORK_IMPROVE, enough);
    if (++o->dives >= DIVES_MAX + IMPROVES_MAX)
        o->phase = GPULET_OPTIMAL_DONE;
    return GPULET_OK;
}

gpulet_status_t gpulet_optimal_step(gpulet_optimal_t *o, bool *more, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    switch (o->phase) {
    case GPULET_OPTIMAL_ROOT:
        st = step_root(o);
        break;
    case GPULET_OPTIMAL_INTEGER:
        st = gpulet_optimal_integer(o);
        if (st == GPULET_OK && !gpulet_optimal_settled(o))
            st = gpulet_optimal_dive(o, o->dives++);
        o->phase = GPULET_OPTIMAL_PROVE;
        break;
    case GPULET_OPTIMAL_PROVE:
        st = step_prove(o);
        break;
    case GPULET_OPTIMAL_DIVE:
        st = step_dive(o);
        break;
    case GPULET_OPTIMAL_IMPROVE:
        st = step_improve(o);
        break;
    case GPULET_OPTIMAL_DONE:
        break;
    }
    if (o->best.failed || o->trial.failed || o->scratch.failed)
        st = GPULET_E_NOMEM;
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "optimal: %s", gpulet_status_text(st));
    /* A step of filling takes some times longer than one of pricing. */
    o->root.work += 4 * (o->best.work + o->trial.work + o->scratch.work);
    o->best.work = 0;
    o->trial.work = 0;
    o->scratch.work = 0;
    if (gpulet_optimal_settled(o) || proved_impossible(o))
        o->phase = GPULET_OPTIMAL_DONE;
    *more = o->phase != GPULET_OPTIMAL_DONE;
    return GPULET_OK;
}

double gpulet_optimal_bound(const gpulet_optimal_t *o)
{
    return o->bound;
}

gpulet_status_t gpulet_optimal_best(gpulet_plan_t **out, gpulet_optimal_t *o, gpulet_error_t *err)
{
    gpulet_pack_copy(&o->scratch, &o->best);
    gpulet_pack_spread(&o->scratch);
    gpulet_status_t st = o->scratch.failed ? GPULET_E_NOMEM : gpulet_pack_emit(out, &o->scratch);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "%s", gpulet_status_text(st));
    (*out)->lower_bound = o->bound;
    return GPULET_OK;
}

gpulet_status_t gpulet_plan_optimal(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                    gpulet_error_t *err)
{
    gpulet_optimal_t *o = NULL;
    gpulet_status_t st = gpulet_optimal_create(&o, input, err);
    bool more = st == GPULET_OK;
    while (st == GPULET_OK && more && o->root.work < WORK_ALL)
        st = gpulet_optimal_step(o, &more, err);
    if (st == GPULET_OK)
        st = gpulet_optimal_best(out, o, err);
    gpulet_optimal_destroy(o);
    return st;
}
