#include "proto/pbtxt.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/number.h"
#include "proto/pbtxt_ensemble.h"
#include "proto/pbtxt_parse.h"

enum { VERSIONS_MAX = 4096, PARAMETERS_MAX = 4096, TIMEOUT_ACTION_DELAY = 1 };

/* The configuration as far as it has been read. */
typedef struct builder {
    gpulet_model_config_t config;
    gpulet_pbtxt_lexer_t lexer;
    gpulet_config_io_t *io;              /* the input or output at hand */
    gpulet_config_parameter_t parameter; /* at hand; owned */
    gpulet_pbtxt_place_t value_place;    /* of the parameter's value */
    gpulet_pbtxt_ensemble_t ensemble;
} builder_t;

static const gpulet_datatype_t datatypes[] = {
    GPULET_DATATYPE_INVALID, GPULET_DATATYPE_BOOL,   GPULET_DATATYPE_UINT8, GPULET_DATATYPE_UINT16,
    GPULET_DATATYPE_UINT32,  GPULET_DATATYPE_UINT64, GPULET_DATATYPE_INT8,  GPULET_DATATYPE_INT16,
    GPULET_DATATYPE_INT32,   GPULET_DATATYPE_INT64,  GPULET_DATATYPE_FP16,  GPULET_DATATYPE_FP32,
    GPULET_DATATYPE_FP64,    GPULET_DATATYPE_BYTES,  GPULET_DATATYPE_BF16,
};

static gpulet_status_t fail_memory(builder_t *b)
{
    return gpulet_fail(b->lexer.err, GPULET_E_NOMEM, "out of memory");
}

/* Room for one more of count elements, zeroed; NULL when there is no memory. Capacities are powers
 * of two. */
static void *grow(void *array, size_t count, size_t element_size)
{
    char *grown = array;
    if ((count & (count - 1)) == 0) {
        grown = realloc(array, (count == 0 ? 1 : count * 2) * element_size);
        if (grown == NULL)
            return NULL;
    }
    memset(grown + count * element_size, 0, element_size);
    return grown;
}

static gpulet_status_t set_text(builder_t *b, char *out, size_t out_size,
                                const gpulet_pbtxt_field_t *field,
                                const gpulet_pbtxt_value_t *value)
{
    if (value->text_size >= out_size)
        return gpulet_pbtxt_fail(&b->lexer, value->place, "%s: longer than %zu bytes", field->name,
                                 out_size - 1);
    memcpy(out, value->text, value->text_size + 1);
    return GPULET_OK;
}

static gpulet_status_t set_copy(builder_t *b, char **out, const gpulet_pbtxt_value_t *value)
{
    char *copy = malloc(value->text_size + 1);
    if (copy == NULL)
        return fail_memory(b);
    memcpy(copy, value->text, value->text_size + 1);
    free(*out);
    *out = copy;
    return GPULET_OK;
}

static gpulet_status_t set_u32(builder_t *b, uint32_t *out, const gpulet_pbtxt_field_t *field,
                               const gpulet_pbtxt_value_t *value)
{
    if (value->natural > UINT32_MAX)
        return gpulet_pbtxt_fail(&b->lexer, value->place, "%s: at most %u", field->name,
                                 UINT32_MAX);
    *out = (uint32_t)value->natural;
    return GPULET_OK;
}

static gpulet_status_t add_dim(builder_t *b, gpulet_shape_t *shape,
                               const gpulet_pbtxt_field_t *field, const gpulet_pbtxt_value_t *value)
{
    if (value->number < 1 && value->number != -1)
        return gpulet_pbtxt_fail(&b->lexer, value->place,
                                 "%s: a dimension must be >= 1, or -1, not %lld", field->name,
                                 (long long)value->number);
    if (shape->rank == GPULET_RANK_MAX)
        return gpulet_pbtxt_fail(&b->lexer, value->place, "%s: more than %d dimensions",
                                 field->name, GPULET_RANK_MAX);
    shape->dims[shape->rank++] = value->number;
    return GPULET_OK;
}

static gpulet_status_t set_io(builder_t *b, const gpulet_pbtxt_field_t *field,
                              const gpulet_pbtxt_value_t *value)
{
    gpulet_config_io_t *io = b->io;
    assert(io != NULL);
    switch (field->use) {
    case GPULET_PBTXT_USE_IO_NAME:
        return set_text(b, io->name, sizeof(io->name), field, value);
    case GPULET_PBTXT_USE_IO_LABELS:
        return set_text(b, io->label_filename, sizeof(io->label_filename), field, value);
    case GPULET_PBTXT_USE_IO_DIMS:
        return add_dim(b, &io->dims, field, value);
    case GPULET_PBTXT_USE_IO_RESHAPE_SHAPE:
        return add_dim(b, &io->reshape, field, value);
    case GPULET_PBTXT_USE_IO_TYPE:
        io->type = datatypes[value->number];
        return GPULET_OK;
    default:
        assert(field->use == GPULET_PBTXT_USE_IO_OPTIONAL);
        io->optional = value->boolean;
        return GPULET_OK;
    }
}

static gpulet_status_t add_version(builder_t *b, const gpulet_pbtxt_value_t *value)
{
    gpulet_model_config_t *config = &b->config;
    if (value->number < 1 || config->versions_count == VERSIONS_MAX)
        return gpulet_pbtxt_fail(&b->lexer, value->place,
                                 value->number < 1 ? "versions: a version must be >= 1"
                                                   : "versions: too many");
    int64_t *versions = grow(config->versions, config->versions_count, sizeof(*versions));
    if (versions == NULL)
        return fail_memory(b);
    config->versions = versions;
    versions[config->versions_count++] = value->number;
    return GPULET_OK;
}

static gpulet_status_t set_max_batch_size(builder_t *b, const gpulet_pbtxt_value_t *value)
{
    if (value->number < 0)
        return gpulet_pbtxt_fail(&b->lexer, value->place, "max_batch_size: must be >= 0, not %lld",
                                 (long long)value->number);
    b->config.max_batch_size_given = true;
    b->config.max_batch_size = (int32_t)value->number;
    return GPULET_OK;
}

static gpulet_status_t set_batching(builder_t *b, const gpulet_pbtxt_field_t *field,
                                    const gpulet_pbtxt_value_t *value)
{
    gpulet_model_config_t *config = &b->config;
    switch (field->use) {
    case GPULET_PBTXT_USE_PRIORITY_LEVELS:
        return set_u32(b, &config->priority_levels, field, value);
    case GPULET_PBTXT_USE_DEFAULT_PRIORITY_LEVEL:
        return set_u32(b, &config->default_priority_level, field, value);
    case GPULET_PBTXT_USE_TIMEOUT_ACTION:
        config->timeout_delay = value->number == TIMEOUT_ACTION_DELAY;
        return GPULET_OK;
    case GPULET_PBTXT_USE_QUEUE_TIMEOUT:
        config->default_timeout_us = value->natural;
        return GPULET_OK;
    default:
        assert(field->use == GPULET_PBTXT_USE_QUEUE_SIZE);
        return set_u32(b, &config->max_queue_size, field, value);
    }
}

static gpulet_status_t on_scalar(void *context, const gpulet_pbtxt_field_t *field,
                                 const gpulet_pbtxt_value_t *value)
{
    builder_t *b = context;
    gpulet_model_config_t *config = &b->config;
    switch (field->use) {
    case GPULET_PBTXT_USE_NAME:
        return set_text(b, config->name, sizeof(config->name), field, value);
    case GPULET_PBTXT_USE_PLATFORM:
        b->ensemble.platform_place = value->place;
        return set_text(b, config->platform, sizeof(config->platform), field, value);
    case GPULET_PBTXT_USE_BACKEND:
        return set_text(b, config->backend, sizeof(config->backend), field, value);
    case GPULET_PBTXT_USE_DEFAULT_MODEL_FILENAME:
        return set_text(b, config->default_model_filename, sizeof(config->default_model_filename),
                        field, value);
    case GPULET_PBTXT_USE_MAX_BATCH_SIZE:
        return set_max_batch_size(b, value);
    case GPULET_PBTXT_USE_VERSIONS_LATEST_COUNT:
        if (value->natural < 1)
            return gpulet_pbtxt_fail(&b->lexer, value->place, "num_versions: must be >= 1");
        config->versions_latest = (uint32_t)value->natural;
        return GPULET_OK;
    case GPULET_PBTXT_USE_VERSIONS_SPECIFIC_VERSION:
        return add_version(b, value);
    case GPULET_PBTXT_USE_PARAMETER_KEY:
        return set_copy(b, &b->parameter.key, value);
    case GPULET_PBTXT_USE_PARAMETER_VALUE:
        b->value_place = value->place;
        return set_copy(b, &b->parameter.value, value);
    case GPULET_PBTXT_USE_PRIORITY_LEVELS:
    case GPULET_PBTXT_USE_DEFAULT_PRIORITY_LEVEL:
    case GPULET_PBTXT_USE_TIMEOUT_ACTION:
    case GPULET_PBTXT_USE_QUEUE_TIMEOUT:
    case GPULET_PBTXT_USE_QUEUE_SIZE:
        return set_batching(b, field, value);
    case GPULET_PBTXT_USE_STEP_MODEL:
    case GPULET_PBTXT_USE_STEP_VERSION:
    case GPULET_PBTXT_USE_STEP_KEY:
    case GPULET_PBTXT_USE_STEP_VALUE:
        return gpulet_pbtxt_ensemble_scalar(&b->ensemble, &b->lexer, field, value);
    default:
        return set_io(b, field, value);
    }
}

static gpulet_status_t begin_io(builder_t *b, bool input, gpulet_pbtxt_place_t place)
{
    gpulet_config_io_t **list = input ? &b->config.inputs : &b->config.outputs;
    size_t *count = input ? &b->config.inputs_count : &b->config.outputs_count;
    if (*count == GPULET_MODEL_IO_MAX)
        return gpulet_pbtxt_fail(&b->lexer, place, "more than %d %s", GPULET_MODEL_IO_MAX,
                                 input ? "inputs" : "outputs");
    gpulet_config_io_t *grown = grow(*list, *count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(b);
    *list = grown;
    b->ensemble.io_places[input ? 0 : 1][*count] = place;
    b->io = &grown[(*count)++];
    return GPULET_OK;
}

static gpulet_status_t begin_warmup(builder_t *b)
{
    gpulet_model_config_t *config = &b->config;
    gpulet_config_io_t *grown = grow(config->warmup, config->warmup_count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(b);
    config->warmup = grown;
    b->io = &grown[config->warmup_count++];
    return GPULET_OK;
}

static gpulet_status_t on_begin(void *context, const gpulet_pbtxt_field_t *field,
                                gpulet_pbtxt_place_t place)
{
    builder_t *b = context;
    switch (field->use) {
    case GPULET_PBTXT_USE_INPUT:
    case GPULET_PBTXT_USE_OUTPUT:
        return begin_io(b, field->use == GPULET_PBTXT_USE_INPUT, place);
    case GPULET_PBTXT_USE_WARMUP_INPUT:
        return begin_warmup(b);
    case GPULET_PBTXT_USE_IO_RESHAPE:
        b->io->reshape_given = true;
        return GPULET_OK;
    case GPULET_PBTXT_USE_VERSIONS_ALL:
        b->config.version_policy = GPULET_VERSIONS_ALL;
        return GPULET_OK;
    case GPULET_PBTXT_USE_VERSIONS_SPECIFIC:
        b->config.version_policy = GPULET_VERSIONS_SPECIFIC;
        return GPULET_OK;
    case GPULET_PBTXT_USE_DYNAMIC_BATCHING:
        b->config.dynamic_batching = true;
        return GPULET_OK;
    case GPULET_PBTXT_USE_PARAMETER:
        b->value_place = place;
        return GPULET_OK;
    case GPULET_PBTXT_USE_ENSEMBLE:
    case GPULET_PBTXT_USE_STEP:
    case GPULET_PBTXT_USE_STEP_INPUT:
    case GPULET_PBTXT_USE_STEP_OUTPUT:
        return gpulet_pbtxt_ensemble_begin(&b->ensemble, &b->lexer, field, place);
    default:
        return GPULET_OK;
    }
}

static gpulet_status_t end_io(builder_t *b, bool input, gpulet_pbtxt_place_t place)
{
    const gpulet_config_io_t *list = input ? b->config.inputs : b->config.outputs;
    size_t count = input ? b->config.inputs_count : b->config.outputs_count;
    const char *what = input ? "input" : "output";
    if (b->io->name[0] == '\0')
        return gpulet_pbtxt_fail(&b->lexer, place, "the %s has no name", what);
    for (size_t i = 0; i + 1 < count; i++) {
        if (strcmp(list[i].name, b->io->name) == 0)
            return gpulet_pbtxt_fail(&b->lexer, place, "%s '%s' is given twice", what, b->io->name);
    }
    b->io = NULL;
    return GPULET_OK;
}

/* Of an input that several samples have, the first counts. */
static gpulet_status_t end_warmup(builder_t *b, gpulet_pbtxt_place_t place)
{
    gpulet_model_config_t *config = &b->config;
    const gpulet_config_io_t *io = b->io;
    b->io = NULL;
    if (io->name[0] == '\0')
        return gpulet_pbtxt_fail(&b->lexer, place, "model_warmup: the input has no key");
    for (uint32_t i = 0; i < io->dims.rank; i++) {
        if (io->dims.dims[i] == -1)
            return gpulet_pbtxt_fail(&b->lexer, place,
                                     "model_warmup: input '%s': dims: expected sizes of at least 1",
                                     io->name);
    }
    for (size_t i = 0; i + 1 < config->warmup_count; i++) {
        if (strcmp(config->warmup[i].name, io->name) != 0)
            continue;
        config->warmup_count--;
        return GPULET_OK;
    }
    if (config->warmup_count > GPULET_MODEL_IO_MAX)
        return gpulet_pbtxt_fail(&b->lexer, place, "model_warmup: more than %d inputs",
                                 GPULET_MODEL_IO_MAX);
    return GPULET_OK;
}

/* A positive number of the parameter at hand. */
static gpulet_status_t set_positive(builder_t *b, double *out)
{
    gpulet_decimal_t decimal;
    double value = 0;
    assert(b->parameter.value != NULL);
    size_t size = strlen(b->parameter.value);
    if (gpulet_decimal_scan(&decimal, b->parameter.value, size) != size || size == 0 ||
        !gpulet_decimal_f64(&value, &decimal) || value <= 0)
        return gpulet_pbtxt_fail(&b->lexer, b->value_place,
                                 "parameter %s: expected a number above 0, found '%.60s'",
                                 b->parameter.key, b->parameter.value);
    *out = value;
    return GPULET_OK;
}

static gpulet_status_t set_priority(builder_t *b)
{
    gpulet_decimal_t decimal;
    uint64_t value = 0;
    assert(b->parameter.value != NULL);
    size_t size = strlen(b->parameter.value);
    if (gpulet_decimal_scan(&decimal, b->parameter.value, size) != size || size == 0 ||
        !gpulet_decimal_u64(&value, &decimal) || value > UINT32_MAX)
        return gpulet_pbtxt_fail(
            &b->lexer, b->value_place,
            "parameter priority: expected an unsigned 32-bit integer, found '%.60s'",
            b->parameter.value);
    b->config.priority = (uint32_t)value;
    return GPULET_OK;
}

/* The parameters that are gpulet's own. */
static gpulet_status_t apply_parameter(builder_t *b)
{
    const char *key = b->parameter.key;
    const char *value = b->parameter.value;
    assert(key != NULL && value != NULL);
    if (strcmp(key, "slo_ms") == 0)
        return set_positive(b, &b->config.slo_ms);
    if (strcmp(key, "rate_rps") == 0)
        return set_positive(b, &b->config.rate_rps);
    if (strcmp(key, "priority") == 0)
        return set_priority(b);
    if (strcmp(key, "late") != 0)
        return GPULET_OK;
    b->config.late_serve = strcmp(value, "serve") == 0;
    if (!b->config.late_serve && strcmp(value, "drop") != 0)
        return gpulet_pbtxt_fail(&b->lexer, b->value_place,
                                 "parameter late: expected serve or drop, found '%.60s'", value);
    return GPULET_OK;
}

static gpulet_status_t end_parameter(builder_t *b, gpulet_pbtxt_place_t place)
{
    gpulet_model_config_t *config = &b->config;
    const gpulet_pbtxt_value_t empty = {.text = "", .text_size = 0};
    gpulet_status_t st = GPULET_OK;
    if (b->parameter.key == NULL)
        return gpulet_pbtxt_fail(&b->lexer, place, "the parameter has no key");
    for (size_t i = 0; i < config->parameters_count; i++) {
        if (strcmp(config->parameters[i].key, b->parameter.key) == 0)
            return gpulet_pbtxt_fail(&b->lexer, place, "parameter '%.200s' is given twice",
                                     b->parameter.key);
    }
    if (config->parameters_count == PARAMETERS_MAX)
        return gpulet_pbtxt_fail(&b->lexer, place, "more than %d parameters", PARAMETERS_MAX);
    if (b->parameter.value == NULL)
        st = set_copy(b, &b->parameter.value, &empty);
    if (st == GPULET_OK)
        st = apply_parameter(b);
    if (st != GPULET_OK)
        return st;
    gpulet_config_parameter_t *grown =
        grow(config->parameters, config->parameters_count, sizeof(*grown));
    if (grown == NULL)
        return fail_memory(b);
    config->parameters = grown;
    grown[config->parameters_count++] = b->parameter;
    b->parameter = (gpulet_config_parameter_t){NULL, NULL};
    return GPULET_OK;
}

static gpulet_status_t on_end(void *context, const gpulet_pbtxt_field_t *field,
                              gpulet_pbtxt_place_t place)
{
    builder_t *b = context;
    switch (field->use) {
    case GPULET_PBTXT_USE_INPUT:
    case GPULET_PBTXT_USE_OUTPUT:
        return end_io(b, field->use == GPULET_PBTXT_USE_INPUT, place);
    case GPULET_PBTXT_USE_WARMUP_INPUT:
        return end_warmup(b, place);
    case GPULET_PBTXT_USE_PARAMETER:
        return end_parameter(b, place);
    case GPULET_PBTXT_USE_VERSIONS_SPECIFIC:
        if (b->config.versions_count == 0)
            return gpulet_pbtxt_fail(&b->lexer, place, "specific: no versions are named");
        return GPULET_OK;
    case GPULET_PBTXT_USE_DYNAMIC_BATCHING:
        if (b->config.default_priority_level > b->config.priority_levels)
            return gpulet_pbtxt_fail(&b->lexer, place,
                                     "default_priority_level %u is above priority_levels %u",
                                     b->config.default_priority_level, b->config.priority_levels);
        return GPULET_OK;
    case GPULET_PBTXT_USE_STEP:
    case GPULET_PBTXT_USE_STEP_INPUT:
    case GPULET_PBTXT_USE_STEP_OUTPUT:
        return gpulet_pbtxt_ensemble_end(&b->ensemble, &b->lexer, field, place);
    default:
        return GPULET_OK;
    }
}

/* What Triton's fields say where no parameter says it. Their highest priority is 1. */
static void apply_batching(gpulet_model_config_t *config)
{
    if (config->default_priority_level > 0 &&
        gpulet_model_config_parameter(config, "priority") == NULL)
        config->priority = config->default_priority_level - 1;
    if (config->timeout_delay && gpulet_model_config_parameter(config, "late") == NULL)
        config->late_serve = true;
}

static gpulet_status_t read_document(builder_t *b, const char *text, size_t size, const char *file,
                                     gpulet_error_t *err)
{
    const gpulet_pbtxt_sink_t sink = {on_scalar, on_begin, on_end, b};
    gpulet_status_t st = gpulet_pbtxt_lexer_init(&b->lexer, text, size, file, err);
    if (st != GPULET_OK)
        return st;
    if ((b->config.kept = calloc(1, sizeof(*b->config.kept))) == NULL)
        return fail_memory(b);
    st = gpulet_pbtxt_parse_document(&b->lexer, &gpulet_pbtxt_model_config, &sink, b->config.kept);
    if (st != GPULET_OK)
        return st;
    apply_batching(&b->config);
    return gpulet_pbtxt_ensemble_finish(&b->ensemble, &b->lexer, &b->config);
}

gpulet_status_t gpulet_pbtxt_parse(gpulet_model_config_t *out, const char *text, size_t size,
                                   const char *file, gpulet_error_t *err)
{
    builder_t builder;
    assert(out != NULL && text != NULL && file != NULL);
    memset(&builder, 0, sizeof(builder));
    builder.config.version_policy = GPULET_VERSIONS_LATEST;
    builder.config.versions_latest = 1;
    gpulet_status_t st = read_document(&builder, text, size, file, err);
    gpulet_pbtxt_ensemble_deinit(&builder.ensemble);
    free(builder.parameter.key);
    free(builder.parameter.value);
    if (st != GPULET_OK) {
        gpulet_model_config_deinit(&builder.config);
        return st;
    }
    *out = builder.config;
    return GPULET_OK;
}
