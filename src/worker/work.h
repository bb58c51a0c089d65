/* Inside of a worker process: the state that its files share. Everything belongs to the one thread
 * of the main loop, but for one load at a time beside its runs (loader.c), which touches only what
 * does not change. */
#ifndef GPULET_WORKER_WORK_H
#define GPULET_WORKER_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"
#include "device/backend.h"
#include "engine/engine.h"
#include "ipc/control.h"
#include "ipc/ring.h"
#include "ipc/slab.h"
#include "ipc/wire.h"

/* Bytes that grow and are given back whole: gathered inputs, made-up inputs. */
typedef struct gpulet_work_buffer {
    uint8_t *data; /* aligned to a page */
    size_t size;
} gpulet_work_buffer_t;

/* A GPU's engine chooses its kernels anew whenever the shape changes, which takes far longer than
 * the run (docs/gpu-results.md): there each of a few batch sizes has a session of its own, and
 * batches are padded to the next of them. */
enum { GPULET_WORK_COPIES_MAX = 8 };

typedef struct gpulet_work_copy {
    gpulet_engine_model_t *engine_model;
    uint32_t batch;
} gpulet_work_copy_t;

typedef struct gpulet_work_model {
    struct gpulet_work_model *next;
    gpulet_engine_model_t *engine_model;
    gpulet_engine_model_t *wide;                       /* a copy for lent cores; NULL: none */
    gpulet_work_copy_t copies[GPULET_WORK_COPIES_MAX]; /* ascending by batch */
    uint32_t copies_count;
    uint32_t batch_padded; /* what engine_model is kept for where there are copies; 0: any batch */
    const gpulet_model_io_t *io;   /* borrowed from engine_model */
    const gpulet_model_io_t *told; /* the same where the server had to tell it; NULL */
    gpulet_model_io_t warmup;      /* inputs that are made up in certain shapes; no outputs */
    void *input_base;              /* the model's input segment, read-only */
    uint64_t input_size;
    uint64_t memory_bytes; /* growth of the memory in use it is held responsible for */
    char *name;
    char *path; /* of the file that engine_model was loaded from */
    uint64_t load_limit_ns;
    uint64_t timed_ns; /* of one item, when it was loaded; 0: not asked for */
    uint32_t model;
    uint32_t batch_fixed;
    int recipe; /* which made-up inputs it ran with; -1: none yet */
    bool batched;
    bool outputs_whole; /* outputs have no batch dimension: one item a run */
} gpulet_work_model_t;

/* A large segment of the server, mapped for reading. */
typedef struct gpulet_work_input {
    uint32_t segment;
    void *base;
    uint64_t size;
} gpulet_work_input_t;

/* A large segment of ours: a power of two of bytes, kept for the next output of that size. */
typedef struct gpulet_work_output {
    uint32_t segment;
    int fd;
    uint8_t *base;
    uint64_t size;
    bool busy;
} gpulet_work_output_t;

enum {
    GPULET_WORK_RECORD_MAX =
        sizeof(gpulet_record_run_t) + GPULET_WIRE_REQUESTS_MAX * sizeof(gpulet_wire_span_t)
};

typedef struct gpulet_work_queued_run {
    uint64_t index; /* where its record ended in the ring */
    size_t size;
    void *record; /* GPULET_WORK_RECORD_MAX bytes */
} gpulet_work_queued_run_t;

/* A control message that waits until the records before it are done. */
typedef struct gpulet_work_queued_control {
    struct gpulet_work_queued_control *next;
    uint64_t after; /* ring index */
    int fd;
    size_t size;
    uint8_t bytes[];
} gpulet_work_queued_control_t;

typedef struct gpulet_work_loading gpulet_work_loading_t;

typedef struct gpulet_work {
    int control_fd;
    int epoll_fd;
    int event_fd;  /* ours: the server writes it */
    int server_fd; /* the server's: we write it */
    void *shared;  /* both rings */
    size_t shared_size;
    gpulet_ring_t in;
    gpulet_ring_t out;
    uint32_t messages_seen;
    bool spin;
    bool ended;  /* stop the loop */
    bool closed; /* the server is gone */
    uint32_t units;
    gpulet_device_entry_t entry;
    uint64_t memory_at_ready;

    const gpulet_device_backend_t *backend;
    const gpulet_engine_ops_t *ops;
    gpulet_engine_t *engine;
    gpulet_work_model_t *models;

    gpulet_slab_t *slab;
    gpulet_work_output_t *outputs; /* large ones */
    uint32_t outputs_count;
    uint32_t outputs_cap;
    uint32_t segment_last;
    uint64_t large_busy_bytes;

    gpulet_work_input_t *inputs; /* large ones */
    uint32_t inputs_count;
    uint32_t inputs_cap;

    gpulet_work_buffer_t gather;
    gpulet_tensor_view_t *views; /* of the requests of a batch */
    size_t views_cap;

    gpulet_work_queued_run_t runs[GPULET_WIRE_AHEAD_MAX];
    void *records; /* memory of all of runs */
    uint32_t runs_first;
    uint32_t runs_count;
    gpulet_work_queued_control_t *controls;
    gpulet_work_queued_control_t **controls_end;
    bool serves;                    /* batches are to be expected: loads happen beside them */
    gpulet_work_loading_t *loading; /* such a load; control messages wait until it is done */
    int loaded_fd;                  /* readable when it is; -1: none was made yet */
    uint8_t packet[GPULET_CONTROL_MESSAGE_MAX];
} gpulet_work_t;

/* ---- start.c: becoming a worker ---- */
gpulet_status_t gpulet_work_start(gpulet_work_t *work, const char *name,
                                  gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_work_finish(gpulet_work_t *work);
/* All threads back to normal priority, but those that yield (engine.h). */
void gpulet_work_foreground(void);
/* Lower priority, in a way that can be undone. */
void gpulet_work_background(int nice);
/* Resident bytes that are this process's own (shared memory left out). */
uint64_t gpulet_work_rss(void);
/* Bytes in use where models lie: resident ones of this process, or all of a device that has memory
 * of its own (what neighbours load meanwhile is then counted in). */
uint64_t gpulet_work_memory(const gpulet_work_t *work);

/* ---- loop.c ---- */
void gpulet_work_loop(gpulet_work_t *work);
/* Sends a control message, waiting while the socket is full. A server that is gone ends the loop.
 */
void gpulet_work_send(gpulet_work_t *work, const gpulet_control_t *message, int fd);
/* Takes in what has come: releases are done, runs and control messages queued. */
void gpulet_work_pump(gpulet_work_t *work);
/* Sleeps until anything comes, at most limit_ms. */
void gpulet_work_wait(gpulet_work_t *work, int limit_ms);

/* ---- outputs.c: memory for answers ---- */
/* Memory for size bytes of output; waits for the server to release some when all is taken. E_CLOSED
 * when the server goes meanwhile. */
gpulet_status_t gpulet_work_output_alloc(gpulet_wire_span_t *span_out, uint8_t **base_out,
                                         gpulet_work_t *work, uint64_t size,
                                         gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_work_output_free(gpulet_work_t *work, uint32_t segment, uint64_t offset);
/* Gives back what is not needed right now. */
void gpulet_work_outputs_trim(gpulet_work_t *work);
void gpulet_work_outputs_deinit(gpulet_work_t *work);

/* ---- inputs.c: the server's memory, gathering ---- */
gpulet_status_t gpulet_work_input_map(gpulet_work_t *work, uint32_t segment, int fd, uint64_t size,
                                      gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_work_input_unmap(gpulet_work_t *work, uint32_t segment);
const gpulet_work_input_t *gpulet_work_input_find(const gpulet_work_t *work, uint32_t segment);
void gpulet_work_inputs_deinit(gpulet_work_t *work);
gpulet_status_t gpulet_work_buffer_reserve(gpulet_work_buffer_t *buffer,
                                           size_t size) GPULET_MUST_USE;
void gpulet_work_buffer_deinit(gpulet_work_buffer_t *buffer);
/* The inputs of a batch as the engine wants them: in place for one request, else gathered and
 * padded to *items_out items. Everything is checked against the model first. */
gpulet_status_t gpulet_work_inputs_prepare(gpulet_tensor_view_t *inputs, uint32_t *items_out,
                                           gpulet_work_t *work, const gpulet_work_model_t *model,
                                           const gpulet_record_run_t *run,
                                           gpulet_error_t *err) GPULET_MUST_USE;

/* ---- batch.c: running ---- */
typedef struct gpulet_work_result {
    gpulet_wire_span_t output;
    uint64_t exec_ns;
    uint64_t output_ns;
} gpulet_work_result_t;

/* Runs items_run items of which the first items are wanted. On success result->output is the
 * caller's to free. */
gpulet_status_t gpulet_work_execute(gpulet_work_result_t *result, gpulet_work_t *work,
                                    const gpulet_work_model_t *model, bool wide,
                                    const gpulet_tensor_view_t *inputs,
                                    const uint32_t items_and_run[2],
                                    gpulet_error_t *err) GPULET_MUST_USE;
/* Which of its sessions runs so many items. */
gpulet_engine_model_t *gpulet_work_copy_for(const gpulet_work_model_t *model, bool wide,
                                            uint32_t items_run);
/* Runs a batch and sends its DONE. */
void gpulet_work_run(gpulet_work_t *work, const gpulet_record_run_t *run, size_t size);

/* ---- models.c ---- */
gpulet_work_model_t *gpulet_work_model_find(const gpulet_work_t *work, uint32_t model);
/* How many items a batch of so many is run as, with padding. */
uint32_t gpulet_work_items_run(const gpulet_work_model_t *model, uint32_t items);
/* As a measurement wants it: a batch of just that size. */
uint32_t gpulet_work_items_measured(const gpulet_work_model_t *model, uint32_t batch);
/* Loads and warms up; the caller closes fd. Touches only what does not change of work, so that it
 * may happen beside runs. */
gpulet_status_t gpulet_work_model_create(gpulet_work_model_t **out, uint64_t *load_ns,
                                         const gpulet_work_t *work, const gpulet_control_t *message,
                                         int fd, gpulet_error_t *err) GPULET_MUST_USE;
/* Takes the model in and answers LOADED. */
void gpulet_work_loaded(gpulet_work_t *work, gpulet_work_model_t *model, uint64_t load_ns);
void gpulet_work_load_failed(gpulet_work_t *work, uint32_t model, gpulet_status_t st,
                             const gpulet_error_t *err);
/* All of it at once. Takes fd. */
void gpulet_work_load(gpulet_work_t *work, const gpulet_control_t *message, int fd);
void gpulet_work_unload(gpulet_work_t *work, uint32_t model);
/* Loads a second copy of a model, for lent cores. Answers WIDENED. */
void gpulet_work_widen(gpulet_work_t *work, const gpulet_control_t *message);
/* Answers MEASURED. */
void gpulet_work_measure(gpulet_work_t *work, const gpulet_control_t *message);
void gpulet_work_models_deinit(gpulet_work_t *work);

/* ---- loader.c: a load while other models are served ---- */
/* Takes control over, a load, which a thread of low priority does. False: no thread could be had,
 * and control is still the caller's. */
bool gpulet_work_load_begin(gpulet_work_t *work, gpulet_work_queued_control_t *control);
/* Answers when it is done. */
void gpulet_work_load_poll(gpulet_work_t *work);

/* ---- warm.c: the first runs ---- */
enum { GPULET_WORK_WARM_RUNS = 3 };

/* How made-up inputs are run. */
typedef struct gpulet_work_trial {
    const gpulet_work_t *work;
    gpulet_work_buffer_t *gather;
    gpulet_work_t *placed; /* outputs lie where the server would read them; NULL: elsewhere */
    bool unbatched;        /* an output had not the batch's dimension */
    uint64_t run_ns;       /* of the last run, where nothing is placed */
} gpulet_work_trial_t;

/* Borrows both texts. */
gpulet_engine_load_options_t gpulet_work_load_options(const gpulet_work_t *work, const char *name,
                                                      const char *path, uint64_t limit_ns);
gpulet_status_t gpulet_work_recipe_run(uint64_t *ns_out, gpulet_work_t *work,
                                       const gpulet_work_model_t *model,
                                       const gpulet_tensor_view_t *inputs, uint32_t items,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* Finds inputs the model runs with; the first that worked is remembered. The first error is the one
 * reported: it speaks of the likeliest. */
gpulet_status_t gpulet_work_recipe_find(gpulet_tensor_view_t *inputs, gpulet_work_trial_t *trial,
                                        gpulet_work_model_t *model, uint32_t items,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* Sessions for smaller batches than the largest, each run once: a GPU chooses its kernels when it
 * first sees a shape. One that cannot be had, for lack of memory perhaps, is done without. Those
 * that are there already stay. Nothing to do where one session serves all batches. */
void gpulet_work_copies_load(gpulet_work_trial_t *trial, gpulet_work_model_t *model,
                             uint32_t largest);
void gpulet_work_warm(const gpulet_work_t *work, gpulet_work_model_t *model,
                      const gpulet_control_t *message);

/* ---- recipe.c: made-up inputs ---- */
/* Ways to make up inputs of this model: dynamic dimensions and fill values to try. */
int gpulet_work_recipes(const gpulet_work_model_t *model);
/* Inputs of `items` items by one recipe, in gather. E_TOO_LARGE when they would be absurdly large.
 */
gpulet_status_t gpulet_work_recipe_make(gpulet_tensor_view_t *inputs, gpulet_work_buffer_t *gather,
                                        const gpulet_work_model_t *model, uint32_t items,
                                        int recipe) GPULET_MUST_USE;

#endif
