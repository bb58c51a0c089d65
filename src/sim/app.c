/* Requests of applications. Which stage is next and how a request ends is decided by sched/app.h,
 * as in the server; a stage is a request of its model. What follows from a stage that has ended is
 * done when the event is handled, since the brain's answer to that is carried out first. */
#include <stdio.h>
#include <stdlib.h>

#include "base/duration.h"
#include "sim/internal.h"

/* ---- setting up ---- */

static uint32_t model_of(const sim_t *sim, const char *name)
{
    const gpulet_workload_t *workload = sim->o->planning.workload;
    const gpulet_demand_t *demand = gpulet_workload_find(workload, name);
    return demand != NULL ? (uint32_t)(demand - workload->demands) : SIM_NONE;
}

/* Steps of the rates' file; none where it does not name the subject. */
static const gpulet_sim_model_rates_t *steps_of(const sim_t *sim, uint32_t subject)
{
    const gpulet_sim_rates_t *rates = sim->o->rates;
    return rates != NULL && subject < rates->models_count && rates->models[subject].count > 0
               ? &rates->models[subject]
               : NULL;
}

static gpulet_status_t find_models(sim_t *sim, sim_app_t *a)
{
    const gpulet_app_t *app = a->app;
    a->models = calloc(app->stages_count, sizeof(*a->models));
    if (a->models == NULL)
        return gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory");
    for (size_t s = 0; s < app->stages_count; s++) {
        a->models[s] = model_of(sim, app->stages[s].model);
        if (a->models[s] == SIM_NONE)
            return gpulet_fail(sim->err, GPULET_E_NOT_FOUND,
                               "application %s, stage %s: model %s is not in the workload",
                               app->name, app->stages[s].name, app->stages[s].model);
        uint32_t batch_max = sim->models[a->models[s]].value.batch_max;
        if (app->stages[s].requests > batch_max)
            return gpulet_fail(sim->err, GPULET_E_INVALID,
                               "application %s, stage %s: requests: expected at most %u, the "
                               "largest batch of model %s, found %u",
                               app->name, app->stages[s].name, batch_max, app->stages[s].model,
                               app->stages[s].requests);
        sim->models[a->models[s]].staged = true;
    }
    return GPULET_OK;
}

static gpulet_status_t make_app(sim_t *sim, uint32_t index)
{
    const gpulet_sim_options_t *o = sim->o;
    const gpulet_app_t *app = o->apps->items[index];
    const gpulet_sim_model_rates_t *rates = steps_of(sim, (uint32_t)sim->models_count + index);
    gpulet_sim_model_t *counted = &sim->result->apps[index];
    sim_app_t *a = &sim->apps.items[index];
    a->app = app;
    if (app->slo_ms <= 0 || (app->rate_rps <= 0 && rates == NULL))
        return gpulet_fail(sim->err, GPULET_E_INVALID, "application %s: %s: expected one",
                           app->name, app->slo_ms <= 0 ? "slo_ms" : "rate_rps");
    (void)snprintf(counted->name, sizeof(counted->name), "%s", app->name);
    counted->slo_ms = app->slo_ms;
    a->stream.uniform = o->uniform;
    a->stream.multiple = o->multiple;
    a->stream.rate_rps = app->rate_rps;
    if (rates != NULL) {
        a->stream.steps = rates->steps;
        a->stream.steps_count = rates->count;
    }
    gpulet_arrivals_init(&a->stream, o->seed, app->name, -o->warmup_s);
    if (app->stages_count > sim->apps.stages_most)
        sim->apps.stages_most = (uint32_t)app->stages_count;
    return find_models(sim, a);
}

/* Runs whose stages are still under way take their places yet, so there are more than may run. */
static gpulet_status_t make_runs(sim_t *sim)
{
    sim_apps_t *apps = &sim->apps;
    apps->runs_count = 2 * sim->o->requests_max;
    apps->runs = calloc(apps->runs_count, sizeof(*apps->runs));
    apps->places = calloc((size_t)apps->runs_count * apps->stages_most, sizeof(*apps->places));
    gpulet_status_t st = apps->runs != NULL && apps->places != NULL
                             ? gpulet_app_runs_create(&apps->running, sim->o->requests_max)
                             : GPULET_E_NOMEM;
    if (st != GPULET_OK)
        return gpulet_fail(sim->err, st, "%s", gpulet_status_text(st));
    for (uint32_t i = 0; i < apps->runs_count; i++)
        apps->runs[i].next = i + 1 < apps->runs_count ? i + 1 : SIM_NONE;
    return GPULET_OK;
}

/* Whether somebody asks for the model itself. */
static bool is_asked_directly(const sim_t *sim, uint32_t model)
{
    const gpulet_sim_trace_t *trace = sim->o->trace;
    bool asked =
        sim->o->planning.workload->demands[model].rate_rps > 0 || steps_of(sim, model) != NULL;
    for (size_t i = 0; trace != NULL && i < trace->count && !asked; i++)
        asked = trace->arrivals[i].model == model;
    return asked;
}

gpulet_status_t sim_apps_init(sim_t *sim)
{
    sim_apps_t *apps = &sim->apps;
    double latest_ms = 0;
    if (sim->o->apps == NULL || sim->o->apps->count == 0)
        return GPULET_OK;
    apps->items = calloc(sim->o->apps->count, sizeof(*apps->items));
    sim->result->apps = calloc(sim->o->apps->count, sizeof(*sim->result->apps));
    if (apps->items == NULL || sim->result->apps == NULL)
        return gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory");
    apps->count = (uint32_t)sim->o->apps->count;
    sim->result->apps_count = apps->count;
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < apps->count && st == GPULET_OK; i++) {
        st = make_app(sim, i);
        if (sim->o->apps->items[i]->slo_ms > latest_ms)
            latest_ms = sim->o->apps->items[i]->slo_ms;
    }
    for (uint32_t i = 0; i < sim->models_count && st == GPULET_OK; i++) {
        sim_model_t *m = &sim->models[i];
        if (!m->staged || is_asked_directly(sim, i))
            continue;
        m->slo_ms = latest_ms;
        sim->result->models[i].slo_ms = 0;
    }
    return st == GPULET_OK ? make_runs(sim) : st;
}

void sim_apps_deinit(sim_apps_t *apps)
{
    for (uint32_t i = 0; i < apps->count; i++)
        free(apps->items[i].models);
    gpulet_app_runs_destroy(apps->running);
    free(apps->items);
    free(apps->runs);
    free(apps->places);
    free(apps->ends);
}

/* ---- in planning ---- */

/* Before anything is seen: as its file says, or as it begins. */
static double expected_rps(const sim_t *sim, uint32_t app)
{
    const gpulet_sim_model_rates_t *rates = steps_of(sim, (uint32_t)sim->models_count + app);
    double rate_rps = sim->apps.items[app].app->rate_rps;
    return rate_rps > 0 || rates == NULL ? rate_rps : rates->steps[0].rate_rps;
}

double sim_apps_rate_rps(const sim_t *sim, uint32_t model)
{
    double rate_rps = 0;
    for (uint32_t i = 0; i < sim->apps.count; i++) {
        const sim_app_t *a = &sim->apps.items[i];
        for (size_t s = 0; s < a->app->stages_count; s++) {
            if (a->models[s] == model)
                rate_rps += expected_rps(sim, i) * a->app->stages[s].requests;
        }
    }
    return rate_rps;
}

void sim_apps_share(sim_t *sim, const gpulet_plan_t *plan)
{
    for (size_t i = 0; i < plan->models_count && sim->apps.count > 0; i++) {
        uint32_t index = model_of(sim, plan->models[i].model);
        if (index == SIM_NONE || !sim->models[index].staged)
            continue;
        sim_model_t *m = &sim->models[index];
        m->value.slo_ns = gpulet_duration_ns(plan->models[i].slo_ms);
        /* The brain knows the model already, so this takes no memory. */
        gpulet_status_t st = gpulet_sched_model_set(sim->sched, index, &m->value);
        if (st != GPULET_OK)
            sim_fail(sim, st);
    }
}

/* ---- runs ---- */

static uint32_t place_of(const sim_t *sim, const sim_run_t *run)
{
    return (uint32_t)(run - sim->apps.runs);
}

static uint32_t *stage_places(const sim_t *sim, const sim_run_t *run)
{
    return &sim->apps.places[(size_t)place_of(sim, run) * sim->apps.stages_most];
}

static void release(sim_t *sim, sim_run_t *run)
{
    if (!run->over || run->under_way > 0)
        return;
    run->taken = false;
    run->next = sim->apps.run_free;
    sim->apps.run_free = place_of(sim, run);
}

/* The client has its answer, or waits for none any more; stages that are under way are called
 * off. */
static void end_run(sim_t *sim, sim_run_t *run, sim_stage_how_t how, gpulet_app_set_t cancel)
{
    sim_app_t *a = &sim->apps.items[run->app];
    const uint32_t *places = stage_places(sim, run);
    run->over = true;
    a->ended++;
    a->running--;
    sim_mix(sim, run->id ^ (uint64_t)how << 60);
    if (how == SIM_STAGE_CANCELLED)
        sim_stats_cancelled(sim, &run->asked);
    else if (how == SIM_STAGE_REJECTED)
        sim_stats_rejected(sim, &run->asked);
    else
        sim_stats_replied(sim, &run->asked, sim->now_ns <= run->deadline_ns,
                          how == SIM_STAGE_ANSWERED ? GPULET_OK : GPULET_E_INTERNAL);
    for (gpulet_app_set_t left = cancel; left != 0; left &= left - 1) {
        uint32_t place = places[__builtin_ctzll(left)];
        if (place != SIM_NONE && sim->requests[place].ticket != 0)
            sim_request_cancel(sim, place, sim->requests[place].ticket);
    }
    release(sim, run);
}

/* A stage's deadline leaves those behind it the time that they take at least, in batches as
 * planned. */
static void find_deadlines(uint64_t *deadline_ns, const sim_t *sim, const sim_run_t *run)
{
    const sim_app_t *a = &sim->apps.items[run->app];
    uint64_t least_ns[GPULET_APP_STAGES_MAX];
    for (size_t s = 0; s < a->app->stages_count; s++)
        least_ns[s] = run->probe
                          ? 0
                          : gpulet_sched_least_ns(sim->sched, a->models[s],
                                                  run->asked.items * a->app->stages[s].requests);
    gpulet_app_deadlines(deadline_ns, a->app, run->deadline_ns, least_ns);
    for (size_t s = 0; s < a->app->stages_count; s++)
        deadline_ns[s] += deadline_ns[s] == 0; /* to the brain 0 is none */
}

static void make_stage(sim_t *sim, sim_run_t *run, gpulet_sched_request_t *out, uint32_t stage,
                       uint64_t deadline_ns)
{
    const sim_app_t *a = &sim->apps.items[run->app];
    const sim_request_t value = {
        .asked = {.arrival_ns = sim->now_ns,
                  .subject = a->models[stage],
                  .items = run->asked.items * a->app->stages[stage].requests,
                  .staged = true},
        .deadline_ns = deadline_ns,
        .run = place_of(sim, run),
        .stage = stage};
    if (sim->o->check)
        sim_check_stage(sim, run, stage, deadline_ns);
    stage_places(sim, run)[stage] = sim_request_make(sim, out, &value);
    out->deadline_ns = deadline_ns;
    run->submitted |= UINT64_C(1) << stage;
    run->under_way++;
}

static void submit(sim_t *sim, sim_run_t *run, gpulet_app_set_t stages)
{
    uint64_t deadline_ns[GPULET_APP_STAGES_MAX];
    gpulet_sched_request_t requests[GPULET_SCHED_GROUP_MAX];
    gpulet_ticket_t tickets[GPULET_SCHED_GROUP_MAX] = {0};
    uint32_t count = 0;
    if (stages == 0)
        return;
    find_deadlines(deadline_ns, sim, run);
    for (gpulet_app_set_t left = stages; left != 0; left &= left - 1) {
        uint32_t stage = (uint32_t)__builtin_ctzll(left);
        make_stage(sim, run, &requests[count++], stage, deadline_ns[stage]);
    }
    gpulet_actions_t actions =
        gpulet_sched_on_requests(sim->sched, sim->now_ns, requests, count, tickets);
    for (uint32_t i = 0; i < count; i++)
        sim->requests[(uint32_t)requests[i].id].ticket = tickets[i];
    sim_apply(sim, actions);
}

/* A run that could not be in time, as far as can be seen now, had better not begin. */
static bool is_let_in(sim_t *sim, sim_run_t *run)
{
    sim_app_t *a = &sim->apps.items[run->app];
    uint64_t deadline_ns[GPULET_APP_STAGES_MAX];
    uint64_t needed_ns[GPULET_APP_STAGES_MAX];
    uint64_t retry_after_ns = 0;
    if (sim->o->late_serve)
        return true;
    find_deadlines(deadline_ns, sim, run);
    for (size_t s = 0; s < a->app->stages_count; s++) {
        const gpulet_sched_request_t request = {.model = a->models[s],
                                                .items =
                                                    run->asked.items * a->app->stages[s].requests,
                                                .arrival_ns = sim->now_ns,
                                                .deadline_ns = deadline_ns[s]};
        uint64_t end_ns = gpulet_sched_predict_ns(sim->sched, sim->now_ns, &request);
        needed_ns[s] = end_ns == UINT64_MAX ? 0 : end_ns - sim->now_ns; /* refused in its turn */
    }
    gpulet_app_entry_t entry = gpulet_app_admit(&a->gate, a->app, sim->now_ns, run->deadline_ns,
                                                needed_ns, a->running == 1, &retry_after_ns);
    run->probe = entry == GPULET_APP_PROBE;
    return entry != GPULET_APP_REFUSED;
}

static sim_run_t *take_run(sim_t *sim, const sim_asked_t *asked, gpulet_app_step_t *step)
{
    sim_apps_t *apps = &sim->apps;
    gpulet_app_run_t id = 0;
    const uint32_t app = asked->subject - (uint32_t)sim->models_count;
    if (apps->run_free == SIM_NONE ||
        gpulet_app_runs_start(apps->running, &id, step, apps->items[app].app) != GPULET_OK)
        return NULL;
    sim_run_t *run = &apps->runs[apps->run_free];
    apps->run_free = run->next;
    *run =
        (sim_run_t){.id = id,
                    .asked = *asked,
                    .deadline_ns = sim->now_ns + gpulet_duration_ns(apps->items[app].app->slo_ms),
                    .app = app,
                    .taken = true};
    uint32_t *places = stage_places(sim, run);
    for (uint32_t s = 0; s < apps->stages_most; s++)
        places[s] = SIM_NONE;
    return run;
}

void sim_app_arrive(sim_t *sim, uint32_t app, uint32_t items)
{
    sim_app_t *a = &sim->apps.items[app];
    gpulet_app_step_t step = {0};
    sim_asked_t asked = {
        .arrival_ns = sim->now_ns, .subject = (uint32_t)sim->models_count + app, .items = items};
    a->offered++;
    sim_stats_arrived(sim, &asked);
    sim_run_t *run = take_run(sim, &asked, &step);
    if (run == NULL) {
        a->ended++;
        sim_stats_rejected(sim, &asked);
        sim_mix(sim, app);
        return;
    }
    a->running++;
    if (!is_let_in(sim, run)) {
        (void)gpulet_app_runs_cancel(sim->apps.running, run->id);
        end_run(sim, run, SIM_STAGE_REJECTED, 0);
        return;
    }
    if (sim_fault_strikes(sim, GPULET_FAULT_CLIENT_GONE)) {
        double part = gpulet_rng_f64(&sim->fault_rngs[GPULET_FAULT_CLIENT_GONE]);
        sim_add_event(sim, SIM_EVENT_APP_GONE, sim_after_s(sim, part * a->app->slo_ms / 1e3),
                      place_of(sim, run), run->id);
    }
    submit(sim, run, step.submit);
}

void sim_app_gone(sim_t *sim, uint32_t run, gpulet_app_run_t id)
{
    sim_run_t *r = &sim->apps.runs[run];
    if (!r->taken || r->id != id || r->over)
        return;
    gpulet_app_step_t step = gpulet_app_runs_cancel(sim->apps.running, id);
    end_run(sim, r, SIM_STAGE_CANCELLED, step.cancel);
}

/* ---- what becomes of stages ---- */

void sim_stage_ended(sim_t *sim, const sim_request_t *r, sim_stage_how_t how)
{
    sim_apps_t *apps = &sim->apps;
    if (apps->ends_count == apps->ends_capacity) {
        size_t capacity = apps->ends_capacity == 0 ? 64 : apps->ends_capacity * 2;
        sim_stage_end_t *grown = reallocarray(apps->ends, capacity, sizeof(*grown));
        if (grown == NULL) {
            sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
            return;
        }
        apps->ends = grown;
        apps->ends_capacity = capacity;
    }
    apps->ends[apps->ends_count++] = (sim_stage_end_t){r->run, r->stage, how};
    stage_places(sim, &apps->runs[r->run])[r->stage] = SIM_NONE;
    sim->restless = true;
}

static void go_on(sim_t *sim, sim_run_t *run, uint32_t stage)
{
    gpulet_app_step_t step = gpulet_app_runs_stage_done(sim->apps.running, run->id, stage);
    run->done |= UINT64_C(1) << stage;
    if (step.end != GPULET_APP_DONE) {
        submit(sim, run, step.submit);
        return;
    }
    if (sim->o->check)
        sim_check_done(sim, run);
    end_run(sim, run, SIM_STAGE_ANSWERED, 0);
}

static void follow_from(sim_t *sim, const sim_stage_end_t *end)
{
    sim_run_t *run = &sim->apps.runs[end->run];
    run->under_way--;
    if (run->over) {
        release(sim, run);
    } else if (end->how == SIM_STAGE_ANSWERED) {
        go_on(sim, run, end->stage);
    } else {
        gpulet_app_step_t step =
            gpulet_app_runs_stage_failed(sim->apps.running, run->id, end->stage);
        end_run(sim, run, end->how, step.cancel);
    }
}

void sim_apps_progress(sim_t *sim)
{
    sim_apps_t *apps = &sim->apps;
    while (apps->ends_first < apps->ends_count && sim->status == GPULET_OK) {
        sim_stage_end_t end = apps->ends[apps->ends_first++];
        follow_from(sim, &end);
    }
    if (apps->ends_first == apps->ends_count)
        apps->ends_first = apps->ends_count = 0;
}
