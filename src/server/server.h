/* gpuletd as a library: settings in, a running server until it is told to stop. One per process;
 * its loop's thread owns everything. */
#ifndef GPULET_SERVER_SERVER_H
#define GPULET_SERVER_SERVER_H

#include "base/status.h"
#include "server/settings.h"

typedef struct gpulet_server gpulet_server_t;

/* Takes over the content of settings. Everything is checked here (models, devices, ports, files):
 * an error says what is wrong. */
gpulet_status_t gpulet_server_create(gpulet_server_t **out, gpulet_settings_t *settings,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Serves until SIGTERM, SIGINT or SIGHUP, then drains. OK after a clean end; an error when it could
 * not become ready. */
gpulet_status_t gpulet_server_run(gpulet_server_t *server, gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_server_destroy(gpulet_server_t *server);

#endif
