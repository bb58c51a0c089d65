/* Guided self-tuning (GSLICE, SoCC'20, as the paper's baseline has it): each model's share of a
 * device follows its residuals, in percent of the SLO and of the rate, and its batch follows the
 * residual latency; models do not take turns. There the residuals are measured while serving; here
 * the profile gives them, with the saturated worst case of two executions as the latency.
 *
 * Batches that miss the SLO at a size are not on offer there, so in effect the batch is the largest
 * that keeps it. A step changes the share by ⌊max(|latency %|, |throughput %|)/100 · share⌋: it
 * grows when either residual is short and shrinks when both are over; within the band it stays. The
 * loop may swing about its aim, so the least size that kept both is remembered. A model that a
 * whole device does not satisfy is given one and tuned again for the rest.
 *
 * The min-max-fair cap of the original only says who loses when the devices do not suffice; here
 * the plan is then infeasible, and gpu-lets are placed by size, largest first, best fit. */
#include <math.h>
#include <stdlib.h>

#include "plan/elastic.h"
#include "plan/job.h"

enum { STEPS_MAX = 64 };

static const double BAND = 0.05;

/* What one model is given on one type. */
typedef struct tuned {
    uint32_t size; /* index */
    double rate_rps;
} tuned_t;

typedef struct tuner {
    const gpulet_workspace_t *ws;
    size_t model;
    size_t type;
    double rate_rps; /* to be served */
} tuner_t;

/* The smallest size of at least that many units at which the model can be served at all; false:
 * there is none. */
static bool size_for(const tuner_t *t, uint32_t units, uint32_t *size)
{
    const gpulet_device_type_t *type = t->ws->types[t->type].type;
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        if (type->sizes[s] >= units &&
            gpulet_workspace_choices(t->ws, t->model, t->type, s)->count > 0) {
            *size = s;
            return true;
        }
    }
    return false;
}

/* The largest choice of at most so many items, or the smallest there is. */
static const gpulet_choice_t *choice_for(const gpulet_choices_t *c, double items)
{
    const gpulet_choice_t *best = &c->items[0];
    for (size_t i = 1; i < c->count; i++) {
        const gpulet_choice_t *o = &c->items[i];
        if ((double)o->batch * o->instances <= items)
            best = o;
    }
    return best;
}

/* One step: the change of the share, and the batch to try next. *meets: both residuals are over. */
static double tune_step(const tuner_t *t, uint32_t size, double share, double *items, bool *meets)
{
    const gpulet_choice_t *o =
        choice_for(gpulet_workspace_choices(t->ws, t->model, t->type, size), *items);
    double slo_ms = t->ws->models[t->model].slo_ms;
    double latency = (slo_ms - 2.0 * o->latency_ms) / slo_ms;
    double rate =
        (o->load * 1000.0 / o->latency_ms - t->rate_rps * (1.0 - GPULET_WORKSPACE_SLACK)) /
        t->rate_rps;
    double now = (double)o->batch * o->instances;
    *items =
        fmax(1.0, now + (latency > 0.0 ? ceil(now * latency) : floor(now * fmax(-1.0, latency))));
    *meets = latency >= 0.0 && rate >= 0.0;
    if (*meets && latency < BAND && rate < BAND)
        return 0.0;
    double change = floor(fmax(fabs(latency), fabs(rate)) * share);
    return *meets ? -change : fmax(1.0, change);
}

/* False: the model is not served at any size of the type. */
static bool tune(const tuner_t *t, tuned_t *out)
{
    const gpulet_device_type_t *type = t->ws->types[t->type].type;
    double units = (double)type->units;
    double share = units;
    double items = (double)GPULET_PROFILE_BATCH_MAX;
    uint32_t best = type->sizes_count;
    for (int step = 0; step < STEPS_MAX; step++) {
        uint32_t size;
        bool meets = false;
        if (!size_for(t, (uint32_t)share, &size) &&
            !size_for(t, type->sizes[0], &size)) /* nothing that large: what there is */
            return false;
        double change = tune_step(t, size, share, &items, &meets);
        if (meets && size < best)
            best = size;
        share = fmin(units, fmax((double)type->sizes[0], share + change));
        if (change == 0.0)
            break;
    }
    const gpulet_choices_t *c = NULL;
    if (best == type->sizes_count) {
        for (uint32_t s = 0; s < type->sizes_count; s++) {
            const gpulet_choices_t *at = gpulet_workspace_choices(t->ws, t->model, t->type, s);
            if (at->count > 0 && (c == NULL || at->rate_rps > c->rate_rps)) {
                c = at;
                best = s;
            }
        }
    } else {
        c = gpulet_workspace_choices(t->ws, t->model, t->type, best);
    }
    *out = (tuned_t){best, c != NULL ? fmin(t->rate_rps, c->rate_rps) : 0.0};
    return c != NULL;
}

/* ---- all models ---- */

typedef struct piece {
    double share; /* of a device */
    size_t model;
    size_t type;
    tuned_t tuned;
} piece_t;

static int compare_pieces(const void *a, const void *b)
{
    const piece_t *x = a;
    const piece_t *y = b;
    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    if (x->model != y->model)
        return x->model < y->model ? -1 : 1;
    return x->tuned.rate_rps > y->tuned.rate_rps ? -1 : x->tuned.rate_rps < y->tuned.rate_rps;
}

/* The type on which a request a second costs least. */
static bool tune_model(const gpulet_workspace_t *ws, size_t model, double rate_rps, piece_t *out)
{
    double least = INFINITY;
    for (size_t type = 0; type < ws->types_count; type++) {
        tuner_t t = {ws, model, type, rate_rps};
        tuned_t tuned;
        if (!tune(&t, &tuned))
            continue;
        double share = gpulet_pack_share(ws->types[type].type, tuned.size);
        double cost = share * ws->types[type].type->cost / tuned.rate_rps;
        if (cost < least) {
            least = cost;
            *out = (piece_t){share, model, type, tuned};
        }
    }
    return isfinite(least);
}

/* What one model is given, appended; what no gpu-let can serve is missing. */
static void push_model(gpulet_job_t *job, piece_t *pieces, size_t *count, size_t model)
{
    double left = job->ws->models[model].rate_rps;
    while (left > 1e-9 * job->ws->models[model].rate_rps && *count < GPULET_PACK_GPULETS_MAX &&
           tune_model(job->ws, model, left, &pieces[*count])) {
        left -= pieces[*count].tuned.rate_rps;
        ++*count;
    }
    if (left > 1e-9 * job->ws->models[model].rate_rps)
        job->best.missing_rps[model] += left;
}

gpulet_status_t gpulet_plan_selftune(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                     gpulet_error_t *err)
{
    static const gpulet_fill_policy_t rest = {
        .size = GPULET_FILL_SIZE_REQUIRED, .order = GPULET_FILL_ORDER_PIECE, .fragment = true};
    gpulet_job_t job;
    gpulet_status_t st = gpulet_job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    size_t count = 0;
    piece_t *pieces = calloc(GPULET_PACK_GPULETS_MAX, sizeof(*pieces));
    if (pieces == NULL)
        job.best.failed = true;
    for (size_t m = 0; m < job.ws->models_count && pieces != NULL; m++)
        push_model(&job, pieces, &count, m);
    if (count > 1)
        qsort(pieces, count, sizeof(*pieces), compare_pieces);
    for (size_t i = 0; i < count; i++) {
        const piece_t *p = &pieces[i];
        double got = gpulet_fill_new(job.fill, &job.best, p->type, p->tuned.size,
                                     (uint32_t)p->model, p->tuned.rate_rps);
        gpulet_fill_place(job.fill, &job.best, &rest, (uint32_t)p->model, p->tuned.rate_rps - got);
    }
    free(pieces);
    return gpulet_job_finish(out, &job, err);
}
