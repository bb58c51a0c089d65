#include "bare_model.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "engine/check.h"

enum { ALIGNMENT = 64 };

/* ---- loading ---- */

static gpulet_status_t newest_version(uint64_t *out, const char *folder, gpulet_error_t *err)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    *out = 0;
    if (dir == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", folder, strerror(errno));
    while ((entry = readdir(dir)) != NULL) {
        uint64_t version = 0;
        if (gpulet_parse_u64(&version, entry->d_name, strlen(entry->d_name)) == GPULET_OK &&
            version > *out)
            *out = version;
    }
    (void)closedir(dir);
    return *out > 0 ? GPULET_OK
                    : gpulet_fail(err, GPULET_E_NOT_FOUND, "%s holds no version", folder);
}

static bool is_batchable(const gpulet_tensor_spec_t *specs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const gpulet_shape_t *shape = &specs[i].shape;
        if (specs[i].type == GPULET_DATATYPE_BYTES || shape->rank == 0 || shape->dims[0] != -1)
            return false;
        for (uint32_t d = 1; d < shape->rank; d++) {
            if (shape->dims[d] < 0)
                return false;
        }
    }
    return true;
}

gpulet_status_t gpulet_bare_model_load(gpulet_bare_model_t *out, const gpulet_engine_ops_t *ops,
                                       gpulet_engine_t *engine,
                                       const gpulet_bare_load_options_t *options,
                                       gpulet_error_t *err)
{
    char folder[PATH_MAX];
    char path[PATH_MAX + 64];
    uint64_t version = 0;
    memset(out, 0, sizeof(*out));
    (void)snprintf(out->name, sizeof(out->name), "%s", options->name);
    (void)snprintf(folder, sizeof(folder), "%s/%s", options->repository, options->name);
    gpulet_status_t st = newest_version(&version, folder, err);
    if (st != GPULET_OK)
        return st;
    (void)snprintf(out->version, sizeof(out->version), "%llu", (unsigned long long)version);
    (void)snprintf(path, sizeof(path), "%s/%s/model.onnx", folder, out->version);
    gpulet_engine_load_options_t load = {.name = out->name,
                                         .path = path,
                                         .threads = options->threads,
                                         .units = options->threads,
                                         .spin = options->spin};
    out->ops = ops;
    st = ops->load(&out->engine_model, engine, &load, err);
    if (st != GPULET_OK)
        return st;
    out->io = ops->io(out->engine_model);
    if (out->io->inputs_count > GPULET_BARE_TENSORS_MAX ||
        out->io->outputs_count > GPULET_BARE_TENSORS_MAX) {
        gpulet_bare_model_unload(out);
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "%s: more than %d inputs or outputs",
                           out->name, GPULET_BARE_TENSORS_MAX);
    }
    out->batchable = is_batchable(out->io->inputs, out->io->inputs_count) &&
                     is_batchable(out->io->outputs, out->io->outputs_count);
    return GPULET_OK;
}

void gpulet_bare_model_unload(gpulet_bare_model_t *model)
{
    if (model->engine_model != NULL)
        model->ops->unload(model->engine_model);
    for (size_t i = 0; i < GPULET_BARE_TENSORS_MAX; i++) {
        free(model->input_memory[i]);
        free(model->output_memory[i]);
    }
    memset(model, 0, sizeof(*model));
}

/* ---- running ---- */

bool gpulet_bare_model_joins(const gpulet_bare_model_t *model, const gpulet_bare_work_t *a,
                             const gpulet_bare_work_t *b)
{
    for (uint32_t i = 0; i < model->io->inputs_count; i++) {
        gpulet_shape_t left = a->inputs[i].shape;
        gpulet_shape_t right = b->inputs[i].shape;
        left.dims[0] = right.dims[0];
        if (!gpulet_shape_equal(&left, &right))
            return false;
    }
    return model->batchable;
}

static gpulet_status_t make_room(void **memory, size_t *room, size_t size, gpulet_error_t *err)
{
    size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size <= *room)
        return GPULET_OK;
    void *grown = aligned_alloc(ALIGNMENT, rounded);
    if (grown == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    free(*memory);
    *memory = grown;
    *room = rounded;
    return GPULET_OK;
}

/* Input i of all requests, one behind the other. */
static gpulet_status_t gather(gpulet_tensor_view_t *out, gpulet_bare_model_t *model, uint32_t i,
                              const gpulet_bare_work_t *const *works, size_t count,
                              gpulet_error_t *err)
{
    size_t size = 0;
    int64_t rows = 0;
    for (size_t w = 0; w < count; w++) {
        size += works[w]->inputs[i].size;
        rows += works[w]->inputs[i].shape.rank > 0 ? works[w]->inputs[i].shape.dims[0] : 0;
    }
    gpulet_status_t st = make_room(&model->input_memory[i], &model->input_room[i], size, err);
    if (st != GPULET_OK)
        return st;
    *out = works[0]->inputs[i];
    out->data = model->input_memory[i];
    out->size = size;
    if (count > 1)
        out->shape.dims[0] = rows;
    size_t at = 0;
    for (size_t w = 0; w < count; w++) {
        if (works[w]->inputs[i].size > 0)
            memcpy((char *)out->data + at, works[w]->inputs[i].data, works[w]->inputs[i].size);
        at += works[w]->inputs[i].size;
    }
    return GPULET_OK;
}

/* Where output i is to be written; the engine allocates it when its shape is not known before. */
static gpulet_status_t expect(gpulet_engine_output_t *out, gpulet_bare_model_t *model, uint32_t i,
                              int64_t rows, gpulet_error_t *err)
{
    size_t size = 0;
    memset(out, 0, sizeof(*out));
    out->tensor.type = model->io->outputs[i].type;
    out->tensor.shape = model->io->outputs[i].shape;
    if (!model->batchable)
        return GPULET_OK;
    out->tensor.shape.dims[0] = rows;
    if (!gpulet_engine_dense_size(&size, out->tensor.type, &out->tensor.shape))
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "%s: the batch is too large", model->name);
    gpulet_status_t st = make_room(&model->output_memory[i], &model->output_room[i], size, err);
    out->tensor.data = model->output_memory[i];
    out->tensor.size = size;
    return st;
}

static void answer_each(const gpulet_bare_model_t *model, const gpulet_bare_work_t *const *works,
                        size_t count, const gpulet_engine_output_t *outputs,
                        gpulet_bare_answer_t answer, void *context)
{
    gpulet_tensor_view_t views[GPULET_BARE_TENSORS_MAX];
    size_t done_rows = 0;
    for (size_t w = 0; w < count; w++) {
        size_t rows = count > 1 ? (size_t)works[w]->inputs[0].shape.dims[0] : 0;
        for (uint32_t i = 0; i < model->io->outputs_count; i++) {
            views[i] = outputs[i].tensor;
            if (count == 1)
                continue;
            size_t row_size = views[i].size / (size_t)views[i].shape.dims[0];
            views[i].data = (char *)views[i].data + done_rows * row_size;
            views[i].size = rows * row_size;
            views[i].shape.dims[0] = (int64_t)rows;
        }
        done_rows += rows;
        answer(context, w, views);
    }
}

gpulet_status_t gpulet_bare_model_run(gpulet_bare_model_t *model,
                                      const gpulet_bare_work_t *const *works, size_t count,
                                      gpulet_bare_answer_t answer, void *context,
                                      gpulet_error_t *err)
{
    gpulet_tensor_view_t inputs[GPULET_BARE_TENSORS_MAX];
    gpulet_engine_output_t outputs[GPULET_BARE_TENSORS_MAX];
    assert(count >= 1 && count <= GPULET_BARE_BATCH_MAX && (count == 1 || model->batchable));
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < model->io->inputs_count && st == GPULET_OK; i++)
        st = gather(&inputs[i], model, i, works, count, err);
    for (uint32_t i = 0; i < model->io->outputs_count && st == GPULET_OK; i++)
        st = expect(&outputs[i], model, i,
                    model->io->inputs_count > 0 ? inputs[0].shape.dims[0] : 1, err);
    if (st == GPULET_OK)
        st = model->ops->run(model->engine_model, inputs, outputs, err);
    if (st != GPULET_OK)
        return st;
    answer_each(model, works, count, outputs, answer, context);
    for (uint32_t i = 0; i < model->io->outputs_count; i++)
        model->ops->output_release(model->engine_model, &outputs[i]);
    return GPULET_OK;
}

/* ---- metadata ---- */

static void describe_tensors(gpulet_buf_t *out, const gpulet_tensor_spec_t *specs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        gpulet_buf_printf(out, "%s{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[",
                          i > 0 ? "," : "", specs[i].name, gpulet_datatype_name(specs[i].type));
        for (uint32_t d = 0; d < specs[i].shape.rank; d++)
            gpulet_buf_printf(out, "%s%lld", d > 0 ? "," : "", (long long)specs[i].shape.dims[d]);
        gpulet_buf_append_str(out, "]}");
    }
}

void gpulet_bare_model_describe(gpulet_buf_t *out, const gpulet_bare_model_t *model)
{
    gpulet_buf_printf(
        out,
        "{\"name\":\"%s\",\"versions\":[\"%s\"],\"platform\":\"onnxruntime_onnx\",\"inputs\":[",
        model->name, model->version);
    describe_tensors(out, model->io->inputs, model->io->inputs_count);
    gpulet_buf_append_str(out, "],\"outputs\":[");
    describe_tensors(out, model->io->outputs, model->io->outputs_count);
    gpulet_buf_append_str(out, "]}");
}
