#include "plan/incremental.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan_movement.h"
#include "plan/elastic.h"
#include "plan/fill.h"
#include "plan/optimal_internal.h"

static const double CRUMB = 1e-9; /* of a demand: rounding */

typedef struct job {
    const gpulet_plan_input_t *input;
    gpulet_workspace_t *ws;
    gpulet_fill_t *fill;
    gpulet_pack_t kept; /* the running plan, as far as it still stands */
    gpulet_pack_t best;
    gpulet_pack_t trial;
    double *rates;  /* by model: what is still to be placed */
    double *factor; /* by model: demand over what the running plan routes */
    gpulet_workload_index_t *index;
    size_t *model_of;    /* by demand; SIZE_MAX: nothing is asked for */
    double enough;       /* a cost that is good enough */
    gpulet_plan_t *plan; /* the best so far … */
    double weight;       /* … and its movement */
} job_t;

static void job_deinit(job_t *job)
{
    gpulet_pack_deinit(&job->kept);
    gpulet_pack_deinit(&job->best);
    gpulet_pack_deinit(&job->trial);
    gpulet_fill_destroy(job->fill);
    gpulet_workspace_destroy(job->ws);
    gpulet_plan_destroy(job->plan);
    free(job->rates);
    free(job->factor);
    gpulet_workload_index_destroy(job->index);
    free(job->model_of);
}

static gpulet_status_t index_models(job_t *job)
{
    const gpulet_workload_t *workload = job->input->workload;
    job->model_of = malloc((workload->count + 1) * sizeof(*job->model_of));
    if (job->model_of == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < workload->count; i++)
        job->model_of[i] = SIZE_MAX;
    for (size_t m = 0; m < job->ws->models_count; m++)
        job->model_of[job->ws->models[m].index] = m;
    return gpulet_workload_index_create(&job->index, workload);
}

static gpulet_status_t job_init(job_t *job, const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    *job = (job_t){.input = input};
    gpulet_status_t st = gpulet_workspace_create(&job->ws, input, err);
    if (st != GPULET_OK)
        return st;
    job->rates = calloc(job->ws->models_count + 1, sizeof(*job->rates));
    job->factor = calloc(job->ws->models_count + 1, sizeof(*job->factor));
    if (job->rates == NULL || job->factor == NULL || index_models(job) != GPULET_OK ||
        gpulet_fill_create(&job->fill, job->ws) != GPULET_OK ||
        gpulet_pack_init(&job->kept, job->ws, false) != GPULET_OK ||
        gpulet_pack_init(&job->best, job->ws, false) != GPULET_OK ||
        gpulet_pack_init(&job->trial, job->ws, false) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    double bound = gpulet_plan_bound_resource(input, NULL, NULL);
    double dearest = 0.0;
    for (size_t t = 0; t < job->ws->types_count; t++)
        dearest = fmax(dearest, job->ws->types[t].type->cost);
    job->enough =
        isnan(bound)
            ? INFINITY
            : gpulet_certifier_round(input->devices, GPULET_INCREMENTAL_FACTOR * bound + dearest);
    return GPULET_OK;
}

/* ---- the running plan as a pack ---- */

static size_t find_model(const job_t *job, const char *text)
{
    size_t demand = gpulet_workload_index_find(job->index, text);
    return demand != SIZE_MAX ? job->model_of[demand] : SIZE_MAX;
}

static void sum_routed(job_t *job)
{
    const gpulet_plan_t *from = job->input->from;
    size_t count = job->ws->models_count;
    for (size_t i = 0; i < from->devices_count; i++) {
        for (size_t k = 0; k < from->devices[i].gpulets_count; k++) {
            const gpulet_plan_gpulet_t *g = &from->devices[i].gpulets[k];
            for (size_t j = 0; j < g->shares_count; j++) {
                size_t m = find_model(job, g->shares[j].model);
                if (m != SIZE_MAX)
                    job->factor[m] += g->shares[j].rate_rps;
            }
        }
    }
    for (size_t m = 0; m < count; m++)
        job->factor[m] = job->factor[m] > 0.0 ? job->ws->models[m].rate_rps / job->factor[m] : 0.0;
}

/* The largest part of `want` that the gpu-let takes. */
static double add_most(gpulet_pack_t *pack, size_t device, size_t gpulet, uint32_t size,
                       uint32_t model, double want)
{
    if (gpulet_pack_try_add(pack, device, gpulet, size, model, want))
        return want;
    double got = 0.0;
    double step = 0.5 * want;
    for (int i = 0; i < 6; i++) {
        if (gpulet_pack_try_add(pack, device, gpulet, size, model, step))
            got += step;
        step *= 0.5;
    }
    return got;
}

/* One gpu-let of the running plan, for the rates that are asked for now. Rates that have risen are
 * first kept as they were: what is more comes later, so that nothing is pushed out. */
static void keep_gpulet(job_t *job, size_t device, const gpulet_plan_gpulet_t *g)
{
    gpulet_pack_t *pack = &job->kept;
    const gpulet_device_type_t *type = job->ws->types[pack->devices[device].type].type;
    int size = gpulet_device_type_size_index(type, g->units);
    bool first = true;
    for (size_t j = 0; size >= 0 && j < g->shares_count; j++) {
        size_t m = find_model(job, g->shares[j].model);
        double rate = m != SIZE_MAX ? g->shares[j].rate_rps * fmin(1.0, job->factor[m]) : 0.0;
        rate = m != SIZE_MAX ? fmin(rate, job->rates[m]) : 0.0;
        if (!(rate > 0.0))
            continue;
        double got = 0.0;
        if (!first)
            got = add_most(pack, device, pack->devices[device].count - 1, (uint32_t)size,
                           (uint32_t)m, rate);
        else if (gpulet_pack_try_new(pack, device, (uint32_t)size, (uint32_t)m, rate))
            got = rate;
        else if (gpulet_pack_try_new(pack, device, (uint32_t)size, (uint32_t)m, 0.5 * rate))
            got = 0.5 * rate;
        job->rates[m] -= got;
        first = first && got <= 0.0;
    }
}

static gpulet_status_t keep_plan(job_t *job)
{
    const gpulet_plan_t *from = job->input->from;
    for (size_t m = 0; m < job->ws->models_count; m++)
        job->rates[m] = job->ws->models[m].rate_rps;
    sum_routed(job);
    for (size_t i = 0; i < from->devices_count; i++) {
        int type = gpulet_device_set_find(job->input->devices, from->devices[i].type);
        size_t device = type >= 0 ? gpulet_pack_open(&job->kept, (size_t)type) : SIZE_MAX;
        for (size_t k = 0; device != SIZE_MAX && k < from->devices[i].gpulets_count; k++)
            keep_gpulet(job, device, &from->devices[i].gpulets[k]);
        if (device != SIZE_MAX && job->kept.devices[device].count == 0)
            gpulet_pack_close(&job->kept, device);
    }
    return job->kept.failed ? GPULET_E_NOMEM : GPULET_OK;
}

/* More of a model where it runs already: larger batches, no movement. */
static void grow(job_t *job)
{
    gpulet_pack_t *pack = &job->kept;
    for (size_t d = 0; d < pack->count; d++) {
        for (uint32_t g = 0; g < pack->devices[d].count; g++) {
            for (uint32_t j = 0; j < pack->devices[d].gpulets[g].count; j++) {
                uint32_t m = pack->devices[d].gpulets[g].members[j].model;
                if (job->rates[m] > CRUMB * job->ws->models[m].rate_rps)
                    job->rates[m] -=
                        add_most(pack, d, g, pack->devices[d].gpulets[g].size, m, job->rates[m]);
            }
        }
    }
}

/* ---- candidates ---- */

/* Makes the plan of a pack and keeps it when it is better: less missing, then a cost that is good
 * enough or lower, then less movement. */
static gpulet_status_t offer(job_t *job, const gpulet_pack_t *pack)
{
    double cost = gpulet_pack_cost(pack);
    gpulet_pack_t *spread = &job->trial;
    gpulet_plan_t *plan = NULL;
    if (pack != spread)
        gpulet_pack_copy(spread, pack);
    gpulet_pack_spread(spread);
    gpulet_status_t st = spread->failed ? GPULET_E_NOMEM : gpulet_pack_emit(&plan, spread);
    if (st == GPULET_OK)
        st = gpulet_plan_align(plan, job->input->from, job->input);
    if (st != GPULET_OK) {
        gpulet_plan_destroy(plan);
        return st;
    }
    gpulet_plan_movement_t movement = gpulet_plan_movement(job->input->from, plan);
    double weight = gpulet_plan_movement_weight(&movement);
    double now = fmax(cost, job->enough);
    double before = job->plan != NULL ? fmax(gpulet_pack_cost(&job->best), job->enough) : INFINITY;
    double missing = gpulet_pack_missing(pack);
    double missed = job->plan != NULL ? gpulet_pack_missing(&job->best) : INFINITY;
    bool better = missing < missed * (1.0 - 1e-9);
    bool equal = !better && missing <= missed * (1.0 + 1e-9);
    if (equal && (now < before * (1.0 - 1e-9) || (now <= before && weight < job->weight)))
        better = true;
    if (!better) {
        gpulet_plan_destroy(plan);
        return GPULET_OK;
    }
    gpulet_plan_destroy(job->plan);
    job->plan = plan;
    job->weight = weight;
    gpulet_pack_copy(&job->best, pack);
    return GPULET_OK;
}

static bool good(const job_t *job)
{
    return job->plan != NULL && gpulet_pack_missing(&job->best) <= 0.0 &&
           gpulet_pack_cost(&job->best) <= job->enough * (1.0 + 1e-9);
}

static bool same_gpulets(const gpulet_pack_gpulet_t *a, const gpulet_pack_gpulet_t *b)
{
    bool same = a->size == b->size && a->count == b->count && a->duty_ms == b->duty_ms;
    for (uint32_t i = 0; same && i < a->count; i++)
        same = a->members[i].model == b->members[i].model &&
               a->members[i].choice == b->members[i].choice &&
               a->members[i].rate_rps == b->members[i].rate_rps;
    return same;
}

/* Whether two packs become the same plan. */
static bool same_packs(const gpulet_pack_t *a, const gpulet_pack_t *b)
{
    bool same = a->count == b->count && gpulet_pack_missing(a) == gpulet_pack_missing(b);
    for (size_t i = 0; same && i < a->count; i++) {
        const gpulet_pack_device_t *x = &a->devices[i];
        const gpulet_pack_device_t *y = &b->devices[i];
        same = x->type == y->type && x->count == y->count;
        for (uint32_t k = 0; same && k < x->count; k++)
            same = same_gpulets(&x->gpulets[k], &y->gpulets[k]);
    }
    return same;
}

/* What is left goes where it moves least: into gpu-lets that run, into free units, onto new
 * devices. */
static gpulet_status_t place_rest(job_t *job)
{
    static const gpulet_fill_policy_t policies[] = {
        {.size = GPULET_FILL_SIZE_COVER,
         .order = GPULET_FILL_ORDER_PIECE,
         .merge = true,
         .merge_first = true,
         .fragment = true},
        {.size = GPULET_FILL_SIZE_EFFICIENT,
         .order = GPULET_FILL_ORDER_PIECE,
         .merge = true,
         .fragment = true},
    };
    gpulet_pack_t pack;
    gpulet_status_t st = gpulet_pack_init(&pack, job->ws, false);
    if (st != GPULET_OK)
        return st;
    for (size_t i = 0; st == GPULET_OK && i < sizeof(policies) / sizeof(policies[0]); i++) {
        if (good(job) && job->weight <= 0.0)
            break;
        gpulet_pack_copy(&pack, &job->kept);
        gpulet_fill_rest(job->fill, &pack, &policies[i], job->rates);
        if (job->plan == NULL || pack.failed || !same_packs(&pack, &job->best))
            st = offer(job, &pack);
    }
    gpulet_pack_deinit(&pack);
    return st;
}

static double device_use(const gpulet_pack_t *pack, size_t device)
{
    double use = 0.0;
    const gpulet_device_type_t *type = pack->ws->types[pack->devices[device].type].type;
    for (uint32_t g = 0; g < pack->devices[device].count; g++)
        use += gpulet_pack_share(type, pack->devices[device].gpulets[g].size) *
               pack->devices[device].gpulets[g].used;
    return use;
}

/* Empties the least used device into the others while that makes the plan cheaper. */
static gpulet_status_t shrink(job_t *job)
{
    static const gpulet_fill_policy_t policy = {.size = GPULET_FILL_SIZE_COVER,
                                                .order = GPULET_FILL_ORDER_PIECE,
                                                .merge = true,
                                                .merge_first = true,
                                                .fragment = true};
    gpulet_pack_t pack;
    gpulet_status_t st = gpulet_pack_init(&pack, job->ws, false);
    bool going = st == GPULET_OK;
    while (going && st == GPULET_OK && !good(job) && job->best.count > 1) {
        gpulet_pack_copy(&pack, &job->best);
        memset(job->rates, 0, job->ws->models_count * sizeof(*job->rates));
        for (size_t n = 1 + pack.count / 16; n > 0 && pack.count > 1; n--) {
            size_t least = 0;
            for (size_t d = 1; d < pack.count; d++)
                least = device_use(&pack, d) < device_use(&pack, least) ? d : least;
            for (uint32_t g = 0; g < pack.devices[least].count; g++) {
                const gpulet_pack_gpulet_t *let = &pack.devices[least].gpulets[g];
                for (uint32_t j = 0; j < let->count; j++)
                    job->rates[let->members[j].model] += let->members[j].rate_rps;
            }
            gpulet_pack_close(&pack, least);
        }
        gpulet_fill_rest(job->fill, &pack, &policy, job->rates);
        going = gpulet_fill_compare(&pack, &job->best) < 0 &&
                gpulet_pack_cost(&pack) < gpulet_pack_cost(&job->best);
        if (going)
            st = offer(job, &pack);
    }
    gpulet_pack_deinit(&pack);
    return st;
}

/* The whole plan anew, where little movement would cost too much. */
static gpulet_status_t plan_anew(job_t *job)
{
    gpulet_pack_t pack;
    gpulet_status_t st = gpulet_pack_init(&pack, job->ws, false);
    if (st != GPULET_OK)
        return st;
    gpulet_elastic_fill(job->fill, &pack, &job->trial,
                        gpulet_plan_bound_resource(job->input, NULL, NULL));
    st = offer(job, &pack);
    gpulet_pack_deinit(&pack);
    return st;
}

gpulet_status_t gpulet_plan_incremental(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                        gpulet_error_t *err)
{
    if (input->from == NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "incremental: expected the plan that runs now (--from)");
    job_t job;
    gpulet_status_t st = job_init(&job, input, err);
    if (st == GPULET_OK)
        st = keep_plan(&job);
    if (st == GPULET_OK) {
        grow(&job);
        st = place_rest(&job);
    }
    if (st == GPULET_OK && !good(&job) && gpulet_pack_missing(&job.best) <= 0.0)
        st = shrink(&job);
    if (st == GPULET_OK && !good(&job))
        st = plan_anew(&job);
    if (st == GPULET_OK) {
        *out = job.plan;
        job.plan = NULL;
    } else if (err != NULL && err->text[0] == '\0') {
        (void)gpulet_fail(err, st, "%s", gpulet_status_text(st));
    }
    job_deinit(&job);
    return st;
}
