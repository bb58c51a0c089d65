/* What an ensemble is made of: its stages' models are found, and held against one another. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/ensemble.h"

enum { SHAPE_TEXT = 192 };

/* A tensor as one side of a connection has it. */
typedef struct side {
    const char *who; /* "step", "input", "output" */
    const char *name;
    gpulet_datatype_t type;
    gpulet_shape_t shape; /* as clients see it, batch dimension included */
} side_t;

gpulet_status_t server_ensemble_open(gpulet_server_t *server, server_model_t *model,
                                     gpulet_error_t *err)
{
    uint64_t runs_max = server->settings.requests_max;
    if (server->app_runs == NULL) {
        runs_max = runs_max < 1                     ? 1
                   : runs_max > GPULET_APP_RUNS_MAX ? GPULET_APP_RUNS_MAX
                                                    : runs_max;
        gpulet_status_t st = gpulet_app_runs_create(&server->app_runs, (uint32_t)runs_max);
        if (st != GPULET_OK)
            return gpulet_fail(err, st, "model %s: out of memory", model->entry->key);
    }
    model->ensemble = calloc(1, sizeof(*model->ensemble));
    if (model->ensemble == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "model %s: out of memory", model->entry->key);
    model->ensemble->app = model->entry->config.app;
    return GPULET_OK;
}

void server_ensemble_close(server_model_t *model)
{
    free(model->ensemble);
    model->ensemble = NULL;
}

static const gpulet_config_io_t *find_io(const gpulet_config_io_t *list, size_t count,
                                         const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    }
    return NULL;
}

static gpulet_shape_t full_shape(const gpulet_config_io_t *io, bool batched)
{
    gpulet_shape_t shape = {.rank = io->dims.rank + batched, .dims = {-1}};
    memcpy(shape.dims + batched, io->dims.dims, io->dims.rank * sizeof(shape.dims[0]));
    return shape;
}

static side_t side_of(const char *who, const char *name, const gpulet_config_io_t *io, bool batched)
{
    return (side_t){who, name, io->type, full_shape(io, batched)};
}

/* Two shapes that some tensor has both of. */
static bool are_compatible(const gpulet_shape_t *a, const gpulet_shape_t *b)
{
    if (a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i] && a->dims[i] != -1 && b->dims[i] != -1)
            return false;
    }
    return true;
}

static gpulet_status_t check_connection(const side_t *from, const side_t *to, const char *tensor,
                                        gpulet_error_t *err)
{
    char made[SHAPE_TEXT];
    char read[SHAPE_TEXT];
    if (from->type != to->type)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s '%s' reads tensor '%s' as %s, but %s '%s' makes it %s", to->who,
                           to->name, tensor, gpulet_datatype_name(to->type), from->who, from->name,
                           gpulet_datatype_name(from->type));
    if (!are_compatible(&from->shape, &to->shape))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s '%s' reads tensor '%s' with the shape %s, but %s '%s' makes it %s",
                           to->who, to->name, tensor,
                           gpulet_shape_format(read, sizeof(read), &to->shape), from->who,
                           from->name, gpulet_shape_format(made, sizeof(made), &from->shape));
    return GPULET_OK;
}

/* One linking; models[] are those found. */
typedef struct linking {
    const gpulet_model_config_t *config; /* the ensemble's */
    const gpulet_app_t *app;
    server_model_t *models[GPULET_APP_STAGES_MAX];
    gpulet_error_t *err;
} linking_t;

static const gpulet_model_config_t *config_of(const linking_t *l, uint32_t stage)
{
    return &l->models[stage]->entry->config;
}

static gpulet_status_t find_model(linking_t *l, gpulet_server_t *server, uint32_t stage)
{
    const gpulet_app_stage_t *s = &l->app->stages[stage];
    char version[24];
    (void)snprintf(version, sizeof(version), "%lld", (long long)s->version);
    server_model_t *model = server_model_find(server, s->model, strlen(s->model),
                                              s->version == GPULET_APP_NEWEST ? NULL : version);
    if (model == NULL && s->version == GPULET_APP_NEWEST)
        return gpulet_fail(l->err, GPULET_E_NOT_FOUND,
                           "step '%s': model '%s' is not in the repository", s->name, s->model);
    if (model == NULL)
        return gpulet_fail(l->err, GPULET_E_NOT_FOUND,
                           "step '%s': model '%s' version %s is not served", s->name, s->model,
                           version);
    if (model->entry->problem != NULL)
        return gpulet_fail(l->err, GPULET_E_UNAVAILABLE, "step '%s': model '%s': %s", s->name,
                           s->model, model->entry->problem);
    if (model->ensemble != NULL)
        return gpulet_fail(l->err, GPULET_E_UNSUPPORTED,
                           "step '%s': model '%s' is an ensemble itself, which is not supported: "
                           "name its steps here",
                           s->name, s->model);
    l->models[stage] = model;
    return GPULET_OK;
}

/* Items of a request pass along: every model must take as many. */
static gpulet_status_t check_batch(const linking_t *l, uint32_t stage)
{
    const gpulet_model_config_t *config = config_of(l, stage);
    if (config->max_batch_size >= l->config->max_batch_size)
        return GPULET_OK;
    return gpulet_fail(l->err, GPULET_E_INVALID,
                       "step '%s': model '%s' has max_batch_size %d, the ensemble %d: a request's "
                       "items pass through all steps",
                       l->app->stages[stage].name, l->app->stages[stage].model,
                       config->max_batch_size, l->config->max_batch_size);
}

/* The side that makes a tensor. */
static gpulet_status_t find_source(side_t *out, const linking_t *l, uint32_t tensor)
{
    const gpulet_app_tensor_t *t = &l->app->tensors[tensor];
    if (t->producer == GPULET_APP_CLIENT) {
        *out = side_of("input", t->name, &l->config->inputs[t->producer_link],
                       l->config->max_batch_size > 0);
        return GPULET_OK;
    }
    const gpulet_app_stage_t *s = &l->app->stages[t->producer];
    const gpulet_model_config_t *config = config_of(l, t->producer);
    const char *name = s->outputs[t->producer_link].name;
    const gpulet_config_io_t *io = find_io(config->outputs, config->outputs_count, name);
    if (io == NULL)
        return gpulet_fail(l->err, GPULET_E_INVALID,
                           "step '%s': output_map: model '%s' has no output '%s'", s->name,
                           s->model, name);
    *out = side_of("step", s->name, io, config->max_batch_size > 0);
    return GPULET_OK;
}

static gpulet_status_t check_outputs(const linking_t *l, uint32_t stage)
{
    const gpulet_app_stage_t *s = &l->app->stages[stage];
    gpulet_status_t st = GPULET_OK;
    side_t side;
    for (size_t i = 0; i < s->outputs_count && st == GPULET_OK; i++)
        st = find_source(&side, l, s->outputs[i].tensor);
    return st;
}

static bool is_mapped(const gpulet_app_stage_t *s, const char *name)
{
    for (size_t i = 0; i < s->inputs_count; i++) {
        if (strcmp(s->inputs[i].name, name) == 0)
            return true;
    }
    return false;
}

static gpulet_status_t check_inputs(const linking_t *l, uint32_t stage)
{
    const gpulet_app_stage_t *s = &l->app->stages[stage];
    const gpulet_model_config_t *config = config_of(l, stage);
    for (size_t i = 0; i < s->inputs_count; i++) {
        side_t from;
        const char *name = s->inputs[i].name;
        const gpulet_config_io_t *io = find_io(config->inputs, config->inputs_count, name);
        if (io == NULL)
            return gpulet_fail(l->err, GPULET_E_INVALID,
                               "step '%s': input_map: model '%s' has no input '%s'", s->name,
                               s->model, name);
        const side_t to = side_of("step", s->name, io, config->max_batch_size > 0);
        gpulet_status_t st = find_source(&from, l, s->inputs[i].tensor);
        if (st == GPULET_OK)
            st = check_connection(&from, &to, l->app->tensors[s->inputs[i].tensor].name, l->err);
        if (st == GPULET_OK && config->max_batch_size > 0 &&
            from.shape.dims[0] > config->max_batch_size)
            st = gpulet_fail(l->err, GPULET_E_INVALID,
                             "step '%s': model '%s' has max_batch_size %d, but tensor '%s' %lld "
                             "items",
                             s->name, s->model, config->max_batch_size,
                             l->app->tensors[s->inputs[i].tensor].name,
                             (long long)from.shape.dims[0]);
        if (st != GPULET_OK)
            return st;
    }
    for (size_t i = 0; i < config->inputs_count; i++) {
        if (!is_mapped(s, config->inputs[i].name) && !config->inputs[i].optional)
            return gpulet_fail(l->err, GPULET_E_INVALID,
                               "step '%s': input_map: expected input '%s' of model '%s' as well",
                               s->name, config->inputs[i].name, s->model);
    }
    return GPULET_OK;
}

static gpulet_status_t check_whole(const linking_t *l)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < l->app->outputs_count && st == GPULET_OK; i++) {
        side_t from;
        const side_t to = side_of("output", l->config->outputs[i].name, &l->config->outputs[i],
                                  l->config->max_batch_size > 0);
        st = find_source(&from, l, l->app->outputs[i]);
        if (st == GPULET_OK)
            st = check_connection(&from, &to, l->config->outputs[i].name, l->err);
    }
    return st;
}

static gpulet_status_t link_up(linking_t *l, gpulet_server_t *server, const server_model_t *model,
                               gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    *l = (linking_t){.config = &model->entry->config, .app = model->entry->config.app, .err = err};
    for (uint32_t i = 0; i < l->app->stages_count && st == GPULET_OK; i++)
        st = find_model(l, server, i);
    for (uint32_t i = 0; i < l->app->stages_count && st == GPULET_OK; i++) {
        st = check_batch(l, i);
        if (st == GPULET_OK)
            st = check_outputs(l, i);
    }
    for (uint32_t i = 0; i < l->app->stages_count && st == GPULET_OK; i++)
        st = check_inputs(l, i);
    return st == GPULET_OK ? check_whole(l) : st;
}

gpulet_status_t server_ensemble_check(gpulet_server_t *server, const server_model_t *model,
                                      gpulet_error_t *err)
{
    linking_t l;
    return link_up(&l, server, model, err);
}

void server_ensembles_link(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        linking_t l;
        gpulet_error_t err = {""};
        if (model->ensemble == NULL)
            continue; /* One that is going has requests yet, and its models may go as well. */
        server_ensemble_t *e = model->ensemble;
        e->linked = link_up(&l, server, model, &err) == GPULET_OK;
        memset(e->models, 0, sizeof(e->models));
        if (e->linked)
            memcpy(e->models, l.models, sizeof(e->models));
        (void)snprintf(e->problem, sizeof(e->problem), "%.511s", err.text);
    }
    server_ensembles_refresh(server);
    server_ensembles_share(server);
}

/* UNAVAILABLE where a model is, READY where all are. */
static server_model_state_t state_of(char *reason, size_t reason_size, const server_ensemble_t *e)
{
    server_model_state_t state = SERVER_MODEL_READY;
    reason[0] = '\0';
    if (e->unloaded || !e->linked) {
        (void)snprintf(reason, reason_size, "%s", e->unloaded ? "unloaded" : e->problem);
        return SERVER_MODEL_UNAVAILABLE;
    }
    for (size_t i = 0; i < e->app->stages_count; i++) {
        const server_model_t *model = e->models[i];
        if (model->state == SERVER_MODEL_UNAVAILABLE) {
            (void)snprintf(reason, reason_size,
                           "step '%.60s': model '%.100s' is unavailable: %.250s",
                           e->app->stages[i].name, e->app->stages[i].model, model->reason);
            return SERVER_MODEL_UNAVAILABLE;
        }
        if (model->state != SERVER_MODEL_READY)
            state = SERVER_MODEL_LOADING;
    }
    return state;
}

void server_ensembles_refresh(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        char quoted[640];
        char reason[sizeof(model->reason)];
        if (model->ensemble == NULL || model->role == SERVER_MODEL_GOING)
            continue;
        server_model_state_t state = state_of(reason, sizeof(reason), model->ensemble);
        if (state == model->state && strcmp(reason, model->reason) == 0)
            continue;
        model->state = state;
        memcpy(model->reason, reason, sizeof(model->reason));
        GPULET_LOG(INFO, "event=ensemble model=%s state=%s reason=%s", model->entry->key,
                   state == SERVER_MODEL_READY     ? "ready"
                   : state == SERVER_MODEL_LOADING ? "loading"
                                                   : "unavailable",
                   gpulet_log_quote(quoted, sizeof(quoted), reason));
    }
}

void server_ensemble_unload(server_model_t *model, bool unloaded)
{
    model->ensemble->returning = model->ensemble->unloaded && !unloaded;
    model->ensemble->unloaded = unloaded;
}

void server_ensemble_give_up(server_model_t *model)
{
    if (model->ensemble->returning)
        server_ensemble_unload(model, true);
}

const server_labels_t *server_ensemble_labels(const server_model_t *model, uint32_t output)
{
    const server_ensemble_t *e = model->ensemble;
    if (model->labels != NULL && model->labels[output].count > 0)
        return &model->labels[output];
    const gpulet_app_tensor_t *t = &e->app->tensors[e->app->outputs[output]];
    const server_model_t *maker = e->models[t->producer];
    if (maker == NULL || maker->labels == NULL)
        return NULL;
    const char *name = e->app->stages[t->producer].outputs[t->producer_link].name;
    for (uint32_t i = 0; i < maker->entry->io.outputs_count; i++) {
        if (strcmp(maker->entry->io.outputs[i].name, name) == 0)
            return &maker->labels[i];
    }
    return NULL;
}
