/* From what is known of models, rates and devices to a plan: the planner's when every model has a
 * profile, else a provisional one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "plan/planner.h"
#include "server/internal.h"

/* A model without an SLO is planned as if this were its objective; without a rate as if it were
 * asked once a second. */
enum { BEST_EFFORT_SLO_MS = 60000, RATE_RPS_DEFAULT = 1 };

static gpulet_status_t describe_devices(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_device_desc_t *first = &server->devices[0].desc;
    if (server->settings.devices != NULL)
        return gpulet_device_set_load(&server->device_set, server->settings.devices, err);
    for (uint32_t i = 1; i < server->devices_count; i++) {
        if (strcmp(server->devices[i].desc.type, first->type) != 0)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "devices of several types need --devices FILE");
    }
    gpulet_status_t st = gpulet_device_set_create_stepped(
        &server->device_set, first->type, first->units, first->step, first->gpulets_max,
        first->memory_mb, (int32_t)server->devices_count);
    return st == GPULET_OK
               ? st
               : gpulet_fail(err, st, "device type %s: %s", first->type, gpulet_status_text(st));
}

gpulet_status_t server_planning_open(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *settings = &server->settings;
    gpulet_status_t st = describe_devices(server, err);
    if (st == GPULET_OK && gpulet_planner_find(settings->planner) == NULL)
        st = gpulet_fail(err, GPULET_E_INVALID, "--planner: no planner is called '%s'",
                         settings->planner);
    if (st == GPULET_OK && settings->profiles != NULL)
        st = gpulet_profile_load(&server->profile, settings->profiles, GPULET_PROFILE_FORMAT_CSV,
                                 NULL, err);
    else if (st == GPULET_OK && (st = gpulet_profile_create(&server->profile)) != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    if (st == GPULET_OK && settings->interference != NULL)
        st = gpulet_interference_load(&server->interference, settings->interference, err);
    if (st == GPULET_OK && settings->interference != NULL)
        st = gpulet_interference_adjust(server->interference, settings->interference_quantile,
                                        settings->utilisation_scaled, settings->interference, err);
    return st;
}

void server_planning_close(gpulet_server_t *server)
{
    gpulet_plan_destroy(server->plan);
    gpulet_plan_destroy(server->plan_next);
    gpulet_interference_destroy(server->interference);
    gpulet_profile_destroy(server->profile);
    gpulet_device_set_destroy(server->device_set);
}

static gpulet_status_t make_workload(gpulet_workload_t **out, gpulet_server_t *server,
                                     gpulet_error_t *err)
{
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    for (uint32_t i = 0; i < server->models_count && st == GPULET_OK; i++) {
        const server_model_t *model = &server->models[i];
        gpulet_demand_t demand = {.priority = model->priority, .weight = model->weight};
        if (!server_model_wanted(model))
            continue;
        (void)snprintf(demand.model, sizeof(demand.model), "%s", model->entry->key);
        demand.rate_rps = model->rate_rps > 0 ? model->rate_rps : RATE_RPS_DEFAULT;
        demand.slo_ms = model->slo_ms > 0 ? model->slo_ms : BEST_EFFORT_SLO_MS;
        st = gpulet_workload_add(workload, &demand, err);
    }
    if (st != GPULET_OK) {
        gpulet_workload_destroy(workload);
        return st;
    }
    *out = workload;
    return GPULET_OK;
}

static bool add_share(gpulet_plan_gpulet_t *gpulet, const server_model_t *model)
{
    gpulet_plan_share_t *share = gpulet_plan_add_share(gpulet);
    if (share == NULL)
        return false;
    (void)snprintf(share->model, sizeof(share->model), "%s", model->entry->key);
    share->batch = 1;
    share->instances = 1;
    share->interference = 1;
    share->rate_rps = model->rate_rps > 0 ? model->rate_rps : RATE_RPS_DEFAULT;
    return true;
}

/* One gpu-let over the whole first device, all models in turns. */
static gpulet_plan_gpulet_t *add_whole_device(gpulet_plan_t *plan, const gpulet_server_t *server)
{
    gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
    if (device == NULL)
        return NULL;
    (void)snprintf(device->type, sizeof(device->type), "%s", server->devices[0].desc.type);
    device->index = server->devices[0].desc.index;
    gpulet_plan_gpulet_t *gpulet = gpulet_plan_add_gpulet(device);
    if (gpulet == NULL)
        return NULL;
    gpulet->units = server->devices[0].desc.units;
    gpulet->slot = -1;
    return gpulet;
}

static gpulet_status_t make_provisional(gpulet_plan_t **out, gpulet_server_t *server,
                                        gpulet_error_t *err)
{
    gpulet_plan_t *plan = NULL;
    gpulet_status_t st = gpulet_plan_create(&plan);
    gpulet_plan_gpulet_t *gpulet = st == GPULET_OK ? add_whole_device(plan, server) : NULL;
    bool ok = gpulet != NULL;
    for (uint32_t i = 0; i < server->models_count && ok; i++) {
        if (server_model_wanted(&server->models[i]))
            ok = add_share(gpulet, &server->models[i]);
    }
    if (!ok) {
        gpulet_plan_destroy(plan);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    (void)snprintf(plan->planner, sizeof(plan->planner), "provisional");
    (void)snprintf(plan->reason, sizeof(plan->reason), "not every model has a profile yet");
    plan->lower_bound = NAN;
    plan->lower_bound_devices = NAN;
    plan->cost = NAN;
    plan->devices_used = 1;
    *out = plan;
    return GPULET_OK;
}

static bool plan_holds(const gpulet_plan_t *plan, const char *model)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t g = 0; g < plan->devices[d].gpulets_count; g++) {
            for (size_t s = 0; s < plan->devices[d].gpulets[g].shares_count; s++) {
                if (strcmp(plan->devices[d].gpulets[g].shares[s].model, model) == 0)
                    return true;
            }
        }
    }
    return false;
}

/* The gpu-let where an extra model hurts least by the plan's own figures: the one with most units
 * free of duty. */
static gpulet_plan_gpulet_t *roomiest(gpulet_plan_t *plan)
{
    gpulet_plan_gpulet_t *best = NULL;
    double best_room = -1;
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t i = 0; i < plan->devices[d].gpulets_count; i++) {
            gpulet_plan_gpulet_t *g = &plan->devices[d].gpulets[i];
            double busy = 0;
            for (size_t s = 0; s < g->shares_count; s++)
                busy += g->shares[s].rate_rps / fmax(g->shares[s].capacity_rps, 1e-9) *
                        g->shares[s].latency_ms;
            double room = (double)g->units * (1.0 - busy / fmax(g->duty_ms, 1e-9));
            if (best == NULL || room > best_room) {
                best = g;
                best_room = room;
            }
        }
    }
    return best;
}

/* A plan that is not feasible may leave models out. They are served all the same, as well as it
 * goes. */
static gpulet_status_t adopt_orphans(gpulet_plan_t *plan, gpulet_server_t *server,
                                     gpulet_error_t *err)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        if (!server_model_wanted(model) || plan_holds(plan, model->entry->key))
            continue;
        gpulet_plan_gpulet_t *gpulet = roomiest(plan);
        if (gpulet == NULL)
            gpulet = add_whole_device(plan, server);
        if (gpulet == NULL || !add_share(gpulet, model))
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    return GPULET_OK;
}

static bool all_profiled(const gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server_model_wanted(&server->models[i]) &&
            !gpulet_profile_has_model(server->profile, NULL, server->models[i].entry->key))
            return false;
    }
    return true;
}

static void make_input(gpulet_plan_input_t *out, gpulet_server_t *server,
                       const gpulet_workload_t *workload)
{
    *out = (gpulet_plan_input_t){
        .profile = server->profile,
        .devices = server->device_set,
        .workload = workload,
        .interference = server->interference,
        .latency_margin = server->settings.latency_margin,
        .slo_fraction = server->settings.slo_fraction,
        .rate_percentile = server->settings.rate_percentile,
        .p99 = true,
    };
}

static gpulet_status_t load_given_plan(gpulet_plan_t **out, gpulet_server_t *server,
                                       gpulet_error_t *err)
{
    gpulet_plan_t *plan = NULL;
    gpulet_workload_t *workload = NULL;
    gpulet_plan_input_t input;
    gpulet_error_t why;
    gpulet_status_t st = gpulet_plan_load(&plan, server->settings.plan, err);
    if (st != GPULET_OK)
        return st;
    if (all_profiled(server) && make_workload(&workload, server, &why) == GPULET_OK) {
        make_input(&input, server, workload);
        if (gpulet_plan_verify(plan, &input, &why) != GPULET_OK)
            GPULET_LOG(WARNING, "event=plan_unverified file=%s reason=\"%s\"",
                       server->settings.plan, why.text);
        gpulet_workload_destroy(workload);
    }
    if ((st = adopt_orphans(plan, server, err)) != GPULET_OK) {
        gpulet_plan_destroy(plan);
        return st;
    }
    *out = plan;
    return GPULET_OK;
}

/* Holding the 99th percentile of arrivals in every single duty cycle may be more than the devices
 * can do, where holding less of a margin is not: a plan with a smaller margin is better than one
 * that leaves a model out. */
static gpulet_status_t plan_as_safely_as_possible(gpulet_plan_t **out, gpulet_plan_input_t *input,
                                                  gpulet_server_t *server, gpulet_error_t *err)
{
    static const double percentiles[] = {1, 0.95, 0.9, 0.75, 0.5, 0};
    const gpulet_planner_t *planner = gpulet_planner_find(server->settings.planner);
    const double wanted = input->rate_percentile;
    gpulet_plan_t *first = NULL;
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        gpulet_plan_t *plan = NULL;
        if (i > 0 && percentiles[i] >= wanted)
            continue;
        input->rate_percentile = i == 0 ? wanted : percentiles[i];
        gpulet_status_t st = gpulet_planner_run(&plan, planner, input, err);
        if (st != GPULET_OK) {
            gpulet_plan_destroy(first);
            return st;
        }
        if (plan->feasible) {
            if (i > 0)
                GPULET_LOG(WARNING, "event=plan_margin wanted=%g reached=%g", wanted,
                           input->rate_percentile);
            gpulet_plan_destroy(first);
            *out = plan;
            return GPULET_OK;
        }
        if (first == NULL)
            first = plan;
        else
            gpulet_plan_destroy(plan);
    }
    *out = first;
    return GPULET_OK;
}

static void scale_rates(gpulet_workload_t *workload, double factor)
{
    for (size_t i = 0; i < workload->count; i++)
        workload->demands[i].rate_rps *= factor;
}

static gpulet_status_t plan_multiple(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                     gpulet_workload_t *workload, const gpulet_planner_t *planner,
                                     double factor)
{
    gpulet_error_t err;
    scale_rates(workload, factor);
    gpulet_status_t st = gpulet_planner_run(out, planner, input, &err);
    scale_rates(workload, 1 / factor);
    return st;
}

/* The rates are what is expected at least, and the devices are there: unless planning is slow, the
 * plan is made for more than the rates, so that no units stay idle: for three quarters of what the
 * devices could hold beyond them. At the very limit models would share gpu-lets, and batches grow,
 * for the sake of rates that nobody asks for. *plan is replaced by a better one, or left alone. */
static void plan_for_spare_units(gpulet_plan_t **plan, const gpulet_plan_input_t *input,
                                 gpulet_workload_t *workload, gpulet_server_t *server,
                                 uint64_t first_ns)
{
    enum { PLANNING_MS_MAX = 20, TRIES_MAX = 16 };
    const double close_enough = 1.1, part = 0.75;
    const gpulet_planner_t *planner = gpulet_planner_find(server->settings.planner);
    double holds = 1;  /* the highest multiple known to fit */
    double breaks = 0; /* the lowest known not to; 0: none yet */
    if (first_ns > PLANNING_MS_MAX * GPULET_NS_PER_MS)
        return;
    for (int tries = 0; tries < TRIES_MAX && (breaks == 0 || breaks / holds > close_enough);
         tries++) {
        double factor = breaks == 0 ? holds * 2 : (holds + breaks) / 2;
        gpulet_plan_t *next = NULL;
        if (plan_multiple(&next, input, workload, planner, factor) != GPULET_OK)
            return;
        if (next->feasible)
            holds = factor;
        else
            breaks = factor;
        gpulet_plan_destroy(next);
    }
    /* Planners are no monotone functions: what fits at the limit may not fit below it. */
    for (double factor = 1 + part * (holds - 1); holds > 1 && factor <= holds;
         factor += (holds - factor) / 2 + (holds - 1) / 16) {
        gpulet_plan_t *next = NULL;
        if (plan_multiple(&next, input, workload, planner, factor) != GPULET_OK)
            return;
        if (!next->feasible) {
            gpulet_plan_destroy(next);
            continue;
        }
        gpulet_plan_destroy(*plan);
        *plan = next;
        GPULET_LOG(INFO, "event=plan_spare rate_multiple=%.3g could_hold=%.3g", factor, holds);
        return;
    }
}

gpulet_status_t server_planning_make(gpulet_plan_t **out, bool *provisional,
                                     gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_workload_t *workload = NULL;
    gpulet_plan_input_t input;
    gpulet_plan_t *plan = NULL;
    *provisional = false;
    if (server->settings.plan != NULL)
        return load_given_plan(out, server, err);
    if (!all_profiled(server)) {
        *provisional = true;
        return make_provisional(out, server, err);
    }
    gpulet_status_t st = make_workload(&workload, server, err);
    if (st != GPULET_OK)
        return st;
    make_input(&input, server, workload);
    uint64_t begin_ns = gpulet_clock_ns();
    st = plan_as_safely_as_possible(&plan, &input, server, err);
    if (st == GPULET_OK && plan->feasible && server->settings.use_spare)
        plan_for_spare_units(&plan, &input, workload, server, gpulet_clock_ns() - begin_ns);
    gpulet_workload_destroy(workload);
    if (st != GPULET_OK)
        return st;
    plan->elapsed_ms = (double)(gpulet_clock_ns() - begin_ns) / 1e6;
    if (!plan->feasible) {
        char text[600];
        GPULET_LOG(WARNING, "event=plan_infeasible planner=%s reason=%s", plan->planner,
                   gpulet_log_quote(text, sizeof(text), plan->reason));
        st = adopt_orphans(plan, server, err);
    }
    if (st != GPULET_OK) {
        gpulet_plan_destroy(plan);
        return st;
    }
    *out = plan;
    return GPULET_OK;
}

/* The curve at the size, or at the nearest measured one: below it first, since that errs on the
 * slow side. */
static const gpulet_curve_t *nearest_curve(const gpulet_server_t *server, const char *device,
                                           const char *model, uint32_t units)
{
    const gpulet_curve_t *curve = NULL;
    for (uint32_t u = units; u >= 1 && curve == NULL; u--)
        curve = gpulet_profile_curve(server->profile, device, model, u, 1);
    for (uint32_t u = units + 1; u <= server->devices[0].desc.units && curve == NULL; u++)
        curve = gpulet_profile_curve(server->profile, device, model, u, 1);
    return curve;
}

uint64_t *server_planning_exec_table(gpulet_server_t *server, const server_model_t *model,
                                     const char *device, uint32_t units, uint32_t *count)
{
    const gpulet_curve_t *curve = nearest_curve(server, device, model->entry->key, units);
    *count = 0;
    if (curve == NULL)
        return NULL;
    uint64_t *table = calloc(model->batch_max, sizeof(*table));
    if (table == NULL)
        return NULL;
    for (uint32_t b = 1; b <= model->batch_max; b++) {
        double ms = gpulet_curve_latency_ms(curve, b, false);
        table[b - 1] = isnan(ms) ? 0 : (uint64_t)(ms * 1e6);
    }
    *count = model->batch_max;
    return table;
}
