#include <string.h>

#include "worker/work.h"

/* What to try for a dimension that may be anything; sizes that text and vision models are made for
 * come first. */
static const int64_t dynamic_sizes[] = {64, 32, 224, 16, 256, 1, 128, 8};
enum {
    SIZES = sizeof(dynamic_sizes) / sizeof(dynamic_sizes[0]),
    FILLS = 2 /* ones are good token numbers and lengths; zeros are good indices */
};

/* Made-up inputs over this size are not tried: they would take the memory that they are to measure.
 */
#define INPUT_BYTES_MAX (UINT64_C(1) << 28) /* of one */

/* What the input is declared to be, with what its configuration says of dimensions that may be
 * anything. */
static gpulet_tensor_spec_t input_spec(const gpulet_work_model_t *model, uint32_t input)
{
    gpulet_tensor_spec_t spec = model->io->inputs[input];
    for (uint32_t i = 0; i < model->warmup.inputs_count; i++) {
        const gpulet_tensor_spec_t *said = &model->warmup.inputs[i];
        if (strcmp(said->name, spec.name) != 0 || said->shape.rank != spec.shape.rank)
            continue;
        for (uint32_t d = 0; d < spec.shape.rank; d++) {
            if (spec.shape.dims[d] < 0)
                spec.shape.dims[d] = said->shape.dims[d];
        }
    }
    return spec;
}

static bool has_dynamic(const gpulet_work_model_t *model)
{
    for (uint32_t i = 0; i < model->io->inputs_count; i++) {
        const gpulet_tensor_spec_t spec = input_spec(model, i);
        for (uint32_t d = model->batched ? 1 : 0; d < spec.shape.rank; d++) {
            if (spec.shape.dims[d] < 0)
                return true;
        }
    }
    return false;
}

int gpulet_work_recipes(const gpulet_work_model_t *model)
{
    return has_dynamic(model) ? SIZES * FILLS : FILLS;
}

static gpulet_status_t shape_make(gpulet_tensor_view_t *out, const gpulet_tensor_spec_t *spec,
                                  bool batched, uint32_t items, int64_t dynamic)
{
    uint64_t elements = 0;
    *out = (gpulet_tensor_view_t){.type = spec->type, .shape = spec->shape};
    for (uint32_t d = 0; d < spec->shape.rank; d++) {
        if (d == 0 && batched)
            out->shape.dims[0] = items;
        else if (spec->shape.dims[d] < 0)
            out->shape.dims[d] = dynamic;
    }
    if (gpulet_shape_elements(&elements, &out->shape) != GPULET_OK)
        return GPULET_E_TOO_LARGE;
    size_t element = gpulet_datatype_size(spec->type);
    element = element == 0 ? sizeof(uint32_t) + 1 : element; /* strings of one character */
    if (elements > INPUT_BYTES_MAX / element)
        return GPULET_E_TOO_LARGE;
    out->size = (size_t)elements * element;
    return GPULET_OK;
}

static void fill_with(uint8_t *out, const void *element, size_t element_size, size_t size)
{
    for (size_t at = 0; at + element_size <= size; at += element_size)
        memcpy(out + at, element, element_size);
}

/* One, or zero, in every element. */
static void fill(gpulet_tensor_view_t *view, bool one)
{
    const uint16_t half = 0x3c00, brain = 0x3f80;
    const float single = 1.0F;
    const double twice = 1.0;
    const uint64_t integer = 1; /* little-endian: its first bytes are a 1 of any size */
    const uint8_t string[5] = {1, 0, 0, 0, one ? '1' : '0'};
    uint8_t *out = view->data;
    if (view->type == GPULET_DATATYPE_BYTES) {
        fill_with(out, string, sizeof(string), view->size);
        return;
    }
    memset(out, 0, view->size);
    if (!one)
        return;
    if (view->type == GPULET_DATATYPE_FP16)
        fill_with(out, &half, sizeof(half), view->size);
    else if (view->type == GPULET_DATATYPE_BF16)
        fill_with(out, &brain, sizeof(brain), view->size);
    else if (view->type == GPULET_DATATYPE_FP32)
        fill_with(out, &single, sizeof(single), view->size);
    else if (view->type == GPULET_DATATYPE_FP64)
        fill_with(out, &twice, sizeof(twice), view->size);
    else
        fill_with(out, &integer, gpulet_datatype_size(view->type), view->size);
}

gpulet_status_t gpulet_work_recipe_make(gpulet_tensor_view_t *inputs, gpulet_work_buffer_t *gather,
                                        const gpulet_work_model_t *model, uint32_t items,
                                        int recipe)
{
    const gpulet_model_io_t *io = model->io;
    const int64_t dynamic = dynamic_sizes[recipe / FILLS];
    const uint64_t mask = GPULET_WIRE_ALIGN - 1;
    uint64_t total = 0;
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        const gpulet_tensor_spec_t spec = input_spec(model, i);
        gpulet_status_t st = shape_make(&inputs[i], &spec, model->batched, items, dynamic);
        if (st != GPULET_OK)
            return st;
        total += (inputs[i].size + mask) & ~mask;
    }
    if (gpulet_work_buffer_reserve(gather, (size_t)total) != GPULET_OK)
        return GPULET_E_NOMEM;
    uint8_t *at = gather->data;
    for (uint32_t i = 0; i < io->inputs_count; i++) {
        inputs[i].data = at;
        fill(&inputs[i], recipe % FILLS == 0);
        at += (inputs[i].size + mask) & ~mask;
    }
    return GPULET_OK;
}
