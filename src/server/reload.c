/* Models read anew from the repository at run time: make before break, as with plans. What changed
 * is loaded beside what is served, under another number inside, and takes its place when the plan
 * with it is served; what waits for the old one is then given to the new one if it takes the same
 * tensors. If it cannot be loaded, nothing has changed. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ensembles.h"
#include "server/follow.h"
#include "server/gpulets.h"
#include "server/known.h"
#include "server/recall.h"

static bool is_same(const gpulet_repository_model_t *a, const gpulet_repository_model_t *b)
{
    return a->problem == NULL && b->problem == NULL && a->version == b->version &&
           strcmp(a->key, b->key) == 0 && strcmp(a->file_key, b->file_key) == 0 &&
           strcmp(a->config_text, b->config_text) == 0;
}

/* The model of that role, name and version; NULL. */
static server_model_t *find(gpulet_server_t *server, server_model_role_t role,
                            const gpulet_repository_model_t *entry)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role == role && model->entry->version == entry->version &&
            strcmp(model->entry->name, entry->name) == 0)
            return model;
    }
    return NULL;
}

static bool is_served_by(const gpulet_repository_t *fresh, const server_model_t *model)
{
    for (size_t i = 0; i < fresh->count; i++) {
        if (fresh->models[i].version == model->entry->version)
            return true;
    }
    return false;
}

static void abandon(gpulet_server_t *server, server_model_t *coming)
{
    coming->role = SERVER_MODEL_GOING;
    server_known_abandon(server, coming);
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server->models[i].successor == coming)
            server->models[i].successor = NULL;
    }
}

void server_reload_abandon(gpulet_server_t *server, const char *name)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_FREE || strcmp(model->entry->name, name) != 0)
            continue;
        if (model->role == SERVER_MODEL_COMING)
            abandon(server, model);
        model->dropped = false;
    }
}

/* An ensemble has nothing to load, but its models must be there. */
static gpulet_status_t take_ensemble(gpulet_server_t *server, server_model_t *model, bool *anything,
                                     gpulet_error_t *err)
{
    *anything |= model->state == SERVER_MODEL_UNAVAILABLE;
    server_ensemble_unload(model, false);
    server_ensembles_link(server);
    return server_ensemble_check(server, model, err) == GPULET_OK ? GPULET_OK : GPULET_E_INVALID;
}

/* One version as it is now on disk. */
static gpulet_status_t take_version(gpulet_server_t *server, gpulet_repository_t *fresh,
                                    size_t index, bool *anything, gpulet_error_t *err)
{
    server_model_t *old = find(server, SERVER_MODEL_CURRENT, &fresh->models[index]);
    if (old != NULL && is_same(old->entry, &fresh->models[index])) {
        if (old->ensemble != NULL)
            return take_ensemble(server, old, anything, err);
        *anything |= old->state != SERVER_MODEL_READY;
        if (old->state == SERVER_MODEL_UNAVAILABLE) {
            old->state = SERVER_MODEL_LOADING;
            server_recall_model(server, old);
        }
        old->reason[0] = '\0';
        return GPULET_OK;
    }
    server_model_t *model = NULL;
    gpulet_status_t st = server_catalog_add(&model, server, fresh, index, err);
    if (st != GPULET_OK)
        return st;
    *anything = true;
    if (old != NULL) {
        old->successor = model;
        server_catalog_share_inputs(model, old);
    }
    server_known_begin(server, model, old);
    server_recall_model(server, model);
    return model->ensemble != NULL ? take_ensemble(server, model, anything, err) : GPULET_OK;
}

static gpulet_status_t check_problems(const gpulet_repository_t *fresh, gpulet_error_t *err)
{
    for (size_t i = 0; i < fresh->count; i++) {
        if (fresh->models[i].problem != NULL)
            return gpulet_fail(err, GPULET_E_INVALID, "%s", fresh->models[i].problem);
    }
    return GPULET_OK;
}

gpulet_status_t server_reload_begin(gpulet_server_t *server, const char *name, const char *config,
                                    bool *anything, gpulet_error_t *err)
{
    const gpulet_settings_t *s = &server->settings;
    gpulet_repository_t fresh;
    *anything = false;
    gpulet_status_t st = gpulet_repository_read_one(&fresh, s->model_repository, name, config,
                                                    s->engine, (uint32_t)s->batch_max, err);
    if (st != GPULET_OK)
        return st;
    if ((st = check_problems(&fresh, err)) != GPULET_OK) {
        gpulet_repository_deinit(&fresh);
        return st;
    }
    server_reload_abandon(server, name);
    for (uint32_t i = 0; i < server->named_count; i++) {
        server_model_t *model = server->named[i];
        if (strcmp(model->entry->name, name) != 0 || is_served_by(&fresh, model))
            continue;
        model->dropped = true;
        *anything = true;
    }
    for (size_t i = 0; i < fresh.count && st == GPULET_OK; i++)
        st = take_version(server, &fresh, i, anything, err);
    if (st != GPULET_OK)
        server_reload_abandon(server, name);
    gpulet_repository_deinit(&fresh);
    return st;
}

/* Where the new one could not be loaded, the old one says why, if it does not serve either. failed
 * may be NULL for one that is ready. */
static void settle_coming(gpulet_server_t *server, server_model_t *model,
                          void (*failed)(gpulet_server_t *, const server_model_t *))
{
    server_model_t *old = find(server, SERVER_MODEL_CURRENT, model->entry);
    if (model->state == SERVER_MODEL_READY ||
        (model->ensemble != NULL && model->state == SERVER_MODEL_LOADING)) {
        model->role = SERVER_MODEL_CURRENT;
        if (old != NULL)
            old->role = SERVER_MODEL_GOING;
        GPULET_LOG(INFO, "event=model_replaced model=%s version=%s", model->entry->key,
                   model->version_text);
        return;
    }
    failed(server, model);
    if (old != NULL && old->state == SERVER_MODEL_UNAVAILABLE)
        memcpy(old->reason, model->reason, sizeof(old->reason));
    abandon(server, model);
}

void server_reload_promote(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_COMING && model->state == SERVER_MODEL_READY)
            settle_coming(server, model, NULL);
    }
    server_catalog_index(server);
}

void server_reload_settle(gpulet_server_t *server,
                          void (*failed)(gpulet_server_t *server, const server_model_t *model))
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_COMING)
            settle_coming(server, model, failed);
    }
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_CURRENT && model->dropped &&
            !server_gpulets_serve(server, model->id))
            model->role = SERVER_MODEL_GOING;
        model->dropped = false;
    }
    server_catalog_index(server);
}

static bool is_held(const gpulet_server_t *server, const server_model_t *model)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (server_gpulet_service(g, model->id) != NULL)
            return true;
    }
    return model->infers_open > 0;
}

void server_reload_reap(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role != SERVER_MODEL_GOING || is_held(server, model))
            continue;
        if (server_calibrate_measures(server, model)) {
            server_calibrate_end(server);
            server_calibrate_want(server);
        }
        server_brain_apply(server,
                           gpulet_sched_model_remove(server->sched, gpulet_clock_ns(), model->id));
        for (uint32_t k = 0; k < server->models_count; k++) {
            if (server->models[k].successor == model)
                server->models[k].successor = NULL;
        }
        server_follow_forget(server, model);
        server_catalog_free(model);
    }
}

static bool same_tensors(const gpulet_tensor_spec_t *a, uint32_t a_count,
                         const gpulet_tensor_spec_t *b, uint32_t b_count)
{
    if (a_count != b_count)
        return false;
    for (uint32_t i = 0; i < a_count; i++) {
        if (strcmp(a[i].name, b[i].name) != 0 || a[i].type != b[i].type ||
            !gpulet_shape_equal(&a[i].shape, &b[i].shape))
            return false;
    }
    return true;
}

/* A request is laid out by the configuration: by its places, dims and reshapes. */
static bool same_listed(const gpulet_config_io_t *a, size_t a_count, const gpulet_config_io_t *b,
                        size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++) {
        if (strcmp(a[i].name, b[i].name) != 0 || !gpulet_shape_equal(&a[i].dims, &b[i].dims) ||
            a[i].reshape_given != b[i].reshape_given ||
            (a[i].reshape_given && !gpulet_shape_equal(&a[i].reshape, &b[i].reshape)))
            return false;
    }
    return true;
}

server_model_t *server_reload_heir(const server_model_t *model)
{
    server_model_t *heir = model->successor;
    if (heir == NULL || heir->role == SERVER_MODEL_GOING || heir->inputs != model->inputs ||
        heir->batched != model->batched || heir->state == SERVER_MODEL_UNAVAILABLE)
        return NULL;
    const gpulet_model_io_t *a = &model->entry->io;
    const gpulet_model_io_t *b = &heir->entry->io;
    const gpulet_model_config_t *c = &model->entry->config;
    const gpulet_model_config_t *d = &heir->entry->config;
    return same_tensors(a->inputs, a->inputs_count, b->inputs, b->inputs_count) &&
                   same_tensors(a->outputs, a->outputs_count, b->outputs, b->outputs_count) &&
                   same_listed(c->inputs, c->inputs_count, d->inputs, d->inputs_count) &&
                   same_listed(c->outputs, c->outputs_count, d->outputs, d->outputs_count)
               ? heir
               : NULL;
}
