#include "core/model_config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"

enum { SHAPE_TEXT_SIZE = 192 };

void gpulet_model_config_deinit(gpulet_model_config_t *config)
{
    for (size_t i = 0; i < config->parameters_count; i++) {
        free(config->parameters[i].key);
        free(config->parameters[i].value);
    }
    free(config->parameters);
    free(config->inputs);
    free(config->outputs);
    free(config->warmup);
    free(config->versions);
    gpulet_app_destroy(config->app);
    gpulet_kept_destroy(config->kept);
    memset(config, 0, sizeof(*config));
}

const char *gpulet_model_config_parameter(const gpulet_model_config_t *config, const char *key)
{
    for (size_t i = 0; i < config->parameters_count; i++) {
        if (strcmp(config->parameters[i].key, key) == 0)
            return config->parameters[i].value;
    }
    return NULL;
}

/* The inputs or the outputs of both sides, so that one code serves both. */
typedef struct side {
    const char *what; /* "input", "output" */
    gpulet_config_io_t **items;
    size_t *items_count;
    const gpulet_tensor_spec_t *specs;
    uint32_t specs_count;
    bool complete_each; /* add those that are absent even when others are given */
} side_t;

static const gpulet_tensor_spec_t *find_spec(const side_t *side, const char *name)
{
    for (uint32_t i = 0; i < side->specs_count; i++) {
        if (strcmp(side->specs[i].name, name) == 0)
            return &side->specs[i];
    }
    return NULL;
}

static const gpulet_config_io_t *find_item(const side_t *side, const char *name)
{
    for (size_t i = 0; i < *side->items_count; i++) {
        if (strcmp((*side->items)[i].name, name) == 0)
            return &(*side->items)[i];
    }
    return NULL;
}

/* The shape that the engine sees, without its batch dimension. */
static const gpulet_shape_t *engine_dims(const gpulet_config_io_t *item)
{
    return item->reshape_given ? &item->reshape : &item->dims;
}

/* Whether the configuration says a shape at all: a missing one has no dimensions. */
static bool has_dims(const gpulet_config_io_t *item)
{
    return item->reshape_given || item->dims.rank > 0;
}

static void name_specs(char *text, size_t text_size, const side_t *side)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < side->specs_count && used < text_size; i++) {
        int written = snprintf(text + used, text_size - used, "%s%s", i == 0 ? "" : ", ",
                               side->specs[i].name);
        used += written > 0 ? (size_t)written : 0;
    }
}

static gpulet_status_t check_names(const side_t *side, gpulet_error_t *err)
{
    char known[GPULET_ERROR_TEXT_MAX / 2];
    for (size_t i = 0; i < *side->items_count; i++) {
        const char *name = (*side->items)[i].name;
        if (find_item(side, name) != &(*side->items)[i])
            return gpulet_fail(err, GPULET_E_INVALID, "%s %s: expected each name once, found two",
                               side->what, name);
        if (find_spec(side, name) != NULL)
            continue;
        name_specs(known, sizeof(known), side);
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s: expected one of the model's (%s), found '%s'", side->what, known,
                           name);
    }
    return GPULET_OK;
}

/* What the model file says of batches. */
typedef struct batching {
    bool dynamic; /* every first dimension is -1 */
    int64_t
        fixed; /* the one size of all first dimensions; 0: they differ, or some tensor has none */
    bool has_vector; /* some tensor has one dimension only */
} batching_t;

static void look_at(batching_t *batching, const side_t *side, bool *first)
{
    for (uint32_t i = 0; i < side->specs_count; i++) {
        const gpulet_shape_t *shape = &side->specs[i].shape;
        int64_t size = shape->rank > 0 ? shape->dims[0] : 0;
        batching->has_vector = batching->has_vector || shape->rank == 1;
        batching->dynamic = batching->dynamic && size == -1;
        if (*first)
            batching->fixed = size > 0 ? size : 0;
        else if (size != batching->fixed)
            batching->fixed = 0;
        *first = false;
    }
}

static batching_t look(const side_t *inputs, const side_t *outputs)
{
    bool first = true;
    batching_t batching = {.dynamic = inputs->specs_count + outputs->specs_count > 0};
    look_at(&batching, inputs, &first);
    look_at(&batching, outputs, &first);
    return batching;
}

/* Whether the configuration writes shapes with all of the model's dimensions, the first included:
 * then it means no batches. */
static bool writes_full_shapes(const side_t *side)
{
    for (size_t i = 0; i < *side->items_count; i++) {
        const gpulet_config_io_t *item = &(*side->items)[i];
        const gpulet_tensor_spec_t *spec = find_spec(side, item->name);
        if (has_dims(item) && engine_dims(item)->rank == spec->shape.rank)
            return true;
    }
    return false;
}

/* A vector of fixed length is far more often one item than a batch of scalars, so a fixed batch
 * needs a second dimension. */
static int32_t default_batch(const batching_t *batching, uint32_t batch_max_default)
{
    if (batching->dynamic)
        return (int32_t)(batch_max_default < GPULET_MODEL_BATCH_LIMIT ? batch_max_default
                                                                      : GPULET_MODEL_BATCH_LIMIT);
    if (batching->fixed > 1 && batching->fixed <= GPULET_MODEL_BATCH_LIMIT && !batching->has_vector)
        return (int32_t)batching->fixed;
    return 0;
}

static gpulet_status_t check_batch(int32_t batch, const batching_t *batching, gpulet_error_t *err)
{
    if (batch < 0 || batch > GPULET_MODEL_BATCH_LIMIT)
        return gpulet_fail(err, GPULET_E_INVALID, "max_batch_size: expected 0 to %d, found %d",
                           GPULET_MODEL_BATCH_LIMIT, batch);
    if (batch == 0 || batching->dynamic)
        return GPULET_OK;
    if (batching->fixed == 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "max_batch_size: expected 0, since the model's inputs and outputs do "
                           "not all begin with the same batch dimension, found %d",
                           batch);
    if (batch > batching->fixed)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "max_batch_size: expected at most %lld, the model's fixed batch "
                           "dimension, found %d",
                           (long long)batching->fixed, batch);
    return GPULET_OK;
}

/* The model's shape without its batch dimension. */
static gpulet_shape_t item_shape(const gpulet_shape_t *full, bool batched)
{
    gpulet_shape_t shape = {0};
    uint32_t skipped = batched ? 1 : 0;
    shape.rank = full->rank - skipped;
    memcpy(shape.dims, full->dims + skipped, shape.rank * sizeof(shape.dims[0]));
    return shape;
}

static bool are_dims_valid(const gpulet_shape_t *dims)
{
    for (uint32_t i = 0; i < dims->rank; i++) {
        if (dims->dims[i] != -1 && dims->dims[i] < 1)
            return false;
    }
    return dims->rank <= GPULET_RANK_MAX;
}

/* Elements of the known dimensions and how many are unknown. */
static gpulet_status_t count_elements(const gpulet_shape_t *dims, uint64_t *elements,
                                      uint32_t *unknown)
{
    gpulet_shape_t known = *dims;
    *unknown = 0;
    for (uint32_t i = 0; i < known.rank; i++) {
        if (known.dims[i] != -1)
            continue;
        known.dims[i] = 1;
        ++*unknown;
    }
    return gpulet_shape_elements(elements, &known);
}

static gpulet_status_t check_reshape(const side_t *side, const gpulet_config_io_t *item,
                                     gpulet_error_t *err)
{
    char dims[SHAPE_TEXT_SIZE];
    char reshape[SHAPE_TEXT_SIZE];
    uint64_t elements[2] = {0, 0};
    uint32_t unknown[2] = {0, 0};
    bool countable = count_elements(&item->dims, &elements[0], &unknown[0]) == GPULET_OK &&
                     count_elements(&item->reshape, &elements[1], &unknown[1]) == GPULET_OK;
    if (countable && elements[0] == elements[1] && unknown[0] == unknown[1])
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID,
                       "%s %s: reshape: expected as many elements as dims %s, found %s", side->what,
                       item->name, gpulet_shape_format(dims, sizeof(dims), &item->dims),
                       gpulet_shape_format(reshape, sizeof(reshape), &item->reshape));
}

static gpulet_status_t check_dims(const side_t *side, const gpulet_config_io_t *item,
                                  const gpulet_shape_t *wanted, gpulet_error_t *err)
{
    char expected[SHAPE_TEXT_SIZE];
    char found[SHAPE_TEXT_SIZE];
    const gpulet_shape_t *given = engine_dims(item);
    if (!are_dims_valid(&item->dims) || !are_dims_valid(given))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s %s: dims: expected -1 or sizes of at least 1, found %s", side->what,
                           item->name, gpulet_shape_format(found, sizeof(found), given));
    if (!gpulet_shape_matches(wanted, given))
        return gpulet_fail(err, GPULET_E_INVALID, "%s %s: %s: expected %s, found %s", side->what,
                           item->name, item->reshape_given ? "reshape" : "dims",
                           gpulet_shape_format(expected, sizeof(expected), wanted),
                           gpulet_shape_format(found, sizeof(found), given));
    return item->reshape_given ? check_reshape(side, item, err) : GPULET_OK;
}

/* Fills in what the configuration leaves out of one input or output, and compares the rest. */
static gpulet_status_t complete_item(const side_t *side, gpulet_config_io_t *item, bool batched,
                                     gpulet_error_t *err)
{
    const gpulet_tensor_spec_t *spec = find_spec(side, item->name);
    gpulet_shape_t wanted = item_shape(&spec->shape, batched);
    if (item->type == GPULET_DATATYPE_INVALID)
        item->type = spec->type;
    if (item->type != spec->type)
        return gpulet_fail(err, GPULET_E_INVALID, "%s %s: data_type: expected %s, found %s",
                           side->what, item->name, gpulet_datatype_name(spec->type),
                           gpulet_datatype_name(item->type));
    if (!has_dims(item)) {
        item->dims = wanted;
        return GPULET_OK;
    }
    return check_dims(side, item, &wanted, err);
}

static gpulet_status_t add_absent(const side_t *side, gpulet_error_t *err)
{
    if (*side->items_count > 0 && !side->complete_each)
        return GPULET_OK;
    for (uint32_t i = 0; i < side->specs_count; i++) {
        const gpulet_tensor_spec_t *spec = &side->specs[i];
        if (find_item(side, spec->name) != NULL)
            continue;
        gpulet_config_io_t *grown =
            reallocarray(*side->items, *side->items_count + 1, sizeof(**side->items));
        if (grown == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        *side->items = grown;
        gpulet_config_io_t *item = &grown[(*side->items_count)++];
        memset(item, 0, sizeof(*item));
        memcpy(item->name, spec->name, sizeof(item->name));
    }
    return GPULET_OK;
}

static gpulet_status_t complete_side(const side_t *side, bool batched, gpulet_error_t *err)
{
    gpulet_status_t st = add_absent(side, err);
    for (size_t i = 0; st == GPULET_OK && i < *side->items_count; i++)
        st = complete_item(side, &(*side->items)[i], batched, err);
    return st;
}

/* ---- without a model file ---- */

bool gpulet_model_config_lists_tensors(const gpulet_model_config_t *config)
{
    return config->inputs_count + config->outputs_count > 0;
}

static gpulet_status_t describe_item(gpulet_tensor_spec_t *out, const char *what,
                                     const gpulet_config_io_t *item, bool batched,
                                     gpulet_error_t *err)
{
    const gpulet_shape_t *dims = engine_dims(item);
    if (item->type == GPULET_DATATYPE_INVALID)
        return gpulet_fail(
            err, GPULET_E_INVALID,
            "%s %s: data_type: expected one, since no model file says it, found none", what,
            item->name);
    if (!has_dims(item))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s %s: dims: expected some, since no model file says them, found none",
                           what, item->name);
    if (dims->rank + batched > GPULET_RANK_MAX)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s %s: dims: expected at most %d beside the batch, found %u", what,
                           item->name, GPULET_RANK_MAX - 1, dims->rank);
    memcpy(out->name, item->name, sizeof(out->name));
    out->type = item->type;
    out->shape.rank = dims->rank + batched;
    out->shape.dims[0] = -1;
    memcpy(out->shape.dims + batched, dims->dims, dims->rank * sizeof(dims->dims[0]));
    return GPULET_OK;
}

static gpulet_status_t describe_items(gpulet_model_io_t *out, const gpulet_model_config_t *config,
                                      gpulet_error_t *err)
{
    const bool batched = config->max_batch_size > 0;
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < config->inputs_count && st == GPULET_OK; i++)
        st = describe_item(&out->inputs[out->inputs_count++], "input", &config->inputs[i], batched,
                           err);
    for (size_t i = 0; i < config->outputs_count && st == GPULET_OK; i++)
        st = describe_item(&out->outputs[out->outputs_count++], "output", &config->outputs[i],
                           batched, err);
    return st;
}

gpulet_status_t gpulet_model_config_describe(gpulet_model_io_t *out,
                                             const gpulet_model_config_t *config,
                                             gpulet_error_t *err)
{
    if (config->inputs_count == 0 || config->outputs_count == 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s: expected at least one, since no model file names any, found none",
                           config->inputs_count == 0 ? "input" : "output");
    gpulet_model_io_t io = {.inputs = calloc(config->inputs_count, sizeof(*io.inputs)),
                            .outputs = calloc(config->outputs_count, sizeof(*io.outputs))};
    gpulet_status_t st = io.inputs != NULL && io.outputs != NULL
                             ? describe_items(&io, config, err)
                             : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st != GPULET_OK) {
        gpulet_model_io_deinit(&io);
        return st;
    }
    *out = io;
    return GPULET_OK;
}

static void narrow_shape(gpulet_shape_t *shape, const gpulet_shape_t *dims, bool batched)
{
    if (dims->rank + batched != shape->rank)
        return;
    for (uint32_t d = batched; d < shape->rank; d++) {
        if (shape->dims[d] == -1)
            shape->dims[d] = dims->dims[d - batched];
    }
}

void gpulet_model_config_narrow(gpulet_model_io_t *io, const gpulet_model_config_t *config)
{
    for (size_t i = 0; i < config->outputs_count; i++) {
        for (uint32_t k = 0; k < io->outputs_count; k++) {
            if (strcmp(io->outputs[k].name, config->outputs[i].name) == 0)
                narrow_shape(&io->outputs[k].shape, engine_dims(&config->outputs[i]),
                             config->max_batch_size > 0);
        }
    }
}

/* ---- completing ---- */

/* What model_warmup says is said to clients' inputs, so it is their names and dims that it must
 * fit. */
static gpulet_status_t check_warmup(const side_t *inputs, const gpulet_config_io_t *warmup,
                                    gpulet_error_t *err)
{
    char text[GPULET_ERROR_TEXT_MAX / 2];
    char found[SHAPE_TEXT_SIZE];
    const gpulet_config_io_t *item = find_item(inputs, warmup->name);
    if (item == NULL) {
        name_specs(text, sizeof(text), inputs);
        return gpulet_fail(err, GPULET_E_INVALID,
                           "model_warmup: inputs: expected one of the model's (%s), found '%s'",
                           text, warmup->name);
    }
    if (warmup->type != GPULET_DATATYPE_INVALID && warmup->type != item->type)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "model_warmup: input %s: data_type: expected %s, found %s", item->name,
                           gpulet_datatype_name(item->type), gpulet_datatype_name(warmup->type));
    if (!gpulet_shape_matches(&item->dims, &warmup->dims))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "model_warmup: input %s: dims: expected %s, found %s", item->name,
                           gpulet_shape_format(text, sizeof(text), &item->dims),
                           gpulet_shape_format(found, sizeof(found), &warmup->dims));
    return GPULET_OK;
}

gpulet_status_t gpulet_model_config_complete(gpulet_model_config_t *config,
                                             const gpulet_model_io_t *io,
                                             uint32_t batch_max_default, gpulet_error_t *err)
{
    side_t inputs = {"input",    &config->inputs,  &config->inputs_count,
                     io->inputs, io->inputs_count, true};
    /* A configuration may offer some outputs only; an input that it leaves out is needed all the
     * same. */
    side_t outputs = {"output",    &config->outputs,  &config->outputs_count,
                      io->outputs, io->outputs_count, false};
    gpulet_status_t st = check_names(&inputs, err);
    if (st == GPULET_OK)
        st = check_names(&outputs, err);
    if (st != GPULET_OK)
        return st;
    batching_t batching = look(&inputs, &outputs);
    int32_t batch = config->max_batch_size;
    if (!config->max_batch_size_given)
        batch = writes_full_shapes(&inputs) || writes_full_shapes(&outputs)
                    ? 0
                    : default_batch(&batching, batch_max_default);
    if ((st = check_batch(batch, &batching, err)) != GPULET_OK)
        return st;
    config->max_batch_size = batch;
    st = complete_side(&inputs, batch >= 1, err);
    if (st == GPULET_OK)
        st = complete_side(&outputs, batch >= 1, err);
    for (size_t i = 0; st == GPULET_OK && i < config->warmup_count; i++)
        st = check_warmup(&inputs, &config->warmup[i], err);
    return st;
}

gpulet_status_t gpulet_config_io_engine_shape(gpulet_shape_t *out, const gpulet_config_io_t *io,
                                              const gpulet_shape_t *shape, uint32_t lead)
{
    uint32_t from = 0;
    *out = *shape;
    if (!io->reshape_given)
        return GPULET_OK;
    if (io->reshape.rank + lead > GPULET_RANK_MAX)
        return GPULET_E_TOO_LARGE;
    out->rank = io->reshape.rank + lead;
    for (uint32_t i = 0; i < io->reshape.rank; i++) {
        int64_t dim = io->reshape.dims[i];
        if (dim == -1) {
            while (from < io->dims.rank && io->dims.dims[from] != -1)
                from++;
            dim = from < io->dims.rank ? shape->dims[lead + from] : 1;
            from++;
        }
        out->dims[lead + i] = dim;
    }
    return GPULET_OK;
}

static const gpulet_config_io_t *find_warmup(const gpulet_model_config_t *config, const char *name)
{
    for (size_t i = 0; i < config->warmup_count; i++) {
        if (strcmp(config->warmup[i].name, name) == 0)
            return &config->warmup[i];
    }
    return NULL;
}

static bool has_any_size(const gpulet_model_io_t *io, const char *name, uint32_t lead)
{
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        const gpulet_shape_t *shape = &io->inputs[i].shape;
        if (strcmp(io->inputs[i].name, name) != 0)
            continue;
        for (uint32_t d = lead; d < shape->rank; d++) {
            if (shape->dims[d] == -1)
                return true;
        }
    }
    return false;
}

gpulet_status_t gpulet_model_config_warmup(gpulet_model_io_t *out,
                                           const gpulet_model_config_t *config,
                                           const gpulet_model_io_t *io)
{
    const uint32_t lead = config->max_batch_size >= 1 ? 1 : 0;
    *out = (gpulet_model_io_t){0};
    if (config->warmup_count == 0)
        return GPULET_OK;
    out->inputs = calloc(config->warmup_count, sizeof(*out->inputs));
    if (out->inputs == NULL)
        return GPULET_E_NOMEM;
    for (size_t i = 0; i < config->inputs_count; i++) {
        const gpulet_config_io_t *item = &config->inputs[i];
        const gpulet_config_io_t *warmup = find_warmup(config, item->name);
        gpulet_shape_t sent = {.rank = lead, .dims = {-1}};
        if (warmup == NULL || warmup->dims.rank + lead > GPULET_RANK_MAX ||
            !has_any_size(io, item->name, lead))
            continue;
        gpulet_tensor_spec_t *spec = &out->inputs[out->inputs_count];
        memcpy(sent.dims + lead, warmup->dims.dims, warmup->dims.rank * sizeof(sent.dims[0]));
        sent.rank += warmup->dims.rank;
        if (gpulet_config_io_engine_shape(&spec->shape, item, &sent, lead) != GPULET_OK)
            continue;
        memcpy(spec->name, item->name, sizeof(spec->name));
        spec->type = item->type;
        out->inputs_count++;
    }
    return GPULET_OK;
}
