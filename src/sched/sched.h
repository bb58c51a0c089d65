/* The brain: admission, queues, batching, dispatch, estimates. Events go in with the time, actions
 * come out (docs/ARCHITECTURE.md, life of a request).
 *
 * Pure: no clock, no I/O, no threads, no globals. The server carries the actions out over shared
 * memory, the simulator on virtual devices in virtual time; same events, same actions, bit for bit.
 * One owner; all memory is allocated at creation or when a model or lane is set, none per request.
 * `now_ns` never goes back.
 *
 * Promises, each a property test:
 *  - every accepted request gets exactly one REPLY or REJECT, unless it is cancelled (then exactly
 * one of REPLY, REJECT or CANCELLED);
 *  - a lane holds at most one running and one waiting batch; a batch holds requests of one model
 * and one shape_key, at most batch_max items unless it is a single request; nothing runs on a lane
 * that does not serve its model;
 *  - no batch starts whose requests cannot be in time by the prediction (models with late_serve and
 * best-effort models excepted, and probes: a model that has nothing else under way may now and then
 * run one request alone on an idle lane against a prediction that refuses it, or a wrong estimate
 * could lock it out for ever);
 *  - work-conserving: no lane is free while a request that it may serve waits, unless waiting
 * breaks no deadline and gains throughput, or co-residents are protected. */
#ifndef GPULET_SCHED_SCHED_H
#define GPULET_SCHED_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_sched gpulet_sched_t;

/* A request inside the brain: 0 is none; never used twice. */
typedef uint64_t gpulet_ticket_t;

enum {
    GPULET_SCHED_BATCH_REQUESTS_MAX = 256,
    GPULET_SCHED_PRIORITIES = 16,
    GPULET_SCHED_GROUP_MAX = 64,
    GPULET_SCHED_AWAITING_MAX = 256
};

typedef struct gpulet_sched_options {
    uint32_t models_max;      /* model ids are 0 … models_max-1; default 10,000 */
    uint32_t lanes_max;       /* lane ids are 0 … lanes_max-1; default 1,024 */
    uint32_t requests_max;    /* waiting and running together; a quarter is kept for those with
                                 deadlines; default 16,384 */
    uint64_t commit_ahead_ns; /* a second batch is committed to a lane when the running one should
                                 end within this; default 500 us */
    uint64_t overhead_ns; /* from a decision to the start of a run and from its end to the answer,
                             added to predictions; default 200 us */
} gpulet_sched_options_t;

typedef struct gpulet_sched_model {
    uint64_t slo_ns;      /* 0: best effort: no deadline, served after all that have one */
    uint32_t priority;    /* 0 is highest … GPULET_SCHED_PRIORITIES-1 */
    uint32_t batch_max;   /* items in one run, ≥ 1 */
    uint32_t batch_fixed; /* N: every run costs L(N), whatever it holds; 0: any size */
    uint32_t queue_max;   /* requests that may wait; 0: only the pool bounds them */
    uint64_t timeout_ns;  /* the model's own queue timeout (default_queue_policy), 0: none */
    bool late_serve;      /* never dropped or refused for being late */
    double weight; /* what a miss costs: where co-residents cannot all be protected and take turns,
                      a model of weight 3 has three turns to one of weight 1; 0: 1 */
} gpulet_sched_model_t;

/* One model as a lane serves it. */
typedef struct gpulet_sched_service {
    uint32_t model;
    uint32_t batch;          /* planned batch, 1 … batch_max */
    double rate_rps;         /* planned share of the demand; weights of a balance between lanes */
    const uint64_t *exec_ns; /* exec_ns[b-1]: profiled time of b items, 0: not known; copied */
    uint32_t exec_count;
} gpulet_sched_service_t;

typedef struct gpulet_sched_lane {
    uint32_t units;
    uint32_t services_count;
    const gpulet_sched_service_t *services; /* copied */
} gpulet_sched_lane_t;

typedef struct gpulet_sched_request {
    uint64_t id; /* the caller's handle, given back in actions */
    uint32_t model;
    uint32_t items;      /* ≥ 1; indivisible */
    uint64_t arrival_ns; /* ≤ now */
    uint64_t timeout_ns; /* the client's own, 0: none; the deadline is arrival + the smallest of SLO
                            and timeouts */
    uint64_t deadline_ns; /* 0: as above; else this instant stands in the place of arrival + SLO,
                             UINT64_MAX: none does. For requests that are a part of something larger
                             (app.h) */
    bool late_serve;      /* as the model's, for this request */
    bool continues;       /* a part of what was let in before: taken also while shutting down */
    bool priority_given;
    uint32_t priority;   /* 0 is highest */
    uint64_t shape_key;  /* only requests of equal key share a batch */
    uint32_t size_class; /* log2 of the input elements an item where dimensions are dynamic, else 0;
                            estimates are kept by it */
} gpulet_sched_request_t;

/* X(name, text): why a request was refused or dropped; the text is what the client reads and the
 * label in metrics. */
#define GPULET_REJECT_MAP(X)                                                                       \
    X(QUEUE_FULL, "queue_full")                                                                    \
    X(PREDICTED_LATE, "predicted_late") /* at arrival: it could not be answered in time */         \
    X(DROPPED, "dropped")               /* while waiting: it can no longer make it */              \
    X(TIMEOUT, "timeout")         /* as DROPPED, where the client's own timeout is what binds */   \
    X(NOT_SERVED, "not_served")   /* no lane serves the model now */                               \
    X(WORKER_LOST, "worker_lost") /* its batch died and could not be run again in time */          \
    X(TOO_LARGE, "too_large")     /* more items than batch_max */                                  \
    X(SHUTDOWN, "shutdown")

typedef enum gpulet_reject {
#define GPULET_REJECT_ENUM(name, text) GPULET_REJECT_##name,
    GPULET_REJECT_MAP(GPULET_REJECT_ENUM)
#undef GPULET_REJECT_ENUM
        GPULET_REJECT_COUNT
} gpulet_reject_t;

const char *gpulet_reject_text(gpulet_reject_t reason);

typedef enum gpulet_action_kind {
    GPULET_ACTION_RUN,       /* send the batch to the lane */
    GPULET_ACTION_REPLY,     /* answer the request from its batch's result */
    GPULET_ACTION_REJECT,    /* answer it with 503, or 413 for TOO_LARGE */
    GPULET_ACTION_CANCELLED, /* nobody waits for it any more: free what it holds */
    GPULET_ACTION_TIMER,    /* call on_timer at at_ns; replaces the earlier one; UINT64_MAX: none is
                               needed */
    GPULET_ACTION_LANE_IDLE /* a draining lane holds nothing any more */
} gpulet_action_kind_t;

typedef struct gpulet_action {
    gpulet_action_kind_t kind;
    union {
        struct {
            uint64_t batch; /* never used twice, ≥ 1 */
            uint32_t lane;
            uint32_t model;
            uint32_t items;
            uint32_t requests_count;
            const uint64_t
                *requests;         /* ids in the order of the batch; valid until the next event */
            uint64_t predicted_ns; /* execution alone */
        } run;
        struct {
            uint64_t request;
            gpulet_status_t status; /* OK, or what the batch failed with */
            uint64_t batch;
            uint32_t index;    /* in the batch */
            uint32_t row;      /* first item of the request in the batch */
            bool in_time;      /* answered by its deadline (true when it has none) */
            uint64_t queue_ns; /* arrival to commitment */
        } reply;
        struct {
            uint64_t request;
            gpulet_reject_t reason;
            uint64_t retry_after_ns; /* when a new attempt could succeed, by the prediction; 0: not
                                        known */
        } reject;
        struct {
            uint64_t request;
        } cancelled;
        struct {
            uint64_t at_ns;
        } timer;
        struct {
            uint32_t lane;
        } lane_idle;
    } u;
} gpulet_action_t;

/* Filled by one event, read by the caller in order, then cleared by the next event's call. Owned by
 * the brain. */
typedef struct gpulet_actions {
    const gpulet_action_t *items;
    size_t count;
} gpulet_actions_t;

/* options NULL or zero fields: the defaults. */
gpulet_status_t gpulet_sched_create(gpulet_sched_t **out,
                                    const gpulet_sched_options_t *options) GPULET_MUST_USE;
void gpulet_sched_destroy(gpulet_sched_t *sched);

/* Makes the model known, or changes it (requests that wait keep their deadlines). What the change
 * allows is seen at the next event. */
gpulet_status_t gpulet_sched_model_set(gpulet_sched_t *sched, uint32_t model,
                                       const gpulet_sched_model_t *value) GPULET_MUST_USE;
/* Forgets the model; what waits is rejected as NOT_SERVED, what runs is answered. */
gpulet_actions_t gpulet_sched_model_remove(gpulet_sched_t *sched, uint64_t now_ns, uint32_t model);

/* The lane is ready: from now on it is dispatched to. E_EXISTS when it is there already,
 * E_NOT_FOUND when a model of it is not known, E_INVALID for a lane id out of range or a model
 * named twice. Estimates learned for an equal (model, units) before are kept. */
gpulet_status_t gpulet_sched_lane_add(gpulet_sched_t *sched, uint64_t now_ns, uint32_t lane,
                                      const gpulet_sched_lane_t *value,
                                      gpulet_actions_t *out) GPULET_MUST_USE;
/* The lane runs at another speed from now on: units (a name for the speed, as in lane_add;
 * estimates are kept by it) and exec_ns of value->services, which must be the lane's own in any
 * order; their batches and rates, and the rest of value, are as they were. Batches under way are
 * still learned from as what they were sent as. E_NOT_FOUND when there is no such lane or it
 * drains. */
gpulet_status_t gpulet_sched_lane_resize(gpulet_sched_t *sched, uint64_t now_ns, uint32_t lane,
                                         const gpulet_sched_lane_t *value,
                                         gpulet_actions_t *out) GPULET_MUST_USE;
/* The lane serves these models with these batches and rates from now on; value->units are its own.
 * A model that stays keeps its place in the order of turns; what is under way is answered. What
 * waits of a model that leaves and that no other lane serves is rejected as NOT_SERVED: give it to
 * another lane first (make before break). On failure nothing has changed. E_NOT_FOUND: there is no
 * such lane, it drains, or a model is not known; E_INVALID: a model named twice. */
gpulet_status_t gpulet_sched_lane_serve(gpulet_sched_t *sched, uint64_t now_ns, uint32_t lane,
                                        const gpulet_sched_lane_t *value,
                                        gpulet_actions_t *out) GPULET_MUST_USE;
/* Another planned share of the model on a lane that stays; the balance between its lanes begins
 * anew. Nothing when the lane does not serve the model. */
void gpulet_sched_lane_rate(gpulet_sched_t *sched, uint32_t lane, uint32_t model, double rate_rps);
/* No new batches; LANE_IDLE follows, at once or when its last batch is done; then the lane is
 * forgotten. Requests that no other lane serves are rejected as NOT_SERVED unless another lane is
 * added in the same turn: call add first (make before break), or is expected (model_expect). */
gpulet_actions_t gpulet_sched_lane_drain(gpulet_sched_t *sched, uint64_t now_ns, uint32_t lane);
/* The lane died. Its batches' requests go back to the queue, each once, if their deadline allows,
 * else REJECT WORKER_LOST. The models it served stay admissible while another lane serves them;
 * else requests wait until a lane is added or they are dropped. */
gpulet_actions_t gpulet_sched_lane_lost(gpulet_sched_t *sched, uint64_t now_ns, uint32_t lane);

/* A lane that serves the model is expected at back_ns (its worker is being replaced): while there
 * is none, from now on or when the last one has gone, requests whose deadline is later wait for it,
 * up to GPULET_SCHED_AWAITING_MAX of them. 0: none is expected, what waits and what arrives is
 * rejected as NOT_SERVED. Ended when a lane comes to serve the model. */
gpulet_actions_t gpulet_sched_model_expect(gpulet_sched_t *sched, uint64_t now_ns, uint32_t model,
                                           uint64_t back_ns);

/* *ticket_out is 0 when the request was refused at once (a REJECT is among the actions). */
gpulet_actions_t gpulet_sched_on_request(gpulet_sched_t *sched, uint64_t now_ns,
                                         const gpulet_sched_request_t *request,
                                         gpulet_ticket_t *ticket_out);
/* Several requests that are of no use one without another, as the stages of an application that
 * begin together, GPULET_SCHED_GROUP_MAX at most: all are admitted, each behind those before it, or
 * none is, and then each is REJECTed with the reason of the one that could not be, that one first.
 * tickets_out[i] belongs to requests[i]. */
gpulet_actions_t gpulet_sched_on_requests(gpulet_sched_t *sched, uint64_t now_ns,
                                          const gpulet_sched_request_t *requests, uint32_t count,
                                          gpulet_ticket_t *tickets_out);
/* When the request would be answered if it arrived now, as admission predicts it; whatever its
 * deadline. UINT64_MAX: no lane serves the model, nor is one expected. Changes nothing, and leaves
 * the actions of the last event valid. */
uint64_t gpulet_sched_predict_ns(gpulet_sched_t *sched, uint64_t now_ns,
                                 const gpulet_sched_request_t *request);
/* The batch ended on its lane after exec_ns (0: not measured). status other than OK: every request
 * of it is answered with it. Unknown or finished batches are ignored (a lane that was lost may
 * still speak). */
gpulet_actions_t gpulet_sched_on_batch_done(gpulet_sched_t *sched, uint64_t now_ns, uint64_t batch,
                                            uint64_t exec_ns, gpulet_status_t status);
gpulet_actions_t gpulet_sched_on_timer(gpulet_sched_t *sched, uint64_t now_ns);
/* The client is gone. Waiting: removed with CANCELLED. In a batch: it is answered as usual (REPLY).
 * Old tickets are ignored. */
gpulet_actions_t gpulet_sched_on_cancel(gpulet_sched_t *sched, uint64_t now_ns,
                                        gpulet_ticket_t ticket);
/* Rejects all that waits with SHUTDOWN when `now` is true, else refuses only what arrives from here
 * on. */
gpulet_actions_t gpulet_sched_shutdown(gpulet_sched_t *sched, uint64_t now_ns, bool now);

/* For metrics and admin. */
typedef struct gpulet_sched_model_stats {
    uint64_t offered; /* requests that arrived */
    uint64_t in_time; /* answered OK by their deadline */
    uint64_t late;    /* answered OK after it */
    uint64_t failed;  /* answered with an error of the engine */
    uint64_t cancelled;
    uint64_t rejected[GPULET_REJECT_COUNT];
    uint64_t batches;
    uint64_t items;   /* answered */
    uint32_t waiting; /* requests */
    uint32_t running; /* requests */
} gpulet_sched_model_stats_t;

void gpulet_sched_model_stats(const gpulet_sched_t *sched, uint32_t model,
                              gpulet_sched_model_stats_t *out);
/* What the brain believes that b items take on the lane: profile corrected by what was measured; 0
 * when it knows nothing. */
uint64_t gpulet_sched_estimate_ns(const gpulet_sched_t *sched, uint32_t lane, uint32_t model,
                                  uint32_t items);
/* The same for one size class; the one above takes the class that was measured last. */
uint64_t gpulet_sched_estimate_class_ns(const gpulet_sched_t *sched, uint32_t lane, uint32_t model,
                                        uint32_t items, uint32_t size_class);
/* The least that a request of the model takes once it is its turn, of all lanes that serve it: a
 * batch as planned there, or of its items if they are more, and what is added to predictions. 0
 * when nothing is known. */
uint64_t gpulet_sched_least_ns(const gpulet_sched_t *sched, uint32_t model, uint32_t items);
/* Nothing waits and nothing runs. */
bool gpulet_sched_idle(const gpulet_sched_t *sched);

#endif
