/* Follows the load: from arrivals to the rates to plan for, and to when a new plan is wanted
 * (docs/serving.md "Following the load"). It knows no plan: the caller makes one when asked, and
 * tells what it covers.
 *
 * Rates are counted in samples of half a second and seen in two ways: an exponential average (the
 * constants of arXiv 2109.01611's prototype: 40 samples, α = 2/41), for people, and the longest
 * stretch of up to 120 samples whose parts do not contradict one another, which is steady while the
 * rate is and forgets at once when it jumps. What is planned for is the upper end of the second; or
 * where the rate rises on a straight line, of what it comes to if it goes on like that until a plan
 * made now could be replaced by the next; and more where arrivals come in bursts.
 *
 * Pure: no clock, I/O, threads, globals; the server and the simulator run the same code. One owner;
 * memory is allocated at creation only. `now_ns` never goes back. */
#ifndef GPULET_SCHED_FOLLOW_H
#define GPULET_SCHED_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_follow gpulet_follow_t;

enum { GPULET_FOLLOW_WINDOW_MIN = 8, GPULET_FOLLOW_WINDOW_MAX = 256 };

/* 0: the default. */
typedef struct gpulet_follow_options {
    uint64_t sample_ns; /* 500 ms */
    uint32_t window;    /* N of the average's α = 2/(N+1); three times as many samples are
                           remembered; 40 */
    uint64_t period_ns; /* so often it is asked whether another plan would be better; 20 s */
    uint64_t hold_ns;   /* between a plan that was asked for and the next one at least, also in
                           need; 2 s */
    double confidence;  /* of the rates that are planned for and of what counts as a change, as a
                           one-sided probability; 0.999 */
    double better;      /* a plan that is not needed is adopted when it covers so many times more;
                           1.25 */
    double enough;      /* … and only while what runs covers less than so many times the rates;
                           1.5 */
    double floor_rps;   /* every model is planned for at least so much; 0.1 */
} gpulet_follow_options_t;

/* X(name, text): why a plan is wanted; the text stands in logs and metrics. */
#define GPULET_FOLLOW_MAP(X)                                                                       \
    X(NONE, "none")                                                                                \
    X(START, "start")                                                                              \
    X(PERIOD, "period")   /* time to look, and rates have changed since the last look */           \
    X(BURST, "burst")     /* more is asked of a model than the plan covers */                      \
    X(MODELS, "models")   /* models come, change or go */                                          \
    X(LOST, "lost")       /* a device or gpu-let is gone, or back */                               \
    X(ASKED, "asked")     /* by a person */                                                        \
    X(PROFILE, "profile") /* latencies are known that were not */

typedef enum gpulet_follow_reason {
#define GPULET_FOLLOW_ENUM(name, text) GPULET_FOLLOW_##name,
    GPULET_FOLLOW_MAP(GPULET_FOLLOW_ENUM)
#undef GPULET_FOLLOW_ENUM
        GPULET_FOLLOW_COUNT
} gpulet_follow_reason_t;

const char *gpulet_follow_reason_text(gpulet_follow_reason_t reason);

gpulet_status_t gpulet_follow_create(gpulet_follow_t **out, const gpulet_follow_options_t *options,
                                     uint32_t models_max) GPULET_MUST_USE;
void gpulet_follow_destroy(gpulet_follow_t *follow); /* NULL is fine */

/* The model is followed from now on; rate_rps: what is expected of it before anything was seen. A
 * model that is followed already is left as it is. */
void gpulet_follow_model_add(gpulet_follow_t *follow, uint32_t model, double rate_rps);
/* Somebody who was not there before is expected to ask so much of the model; nothing where it is
 * not followed. */
void gpulet_follow_model_raise(gpulet_follow_t *follow, uint32_t model, double rate_rps);
void gpulet_follow_model_remove(gpulet_follow_t *follow, uint32_t model);
/* rate_rps ≥ 0: this is what is planned for, whatever is seen; NAN: what is seen again. */
void gpulet_follow_pin(gpulet_follow_t *follow, uint32_t model, double rate_rps);

/* Items were asked of the model, served or refused. Cheap; a model that is not followed is
 * ignored. */
void gpulet_follow_arrived(gpulet_follow_t *follow, uint32_t model, uint32_t items);

/* Ends the samples that are over, and says whether a plan is wanted now; at most one is until
 * gpulet_follow_answered. To be called about once a sample. */
gpulet_follow_reason_t gpulet_follow_tick(gpulet_follow_t *follow, uint64_t now_ns);
/* A plan is wanted at the next tick, whatever the rates. The most urgent reason counts. */
void gpulet_follow_ask(gpulet_follow_t *follow, gpulet_follow_reason_t reason);
/* When the next tick may want something: the end of the sample that is under way. */
uint64_t gpulet_follow_next_ns(const gpulet_follow_t *follow);

typedef struct gpulet_follow_rate {
    double average_rps; /* the exponential average */
    double now_rps;     /* of the steady window */
    double planned_rps; /* what is to be planned for now */
    double covered_rps; /* by the plan that runs; 0: nothing */
    double pinned_rps;  /* NAN: it is not */
} gpulet_follow_rate_t;

/* Zeroes for a model that is not followed. */
void gpulet_follow_rate(const gpulet_follow_t *follow, uint32_t model, gpulet_follow_rate_t *out);

/* A plan, as far as following is concerned. */
typedef struct gpulet_follow_plan {
    const double *covers_rps; /* what it can serve of model i, by model number; borrowed */
    uint32_t count;           /* others: nothing */
    double cost;              /* of the devices used */
    double gap_rps;           /* requests a second that nobody serves until it is reached */
} gpulet_follow_plan_t;

/* Answers a tick that wanted a plan; without one (NULL), or when this says false, what runs goes
 * on. Whether to go over to it: it covers more of what is to be planned for; or as much on fewer
 * devices, found twice in a row; or, while what runs has little to spare, clearly more beyond it.
 * And a gap on the way must cost less than what is gained until the next look; for what is not
 * needed there must be none. Always true when the plan was wanted for another reason than the
 * rates. */
bool gpulet_follow_answered(gpulet_follow_t *follow, uint64_t now_ns,
                            const gpulet_follow_plan_t *plan);
/* The plan is what runs from now on. took_ns: from the tick that wanted it; 0: it was always there.
 * plan NULL: it could not be reached, what ran before goes on; then nothing is wanted for the
 * rates' sake for a while that doubles each time, up to a period. */
void gpulet_follow_reached(gpulet_follow_t *follow, uint64_t now_ns, uint64_t took_ns,
                           const gpulet_follow_plan_t *plan);

/* The share of what is expected that the running plan does not cover, and how many times
 * the rates it covers (of the model that it covers least; HUGE_VAL when nothing is asked). */
double gpulet_follow_shortfall(const gpulet_follow_t *follow);
double gpulet_follow_headroom(const gpulet_follow_t *follow);

#endif
