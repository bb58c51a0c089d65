/* What is to happen, and when: a binary heap by time, and among equal times by the order in which
 * events were added, so that a run is the same on every machine. One owner at a time. */
#ifndef GPULET_SIM_EVENTS_H
#define GPULET_SIM_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct sim_event {
    uint64_t at_ns;
    uint64_t order; /* set when it is added */
    uint64_t arg;   /* what tells whether the event still means something */
    uint32_t index; /* of whom it is about */
    uint32_t kind;
} sim_event_t;

typedef struct sim_events {
    sim_event_t *items; /* owned */
    size_t count;
    size_t capacity;
    uint64_t order_next;
} sim_events_t;

void sim_events_deinit(sim_events_t *events);
/* E_NOMEM: it was not added. */
gpulet_status_t sim_events_add(sim_events_t *events, sim_event_t event) GPULET_MUST_USE;
/* UINT64_MAX when there is none. */
uint64_t sim_events_next_ns(const sim_events_t *events);
/* Takes the first out; there must be one. */
sim_event_t sim_events_take(sim_events_t *events);

#endif
