/* Plans, on the devices that are there. Planners number devices from 0; where one is gone, the ones
 * behind it move up for them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan/apps.h"
#include "plan/serving.h"
#include "sim/internal.h"

static bool runs(const sim_t *sim, const sim_gpulet_t *g)
{
    return g->state != SIM_GPULET_DRAINING && !g->fresh && !sim->devices[g->device].gone;
}

static bool add_gpulet(gpulet_plan_device_t *device, const sim_gpulet_t *g)
{
    gpulet_plan_gpulet_t *planned = gpulet_plan_add_gpulet(device);
    if (planned == NULL)
        return false;
    planned->units = g->units;
    planned->slot = g->slot;
    planned->duty_ms = g->duty_ms;
    for (size_t i = 0; i < g->services_count; i++) {
        gpulet_plan_share_t *share = gpulet_plan_add_share(planned);
        if (share == NULL)
            return false;
        *share = g->services[i].share;
    }
    return true;
}

static bool add_device(gpulet_plan_t *plan, sim_t *sim, const sim_device_t *from)
{
    gpulet_plan_device_t *device = NULL;
    for (size_t i = 0; i < from->gpulets_count; i++) {
        sim_gpulet_t *g = sim->gpulets[from->gpulets[i]];
        if (!runs(sim, g))
            continue;
        if (device == NULL && (device = gpulet_plan_add_device(plan)) != NULL) {
            (void)snprintf(device->type, sizeof(device->type), "%s",
                           sim->o->planning.devices->types[from->type].name);
            device->index = from->index;
        }
        if (device == NULL || !add_gpulet(device, g))
            return false;
        g->planned_at = device->gpulets_count - 1;
    }
    return true;
}

gpulet_plan_t *sim_planning_running(sim_t *sim)
{
    gpulet_plan_t *plan = NULL;
    bool ok = gpulet_plan_create(&plan) == GPULET_OK;
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        if (sim->gpulets[i] != NULL)
            sim->gpulets[i]->planned_at = SIZE_MAX;
    }
    for (size_t i = 0; i < sim->devices_count && ok; i++)
        ok = add_device(plan, sim, &sim->devices[i]);
    if (!ok) {
        gpulet_plan_destroy(plan);
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
        return NULL;
    }
    plan->devices_used = (uint32_t)plan->devices_count;
    plan->cost = plan->lower_bound = plan->lower_bound_devices = NAN;
    return plan;
}

/* ---- devices that are there ---- */

static bool is_gone(const sim_t *sim, uint32_t type, uint32_t index)
{
    for (size_t i = 0; i < sim->devices_count; i++) {
        if (sim->devices[i].type == type && sim->devices[i].index == index)
            return sim->devices[i].gone;
    }
    return false;
}

/* The number of a device among those that are there, and back. */
static uint32_t to_logical(const sim_t *sim, uint32_t type, uint32_t index)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < index; i++)
        before += !is_gone(sim, type, i);
    return before;
}

static uint32_t to_physical(const sim_t *sim, uint32_t type, uint32_t logical)
{
    uint32_t index = 0;
    for (;; index++) {
        if (is_gone(sim, type, index))
            continue;
        if (logical-- == 0)
            return index;
    }
}

static void renumber(const sim_t *sim, gpulet_plan_t *plan,
                     uint32_t (*number)(const sim_t *sim, uint32_t type, uint32_t index))
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        int type = gpulet_device_set_find(sim->o->planning.devices, plan->devices[d].type);
        if (type >= 0)
            plan->devices[d].index = number(sim, (uint32_t)type, plan->devices[d].index);
    }
}

/* A set of the types of which a device is there; shallow, its arrays are the caller's. */
static void devices_there(gpulet_device_set_t *out, const sim_t *sim)
{
    const gpulet_device_set_t *all = sim->o->planning.devices;
    out->types_count = 0;
    for (uint32_t t = 0; t < all->types_count; t++) {
        int32_t count = all->counts[t];
        for (size_t i = 0; i < sim->devices_count && count > 0; i++)
            count -= sim->devices[i].type == t && sim->devices[i].gone;
        if (count == 0)
            continue;
        out->types[out->types_count] = all->types[t];
        out->counts[out->types_count++] = count;
    }
}

/* ---- planning ---- */

static gpulet_status_t make_workload(gpulet_workload_t **out, const sim_t *sim,
                                     const double *rates_rps)
{
    const gpulet_workload_t *all = sim->o->planning.workload;
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    for (size_t i = 0; i < all->count && st == GPULET_OK; i++) {
        gpulet_demand_t demand = all->demands[i];
        demand.rate_rps = rates_rps[i];
        demand.slo_ms = sim->models[i].slo_ms;
        st = gpulet_workload_add(workload, &demand, sim->err);
    }
    if (st != GPULET_OK)
        gpulet_workload_destroy(workload);
    else
        *out = workload;
    return st;
}

/* The applications' objectives shared out: the workload is replaced by one in which every model has
 * its share. plan NULL: as needs the fewest devices; else as that plan was made. */
static gpulet_status_t share_out(gpulet_workload_t **workload, sim_t *sim,
                                 const gpulet_plan_input_t *input, const gpulet_plan_t *plan)
{
    gpulet_apps_plan_t *split = NULL;
    gpulet_apps_options_t options = {
        .planner = sim->o->planner, .rate_rps_default = 1, .rates_included = true};
    gpulet_status_t st = GPULET_E_INFEASIBLE;
    if (sim->apps.count == 0)
        return GPULET_OK;
    if (plan != NULL) {
        gpulet_error_t why = {""};
        options.plans_max = 1;
        st = gpulet_apps_plan_adopt(&split, plan, input, sim->o->apps, &options, &why);
    }
    if (st != GPULET_OK && st != GPULET_E_NOMEM)
        st = gpulet_apps_plan_split(&split, input, sim->o->apps, &options, sim->err);
    if (st != GPULET_OK)
        return st;
    gpulet_workload_destroy(*workload);
    *workload = split->workload;
    split->workload = NULL;
    gpulet_apps_plan_destroy(split);
    return GPULET_OK;
}

static gpulet_status_t plan_on(gpulet_plan_t **out, sim_t *sim, const double *rates_rps,
                               gpulet_device_set_t *there, gpulet_plan_t *from)
{
    gpulet_workload_t *workload = NULL;
    gpulet_plan_input_t input = sim->o->planning;
    gpulet_serving_options_t serving = {.planner = sim->o->planner,
                                        .use_spare = sim->o->use_spare,
                                        .all_devices = sim->o->all_devices,
                                        .overhead_ms = (double)sim->o->overhead_ns / 1e6};
    devices_there(there, sim);
    if (there->types_count == 0)
        return GPULET_E_UNAVAILABLE;
    gpulet_status_t st = make_workload(&workload, sim, rates_rps);
    if (st != GPULET_OK)
        return st;
    if (from != NULL)
        renumber(sim, from, to_logical);
    input.devices = there;
    input.workload = workload;
    input.from = from;
    input.brief = true;
    st = share_out(&workload, sim, &input, NULL);
    input.workload = workload;
    if (st == GPULET_OK)
        st = gpulet_plan_serving(out, NULL, &input, &serving, sim->err);
    gpulet_workload_destroy(workload);
    if (st == GPULET_OK)
        renumber(sim, *out, to_physical);
    return st;
}

/* Before anything is seen: as the workload says; or, where that says nothing of a model whose rate
 * changes, as it begins, and like a server that does not know its rate. */
static double expected_rps(const sim_t *sim, uint32_t model)
{
    const double least = 1;
    double rate_rps = sim->o->planning.workload->demands[model].rate_rps;
    const gpulet_sim_rates_t *rates = sim->o->rates;
    if (rate_rps > 0 || rates == NULL || rates->models[model].count == 0)
        return rate_rps;
    return fmax(rates->models[model].steps[0].rate_rps, least);
}

double *sim_planning_rates(sim_t *sim)
{
    double *rates = calloc(sim->models_count + 1, sizeof(*rates));
    if (rates == NULL)
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
    for (uint32_t i = 0; rates != NULL && i < sim->models_count; i++)
        rates[i] = (expected_rps(sim, i) + sim_apps_rate_rps(sim, i)) * sim->o->multiple;
    return rates;
}

gpulet_plan_t *sim_planning_make(sim_t *sim, const double *rates_rps, bool from_running)
{
    gpulet_plan_t *plan = NULL;
    uint32_t types = sim->o->planning.devices->types_count;
    gpulet_device_set_t there = {.types = calloc(types + 1U, sizeof(*there.types)),
                                 .counts = calloc(types + 1U, sizeof(*there.counts))};
    gpulet_plan_t *from = from_running ? sim_planning_running(sim) : NULL;
    gpulet_status_t st = there.types != NULL && there.counts != NULL
                             ? sim->status
                             : gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory");
    if (st == GPULET_OK)
        st = plan_on(&plan, sim, rates_rps, &there, from);
    gpulet_plan_destroy(from);
    free(there.types);
    free(there.counts);
    if (st != GPULET_OK && st != GPULET_E_UNAVAILABLE)
        sim_fail(sim, st);
    return st == GPULET_OK ? plan : NULL;
}

/* ---- plans from elsewhere ---- */

static gpulet_status_t check_gpulet(const sim_t *sim, const gpulet_plan_device_t *device,
                                    const gpulet_device_type_t *type, size_t index)
{
    const gpulet_plan_gpulet_t *g = &device->gpulets[index];
    if (g->units < 1 || g->units > type->units)
        return gpulet_fail(sim->err, GPULET_E_INVALID,
                           "plan: device %s %u: expected a size from 1 to %u, found %u",
                           device->type, device->index, type->units, g->units);
    for (size_t i = 0; i < g->shares_count; i++) {
        const gpulet_plan_share_t *share = &g->shares[i];
        if (gpulet_workload_find(sim->o->planning.workload, share->model) == NULL)
            return gpulet_fail(sim->err, GPULET_E_NOT_FOUND,
                               "plan: device %s %u: model %s is not in the workload", device->type,
                               device->index, share->model);
        for (size_t k = 0; k < i; k++) {
            if (strcmp(share->model, g->shares[k].model) == 0)
                return gpulet_fail(sim->err, GPULET_E_INVALID,
                                   "plan: device %s %u: model %s stands twice in a gpu-let",
                                   device->type, device->index, share->model);
        }
    }
    return GPULET_OK;
}

static gpulet_status_t check_device(const sim_t *sim, const gpulet_plan_device_t *device)
{
    const gpulet_device_set_t *set = sim->o->planning.devices;
    int type = gpulet_device_set_find(set, device->type);
    uint64_t units = 0;
    if (type < 0)
        return gpulet_fail(sim->err, GPULET_E_NOT_FOUND, "plan: there is no device type %s",
                           device->type);
    if (set->counts[type] >= 0 && device->index >= (uint32_t)set->counts[type])
        return gpulet_fail(sim->err, GPULET_E_INVALID,
                           "plan: device %s %u: expected at most %d of the type", device->type,
                           device->index, set->counts[type]);
    for (size_t i = 0; i < device->gpulets_count; i++) {
        gpulet_status_t st = check_gpulet(sim, device, &set->types[type], i);
        if (st != GPULET_OK)
            return st;
        units += device->gpulets[i].units;
    }
    if (units > set->types[type].units)
        return gpulet_fail(
            sim->err, GPULET_E_INVALID, "plan: device %s %u: expected at most %u units, found %llu",
            device->type, device->index, set->types[type].units, (unsigned long long)units);
    return GPULET_OK;
}

gpulet_status_t sim_planning_check(const sim_t *sim, const gpulet_plan_t *plan)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        gpulet_status_t st = check_device(sim, &plan->devices[d]);
        for (size_t k = 0; k < d && st == GPULET_OK; k++) {
            if (plan->devices[k].index == plan->devices[d].index &&
                strcmp(plan->devices[k].type, plan->devices[d].type) == 0)
                st = gpulet_fail(sim->err, GPULET_E_INVALID, "plan: device %s %u stands twice",
                                 plan->devices[d].type, plan->devices[d].index);
        }
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

/* What the plan's models are held to from now on. */
static gpulet_status_t set_objectives(gpulet_plan_t *plan, const gpulet_workload_t *workload)
{
    for (size_t i = 0; i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        gpulet_plan_model_t *m = NULL;
        for (size_t k = 0; k < plan->models_count && m == NULL; k++) {
            if (strcmp(plan->models[k].model, demand->model) == 0)
                m = &plan->models[k];
        }
        if (m == NULL) {
            m = gpulet_plan_add_model(plan);
            if (m == NULL)
                return GPULET_E_NOMEM;
            (void)snprintf(m->model, sizeof(m->model), "%s", demand->model);
            m->rate_rps = demand->rate_rps;
        }
        m->slo_ms = demand->slo_ms;
    }
    return GPULET_OK;
}

static gpulet_status_t complete(gpulet_plan_t *plan, sim_t *sim)
{
    gpulet_plan_input_t input = sim->o->planning;
    gpulet_workload_t *workload = NULL;
    if (sim->apps.count == 0)
        return gpulet_plan_adopt_orphans(plan, NULL, &input, sim->err);
    double *rates = sim_planning_rates(sim);
    gpulet_status_t st = rates != NULL ? make_workload(&workload, sim, rates) : GPULET_E_NOMEM;
    input.workload = workload;
    if (st == GPULET_OK)
        st = share_out(&workload, sim, &input, plan);
    input.workload = workload;
    if (st == GPULET_OK)
        st = gpulet_plan_adopt_orphans(plan, NULL, &input, sim->err);
    if (st == GPULET_OK && set_objectives(plan, workload) != GPULET_OK)
        st = gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory");
    gpulet_workload_destroy(workload);
    free(rates);
    return st;
}

gpulet_plan_t *sim_planning_given(sim_t *sim)
{
    gpulet_plan_t *plan = NULL;
    gpulet_status_t st = sim_planning_check(sim, sim->o->plan);
    if (st == GPULET_OK && (st = gpulet_plan_clone(&plan, sim->o->plan)) != GPULET_OK)
        (void)gpulet_fail(sim->err, st, "out of memory");
    if (st == GPULET_OK)
        st = complete(plan, sim);
    if (st == GPULET_OK)
        return plan;
    gpulet_plan_destroy(plan);
    sim_fail(sim, st);
    return NULL;
}
