/* What the files that write the metrics share: metrics.c has those of models, gpu-lets and the
 * server, metrics_machine.c those of what it runs on. */
#ifndef GPULET_SERVER_METRICS_H
#define GPULET_SERVER_METRICS_H

#include "server/internal.h"

/* The lines before a metric's samples. */
void server_metrics_head(gpulet_buf_t *out, const char *name, const char *kind, const char *help);
/* The machine's CPUs and memory, and its devices as far as they tell. */
void server_metrics_machine(gpulet_buf_t *out, gpulet_server_t *server);

#endif
