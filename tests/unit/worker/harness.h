/* A server's end of one worker with a memory: records what the callbacks said and waits for it. One
 * worker at a time. */
#ifndef TESTS_UNIT_WORKER_HARNESS_H
#define TESTS_UNIT_WORKER_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/slab.h"
#include "server/worker.h"

enum { HARNESS_DONES = 64, HARNESS_WAIT_MS = 20000 };

typedef struct harness_done {
    uint64_t batch;
    gpulet_status_t status;
    char error[GPULET_WIRE_ERROR_MAX + 1];
    uint64_t exec_ns;
    uint32_t tensors_count;
    gpulet_tensor_view_t tensors[4];
    void *output;
} harness_done_t;

typedef struct harness {
    gpulet_worker_t *worker;
    gpulet_slab_t *inputs;
    int ready, loaded, load_failed, measured, done, lost, stopped;
    bool release_at_once; /* keep no outputs: for many batches */
    bool destroy_in_lost;
    gpulet_model_io_t
        io; /* of the model loaded last; names and shapes only of the first input and output */
    gpulet_tensor_spec_t first_input, first_output;
    uint64_t load_memory;
    uint32_t timed_runs; /* asked for with each load */
    uint64_t load_run_ns;
    gpulet_worker_measured_t measurement;
    char text[1024]; /* of a failure, or why it was lost */
    gpulet_status_t status;
    harness_done_t dones[HARNESS_DONES]; /* by order, the first ones */
    char folder[64];
} harness_t;

/* cmocka fixtures: state is a harness_t. They check that no descriptor and no child is left. */
int harness_setup(void **state);
int harness_teardown(void **state);

/* NULL program: gpulet-worker. adjust may be NULL. */
void harness_start(harness_t *h, const char *program, const char *name,
                   void (*adjust)(gpulet_worker_options_t *options));
/* Runs the loop until *counter reaches value; fails the test after HARNESS_WAIT_MS. */
void harness_wait(harness_t *h, const int *counter, int value);
/* Writes a model file for the fake engine and loads it; waits for the answer. */
void harness_load(harness_t *h, uint32_t model, const char *text, bool batched,
                  uint32_t batch_fixed);
/* A file in the test's folder; returns its path (in a static buffer). */
const char *harness_file(harness_t *h, const char *name, const char *text);
void harness_stop(harness_t *h);

/* One request with these tensors, in the model's input segment. */
gpulet_wire_span_t harness_request(harness_t *h, uint32_t items,
                                   const gpulet_tensor_view_t *tensors, uint32_t count);
/* The same in memory of the caller's (size bytes at base). */
uint64_t harness_request_at(uint8_t *base, const gpulet_tensor_view_t *tensors, uint32_t count);
uint64_t harness_request_size(const gpulet_tensor_view_t *tensors, uint32_t count);

int harness_descriptors(void);
int harness_children(void);

#endif
