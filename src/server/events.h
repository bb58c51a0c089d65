/* What happened to the plan: the last events, for GET /gpulet/v1/events, and their totals, for the
 * metrics. On the loop's thread. */
#ifndef GPULET_SERVER_EVENTS_H
#define GPULET_SERVER_EVENTS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "sched/follow.h"

enum { SERVER_EVENTS_MAX = 1000, SERVER_EVENT_TEXT_MAX = 255 };

/* X(name, text): kinds of events. */
#define SERVER_EVENT_MAP(X)                                                                        \
    X(PLAN, "plan") /* the first plan is served */                                                 \
    X(REPLAN, "replan")                                                                            \
    X(ROLLBACK, "rollback")                                                                        \
    X(WORKER_LOST, "worker_lost")                                                                  \
    X(DEVICE_LOST, "device_lost")                                                                  \
    X(DEVICE_BACK, "device_back")                                                                  \
    X(MODEL_LOADED, "model_loaded")                                                                \
    X(MODEL_UNLOADED, "model_unloaded")

typedef enum server_event_kind {
#define SERVER_EVENT_ENUM(name, text) SERVER_EVENT_##name,
    SERVER_EVENT_MAP(SERVER_EVENT_ENUM)
#undef SERVER_EVENT_ENUM
        SERVER_EVENT_COUNT
} server_event_kind_t;

/* X(name, text): what became of a plan that was wanted. */
#define SERVER_OUTCOME_MAP(X)                                                                      \
    X(REACHED, "reached")                                                                          \
    X(KEPT, "kept")     /* what runs is as good */                                                 \
    X(FAILED, "failed") /* it could not be made, or not be reached */

typedef enum server_outcome {
#define SERVER_OUTCOME_ENUM(name, text) SERVER_OUTCOME_##name,
    SERVER_OUTCOME_MAP(SERVER_OUTCOME_ENUM)
#undef SERVER_OUTCOME_ENUM
        SERVER_OUTCOME_COUNT
} server_outcome_t;

const char *server_outcome_text(server_outcome_t outcome);

typedef struct server_event {
    uint64_t seq;     /* from 1, never used twice; filled in by server_events_add */
    uint64_t time_ms; /* of the calendar; likewise */
    server_event_kind_t kind;
    gpulet_follow_reason_t reason;
    server_outcome_t outcome;
    char text[SERVER_EVENT_TEXT_MAX + 1];
    uint32_t devices_before;
    uint32_t devices_after;
    uint32_t gpulets_started;
    uint32_t gpulets_stopped;
    uint32_t gpulets_kept;
    uint32_t models_loaded;
    uint32_t models_unloaded;
    double plan_ms;
    double duration_ms;
    double headroom; /* HUGE_VAL when nothing is asked */
    double shortfall;
} server_event_t;

typedef struct server_events server_events_t;

gpulet_status_t server_events_create(server_events_t **out) GPULET_MUST_USE;
void server_events_destroy(server_events_t *events); /* NULL is fine */
void server_events_add(server_events_t *events, const server_event_t *event);
/* For the totals alone: nothing happened that is worth an event. */
void server_events_count(server_events_t *events, gpulet_follow_reason_t reason,
                         server_outcome_t outcome);
/* Those with a number of since or more: {"events": […], "next": N}. */
void server_events_write(gpulet_buf_t *out, const server_events_t *events, uint64_t since);
/* Plans that were wanted, by reason and outcome, and the time from then to the switch of those
 * reached. */
uint64_t server_events_replans(const server_events_t *events, gpulet_follow_reason_t reason,
                               server_outcome_t outcome);
void server_events_durations(const server_events_t *events, uint64_t *count, double *sum_ms);

#endif
