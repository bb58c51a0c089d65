/* What the rest of the server asks of ensembles (ensemble*.c): that they are linked to their
 * models, planned with them, and their requests run. On the loop's thread. */
#ifndef GPULET_SERVER_ENSEMBLES_H
#define GPULET_SERVER_ENSEMBLES_H

#include "server/internal.h"

/* ensemble_link.c */
/* Readies an entry that is an ensemble. */
gpulet_status_t server_ensemble_open(gpulet_server_t *server, server_model_t *model,
                                     gpulet_error_t *err) GPULET_MUST_USE;
void server_ensemble_close(server_model_t *model); /* one that is none is fine */
/* Whether the models that it needs are there and fit together; names the step where not. */
gpulet_status_t server_ensemble_check(gpulet_server_t *server, const server_model_t *model,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* Models have come, changed or gone: ensembles find theirs again. */
void server_ensembles_link(gpulet_server_t *server);
/* States of ensembles follow those of their models. */
void server_ensembles_refresh(gpulet_server_t *server);
void server_ensemble_unload(server_model_t *model, bool unloaded);
/* A load could not be planned: the ensemble is as it was. */
void server_ensemble_give_up(server_model_t *model);

/* ensemble_plan.c */
/* Brings staged_rps of all models up to date. */
void server_ensembles_expect(gpulet_server_t *server);
/* What is expected of a model before anything was seen: as configured, for itself and for the
 * ensembles that use it; once a second where nothing is said. */
double server_model_rate_rps(const server_model_t *model);
/* The ensembles with an objective, as planning has them: stages by the keys of their models. NULL:
 * there is none. Caller destroys. */
gpulet_status_t server_ensembles_describe(gpulet_apps_t **out, const gpulet_server_t *server,
                                          gpulet_error_t *err) GPULET_MUST_USE;
/* Ensembles leave their models of their objectives what server->shares says. The brain is told. */
void server_ensembles_share(gpulet_server_t *server);
void server_shares_deinit(server_shares_t *shares);

/* ensemble.c */
/* The request has been read and checked: its stages run, and it is answered. */
void server_ensemble_begin(server_infer_t *infer);
void server_ensemble_gone(server_infer_t *infer);
/* The run that the stage belongs to has its answer. */
bool server_ensemble_is_over(const server_infer_t *stage);
/* What became of a stage. All of these free it. */
void server_ensemble_stage_answered(server_infer_t *stage, const gpulet_action_t *action,
                                    const gpulet_worker_result_t *result, server_output_t *output);
void server_ensemble_stage_failed(server_infer_t *stage, gpulet_status_t status, const char *text);
void server_ensemble_stage_rejected(server_infer_t *stage, gpulet_reject_t reason,
                                    uint64_t retry_after_ns);
/* Frees what is left; the loop has ended. */
void server_ensembles_close(gpulet_server_t *server);

#endif
