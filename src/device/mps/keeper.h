/* A small process that runs the control daemon and outlives whoever started it, for as long as it
 * takes to take the daemon and its servers down and to remove their folder.
 *
 * It watches a socket whose other end only its starter has: at its end, which comes even after a
 * kill -9, it asks the daemon to quit, then ends what is left. It is the reaper of all that
 * the daemon starts. */
#ifndef GPULET_DEVICE_MPS_KEEPER_H
#define GPULET_DEVICE_MPS_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

typedef struct gpulet_mps_keeper {
    pid_t pid;
    int socket; /* closing it ends the keeper */
} gpulet_mps_keeper_t;

/* folder holds `pipe` and `log`, and is the keeper's to remove. */
gpulet_status_t gpulet_mps_keeper_start(gpulet_mps_keeper_t *out, const char *folder,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* Whether the daemon that it started still runs. */
bool gpulet_mps_keeper_has_daemon(const gpulet_mps_keeper_t *keeper);
/* Waits until all is taken down. */
void gpulet_mps_keeper_stop(gpulet_mps_keeper_t *keeper);

#endif
