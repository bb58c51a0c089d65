/* Gpu-lets, shared by the files that drive them: gpulets.c steps them through their states,
 * gpulets_worker.c holds their workers, gpulets_plan.c leads from one plan to the next. All on the
 * loop's thread. */
#ifndef GPULET_SERVER_GPULETS_H
#define GPULET_SERVER_GPULETS_H

#include "server/internal.h"

enum { GPULETS_GIVE_UP_AFTER = 5 /* deaths in a row after which a plan is not waited for */ };

/* gpulets.c */
void server_gpulet_set_state(server_gpulet_t *g, server_gpulet_state_t state);
/* A model is READY while a lane serves it. */
void server_gpulets_refresh_models(gpulet_server_t *server);
/* A gpu-let that stays has a lane for the model. */
bool server_gpulets_serve(const gpulet_server_t *server, uint32_t model);
/* Some gpu-let serves the model or may come to: its worker has not refused it. */
bool server_gpulets_may_serve(const gpulet_server_t *server, uint32_t model);
/* The running plan serves the model, and every worker of the new one that was to has refused it. */
bool server_gpulets_plan_loses(const gpulet_server_t *server, uint32_t model);
/* The brain may use the gpu-let from here on. */
void server_gpulet_add_lane(server_gpulet_t *g, uint64_t now_ns);

/* gpulets_worker.c */
gpulet_status_t server_gpulet_start(server_gpulet_t *g, gpulet_error_t *err) GPULET_MUST_USE;
/* After a death, in the same partition; backs off again when that fails. */
void server_gpulet_restart(server_gpulet_t *g, uint64_t now_ns);
void server_gpulet_back_off(server_gpulet_t *g, uint64_t now_ns);
/* Asks the worker to end; the gpu-let is `stopped` when it has. */
void server_gpulet_stop(server_gpulet_t *g);
/* Kills what still lives. */
void server_gpulet_drop_worker(server_gpulet_t *g);
void server_gpulet_free(server_gpulet_t *g);
/* NULL when the gpu-let does not hold the model. */
server_service_t *server_gpulet_service(server_gpulet_t *g, uint32_t model);

/* gpulets_plan.c */
/* Everything of the new plan is loaded, or has failed often enough not to be waited for. */
bool server_gpulets_switch_is_due(const gpulet_server_t *server);
void server_gpulets_switch_over(gpulet_server_t *server, uint64_t now_ns);
/* Nothing of the first plan can be started at all. */
bool server_gpulets_nothing_starts(const gpulet_server_t *server);
/* The new plan cannot be served whole while the old one is; then the old one is kept. */
bool server_gpulets_old_is_better(const gpulet_server_t *server);
void server_gpulets_keep_what_serves(gpulet_server_t *server);

#endif
