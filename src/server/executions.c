#include "server/executions.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_LEAST = 8 };

/* The first that is not before (model, batch). */
static uint32_t place_of(const server_executions_t *executions, uint32_t model, uint32_t batch)
{
    uint32_t low = 0;
    uint32_t high = executions->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const server_execution_t *e = &executions->items[middle];
        if (e->model < model || (e->model == model && e->batch < batch))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool make_room(server_executions_t *executions)
{
    if (executions->count < executions->capacity)
        return true;
    uint32_t capacity = executions->capacity > 0 ? executions->capacity * 2 : CAPACITY_LEAST;
    server_execution_t *grown = realloc(executions->items, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    executions->items = grown;
    executions->capacity = capacity;
    return true;
}

void server_executions_add(server_executions_t *executions, uint32_t model, uint32_t batch,
                           uint64_t ns)
{
    const uint32_t at = place_of(executions, model, batch);
    if (at == executions->count || executions->items[at].model != model ||
        executions->items[at].batch != batch) {
        if (!make_room(executions))
            return;
        memmove(&executions->items[at + 1], &executions->items[at],
                (executions->count - at) * sizeof(executions->items[0]));
        executions->items[at] = (server_execution_t){.model = model, .batch = batch};
        executions->count++;
    }
    executions->items[at].count++;
    executions->items[at].ns += ns;
}

void server_executions_forget(server_executions_t *executions, uint32_t model)
{
    const uint32_t first = place_of(executions, model, 0);
    const uint32_t end = place_of(executions, model + 1, 0);
    if (first == end)
        return;
    memmove(&executions->items[first], &executions->items[end],
            (executions->count - end) * sizeof(executions->items[0]));
    executions->count -= end - first;
}

void server_executions_deinit(server_executions_t *executions)
{
    free(executions->items);
    *executions = (server_executions_t){0};
}
