/* NVIDIA GPUs cut by their Multi-Process Service: a gpu-let is a client process whose share of the
 * multiprocessors is capped at some percent. A unit is one percent; percents have no place, so a
 * sum is all that is kept. Nothing of CUDA is ever loaded into the process that carves. */
#ifndef GPULET_DEVICE_MPS_MPS_H
#define GPULET_DEVICE_MPS_MPS_H

#include "device/backend.h"

enum {
    GPULET_MPS_UNITS = 100,
    GPULET_MPS_STEP = 10,
    /* The service takes 48 clients a GPU; while gpu-lets are exchanged, old and new are there. */
    GPULET_MPS_GPULETS_MAX = 24
};

extern const gpulet_device_backend_t gpulet_device_mps;

/* "NVIDIA H100 80GB HBM3" as the name of a device type: "nvidia-h100-80gb-hbm3". */
void gpulet_mps_type_name(char out[GPULET_DEVICE_NAME_MAX + 1], const char *name);

#endif
