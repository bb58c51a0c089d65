/* Gpu-lets, shared by the files that drive them: gpulets.c steps them through their states,
 * gpulets_worker.c holds their workers, gpulets_change.c is about those that go on with other
 * models, gpulets_plan.c and transition.c lead from one plan to the next. All on the loop's thread.
 */
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
/* What the lane serves, or is to serve: out has room for all services of g. */
uint32_t server_gpulet_lane_services(gpulet_sched_service_t *out, server_gpulet_t *g,
                                     bool with_going);
void server_gpulet_lane_services_free(gpulet_sched_service_t *services, uint32_t count);

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
/* Asks the worker for what it has not loaded: of a gpu-let that is to serve again first what the
 * running plan has here. */
void server_gpulet_load_missing(server_gpulet_t *g);

/* gpulets_change.c: a gpu-let goes on in another plan */
/* What the gpu-let holds and `wanted` are to become one list, of which *out is the memory. */
gpulet_status_t server_gpulet_merge(server_service_t **out, uint32_t *count,
                                    const server_gpulet_t *g,
                                    const server_gpulet_t *wanted) GPULET_MUST_USE;
/* Takes the list over. */
void server_gpulet_change_begin(server_gpulet_t *g, server_service_t *services, uint32_t count,
                                double duty_ms);
/* The plan is not reached: as it was. */
void server_gpulet_change_undo(server_gpulet_t *g);
/* The switch, in two steps, so that no model is without a lane in between: first every gpu-let
 * serves what comes beside what goes, then what goes is no longer served. */
void server_gpulet_change_widen(server_gpulet_t *g, uint64_t now_ns);
void server_gpulet_change_end(server_gpulet_t *g, uint64_t now_ns);
/* All that the next plan wants of it is loaded, or refused. */
bool server_gpulet_is_loaded(const server_gpulet_t *g);

/* What goes is no longer served, before the switch: its memory is needed. */
void server_gpulet_change_early(server_gpulet_t *g, uint64_t now_ns);

/* memory.c: never more on a device than it holds */
/* Of the device, for gpu-lets; INFINITY: not known. */
double server_memory_limit_mb(const gpulet_server_t *server, uint32_t device);
double server_memory_service_mb(const server_gpulet_t *g, const server_service_t *service);
/* What the process of a gpu-let takes beside its models. */
double server_memory_process_mb(const server_gpulet_t *g);
/* Taken by what is there, or has been begun. */
double server_memory_used_mb(const gpulet_server_t *server, uint32_t device);
/* Break before make: as few as possible of those that go make room for what is held. */
void server_memory_make_room(gpulet_server_t *server, uint64_t now_ns);
/* Something is gone: what was held, and has room now, is begun. */
void server_memory_begin_held(gpulet_server_t *server);

/* transition.c */
/* Takes the steps towards the plan that is being reached, or gives it up. */
void server_transition_step(gpulet_server_t *server, uint64_t now_ns);
/* A worker of the running plan keeps dying. */
bool server_gpulet_is_hopeless(const server_gpulet_t *g);

#endif
