#include "view/live.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "view/live_read.h"

enum { WHERE_SIZE = 96 };

#define FIELD(type, KIND, name, required)                                                          \
    {                                                                                              \
#name, LIVE_##KIND, offsetof(type, name), required                                         \
    }
#define END                                                                                        \
    {                                                                                              \
        NULL, LIVE_TEXT, 0, 0                                                                      \
    }

static const live_field_t status_fields[] = {
    FIELD(gpulet_live_status_t, TEXT, version, 0),
    FIELD(gpulet_live_status_t, BOOL, ready, 1),
    FIELD(gpulet_live_status_t, BOOL, draining, 0),
    FIELD(gpulet_live_status_t, NUMBER, uptime_s, 1),
    FIELD(gpulet_live_status_t, TEXT, planner, 0),
    FIELD(gpulet_live_status_t, BOOL, feasible, 1),
    FIELD(gpulet_live_status_t, TEXT, plan_reason, 0),
    FIELD(gpulet_live_status_t, COUNT, replans, 0),
    FIELD(gpulet_live_status_t, NUMBER, devices_used, 0),
    FIELD(gpulet_live_status_t, NUMBER, headroom, 0),
    FIELD(gpulet_live_status_t, NUMBER, shortfall, 0),
    END,
};

static const live_field_t transition_fields[] = {
    FIELD(gpulet_live_transition_t, TEXT, reason, 0),
    FIELD(gpulet_live_transition_t, NUMBER, since_ms, 0),
    FIELD(gpulet_live_transition_t, COUNT, starting, 0),
    FIELD(gpulet_live_transition_t, COUNT, loading, 0),
    END,
};

static const live_field_t device_fields[] = {
    FIELD(gpulet_live_device_t, TEXT, type, 1),
    FIELD(gpulet_live_device_t, COUNT, index, 1),
    FIELD(gpulet_live_device_t, COUNT, units, 1),
    END,
};

static const live_field_t gpulet_fields[] = {
    FIELD(gpulet_live_gpulet_t, TEXT, name, 0),
    FIELD(gpulet_live_gpulet_t, TEXT, device, 1),
    FIELD(gpulet_live_gpulet_t, COUNT, index, 1),
    FIELD(gpulet_live_gpulet_t, COUNT, units, 1),
    FIELD(gpulet_live_gpulet_t, COUNT, borrowed_units, 0),
    FIELD(gpulet_live_gpulet_t, NUMBER, busy, 0),
    FIELD(gpulet_live_gpulet_t, TEXT, state, 1),
    END,
};

static const live_field_t share_fields[] = {
    {"model", LIVE_TEXT, offsetof(gpulet_live_share_t, key), 1},
    FIELD(gpulet_live_share_t, COUNT, batch, 0),
    FIELD(gpulet_live_share_t, BOOL, loaded, 0),
    FIELD(gpulet_live_share_t, BOOL, refused, 0),
    END,
};

static const live_field_t model_fields[] = {
    {"model", LIVE_TEXT, offsetof(gpulet_live_model_t, name), 1},
    FIELD(gpulet_live_model_t, TEXT, version, 0),
    FIELD(gpulet_live_model_t, TEXT, state, 1),
    FIELD(gpulet_live_model_t, TEXT, reason, 0),
    FIELD(gpulet_live_model_t, COUNT, slo_ms, 0),
    FIELD(gpulet_live_model_t, NUMBER, rate_average_rps, 0),
    FIELD(gpulet_live_model_t, NUMBER, rate_now_rps, 0),
    FIELD(gpulet_live_model_t, NUMBER, rate_planned_rps, 0),
    FIELD(gpulet_live_model_t, NUMBER, rate_covered_rps, 0),
    FIELD(gpulet_live_model_t, COUNT, offered, 1),
    FIELD(gpulet_live_model_t, COUNT, in_time, 1),
    FIELD(gpulet_live_model_t, COUNT, late, 0),
    FIELD(gpulet_live_model_t, COUNT, rejected, 0),
    FIELD(gpulet_live_model_t, COUNT, failed, 0),
    FIELD(gpulet_live_model_t, COUNT, waiting, 0),
    FIELD(gpulet_live_model_t, NUMBER, attainment, 0),
    FIELD(gpulet_live_model_t, NUMBER, latency_ms_p50, 0),
    FIELD(gpulet_live_model_t, NUMBER, latency_ms_p99, 0),
    END,
};

/* ---- which model a gpu-let means ---- */

/* "name" is the newest version of a model, "name:version" an older one. */
static size_t find_model(const gpulet_live_status_t *s, const char *key)
{
    const char *colon = strrchr(key, ':');
    for (size_t i = 0; i < s->models_count; i++) {
        assert(s->models[i].name != NULL); /* models are read before */
        if (!s->models[i].again && strcmp(s->models[i].name, key) == 0)
            return i;
    }
    for (size_t i = 0; i < s->models_count && colon != NULL; i++) {
        const gpulet_live_model_t *m = &s->models[i];
        if (strlen(m->name) == (size_t)(colon - key) &&
            memcmp(m->name, key, (size_t)(colon - key)) == 0 && strcmp(m->version, colon + 1) == 0)
            return i;
    }
    return s->models_count;
}

/* ---- lists ---- */

static gpulet_status_t allocate(void **out, size_t count, size_t size, gpulet_error_t *err)
{
    *out = calloc(count + 1, size);
    return *out != NULL ? GPULET_OK : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

static gpulet_status_t read_models(gpulet_live_status_t *s, gpulet_error_t *err)
{
    const json_t *list = NULL;
    char where[WHERE_SIZE];
    size_t count = 0;
    gpulet_status_t st = live_read_list(&list, &count, s->document, "models", "status", err);
    if (st == GPULET_OK)
        st = allocate((void **)&s->models, count, sizeof(*s->models), err);
    for (size_t i = 0; i < count && st == GPULET_OK; i++) {
        (void)snprintf(where, sizeof(where), "status: models[%zu]", i);
        st = live_read_object(&s->models[i], json_array_get(list, i), model_fields, where, err);
        /* Versions of a model stand together, the newest first. */
        s->models[i].again =
            st == GPULET_OK && i > 0 && strcmp(s->models[i].name, s->models[i - 1].name) == 0;
        s->models_count += st == GPULET_OK ? 1 : 0;
    }
    return st;
}

static gpulet_status_t read_devices(gpulet_live_status_t *s, gpulet_error_t *err)
{
    const json_t *list = NULL;
    char where[WHERE_SIZE];
    size_t count = 0;
    gpulet_status_t st = live_read_list(&list, &count, s->document, "devices", "status", err);
    if (st == GPULET_OK)
        st = allocate((void **)&s->devices, count, sizeof(*s->devices), err);
    for (size_t i = 0; i < count && st == GPULET_OK; i++) {
        (void)snprintf(where, sizeof(where), "status: devices[%zu]", i);
        st = live_read_object(&s->devices[i], json_array_get(list, i), device_fields, where, err);
        s->devices_count += st == GPULET_OK ? 1 : 0;
    }
    return st;
}

static gpulet_status_t read_shares(gpulet_live_gpulet_t *g, const gpulet_live_status_t *s,
                                   const json_t *object, const char *of, gpulet_error_t *err)
{
    const json_t *list = NULL;
    char where[2 * WHERE_SIZE];
    size_t count = 0;
    gpulet_status_t st = live_read_list(&list, &count, object, "models", of, err);
    if (st == GPULET_OK)
        st = allocate((void **)&g->shares, count, sizeof(*g->shares), err);
    for (size_t i = 0; i < count && st == GPULET_OK; i++) {
        (void)snprintf(where, sizeof(where), "%s.models[%zu]", of, i);
        st = live_read_object(&g->shares[i], json_array_get(list, i), share_fields, where, err);
        if (st != GPULET_OK)
            break;
        g->shares[i].model = find_model(s, g->shares[i].key);
        g->shares_count++;
    }
    return st;
}

static gpulet_status_t read_gpulets(gpulet_live_status_t *s, gpulet_error_t *err)
{
    const json_t *list = NULL;
    char where[WHERE_SIZE];
    size_t count = 0;
    gpulet_status_t st = live_read_list(&list, &count, s->document, "gpulets", "status", err);
    if (st == GPULET_OK)
        st = allocate((void **)&s->gpulets, count, sizeof(*s->gpulets), err);
    for (size_t i = 0; i < count && st == GPULET_OK; i++) {
        const json_t *object = json_array_get(list, i);
        (void)snprintf(where, sizeof(where), "status: gpulets[%zu]", i);
        st = live_read_object(&s->gpulets[i], object, gpulet_fields, where, err);
        if (st != GPULET_OK)
            break;
        s->gpulets_count++;
        st = read_shares(&s->gpulets[i], s, object, where, err);
    }
    return st;
}

gpulet_status_t gpulet_live_status_read(gpulet_live_status_t **out, const char *text, size_t size,
                                        gpulet_error_t *err)
{
    gpulet_live_status_t *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = live_read_document(&s->document, text, size, "status", err);
    if (st == GPULET_OK)
        st = live_read_object(s, s->document, status_fields, "status", err);
    if (st == GPULET_OK)
        st = read_devices(s, err);
    if (st == GPULET_OK)
        st = read_models(s, err);
    if (st == GPULET_OK)
        st = read_gpulets(s, err);
    const json_t *transition = json_object_get(s->document, "transition");
    if (st == GPULET_OK && json_is_object(transition)) {
        s->transition.under_way = true;
        st = live_read_object(&s->transition, transition, transition_fields, "status: transition",
                              err);
    }
    if (st != GPULET_OK) {
        gpulet_live_status_destroy(s);
        return st;
    }
    *out = s;
    return GPULET_OK;
}

void gpulet_live_status_destroy(gpulet_live_status_t *status)
{
    if (status == NULL)
        return;
    for (size_t i = 0; i < status->gpulets_count; i++)
        free(status->gpulets[i].shares);
    free(status->gpulets);
    free(status->models);
    free(status->devices);
    json_decref(status->document);
    free(status);
}

/* ---- between two looks ---- */

static const gpulet_live_model_t *same_model(const gpulet_live_status_t *before,
                                             const gpulet_live_model_t *model, size_t likely)
{
    for (size_t k = 0; k < before->models_count; k++) {
        const gpulet_live_model_t *m = &before->models[(likely + k) % before->models_count];
        if (strcmp(m->name, model->name) == 0 && strcmp(m->version, model->version) == 0)
            return m;
    }
    return NULL;
}

bool gpulet_live_change(gpulet_live_change_t *out, const gpulet_live_status_t *now,
                        const gpulet_live_status_t *before, size_t model)
{
    static const gpulet_live_model_t none = {0};
    *out = (gpulet_live_change_t){0};
    if (before == NULL || !(now->uptime_s > before->uptime_s))
        return false;
    const gpulet_live_model_t *m = &now->models[model];
    const gpulet_live_model_t *was = same_model(before, m, model);
    if (was == NULL || m->offered < was->offered || m->in_time < was->in_time)
        was = &none; /* new, or replaced */
    out->seconds = now->uptime_s - before->uptime_s;
    out->offered = m->offered - was->offered;
    out->in_time = m->in_time - was->in_time;
    out->late = fmax(m->late - was->late, 0);
    out->rejected = fmax(m->rejected - was->rejected, 0);
    out->failed = fmax(m->failed - was->failed, 0);
    return true;
}
