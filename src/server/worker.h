/* The server's end of one worker process: start, load, run, watch, stop.
 *
 * Everything happens on the loop's thread and without waiting: the owner polls gpulet_worker_fd for
 * reading and calls gpulet_worker_process when it is readable (and gpulet_worker_check from a
 * timer, about every 100 ms); callbacks come from inside those two calls only. A worker may die or
 * go mad at any instruction: then on_lost is called once, with the reason, and the only call
 * allowed is gpulet_worker_destroy (which kills the process if it still lives and reaps it; it may
 * be called from within a callback). A worker dies with its server (PR_SET_PDEATHSIG and the closed
 * control socket); the kernel takes the end of the *thread* that started it for the end of its
 * server, so workers are started from a thread that lasts. A batch not yet done when on_lost or
 * on_stopped is called will never be done. */
#ifndef GPULET_SERVER_WORKER_H
#define GPULET_SERVER_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"
#include "core/tensor.h"
#include "ipc/wire.h"

typedef struct gpulet_worker gpulet_worker_t;

typedef struct gpulet_worker_loaded {
    uint32_t model;
    const gpulet_model_io_t *io; /* as the engine's session declares it; borrowed for the call */
    uint64_t load_ns;
    uint64_t run_ns;       /* of one item, the least of the timed runs; 0: none was timed */
    uint64_t memory_bytes; /* growth of the worker's resident set by loading and the first run */
    bool outputs_whole;    /* it was to be batched, but its outputs have no batch dimension */
} gpulet_worker_loaded_t;

typedef struct gpulet_worker_measured {
    uint32_t model;
    uint32_t batch;
    uint32_t runs; /* 0: failed, see status and text */
    uint64_t least_ns;
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t cold_ns; /* by how much a cold run takes longer; 0: not asked for, or not seen to */
    uint64_t memory_bytes; /* resident set of the model after the runs */
    gpulet_status_t status;
    const char *text;
} gpulet_worker_measured_t;

/* A finished batch. Tensors are views into memory that the worker owns, already checked (bounds,
 * sizes, types, ranks); they stay valid until gpulet_worker_release of `output`, also when the
 * worker dies meanwhile. */
typedef struct gpulet_worker_result {
    uint64_t batch;
    uint32_t model; /* number that the run was sent with */
    uint32_t items; /* likewise */
    gpulet_status_t status;
    const char *error; /* "" when OK; borrowed for the call */
    uint64_t exec_ns;
    uint64_t input_ns;
    uint64_t output_ns;
    uint32_t tensors_count;              /* the model's outputs */
    const gpulet_tensor_view_t *tensors; /* borrowed for the call: copy the array, not the bytes */
    void *output; /* handle for gpulet_worker_release; NULL when nothing is to release */
} gpulet_worker_result_t;

typedef struct gpulet_worker_callbacks {
    void *context;
    void (*on_ready)(void *context,
                     gpulet_worker_t *worker); /* it entered its partition and opened its engine */
    void (*on_loaded)(void *context, gpulet_worker_t *worker, const gpulet_worker_loaded_t *loaded);
    void (*on_load_failed)(void *context, gpulet_worker_t *worker, uint32_t model,
                           gpulet_status_t status, const char *text);
    void (*on_measured)(void *context, gpulet_worker_t *worker,
                        const gpulet_worker_measured_t *measured);
    /* status OK: the model has a copy for lent cores. */
    void (*on_widened)(void *context, gpulet_worker_t *worker, uint32_t model,
                       gpulet_status_t status, const char *text);
    void (*on_done)(void *context, gpulet_worker_t *worker, const gpulet_worker_result_t *result);
    void (*on_lost)(void *context, gpulet_worker_t *worker, const char *why);
    /* After gpulet_worker_stop, when the process is gone. If it went with batches unfinished,
     * on_lost is called instead. */
    void (*on_stopped)(void *context, gpulet_worker_t *worker);
} gpulet_worker_callbacks_t;

typedef struct gpulet_worker_options {
    const char *program;      /* path of gpulet-worker */
    const char *name;         /* for logs and /proc: "cpu0.1" */
    const char *backend;      /* device backend */
    const char *grant;        /* text of the partition */
    const char *engine;       /* "ort" | "fake" */
    const char *ort_library;  /* may be NULL */
    const char *fake_profile; /* may be NULL */
    const char *device_type;  /* that the gpu-let is of; may be NULL */
    const char *log_level;
    uint32_t units;
    uint32_t batch_ahead; /* batches it may hold: default 2, at most GPULET_WIRE_AHEAD_MAX */
    uint64_t
        output_bytes_max; /* shared output segment; default 256 MiB of address space, used lazily */
    uint64_t start_limit_ns; /* default 20 s */
    uint64_t load_limit_ns;  /* default 120 s */
    uint64_t run_limit_ns;   /* a batch that runs longer: the worker is lost; default 60 s */
    int nice;  /* > 0: load in the background at low priority until gpulet_worker_set_foreground */
    bool spin; /* the worker may spin for a short while for new work: it owns its cores */
} gpulet_worker_options_t;

gpulet_status_t gpulet_worker_start(gpulet_worker_t **out, const gpulet_worker_options_t *options,
                                    const gpulet_worker_callbacks_t *callbacks,
                                    gpulet_error_t *err) GPULET_MUST_USE;
int gpulet_worker_fd(const gpulet_worker_t *worker);
/* From here on finished batches are announced on this descriptor alone, edge-triggered (EPOLLET):
 * the owner calls gpulet_worker_process_batches then. It saves a busy server two system calls a
 * batch; without it gpulet_worker_fd tells of everything. */
int gpulet_worker_batches_fd(gpulet_worker_t *worker);
void gpulet_worker_process_batches(gpulet_worker_t *worker);
pid_t gpulet_worker_pid(const gpulet_worker_t *worker);
void gpulet_worker_process(gpulet_worker_t *worker);
/* Watches the limits; now is the monotonic clock. */
void gpulet_worker_check(gpulet_worker_t *worker, uint64_t now_ns);

typedef struct gpulet_worker_model {
    uint32_t model; /* number used in runs */
    const char *name;
    const char *path;            /* "": it has no file */
    const gpulet_model_io_t *io; /* what its file does not say to the engine; NULL: it does */
    int input_fd; /* the model's input segment (ipc/slab.h); not closed by the worker handle */
    uint64_t input_size;
    const char *prepared;            /* a file to load in place of path; NULL: none */
    const gpulet_model_io_t *warmup; /* gpulet_model_config_warmup; NULL: nothing is said */
    uint32_t batch_fixed;            /* N: pad to N items; 0: none */
    uint32_t batch_planned; /* the largest it will be asked for, to be ready for; 0: not known */
    uint32_t timed_runs;    /* of one item, at most so many, when nothing is known of its times */
    bool batched;           /* the first dimension of every tensor is the batch */
} gpulet_worker_model_t;

/* Answers: on_loaded or on_load_failed. Several may be outstanding; they are done in order. */
gpulet_status_t gpulet_worker_load(gpulet_worker_t *worker, const gpulet_worker_model_t *model,
                                   gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_worker_unload(gpulet_worker_t *worker, uint32_t model) GPULET_MUST_USE;
/* Loads a second copy of a loaded model, with `threads` threads of which all but the calling one
 * yield to whoever else wants their cores (engine.h, yielding), or loads it anew. units: as the
 * fake engine takes them. Answer: on_widened. */
gpulet_status_t gpulet_worker_widen(gpulet_worker_t *worker, const gpulet_worker_model_t *model,
                                    uint32_t threads, uint32_t units) GPULET_MUST_USE;
/* Whether batches sent from now on run on the copies, where there are any. */
void gpulet_worker_set_wide(gpulet_worker_t *worker, bool wide);
/* What is to be measured: runs of `batch` items, at least runs_min and until budget_ns is spent (at
 * most runs_max); then, of a model whose runs are short, up to cold_runs after a pause, as long as
 * budget_ns again (but at least a few, unless cold_runs is 0). */
typedef struct gpulet_worker_order {
    uint32_t model;
    uint32_t batch;
    uint32_t runs_min;
    uint32_t runs_max;
    uint32_t cold_runs;
    uint64_t budget_ns;
} gpulet_worker_order_t;

/* With made-up inputs. Dynamic dimensions other than the batch are tried with 64, 32, 224, 16, 256,
 * 1 … until a run succeeds. Answer: on_measured. Not while batches are outstanding. */
gpulet_status_t gpulet_worker_measure(gpulet_worker_t *worker,
                                      const gpulet_worker_order_t *order) GPULET_MUST_USE;

/* Sends a batch of a loaded model; batch numbers must differ from those outstanding. requests[i]
 * says where request i's inputs lie: segment 0 is the model's input segment; a large segment (over
 * 1 MiB, a memfd of its own) must be in `large` by its number: its descriptor is passed to the
 * worker once. E_FULL: the ring is full (more than batch_ahead batches: the caller's mistake).
 * E_CLOSED: it is gone or stopping; what becomes of it is told by the callbacks. */
typedef struct gpulet_worker_large {
    uint32_t segment;
    int fd;
    uint64_t size;
} gpulet_worker_large_t;
gpulet_status_t gpulet_worker_run(gpulet_worker_t *worker, uint64_t batch, uint32_t model,
                                  uint32_t items, const gpulet_wire_span_t *requests,
                                  uint32_t requests_count, const gpulet_worker_large_t *large,
                                  uint32_t large_count) GPULET_MUST_USE;
/* A large segment's number will not be used again: the worker unmaps it. */
void gpulet_worker_forget_large(gpulet_worker_t *worker, uint32_t segment);
/* Once for each result with an output. Safe after the worker is lost or even destroyed (the mapping
 * lives until the last release). */
void gpulet_worker_release(void *output);
/* Moves the worker to another partition of the same backend: a new grant. */
gpulet_status_t gpulet_worker_regrant(gpulet_worker_t *worker, const char *grant) GPULET_MUST_USE;
void gpulet_worker_set_foreground(gpulet_worker_t *worker);
/* Asks it to end after the batches it holds; on_stopped follows (after limit_ns it is killed). */
void gpulet_worker_stop(gpulet_worker_t *worker, uint64_t limit_ns);
/* Kills if needed, reaps, frees. NULL is fine. */
void gpulet_worker_destroy(gpulet_worker_t *worker);

#endif
