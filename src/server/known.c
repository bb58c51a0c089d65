#include "server/known.h"

#include <math.h>
#include <string.h>

#include "base/log.h"

/* Sizes that were not measured. */
static gpulet_status_t fill_in(gpulet_profile_t *profile, const gpulet_server_t *server,
                               gpulet_error_t *err)
{
    const gpulet_device_type_t *type = &server->device_set->types[0];
    return gpulet_profile_interpolate_units(profile, type->name, type->sizes, type->sizes_count,
                                            err);
}

gpulet_status_t server_known_open(gpulet_server_t *server, gpulet_error_t *err)
{
    if (server->settings.profiles == NULL)
        return GPULET_OK;
    if (gpulet_profile_clone(&server->profile_given, server->profile) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (uint32_t i = 0; i < server->models_count; i++)
        server_known_begin(server, &server->models[i], NULL);
    return fill_in(server->profile, server, err);
}

void server_known_close(gpulet_server_t *server)
{
    gpulet_profile_destroy(server->profile_given);
    server->profile_given = NULL;
}

static gpulet_status_t own_profile(server_model_t *model)
{
    return model->measured != NULL ? GPULET_OK : gpulet_profile_create(&model->measured);
}

static bool is_same_warmup(const gpulet_model_io_t *a, const gpulet_model_io_t *b)
{
    char keys[2][GPULET_MEASURED_BY_MAX + 1];
    gpulet_measured_by_shapes(keys[0], "", a, NULL);
    gpulet_measured_by_shapes(keys[1], "", b, NULL);
    return strcmp(keys[0], keys[1]) == 0;
}

static bool is_same_file(const server_model_t *a, const server_model_t *b)
{
    return a->entry->problem == NULL && b->entry->problem == NULL &&
           strcmp(a->entry->key, b->entry->key) == 0 &&
           strcmp(a->entry->file_key, b->entry->file_key) == 0 &&
           is_same_warmup(&a->entry->warmup, &b->entry->warmup);
}

/* Another configuration of the same file is known as well as the one before. */
static void take_over(server_model_t *model, const server_model_t *old)
{
    if (old->measured == NULL || gpulet_profile_clone(&model->measured, old->measured) != GPULET_OK)
        return;
    model->known = old->known;
    model->rough = old->rough;
}

void server_known_begin(gpulet_server_t *server, server_model_t *model, const server_model_t *old)
{
    const char *key = model->entry->key;
    if (server->profile_given != NULL && gpulet_profile_has_model(server->profile_given, NULL, key))
        model->known = SERVER_KNOWN_GIVEN;
    else if (gpulet_profile_has_model(server->profile, NULL, key))
        model->known = SERVER_KNOWN_OTHERS;
    else
        model->known = SERVER_KNOWN_NOT;
    if (old != NULL && model->known == SERVER_KNOWN_OTHERS && is_same_file(old, model) &&
        old->batch_max >= model->batch_max)
        take_over(model, old);
}

/* By itself first: the whole profile may be of thousands of models. */
static gpulet_status_t merge_filled_in(gpulet_server_t *server, const gpulet_profile_t *measured,
                                       gpulet_error_t *err)
{
    gpulet_profile_t *filled = NULL;
    gpulet_status_t st = gpulet_profile_clone(&filled, measured);
    if (st == GPULET_OK)
        st = fill_in(filled, server, err);
    if (st == GPULET_OK)
        st = gpulet_profile_merge(server->profile, filled);
    gpulet_profile_destroy(filled);
    return st;
}

static void put_into_profile(gpulet_server_t *server, const server_model_t *model)
{
    gpulet_error_t err = {"out of memory"};
    if (gpulet_profile_has_model(server->profile, server->device_set->types[0].name,
                                 model->entry->key))
        (void)gpulet_profile_remove_model(server->profile, model->entry->key);
    if (merge_filled_in(server, model->measured, &err) != GPULET_OK)
        GPULET_LOG(ERROR, "event=profile_refused model=%s error=\"%s\"", model->entry->key,
                   err.text);
}

static bool is_of_its_own(const server_model_t *model)
{
    return model->known == SERVER_KNOWN_PART || model->known == SERVER_KNOWN_WHOLE;
}

void server_known_abandon(gpulet_server_t *server, const server_model_t *coming)
{
    const char *key = coming->entry->key;
    if (!is_of_its_own(coming))
        return;
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *model = &server->models[i];
        if (model->role != SERVER_MODEL_CURRENT || strcmp(model->entry->key, key) != 0)
            continue;
        if (is_of_its_own(model)) {
            put_into_profile(server, model);
            return;
        }
        if (model->known == SERVER_KNOWN_OTHERS)
            return; /* and now of still another, until it is measured */
    }
    (void)gpulet_profile_remove_model(server->profile, key);
}

bool server_model_unmeasured(const server_model_t *model)
{
    return server_model_wanted(model) && model->known != SERVER_KNOWN_GIVEN &&
           model->known != SERVER_KNOWN_WHOLE;
}

double server_known_ms(const server_model_t *model, const char *device, uint32_t units,
                       uint32_t batch)
{
    const gpulet_curve_t *curve =
        model->measured == NULL
            ? NULL
            : gpulet_profile_curve(model->measured, device, model->entry->key, units, 1);
    for (uint32_t i = 0; curve != NULL && i < curve->points_count; i++) {
        if (curve->points[i].batch == batch)
            return curve->points[i].latency_ms;
    }
    return NAN;
}

gpulet_status_t server_known_point(server_model_t *model, const char *device, uint32_t units,
                                   const gpulet_profile_point_t *point, gpulet_error_t *err)
{
    if (own_profile(model) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    return gpulet_profile_add(model->measured, device, model->entry->key, units, 1, point, true,
                              err);
}

/* One of which nothing could be measured stays as it is. */
void server_known_finish(gpulet_server_t *server, server_model_t *model)
{
    if (model->measured == NULL)
        return;
    model->known = SERVER_KNOWN_WHOLE;
    put_into_profile(server, model);
}

/* A part says less than what was known of the file before. */
bool server_known_stored(gpulet_server_t *server, server_model_t *model,
                         const gpulet_profile_t *points, bool whole)
{
    if (own_profile(model) != GPULET_OK ||
        gpulet_profile_merge(model->measured, points) != GPULET_OK) {
        GPULET_LOG(ERROR, "event=profile_refused model=%s error=\"out of memory\"",
                   model->entry->key);
        return false;
    }
    if (!whole && model->known != SERVER_KNOWN_NOT)
        return false;
    model->known = whole ? SERVER_KNOWN_WHOLE : SERVER_KNOWN_PART;
    put_into_profile(server, model);
    return true;
}
