/* From what is known of models, rates and devices to a plan: the planner's when every model has a
 * profile, else a provisional one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/plan_devices.h"
#include "plan/serving.h"
#include "server/ensembles.h"
#include "server/follow.h"
#include "server/internal.h"
#include "server/planning.h"

/* A model without an SLO is planned as if this were its objective. */
enum { BEST_EFFORT_SLO_MS = 60000 };

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

/* A gpu-let of ours holds a model once: what was measured of several copies in one is not what it
 * does. */
static gpulet_status_t load_profiles(gpulet_server_t *server, gpulet_error_t *err)
{
    const char *path = server->settings.profiles;
    gpulet_status_t st =
        gpulet_profile_load(&server->profile, path, GPULET_PROFILE_FORMAT_CSV, NULL, err);
    size_t dropped = st == GPULET_OK ? gpulet_profile_keep_single(server->profile) : 0;
    if (dropped > 0)
        GPULET_LOG(WARNING, "event=profile_curves_left_out file=\"%s\" count=%zu reason=instances",
                   path, dropped);
    return st;
}

gpulet_status_t server_planning_open(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *settings = &server->settings;
    gpulet_status_t st = describe_devices(server, err);
    if (st == GPULET_OK && gpulet_planner_find(settings->planner) == NULL)
        st = gpulet_fail(err, GPULET_E_INVALID, "--planner: no planner is called '%s'",
                         settings->planner);
    if (st == GPULET_OK && settings->profiles != NULL)
        st = load_profiles(server, err);
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
    server_shares_deinit(&server->shares);
    server_shares_deinit(&server->shares_next);
    gpulet_interference_destroy(server->interference);
    gpulet_profile_destroy(server->profile);
    gpulet_device_set_destroy(server->device_set);
}

/* What is asked of the models themselves and how soon. Of the rates a part may be that of
 * ensembles, whose objectives are not in here. */
static gpulet_status_t make_workload(gpulet_workload_t **out, gpulet_server_t *server,
                                     gpulet_error_t *err)
{
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    server_ensembles_expect(server);
    for (uint32_t i = 0; i < server->models_count && st == GPULET_OK; i++) {
        const server_model_t *model = &server->models[i];
        gpulet_demand_t demand = {.priority = model->priority, .weight = model->weight};
        if (!server_model_wanted(model))
            continue;
        (void)snprintf(demand.model, sizeof(demand.model), "%s", model->entry->key);
        demand.rate_rps = server_follow_rate_rps(server, model);
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

/* ---- devices that are left ---- */

static bool is_usable(const server_device_t *device)
{
    return !device->gone && !device->failing;
}

/* to[i]: which device of the machine the planner's number i of the type is, or, inverse, the other
 * way round. The count of usable ones. */
static uint32_t number_devices(uint32_t to[SERVER_DEVICES_MAX], const gpulet_server_t *server,
                               const char *type, bool inverse)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < SERVER_DEVICES_MAX; i++)
        to[i] = UINT32_MAX;
    for (uint32_t i = 0; i < server->devices_count; i++) {
        const gpulet_device_desc_t *desc = &server->devices[i].desc;
        if (strcmp(desc->type, type) != 0 || !is_usable(&server->devices[i]))
            continue;
        if (inverse && desc->index < SERVER_DEVICES_MAX)
            to[desc->index] = count;
        else if (!inverse)
            to[count] = desc->index;
        count++;
    }
    return count;
}

static void renumber(gpulet_plan_t *plan, const gpulet_server_t *server, bool inverse)
{
    uint32_t to[SERVER_DEVICES_MAX];
    for (uint32_t i = 0; i < server->device_set->types_count; i++) {
        const char *type = server->device_set->types[i].name;
        (void)number_devices(to, server, type, inverse);
        gpulet_plan_renumber(plan, type, to, SERVER_DEVICES_MAX);
    }
}

static gpulet_status_t usable_devices(gpulet_device_set_t **out, const gpulet_server_t *server,
                                      gpulet_error_t *err)
{
    const gpulet_device_set_t *set = server->device_set;
    int32_t counts[GPULET_DEVICE_TYPES_MAX];
    uint32_t to[SERVER_DEVICES_MAX];
    for (uint32_t i = 0; i < set->types_count; i++) {
        int32_t there = (int32_t)number_devices(to, server, set->types[i].name, false);
        counts[i] = set->counts[i] >= 0 && set->counts[i] < there ? set->counts[i] : there;
    }
    gpulet_status_t st = gpulet_device_set_clone(out, set, counts);
    return st == GPULET_E_NOT_FOUND ? gpulet_fail(err, GPULET_E_UNAVAILABLE, "no device is left")
           : st != GPULET_OK        ? gpulet_fail(err, st, "out of memory")
                                    : GPULET_OK;
}

/* ---- a provisional plan ---- */

static bool add_share(gpulet_plan_gpulet_t *gpulet, const gpulet_server_t *server,
                      const server_model_t *model)
{
    gpulet_plan_share_t *share = gpulet_plan_add_share(gpulet);
    if (share == NULL)
        return false;
    (void)snprintf(share->model, sizeof(share->model), "%s", model->entry->key);
    share->batch = 1;
    share->instances = 1;
    share->interference = 1;
    share->rate_rps = server_follow_rate_rps(server, model);
    return true;
}

/* One gpu-let over the whole of the first usable device, all models in turns. */
static gpulet_plan_gpulet_t *add_whole_device(gpulet_plan_t *plan, const gpulet_server_t *server)
{
    uint32_t first = 0;
    while (first + 1 < server->devices_count && !is_usable(&server->devices[first]))
        first++;
    gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
    if (device == NULL)
        return NULL;
    (void)snprintf(device->type, sizeof(device->type), "%s", server->devices[first].desc.type);
    device->index = server->devices[first].desc.index;
    gpulet_plan_gpulet_t *gpulet = gpulet_plan_add_gpulet(device);
    if (gpulet == NULL)
        return NULL;
    gpulet->units = server->devices[first].desc.units;
    gpulet->slot = -1;
    return gpulet;
}

static gpulet_status_t make_provisional(gpulet_plan_t **out, gpulet_server_t *server,
                                        gpulet_error_t *err)
{
    server_ensembles_expect(server);
    gpulet_plan_t *plan = NULL;
    gpulet_status_t st = gpulet_plan_create(&plan);
    gpulet_plan_gpulet_t *gpulet = st == GPULET_OK ? add_whole_device(plan, server) : NULL;
    bool ok = gpulet != NULL;
    for (uint32_t i = 0; i < server->models_count && ok; i++) {
        if (server_model_wanted(&server->models[i]))
            ok = add_share(gpulet, server, &server->models[i]);
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

bool server_planning_all_profiled(const gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server_model_wanted(&server->models[i]) &&
            !gpulet_profile_has_model(server->profile, NULL, server->models[i].entry->key))
            return false;
    }
    return true;
}

/* ---- plans made elsewhere ---- */

void server_planning_input(gpulet_plan_input_t *out, const gpulet_server_t *server,
                           const gpulet_profile_t *profile, const gpulet_device_set_t *devices,
                           const gpulet_workload_t *workload)
{
    *out = (gpulet_plan_input_t){
        .profile = profile,
        .devices = devices,
        .workload = workload,
        .interference = server->interference,
        .latency_margin = server->settings.latency_margin,
        .slo_fraction = server->settings.slo_fraction,
        .rate_percentile = server->settings.rate_percentile,
        .p99 = true,
    };
}

/* The workload is replaced by one in which every model has the share that ensembles leave it. */
static void take_workload(server_plan_job_t *job)
{
    gpulet_workload_destroy(job->workload);
    job->workload = job->shares.split->workload;
    job->shares.split->workload = NULL;
    job->input.workload = job->workload;
}

static void make_options(gpulet_apps_options_t *out, const gpulet_planner_t *planner)
{
    *out =
        (gpulet_apps_options_t){.planner = planner, .rate_rps_default = 1, .rates_included = true};
}

gpulet_status_t server_planning_ask_as(server_plan_job_t *job, gpulet_server_t *server,
                                       gpulet_error_t *err)
{
    gpulet_error_t why = {""};
    gpulet_apps_options_t options;
    gpulet_status_t st = make_workload(&job->workload, server, err);
    if (st != GPULET_OK)
        return st;
    server_planning_input(&job->input, server, server->profile, server->device_set, job->workload);
    st = server_ensembles_describe(&job->shares.apps, server, err);
    if (st != GPULET_OK || job->shares.apps == NULL)
        return st;
    make_options(&options, NULL);
    st = gpulet_apps_plan_adopt(&job->shares.split, job->plan, &job->input, job->shares.apps,
                                &options, &why);
    if (st != GPULET_OK && server_planning_all_profiled(server)) {
        options.plans_max = 1;
        st = gpulet_apps_plan_split(&job->shares.split, &job->input, job->shares.apps, &options,
                                    &why);
    }
    if (st == GPULET_OK)
        take_workload(job);
    else if (st == GPULET_E_NOMEM)
        return gpulet_fail(err, st, "out of memory");
    return GPULET_OK;
}

gpulet_status_t server_planning_complete(server_plan_job_t *job, gpulet_server_t *server,
                                         const char *source, gpulet_error_t *err)
{
    gpulet_error_t why;
    uint32_t orphans = 0;
    gpulet_status_t st =
        job->workload != NULL ? GPULET_OK : server_planning_ask_as(job, server, err);
    if (st != GPULET_OK)
        return st;
    if (server_planning_all_profiled(server) &&
        gpulet_plan_verify(job->plan, &job->input, &why) != GPULET_OK) {
        char text[GPULET_ERROR_TEXT_MAX * 2];
        GPULET_LOG(WARNING, "event=plan_unverified source=%s reason=%s", source,
                   gpulet_log_quote(text, sizeof(text), why.text));
    }
    st = gpulet_plan_adopt_orphans(job->plan, &orphans, &job->input, err);
    if (orphans > 0)
        GPULET_LOG(INFO, "event=plan_completed source=%s models=%u", source, orphans);
    return st;
}

static gpulet_status_t load_given_plan(server_plan_job_t *job, gpulet_server_t *server)
{
    gpulet_status_t st = gpulet_plan_load(&job->plan, server->settings.plan, &job->err);
    return st == GPULET_OK ? server_planning_complete(job, server, server->settings.plan, &job->err)
                           : st;
}

/* ---- planning ---- */

void server_planning_job_deinit(server_plan_job_t *job)
{
    gpulet_profile_destroy(job->profile);
    gpulet_workload_destroy(job->workload);
    gpulet_device_set_destroy(job->devices);
    gpulet_plan_destroy(job->from);
    gpulet_plan_destroy(job->plan);
    server_shares_deinit(&job->shares);
    job->profile = NULL;
    job->workload = NULL;
    job->devices = NULL;
    job->from = NULL;
    job->plan = NULL;
}

static bool is_provisional(const gpulet_plan_t *plan)
{
    return strcmp(plan->planner, "provisional") == 0;
}

static gpulet_status_t copy_running(server_plan_job_t *job, const gpulet_server_t *server)
{
    const gpulet_plan_t *plan = server->plan;
    if (plan == NULL || is_provisional(plan))
        return GPULET_OK;
    gpulet_status_t st = gpulet_plan_clone(&job->from, plan);
    if (st == GPULET_OK)
        renumber(job->from, server, true);
    return st;
}

gpulet_status_t server_planning_prepare(server_plan_job_t *job, gpulet_server_t *server,
                                        gpulet_error_t *err)
{
    gpulet_status_t st = usable_devices(&job->devices, server, err);
    if (st == GPULET_OK)
        st = make_workload(&job->workload, server, err);
    if (st == GPULET_OK && gpulet_profile_clone(&job->profile, server->profile) != GPULET_OK)
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st == GPULET_OK)
        st = server_ensembles_describe(&job->shares.apps, server, err);
    if (st == GPULET_OK && copy_running(job, server) != GPULET_OK)
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st != GPULET_OK)
        return st;
    server_planning_input(&job->input, server, job->profile, job->devices, job->workload);
    job->input.from = job->from;
    job->options = (gpulet_serving_options_t){
        .planner = gpulet_planner_find(server->settings.planner),
        .use_spare = server->settings.use_spare,
        .all_devices = server->settings.all_devices,
        .overhead_ms = server->settings.overhead_us / 1000,
    };
    return GPULET_OK;
}

static gpulet_status_t share_out(server_plan_job_t *job)
{
    gpulet_apps_options_t options;
    if (job->shares.apps == NULL)
        return GPULET_OK;
    make_options(&options, job->options.planner);
    gpulet_status_t st = gpulet_apps_plan_split(&job->shares.split, &job->input, job->shares.apps,
                                                &options, &job->err);
    if (st == GPULET_OK)
        take_workload(job);
    return st;
}

void server_planning_run(server_plan_job_t *job)
{
    uint64_t begin_ns = gpulet_clock_ns();
    job->status = share_out(job);
    if (job->status == GPULET_OK)
        job->status =
            gpulet_plan_serving(&job->plan, &job->note, &job->input, &job->options, &job->err);
    job->plan_ns = gpulet_clock_ns() - begin_ns;
    if (job->status == GPULET_OK)
        job->plan->elapsed_ms = (double)job->plan_ns / 1e6;
}

void server_planning_finish(server_plan_job_t *job, const gpulet_server_t *server)
{
    char text[GPULET_PLAN_REASON_MAX * 2];
    renumber(job->plan, server, false);
    if (!job->plan->feasible)
        GPULET_LOG(WARNING, "event=plan_infeasible planner=%s reason=%s", job->plan->planner,
                   gpulet_log_quote(text, sizeof(text), job->plan->reason));
    else if (job->note.percentile < job->input.rate_percentile)
        GPULET_LOG(WARNING, "event=plan_margin wanted=%g reached=%g", job->input.rate_percentile,
                   job->note.percentile);
    if (job->note.multiple > 1)
        GPULET_LOG(INFO, "event=plan_spare rate_multiple=%.3g could_hold=%.3g", job->note.multiple,
                   job->note.could_hold);
}

static bool devices_are_there(const gpulet_server_t *server, const gpulet_plan_t *plan)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        bool there = false;
        for (uint32_t i = 0; i < server->devices_count && !there; i++)
            there = is_usable(&server->devices[i]) &&
                    server->devices[i].desc.index == plan->devices[d].index &&
                    strcmp(server->devices[i].desc.type, plan->devices[d].type) == 0;
        if (!there)
            return false;
    }
    return true;
}

/* What runs, and the models of which nothing is known yet in gpu-lets of others: those that have
 * a place keep it until all can be planned for. */
static gpulet_status_t extend_running(server_plan_job_t *job, gpulet_server_t *server)
{
    if (server->plan == NULL || is_provisional(server->plan) ||
        !devices_are_there(server, server->plan))
        return GPULET_E_NOT_FOUND;
    gpulet_status_t st = gpulet_plan_clone(&job->plan, server->plan);
    if (st == GPULET_OK)
        st = server_planning_complete(job, server, "running", &job->err);
    if (st != GPULET_OK) {
        gpulet_plan_destroy(job->plan);
        job->plan = NULL;
    }
    return st;
}

bool server_planning_without_planner(server_plan_job_t *job, gpulet_server_t *server)
{
    bool first = server->plan == NULL;
    if (server->settings.plan != NULL && (first || !server->settings.follow)) {
        job->status = load_given_plan(job, server);
    } else if (!server_planning_all_profiled(server)) {
        job->provisional = true;
        job->status = extend_running(job, server);
        if (job->status != GPULET_OK)
            job->status = make_provisional(&job->plan, server, &job->err);
    } else {
        return false;
    }
    job->note = (gpulet_serving_note_t){.multiple = 1, .could_hold = 1};
    return true;
}

void server_planning_make(server_plan_job_t *job, gpulet_server_t *server)
{
    if (server_planning_without_planner(job, server))
        return;
    job->status = server_planning_prepare(job, server, &job->err);
    if (job->status == GPULET_OK)
        server_planning_run(job);
    if (job->status == GPULET_OK)
        server_planning_finish(job, server);
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
