/* Elastic partitioning in one pass, for comparison with what was published.
 *
 * The paper's form is its algorithm 1 (arXiv 2109.01611): models by rate, descending; gpu-lets of
 * min(p_eff, p_req) with p_eff the knee of the rate curve by curvature; where a model fits into a
 * gpu-let that is there it takes turns in it (merge), else the smallest free room that holds the
 * size is cut (best fit, split); what breaks an SLO is undone (revert). A device's second gpu-let
 * takes all that the first left.
 *
 * The prototype's form is what its scheduler does beyond that: models by rate·SLO, ascending; the
 * knee by marginal gain; free whole devices before cut ones; what does not fit is cut smaller
 * (readjust); turns come last; 1, 2, … devices are tried until all is served. Its tolerances are
 * options (planner.h). Its flaws are not rebuilt: a model that joins a gpu-let never takes capacity
 * from those in it, all batch sizes are tried, and interference is checked both ways. */
#include <math.h>

#include "plan/elastic.h"
#include "plan/job.h"

static const double RATE_ENOUGH_MAX = 1.0;

bool gpulet_elastic_lenient(const gpulet_elastic_options_t *o)
{
    return o->rate_slack_rps > 0.0 || (o->rate_enough > 0.0 && o->rate_enough < RATE_ENOUGH_MAX) ||
           o->residual_slack > 1.0;
}

static gpulet_fill_policy_t policy_of(const gpulet_elastic_options_t *o)
{
    static const gpulet_fill_order_t orders[] = {
        [GPULET_ELASTIC_ORDER_RATE] = GPULET_FILL_ORDER_RATE,
        [GPULET_ELASTIC_ORDER_RATE_SLO] = GPULET_FILL_ORDER_RATE_SLO,
        [GPULET_ELASTIC_ORDER_LOAD] = GPULET_FILL_ORDER_LOAD,
        [GPULET_ELASTIC_ORDER_SLO] = GPULET_FILL_ORDER_SLO,
        [GPULET_ELASTIC_ORDER_PIECE] = GPULET_FILL_ORDER_PIECE,
    };
    bool prototype = o->form == GPULET_ELASTIC_FORM_PROTOTYPE;
    gpulet_fill_policy_t policy = {.merge = true, .grow_last = true};
    policy.order = prototype ? GPULET_FILL_ORDER_RATE_SLO : GPULET_FILL_ORDER_RATE;
    policy.size = prototype ? GPULET_FILL_SIZE_GAIN : GPULET_FILL_SIZE_KNEE;
    policy.merge_first = !prototype;
    policy.strict = !prototype;
    policy.spread = prototype;
    policy.fragment = prototype;
    if (o->order != GPULET_ELASTIC_ORDER_DEFAULT)
        policy.order = orders[o->order];
    if (o->knee != GPULET_ELASTIC_KNEE_DEFAULT)
        policy.size =
            o->knee == GPULET_ELASTIC_KNEE_GAIN ? GPULET_FILL_SIZE_GAIN : GPULET_FILL_SIZE_KNEE;
    return policy;
}

/* The model that misses most of its rate beyond what is tolerated; SIZE_MAX: all are served. */
static size_t worst_missing(const gpulet_job_t *job, const gpulet_elastic_options_t *o)
{
    double enough = o->rate_enough > 0.0 ? fmin(o->rate_enough, RATE_ENOUGH_MAX) : RATE_ENOUGH_MAX;
    size_t worst = SIZE_MAX;
    double most = 0.0;
    for (size_t m = 0; m < job->ws->models_count; m++) {
        double part = job->best.missing_rps[m] / job->ws->models[m].rate_rps;
        if (part > 1.0 - enough && part > most) {
            most = part;
            worst = m;
        }
    }
    return worst;
}

/* A pass, and once more when a model was not served enough. */
static bool try_once(gpulet_job_t *job, const gpulet_elastic_options_t *o)
{
    gpulet_fill_policy_t policy = policy_of(o);
    gpulet_fill_set_first(job->fill, SIZE_MAX);
    gpulet_fill_all(job->fill, &job->best, &policy);
    size_t worst = worst_missing(job, o);
    if (worst == SIZE_MAX || o->rate_enough <= 0.0)
        return worst == SIZE_MAX;
    gpulet_fill_set_first(job->fill, worst);
    gpulet_fill_all(job->fill, &job->scratch, &policy);
    if (gpulet_fill_compare(&job->scratch, &job->best) < 0) {
        gpulet_pack_t swap = job->best;
        job->best = job->scratch;
        job->scratch = swap;
    }
    return worst_missing(job, o) == SIZE_MAX;
}

/* Lets each type have at most so many devices; false when no type may have more than it has. */
static bool allow(gpulet_job_t *job, int32_t devices)
{
    bool more = false;
    for (size_t t = 0; t < job->ws->types_count; t++) {
        int32_t most = job->ws->types[t].devices_max;
        more = more || most < 0 || most > devices;
        int32_t now = most < 0 || most > devices ? devices : most;
        job->best.devices_max[t] = now;
        job->scratch.devices_max[t] = now;
    }
    return more;
}

gpulet_status_t gpulet_plan_elastic_once(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                         gpulet_error_t *err)
{
    const gpulet_elastic_options_t *o = &input->elastic;
    gpulet_job_t job;
    gpulet_status_t st = gpulet_job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    job.as_placed = gpulet_elastic_lenient(o);
    job.ws->slo_beside = o->residual_slack > 1.0 ? o->residual_slack : 1.0;
    gpulet_fill_set_slack(job.fill, o->rate_slack_rps);
    bool served = false;
    if (o->form == GPULET_ELASTIC_FORM_PROTOTYPE) {
        double least = 1.0;
        (void)gpulet_plan_bound_resource(input, &least, NULL);
        /* Tolerances can do with less than the bound; a slack is small beside it. */
        int32_t devices = least >= 1.0 && least < GPULET_PACK_GPULETS_MAX ? (int32_t)least : 1;
        devices = gpulet_elastic_lenient(o) ? 1 : devices;
        bool more = true;
        for (; !served && more && devices < GPULET_PACK_GPULETS_MAX && !job.best.failed;
             devices++) {
            more = allow(&job, devices);
            served = try_once(&job, o);
            more = more && !isnan(least);
        }
    } else {
        served = try_once(&job, o);
    }
    st = gpulet_job_finish(out, &job, err);
    if (st == GPULET_OK && gpulet_elastic_lenient(o)) {
        (*out)->by_prototype_rule = true;
        (*out)->feasible = (*out)->feasible || served;
    }
    return st;
}
