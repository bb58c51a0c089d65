/* The control daemon of NVIDIA's Multi-Process Service: one a process of ours, for all GPUs.
 *
 * Where CUDA_MPS_PIPE_DIRECTORY is set, the daemon that answers there is used and left alone. Else
 * one of our own is started, with pipe and log in a folder of its own, and taken down at the last
 * release; when this process dies in whatever way, its keeper takes it down (keeper.h).
 *
 * All calls but gpulet_mps_detach from one thread. Calls that start or stop the daemon block: up to
 * the limits below. */
#ifndef GPULET_DEVICE_MPS_DAEMON_H
#define GPULET_DEVICE_MPS_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

#define GPULET_MPS_CONTROL "nvidia-cuda-mps-control"
#define GPULET_MPS_SERVER  "nvidia-cuda-mps-server"

enum {
    GPULET_MPS_PIPE_MAX = 90, /* a socket's path has 108 bytes, and a name follows */
    GPULET_MPS_START_MS = 15000,
    GPULET_MPS_COMMAND_MS = 3000,
    GPULET_MPS_QUIT_MS = 5000
};

/* Whether both programs are on the PATH: E_UNAVAILABLE names the one that is not. */
gpulet_status_t gpulet_mps_programs(gpulet_error_t *err) GPULET_MUST_USE;

/* Counted: each acquire that gave GPULET_OK wants one release. E_UNAVAILABLE with the reason. */
gpulet_status_t gpulet_mps_acquire(gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_mps_release(void);
/* Its pipe folder, while it is acquired. */
const char *gpulet_mps_pipe(void);

/* ---- command.c ---- */
/* Sends one line to the control daemon of that pipe folder and takes its answer (out may be NULL).
 * E_TIMEOUT, or E_UNAVAILABLE with the tool's own words. From any thread. */
gpulet_status_t gpulet_mps_command(const char *pipe, const char *line, char *out, size_t out_size,
                                   int limit_ms, gpulet_error_t *err) GPULET_MUST_USE;
/* Whether a control daemon answers there; else E_UNAVAILABLE or E_TIMEOUT. From any thread. */
gpulet_status_t gpulet_mps_answers(const char *pipe, gpulet_error_t *err) GPULET_MUST_USE;
/* Takes a client off the GPU: `terminate_client` for each server there is. From any thread. */
void gpulet_mps_detach(const char *pipe, pid_t client);

#endif
