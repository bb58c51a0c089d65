/* ONNX Runtime's C interface as far as gpulet uses it, bound by slot number at run time.
 *
 * The library publishes a table of function pointers to which slots are only ever appended, so a
 * slot number and a prototype are the whole contract; no header of it is needed to build. All slots
 * below exist since API version 17 at the latest. Enumerations are passed as int. A function that
 * returns ort_status_t * gives NULL on success; else the status is the caller's to release.
 *
 * Threads: opened once by one thread; then read-only. */
#ifndef GPULET_ENGINE_ORT_API_H
#define GPULET_ENGINE_ORT_API_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct ort_allocator ort_allocator_t;
typedef struct ort_cuda_options ort_cuda_options_t;
typedef struct ort_env ort_env_t;
typedef struct ort_memory_info ort_memory_info_t;
typedef struct ort_run_options ort_run_options_t;
typedef struct ort_session ort_session_t;
typedef struct ort_session_options ort_session_options_t;
typedef struct ort_shape_info ort_shape_info_t; /* element type and shape of a tensor */
typedef struct ort_status ort_status_t;
typedef struct ort_type_info ort_type_info_t;
typedef struct ort_value ort_value_t;
typedef const char *const *ort_names_t;

typedef void (*ort_logger_t)(void *param, int level, const char *category, const char *log_id,
                             const char *location, const char *message);

enum {
    ORT_API_VERSION = 17, /* asked for */
    ORT_API_SLOTS = 276,  /* slots of that version: nothing beyond is ever read */
    ORT_VALUE_KIND_TENSOR = 1,
    ORT_EXECUTION_SEQUENTIAL = 0,
    ORT_OPTIMISATION_ALL = 99,
    ORT_ALLOCATOR_ARENA = 1,
    ORT_MEMORY_DEFAULT = 0,
    ORT_LOG_FATAL = 4
};

typedef enum ort_code {
    ORT_CODE_OK = 0,
    ORT_CODE_FAIL = 1,
    ORT_CODE_INVALID_ARGUMENT = 2,
    ORT_CODE_NO_SUCH_FILE = 3,
    ORT_CODE_NO_MODEL = 4,
    ORT_CODE_ENGINE_ERROR = 5,
    ORT_CODE_RUNTIME_EXCEPTION = 6,
    ORT_CODE_INVALID_PROTOBUF = 7,
    ORT_CODE_NOT_IMPLEMENTED = 9,
    ORT_CODE_INVALID_GRAPH = 10,
    ORT_CODE_PROVIDER_FAIL = 11,
    ORT_CODE_DEVICE_RESET = 15
} ort_code_t;

/* X(slot, result, name, parameters) */
/* clang-format off */
#define GPULET_ORT_API_MAP(X)                                                                                          \
    X(1, int, error_code, (const ort_status_t *status))                                                                \
    X(2, const char *, error_message, (const ort_status_t *status))                                                    \
    X(93, void, release_status, (ort_status_t *status))                                                                \
    X(4, ort_status_t *, create_env, (ort_logger_t logger, void *param, int level, const char *id, ort_env_t **out))   \
    X(92, void, release_env, (ort_env_t *env))                                                                         \
    X(10, ort_status_t *, create_session_options, (ort_session_options_t **out))                                       \
    X(100, void, release_session_options, (ort_session_options_t *options))                                            \
    X(24, ort_status_t *, set_intra_threads, (ort_session_options_t *options, int count))                              \
    X(25, ort_status_t *, set_inter_threads, (ort_session_options_t *options, int count))                              \
    X(13, ort_status_t *, set_execution_mode, (ort_session_options_t *options, int mode))                              \
    X(23, ort_status_t *, set_optimisation, (ort_session_options_t *options, int level))                               \
    X(11, ort_status_t *, set_optimised_path, (ort_session_options_t *options, const char *path))                      \
    X(17, ort_status_t *, disable_mem_pattern, (ort_session_options_t *options))                                       \
    X(22, ort_status_t *, set_log_severity, (ort_session_options_t *options, int level))                               \
    X(130, ort_status_t *, add_session_config,                                                                         \
      (ort_session_options_t *options, const char *key, const char *value))                                            \
    X(205, ort_status_t *, create_cuda_options, (ort_cuda_options_t **out))                                            \
    X(206, ort_status_t *, update_cuda_options,                                                                        \
      (ort_cuda_options_t *options, ort_names_t keys, ort_names_t values, size_t count))                               \
    X(263, ort_status_t *, update_cuda_options_with,                                                                   \
      (ort_cuda_options_t *options, const char *key, void *value))                                                     \
    X(208, void, release_cuda_options, (ort_cuda_options_t *options))                                                  \
    X(204, ort_status_t *, append_cuda, (ort_session_options_t *options, const ort_cuda_options_t *cuda))              \
    X(7, ort_status_t *, create_session,                                                                               \
      (const ort_env_t *env, const char *path, const ort_session_options_t *options, ort_session_t **out))             \
    X(95, void, release_session, (ort_session_t *session))                                                             \
    X(30, ort_status_t *, input_count, (const ort_session_t *session, size_t *out))                                    \
    X(31, ort_status_t *, output_count, (const ort_session_t *session, size_t *out))                                   \
    X(33, ort_status_t *, input_type, (const ort_session_t *session, size_t index, ort_type_info_t **out))             \
    X(34, ort_status_t *, output_type, (const ort_session_t *session, size_t index, ort_type_info_t **out))            \
    X(36, ort_status_t *, input_name,                                                                                  \
      (const ort_session_t *session, size_t index, ort_allocator_t *allocator, char **out))                            \
    X(37, ort_status_t *, output_name,                                                                                 \
      (const ort_session_t *session, size_t index, ort_allocator_t *allocator, char **out))                            \
    X(56, ort_status_t *, value_kind, (const ort_type_info_t *info, int *out))                                         \
    X(55, ort_status_t *, cast_to_shape_info, (const ort_type_info_t *info, const ort_shape_info_t **out))             \
    X(98, void, release_type_info, (ort_type_info_t *info))                                                            \
    X(60, ort_status_t *, element_type, (const ort_shape_info_t *info, int *out))                                      \
    X(61, ort_status_t *, dimensions_count, (const ort_shape_info_t *info, size_t *out))                               \
    X(62, ort_status_t *, dimensions, (const ort_shape_info_t *info, int64_t *out, size_t count))                      \
    X(99, void, release_shape_info, (ort_shape_info_t *info))                                                          \
    X(49, ort_status_t *, create_tensor_over,                                                                          \
      (const ort_memory_info_t *memory, void *data, size_t size, const int64_t *shape, size_t rank, int type,          \
       ort_value_t **out))                                                                                             \
    X(48, ort_status_t *, create_tensor,                                                                               \
      (ort_allocator_t *allocator, const int64_t *shape, size_t rank, int type, ort_value_t **out))                    \
    X(51, ort_status_t *, tensor_data, (ort_value_t *value, void **out))                                               \
    X(65, ort_status_t *, tensor_shape_info, (const ort_value_t *value, ort_shape_info_t **out))                       \
    X(96, void, release_value, (ort_value_t *value))                                                                   \
    X(53, ort_status_t *, strings_size, (const ort_value_t *value, size_t *out))                                       \
    X(54, ort_status_t *, strings_content,                                                                             \
      (const ort_value_t *value, void *out, size_t out_size, size_t *offsets, size_t offsets_count))                   \
    X(252, ort_status_t *, string_resize, (ort_value_t *value, size_t index, size_t size, char **out))                 \
    X(69, ort_status_t *, create_cpu_memory_info, (int allocator_type, int memory_type, ort_memory_info_t **out))      \
    X(94, void, release_memory_info, (ort_memory_info_t *memory))                                                      \
    X(78, ort_status_t *, default_allocator, (ort_allocator_t **out))                                                  \
    X(76, ort_status_t *, allocator_free, (ort_allocator_t *allocator, void *data))                                    \
    X(9, ort_status_t *, run,                                                                                          \
      (ort_session_t *session, const ort_run_options_t *options, ort_names_t input_names,                              \
       const ort_value_t *const *inputs, size_t inputs_count, ort_names_t output_names, size_t outputs_count,          \
       ort_value_t **outputs))                                                                                         \
    X(39, ort_status_t *, create_run_options, (ort_run_options_t **out))                                               \
    X(97, void, release_run_options, (ort_run_options_t *options))                                                     \
    X(41, ort_status_t *, set_run_log_severity, (ort_run_options_t *options, int level))                               \
    X(46, ort_status_t *, set_terminate, (ort_run_options_t *options))                                                 \
    X(47, ort_status_t *, unset_terminate, (ort_run_options_t *options))                                               \
    X(165, ort_status_t *, add_run_config, (ort_run_options_t *options, const char *key, const char *value))
/* clang-format on */

typedef struct gpulet_ort_api {
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration */
#define GPULET_ORT_API_FIELD(slot, result, name, parameters) result(*name) parameters;
    GPULET_ORT_API_MAP(GPULET_ORT_API_FIELD)
#undef GPULET_ORT_API_FIELD
} gpulet_ort_api_t;

enum { GPULET_ORT_VERSION_MAX = 32 };

/* Opens the library at path (as dlopen takes it), checks its version and binds the slots. It stays
 * open until the process ends: it has threads and static state of its own. Errors name the path. */
gpulet_status_t gpulet_ort_api_open(gpulet_ort_api_t *api, char version[GPULET_ORT_VERSION_MAX],
                                    const char *path, gpulet_error_t *err) GPULET_MUST_USE;

/* N of "1.N.P"; 0 when the text is not of that form. */
uint32_t gpulet_ort_api_offered(const char *version);

/* The engine's words fit for a log line or a client: on one line, without the source paths and
 * function names of its build, without a trailing full stop. original may hold any bytes. */
void gpulet_ort_text_clean(char *out, size_t out_size, const char *original);

/* Takes status (not NULL): fills err with its cleaned text, releases it and gives the code. */
int gpulet_ort_take(const gpulet_ort_api_t *api, ort_status_t *status, gpulet_error_t *err);

/* Takes status: OK for NULL; E_NOMEM when the text speaks of memory, otherwise `other`. */
gpulet_status_t gpulet_ort_status(const gpulet_ort_api_t *api, ort_status_t *status,
                                  gpulet_status_t other, gpulet_error_t *err);

#endif
