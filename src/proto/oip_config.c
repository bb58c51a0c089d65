#include <string.h>

#include "proto/number.h"
#include "proto/oip.h"
#include "proto/pbtxt_unused.h"

static void write_text(gpulet_buf_t *out, const char *key, const char *value)
{
    gpulet_buf_printf(out, "\"%s\":", key);
    gpulet_json_string(out, value, strlen(value));
}

/* lead: a batch dimension of -1 is put before the dimensions. */
static void write_dims(gpulet_buf_t *out, const gpulet_shape_t *shape, bool lead)
{
    gpulet_buf_append_str(out, lead ? "[-1" : "[");
    for (uint32_t i = 0; i < shape->rank; i++)
        gpulet_buf_printf(out, lead || i > 0 ? ",%lld" : "%lld", (long long)shape->dims[i]);
    gpulet_buf_append_char(out, ']');
}

static void write_metadata_tensors(gpulet_buf_t *out, const char *key,
                                   const gpulet_config_io_t *list, size_t count, bool batched)
{
    gpulet_buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        gpulet_buf_append_str(out, i > 0 ? ",{" : "{");
        write_text(out, "name", list[i].name);
        gpulet_buf_printf(out,
                          ",\"datatype\":\"%s\",\"shape\":", gpulet_datatype_name(list[i].type));
        write_dims(out, &list[i].dims, batched);
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_append_char(out, ']');
}

static const char *platform_of(const gpulet_model_config_t *config)
{
    return config->platform[0] != '\0' ? config->platform : "onnxruntime_onnx";
}

gpulet_status_t gpulet_oip_metadata_write(gpulet_buf_t *out, const gpulet_model_config_t *config,
                                          const int64_t *versions, size_t versions_count)
{
    const bool batched = config->max_batch_size >= 1;
    gpulet_buf_append_char(out, '{');
    write_text(out, "name", config->name);
    gpulet_buf_append_str(out, ",\"versions\":[");
    for (size_t i = 0; i < versions_count; i++)
        gpulet_buf_printf(out, i > 0 ? ",\"%lld\"" : "\"%lld\"", (long long)versions[i]);
    gpulet_buf_append_str(out, "],");
    write_text(out, "platform", platform_of(config));
    write_metadata_tensors(out, "inputs", config->inputs, config->inputs_count, batched);
    write_metadata_tensors(out, "outputs", config->outputs, config->outputs_count, batched);
    gpulet_buf_append_char(out, '}');
    return gpulet_buf_status(out);
}

/* Triton's enum calls BYTES a string. */
static const char *config_type(gpulet_datatype_t type)
{
    return type == GPULET_DATATYPE_BYTES ? "STRING" : gpulet_datatype_name(type);
}

static void write_config_io(gpulet_buf_t *out, const gpulet_config_io_t *io, bool input,
                            const gpulet_kept_t *kept)
{
    gpulet_buf_append_char(out, '{');
    write_text(out, "name", io->name);
    gpulet_buf_printf(out, ",\"data_type\":\"TYPE_%s\"", config_type(io->type));
    gpulet_buf_append_str(out, ",\"dims\":");
    write_dims(out, &io->dims, false);
    if (io->reshape_given) {
        gpulet_buf_append_str(out, ",\"reshape\":{\"shape\":");
        write_dims(out, &io->reshape, false);
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_append_char(out, ',');
    if (input)
        gpulet_buf_printf(out, "\"optional\":%s", io->optional ? "true" : "false");
    else
        write_text(out, "label_filename", io->label_filename);
    gpulet_pbtxt_unused_show(
        out, gpulet_pbtxt_message_of(&gpulet_pbtxt_model_config, input ? "input" : "output"), kept);
    gpulet_buf_append_char(out, '}');
}

static void write_config_ios(gpulet_buf_t *out, const gpulet_model_config_t *config, bool input)
{
    const char *key = input ? "input" : "output";
    const gpulet_config_io_t *list = input ? config->inputs : config->outputs;
    const size_t count = input ? config->inputs_count : config->outputs_count;
    gpulet_buf_printf(out, ",\"%s\":[", key);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        write_config_io(out, &list[i], input, gpulet_kept_find(config->kept, key, i));
    }
    gpulet_buf_append_char(out, ']');
}

static void write_version_policy(gpulet_buf_t *out, const gpulet_model_config_t *config)
{
    gpulet_buf_append_str(out, ",\"version_policy\":{");
    if (config->version_policy == GPULET_VERSIONS_ALL) {
        gpulet_buf_append_str(out, "\"all\":{}");
    } else if (config->version_policy == GPULET_VERSIONS_LATEST) {
        gpulet_buf_printf(out, "\"latest\":{\"num_versions\":%u}", config->versions_latest);
    } else {
        gpulet_buf_append_str(out, "\"specific\":{\"versions\":[");
        for (size_t i = 0; i < config->versions_count; i++)
            gpulet_buf_printf(out, i > 0 ? ",%lld" : "%lld", (long long)config->versions[i]);
        gpulet_buf_append_str(out, "]}");
    }
    gpulet_buf_append_char(out, '}');
}

static void write_map(gpulet_buf_t *out, const char *key, const gpulet_app_t *app,
                      const gpulet_app_link_t *links, size_t count)
{
    gpulet_buf_printf(out, ",\"%s\":{", key);
    for (size_t i = 0; i < count; i++) {
        const char *tensor = app->tensors[links[i].tensor].name;
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        gpulet_json_string(out, links[i].name, strlen(links[i].name));
        gpulet_buf_append_char(out, ':');
        gpulet_json_string(out, tensor, strlen(tensor));
    }
    gpulet_buf_append_char(out, '}');
}

static void write_ensemble(gpulet_buf_t *out, const gpulet_model_config_t *config)
{
    const gpulet_app_t *app = config->app;
    const gpulet_pbtxt_message_t *message =
        gpulet_pbtxt_message_of(&gpulet_pbtxt_model_config, "ensemble_scheduling");
    const gpulet_kept_t *kept = gpulet_kept_find(config->kept, "ensemble_scheduling", 0);
    gpulet_buf_append_str(out, ",\"ensemble_scheduling\":{\"step\":[");
    for (size_t i = 0; i < app->stages_count; i++) {
        const gpulet_app_stage_t *s = &app->stages[i];
        gpulet_buf_append_str(out, i > 0 ? ",{" : "{");
        write_text(out, "model_name", s->model);
        gpulet_buf_printf(out, ",\"model_version\":%lld", (long long)s->version);
        write_map(out, "input_map", app, s->inputs, s->inputs_count);
        write_map(out, "output_map", app, s->outputs, s->outputs_count);
        gpulet_pbtxt_unused_show(out, gpulet_pbtxt_message_of(message, "step"),
                                 gpulet_kept_find(kept, "step", i));
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_append_char(out, ']');
    gpulet_pbtxt_unused_show(out, message, kept);
    gpulet_buf_append_char(out, '}');
}

static void write_dynamic_batching(gpulet_buf_t *out, const gpulet_model_config_t *config)
{
    const gpulet_pbtxt_message_t *message =
        gpulet_pbtxt_message_of(&gpulet_pbtxt_model_config, "dynamic_batching");
    const gpulet_kept_t *kept = gpulet_kept_find(config->kept, "dynamic_batching", 0);
    gpulet_buf_printf(out,
                      ",\"dynamic_batching\":{\"priority_levels\":%u,\"default_priority_level\":%u,"
                      "\"default_queue_policy\":{\"timeout_action\":\"%s\","
                      "\"default_timeout_microseconds\":%llu,\"max_queue_size\":%u",
                      config->priority_levels, config->default_priority_level,
                      config->timeout_delay ? "DELAY" : "REJECT",
                      (unsigned long long)config->default_timeout_us, config->max_queue_size);
    gpulet_pbtxt_unused_show(out, gpulet_pbtxt_message_of(message, "default_queue_policy"),
                             gpulet_kept_find(kept, "default_queue_policy", 0));
    gpulet_buf_append_char(out, '}');
    gpulet_pbtxt_unused_show(out, message, kept);
    gpulet_buf_append_char(out, '}');
}

static void write_scheduling(gpulet_buf_t *out, const gpulet_model_config_t *config)
{
    if (config->app != NULL)
        write_ensemble(out, config);
    if (config->dynamic_batching)
        write_dynamic_batching(out, config);
}

static void write_parameters(gpulet_buf_t *out, const gpulet_model_config_t *config)
{
    gpulet_buf_append_str(out, ",\"parameters\":{");
    for (size_t i = 0; i < config->parameters_count; i++) {
        const gpulet_config_parameter_t *parameter = &config->parameters[i];
        if (i > 0)
            gpulet_buf_append_char(out, ',');
        gpulet_json_string(out, parameter->key, strlen(parameter->key));
        gpulet_buf_append_str(out, ":{");
        write_text(out, "string_value", parameter->value);
        gpulet_buf_append_char(out, '}');
    }
    gpulet_buf_append_char(out, '}');
}

gpulet_status_t gpulet_oip_config_write(gpulet_buf_t *out, const gpulet_model_config_t *config)
{
    gpulet_buf_append_char(out, '{');
    write_text(out, "name", config->name);
    gpulet_buf_append_char(out, ',');
    write_text(out, "platform", platform_of(config));
    gpulet_buf_append_char(out, ',');
    write_text(out, "backend",
               config->backend[0] != '\0' || config->app != NULL ? config->backend : "onnxruntime");
    write_version_policy(out, config);
    gpulet_buf_printf(out, ",\"max_batch_size\":%d", config->max_batch_size);
    write_config_ios(out, config, true);
    write_config_ios(out, config, false);
    write_scheduling(out, config);
    gpulet_buf_append_char(out, ',');
    write_text(out, "default_model_filename",
               config->default_model_filename[0] != '\0' || config->app != NULL
                   ? config->default_model_filename
                   : "model.onnx");
    write_parameters(out, config);
    gpulet_pbtxt_unused_show(out, &gpulet_pbtxt_model_config, config->kept);
    gpulet_buf_append_char(out, '}');
    return gpulet_buf_status(out);
}
