/* From a plan to gpu-lets, make before break. A gpu-let of the running plan goes on when the new
 * one has one of its size on the same device with a model in common (core/plan_movement.h); the
 * others are started on units that may overlap for a while and loaded in the background. What
 * becomes of them is transition.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/gpulets.h"

/* A gpu-let of the new plan, and how it is come by. */
typedef struct wanted {
    server_gpulet_t *fresh; /* as planned; owned unless it was started */
    server_gpulet_t *kept;  /* it goes on from this one; NULL: it is started */
    server_service_t *merged;
    uint32_t merged_count;
    bool held; /* there is no memory for it yet */
} wanted_t;

typedef struct wanted_list {
    wanted_t *items;
    size_t count;
} wanted_list_t;

/* ---- what the plan wants ---- */

static int device_of(const gpulet_server_t *server, const gpulet_plan_device_t *device)
{
    for (uint32_t i = 0; i < server->devices_count; i++) {
        if (strcmp(server->devices[i].desc.type, device->type) == 0 &&
            server->devices[i].desc.index == device->index)
            return (int)i;
    }
    return -1;
}

static gpulet_status_t fill_services(server_gpulet_t *g, const gpulet_plan_gpulet_t *planned,
                                     gpulet_error_t *err)
{
    g->services =
        calloc(planned->shares_count > 0 ? planned->shares_count : 1, sizeof(*g->services));
    if (g->services == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < planned->shares_count; i++) {
        const gpulet_plan_share_t *share = &planned->shares[i];
        const server_model_t *model = server_model_by_key(g->server, share->model);
        if (model == NULL)
            return gpulet_fail(err, GPULET_E_NOT_FOUND, "plan: model '%s' is not in the repository",
                               share->model);
        if (server_gpulet_service(g, model->id) != NULL)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "plan: model '%s' stands twice in one gpu-let", share->model);
        if (share->instances > 1)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "plan: model '%s': instances: gpuletd holds a model once in a "
                               "gpu-let, found %u",
                               share->model, share->instances);
        if (!server_model_wanted(model))
            continue; /* A plan from a file may name what cannot be, or is not to be, served. */
        uint32_t batch = share->batch < model->batch_max ? share->batch : model->batch_max;
        g->services[g->services_count++] = (server_service_t){
            .model = model->id,
            .batch = batch,
            .batch_next = batch,
            .rate_rps = share->rate_rps,
            .rate_next = share->rate_rps,
        };
    }
    return GPULET_OK;
}

static gpulet_status_t create_gpulet(server_gpulet_t **out, gpulet_server_t *server,
                                     uint32_t device, const gpulet_plan_gpulet_t *planned,
                                     gpulet_error_t *err)
{
    server_gpulet_t *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    g->server = server;
    g->device = device;
    g->units = planned->units;
    g->duty_ms = planned->duty_ms;
    g->duty_next = planned->duty_ms;
    g->lane = SERVER_LANE_NONE;
    gpulet_status_t st = fill_services(g, planned, err);
    if (st != GPULET_OK) {
        free(g->services);
        free(g);
        return st;
    }
    *out = g;
    return GPULET_OK;
}

static gpulet_status_t collect_device(wanted_list_t *list, gpulet_server_t *server,
                                      const gpulet_plan_device_t *planned, gpulet_error_t *err)
{
    int device = device_of(server, planned);
    if (device < 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "plan: device %s %u is not on this machine",
                           planned->type, planned->index);
    for (size_t i = 0; i < planned->gpulets_count; i++) {
        server_gpulet_t *g = NULL;
        gpulet_status_t st = create_gpulet(&g, server, (uint32_t)device, &planned->gpulets[i], err);
        if (st != GPULET_OK)
            return st;
        list->items[list->count].fresh = g;
        list->count += g->services_count > 0;
        if (g->services_count == 0)
            server_gpulet_free(g);
    }
    return GPULET_OK;
}

static gpulet_status_t collect(wanted_list_t *list, gpulet_server_t *server,
                               const gpulet_plan_t *plan, gpulet_error_t *err)
{
    size_t capacity = 1; /* one is written to before it is known to be wanted */
    for (size_t d = 0; d < plan->devices_count; d++)
        capacity += plan->devices[d].gpulets_count;
    list->items = calloc(capacity, sizeof(*list->items));
    gpulet_status_t st =
        list->items != NULL ? GPULET_OK : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t d = 0; d < plan->devices_count && st == GPULET_OK; d++)
        st = collect_device(list, server, &plan->devices[d], err);
    return st;
}

static void list_deinit(wanted_list_t *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].merged);
        if (list->items[i].fresh != NULL)
            server_gpulet_free(list->items[i].fresh);
    }
    free(list->items);
}

/* ---- which go on ---- */

static bool is_claimed(const wanted_list_t *list, const server_gpulet_t *g)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kept == g)
            return true;
    }
    return false;
}

static bool can_go_on(const wanted_list_t *list, const server_gpulet_t *g,
                      const server_gpulet_t *fresh)
{
    bool lives = g->state <= SERVER_GPULET_SERVING ||
                 (g->state == SERVER_GPULET_BACKOFF && g->failures < GPULETS_GIVE_UP_AFTER);
    return lives && !g->lost && !g->stopped && g->device == fresh->device &&
           g->units == fresh->units && !is_claimed(list, g);
}

static bool is_equal(const server_gpulet_t *g, const server_gpulet_t *fresh)
{
    if (g->services_count != fresh->services_count)
        return false;
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (g->services[i].model != fresh->services[i].model ||
            g->services[i].batch_next != fresh->services[i].batch || g->services[i].going)
            return false;
    }
    return true;
}

/* How many models it would go on with; 0: it cannot. Nothing is loaded into a worker that serves
 * but what a worker has loaded before: a model that nobody has tried may take its process along.
 * Where a larger batch has to be prepared for (a GPU), that takes a new worker. */
static uint32_t in_common(server_gpulet_t *g, const server_gpulet_t *fresh)
{
    const gpulet_server_t *server = g->server;
    bool any_batch = (server->devices[g->device].desc.caps & GPULET_CAP_RESIZE_LIVE) != 0;
    uint32_t common = 0;
    for (uint32_t i = 0; i < fresh->services_count; i++) {
        const server_service_t *w = &fresh->services[i];
        const server_service_t *s = server_gpulet_service(g, w->model);
        const server_model_t *model = &server->models[w->model];
        if (s == NULL && (model->role != SERVER_MODEL_CURRENT || model->load_ns == 0))
            return 0;
        if (s != NULL && (s->failed || (!any_batch && s->asked && w->batch > s->batch_loaded)))
            return 0;
        common += s != NULL && !s->coming;
    }
    return common;
}

static void match_equal(wanted_list_t *list, gpulet_server_t *server)
{
    for (size_t i = 0; i < list->count; i++) {
        wanted_t *w = &list->items[i];
        for (server_gpulet_t *g = server->gpulets; g != NULL && w->kept == NULL; g = g->next) {
            if (can_go_on(list, g, w->fresh) && is_equal(g, w->fresh))
                w->kept = g;
        }
    }
}

/* The pair with most models in common first. */
static void match_alike(wanted_list_t *list, gpulet_server_t *server)
{
    for (;;) {
        uint32_t most = 0;
        wanted_t *to = NULL;
        server_gpulet_t *from = NULL;
        for (size_t i = 0; i < list->count; i++) {
            wanted_t *w = &list->items[i];
            for (server_gpulet_t *g = server->gpulets; g != NULL && w->kept == NULL; g = g->next) {
                uint32_t common = can_go_on(list, g, w->fresh) ? in_common(g, w->fresh) : 0;
                if (common <= most)
                    continue;
                most = common;
                to = w;
                from = g;
            }
        }
        if (to == NULL)
            return;
        to->kept = from;
    }
}

static gpulet_status_t merge_kept(wanted_list_t *list, gpulet_error_t *err)
{
    for (size_t i = 0; i < list->count; i++) {
        wanted_t *w = &list->items[i];
        if (w->kept != NULL &&
            server_gpulet_merge(&w->merged, &w->merged_count, w->kept, w->fresh) != GPULET_OK)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    return GPULET_OK;
}

/* ---- memory ---- */

static double added_mb(const wanted_t *w)
{
    double mb = w->kept == NULL ? server_memory_process_mb(w->fresh) : 0;
    const server_service_t *services = w->kept == NULL ? w->fresh->services : w->merged;
    uint32_t count = w->kept == NULL ? w->fresh->services_count : w->merged_count;
    for (uint32_t i = 0; i < count; i++) {
        if (w->kept == NULL || (services[i].coming && !services[i].asked))
            mb += server_memory_service_mb(w->fresh, &services[i]);
    }
    return mb;
}

static void hold(wanted_t *w)
{
    w->held = true;
    for (uint32_t i = 0; i < w->merged_count; i++)
        w->merged[i].held = w->merged[i].coming && !w->merged[i].asked;
}

/* What does not fit beside what is there waits. */
static void hold_some(wanted_list_t *list, const gpulet_server_t *server)
{
    for (uint32_t d = 0; d < server->devices_count; d++) {
        double room_mb = server_memory_limit_mb(server, d) - server_memory_used_mb(server, d);
        for (size_t i = 0; i < list->count; i++) {
            wanted_t *w = &list->items[i];
            double mb = w->fresh->device == d ? added_mb(w) : 0;
            if (mb > 0 && mb > room_mb)
                hold(w);
            else
                room_mb -= mb;
        }
    }
}

/* ---- starting the others ---- */

/* Units may be shared for a while with gpu-lets that the new plan does not keep, never between two
 * of one plan. */
static bool some_will_go(const wanted_list_t *list, const gpulet_server_t *server, uint32_t device)
{
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device == device && !is_claimed(list, g))
            return true;
    }
    return false;
}

static gpulet_status_t start_fresh(wanted_list_t *list, gpulet_server_t *server, wanted_t *w,
                                   gpulet_error_t *err)
{
    server_gpulet_t *g = w->fresh;
    gpulet_device_t *device = server->devices[g->device].device;
    (void)snprintf(g->name, sizeof(g->name), "%.24s%u.%u", server->devices[g->device].desc.type,
                   server->devices[g->device].desc.index, ++server->gpulets_named);
    gpulet_status_t st = server->backend->carve(&g->partition, device, g->units, 0, err);
    if (st == GPULET_E_FULL && some_will_go(list, server, g->device)) {
        st = server->backend->carve(&g->partition, device, g->units, 1, err);
        g->overlaps = true;
    }
    if (st != GPULET_OK || !w->held)
        return st == GPULET_OK ? server_gpulet_start(g, err) : st;
    g->state = SERVER_GPULET_HELD;
    return GPULET_OK;
}

static gpulet_status_t start_all(wanted_list_t *list, gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < list->count && st == GPULET_OK; i++) {
        if (list->items[i].kept == NULL)
            st = start_fresh(list, server, &list->items[i], err);
    }
    return st;
}

/* ---- the change of plans ---- */

static void count_loads(server_transition_t *t, const wanted_t *w)
{
    for (uint32_t i = 0; i < w->merged_count; i++) {
        t->loaded += w->merged[i].coming;
        t->unloaded += w->merged[i].going && !w->merged[i].coming;
    }
}

static void commit_one(gpulet_server_t *server, wanted_t *w)
{
    server_transition_t *t = &server->transition;
    if (w->kept == NULL) {
        t->started++;
        t->loaded += w->fresh->services_count;
        w->fresh->next = server->gpulets;
        server->gpulets = w->fresh;
        w->fresh = NULL;
        return;
    }
    w->kept->retired = false;
    t->kept += w->kept->running;
    count_loads(t, w);
    server_gpulet_change_begin(w->kept, w->merged, w->merged_count, w->fresh->duty_ms);
    w->merged = NULL;
}

/* Everything is there that could fail to be. */
static void commit(gpulet_server_t *server, wanted_list_t *list)
{
    server_transition_t *t = &server->transition;
    *t = (server_transition_t){.begun_ns = gpulet_clock_ns()};
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        g->retired = true;
        if (is_claimed(list, g))
            continue;
        if (g->running) {
            t->stopped++;
            t->unloaded += g->services_count;
            server_gpulet_change_undo(g); /* of a plan that was never reached */
        } else if (g->state != SERVER_GPULET_DRAINING && g->state != SERVER_GPULET_STOPPING) {
            server_gpulet_stop(g); /* likewise */
        }
    }
    for (size_t i = 0; i < list->count; i++)
        commit_one(server, &list->items[i]);
}

gpulet_status_t server_gpulets_apply(gpulet_server_t *server, gpulet_plan_t *plan,
                                     gpulet_error_t *err)
{
    wanted_list_t list = {NULL, 0};
    gpulet_status_t st = collect(&list, server, plan, err);
    if (st == GPULET_OK) {
        match_equal(&list, server);
        match_alike(&list, server);
        st = merge_kept(&list, err);
    }
    if (st == GPULET_OK) {
        hold_some(&list, server);
        st = start_all(&list, server, err);
    }
    if (st != GPULET_OK) {
        list_deinit(&list);
        gpulet_plan_destroy(plan);
        return st;
    }
    commit(server, &list);
    list_deinit(&list);
    gpulet_plan_destroy(server->plan_next); /* it was never served */
    server->plan_next = plan;
    server->switching = true;
    server->gpulets_dirty = true;
    server_memory_make_room(server, gpulet_clock_ns());
    return GPULET_OK;
}
