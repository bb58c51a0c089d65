/* From options to a run, and its end. */
#include <stdio.h>
#include <stdlib.h>

#include "base/duration.h"
#include "sim/internal.h"

static gpulet_status_t make_pools(sim_t *sim)
{
    /* Stages that begin together are all there before the brain refuses any. */
    sim->requests_count =
        sim->o->requests_max + (sim->o->apps != NULL ? GPULET_SCHED_GROUP_MAX : 1U);
    sim->requests = calloc(sim->requests_count, sizeof(*sim->requests));
    sim->lanes = calloc(SIM_LANES_MAX, sizeof(*sim->lanes));
    sim->lanes_free = calloc(SIM_LANES_MAX, sizeof(*sim->lanes_free));
    sim->models = calloc(sim->models_count + 1, sizeof(*sim->models));
    sim->result->models = calloc(sim->models_count + 1, sizeof(*sim->result->models));
    sim->result->models_count = sim->models_count;
    if (sim->requests == NULL || sim->lanes == NULL || sim->lanes_free == NULL ||
        sim->models == NULL || sim->result->models == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t i = 0; i < sim->requests_count; i++)
        sim->requests[i].next = i + 1 < sim->requests_count ? i + 1 : SIM_NONE;
    for (uint32_t i = 0; i < SIM_LANES_MAX; i++) {
        sim->lanes_free[i] = SIM_LANES_MAX - 1 - i;
        sim->lanes[i].gpulet = SIM_NONE;
    }
    sim->lanes_free_count = SIM_LANES_MAX;
    return GPULET_OK;
}

static gpulet_status_t make_model(sim_t *sim, uint32_t index)
{
    const gpulet_sim_options_t *o = sim->o;
    const gpulet_demand_t *demand = &o->planning.workload->demands[index];
    gpulet_sim_model_t *counted = &sim->result->models[index];
    sim_model_t *m = &sim->models[index];
    m->value = (gpulet_sched_model_t){.slo_ns = gpulet_duration_ns(demand->slo_ms),
                                      .priority = demand->priority < GPULET_SCHED_PRIORITIES
                                                      ? demand->priority
                                                      : GPULET_SCHED_PRIORITIES - 1,
                                      .batch_max = sim_curves_batch_max(&sim->curves, index),
                                      .late_serve = o->late_serve,
                                      .weight = demand->weight};
    m->slo_ms = demand->slo_ms;
    (void)snprintf(counted->name, sizeof(counted->name), "%s", demand->model);
    counted->slo_ms = demand->slo_ms;
    m->stream.uniform = o->uniform;
    m->stream.multiple = o->multiple;
    m->stream.rate_rps = demand->rate_rps;
    if (o->rates != NULL && o->rates->models[index].count > 0) {
        m->stream.steps = o->rates->models[index].steps;
        m->stream.steps_count = o->rates->models[index].count;
    }
    gpulet_rng_init(&m->service, gpulet_rng_seed(o->seed, "service", demand->model));
    gpulet_arrivals_init(&m->stream, o->seed, demand->model, -o->warmup_s);
    return gpulet_sched_model_set(sim->sched, index, &m->value);
}

/* 0 is what was asked for here, and the default to the brain. */
static uint64_t brain_ns(uint64_t ns)
{
    return ns > 0 ? ns : 1;
}

static gpulet_status_t set_up(sim_t *sim)
{
    const gpulet_sim_options_t *o = sim->o;
    gpulet_sched_options_t sched = {.models_max = (uint32_t)sim->models_count,
                                    .lanes_max = SIM_LANES_MAX,
                                    .requests_max = o->requests_max,
                                    .commit_ahead_ns = brain_ns(o->commit_ahead_ns),
                                    .overhead_ns = brain_ns(o->overhead_ns)};
    sim->now_ns = SIM_BEGIN_NS;
    sim->timer_ns = SIM_NEVER;
    sim->count_from_ns = sim_after_s(sim, o->warmup_s);
    sim->count_until_ns = sim_after_s(sim, o->warmup_s + o->duration_s);
    sim->arrivals_until_ns = sim_after_s(sim, o->warmup_s + o->duration_s * (o->phases ? 1.25 : 1));
    sim->devices_since_ns = sim->now_ns;
    sim->curves = (sim_curves_t){.profile = o->planning.profile,
                                 .devices = o->planning.devices,
                                 .workload = o->planning.workload,
                                 .spread = o->spread};
    gpulet_rng_init(&sim->start_rng, gpulet_rng_seed(o->seed, "start", ""));
    gpulet_status_t st = make_pools(sim);
    if (st == GPULET_OK)
        st = gpulet_sched_create(&sim->sched, &sched);
    if (st == GPULET_OK && (o->truth_pairs != NULL || o->truth_interference != NULL))
        st = sim_truth_create(&sim->truth, o->truth_pairs, o->truth_interference, &sim->curves);
    for (uint32_t i = 0; i < sim->models_count && st == GPULET_OK; i++)
        st = make_model(sim, i);
    if (st == GPULET_OK)
        st = sim_apps_init(sim);
    if (st != GPULET_OK && sim->err->text[0] == '\0')
        (void)gpulet_fail(sim->err, st, "%s", gpulet_status_text(st));
    return st;
}

/* The plan given, or one for the workload. */
static gpulet_plan_t *first_plan(sim_t *sim)
{
    if (sim->o->plan != NULL)
        return sim_planning_given(sim);
    double *rates = sim_planning_rates(sim);
    gpulet_plan_t *plan = rates != NULL ? sim_planning_make(sim, rates, false) : NULL;
    free(rates);
    return plan;
}

static void begin(sim_t *sim)
{
    gpulet_plan_t *plan = first_plan(sim);
    if (plan == NULL) {
        if (sim->status == GPULET_OK)
            sim_fail(sim, gpulet_fail(sim->err, GPULET_E_INVALID, "there is no device"));
        return;
    }
    sim->result->feasible = plan->feasible;
    sim_transition_first(sim, plan);
    for (uint32_t i = 0; i < sim_subjects_count(sim) && sim->o->trace == NULL; i++)
        sim_schedule_arrival(sim, i);
    if (sim->o->trace != NULL)
        sim_schedule_trace(sim);
    if (sim->o->series_s > 0)
        sim_stats_schedule_window(sim, sim->count_from_ns);
    if (sim->o->follow && sim->status == GPULET_OK)
        sim_follow_begin(sim);
    sim_faults_begin(sim);
    sim_add_event(sim, SIM_EVENT_CALM, sim->count_until_ns, 0, 0);
}

static void tear_down(sim_t *sim)
{
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        if (sim->gpulets[i] == NULL)
            continue;
        sim->gpulets[i]->lanes_count = 0;
        sim_gpulet_destroy(sim, sim->gpulets[i]);
    }
    for (size_t i = 0; i < sim->devices_count; i++)
        free(sim->devices[i].gpulets);
    for (uint32_t i = 0; i < SIM_LANES_MAX && sim->lanes != NULL; i++) {
        free(sim->lanes[i].served);
        free(sim->lanes[i].running.requests);
        free(sim->lanes[i].waiting.requests);
    }
    gpulet_plan_destroy(sim->plan);
    gpulet_plan_destroy(sim->plan_next);
    gpulet_plan_destroy(sim->transition.plan);
    gpulet_follow_destroy(sim->follow);
    free(sim->covers);
    sim_apps_deinit(&sim->apps);
    sim_events_deinit(&sim->events);
    gpulet_sched_destroy(sim->sched);
    sim_truth_destroy(sim->truth);
    sim_curves_deinit(&sim->curves);
    free(sim->models);
    free(sim->requests);
    free(sim->lanes);
    free(sim->lanes_free);
    free(sim->devices);
    free(sim->gpulets);
    free(sim);
}

gpulet_status_t gpulet_sim_run(gpulet_sim_result_t *out, const gpulet_sim_options_t *options,
                               gpulet_error_t *err)
{
    gpulet_error_t unheard = {""};
    sim_t *sim = calloc(1, sizeof(*sim));
    if (sim == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    sim->o = options;
    sim->result = out;
    sim->err = err != NULL ? err : &unheard;
    sim->err->text[0] = '\0';
    sim->models_count = options->planning.workload->count;
    if (sim->models_count == 0)
        sim->status = gpulet_fail(sim->err, GPULET_E_INVALID, "the workload has no models");
    if (sim->status == GPULET_OK)
        sim->status = set_up(sim);
    if (sim->status == GPULET_OK)
        begin(sim);
    if (sim->status == GPULET_OK)
        sim_run_all(sim);
    if (sim->status == GPULET_OK)
        sim_stats_finish(sim);
    gpulet_status_t st = sim->status;
    tear_down(sim);
    return st;
}
