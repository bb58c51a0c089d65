/* What a running server says of itself, as values: GET /gpulet/v1/status and /gpulet/v1/events.
 * The bytes come from outside: what a reader needs must be there and be of the right kind, all
 * else may be missing, as it is from older servers. Pure. */
#ifndef GPULET_VIEW_LIVE_H
#define GPULET_VIEW_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { GPULET_LIVE_LIST_MAX = 20000, GPULET_LIVE_EVENTS_MAX = 500 };

/* Texts are borrowed from the status, never NULL. Numbers that are not there are NAN, counters 0.
 */
typedef struct gpulet_live_model {
    const char *name;
    const char *version;
    const char *state;  /* "loading", "ready", "unavailable" */
    const char *reason; /* of an unavailable one, else "" */
    double slo_ms;      /* 0: none */
    double rate_average_rps;
    double rate_now_rps;
    double rate_planned_rps;
    double rate_covered_rps;
    double offered;
    double in_time;
    double late;
    double rejected;
    double failed;
    double waiting;
    double attainment; /* of all settled requests, 0 … 1 */
    double latency_ms_p50;
    double latency_ms_p99;
    bool again; /* an earlier row has the same name: this is an older version */
} gpulet_live_model_t;

typedef struct gpulet_live_device {
    const char *type;
    double index;
    double units;
} gpulet_live_device_t;

typedef struct gpulet_live_share {
    size_t model; /* index in models; their count when the list does not have it */
    const char *key;
    double batch;
    bool loaded;
    bool refused;
} gpulet_live_share_t;

typedef struct gpulet_live_gpulet {
    const char *name;
    const char *device;
    double index;
    double units;
    double borrowed_units;
    double busy; /* 0 … 1 */
    const char *state;
    gpulet_live_share_t *shares; /* owned */
    size_t shares_count;
} gpulet_live_gpulet_t;

typedef struct gpulet_live_transition {
    bool under_way;
    const char *reason;
    double since_ms;
    double starting;
    double loading;
} gpulet_live_transition_t;

struct json_t;

typedef struct gpulet_live_status {
    struct json_t *document; /* owned; holds the texts */
    const char *version;
    bool ready;
    bool draining;
    double uptime_s;
    const char *planner;
    bool feasible;
    const char *plan_reason; /* "" when there is none */
    double replans;
    double devices_used; /* NAN: counted from the gpu-lets */
    double headroom;     /* how many times the load the plan covers */
    double shortfall;    /* share of the load that it does not cover */
    gpulet_live_transition_t transition;
    gpulet_live_device_t *devices; /* lists are owned */
    size_t devices_count;
    gpulet_live_gpulet_t *gpulets;
    size_t gpulets_count;
    gpulet_live_model_t *models;
    size_t models_count;
} gpulet_live_status_t;

/* Errors read "status: models[3].state: expected a text". Caller destroys *out. */
gpulet_status_t gpulet_live_status_read(gpulet_live_status_t **out, const char *text, size_t size,
                                        gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_live_status_destroy(gpulet_live_status_t *status); /* NULL is fine */

/* What changed between two looks. */
typedef struct gpulet_live_change {
    double seconds;
    double offered;
    double in_time;
    double late;
    double rejected;
    double failed;
} gpulet_live_change_t;

/* Of model i of `now`. A counter that went back has begun anew. False, and zeroes, where there is
 * nothing to compare with: no look before, or another server since. */
bool gpulet_live_change(gpulet_live_change_t *out, const gpulet_live_status_t *now,
                        const gpulet_live_status_t *before, size_t model);

typedef struct gpulet_live_event {
    double seq;
    double time_ms; /* since 1970, or (below 1e11) since the server's start; NAN: not said */
    char *text;     /* the whole line but for the time; owned */
    bool bad;       /* something was lost, or not reached */
} gpulet_live_event_t;

/* The latest events, oldest first. Zero-initialised is empty. */
typedef struct gpulet_live_log {
    gpulet_live_event_t *events; /* owned; up to GPULET_LIVE_EVENTS_MAX */
    size_t count;
    double next; /* what to ask for with ?since= */
} gpulet_live_log_t;

/* Adds what an answer brings; on an error the log is as it was. */
gpulet_status_t gpulet_live_log_read(gpulet_live_log_t *log, const char *text, size_t size,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Empties it: another server answers now. */
void gpulet_live_log_clear(gpulet_live_log_t *log);

#endif
