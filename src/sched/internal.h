/* The inside of the brain, shared by the files of this folder. Everything here belongs to one
 * gpulet_sched_t. */
#ifndef GPULET_SCHED_INTERNAL_H
#define GPULET_SCHED_INTERNAL_H

#include "sched/batcher.h"
#include "sched/estimate.h"
#include "sched/heap.h"
#include "sched/sched.h"
#include "sched/tree.h"

#define SCHED_NEVER UINT64_MAX

enum { SCHED_WINDOW = 2 * GPULET_SCHED_BATCH_REQUESTS_MAX, SCHED_TICKET_BITS = 24 };

typedef enum sched_request_state {
    SCHED_REQUEST_FREE,
    SCHED_REQUEST_WAITING,
    SCHED_REQUEST_RUNNING
} sched_request_state_t;

typedef struct sched_request {
    uint64_t id;
    uint64_t generation;
    uint64_t arrival_ns;
    uint64_t deadline_ns; /* SCHED_NEVER: none */
    uint64_t shape_key;
    uint32_t model;
    uint32_t items;
    uint32_t size_class;
    uint32_t priority;
    uint32_t group; /* while it waits */
    uint32_t next;  /* in its batch, or in the free list */
    sched_request_state_t state;
    bool own_timeout; /* the client's own timeout is what binds */
    bool retried;     /* a lane was lost under it */
    bool gone;        /* cancelled while it ran */
    bool probe;       /* admitted against the prediction, to measure it */
    bool alone;       /* counted as one that shares no batch */
    bool late_serve;  /* never dropped for being late */
} sched_request_t;

/* The waiting requests of one model and one shape_key. */
typedef struct sched_group {
    uint64_t shape_key;
    uint32_t model;
    uint32_t hash_next; /* in its bucket, or in the free list */
    sched_tree_t requests;
} sched_group_t;

typedef struct sched_lane_ref {
    uint32_t lane;
    uint32_t service; /* its index there */
} sched_lane_ref_t;

typedef struct sched_model {
    bool known;
    gpulet_sched_model_t value;
    sched_tree_t groups;     /* by the key of their first request */
    sched_lane_ref_t *lanes; /* that take batches of it */
    uint32_t lanes_count;
    uint32_t lanes_capacity;
    sched_estimate_t *estimates;
    uint32_t planned_most;                           /* the largest planned batch on its lanes */
    uint32_t waiting_items[GPULET_SCHED_PRIORITIES]; /* of requests with a deadline */
    uint32_t waiting_total;                          /* items */
    uint32_t alone_count;                            /* waiting requests that share no batch */
    uint32_t alone_items;
    uint64_t deadline_last_ns; /* the latest among the waiting, or a bit later */
    double rate;               /* items a second offered, by a moving average */
    double rate_admitted;      /* of those the admitted */
    uint64_t rate_at_ns;
    double refused;       /* share of the latest arrivals that were refused as late, 0 … 1 */
    double caution;       /* added to predicted waits in overload, as a part of them (admit.c) */
    double caution_limit; /* how far it may rise until broken_ns */
    uint64_t broken_ns;
    uint64_t probe_ns; /* of the next probe allowed */
    uint64_t back_ns;  /* when a lane is expected while there is none; 0: none is */
    gpulet_sched_model_stats_t stats;
} sched_model_t;

typedef struct sched_service {
    uint32_t model;
    uint32_t planned;
    uint32_t batch; /* planned, within batch_max as it is now */
    double rate_rps;
    sched_estimate_t *estimate;
    uint64_t last_run;     /* the count of the lane's runs when it last ran, 0: never */
    uint32_t streak;       /* its runs since the lane last ran another */
    uint64_t served;       /* items sent */
    uint32_t sustained;    /* items of a batch under load, by the batch rule */
    uint64_t sustained_ns; /* its time */
    double pace; /* items of a batch of late: below `sustained` when deadlines of heads keep batches
                    small */
} sched_service_t;

typedef enum sched_lane_state {
    SCHED_LANE_NONE,
    SCHED_LANE_ACTIVE,
    SCHED_LANE_DRAINING
} sched_lane_state_t;

typedef struct sched_lane {
    sched_lane_state_t state;
    bool dirty; /* in the list of lanes to look at before the event ends */
    uint32_t units;
    uint32_t services_count;
    sched_service_t *services;
    uint32_t running; /* batch slots */
    uint32_t waiting;
    uint64_t end_ns; /* predicted end of the running batch */
    uint64_t runs;
} sched_lane_t;

typedef struct sched_batch {
    uint64_t id; /* 0: the slot is free */
    uint32_t lane;
    uint32_t model;
    sched_estimate_t *estimate; /* NULL once the model was removed */
    uint32_t items;
    uint32_t cost_items; /* what is learned from it: the padded size */
    uint32_t size_class;
    uint32_t first; /* request */
    uint32_t count;
    uint64_t commit_ns;
    uint64_t predicted_ns;
} sched_batch_t;

struct gpulet_sched {
    gpulet_sched_options_t options;
    uint64_t now_ns;
    bool closing; /* nothing new is let in */
    bool closed;  /* nothing at all */
    sched_model_t *models;
    sched_lane_t *lanes;
    sched_batch_t *batches; /* 2 a lane: slots 2·lane and 2·lane + 1 */
    sched_request_t *requests;
    sched_node_t *request_nodes;
    uint32_t request_free;
    uint32_t requests_used;
    sched_group_t *groups;
    sched_node_t *group_nodes;
    uint32_t group_free;
    uint32_t *buckets;
    uint32_t buckets_mask;
    uint64_t order_next;
    uint64_t batches_next;
    sched_heap_t expiries; /* by request: the first instant at which it can no longer be in time */
    sched_heap_t wakes;    /* by lane: when its next batch may be committed */
    uint32_t *dirty;
    uint32_t dirty_count;
    gpulet_action_t *actions;
    uint32_t actions_count;
    uint32_t actions_capacity;
    uint64_t *ids; /* of the batches sent in this event */
    uint32_t ids_count;
    uint64_t timer_ns; /* as the caller knows it */
    sched_candidate_t *candidates;
    uint32_t *candidate_requests;
    struct sched_forecast *forecasts; /* scratch of admission, one a lane */
};

/* sched.c: the frame of every event. The end drops what is lost, fills the lanes that changed and
 * arms the timer. */
void sched_begin(gpulet_sched_t *s, uint64_t now_ns);
gpulet_actions_t sched_finish(gpulet_sched_t *s);

/* answer.c: actions out, requests gone. */
gpulet_action_t *sched_emit(gpulet_sched_t *s, gpulet_action_kind_t kind);
/* The request is neither in a queue nor in a batch; its slot is free afterwards. */
void sched_reject(gpulet_sched_t *s, uint32_t request, gpulet_reject_t reason);
void sched_refuse(gpulet_sched_t *s, const gpulet_sched_request_t *request, gpulet_reject_t reason,
                  uint64_t retry_after_ns);
void sched_cancelled(gpulet_sched_t *s, uint32_t request);
void sched_reply(gpulet_sched_t *s, const sched_batch_t *batch, uint64_t id,
                 gpulet_status_t status);

/* queue.c: the pool and the queues. */
gpulet_status_t sched_queue_init(gpulet_sched_t *s) GPULET_MUST_USE;
void sched_queue_deinit(gpulet_sched_t *s);
/* SCHED_NONE when the pool is full. */
uint32_t sched_request_take(gpulet_sched_t *s);
void sched_request_free(gpulet_sched_t *s, uint32_t request);
void sched_queue_add(gpulet_sched_t *s, uint32_t request);
void sched_queue_remove(gpulet_sched_t *s, uint32_t request);
/* The most urgent group of the model; SCHED_NONE when nothing waits. */
uint32_t sched_queue_head_group(const gpulet_sched_t *s, uint32_t model);
uint64_t sched_request_major(const sched_request_t *request);
/* Items of the model that go before a request of this priority and deadline. */
uint32_t sched_queue_ahead(const gpulet_sched_t *s, uint32_t model, uint32_t priority,
                           uint64_t deadline_ns);
/* Rejects all that wait of the model. */
void sched_queue_reject_all(gpulet_sched_t *s, uint32_t model, gpulet_reject_t reason);
/* Drops what can no longer be in time. */
void sched_queue_expire(gpulet_sched_t *s);
/* Drops the request for being late: DROPPED or TIMEOUT. */
void sched_queue_drop(gpulet_sched_t *s, uint32_t request);
/* Whether lateness is a reason to drop it. */
bool sched_request_droppable(const gpulet_sched_t *s, const sched_request_t *request);
/* The last instant at which it could start and be in time on some lane. */
uint64_t sched_request_latest_ns(const gpulet_sched_t *s, const sched_request_t *request);

/* model.c */
/* Room for one lane more, so that the next link cannot fail. */
gpulet_status_t sched_model_reserve(gpulet_sched_t *s, uint32_t model) GPULET_MUST_USE;
void sched_model_link(gpulet_sched_t *s, uint32_t model, uint32_t lane, uint32_t service);
/* The lanes of the model changed: what each has served so far says nothing of their balance now. */
void sched_model_rebalance(gpulet_sched_t *s, uint32_t model);
/* What a miss of it costs, > 0. */
double sched_model_weight(const sched_model_t *m);
void sched_model_unlink(gpulet_sched_t *s, uint32_t model, uint32_t lane);
sched_estimate_t *sched_model_estimate(gpulet_sched_t *s, uint32_t model, uint32_t units);
void sched_model_forget(gpulet_sched_t *s, uint32_t model);
void sched_model_offer(gpulet_sched_t *s, uint32_t model, uint32_t items);
/* Below 0: they were, and are not any more. */
void sched_model_admitted(gpulet_sched_t *s, uint32_t model, int64_t items);
/* A new estimate may let an idle lane serve what waits and it could not serve before. */
void sched_model_mark_idle(gpulet_sched_t *s, uint32_t model);
/* The objective of a request that brings none of its own; SCHED_NEVER: none. Co-residents leave it
 * time to keep that, whether or not it serves late answers too. */
uint64_t sched_model_objective_ns(const sched_model_t *m);
/* How late it may be before it is dropped: the objective; SCHED_NEVER also where late answers are
 * served. */
uint64_t sched_model_limit_ns(const sched_model_t *m);

/* lane.c */
sched_curve_t sched_service_curve(const gpulet_sched_t *s, const sched_service_t *service,
                                  uint32_t size_class);
/* When a batch committed now would start. */
uint64_t sched_lane_ready_ns(const gpulet_sched_t *s, const sched_lane_t *lane);
bool sched_lane_accepts(const gpulet_sched_t *s, const sched_lane_t *lane);
/* The time that a batch of `service` may take, started at start_ns, so that every co-resident could
 * still make it. */
uint64_t sched_lane_allowance_ns(const gpulet_sched_t *s, const sched_lane_t *lane,
                                 uint32_t service, uint64_t start_ns);
/* Recomputes the batch sizes under load. */
void sched_lane_refresh(gpulet_sched_t *s, sched_lane_t *lane);
/* Arms or disarms the moment of its next commitment. */
void sched_lane_watch(gpulet_sched_t *s, uint32_t index);
void sched_lane_mark(gpulet_sched_t *s, uint32_t index);
void sched_lane_free(gpulet_sched_t *s, uint32_t index);
void sched_lane_check_idle(gpulet_sched_t *s, uint32_t index);

/* dispatch.c: gives the lane all the batches it may take now. */
void sched_dispatch(gpulet_sched_t *s, uint32_t index);
/* The lane that would answer the request first among those that take a batch now; SCHED_NONE. */
uint32_t sched_dispatch_best_lane(const gpulet_sched_t *s, const sched_request_t *request);

/* admit.c */
typedef struct sched_verdict {
    bool admitted;
    bool probe;
    gpulet_reject_t reason;
    uint64_t retry_after_ns;
} sched_verdict_t;

gpulet_status_t sched_admit_init(gpulet_sched_t *s) GPULET_MUST_USE;
void sched_admit_deinit(gpulet_sched_t *s);
void sched_admit_reset(sched_model_t *model);
sched_verdict_t sched_admit(gpulet_sched_t *s, const sched_request_t *request);
/* The predicted end; SCHED_NEVER: no lane, and none expected. */
uint64_t sched_admit_finish_ns(gpulet_sched_t *s, const sched_request_t *request);
/* Admission is a promise: each request with a deadline that was admitted ends kept (answered in
 * time) or broken (dropped while it waited, or late). */
void sched_promise_ended(gpulet_sched_t *s, const sched_request_t *request, bool kept);

#endif
