/* A worker that measures: one process in one gpu-let, which loads models and runs them on made-up
 * inputs. What the profiler and the measuring of neighbours have in common.
 *
 * Nothing here waits: orders are given, and what the worker says of them is noted in the fields
 * below; `on_news` is called after each reading. Lives on a libevent loop, on its thread. */
#ifndef GPULET_SERVER_MEASURER_H
#define GPULET_SERVER_MEASURER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "device/backend.h"
#include "ipc/slab.h"
#include "server/repository.h"
#include "server/worker.h"

struct event_base;
struct event;

/* How such workers are started; all borrowed. */
typedef struct gpulet_measurer_options {
    struct event_base *base;
    const gpulet_device_backend_t *backend;
    gpulet_device_t *device;
    const char *device_backend_name;
    const char *worker_program;
    const char *engine;
    const char *ort_library;  /* may be NULL */
    const char *fake_profile; /* may be NULL */
    const char *device_type;  /* of the device; may be NULL */
    const char *log_level;
    double load_limit_s;
} gpulet_measurer_options_t;

/* Initialised by gpulet_measurer_init; the fields may be read by anybody. */
typedef struct gpulet_measurer {
    gpulet_measurer_options_t options;
    const char *name;               /* of the worker; borrowed */
    void (*on_news)(void *context); /* may be NULL */
    void *context;
    uint32_t units;
    gpulet_partition_t *partition; /* owned; NULL: none */
    gpulet_worker_t *worker;       /* owned; NULL: none */
    struct event *readable;        /* owned */
    /* What the worker said since it was last given an order. */
    bool ready;
    bool loaded;
    bool measured;
    bool failed;                      /* to load or to measure */
    gpulet_worker_measured_t figures; /* of what was measured; its text is below */
    char text[256];                   /* why it failed, or was lost */
    /* Since it was started. */
    bool lost;
    bool stopped;
} gpulet_measurer_t;

/* What a worker is given as the input segment that it wants; made-up inputs do not use it. */
gpulet_status_t gpulet_measurer_slab(gpulet_slab_t **out, const char *name,
                                     gpulet_error_t *err) GPULET_MUST_USE;

void gpulet_measurer_init(gpulet_measurer_t *m, const gpulet_measurer_options_t *options,
                          const char *name);
/* A gpu-let to measure in; background: on units that may overlap. */
gpulet_status_t gpulet_measurer_carve(gpulet_measurer_t *m, uint32_t units, bool background,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* A worker in it, at that priority; `ready` follows. */
gpulet_status_t gpulet_measurer_start(gpulet_measurer_t *m, int nice,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* `loaded` or `failed` follows. number: what the model is called in orders. */
gpulet_status_t gpulet_measurer_load(gpulet_measurer_t *m, uint32_t number,
                                     const gpulet_repository_model_t *model,
                                     const gpulet_slab_t *slab,
                                     gpulet_error_t *err) GPULET_MUST_USE;

/* order->model is its number. `measured` follows, with `failed` where no run succeeded.
 * E_UNAVAILABLE: it takes no order. */
gpulet_status_t gpulet_measurer_measure(gpulet_measurer_t *m, const gpulet_worker_order_t *order,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* Watches the limits of what the worker is at; from a timer. */
void gpulet_measurer_check(gpulet_measurer_t *m);
/* Kills the worker, if there is one. */
void gpulet_measurer_drop(gpulet_measurer_t *m);
/* The same, and gives the gpu-let back. */
void gpulet_measurer_release(gpulet_measurer_t *m);

#endif
