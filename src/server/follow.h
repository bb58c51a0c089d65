/* Following the load: rates are tracked, plans are made when they are wanted (sched/follow.h says
 * when, and whether one is worth it), and gone over to. Also the way for every other plan: models
 * that come and go, devices that are gone, what a person asks for. On the loop's thread. */
#ifndef GPULET_SERVER_FOLLOW_H
#define GPULET_SERVER_FOLLOW_H

#include "sched/follow.h"
#include "server/internal.h"

struct server_plan_job;

gpulet_status_t server_follow_open(gpulet_server_t *server, gpulet_error_t *err) GPULET_MUST_USE;
void server_follow_close(gpulet_server_t *server);
/* What the model is planned for now. */
double server_follow_rate_rps(const gpulet_server_t *server, const server_model_t *model);
void server_follow_rate(const gpulet_server_t *server, const server_model_t *model,
                        gpulet_follow_rate_t *out);
/* NAN: what is seen counts again. */
void server_follow_pin(gpulet_server_t *server, const server_model_t *model, double rate_rps);
void server_follow_arrived(gpulet_server_t *server, const server_model_t *model, uint32_t items);
/* The model's number will be another's. */
void server_follow_forget(gpulet_server_t *server, const server_model_t *model);

/* A plan is to be made, and is begun at once if none is under way. */
/* The plan that is served came from outside, and nobody wants it followed: what is measured changes
 * nothing. */
bool server_follow_fixed(const gpulet_server_t *server);
void server_follow_ask(gpulet_server_t *server, gpulet_follow_reason_t reason);
/* Every tick. */
void server_follow_step(gpulet_server_t *server, uint64_t now_ns);
/* The server drains: no plan is begun any more, and nobody waits for one. */
void server_follow_end(gpulet_server_t *server);
/* The planning thread's answer. */
void server_follow_planned(gpulet_server_t *server, struct server_plan_job *job);
/* The plan that was being reached is served, or given up. */
void server_follow_reached(gpulet_server_t *server, uint64_t now_ns, bool served);

double server_follow_headroom(const gpulet_server_t *server);
double server_follow_shortfall(const gpulet_server_t *server);

#endif
