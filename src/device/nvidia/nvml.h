/* NVIDIA GPUs as their management library (NVML) tells of them. It never makes a context on a GPU,
 * so a server may ask; the library is opened at run time and a machine without it is no error of
 * ours.
 *
 * The library found is `libnvidia-ml.so.1`, or the file that the environment variable
 * GPULET_NVML_LIBRARY names. It stays open until the process ends. Threads: one at a time. */
#ifndef GPULET_DEVICE_NVIDIA_NVML_H
#define GPULET_DEVICE_NVIDIA_NVML_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { GPULET_NVML_GPUS_MAX = 64, GPULET_NVML_NAME_MAX = 95, GPULET_NVML_UUID_MAX = 95 };

typedef struct gpulet_nvml_gpu {
    char name[GPULET_NVML_NAME_MAX + 1]; /* "NVIDIA H100 80GB HBM3" */
    char uuid[GPULET_NVML_UUID_MAX + 1]; /* "GPU-…" */
    uint64_t memory_bytes;
    uint64_t used_bytes;
    uint32_t sms; /* streaming multiprocessors; 0: not known */
    uint32_t major;
    uint32_t minor; /* compute capability */
    bool mig;       /* MIG mode is on */
} gpulet_nvml_gpu_t;

/* Of one GPU, by whomever it is used; UINT32_MAX: the GPU cannot tell. */
typedef struct gpulet_nvml_use {
    uint64_t memory_bytes;
    uint64_t used_bytes;
    uint32_t busy_percent;
    uint32_t power_mw;
    uint32_t power_limit_mw; /* in force */
} gpulet_nvml_use_t;

/* The GPUs in the library's order; *count may exceed cap. E_UNAVAILABLE with the reason when there
 * is no driver or no GPU. A GPU that fails to answer fails the call. */
gpulet_status_t gpulet_nvml_list(gpulet_nvml_gpu_t *out, uint32_t cap, uint32_t *count,
                                 gpulet_error_t *err) GPULET_MUST_USE;
/* "580.159.04" and, of the driver, the CUDA version times 1000 (13000). */
gpulet_status_t gpulet_nvml_driver(char *out, uint32_t out_size, uint32_t *cuda,
                                   gpulet_error_t *err) GPULET_MUST_USE;
/* Bytes in use on one GPU, by all processes. */
gpulet_status_t gpulet_nvml_memory_used(uint64_t *bytes_out, const char *uuid,
                                        gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_nvml_use(gpulet_nvml_use_t *out, const char *uuid,
                                gpulet_error_t *err) GPULET_MUST_USE;

#endif
