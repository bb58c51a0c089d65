#include "proto/pbtxt_ensemble.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES_MAX = 2 * GPULET_MODEL_IO_MAX };

static gpulet_status_t fail_memory(const gpulet_pbtxt_lexer_t *lexer)
{
    return gpulet_fail(lexer->err, GPULET_E_NOMEM, "out of memory");
}

/* What core/app.h says, with its place. */
static gpulet_status_t fail_app(const gpulet_pbtxt_lexer_t *lexer, gpulet_pbtxt_place_t place,
                                gpulet_status_t status, const gpulet_error_t *why)
{
    if (status == GPULET_E_NOMEM)
        return fail_memory(lexer);
    return gpulet_pbtxt_fail(lexer, place, "ensemble_scheduling: %s", why->text);
}

static void clear_step(gpulet_pbtxt_ensemble_t *e)
{
    for (size_t i = 0; i < e->entries_count; i++) {
        free(e->entries[i].key);
        free(e->entries[i].value);
    }
    free(e->entries);
    free(e->model);
    e->entries = NULL;
    e->entries_count = 0;
    e->model = NULL;
    e->version = GPULET_APP_NEWEST;
}

void gpulet_pbtxt_ensemble_deinit(gpulet_pbtxt_ensemble_t *e)
{
    clear_step(e);
    gpulet_app_destroy(e->app);
    e->app = NULL;
}

static gpulet_status_t begin_ensemble(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                      gpulet_pbtxt_place_t place)
{
    e->given = true;
    e->place = place;
    /* Its own name may come later in the text. */
    return gpulet_app_create(&e->app, "ensemble", lexer->err);
}

static gpulet_status_t begin_entry(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                   bool output, gpulet_pbtxt_place_t place)
{
    if (e->entries_count == ENTRIES_MAX)
        return gpulet_pbtxt_fail(lexer, place, "step: more than %d tensors", ENTRIES_MAX);
    if (e->entries == NULL && (e->entries = calloc(ENTRIES_MAX, sizeof(*e->entries))) == NULL)
        return fail_memory(lexer);
    e->entries[e->entries_count++] = (gpulet_pbtxt_entry_t){output, place, NULL, NULL};
    return GPULET_OK;
}

gpulet_status_t gpulet_pbtxt_ensemble_begin(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                            const gpulet_pbtxt_field_t *field,
                                            gpulet_pbtxt_place_t place)
{
    switch (field->use) {
    case GPULET_PBTXT_USE_ENSEMBLE:
        return begin_ensemble(e, lexer, place);
    case GPULET_PBTXT_USE_STEP:
        clear_step(e);
        e->step_place = place;
        return GPULET_OK;
    default:
        return begin_entry(e, lexer, field->use == GPULET_PBTXT_USE_STEP_OUTPUT, place);
    }
}

static gpulet_status_t set_copy(gpulet_pbtxt_lexer_t *lexer, char **out,
                                const gpulet_pbtxt_field_t *field,
                                const gpulet_pbtxt_value_t *value)
{
    if (value->text_size == 0)
        return gpulet_pbtxt_fail(lexer, value->place, "%s: expected a name, found nothing",
                                 field->name);
    char *copy = malloc(value->text_size + 1);
    if (copy == NULL)
        return fail_memory(lexer);
    memcpy(copy, value->text, value->text_size + 1);
    free(*out);
    *out = copy;
    return GPULET_OK;
}

gpulet_status_t gpulet_pbtxt_ensemble_scalar(gpulet_pbtxt_ensemble_t *e,
                                             gpulet_pbtxt_lexer_t *lexer,
                                             const gpulet_pbtxt_field_t *field,
                                             const gpulet_pbtxt_value_t *value)
{
    gpulet_pbtxt_entry_t *entry = e->entries_count > 0 ? &e->entries[e->entries_count - 1] : NULL;
    switch (field->use) {
    case GPULET_PBTXT_USE_STEP_MODEL:
        return set_copy(lexer, &e->model, field, value);
    case GPULET_PBTXT_USE_STEP_VERSION:
        if (value->number < 1 && value->number != GPULET_APP_NEWEST)
            return gpulet_pbtxt_fail(lexer, value->place,
                                     "model_version: expected a version of at least 1, or -1 for "
                                     "the newest, found %lld",
                                     (long long)value->number);
        e->version = value->number;
        return GPULET_OK;
    case GPULET_PBTXT_USE_STEP_KEY:
        assert(entry != NULL);
        return set_copy(lexer, &entry->key, field, value);
    default:
        assert(entry != NULL && field->use == GPULET_PBTXT_USE_STEP_VALUE);
        return set_copy(lexer, &entry->value, field, value);
    }
}

static gpulet_status_t end_step(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                gpulet_pbtxt_place_t place)
{
    gpulet_error_t why;
    uint32_t stage = 0;
    e->steps_count++;
    if (e->model == NULL)
        return gpulet_pbtxt_fail(lexer, place, "step %u: model_name: expected the name of a model",
                                 e->steps_count);
    gpulet_status_t st = gpulet_app_add_stage(e->app, &stage, NULL, e->model, &why);
    if (st != GPULET_OK)
        return fail_app(lexer, e->step_place, st, &why);
    e->app->stages[stage].version = e->version;
    for (size_t i = 0; i < e->entries_count; i++) {
        const gpulet_pbtxt_entry_t *entry = &e->entries[i];
        st = entry->output ? gpulet_app_map_output(e->app, stage, entry->key, entry->value, &why)
                           : gpulet_app_map_input(e->app, stage, entry->key, entry->value, &why);
        if (st != GPULET_OK)
            return fail_app(lexer, entry->place, st, &why);
    }
    clear_step(e);
    return GPULET_OK;
}

gpulet_status_t gpulet_pbtxt_ensemble_end(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                          const gpulet_pbtxt_field_t *field,
                                          gpulet_pbtxt_place_t place)
{
    if (field->use == GPULET_PBTXT_USE_STEP)
        return end_step(e, lexer, place);
    const gpulet_pbtxt_entry_t *entry = &e->entries[e->entries_count - 1];
    if (entry->key != NULL && entry->value != NULL)
        return GPULET_OK;
    return gpulet_pbtxt_fail(lexer, place, "%s: expected %s", field->name,
                             entry->key == NULL ? "a key, the name of a tensor of the model"
                                                : "a value, the name of a tensor of the ensemble");
}

/* Nothing else says what clients give and get: there is no model file to look it up in. */
static gpulet_status_t check_io(const gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                const gpulet_model_config_t *config, bool input)
{
    const gpulet_config_io_t *list = input ? config->inputs : config->outputs;
    const size_t count = input ? config->inputs_count : config->outputs_count;
    const char *what = input ? "input" : "output";
    if (count == 0)
        return gpulet_pbtxt_fail(lexer, e->place,
                                 "an ensemble: expected at least one %s, found none", what);
    for (size_t i = 0; i < count; i++) {
        const gpulet_pbtxt_place_t place = e->io_places[input ? 0 : 1][i];
        if (list[i].type == GPULET_DATATYPE_INVALID)
            return gpulet_pbtxt_fail(lexer, place,
                                     "%s '%s' of an ensemble: data_type: expected one", what,
                                     list[i].name);
        if (list[i].dims.rank == 0)
            return gpulet_pbtxt_fail(lexer, place,
                                     "%s '%s' of an ensemble: dims: expected at least one", what,
                                     list[i].name);
        if (list[i].reshape_given || list[i].optional)
            return gpulet_pbtxt_fail(lexer, place,
                                     "%s '%s' of an ensemble: %s is not supported there", what,
                                     list[i].name, list[i].optional ? "optional" : "reshape");
        if (list[i].dims.rank + (config->max_batch_size > 0) > GPULET_RANK_MAX)
            return gpulet_pbtxt_fail(lexer, place, "%s '%s': more than %d dimensions", what,
                                     list[i].name, GPULET_RANK_MAX);
    }
    return GPULET_OK;
}

static gpulet_status_t add_ios(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                               const gpulet_model_config_t *config)
{
    gpulet_error_t why;
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < config->inputs_count && st == GPULET_OK; i++) {
        const char *name = config->inputs[i].name;
        uint32_t tensor = gpulet_app_find_tensor(e->app, name);
        if (tensor != UINT32_MAX && e->app->tensors[tensor].produced)
            return gpulet_pbtxt_fail(lexer, e->io_places[0][i],
                                     "input '%s' is written by step '%s' as well", name,
                                     e->app->stages[e->app->tensors[tensor].producer].name);
        if ((st = gpulet_app_add_input(e->app, name, &why)) != GPULET_OK)
            return fail_app(lexer, e->io_places[0][i], st, &why);
    }
    for (size_t i = 0; i < config->outputs_count && st == GPULET_OK; i++) {
        st = gpulet_app_add_output(e->app, config->outputs[i].name, &why);
        if (st != GPULET_OK)
            return fail_app(lexer, e->io_places[1][i], st, &why);
    }
    return st;
}

static gpulet_status_t check_platform(const gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                      const gpulet_model_config_t *config)
{
    const bool said = strcmp(config->platform, "ensemble") == 0;
    if (said && !e->given)
        return gpulet_pbtxt_fail(lexer, e->platform_place,
                                 "platform ensemble: expected ensemble_scheduling with it");
    if (e->given && ((config->platform[0] != '\0' && !said) || config->backend[0] != '\0'))
        return gpulet_pbtxt_fail(lexer, e->place,
                                 "ensemble_scheduling: expected platform ensemble and no backend "
                                 "with it, found %s '%s'",
                                 config->backend[0] != '\0' ? "backend" : "platform",
                                 config->backend[0] != '\0' ? config->backend : config->platform);
    return GPULET_OK;
}

gpulet_status_t gpulet_pbtxt_ensemble_finish(gpulet_pbtxt_ensemble_t *e,
                                             gpulet_pbtxt_lexer_t *lexer,
                                             gpulet_model_config_t *config)
{
    gpulet_error_t why;
    gpulet_status_t st = check_platform(e, lexer, config);
    if (st != GPULET_OK || !e->given)
        return st;
    if ((st = check_io(e, lexer, config, true)) != GPULET_OK ||
        (st = check_io(e, lexer, config, false)) != GPULET_OK ||
        (st = add_ios(e, lexer, config)) != GPULET_OK)
        return st;
    if ((st = gpulet_app_finish(e->app, &why)) != GPULET_OK)
        return fail_app(lexer, e->place, st, &why);
    (void)snprintf(config->platform, sizeof(config->platform), "ensemble");
    if (config->name[0] != '\0')
        (void)snprintf(e->app->name, sizeof(e->app->name), "%s", config->name);
    e->app->slo_ms = config->slo_ms;
    e->app->rate_rps = config->rate_rps;
    config->app = e->app;
    e->app = NULL;
    return GPULET_OK;
}
