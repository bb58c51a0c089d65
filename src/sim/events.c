#include "sim/events.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

static bool goes_before(const sim_event_t *a, const sim_event_t *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

void sim_events_deinit(sim_events_t *events)
{
    free(events->items);
    *events = (sim_events_t){0};
}

gpulet_status_t sim_events_add(sim_events_t *events, sim_event_t event)
{
    if (events->count == events->capacity) {
        size_t capacity = events->capacity == 0 ? 64 : events->capacity * 2;
        sim_event_t *grown = reallocarray(events->items, capacity, sizeof(*grown));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        events->items = grown;
        events->capacity = capacity;
    }
    event.order = events->order_next++;
    size_t hole = events->count++;
    while (hole > 0) {
        size_t parent = (hole - 1) / 2;
        if (!goes_before(&event, &events->items[parent]))
            break;
        events->items[hole] = events->items[parent];
        hole = parent;
    }
    events->items[hole] = event;
    return GPULET_OK;
}

uint64_t sim_events_next_ns(const sim_events_t *events)
{
    return events->count > 0 ? events->items[0].at_ns : UINT64_MAX;
}

sim_event_t sim_events_take(sim_events_t *events)
{
    assert(events->count > 0);
    sim_event_t first = events->items[0];
    sim_event_t last = events->items[--events->count];
    size_t hole = 0;
    for (;;) {
        size_t child = 2 * hole + 1;
        if (child >= events->count)
            break;
        if (child + 1 < events->count &&
            goes_before(&events->items[child + 1], &events->items[child]))
            child++;
        if (!goes_before(&events->items[child], &last))
            break;
        events->items[hole] = events->items[child];
        hole = child;
    }
    events->items[hole] = last;
    return first;
}
