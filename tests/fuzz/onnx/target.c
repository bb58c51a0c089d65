/* ONNX files: hostile framing must neither be read past its end nor give shapes that a
 * specification cannot hold. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "proto/onnx_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_specs(const gpulet_tensor_spec_t *list, uint32_t count)
{
    assert(count <= GPULET_MODEL_IO_MAX);
    for (uint32_t i = 0; i < count; i++) {
        assert(list[i].name[0] != '\0' && memchr(list[i].name, '\0', sizeof(list[i].name)) != NULL);
        assert(list[i].shape.rank <= GPULET_RANK_MAX);
        for (uint32_t d = 0; d < list[i].shape.rank; d++)
            assert(list[i].shape.dims[d] >= -1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_onnx_info_t info;
    gpulet_error_t err = {""};
    gpulet_status_t st = gpulet_onnx_read(&info, data, size, &err);
    if (st != GPULET_OK) {
        assert(err.text[0] != '\0');
        return 0;
    }
    check_specs(info.io.inputs, info.io.inputs_count);
    check_specs(info.io.outputs, info.io.outputs_count);
    gpulet_model_io_deinit(&info.io);
    return 0;
}
