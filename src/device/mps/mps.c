#include "device/mps/mps.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "device/mps/daemon.h"
#include "device/nvidia/nvml.h"

enum { CAPABILITY_MAJOR_MIN = 7, TEXT_MAX = 127 };

/* What stands behind a gpulet_device_t of this backend. */
typedef struct mps_device {
    gpulet_device_desc_t desc;
    char uuid[GPULET_NVML_UUID_MAX + 1];
    uint32_t used;       /* percent; over 100 while gpu-lets overlap */
    uint32_t partitions; /* not released yet */
    uint64_t serial;     /* of the last partition */
} mps_device_t;

/* Behind a gpulet_partition_t. */
typedef struct mps_partition {
    mps_device_t *device;
    uint32_t units;
    uint64_t serial;
    char text[TEXT_MAX + 1];
} mps_partition_t;

/* "mps:GPU-…;percent=20;pipe=/tmp/…;id=3", taken apart. */
typedef struct mps_grant {
    char uuid[GPULET_NVML_UUID_MAX + 1];
    char pipe[GPULET_MPS_PIPE_MAX + 1];
    uint64_t percent;
    uint64_t id;
} mps_grant_t;

static char entered_uuid[GPULET_NVML_UUID_MAX + 1]; /* of this process; "" before it entered */

/* ---- finding ---- */

void gpulet_mps_type_name(char out[GPULET_DEVICE_NAME_MAX + 1], const char *name)
{
    size_t size = 0;
    for (const char *c = name; *c != '\0' && size < GPULET_DEVICE_NAME_MAX; c++) {
        if (isalnum((unsigned char)*c))
            out[size++] = (char)tolower((unsigned char)*c);
        else if (size > 0 && out[size - 1] != '-')
            out[size++] = '-';
    }
    while (size > 0 && out[size - 1] == '-')
        size--;
    out[size] = '\0';
}

static gpulet_status_t options_step(uint32_t *step, const gpulet_device_options_t *options,
                                    gpulet_error_t *err)
{
    *step = options == NULL || options->mps_step == 0 ? GPULET_MPS_STEP : options->mps_step;
    if (*step > GPULET_MPS_UNITS)
        return gpulet_fail(err, GPULET_E_INVALID, "--mps-step: %u is no percentage from 1 to 100",
                           *step);
    return GPULET_OK;
}

static gpulet_status_t check_gpu(const gpulet_nvml_gpu_t *gpu, uint32_t index, gpulet_error_t *err)
{
    if (gpu->mig)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                           "GPU %u (%s) is in MIG mode: the mps backend cuts whole GPUs only",
                           index, gpu->name);
    if (gpu->major < CAPABILITY_MAJOR_MIN)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                           "GPU %u (%s) has compute capability %u.%u: shares of multiprocessors "
                           "need %d.0 or newer",
                           index, gpu->name, gpu->major, gpu->minor, CAPABILITY_MAJOR_MIN);
    return GPULET_OK;
}

static void describe_device(gpulet_device_desc_t *out, const gpulet_nvml_gpu_t *gpus,
                            uint32_t index, uint32_t step)
{
    const gpulet_nvml_gpu_t *gpu = &gpus[index];
    memset(out, 0, sizeof(*out));
    gpulet_mps_type_name(out->type, gpu->name);
    for (uint32_t i = 0; i < index; i++)
        out->index += strcmp(gpus[i].name, gpu->name) == 0;
    out->units = GPULET_MPS_UNITS;
    out->step = step;
    out->gpulets_max = GPULET_MPS_UNITS / step < GPULET_MPS_GPULETS_MAX ? GPULET_MPS_UNITS / step
                                                                        : GPULET_MPS_GPULETS_MAX;
    out->memory_mb = (double)gpu->memory_bytes / 1048576.0;
    (void)snprintf(out->text, sizeof(out->text),
                   "%s, %u multiprocessors, compute capability %u.%u, %s", gpu->name, gpu->sms,
                   gpu->major, gpu->minor, gpu->uuid);
}

/* All of this machine's GPUs; the caller frees. */
static gpulet_status_t list_gpus(gpulet_nvml_gpu_t **out, uint32_t *count, gpulet_error_t *err)
{
    gpulet_nvml_gpu_t *gpus = calloc(GPULET_NVML_GPUS_MAX, sizeof(*gpus));
    if (gpus == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = gpulet_nvml_list(gpus, GPULET_NVML_GPUS_MAX, count, err);
    if (st == GPULET_OK && *count > GPULET_NVML_GPUS_MAX)
        *count = GPULET_NVML_GPUS_MAX;
    for (uint32_t i = 0; st == GPULET_OK && i < *count; i++)
        st = check_gpu(&gpus[i], i, err);
    if (st != GPULET_OK) {
        free(gpus);
        return st;
    }
    *out = gpus;
    return GPULET_OK;
}

static gpulet_status_t mps_probe(gpulet_device_desc_t *out, uint32_t cap, uint32_t *count,
                                 const gpulet_device_options_t *options, gpulet_error_t *err)
{
    gpulet_nvml_gpu_t *gpus = NULL;
    uint32_t found = 0;
    uint32_t step = 0;
    gpulet_status_t st = options_step(&step, options, err);
    if (st == GPULET_OK)
        st = list_gpus(&gpus, &found, err);
    if (st == GPULET_OK)
        st = gpulet_mps_programs(err);
    for (uint32_t i = 0; st == GPULET_OK && i < found && i < cap; i++)
        describe_device(&out[i], gpus, i, step);
    free(gpus);
    if (st == GPULET_OK)
        *count = found;
    return st;
}

static gpulet_status_t open_gpu(mps_device_t *device, uint32_t index,
                                const gpulet_device_options_t *options, gpulet_error_t *err)
{
    gpulet_nvml_gpu_t *gpus = NULL;
    uint32_t found = 0;
    uint32_t step = 0;
    gpulet_status_t st = options_step(&step, options, err);
    if (st == GPULET_OK)
        st = list_gpus(&gpus, &found, err);
    if (st == GPULET_OK && index >= found)
        st = gpulet_fail(err, GPULET_E_NOT_FOUND, "there are %u GPUs, not a number %u", found,
                         index);
    if (st == GPULET_OK) {
        describe_device(&device->desc, gpus, index, step);
        memcpy(device->uuid, gpus[index].uuid, sizeof(device->uuid));
    }
    free(gpus);
    return st;
}

static gpulet_status_t mps_open(gpulet_device_t **out, uint32_t index,
                                const gpulet_device_options_t *options, gpulet_error_t *err)
{
    mps_device_t *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = open_gpu(device, index, options, err);
    if (st == GPULET_OK)
        st = gpulet_mps_acquire(err);
    if (st != GPULET_OK) {
        free(device);
        return st;
    }
    *out = (gpulet_device_t *)device;
    return GPULET_OK;
}

static void mps_close(gpulet_device_t *opaque)
{
    mps_device_t *device = (mps_device_t *)opaque;
    if (device == NULL)
        return;
    assert(device->partitions == 0);
    gpulet_mps_release();
    free(device);
}

/* ---- cutting ---- */

static gpulet_status_t mps_carve(gpulet_partition_t **out, gpulet_device_t *opaque, uint32_t units,
                                 int overlap, gpulet_error_t *err)
{
    mps_device_t *device = (mps_device_t *)opaque;
    uint32_t left = device->used < GPULET_MPS_UNITS ? GPULET_MPS_UNITS - device->used : 0;
    if (units == 0 || units > GPULET_MPS_UNITS)
        return gpulet_fail(err, GPULET_E_INVALID, "a gpu-let of %u percent of %s %u", units,
                           device->desc.type, device->desc.index);
    if (units > left && !overlap)
        return gpulet_fail(err, GPULET_E_FULL, "%u percent wanted of %s %u, %u are free", units,
                           device->desc.type, device->desc.index, left);
    mps_partition_t *partition = calloc(1, sizeof(*partition));
    if (partition == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    partition->device = device;
    partition->units = units;
    partition->serial = ++device->serial;
    (void)snprintf(partition->text, sizeof(partition->text), "%s %u, %u %% (client %llu)",
                   device->desc.type, device->desc.index, units,
                   (unsigned long long)partition->serial);
    device->used += units;
    device->partitions++;
    *out = (gpulet_partition_t *)partition;
    return GPULET_OK;
}

static void mps_release(gpulet_partition_t *opaque)
{
    mps_partition_t *partition = (mps_partition_t *)opaque;
    if (partition == NULL)
        return;
    assert(partition->device->used >= partition->units && partition->device->partitions > 0);
    partition->device->used -= partition->units;
    partition->device->partitions--;
    free(partition);
}

static uint32_t mps_units(const gpulet_partition_t *partition)
{
    return ((const mps_partition_t *)partition)->units;
}

static const char *mps_describe(const gpulet_partition_t *partition)
{
    return ((const mps_partition_t *)partition)->text;
}

/* ---- the grant ---- */

static gpulet_status_t mps_grant(char *out, size_t out_size, const gpulet_partition_t *opaque)
{
    const mps_partition_t *partition = (const mps_partition_t *)opaque;
    int size = snprintf(out, out_size, "mps:%s;percent=%u;pipe=%s;id=%llu", partition->device->uuid,
                        partition->units, gpulet_mps_pipe(), (unsigned long long)partition->serial);
    if (size < 0 || (size_t)size >= out_size || size > GPULET_GRANT_MAX)
        return GPULET_E_TOO_LARGE;
    return GPULET_OK;
}

/* The value of a part, copied; false when the part is another or does not fit. */
static bool take_text(char *out, size_t out_size, const char *part, size_t size, const char *key)
{
    size_t key_size = strlen(key);
    if (size <= key_size || size - key_size >= out_size || memcmp(part, key, key_size) != 0)
        return false;
    memcpy(out, part + key_size, size - key_size);
    out[size - key_size] = '\0';
    return true;
}

static bool take_number(uint64_t *out, const char *part, size_t size, const char *key)
{
    char digits[24];
    return take_text(digits, sizeof(digits), part, size, key) &&
           gpulet_parse_u64(out, digits, strlen(digits)) == GPULET_OK;
}

static gpulet_status_t parse_grant(mps_grant_t *grant, const char *text, gpulet_error_t *err)
{
    bool good = true;
    memset(grant, 0, sizeof(*grant));
    for (const char *at = text; good;) {
        size_t size = strcspn(at, ";");
        good = take_text(grant->uuid, sizeof(grant->uuid), at, size, "mps:") ||
               take_text(grant->pipe, sizeof(grant->pipe), at, size, "pipe=") ||
               take_number(&grant->percent, at, size, "percent=") ||
               take_number(&grant->id, at, size, "id=");
        if (at[size] == '\0')
            break;
        at += size + 1;
    }
    if (!good || grant->uuid[0] == '\0' || grant->pipe[0] != '/' || grant->percent < 1 ||
        grant->percent > GPULET_MPS_UNITS || grant->id == 0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "grant '%.150s' is not mps:UUID;percent=N;pipe=/PATH;id=N", text);
    return GPULET_OK;
}

/* CUDA reads these when it is first used in a process, which is when a model is loaded. */
static gpulet_status_t mps_enter(const char *text, gpulet_device_entry_t *entry,
                                 gpulet_error_t *err)
{
    mps_grant_t grant;
    char percent[8];
    gpulet_status_t st = parse_grant(&grant, text, err);
    if (st != GPULET_OK)
        return st;
    /* Without a daemon CUDA would silently run outside of the service, and so without a limit. */
    if ((st = gpulet_mps_answers(grant.pipe, err)) != GPULET_OK) {
        gpulet_error_prefix(err, "MPS is gone");
        return st;
    }
    (void)snprintf(percent, sizeof(percent), "%u", (unsigned)grant.percent);
    if (setenv("CUDA_VISIBLE_DEVICES", grant.uuid, 1) != 0 ||
        setenv("CUDA_MPS_PIPE_DIRECTORY", grant.pipe, 1) != 0 ||
        setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", percent, 1) != 0 ||
        setenv("CUDA_MODULE_LOADING", "LAZY", 0) != 0)
        return gpulet_fail(err, GPULET_E_NOMEM, "the environment: %s", strerror(errno));
    memcpy(entered_uuid, grant.uuid, sizeof(entered_uuid));
    *entry = (gpulet_device_entry_t){.threads = 1, .provider = "cuda"};
    return GPULET_OK;
}

static gpulet_status_t mps_memory_used(uint64_t *bytes_out, gpulet_error_t *err)
{
    assert(entered_uuid[0] != '\0');
    return gpulet_nvml_memory_used(bytes_out, entered_uuid, err);
}

/* A GPU that has fallen off the bus, or that the driver has given up, does not answer. */
static gpulet_status_t mps_health(const gpulet_device_t *opaque,
                                  const gpulet_device_options_t *options, gpulet_error_t *err)
{
    const mps_device_t *device = (const mps_device_t *)opaque;
    uint64_t bytes = 0;
    (void)options;
    return gpulet_nvml_memory_used(&bytes, device->uuid, err) == GPULET_OK ? GPULET_OK
                                                                           : GPULET_E_UNAVAILABLE;
}

static double known(uint32_t value, double scale)
{
    return value == UINT32_MAX ? -1.0 : (double)value * scale;
}

static gpulet_status_t mps_telemetry(gpulet_device_telemetry_t *out, const gpulet_device_t *opaque,
                                     gpulet_error_t *err)
{
    const mps_device_t *device = (const mps_device_t *)opaque;
    gpulet_nvml_use_t use;
    gpulet_status_t st = gpulet_nvml_use(&use, device->uuid, err);
    if (st != GPULET_OK)
        return st;
    *out = (gpulet_device_telemetry_t){.memory_total_bytes = use.memory_bytes,
                                       .memory_used_bytes = use.used_bytes,
                                       .utilization = known(use.busy_percent, 0.01),
                                       .power_watts = known(use.power_mw, 0.001),
                                       .power_limit_watts = known(use.power_limit_mw, 0.001)};
    (void)snprintf(out->uuid, sizeof(out->uuid), "%s", device->uuid);
    return GPULET_OK;
}

static void mps_detach(const char *text, pid_t worker)
{
    mps_grant_t grant;
    gpulet_error_t err;
    if (parse_grant(&grant, text, &err) == GPULET_OK)
        gpulet_mps_detach(grant.pipe, worker);
}

const gpulet_device_backend_t gpulet_device_mps = {
    .abi_version = GPULET_DEVICE_ABI,
    .name = "mps",
    .probe = mps_probe,
    .open = mps_open,
    .close = mps_close,
    .carve = mps_carve,
    .grant = mps_grant,
    .health = mps_health,
    .telemetry = mps_telemetry,
    .enter = mps_enter,
    .memory_used = mps_memory_used,
    .detach = mps_detach,
    .release = mps_release,
    .units = mps_units,
    .describe = mps_describe,
};
