/* CUDA's driver interface as far as gpu_facts needs it, opened at run time, and small kernels of
 * ours. Each call that fails prints a JSON line that says which and why, and ends the process:
 * every experiment has one of its own. */
#ifndef GPULET_BENCH_GPU_CUDA_H
#define GPULET_BENCH_GPU_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cu_context *cu_context_t;
typedef struct cu_event *cu_event_t;
typedef struct cu_function *cu_function_t;
typedef struct cu_green *cu_green_t;
typedef struct cu_module *cu_module_t;
typedef struct cu_resource_desc *cu_resource_desc_t;
typedef struct cu_stream *cu_stream_t;
typedef uint64_t cu_pointer_t;
typedef int cu_device_t;

/* A share of the multiprocessors; 144 bytes since CUDA 12.4. */
typedef struct cu_resource {
    int type; /* 1: multiprocessors */
    unsigned char padding[92];
    unsigned sm_count;
    unsigned sm_partition_min;
    unsigned sm_alignment;
    unsigned char rest[36];
} cu_resource_t;

enum {
    CU_ATTRIBUTE_SM_COUNT = 16,
    CU_ATTRIBUTE_MAJOR = 75,
    CU_ATTRIBUTE_MINOR = 76,
    CU_STREAM_NON_BLOCKING = 1,
    CU_GREEN_DEFAULT_STREAM = 1,
    CU_RESOURCE_SM = 1
};

/* X(symbol, name, parameters): all give a code, 0 being success. */
/* clang-format off */
#define CU_MAP(X)                                                                                  \
    X("cuInit", init, (unsigned flags))                                                            \
    X("cuDriverGetVersion", driver_version, (int *out))                                            \
    X("cuDeviceGet", device_get, (cu_device_t *out, int ordinal))                                  \
    X("cuDeviceGetName", device_name, (char *out, int size, cu_device_t device))                   \
    X("cuDeviceGetAttribute", attribute, (int *out, int attribute, cu_device_t device))            \
    X("cuDevicePrimaryCtxRetain", primary_retain, (cu_context_t *out, cu_device_t device))         \
    X("cuCtxCreate_v2", context_create, (cu_context_t *out, unsigned flags, cu_device_t device))   \
    X("cuCtxDestroy_v2", context_destroy, (cu_context_t context))                                  \
    X("cuCtxSetCurrent", context_set, (cu_context_t context))                                      \
    X("cuCtxSynchronize", synchronize, (void))                                                     \
    X("cuMemGetInfo_v2", memory_info, (size_t *available, size_t *total))                          \
    X("cuMemAlloc_v2", allocate, (cu_pointer_t *out, size_t size))                                 \
    X("cuMemFree_v2", release, (cu_pointer_t pointer))                                             \
    X("cuMemcpyDtoH_v2", copy_out, (void *out, cu_pointer_t from, size_t size))                    \
    X("cuMemsetD8_v2", set_bytes, (cu_pointer_t pointer, unsigned char byte, size_t size))         \
    X("cuModuleLoadData", module_load, (cu_module_t *out, const void *image))                      \
    X("cuModuleGetFunction", module_function,                                                      \
      (cu_function_t *out, cu_module_t module, const char *name))                                  \
    X("cuStreamCreate", stream_create, (cu_stream_t *out, unsigned flags))                         \
    X("cuStreamDestroy_v2", stream_destroy, (cu_stream_t stream))                                  \
    X("cuStreamSynchronize", stream_synchronize, (cu_stream_t stream))                             \
    X("cuLaunchKernel", launch,                                                                    \
      (cu_function_t function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,\
       unsigned block_y, unsigned block_z, unsigned shared_bytes, cu_stream_t stream,              \
       void **parameters, void **extra))
/* Only drivers from CUDA 12.4 on have these. */
#define CU_GREEN_MAP(X)                                                                            \
    X("cuDeviceGetDevResource", device_resource,                                                   \
      (cu_device_t device, cu_resource_t *out, int type))                                          \
    X("cuDevSmResourceSplitByCount", split,                                                        \
      (cu_resource_t *out, unsigned *groups, const cu_resource_t *input, cu_resource_t *left,      \
       unsigned flags, unsigned count_min))                                                        \
    X("cuDevResourceGenerateDesc", resource_desc,                                                  \
      (cu_resource_desc_t *out, cu_resource_t *resources, unsigned count))                         \
    X("cuGreenCtxCreate", green_create,                                                            \
      (cu_green_t *out, cu_resource_desc_t desc, cu_device_t device, unsigned flags))              \
    X("cuGreenCtxDestroy", green_destroy, (cu_green_t green))                                      \
    X("cuGreenCtxStreamCreate", green_stream,                                                      \
      (cu_stream_t *out, cu_green_t green, unsigned flags, int priority))
/* clang-format on */

typedef struct cu_api {
    int (*error_name)(int code, const char **out);
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration */
#define CU_FIELD(symbol, name, parameters) int(*name) parameters;
    CU_MAP(CU_FIELD)
    CU_GREEN_MAP(CU_FIELD)
#undef CU_FIELD
} cu_api_t;

extern cu_api_t cu;
extern const char *cu_experiment; /* its name, for lines */

/* One JSON line: {"experiment": …, and then the text, which begins with its first key}. */
void cu_emit(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with "error", and ends the process. */
_Noreturn void cu_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void cu_check(int code, const char *what);
#define CU(call) cu_check(cu.call, #call)

/* Opens the library (once) and device 0, without a context. */
cu_device_t cu_open(void);
bool cu_has_green(void);
/* The primary context, made current. */
void cu_primary(cu_device_t device);

typedef struct cu_kernels {
    cu_function_t spin;   /* (smids, cycles): each block notes where it runs and waits */
    cu_function_t fma;    /* (out, rounds): arithmetic only */
    cu_function_t stream; /* (data, vectors, rounds): reads and writes all of it */
} cu_kernels_t;

void cu_load_kernels(cu_kernels_t *out);

enum { CU_SMS_MAX = 1024 };

typedef struct cu_sms {
    bool seen[CU_SMS_MAX];
    unsigned count;
} cu_sms_t;

/* Which multiprocessors a grid of many blocks that wait a while is run on. */
void cu_find_sms(cu_sms_t *out, const cu_kernels_t *kernels, cu_stream_t stream);

/* A piece of work that fills a device or a part of it. */
typedef struct cu_work {
    const cu_kernels_t *kernels;
    bool memory; /* bound by memory, else by arithmetic */
    cu_pointer_t data;
    uint64_t vectors; /* of 16 bytes */
} cu_work_t;

void cu_work_open(cu_work_t *work, const cu_kernels_t *kernels, bool memory);
void cu_work_launch(const cu_work_t *work, cu_stream_t stream);
/* Median time in ms of one piece after another, for about so long. */
double cu_work_measure(const cu_work_t *work, cu_stream_t stream, double seconds);

#endif
