/* config.pbtxt: whatever is accepted must keep the promises of the configuration. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "proto/oip.h"
#include "proto/pbtxt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_io(const gpulet_config_io_t *list, size_t count)
{
    assert(count <= GPULET_MODEL_IO_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(list[i].name[0] != '\0' && list[i].dims.rank <= GPULET_RANK_MAX);
        assert(list[i].reshape.rank <= GPULET_RANK_MAX);
        for (uint32_t d = 0; d < list[i].dims.rank; d++)
            assert(list[i].dims.dims[d] == -1 || list[i].dims.dims[d] > 0);
    }
}

static void check_warmup(const gpulet_model_config_t *config)
{
    check_io(config->warmup, config->warmup_count);
    for (size_t i = 0; i < config->warmup_count; i++) {
        for (uint32_t d = 0; d < config->warmup[i].dims.rank; d++)
            assert(config->warmup[i].dims.dims[d] > 0);
        for (size_t k = 0; k < i; k++)
            assert(strcmp(config->warmup[k].name, config->warmup[i].name) != 0);
    }
}

static void check_ensemble(const gpulet_model_config_t *config)
{
    const gpulet_app_t *app = config->app;
    assert(strcmp(config->platform, "ensemble") == 0 && config->backend[0] == '\0');
    assert(app->inputs_count == config->inputs_count &&
           app->outputs_count == config->outputs_count);
    for (size_t i = 0; i < app->inputs_count; i++) {
        assert(strcmp(app->tensors[app->inputs[i]].name, config->inputs[i].name) == 0);
        assert(config->inputs[i].type != GPULET_DATATYPE_INVALID &&
               config->inputs[i].dims.rank > 0);
    }
    for (size_t i = 0; i < app->outputs_count; i++)
        assert(strcmp(app->tensors[app->outputs[i]].name, config->outputs[i].name) == 0);
    for (size_t i = 0; i < app->stages_count; i++) {
        assert(app->stages[i].version == GPULET_APP_NEWEST || app->stages[i].version >= 1);
        assert((app->stages[app->order[i]].before >> app->order[i] & 1) == 0);
    }
}

/* Whatever is kept of fields that are not used, what is shown is JSON, and each key is there once.
 */
static void check_shown(const gpulet_model_config_t *config)
{
    gpulet_buf_t json = GPULET_BUF_INIT;
    gpulet_buf_t fields = GPULET_BUF_INIT;
    bool grave = false;
    json_error_t why;
    assert(gpulet_oip_config_write(&json, config) == GPULET_OK);
    json_t *root =
        json_loadb(json.data, json.size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    assert(root != NULL);
    json_decref(root);
    assert(gpulet_pbtxt_without_effect(&fields, &grave, config) == GPULET_OK);
    assert(!grave || fields.size > 0);
    gpulet_buf_deinit(&json);
    gpulet_buf_deinit(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_model_config_t config;
    gpulet_error_t err = {""};
    const char *text = size > 0 ? (const char *)data : "";
    gpulet_status_t st = gpulet_pbtxt_parse(&config, text, size, "fuzz", &err);
    if (st != GPULET_OK) {
        assert(err.text[0] != '\0');
        return 0;
    }
    check_io(config.inputs, config.inputs_count);
    check_io(config.outputs, config.outputs_count);
    check_warmup(&config);
    assert(config.max_batch_size >= 0 && config.slo_ms >= 0 && config.rate_rps >= 0);
    assert(isfinite(config.slo_ms) && isfinite(config.rate_rps) && config.versions_latest >= 1);
    if (config.app != NULL)
        check_ensemble(&config);
    check_shown(&config);
    gpulet_model_config_deinit(&config);
    return 0;
}
