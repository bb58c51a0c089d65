#include "device/nvidia/nvml.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libnvidia-ml.so.1"

enum { NVML_DONE = 0, NVML_NOT_SUPPORTED = 3 };

typedef struct nvml_device nvml_device_t;
typedef struct nvml_memory {
    unsigned long long total;
    unsigned long long available;
    unsigned long long used;
} nvml_memory_t;

typedef struct nvml_utilization {
    unsigned gpu; /* percent of the last sampling period that something ran */
    unsigned memory;
} nvml_utilization_t;

/* X(symbol, name, parameters): all give a code, 0 being success. */
/* clang-format off */
#define NVML_MAP(X)                                                                                \
    X("nvmlInit_v2", init, (void))                                                                 \
    X("nvmlSystemGetDriverVersion", driver_version, (char *out, unsigned size))                    \
    X("nvmlSystemGetCudaDriverVersion_v2", cuda_version, (int *out))                               \
    X("nvmlDeviceGetCount_v2", count, (unsigned *out))                                             \
    X("nvmlDeviceGetHandleByIndex_v2", by_index, (unsigned index, nvml_device_t **out))            \
    X("nvmlDeviceGetHandleByUUID", by_uuid, (const char *uuid, nvml_device_t **out))               \
    X("nvmlDeviceGetName", device_name, (nvml_device_t *device, char *out, unsigned size))         \
    X("nvmlDeviceGetUUID", device_uuid, (nvml_device_t *device, char *out, unsigned size))         \
    X("nvmlDeviceGetMemoryInfo", memory, (nvml_device_t *device, nvml_memory_t *out))              \
    X("nvmlDeviceGetMigMode", mig_mode, (nvml_device_t *device, unsigned *now, unsigned *later))   \
    X("nvmlDeviceGetNumGpuCores", cores, (nvml_device_t *device, unsigned *out))                   \
    X("nvmlDeviceGetUtilizationRates", utilization,                                                \
      (nvml_device_t *device, nvml_utilization_t *out))                                            \
    X("nvmlDeviceGetPowerUsage", power, (nvml_device_t *device, unsigned *out))                    \
    X("nvmlDeviceGetEnforcedPowerLimit", power_limit, (nvml_device_t *device, unsigned *out))      \
    X("nvmlDeviceGetCudaComputeCapability", capability,                                            \
      (nvml_device_t *device, int *major, int *minor))
/* clang-format on */

typedef struct nvml_api {
    const char *(*error_text)(int code);
/* NOLINTNEXTLINE(bugprone-macro-parentheses): a declaration */
#define FIELD(symbol, name, parameters) int(*name) parameters;
    NVML_MAP(FIELD)
#undef FIELD
} nvml_api_t;

static nvml_api_t api;
static bool is_open;

/* See engine/ort/api.c: POSIX promises that the bytes are the same. */
static bool take(void *function_out, void *library, const char *symbol)
{
    const void *object = dlsym(library, symbol);
    memcpy(function_out, &object, sizeof(object));
    return object != NULL;
}

static gpulet_status_t fail(gpulet_error_t *err, int code, const char *what)
{
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, "NVIDIA driver: %s: %s", what,
                       api.error_text(code));
}

static gpulet_status_t open_library(gpulet_error_t *err)
{
    const char *path = getenv("GPULET_NVML_LIBRARY");
    const char *missing = NULL;
    if (is_open)
        return GPULET_OK;
    if (path == NULL || path[0] == '\0')
        path = LIBRARY;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror();
        return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                           "no NVIDIA driver: its management library does not open: %s",
                           why != NULL ? why : path);
    }
    if (!take(&api.error_text, library, "nvmlErrorString"))
        missing = "nvmlErrorString";
#define BIND(symbol, name, parameters)                                                             \
    if (!take(&api.name, library, symbol))                                                         \
        missing = symbol;
    NVML_MAP(BIND)
#undef BIND
    if (missing != NULL) {
        (void)dlclose(library);
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "%s has no %s: the NVIDIA driver is too old",
                           path, missing);
    }
    int code = api.init();
    if (code != NVML_DONE) {
        gpulet_status_t st = fail(err, code, "its management library does not start");
        (void)dlclose(library);
        return st;
    }
    is_open = true;
    return GPULET_OK;
}

/* The library counts cores; how many a multiprocessor has follows from the compute capability. */
static uint32_t sms_of(uint32_t cores, uint32_t major, uint32_t minor)
{
    return cores / (major < 8 || (major == 8 && minor == 0) ? 64 : 128);
}

static gpulet_status_t read_gpu(gpulet_nvml_gpu_t *out, uint32_t index, gpulet_error_t *err)
{
    nvml_device_t *device = NULL;
    nvml_memory_t memory = {0};
    unsigned cores = 0;
    unsigned mig = 0;
    unsigned mig_later = 0;
    int major = 0;
    int minor = 0;
    int code;
    memset(out, 0, sizeof(*out));
    if ((code = api.by_index(index, &device)) != NVML_DONE)
        return fail(err, code, "a GPU does not open");
    if ((code = api.device_name(device, out->name, sizeof(out->name))) != NVML_DONE)
        return fail(err, code, "a GPU's name");
    if ((code = api.device_uuid(device, out->uuid, sizeof(out->uuid))) != NVML_DONE)
        return fail(err, code, "a GPU's UUID");
    if ((code = api.memory(device, &memory)) != NVML_DONE)
        return fail(err, code, "a GPU's memory");
    if ((code = api.capability(device, &major, &minor)) != NVML_DONE)
        return fail(err, code, "a GPU's compute capability");
    code = api.mig_mode(device, &mig, &mig_later);
    if (code != NVML_DONE && code != NVML_NOT_SUPPORTED)
        return fail(err, code, "a GPU's MIG mode");
    out->memory_bytes = memory.total;
    out->used_bytes = memory.used;
    out->major = (uint32_t)major;
    out->minor = (uint32_t)minor;
    out->mig = code == NVML_DONE && mig == 1;
    if (api.cores(device, &cores) == NVML_DONE)
        out->sms = sms_of(cores, out->major, out->minor);
    return GPULET_OK;
}

gpulet_status_t gpulet_nvml_list(gpulet_nvml_gpu_t *out, uint32_t cap, uint32_t *count,
                                 gpulet_error_t *err)
{
    unsigned found = 0;
    gpulet_status_t st = open_library(err);
    if (st != GPULET_OK)
        return st;
    int code = api.count(&found);
    if (code != NVML_DONE)
        return fail(err, code, "the number of GPUs");
    if (found == 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "the NVIDIA driver knows of no GPU");
    for (uint32_t i = 0; i < found && i < cap && st == GPULET_OK; i++)
        st = read_gpu(&out[i], i, err);
    if (st == GPULET_OK)
        *count = found;
    return st;
}

gpulet_status_t gpulet_nvml_driver(char *out, uint32_t out_size, uint32_t *cuda,
                                   gpulet_error_t *err)
{
    int version = 0;
    gpulet_status_t st = open_library(err);
    if (st != GPULET_OK)
        return st;
    int code = api.driver_version(out, out_size);
    if (code == NVML_DONE)
        code = api.cuda_version(&version);
    if (code != NVML_DONE)
        return fail(err, code, "its version");
    *cuda = (uint32_t)version;
    return GPULET_OK;
}

static gpulet_status_t read_memory(nvml_device_t **device, nvml_memory_t *memory, const char *uuid,
                                   gpulet_error_t *err)
{
    gpulet_status_t st = open_library(err);
    if (st != GPULET_OK)
        return st;
    int code = api.by_uuid(uuid, device);
    if (code == NVML_DONE)
        code = api.memory(*device, memory);
    return code == NVML_DONE ? GPULET_OK : fail(err, code, "a GPU's memory");
}

gpulet_status_t gpulet_nvml_memory_used(uint64_t *bytes_out, const char *uuid, gpulet_error_t *err)
{
    nvml_device_t *device = NULL;
    nvml_memory_t memory = {0};
    gpulet_status_t st = read_memory(&device, &memory, uuid, err);
    if (st == GPULET_OK)
        *bytes_out = memory.used;
    return st;
}

/* Some GPUs have no such sensor, or do not tell while they are cut (MIG). */
static uint32_t known(int code, unsigned value)
{
    return code == NVML_DONE ? value : UINT32_MAX;
}

gpulet_status_t gpulet_nvml_use(gpulet_nvml_use_t *out, const char *uuid, gpulet_error_t *err)
{
    nvml_device_t *device = NULL;
    nvml_memory_t memory = {0};
    nvml_utilization_t busy = {0};
    unsigned power = 0;
    unsigned limit = 0;
    gpulet_status_t st = read_memory(&device, &memory, uuid, err);
    if (st != GPULET_OK)
        return st;
    int busy_code = api.utilization(device, &busy);
    int power_code = api.power(device, &power);
    int limit_code = api.power_limit(device, &limit);
    *out = (gpulet_nvml_use_t){.memory_bytes = memory.total,
                               .used_bytes = memory.used,
                               .busy_percent = known(busy_code, busy.gpu),
                               .power_mw = known(power_code, power),
                               .power_limit_mw = known(limit_code, limit)};
    return GPULET_OK;
}
