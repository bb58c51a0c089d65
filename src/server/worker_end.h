/* The end by force of a worker's process. */
#ifndef GPULET_SERVER_WORKER_END_H
#define GPULET_SERVER_WORKER_END_H

#include <stdbool.h>
#include <sys/types.h>

#include "device/backend.h"

/* Where the device wants to be told first (backend->detach), a thread of its own does that, which
 * may take seconds, and then kills and reaps; the caller only hears of the end as of any other.
 * Otherwise, or when no thread can be had, the process is killed at once. True when the thread will
 * reap it. backend may be NULL. */
bool gpulet_worker_end(pid_t pid, int pid_fd, const gpulet_device_backend_t *backend,
                       const char *grant);

/* Reaps a process that was killed. One that does not end within wait_ms (it may hang in the kernel,
 * on a file system that does not answer) is left to a thread of its own. */
void gpulet_worker_reap(pid_t pid, int pid_fd, int wait_ms);

#endif
