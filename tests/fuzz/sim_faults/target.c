/* Faults: what is accepted is within its range, and reads the same when it is written again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sim/faults.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_again(const gpulet_faults_t *faults)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_faults_t again;
    for (int i = 0; i < GPULET_FAULT_COUNT; i++) {
        gpulet_buf_printf(&text, "%s%s=%.17g", i == 0 ? "" : ",",
                          gpulet_fault_name((gpulet_fault_t)i), faults->chance[i]);
        if (faults->size[i] > 0)
            gpulet_buf_printf(&text, "x%.17g", faults->size[i]);
    }
    assert(gpulet_faults_parse(&again, text.data, NULL) == GPULET_OK);
    for (int i = 0; i < GPULET_FAULT_COUNT; i++)
        assert(again.chance[i] == faults->chance[i] && again.size[i] == faults->size[i]);
    gpulet_buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_faults_t faults;
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (gpulet_faults_parse(&faults, text, &err) != GPULET_OK) {
        assert(err.text[0] != '\0');
    } else {
        for (int i = 0; i < GPULET_FAULT_COUNT; i++)
            assert(faults.chance[i] >= 0 && faults.chance[i] <= 1000 && faults.size[i] >= 0);
        write_again(&faults);
    }
    free(text);
    return 0;
}
