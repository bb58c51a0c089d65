/* How long batches took in one gpu-let, by model and size: a small sorted list, since few sizes
 * occur. On the loop's thread. */
#ifndef GPULET_SERVER_EXECUTIONS_H
#define GPULET_SERVER_EXECUTIONS_H

#include <stdint.h>

typedef struct server_execution {
    uint32_t model;
    uint32_t batch; /* items */
    uint64_t count; /* batches */
    uint64_t ns;    /* of all of them */
} server_execution_t;

/* All zeros: none. */
typedef struct server_executions {
    server_execution_t *items; /* owned; by model, then by batch */
    uint32_t count;
    uint32_t capacity;
} server_executions_t;

/* Without memory for one of a new size it is not counted. */
void server_executions_add(server_executions_t *executions, uint32_t model, uint32_t batch,
                           uint64_t ns);
/* The model is not run here any more; its id may come to mean another. */
void server_executions_forget(server_executions_t *executions, uint32_t model);
void server_executions_deinit(server_executions_t *executions);

#endif
