/* A configuration in JSON: what is accepted gives a text that the parser of config.pbtxt can at
 * least read the words of, and no string of it reaches outside of its quotes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "proto/config_json.h"
#include "proto/pbtxt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_model_config_t config;
    gpulet_error_t err = {""};
    gpulet_buf_t text = GPULET_BUF_INIT;
    const char *json = size > 0 ? (const char *)data : "";
    gpulet_status_t st = gpulet_config_json_to_pbtxt(&text, json, size, &err);
    assert(st == GPULET_OK || err.text[0] != '\0');
    if (st == GPULET_OK) {
        err.text[0] = '\0';
        st = gpulet_pbtxt_parse(&config, text.data != NULL ? text.data : "", text.size, "fuzz",
                                &err);
        assert(st == GPULET_OK || err.text[0] != '\0');
        if (st == GPULET_OK)
            gpulet_model_config_deinit(&config);
    }
    gpulet_buf_deinit(&text);
    return 0;
}
