/* Plans that come from elsewhere: whether they are for this machine and these models, and whether
 * the one that was served last may be served again. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/planning.h"
#include "store/store.h"

static const server_device_t *find_device(const gpulet_server_t *server,
                                          const gpulet_plan_device_t *device)
{
    for (uint32_t i = 0; i < server->devices_count; i++) {
        if (strcmp(server->devices[i].desc.type, device->type) == 0 &&
            server->devices[i].desc.index == device->index)
            return &server->devices[i];
    }
    return NULL;
}

static gpulet_status_t check_share(gpulet_server_t *server, const gpulet_plan_gpulet_t *g,
                                   const char *path, size_t s, gpulet_error_t *err)
{
    const gpulet_plan_share_t *share = &g->shares[s];
    const server_model_t *model = server_model_by_key(server, share->model);
    if (model == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%s.models[%zu].model: no model is called '%s'",
                           path, s, share->model);
    if (model->ensemble != NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s.models[%zu].model: '%s' is an ensemble: gpu-lets hold its models",
                           path, s, share->model);
    if (!server_model_wanted(model))
        return gpulet_fail(err, GPULET_E_INVALID, "%s.models[%zu].model: '%s' is not loaded", path,
                           s, share->model);
    if (share->batch > model->batch_max)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s.models[%zu].batch: expected at most %u, found %u", path, s,
                           model->batch_max, share->batch);
    if (share->instances > 1)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s.models[%zu].instances: gpuletd holds a model once in a gpu-let, "
                           "found %u",
                           path, s, share->instances);
    for (size_t i = 0; i < s; i++) {
        if (strcmp(g->shares[i].model, share->model) == 0)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "%s.models[%zu].model: '%s' stands twice in one gpu-let", path, s,
                               share->model);
    }
    return GPULET_OK;
}

static gpulet_status_t check_gpulet(gpulet_server_t *server, const gpulet_device_type_t *type,
                                    const gpulet_plan_gpulet_t *g, const char *path,
                                    gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    if (gpulet_device_type_size_index(type, g->units) < 0)
        return gpulet_fail(err, GPULET_E_INVALID, "%s.units: %u is no size of device type %s", path,
                           g->units, type->name);
    for (size_t s = 0; s < g->shares_count && st == GPULET_OK; s++)
        st = check_share(server, g, path, s, err);
    return st;
}

static gpulet_status_t check_device(gpulet_server_t *server, const gpulet_plan_t *plan, size_t d,
                                    gpulet_error_t *err)
{
    const gpulet_plan_device_t *planned = &plan->devices[d];
    const server_device_t *device = find_device(server, planned);
    int type = gpulet_device_set_find(server->device_set, planned->type);
    gpulet_status_t st = GPULET_OK;
    uint64_t units = 0;
    char path[64];
    if (device == NULL || type < 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "devices[%zu]: device %s %u is not on this machine", d, planned->type,
                           planned->index);
    if (device->gone)
        return gpulet_fail(err, GPULET_E_INVALID, "devices[%zu]: device %s %u is gone", d,
                           planned->type, planned->index);
    for (size_t i = 0; i < d; i++) {
        if (find_device(server, &plan->devices[i]) == device)
            return gpulet_fail(err, GPULET_E_INVALID, "devices[%zu]: device %s %u stands twice", d,
                               planned->type, planned->index);
    }
    for (size_t i = 0; i < planned->gpulets_count && st == GPULET_OK; i++) {
        (void)snprintf(path, sizeof(path), "devices[%zu].gpulets[%zu]", d, i);
        st =
            check_gpulet(server, &server->device_set->types[type], &planned->gpulets[i], path, err);
        units += planned->gpulets[i].units;
    }
    if (st == GPULET_OK && units > device->desc.units)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "devices[%zu].gpulets: %llu units together, the device has %u", d,
                           (unsigned long long)units, device->desc.units);
    if (st == GPULET_OK && planned->gpulets_count > device->desc.gpulets_max)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "devices[%zu].gpulets: %zu of them, the device takes %u", d,
                           planned->gpulets_count, device->desc.gpulets_max);
    return st;
}

gpulet_status_t server_plan_check(gpulet_server_t *server, const gpulet_plan_t *plan,
                                  gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t d = 0; st == GPULET_OK && d < plan->devices_count; d++)
        st = check_device(server, plan, d, err);
    return st;
}

/* ---- the plan that was served last ---- */

/* What the plan was made for, at the objectives of now: it is to keep its promises still. Models
 * that were only put where there was room are not asked about. */
static gpulet_status_t promises_of(gpulet_workload_t **out, const server_plan_job_t *job,
                                   gpulet_error_t *err)
{
    const gpulet_plan_t *plan = job->plan;
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    for (size_t i = 0; st == GPULET_OK && i < plan->models_count; i++) {
        const gpulet_demand_t *asked = gpulet_workload_find(job->workload, plan->models[i].model);
        gpulet_demand_t demand = {.rate_rps = gpulet_plan_covers_rps(plan, plan->models[i].model),
                                  .weight = 1};
        if (asked == NULL || demand.rate_rps <= 0)
            continue;
        demand.slo_ms = asked->slo_ms;
        (void)snprintf(demand.model, sizeof(demand.model), "%s", plan->models[i].model);
        st = gpulet_workload_add(workload, &demand, err);
    }
    if (st != GPULET_OK) {
        gpulet_workload_destroy(workload);
        return gpulet_fail(err, st, "out of memory");
    }
    *out = workload;
    return GPULET_OK;
}

static gpulet_status_t check_promises(const server_plan_job_t *job, gpulet_error_t *err)
{
    gpulet_workload_t *workload = NULL;
    gpulet_plan_input_t input = job->input;
    if (!job->plan->feasible)
        return GPULET_OK; /* It made none. */
    gpulet_status_t st = promises_of(&workload, job, err);
    if (st != GPULET_OK)
        return st;
    input.workload = workload;
    input.rate_percentile = 0; /* which one it could hold is not known any more */
    st = gpulet_plan_verify(job->plan, &input, err);
    gpulet_workload_destroy(workload);
    return st;
}

static gpulet_status_t read_last(gpulet_plan_t **out, gpulet_server_t *server, gpulet_error_t *err)
{
    char *json = NULL;
    gpulet_status_t st = gpulet_store_last_plan(&json, server->store, err);
    if (st == GPULET_OK)
        st = gpulet_plan_parse_json(out, json, strlen(json), "store", err);
    free(json);
    return st;
}

/* Another planner was asked for since. Plans that no planner made, or that were made from others,
 * are as good as any. */
static bool is_by_another(const gpulet_server_t *server, const gpulet_plan_t *plan)
{
    const gpulet_planner_t *planner = gpulet_planner_find(plan->planner);
    return strcmp(plan->planner, "provisional") == 0 ||
           (planner != NULL && !planner->from_plan &&
            strcmp(plan->planner, server->settings.planner) != 0);
}

/* It was made for rates that this server is told otherwise. A model that it was not told of, or
 * that was not there, does not matter. */
static gpulet_status_t check_told(gpulet_server_t *server, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        double told_rps = 0;
        if (model->role != SERVER_MODEL_CURRENT ||
            gpulet_store_get_told(&told_rps, server->store, model->entry->key, err) != GPULET_OK)
            continue;
        if (fabs(told_rps - model->rate_rps) > 1e-9 * told_rps)
            return gpulet_fail(err, GPULET_E_INVALID, "model %s is said to be asked %g/s, not %g/s",
                               model->entry->key, model->rate_rps, told_rps);
    }
    return GPULET_OK;
}

bool server_planning_stored(server_plan_job_t *job, gpulet_server_t *server)
{
    char text[GPULET_ERROR_TEXT_MAX * 2];
    gpulet_error_t err = {""};
    if (server->store == NULL || server->settings.fresh_plan || !server->settings.follow ||
        server->settings.plan != NULL)
        return false;
    gpulet_status_t st = read_last(&job->plan, server, &err);
    if (st == GPULET_E_NOT_FOUND)
        return false;
    if (st == GPULET_OK && is_by_another(server, job->plan))
        st = gpulet_fail(&err, GPULET_E_INVALID, "it was made by %s", job->plan->planner);
    if (st == GPULET_OK)
        st = check_told(server, &err);
    if (st == GPULET_OK)
        st = server_plan_check(server, job->plan, &err);
    if (st == GPULET_OK)
        st = server_planning_ask_as(job, server, &err);
    if (st == GPULET_OK)
        st = check_promises(job, &err);
    if (st == GPULET_OK)
        st = server_planning_complete(job, server, "store", &err);
    if (st != GPULET_OK) {
        GPULET_LOG(INFO, "event=last_plan_refused reason=%s",
                   gpulet_log_quote(text, sizeof(text), err.text));
        server_planning_job_deinit(job);
        return false;
    }
    GPULET_LOG(INFO, "event=last_plan planner=%s", job->plan->planner);
    job->note = (gpulet_serving_note_t){.multiple = 1, .could_hold = 1};
    job->provisional = !server_planning_all_profiled(server);
    return true;
}
