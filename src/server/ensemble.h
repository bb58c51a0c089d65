/* Ensembles inside the server, shared by ensemble_link.c and ensemble.c.
 *
 * To clients an ensemble is a model. It has no worker: a request of it is a *run*, whose stages are
 * requests of other models, made by the server itself. Which stage is next and how a run ends is
 * decided by sched/app.h. */
#ifndef GPULET_SERVER_ENSEMBLE_H
#define GPULET_SERVER_ENSEMBLE_H

#include "core/app.h"
#include "sched/app.h"
#include "server/infer.h"

struct server_ensemble {
    const gpulet_app_t *app;                       /* of its configuration */
    server_model_t *models[GPULET_APP_STAGES_MAX]; /* of its stages; NULL while it is not linked */
    bool linked;
    bool unloaded;     /* by a client */
    char problem[512]; /* why it is not linked */
    gpulet_app_gate_t gate;
    gpulet_sched_model_stats_t stats; /* of whole requests; `running` are those under way */
};

/* The names of an output's classes: its own, else those of the model that makes it; NULL. */
const server_labels_t *server_ensemble_labels(const server_model_t *model, uint32_t output);

#endif
