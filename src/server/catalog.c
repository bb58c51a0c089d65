/* Models as the server knows them: configuration, input segment, statistics, and what the brain is
 * told of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "proto/pbtxt.h"
#include "server/ensemble.h"

enum { PATH_SIZE = 4096, LABELS_SIZE_MAX = 1 << 22 };

static bool has_dynamic_dims(const gpulet_model_io_t *io, bool batched)
{
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        const gpulet_shape_t *shape = &io->inputs[i].shape;
        for (uint32_t d = batched ? 1 : 0; d < shape->rank; d++) {
            if (shape->dims[d] < 0)
                return true;
        }
    }
    return false;
}

static gpulet_status_t split_labels(server_labels_t *labels, size_t size, gpulet_error_t *err)
{
    size_t lines = 1;
    for (size_t i = 0; i < size; i++)
        lines += labels->text[i] == '\n';
    labels->names = calloc(lines, sizeof(*labels->names));
    if (labels->names == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    char *const end = labels->text + size;
    for (char *line = labels->text, *next = NULL; line < end; line = next) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop != NULL ? stop + 1 : end;
        stop = stop != NULL ? stop : end;
        while (stop > line && stop[-1] == '\r')
            stop--;
        *stop = '\0';
        labels->names[labels->count++] = line;
    }
    return GPULET_OK;
}

/* The files lie beside config.pbtxt. */
static gpulet_status_t open_labels(gpulet_server_t *server, server_model_t *model,
                                   gpulet_error_t *err)
{
    const gpulet_model_config_t *config = &model->entry->config;
    const gpulet_model_io_t *io = &model->entry->io;
    for (size_t i = 0; i < config->outputs_count; i++) {
        char path[PATH_SIZE];
        size_t size = 0;
        uint32_t output = 0;
        if (config->outputs[i].label_filename[0] == '\0')
            continue;
        while (output < io->outputs_count &&
               strcmp(io->outputs[output].name, config->outputs[i].name) != 0)
            output++;
        if (output == io->outputs_count)
            continue;
        if (model->labels == NULL &&
            (model->labels = calloc(io->outputs_count, sizeof(*model->labels))) == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        (void)snprintf(path, sizeof(path), "%s/%s/%s", server->settings.model_repository,
                       model->entry->name, config->outputs[i].label_filename);
        gpulet_status_t st =
            gpulet_file_read(&model->labels[output].text, &size, path, LABELS_SIZE_MAX, err);
        if (st == GPULET_OK)
            st = split_labels(&model->labels[output], size, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

static void close_labels(server_model_t *model)
{
    for (uint32_t i = 0; model->labels != NULL && i < model->entry->io.outputs_count; i++) {
        free(model->labels[i].text);
        free((void *)model->labels[i].names);
    }
    free(model->labels);
}

/* A configuration may list inputs and outputs in another order than the model file, and leave
 * outputs out. */
static void find_places(server_model_t *model)
{
    const gpulet_model_config_t *config = &model->entry->config;
    const gpulet_model_io_t *io = &model->entry->io;
    for (size_t i = 0; i < config->inputs_count && i < GPULET_MODEL_IO_MAX; i++) {
        for (uint32_t k = 0; k < io->inputs_count; k++) {
            if (strcmp(config->inputs[i].name, io->inputs[k].name) == 0)
                model->input_at[i] = (uint8_t)k;
        }
    }
    for (size_t i = 0; i < config->outputs_count && i < GPULET_MODEL_IO_MAX; i++) {
        for (uint32_t k = 0; k < io->outputs_count; k++) {
            if (strcmp(config->outputs[i].name, io->outputs[k].name) == 0)
                model->output_at[i] = (uint8_t)k;
        }
    }
}

/* One line for all that the configuration says and nobody heeds. Without memory there is none. */
static void tell_without_effect(const gpulet_repository_model_t *entry)
{
    gpulet_buf_t fields = GPULET_BUF_INIT;
    bool grave = false;
    if (gpulet_pbtxt_without_effect(&fields, &grave, &entry->config) == GPULET_OK &&
        fields.size > 0) {
        if (grave)
            GPULET_LOG(WARNING, "event=config_without_effect model=%s fields=\"%s\"", entry->key,
                       fields.data);
        else
            GPULET_LOG(INFO, "event=config_without_effect model=%s fields=\"%s\"", entry->key,
                       fields.data);
    }
    gpulet_buf_deinit(&fields);
}

static gpulet_status_t open_model(gpulet_server_t *server, server_model_t *model,
                                  gpulet_error_t *err)
{
    const gpulet_repository_model_t *entry = model->entry;
    const gpulet_model_config_t *config = &entry->config;
    (void)snprintf(model->version_text, sizeof(model->version_text), "%lld",
                   (long long)entry->version);
    if (entry->problem != NULL) {
        model->state = SERVER_MODEL_UNAVAILABLE;
        (void)snprintf(model->reason, sizeof(model->reason), "%s", entry->problem);
        model->batch_max = 1;
    } else {
        model->batched = config->max_batch_size > 0;
        model->batch_max = model->batched ? (uint32_t)config->max_batch_size : 1;
        model->dynamic = has_dynamic_dims(&entry->io, model->batched);
        if (model->batched && entry->io.inputs_count > 0 && entry->io.inputs[0].shape.rank > 0 &&
            entry->io.inputs[0].shape.dims[0] > 0)
            model->batch_fixed = (uint32_t)entry->io.inputs[0].shape.dims[0];
        find_places(model);
        model->slo_ms = config->slo_ms;
        model->rate_rps = config->rate_rps;
        model->priority = config->priority;
    }
    model->weight = 1;
    const gpulet_demand_t *demand =
        server->workload != NULL ? gpulet_workload_find(server->workload, entry->key) : NULL;
    if (demand != NULL) {
        model->slo_ms = demand->slo_ms;
        model->rate_rps = demand->rate_rps;
        if (demand->priority_given)
            model->priority = demand->priority;
        model->weight = demand->weight;
    }
    model->batches = calloc((size_t)model->batch_max + 1, sizeof(*model->batches));
    if (model->batches == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "model %s: out of memory", entry->key);
    if (model->state == SERVER_MODEL_UNAVAILABLE)
        return GPULET_OK;
    tell_without_effect(entry);
    gpulet_status_t st = open_labels(server, model, err);
    if (st == GPULET_OK && config->app != NULL)
        return server_ensemble_open(server, model, err);
    if (st == GPULET_OK && (st = server_model_publish(server, model)) != GPULET_OK)
        (void)gpulet_fail(err, st, "model %s: %s", entry->key, gpulet_status_text(st));
    return st;
}

gpulet_status_t server_model_inputs(gpulet_server_t *server, server_model_t *model,
                                    gpulet_error_t *err)
{
    if (model->inputs != NULL)
        return GPULET_OK;
    server_inputs_t *inputs = calloc(1, sizeof(*inputs));
    if (inputs == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "model %s: out of memory", model->entry->key);
    gpulet_status_t st =
        gpulet_slab_create(&inputs->slab, model->entry->key, server->settings.input_mb << 20, err);
    if (st != GPULET_OK) {
        free(inputs);
        return st;
    }
    inputs->refs = 1;
    model->inputs = inputs;
    return GPULET_OK;
}

gpulet_status_t server_model_publish(gpulet_server_t *server, server_model_t *model)
{
    const gpulet_model_config_t *config = &model->entry->config;
    double slo_ms = model->slo_ms;
    if (model->stage_slo_ms > 0 && (slo_ms <= 0 || model->stage_slo_ms < slo_ms))
        slo_ms = model->stage_slo_ms;
    uint32_t priority =
        model->priority < GPULET_SCHED_PRIORITIES ? model->priority : GPULET_SCHED_PRIORITIES - 1;
    gpulet_sched_model_t value = {
        .slo_ns = gpulet_duration_ns(slo_ms),
        .priority = priority,
        .batch_max = model->batch_max,
        .weight = model->weight,
        .batch_fixed = model->batch_fixed,
        .queue_max = config->max_queue_size,
        .timeout_ns =
            config->default_timeout_us > UINT64_MAX / 1000 ? 0 : config->default_timeout_us * 1000,
        .late_serve = config->late_serve,
    };
    return gpulet_sched_model_set(server->sched, model->id, &value);
}

static gpulet_status_t check_workload(gpulet_server_t *server, gpulet_error_t *err)
{
    for (size_t i = 0; server->workload != NULL && i < server->workload->count; i++) {
        if (server_model_by_key(server, server->workload->demands[i].model) == NULL)
            return gpulet_fail(err, GPULET_E_NOT_FOUND,
                               "workload: model '%s' is not in the repository",
                               server->workload->demands[i].model);
    }
    return GPULET_OK;
}

/* The model's entry moves into a free slot; NULL: there is none. */
static server_model_t *take_slot(gpulet_server_t *server, gpulet_repository_t *repository,
                                 size_t index)
{
    uint32_t id = 0;
    while (id < server->models_count && server->models[id].role != SERVER_MODEL_FREE)
        id++;
    if (id == SERVER_MODELS_MAX)
        return NULL;
    server->models_count += id == server->models_count;
    server_model_t *model = &server->models[id];
    memset(model, 0, sizeof(*model));
    model->id = id;
    model->role = SERVER_MODEL_COMING;
    gpulet_repository_take(&model->own, repository, index);
    model->entry = &model->own;
    return model;
}

gpulet_status_t server_catalog_add(server_model_t **out, gpulet_server_t *server,
                                   gpulet_repository_t *repository, size_t index,
                                   gpulet_error_t *err)
{
    server_model_t *model = take_slot(server, repository, index);
    if (model == NULL)
        return gpulet_fail(err, GPULET_E_FULL, "there are %d models already", SERVER_MODELS_MAX);
    gpulet_status_t st = open_model(server, model, err);
    if (st != GPULET_OK) {
        server_catalog_free(model);
        return st;
    }
    *out = model;
    return GPULET_OK;
}

static void inputs_unref(server_inputs_t *inputs)
{
    if (inputs == NULL || --inputs->refs > 0)
        return;
    gpulet_slab_destroy(inputs->slab);
    free(inputs);
}

void server_catalog_share_inputs(server_model_t *model, server_model_t *from)
{
    model->inputs = from->inputs;
    if (model->inputs != NULL)
        model->inputs->refs++;
}

void server_catalog_free(server_model_t *model)
{
    inputs_unref(model->inputs);
    close_labels(model);
    server_ensemble_close(model);
    free(model->batches);
    free(model->latency_ns);
    free(model->queue_ns);
    gpulet_profile_destroy(model->measured);
    gpulet_repository_model_deinit(&model->own);
    memset(model, 0, sizeof(*model));
}

static int by_name(const void *a, const void *b)
{
    const server_model_t *x = *(server_model_t *const *)a;
    const server_model_t *y = *(server_model_t *const *)b;
    int order = strcmp(x->entry->name, y->entry->name);
    if (order != 0)
        return order;
    return x->entry->version < y->entry->version   ? 1
           : x->entry->version > y->entry->version ? -1
                                                   : 0;
}

void server_catalog_index(gpulet_server_t *server)
{
    server->named_count = 0;
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server->models[i].role == SERVER_MODEL_CURRENT)
            server->named[server->named_count++] = &server->models[i];
    }
    qsort(server->named, server->named_count, sizeof(server->named[0]), by_name);
    server_ensembles_link(server);
}

bool server_model_wanted(const server_model_t *model)
{
    bool stays = model->role == SERVER_MODEL_CURRENT && model->successor == NULL && !model->dropped;
    return (stays || model->role == SERVER_MODEL_COMING) && model->entry->problem == NULL &&
           model->ensemble == NULL && model->state != SERVER_MODEL_UNAVAILABLE;
}

/* Ensembles whose models are not all there, or do not fit together. */
static gpulet_status_t check_ensembles(gpulet_server_t *server, gpulet_error_t *err)
{
    for (uint32_t i = 0; i < server->named_count; i++) {
        const server_model_t *model = server->named[i];
        char text[640];
        if (model->ensemble == NULL || server_ensemble_check(server, model, err) == GPULET_OK)
            continue;
        gpulet_error_prefix(err, "model %s", model->entry->key);
        if (!server->settings.skip_bad_models)
            return GPULET_E_INVALID;
        GPULET_LOG(WARNING, "event=model_skipped model=%s reason=%s", model->entry->key,
                   gpulet_log_quote(text, sizeof(text), err->text));
    }
    return GPULET_OK;
}

static gpulet_status_t open_models(gpulet_server_t *server, gpulet_repository_t *repository,
                                   gpulet_error_t *err)
{
    const gpulet_settings_t *settings = &server->settings;
    if (repository->count == 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "model repository %s: no model in it",
                           settings->model_repository);
    server->models = calloc(SERVER_MODELS_MAX, sizeof(*server->models));
    server->named = calloc(SERVER_MODELS_MAX, sizeof(*server->named));
    if (server->models == NULL || server->named == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < repository->count; i++) {
        server_model_t *model = take_slot(server, repository, i);
        if (model == NULL)
            return gpulet_fail(err, GPULET_E_TOO_LARGE, "model repository %s: over %d models",
                               settings->model_repository, SERVER_MODELS_MAX);
        model->role = SERVER_MODEL_CURRENT;
        if (model->entry->problem != NULL && !settings->skip_bad_models)
            return gpulet_fail(err, GPULET_E_INVALID, "model %s: %s", model->entry->key,
                               model->entry->problem);
        if (model->entry->problem != NULL) {
            char text[640];
            GPULET_LOG(WARNING, "event=model_skipped model=%s reason=%s", model->entry->key,
                       gpulet_log_quote(text, sizeof(text), model->entry->problem));
        }
        gpulet_status_t st = open_model(server, model, err);
        if (st != GPULET_OK)
            return st;
    }
    server_catalog_index(server);
    return check_ensembles(server, err);
}

gpulet_status_t server_catalog_open(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *settings = &server->settings;
    gpulet_repository_t repository;
    gpulet_status_t st =
        gpulet_repository_read(&repository, settings->model_repository, settings->engine,
                               (uint32_t)settings->batch_max, err);
    if (st != GPULET_OK)
        return st;
    st = open_models(server, &repository, err);
    gpulet_repository_deinit(&repository);
    return st == GPULET_OK ? check_workload(server, err) : st;
}

void server_model_stats(const gpulet_server_t *server, const server_model_t *model,
                        gpulet_sched_model_stats_t *out)
{
    if (model->ensemble != NULL)
        *out = model->ensemble->stats;
    else
        gpulet_sched_model_stats(server->sched, model->id, out);
}

void server_catalog_trim(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        uint64_t requests = model->success.count + model->fail.count;
        if (model->inputs == NULL || requests == model->trimmed_at ||
            gpulet_slab_used(model->inputs->slab) > 0)
            continue;
        gpulet_slab_trim(model->inputs->slab);
        model->trimmed_at = requests;
    }
}

void server_catalog_close(gpulet_server_t *server)
{
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (server->models[i].role != SERVER_MODEL_FREE)
            server_catalog_free(&server->models[i]);
    }
    free(server->models);
    free(server->named);
    server->named = NULL;
    server->named_count = 0;
    server->models = NULL;
    server->models_count = 0;
}

/* Models of one name stand together, newest first; names are few enough for a binary search by
 * name. */
server_model_t *server_model_find(gpulet_server_t *server, const char *name, size_t name_len,
                                  const char *version)
{
    uint32_t low = 0;
    uint32_t high = server->named_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *other = server->named[middle]->entry->name;
        int order = strncmp(other, name, name_len);
        if (order == 0 && other[name_len] != '\0')
            order = 1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (uint32_t i = low; i < server->named_count; i++) {
        server_model_t *model = server->named[i];
        if (strlen(model->entry->name) != name_len ||
            memcmp(model->entry->name, name, name_len) != 0)
            break;
        if (version == NULL ? model->entry->newest : strcmp(model->version_text, version) == 0)
            return model;
    }
    return NULL;
}

/* The one that is wanted, should two be held under the key. */
server_model_t *server_model_by_key(gpulet_server_t *server, const char *key)
{
    server_model_t *found = NULL;
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        if (model->role == SERVER_MODEL_FREE || model->role == SERVER_MODEL_GOING ||
            strcmp(model->entry->key, key) != 0)
            continue;
        if (found == NULL || server_model_wanted(model))
            found = model;
    }
    return found;
}
