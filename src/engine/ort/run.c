#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "engine/check.h"
#include "engine/ort/internal.h"

/* ---- values over the caller's memory ---- */

static gpulet_status_t over_memory(ort_value_t **out, const ort_engine_t *engine,
                                   const gpulet_tensor_view_t *view, size_t size,
                                   gpulet_error_t *err)
{
    static char nothing[64]; /* where a tensor without bytes lies: the library wants some address */
    const gpulet_ort_api_t *api = &engine->api;
    void *data = view->data != NULL ? view->data : nothing;
    return gpulet_ort_status(api,
                             api->create_tensor_over(engine->memory, data, size, view->shape.dims,
                                                     view->shape.rank,
                                                     gpulet_datatype_to_onnx(view->type), out),
                             GPULET_E_INTERNAL, err);
}

static void release_values(const ort_model_t *model, ort_value_t **values, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (values[i] != NULL)
            model->engine->api.release_value(values[i]);
        values[i] = NULL;
    }
}

static gpulet_status_t make_inputs(ort_model_t *model, const gpulet_tensor_view_t *inputs,
                                   gpulet_error_t *err)
{
    for (uint32_t i = 0; i < model->io.inputs_count; i++) {
        gpulet_status_t st =
            inputs[i].type == GPULET_DATATYPE_BYTES
                ? gpulet_ort_strings_in(&model->inputs[i], model->engine, &inputs[i], err)
                : over_memory(&model->inputs[i], model->engine, &inputs[i], inputs[i].size, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

/* Whether output i can be written where the caller asks. An output of undeclared rank has rank 0 in
 * io: then the caller's word counts. */
static bool can_write_there(size_t *size_out, const ort_model_t *model, uint32_t i,
                            const gpulet_tensor_view_t *want)
{
    const gpulet_tensor_spec_t *spec = &model->io.outputs[i];
    if (want->data == NULL || model->allocates[i] || want->shape.rank > GPULET_RANK_MAX)
        return false;
    if (spec->shape.rank > 0 && !gpulet_shape_matches(&spec->shape, &want->shape))
        return false;
    return gpulet_engine_dense_size(size_out, spec->type, &want->shape) && *size_out <= want->size;
}

/* Values for the outputs whose place is known; the others stay NULL, which has the library allocate
 * them. */
static gpulet_status_t make_outputs(ort_model_t *model, const gpulet_engine_output_t *outputs,
                                    gpulet_error_t *err)
{
    for (uint32_t i = 0; i < model->io.outputs_count; i++) {
        size_t size;
        model->outputs[i] = NULL;
        if (!can_write_there(&size, model, i, &outputs[i].tensor))
            continue;
        gpulet_tensor_view_t view = outputs[i].tensor;
        view.type = model->io.outputs[i].type;
        gpulet_status_t st = over_memory(&model->outputs[i], model->engine, &view, size, err);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

/* ---- the run itself ---- */

/* A trim is for the idle: its run is only slowed down when it is small, and a large one needs the
 * memory again at once. */
static bool is_small(const ort_model_t *model, const gpulet_tensor_view_t *inputs)
{
    for (uint32_t i = 0; i < model->io.inputs_count; i++) {
        if (inputs[i].shape.rank > 0 && inputs[i].shape.dims[0] > 1)
            return false;
    }
    return true;
}

/* From here to end() the run can be stopped; that spans both attempts of a run that is tried again.
 */
static void begin(ort_model_t *model, ort_run_options_t *options)
{
    (void)pthread_mutex_lock(&model->lock);
    model->running = options;
    model->cancelled = false;
    (void)pthread_mutex_unlock(&model->lock);
}

/* The flag is the options', so it must go before they are used again. */
static void end(ort_model_t *model)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    (void)pthread_mutex_lock(&model->lock);
    if (model->cancelled)
        api->release_status(api->unset_terminate(model->running));
    model->running = NULL;
    model->cancelled = false;
    (void)pthread_mutex_unlock(&model->lock);
}

static bool is_cancelled(ort_model_t *model)
{
    (void)pthread_mutex_lock(&model->lock);
    bool cancelled = model->cancelled;
    (void)pthread_mutex_unlock(&model->lock);
    return cancelled;
}

/* *mismatch tells that an output given to the library may have had the wrong shape. A run that was
 * asked to stop but was done before is a success. */
static gpulet_status_t run_once(bool *mismatch, ort_model_t *model, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    ort_status_t *status =
        api->run(model->session, model->running, model->input_names,
                 (const ort_value_t *const *)model->inputs, model->io.inputs_count,
                 model->output_names, model->io.outputs_count, model->outputs);
    *mismatch = false;
    if (status == NULL)
        return GPULET_OK;
    if (is_cancelled(model)) {
        api->release_status(status);
        return gpulet_fail(err, GPULET_E_CANCELLED, "the run was stopped");
    }
    /* A GPU's provider finds a wrong shape out when it copies, and has another word for it. */
    *mismatch = model->on_gpu || api->error_code(status) == ORT_CODE_INVALID_ARGUMENT;
    return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
}

/* ---- what came out ---- */

static gpulet_status_t read_result(gpulet_tensor_view_t *view, const ort_model_t *model, uint32_t i,
                                   gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    ort_shape_info_t *info = NULL;
    int type = 0;
    size_t rank = 0;
    ort_status_t *status = api->tensor_shape_info(model->outputs[i], &info);
    if (status == NULL)
        status = api->element_type(info, &type);
    if (status == NULL)
        status = api->dimensions_count(info, &rank);
    if (status == NULL && rank > 0 && rank <= GPULET_RANK_MAX)
        status = api->dimensions(info, view->shape.dims, rank);
    if (info != NULL)
        api->release_shape_info(info);
    if (status != NULL)
        return gpulet_ort_status(api, status, GPULET_E_INTERNAL, err);
    view->shape.rank = (uint32_t)rank;
    view->type = gpulet_datatype_from_onnx(type);
    if (rank > GPULET_RANK_MAX || view->type == GPULET_DATATYPE_INVALID)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "output \"%s\": rank %zu or ONNX element type %d is not supported",
                           model->output_names[i], rank, type);
    return GPULET_OK;
}

/* Fills result from an output that the library allocated, and takes it. */
static gpulet_status_t take_allocated(gpulet_engine_output_t *result, ort_model_t *model,
                                      uint32_t i, gpulet_error_t *err)
{
    const gpulet_ort_api_t *api = &model->engine->api;
    gpulet_tensor_view_t *view = &result->tensor;
    uint64_t elements;
    gpulet_status_t st = read_result(view, model, i, err);
    if (st != GPULET_OK)
        return st;
    if (gpulet_shape_elements(&elements, &view->shape) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INTERNAL, "output \"%s\": its shape is absurd",
                           model->output_names[i]);
    if (view->type == GPULET_DATATYPE_BYTES) {
        st = gpulet_ort_strings_out(&view->data, &view->size, model->engine, model->outputs[i],
                                    elements, err);
        result->owner = st == GPULET_OK ? view->data : NULL;
        return st;
    }
    if (!gpulet_engine_dense_size(&view->size, view->type, &view->shape))
        return gpulet_fail(err, GPULET_E_INTERNAL, "output \"%s\": its shape is absurd",
                           model->output_names[i]);
    st = gpulet_ort_status(api, api->tensor_data(model->outputs[i], &view->data), GPULET_E_INTERNAL,
                           err);
    if (st != GPULET_OK)
        return st;
    result->owner = model->outputs[i];
    model->outputs[i] = NULL;
    return GPULET_OK;
}

/* All outputs or none: what was taken before a failure is released again. given[i] tells which are
 * where the caller wanted them. */
static gpulet_status_t take_outputs(gpulet_engine_output_t *outputs, ort_model_t *model,
                                    const bool *given, gpulet_error_t *err)
{
    gpulet_engine_output_t results[GPULET_MODEL_IO_MAX];
    uint32_t count = model->io.outputs_count;
    for (uint32_t i = 0; i < count; i++) {
        gpulet_status_t st = GPULET_OK;
        results[i] = (gpulet_engine_output_t){.owner = NULL};
        if (given[i]) {
            results[i].tensor = outputs[i].tensor;
            results[i].tensor.type = model->io.outputs[i].type;
            bool known = gpulet_engine_dense_size(&results[i].tensor.size, results[i].tensor.type,
                                                  &results[i].tensor.shape);
            assert(known);
        } else {
            st = take_allocated(&results[i], model, i, err);
        }
        if (st != GPULET_OK) {
            for (uint32_t k = 0; k < i; k++)
                gpulet_ort_output_release((gpulet_engine_model_t *)model, &results[k]);
            return st;
        }
    }
    for (uint32_t i = 0; i < count; i++)
        outputs[i] = results[i];
    return GPULET_OK;
}

/* After a run that failed with the given outputs and succeeded without: which were wrong? If none
 * shows, none of them is given again. */
static void learn(ort_model_t *model, const gpulet_engine_output_t *expected,
                  const gpulet_engine_output_t *results, const bool *given)
{
    bool any = false;
    for (uint32_t i = 0; i < model->io.outputs_count; i++) {
        if (given[i] && !gpulet_shape_equal(&expected[i].tensor.shape, &results[i].tensor.shape)) {
            model->allocates[i] = true;
            any = true;
        }
    }
    for (uint32_t i = 0; i < model->io.outputs_count && !any; i++)
        model->allocates[i] = model->allocates[i] || given[i];
}

/* Once more, with the library allocating every output. */
static gpulet_status_t run_allocating(gpulet_engine_output_t *outputs, ort_model_t *model,
                                      const bool *given, gpulet_error_t *err)
{
    static const bool none_given[GPULET_MODEL_IO_MAX];
    gpulet_engine_output_t expected[GPULET_MODEL_IO_MAX];
    uint32_t count = model->io.outputs_count;
    bool mismatch;
    release_values(model, model->outputs, count);
    memcpy(expected, outputs, count * sizeof(expected[0]));
    gpulet_status_t st = run_once(&mismatch, model, err);
    if (st == GPULET_OK)
        st = take_outputs(outputs, model, none_given, err);
    if (st == GPULET_OK)
        learn(model, expected, outputs, given);
    return st;
}

/* The values are made; given[i] tells which outputs lie where the caller wants them. */
static gpulet_status_t run_values(gpulet_engine_output_t *outputs, ort_model_t *model, bool trim,
                                  const bool *given, gpulet_error_t *err)
{
    bool mismatch;
    bool any_given = false;
    for (uint32_t i = 0; i < model->io.outputs_count; i++)
        any_given = any_given || given[i];
    begin(model, trim ? model->options_trim : model->options);
    gpulet_status_t st = run_once(&mismatch, model, err);
    if (st == GPULET_OK)
        st = take_outputs(outputs, model, given, err);
    else if (mismatch && any_given)
        st = run_allocating(outputs, model, given, err);
    end(model);
    return st;
}

gpulet_status_t gpulet_ort_run(gpulet_engine_model_t *engine_model,
                               const gpulet_tensor_view_t *inputs, gpulet_engine_output_t *outputs,
                               gpulet_error_t *err)
{
    ort_model_t *model = (ort_model_t *)engine_model;
    bool given[GPULET_MODEL_IO_MAX] = {false};
    uint32_t outputs_count = model->io.outputs_count;
    for (uint32_t i = 0; i < outputs_count; i++)
        outputs[i].owner = NULL;
    gpulet_status_t st = gpulet_engine_check_inputs(&model->io, inputs, err);
    if (st != GPULET_OK)
        return st;
    bool trim = atomic_exchange_explicit(&model->trim_wanted, false, memory_order_relaxed);
    trim = trim && is_small(model, inputs);
    st = make_inputs(model, inputs, err);
    if (st == GPULET_OK)
        st = make_outputs(model, outputs, err);
    for (uint32_t i = 0; i < outputs_count; i++)
        given[i] = model->outputs[i] != NULL;
    if (st == GPULET_OK)
        st = run_values(outputs, model, trim, given, err);
    release_values(model, model->inputs, model->io.inputs_count);
    release_values(model, model->outputs, outputs_count);
    return st;
}

void gpulet_ort_output_release(gpulet_engine_model_t *engine_model, gpulet_engine_output_t *output)
{
    const ort_model_t *model = (const ort_model_t *)engine_model;
    if (output->owner == NULL)
        return;
    if (output->tensor.type == GPULET_DATATYPE_BYTES)
        free(output->owner);
    else
        model->engine->api.release_value(output->owner);
    output->owner = NULL;
    output->tensor.data = NULL;
    output->tensor.size = 0;
}

void gpulet_ort_terminate(gpulet_engine_model_t *engine_model)
{
    ort_model_t *model = (ort_model_t *)engine_model;
    const gpulet_ort_api_t *api = &model->engine->api;
    (void)pthread_mutex_lock(&model->lock);
    if (model->running != NULL && !model->cancelled) {
        api->release_status(api->set_terminate(model->running));
        model->cancelled = true;
    }
    (void)pthread_mutex_unlock(&model->lock);
}

void gpulet_ort_trim(gpulet_engine_model_t *engine_model)
{
    ort_model_t *model = (ort_model_t *)engine_model;
    atomic_store_explicit(&model->trim_wanted, true, memory_order_relaxed);
    (void)malloc_trim(0);
}
