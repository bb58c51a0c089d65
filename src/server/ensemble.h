/* Ensembles inside the server, shared by ensemble_link.c (what they are made of), ensemble.c (their
 * requests from beginning to end) and ensemble_stage.c (how a stage begins).
 *
 * To clients an ensemble is a model. It has no worker: a request of it is a *run*, whose stages are
 * requests of other models, made by the server itself. Which stage is next and how a run ends is
 * decided by sched/app.h. */
#ifndef GPULET_SERVER_ENSEMBLE_H
#define GPULET_SERVER_ENSEMBLE_H

#include "core/app.h"
#include "sched/app.h"
#include "server/ensembles.h"
#include "server/infer.h"

struct server_ensemble {
    const gpulet_app_t *app;                       /* of its configuration */
    server_model_t *models[GPULET_APP_STAGES_MAX]; /* of its stages; NULL while it is not linked */
    bool linked;
    bool unloaded;     /* by a client */
    bool returning;    /* it was, until it was loaded again last */
    char problem[512]; /* why it is not linked */
    gpulet_app_gate_t gate;
    gpulet_sched_model_stats_t stats; /* of whole requests; `running` are those under way */
};

/* A tensor of the application in one run. */
typedef struct server_run_tensor {
    gpulet_tensor_view_t view; /* as clients see it; into the client's slot, a worker's outputs
                                  during the call that hands them over, or copy */
    void *copy;                /* owned; NULL: it was not kept */
    gpulet_app_set_t unread;   /* consumers that were not submitted yet */
} server_run_tensor_t;

struct server_run {
    gpulet_server_t *server;
    server_run_t *next;
    server_run_t **link;
    server_infer_t *parent;      /* the client's request; NULL: it has its answer */
    server_ensemble_t *ensemble; /* until then */
    gpulet_app_run_t id;
    uint32_t under_way; /* stages */
    uint32_t busy;      /* callers that are in it */
    bool sending;       /* the answer refers to its tensors */
    uint64_t deadline_ns;
    bool own_timeout;                              /* the client's own is what binds */
    bool probe;                                    /* let in against the prediction */
    server_infer_t *stages[GPULET_APP_STAGES_MAX]; /* under way */
    server_times_t times;                          /* of all stages */
    server_output_t *output; /* of the last stage, while its tensors are being sent */
    uint64_t held_bytes;     /* of copies */
    size_t tensors_count;
    server_run_tensor_t tensors[];
};

void server_run_drop_copy(server_run_t *run, server_run_tensor_t *tensor);
/* The stage has ended, or could not begin. */
void server_run_free_stage(server_infer_t *stage);
/* The parent leaves the run; what it is answered with is the caller's. */
server_infer_t *server_run_part(server_run_t *run);
/* The stage could not begin, or failed: that ends the run. */
void server_run_fail_stage(server_run_t *run, uint32_t stage, gpulet_status_t status,
                           const char *text);
/* Where the run could not be in time, as far as can be seen now, it had better not begin: then it
 * is refused here. */
bool server_run_is_let_in(server_run_t *run);
/* Begins all of these stages, or none: where one cannot begin it is no use to run the others. The
 * brain may refuse them at once, which ends the run. */
void server_run_submit(server_run_t *run, gpulet_app_set_t stages);

/* The names of an output's classes: its own, else those of the model that makes it; NULL. */
const server_labels_t *server_ensemble_labels(const server_model_t *model, uint32_t output);

#endif
