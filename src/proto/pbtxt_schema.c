#include "proto/pbtxt_schema.h"

#include <string.h>

#define USE(what)  GPULET_PBTXT_USE_##what
#define LOSS(what) GPULET_PBTXT_LOSS_##what

#define FIELD(name, kind, repeated, oneof, use, enumeration, message)                              \
    {                                                                                              \
        name, GPULET_PBTXT_KIND_##kind, repeated, oneof, USE(use), enumeration, message,           \
            LOSS(SMALL), NULL                                                                      \
    }
#define SCALAR(kind, name, use)   FIELD(name, kind, false, false, use, NULL, NULL)
#define SCALARS(kind, name, use)  FIELD(name, kind, true, false, use, NULL, NULL)
#define ONE_OF(kind, name)        FIELD(name, kind, false, true, NONE, NULL, NULL)
#define ENUM(type, name, use)     FIELD(name, ENUM, false, false, use, &enum_##type, NULL)
#define MESSAGE(type, name, use)  FIELD(name, MESSAGE, false, false, use, NULL, &message_##type)
#define MESSAGES(type, name, use) FIELD(name, MESSAGE, true, false, use, NULL, &message_##type)
#define ONE_OF_MESSAGES(type, name, use)                                                           \
    FIELD(name, MESSAGE, false, true, use, NULL, &message_##type)

/* Fields that are not used: what their loss means, and the JSON of those that are not given. */
#define UNUSED(name, kind, repeated, oneof, enumeration, message, loss, otherwise)                 \
    {                                                                                              \
        name, GPULET_PBTXT_KIND_##kind, repeated, oneof, USE(NONE), enumeration, message,          \
            LOSS(loss), otherwise                                                                  \
    }
#define UNUSED_SCALAR(kind, name, loss, otherwise)                                                 \
    UNUSED(name, kind, false, false, NULL, NULL, loss, otherwise)
#define UNUSED_SCALARS(kind, name, loss, otherwise)                                                \
    UNUSED(name, kind, true, false, NULL, NULL, loss, otherwise)
#define UNUSED_ENUM(type, name, loss, otherwise)                                                   \
    UNUSED(name, ENUM, false, false, &enum_##type, NULL, loss, otherwise)
#define UNUSED_MESSAGE(type, name, loss, otherwise)                                                \
    UNUSED(name, MESSAGE, false, false, NULL, &message_##type, loss, otherwise)
#define UNUSED_MESSAGES(type, name, loss, otherwise)                                               \
    UNUSED(name, MESSAGE, true, false, NULL, &message_##type, loss, otherwise)
#define KEPT_MESSAGES(type, name, use, otherwise)                                                  \
    {                                                                                              \
        name, GPULET_PBTXT_KIND_MESSAGE, true, false, USE(use), NULL, &message_##type,             \
            LOSS(SMALL), otherwise                                                                 \
    }
#define UNUSED_ONE_OF_MESSAGES(type, name, loss, otherwise)                                        \
    UNUSED(name, MESSAGE, false, true, NULL, &message_##type, loss, otherwise)

#define DEFINE_ENUM(type, ...)                                                                     \
    static const char *const values_##type[] = {__VA_ARGS__};                                      \
    static const gpulet_pbtxt_enum_t enum_##type = {                                               \
        #type, values_##type, sizeof(values_##type) / sizeof(values_##type[0])}

#define DEFINE_MESSAGE(type, ...)                                                                  \
    static const gpulet_pbtxt_field_t fields_##type[] = {__VA_ARGS__};                             \
    static const gpulet_pbtxt_message_t message_##type = {                                         \
        #type, fields_##type, sizeof(fields_##type) / sizeof(fields_##type[0])}

DEFINE_ENUM(DataType, "TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32",
            "TYPE_UINT64", "TYPE_INT8", "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16",
            "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16");
DEFINE_ENUM(InstanceKind, "KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL");
DEFINE_ENUM(SecondaryDeviceKind, "KIND_NVDLA");
DEFINE_ENUM(Format, "FORMAT_NONE", "FORMAT_NHWC", "FORMAT_NCHW");
DEFINE_ENUM(BatchInputKind, "BATCH_ELEMENT_COUNT", "BATCH_ACCUMULATED_ELEMENT_COUNT",
            "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE",
            "BATCH_ITEM_SHAPE", "BATCH_ITEM_SHAPE_FLATTEN");
DEFINE_ENUM(BatchOutputKind, "BATCH_SCATTER_WITH_INPUT_SHAPE");
DEFINE_ENUM(ModelPriority, "PRIORITY_DEFAULT", "PRIORITY_MAX", "PRIORITY_MIN");
DEFINE_ENUM(TimeoutAction, "REJECT", "DELAY");
DEFINE_ENUM(ControlKind, "CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_READY", "CONTROL_SEQUENCE_END",
            "CONTROL_SEQUENCE_CORRID");

/* Messages stand before those that hold them. */
DEFINE_MESSAGE(StringMap, SCALAR(STRING, "key", NONE), SCALAR(STRING, "value", NONE));

DEFINE_MESSAGE(Resource, SCALAR(STRING, "name", NONE), SCALAR(BOOL, "global", NONE),
               SCALAR(UINT32, "count", NONE));
DEFINE_MESSAGE(ModelRateLimiter, MESSAGES(Resource, "resources", NONE),
               SCALAR(UINT32, "priority", NONE));
DEFINE_MESSAGE(SecondaryDevice, ENUM(SecondaryDeviceKind, "kind", NONE),
               SCALAR(INT64, "device_id", NONE));
DEFINE_MESSAGE(ModelInstanceGroup, SCALAR(STRING, "name", NONE), ENUM(InstanceKind, "kind", NONE),
               SCALAR(INT32, "count", NONE), MESSAGE(ModelRateLimiter, "rate_limiter", NONE),
               SCALARS(INT32, "gpus", NONE), MESSAGES(SecondaryDevice, "secondary_devices", NONE),
               SCALARS(STRING, "profile", NONE), SCALAR(BOOL, "passive", NONE),
               SCALAR(STRING, "host_policy", NONE));

DEFINE_MESSAGE(ModelTensorReshape, SCALARS(INT64, "shape", IO_RESHAPE_SHAPE));
DEFINE_MESSAGE(ModelInput, SCALAR(STRING, "name", IO_NAME), ENUM(DataType, "data_type", IO_TYPE),
               UNUSED_ENUM(Format, "format", SMALL, "\"FORMAT_NONE\""),
               SCALARS(INT64, "dims", IO_DIMS), MESSAGE(ModelTensorReshape, "reshape", IO_RESHAPE),
               UNUSED_SCALAR(BOOL, "is_shape_tensor", GRAVE_IF_TRUE, "false"),
               UNUSED_SCALAR(BOOL, "allow_ragged_batch", GRAVE_IF_TRUE, "false"),
               SCALAR(BOOL, "optional", IO_OPTIONAL),
               UNUSED_SCALAR(BOOL, "is_non_linear_format_io", SMALL, "false"));
DEFINE_MESSAGE(ModelOutput, SCALAR(STRING, "name", IO_NAME), ENUM(DataType, "data_type", IO_TYPE),
               SCALARS(INT64, "dims", IO_DIMS), MESSAGE(ModelTensorReshape, "reshape", IO_RESHAPE),
               SCALAR(STRING, "label_filename", IO_LABELS),
               UNUSED_SCALAR(BOOL, "is_shape_tensor", SMALL, "false"),
               UNUSED_SCALAR(BOOL, "is_non_linear_format_io", SMALL, "false"));
DEFINE_MESSAGE(BatchInput, ENUM(BatchInputKind, "kind", NONE), SCALARS(STRING, "target_name", NONE),
               ENUM(DataType, "data_type", NONE), SCALARS(STRING, "source_input", NONE));
DEFINE_MESSAGE(BatchOutput, SCALARS(STRING, "target_name", NONE),
               ENUM(BatchOutputKind, "kind", NONE), SCALARS(STRING, "source_input", NONE));

DEFINE_MESSAGE(Latest, SCALAR(UINT32, "num_versions", VERSIONS_LATEST_COUNT));
static const gpulet_pbtxt_message_t message_All = {"All", NULL, 0};
DEFINE_MESSAGE(Specific, SCALARS(INT64, "versions", VERSIONS_SPECIFIC_VERSION));
DEFINE_MESSAGE(ModelVersionPolicy, ONE_OF_MESSAGES(Latest, "latest", VERSIONS_LATEST),
               ONE_OF_MESSAGES(All, "all", VERSIONS_ALL),
               ONE_OF_MESSAGES(Specific, "specific", VERSIONS_SPECIFIC));

DEFINE_MESSAGE(Graph, SCALAR(INT32, "level", NONE));
DEFINE_MESSAGE(GraphShape, SCALARS(INT64, "dim", NONE));
DEFINE_MESSAGE(GraphShapeMap, SCALAR(STRING, "key", NONE), MESSAGE(GraphShape, "value", NONE));
DEFINE_MESSAGE(LowerBound, SCALAR(INT32, "batch_size", NONE),
               MESSAGES(GraphShapeMap, "input", NONE));
DEFINE_MESSAGE(GraphSpec, SCALAR(INT32, "batch_size", NONE), MESSAGES(GraphShapeMap, "input", NONE),
               MESSAGE(LowerBound, "graph_lower_bound", NONE));
DEFINE_MESSAGE(Cuda, SCALAR(BOOL, "graphs", NONE), SCALAR(BOOL, "busy_wait_events", NONE),
               MESSAGES(GraphSpec, "graph_spec", NONE), SCALAR(BOOL, "output_copy_stream", NONE));
DEFINE_MESSAGE(Accelerator, SCALAR(STRING, "name", NONE), MESSAGES(StringMap, "parameters", NONE));
DEFINE_MESSAGE(ExecutionAccelerators, MESSAGES(Accelerator, "gpu_execution_accelerator", NONE),
               MESSAGES(Accelerator, "cpu_execution_accelerator", NONE));
DEFINE_MESSAGE(PinnedMemoryBuffer, SCALAR(BOOL, "enable", NONE));
DEFINE_MESSAGE(ModelOptimizationPolicy, MESSAGE(Graph, "graph", NONE),
               ENUM(ModelPriority, "priority", NONE), MESSAGE(Cuda, "cuda", NONE),
               MESSAGE(ExecutionAccelerators, "execution_accelerators", NONE),
               MESSAGE(PinnedMemoryBuffer, "input_pinned_memory", NONE),
               MESSAGE(PinnedMemoryBuffer, "output_pinned_memory", NONE),
               SCALAR(UINT32, "gather_kernel_buffer_threshold", NONE),
               SCALAR(BOOL, "eager_batching", NONE));

DEFINE_MESSAGE(ModelQueuePolicy, ENUM(TimeoutAction, "timeout_action", TIMEOUT_ACTION),
               SCALAR(UINT64, "default_timeout_microseconds", QUEUE_TIMEOUT),
               UNUSED_SCALAR(BOOL, "allow_timeout_override", SMALL, "true"),
               SCALAR(UINT32, "max_queue_size", QUEUE_SIZE));
DEFINE_MESSAGE(QueuePolicyMap, SCALAR(UINT64, "key", NONE),
               MESSAGE(ModelQueuePolicy, "value", NONE));
DEFINE_MESSAGE(ModelDynamicBatching, UNUSED_SCALARS(INT32, "preferred_batch_size", SMALL, "[]"),
               UNUSED_SCALAR(UINT64, "max_queue_delay_microseconds", SMALL, "0"),
               UNUSED_SCALAR(BOOL, "preserve_ordering", SMALL, "false"),
               SCALAR(UINT64, "priority_levels", PRIORITY_LEVELS),
               SCALAR(UINT64, "default_priority_level", DEFAULT_PRIORITY_LEVEL),
               MESSAGE(ModelQueuePolicy, "default_queue_policy", INSIDE),
               UNUSED_MESSAGES(QueuePolicyMap, "priority_queue_policy", SMALL, "{}"));

DEFINE_MESSAGE(Control, ENUM(ControlKind, "kind", NONE), SCALARS(INT32, "int32_false_true", NONE),
               SCALARS(FLOAT, "fp32_false_true", NONE), SCALARS(BOOL, "bool_false_true", NONE),
               ENUM(DataType, "data_type", NONE));
DEFINE_MESSAGE(ControlInput, SCALAR(STRING, "name", NONE), MESSAGES(Control, "control", NONE));
DEFINE_MESSAGE(InitialState, ENUM(DataType, "data_type", NONE), SCALARS(INT64, "dims", NONE),
               ONE_OF(BOOL, "zero_data"), ONE_OF(STRING, "data_file"),
               SCALAR(STRING, "name", NONE));
DEFINE_MESSAGE(State, SCALAR(STRING, "input_name", NONE), SCALAR(STRING, "output_name", NONE),
               ENUM(DataType, "data_type", NONE), SCALARS(INT64, "dims", NONE),
               MESSAGES(InitialState, "initial_state", NONE),
               SCALAR(BOOL, "use_same_buffer_for_input_output", NONE),
               SCALAR(BOOL, "use_growable_memory", NONE));
DEFINE_MESSAGE(StrategyDirect, SCALAR(UINT64, "max_queue_delay_microseconds", NONE),
               SCALAR(FLOAT, "minimum_slot_utilization", NONE));
DEFINE_MESSAGE(StrategyOldest, SCALAR(INT32, "max_candidate_sequences", NONE),
               SCALARS(INT32, "preferred_batch_size", NONE),
               SCALAR(UINT64, "max_queue_delay_microseconds", NONE),
               SCALAR(BOOL, "preserve_ordering", NONE));
DEFINE_MESSAGE(ModelSequenceBatching, ONE_OF_MESSAGES(StrategyDirect, "direct", NONE),
               ONE_OF_MESSAGES(StrategyOldest, "oldest", NONE),
               SCALAR(UINT64, "max_sequence_idle_microseconds", NONE),
               MESSAGES(ControlInput, "control_input", NONE), MESSAGES(State, "state", NONE),
               SCALAR(BOOL, "iterative_sequence", NONE));

DEFINE_MESSAGE(TensorMap, SCALAR(STRING, "key", STEP_KEY), SCALAR(STRING, "value", STEP_VALUE));
DEFINE_MESSAGE(Step, SCALAR(STRING, "model_name", STEP_MODEL),
               SCALAR(INT64, "model_version", STEP_VERSION),
               MESSAGES(TensorMap, "input_map", STEP_INPUT),
               MESSAGES(TensorMap, "output_map", STEP_OUTPUT),
               UNUSED_SCALAR(STRING, "model_namespace", SMALL, "\"\""));
DEFINE_MESSAGE(ModelEnsembling, MESSAGES(Step, "step", STEP),
               SCALAR(UINT32, "max_inflight_requests", NONE));

DEFINE_MESSAGE(ModelParameter, SCALAR(STRING, "string_value", PARAMETER_VALUE));
DEFINE_MESSAGE(ParameterMap, SCALAR(STRING, "key", PARAMETER_KEY),
               MESSAGE(ModelParameter, "value", INSIDE));

DEFINE_MESSAGE(WarmupInput, ENUM(DataType, "data_type", IO_TYPE), SCALARS(INT64, "dims", IO_DIMS),
               ONE_OF(BOOL, "zero_data"), ONE_OF(BOOL, "random_data"),
               ONE_OF(STRING, "input_data_file"));
DEFINE_MESSAGE(WarmupInputMap, SCALAR(STRING, "key", IO_NAME),
               MESSAGE(WarmupInput, "value", INSIDE));
DEFINE_MESSAGE(ModelWarmup, SCALAR(STRING, "name", NONE), SCALAR(UINT32, "batch_size", NONE),
               MESSAGES(WarmupInputMap, "inputs", WARMUP_INPUT), SCALAR(UINT32, "count", NONE));
DEFINE_MESSAGE(ModelOperations, SCALARS(STRING, "op_library_filename", NONE));
DEFINE_MESSAGE(ModelTransactionPolicy, UNUSED_SCALAR(BOOL, "decoupled", GRAVE_IF_TRUE, "false"));
DEFINE_MESSAGE(Agent, SCALAR(STRING, "name", NONE), MESSAGES(StringMap, "parameters", NONE));
DEFINE_MESSAGE(ModelRepositoryAgents, MESSAGES(Agent, "agents", NONE));
DEFINE_MESSAGE(ModelResponseCache, SCALAR(BOOL, "enable", NONE));
DEFINE_MESSAGE(MetricIdentifier, SCALAR(STRING, "family", NONE));
DEFINE_MESSAGE(HistogramOptions, SCALARS(FLOAT, "buckets", NONE));
DEFINE_MESSAGE(MetricControl, MESSAGE(MetricIdentifier, "metric_identifier", NONE),
               ONE_OF_MESSAGES(HistogramOptions, "histogram_options", NONE));
DEFINE_MESSAGE(ModelMetrics, MESSAGES(MetricControl, "metric_control", NONE));

static const gpulet_pbtxt_field_t fields_ModelConfig[] = {
    SCALAR(STRING, "name", NAME),
    SCALAR(STRING, "platform", PLATFORM),
    SCALAR(STRING, "backend", BACKEND),
    UNUSED_SCALAR(STRING, "runtime", SMALL, "\"\""),
    MESSAGE(ModelVersionPolicy, "version_policy", INSIDE),
    SCALAR(INT32, "max_batch_size", MAX_BATCH_SIZE),
    MESSAGES(ModelInput, "input", INPUT),
    MESSAGES(ModelOutput, "output", OUTPUT),
    UNUSED_MESSAGES(BatchInput, "batch_input", GRAVE, "[]"),
    UNUSED_MESSAGES(BatchOutput, "batch_output", GRAVE, "[]"),
    MESSAGE(ModelOptimizationPolicy, "optimization", NONE),
    ONE_OF_MESSAGES(ModelDynamicBatching, "dynamic_batching", DYNAMIC_BATCHING),
    UNUSED_ONE_OF_MESSAGES(ModelSequenceBatching, "sequence_batching", GRAVE, NULL),
    ONE_OF_MESSAGES(ModelEnsembling, "ensemble_scheduling", ENSEMBLE),
    UNUSED_MESSAGES(ModelInstanceGroup, "instance_group", SMALL, "[]"),
    SCALAR(STRING, "default_model_filename", DEFAULT_MODEL_FILENAME),
    UNUSED_MESSAGES(StringMap, "cc_model_filenames", SMALL, "{}"),
    UNUSED_MESSAGES(StringMap, "metric_tags", SMALL, "{}"),
    MESSAGES(ParameterMap, "parameters", PARAMETER),
    KEPT_MESSAGES(ModelWarmup, "model_warmup", WARMUP, "[]"),
    MESSAGE(ModelOperations, "model_operations", NONE),
    UNUSED_MESSAGE(ModelTransactionPolicy, "model_transaction_policy", SMALL,
                   "{\"decoupled\":false}"),
    MESSAGE(ModelRepositoryAgents, "model_repository_agents", NONE),
    MESSAGE(ModelResponseCache, "response_cache", NONE),
    MESSAGE(ModelMetrics, "model_metrics", NONE),
};

const gpulet_pbtxt_message_t gpulet_pbtxt_model_config = {
    "ModelConfig", fields_ModelConfig, sizeof(fields_ModelConfig) / sizeof(fields_ModelConfig[0])};

const gpulet_pbtxt_field_t *gpulet_pbtxt_field_find(const gpulet_pbtxt_message_t *message,
                                                    const char *name, size_t name_len)
{
    for (size_t i = 0; i < message->fields_count; i++) {
        const char *candidate = message->fields[i].name;
        if (strlen(candidate) == name_len && memcmp(candidate, name, name_len) == 0)
            return &message->fields[i];
    }
    return NULL;
}

bool gpulet_pbtxt_field_is_kept(const gpulet_pbtxt_field_t *field)
{
    return field->use == GPULET_PBTXT_USE_NONE || field->use == GPULET_PBTXT_USE_WARMUP;
}

bool gpulet_pbtxt_field_is_map(const gpulet_pbtxt_field_t *field)
{
    return field->kind == GPULET_PBTXT_KIND_MESSAGE && field->repeated &&
           field->message->fields_count == 2 &&
           gpulet_pbtxt_field_find(field->message, "key", 3) != NULL &&
           gpulet_pbtxt_field_find(field->message, "value", 5) != NULL;
}
