#include "core/app.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"

enum { NAME_PIECE = 80 /* bytes that one name of a circle takes in an error */ };

static gpulet_status_t fail_memory(gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

/* Room for one more of count elements, zeroed; NULL when there is no memory. Capacities are powers
 * of two. */
static void *grow(void *array, size_t count, size_t element_size)
{
    char *grown = array;
    if ((count & (count - 1)) == 0) {
        grown = reallocarray(array, count == 0 ? 1 : count * 2, element_size);
        if (grown == NULL)
            return NULL;
    }
    memset(grown + count * element_size, 0, element_size);
    return grown;
}

/* Copies a name; out has length_max + 1 bytes. */
static gpulet_status_t set_name(char *out, const char *name, size_t length_max, const char *field,
                                gpulet_error_t *err)
{
    size_t length = strlen(name);
    gpulet_status_t st = gpulet_text_check_name(name, length, length_max, err);
    if (st != GPULET_OK) {
        gpulet_error_prefix(err, "%s", field);
        return st;
    }
    memcpy(out, name, length + 1);
    return GPULET_OK;
}

static gpulet_app_set_t one(uint32_t stage)
{
    return UINT64_C(1) << stage;
}

gpulet_status_t gpulet_app_create(gpulet_app_t **out, const char *name, gpulet_error_t *err)
{
    gpulet_app_t *app = calloc(1, sizeof(*app));
    if (app == NULL)
        return fail_memory(err);
    gpulet_status_t st = set_name(app->name, name, GPULET_APP_NAME_MAX, "name", err);
    if (st != GPULET_OK) {
        free(app);
        return st;
    }
    *out = app;
    return GPULET_OK;
}

void gpulet_app_destroy(gpulet_app_t *app)
{
    if (app == NULL)
        return;
    for (size_t i = 0; i < app->stages_count; i++) {
        free(app->stages[i].inputs);
        free(app->stages[i].outputs);
    }
    free(app->stages);
    free(app->tensors);
    free(app->inputs);
    free(app->outputs);
    free(app);
}

uint32_t gpulet_app_find_tensor(const gpulet_app_t *app, const char *name)
{
    for (size_t i = 0; i < app->tensors_count; i++) {
        if (strcmp(app->tensors[i].name, name) == 0)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

uint32_t gpulet_app_find_stage(const gpulet_app_t *app, const char *name)
{
    for (size_t i = 0; i < app->stages_count; i++) {
        if (strcmp(app->stages[i].name, name) == 0)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

/* The tensor of that name, made when there is none. */
static gpulet_status_t take_tensor(gpulet_app_t *app, uint32_t *out, const char *name,
                                   gpulet_error_t *err)
{
    *out = gpulet_app_find_tensor(app, name);
    if (*out != UINT32_MAX)
        return GPULET_OK;
    if (app->tensors_count == GPULET_APP_TENSORS_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d tensors", GPULET_APP_TENSORS_MAX);
    gpulet_app_tensor_t *grown = grow(app->tensors, app->tensors_count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(err);
    app->tensors = grown;
    gpulet_status_t st = set_name(grown[app->tensors_count].name, name, GPULET_TENSOR_NAME_MAX,
                                  "a tensor's name", err);
    if (st == GPULET_OK)
        *out = (uint32_t)app->tensors_count++;
    return st;
}

static gpulet_status_t add_index(uint32_t **list, size_t *count, uint32_t tensor,
                                 gpulet_error_t *err)
{
    uint32_t *grown = grow(*list, *count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(err);
    *list = grown;
    grown[(*count)++] = tensor;
    return GPULET_OK;
}

gpulet_status_t gpulet_app_add_input(gpulet_app_t *app, const char *tensor, gpulet_error_t *err)
{
    uint32_t index = 0;
    if (app->inputs_count == GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d inputs", GPULET_MODEL_IO_MAX);
    gpulet_status_t st = take_tensor(app, &index, tensor, err);
    if (st != GPULET_OK)
        return st;
    if (app->tensors[index].produced)
        return gpulet_fail(err, GPULET_E_EXISTS, "input '%s' is given twice", tensor);
    if ((st = add_index(&app->inputs, &app->inputs_count, index, err)) != GPULET_OK)
        return st;
    app->tensors[index].produced = true;
    app->tensors[index].producer = GPULET_APP_CLIENT;
    app->tensors[index].producer_link = (uint32_t)app->inputs_count - 1;
    return GPULET_OK;
}

gpulet_status_t gpulet_app_add_output(gpulet_app_t *app, const char *tensor, gpulet_error_t *err)
{
    uint32_t index = 0;
    if (app->outputs_count == GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d outputs", GPULET_MODEL_IO_MAX);
    gpulet_status_t st = take_tensor(app, &index, tensor, err);
    if (st != GPULET_OK)
        return st;
    if (app->tensors[index].wanted)
        return gpulet_fail(err, GPULET_E_EXISTS, "output '%s' is given twice", tensor);
    if ((st = add_index(&app->outputs, &app->outputs_count, index, err)) != GPULET_OK)
        return st;
    app->tensors[index].wanted = true;
    return GPULET_OK;
}

/* The model's name, or that with "#2" and so on where it is taken. */
static void name_after_model(char *out, size_t out_size, const gpulet_app_t *app, const char *model)
{
    (void)snprintf(out, out_size, "%s", model);
    for (uint32_t n = 2; gpulet_app_find_stage(app, out) != UINT32_MAX; n++)
        (void)snprintf(out, out_size, "%.*s#%u", GPULET_APP_NAME_MAX - 12, model, n);
}

gpulet_status_t gpulet_app_add_stage(gpulet_app_t *app, uint32_t *stage, const char *name,
                                     const char *model, gpulet_error_t *err)
{
    if (app->stages_count == GPULET_APP_STAGES_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d stages", GPULET_APP_STAGES_MAX);
    gpulet_app_stage_t *grown = grow(app->stages, app->stages_count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(err);
    app->stages = grown;
    gpulet_app_stage_t *s = &grown[app->stages_count];
    gpulet_status_t st = set_name(s->model, model, GPULET_APP_NAME_MAX, "model", err);
    if (st == GPULET_OK && name != NULL)
        st = set_name(s->name, name, GPULET_APP_NAME_MAX, "stage", err);
    if (st != GPULET_OK)
        return st;
    if (name == NULL)
        name_after_model(s->name, sizeof(s->name), app, model);
    else if (gpulet_app_find_stage(app, name) != UINT32_MAX)
        return gpulet_fail(err, GPULET_E_EXISTS, "stage '%s' is given twice", name);
    s->version = GPULET_APP_NEWEST;
    s->requests = 1;
    *stage = (uint32_t)app->stages_count++;
    return GPULET_OK;
}

static gpulet_status_t add_link(gpulet_app_link_t **list, size_t *count, const char *name,
                                uint32_t tensor, gpulet_error_t *err)
{
    for (size_t i = 0; i < *count; i++) {
        if (strcmp((*list)[i].name, name) == 0)
            return gpulet_fail(err, GPULET_E_EXISTS, "'%s' is mapped twice", name);
    }
    if (*count == GPULET_MODEL_IO_MAX)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d tensors", GPULET_MODEL_IO_MAX);
    gpulet_app_link_t *grown = grow(*list, *count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(err);
    *list = grown;
    grown[*count].tensor = tensor;
    gpulet_status_t st = set_name(grown[*count].name, name, GPULET_TENSOR_NAME_MAX,
                                  "a name of the model's tensors", err);
    *count += st == GPULET_OK;
    return st;
}

gpulet_status_t gpulet_app_map_input(gpulet_app_t *app, uint32_t stage, const char *name,
                                     const char *tensor, gpulet_error_t *err)
{
    assert(stage < app->stages_count);
    gpulet_app_stage_t *s = &app->stages[stage];
    uint32_t index = 0;
    gpulet_status_t st = take_tensor(app, &index, tensor, err);
    if (st == GPULET_OK)
        st = add_link(&s->inputs, &s->inputs_count, name, index, err);
    if (st == GPULET_OK)
        app->tensors[index].consumers |= one(stage);
    else
        gpulet_error_prefix(err, "stage '%s': input_map", s->name);
    return st;
}

static gpulet_status_t fail_written_twice(const gpulet_app_t *app, const gpulet_app_tensor_t *t,
                                          gpulet_error_t *err)
{
    if (t->producer == GPULET_APP_CLIENT)
        return gpulet_fail(err, GPULET_E_EXISTS,
                           "tensor '%s' is an input already, so no stage may write it", t->name);
    return gpulet_fail(err, GPULET_E_EXISTS, "tensor '%s' is written by stage '%s' already",
                       t->name, app->stages[t->producer].name);
}

gpulet_status_t gpulet_app_map_output(gpulet_app_t *app, uint32_t stage, const char *name,
                                      const char *tensor, gpulet_error_t *err)
{
    assert(stage < app->stages_count);
    gpulet_app_stage_t *s = &app->stages[stage];
    uint32_t index = 0;
    gpulet_status_t st = take_tensor(app, &index, tensor, err);
    if (st == GPULET_OK && app->tensors[index].produced)
        st = fail_written_twice(app, &app->tensors[index], err);
    if (st == GPULET_OK)
        st = add_link(&s->outputs, &s->outputs_count, name, index, err);
    if (st != GPULET_OK) {
        gpulet_error_prefix(err, "stage '%s': output_map", s->name);
        return st;
    }
    app->tensors[index].produced = true;
    app->tensors[index].producer = stage;
    app->tensors[index].producer_link = (uint32_t)s->outputs_count - 1;
    return GPULET_OK;
}

void gpulet_app_add_after(gpulet_app_t *app, uint32_t stage, uint32_t before)
{
    assert(stage < app->stages_count && before < app->stages_count);
    app->stages[stage].before |= one(before);
}

/* ---- finishing ---- */

static gpulet_status_t check_tensor(const gpulet_app_t *app, const gpulet_app_tensor_t *t,
                                    gpulet_error_t *err)
{
    if (!t->produced && t->consumers != 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "stage '%s': input_map: tensor '%s' is neither an input nor written by "
                           "a stage",
                           app->stages[__builtin_ctzll(t->consumers)].name, t->name);
    if (t->wanted && (!t->produced || t->producer == GPULET_APP_CLIENT))
        return gpulet_fail(err, GPULET_E_INVALID, "output '%s': no stage writes it", t->name);
    if (t->wanted || t->consumers != 0)
        return GPULET_OK;
    if (t->producer == GPULET_APP_CLIENT)
        return gpulet_fail(err, GPULET_E_INVALID, "input '%s': no stage reads it", t->name);
    return gpulet_fail(err, GPULET_E_INVALID,
                       "stage '%s': output_map: tensor '%s' is neither read by a stage nor an "
                       "output",
                       app->stages[t->producer].name, t->name);
}

static gpulet_status_t check_tensors(const gpulet_app_t *app, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    if (app->tensors_count == 0)
        return GPULET_OK;
    for (size_t i = 0; i < app->stages_count; i++) {
        const gpulet_app_stage_t *s = &app->stages[i];
        if (s->inputs_count == 0 || s->outputs_count == 0)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "stage '%s': %s: expected at least one tensor, found none", s->name,
                               s->inputs_count == 0 ? "input_map" : "output_map");
    }
    for (size_t i = 0; i < app->tensors_count && st == GPULET_OK; i++)
        st = check_tensor(app, &app->tensors[i], err);
    return st;
}

static void derive_edges(gpulet_app_t *app)
{
    for (size_t i = 0; i < app->tensors_count; i++) {
        const gpulet_app_tensor_t *t = &app->tensors[i];
        for (gpulet_app_set_t left = t->consumers; left != 0; left &= left - 1) {
            if (t->producer != GPULET_APP_CLIENT)
                app->stages[__builtin_ctzll(left)].before |= one(t->producer);
        }
    }
    app->all = app->stages_count == GPULET_APP_STAGES_MAX ? UINT64_MAX
                                                          : one((uint32_t)app->stages_count) - 1;
    for (uint32_t i = 0; i < app->stages_count; i++) {
        app->stages[i].after = 0;
        for (uint32_t j = 0; j < app->stages_count; j++) {
            if ((app->stages[j].before & one(i)) != 0)
                app->stages[i].after |= one(j);
        }
        app->first |= app->stages[i].before == 0 ? one(i) : 0;
        app->last |= app->stages[i].after == 0 ? one(i) : 0;
    }
}

/* From a stage that cannot come yet back along what it waits for: sooner or later one comes
 * again. */
static gpulet_status_t fail_cycle(const gpulet_app_t *app, gpulet_app_set_t placed,
                                  gpulet_error_t *err)
{
    char names[GPULET_ERROR_TEXT_MAX / 2];
    gpulet_app_set_t seen = 0;
    uint32_t at = (uint32_t)__builtin_ctzll(app->all & ~placed);
    while ((seen & one(at)) == 0) {
        seen |= one(at);
        at = (uint32_t)__builtin_ctzll(app->stages[at].before & ~placed);
    }
    const uint32_t begin = at;
    size_t used = 0;
    do {
        int written =
            snprintf(names + used, sizeof(names) - used, "'%.60s' after ", app->stages[at].name);
        used += written > 0 ? (size_t)written : 0;
        at = (uint32_t)__builtin_ctzll(app->stages[at].before & ~placed);
    } while (at != begin && used + NAME_PIECE < sizeof(names));
    return gpulet_fail(err, GPULET_E_INVALID, "stages wait for one another: %s%s'%.60s'", names,
                       at == begin ? "" : "… ", app->stages[begin].name);
}

static gpulet_status_t derive_order(gpulet_app_t *app, gpulet_error_t *err)
{
    gpulet_app_set_t placed = 0;
    for (size_t n = 0; n < app->stages_count; n++) {
        uint32_t next = 0;
        while (next < app->stages_count &&
               ((placed & one(next)) != 0 || (app->stages[next].before & ~placed) != 0))
            next++;
        if (next == app->stages_count)
            return fail_cycle(app, placed, err);
        app->order[n] = next;
        placed |= one(next);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_app_finish(gpulet_app_t *app, gpulet_error_t *err)
{
    if (app->stages_count == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "expected at least one stage, found none");
    gpulet_status_t st = check_tensors(app, err);
    if (st != GPULET_OK)
        return st;
    derive_edges(app);
    return derive_order(app, err);
}

/* ---- reading ---- */

static uint64_t sum_ns(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t gpulet_app_rest_ns(uint64_t *rest, const gpulet_app_t *app, const uint64_t *cost_ns)
{
    uint64_t own[GPULET_APP_STAGES_MAX]; /* the longest way from the stage on, itself counted */
    uint64_t most = 0;
    for (size_t n = app->stages_count; n-- > 0;) {
        uint32_t stage = app->order[n];
        uint64_t behind = 0;
        for (gpulet_app_set_t left = app->stages[stage].after; left != 0; left &= left - 1) {
            uint64_t way = own[__builtin_ctzll(left)];
            behind = way > behind ? way : behind;
        }
        if (rest != NULL)
            rest[stage] = behind;
        own[stage] = sum_ns(behind, cost_ns[stage]);
        most = own[stage] > most ? own[stage] : most;
    }
    return most;
}

double gpulet_app_rest_ms(double *rest, const gpulet_app_t *app, const double *cost_ms)
{
    double own[GPULET_APP_STAGES_MAX];
    double most = 0;
    for (size_t n = app->stages_count; n-- > 0;) {
        uint32_t stage = app->order[n];
        double behind = 0;
        for (gpulet_app_set_t left = app->stages[stage].after; left != 0; left &= left - 1) {
            double way = own[__builtin_ctzll(left)];
            behind = way > behind ? way : behind;
        }
        if (rest != NULL)
            rest[stage] = behind;
        own[stage] = behind + cost_ms[stage];
        most = own[stage] > most ? own[stage] : most;
    }
    return most;
}

/* ---- several ---- */

gpulet_status_t gpulet_apps_create(gpulet_apps_t **out)
{
    *out = calloc(1, sizeof(**out));
    return *out != NULL ? GPULET_OK : GPULET_E_NOMEM;
}

gpulet_status_t gpulet_apps_add(gpulet_apps_t *apps, gpulet_app_t *app, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    if (gpulet_apps_find(apps, app->name) != NULL)
        st = gpulet_fail(err, GPULET_E_EXISTS, "application '%s' is given twice", app->name);
    else if (apps->count == GPULET_APPS_MAX)
        st = gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d applications", GPULET_APPS_MAX);
    gpulet_app_t **grown =
        st == GPULET_OK ? grow((void *)apps->items, apps->count, sizeof(*grown)) : NULL;
    if (st == GPULET_OK && grown == NULL)
        st = fail_memory(err);
    if (st != GPULET_OK) {
        gpulet_app_destroy(app);
        return st;
    }
    apps->items = grown;
    grown[apps->count++] = app;
    return GPULET_OK;
}

void gpulet_apps_destroy(gpulet_apps_t *apps)
{
    if (apps == NULL)
        return;
    for (size_t i = 0; i < apps->count; i++)
        gpulet_app_destroy(apps->items[i]);
    free((void *)apps->items);
    free(apps);
}

const gpulet_app_t *gpulet_apps_find(const gpulet_apps_t *apps, const char *name)
{
    for (size_t i = 0; i < apps->count; i++) {
        if (strcmp(apps->items[i]->name, name) == 0)
            return apps->items[i];
    }
    return NULL;
}
