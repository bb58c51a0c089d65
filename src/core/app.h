/* Applications: graphs of models with one SLO for the whole (docs/applications.md).
 *
 * An application is a list of *stages*, each one run of one model. There are two forms of one
 * value. With tensors, as an ensemble of a model repository writes it: each stage says which of the
 * application's tensors its model reads and writes, and the graph follows. Without tensors, as
 * planning and simulation need it: each stage says which stages it comes after. In both a stage is
 * submitted once all stages before it are done (a join), and what a stage makes may be read by
 * several (fan-out). The application is done when all its stages are.
 *
 * Built step by step, then finished once, which checks it and derives the graph; immutable from
 * then on. Owned by whoever created it. Thread-safe: no state. */
#ifndef GPULET_CORE_APP_H
#define GPULET_CORE_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/tensor.h"

enum {
    GPULET_APP_NAME_MAX = 255,
    GPULET_APP_STAGES_MAX = 64, /* a set of stages is one word */
    GPULET_APP_TENSORS_MAX = 1024,
    GPULET_APP_REQUESTS_MAX = 4096,
    GPULET_APPS_MAX = 1000
};

#define GPULET_APP_CLIENT UINT32_MAX /* the producer of the application's inputs */
#define GPULET_APP_NEWEST (-1)       /* whatever version of the model is the newest */

/* A set of stages: bit i is stage i. */
typedef uint64_t gpulet_app_set_t;

/* One tensor of a stage's model and the application's tensor that it is mapped to. */
typedef struct gpulet_app_link {
    char name[GPULET_TENSOR_NAME_MAX + 1]; /* the model's */
    uint32_t tensor;                       /* index into the application's tensors */
} gpulet_app_link_t;

typedef struct gpulet_app_tensor {
    char name[GPULET_TENSOR_NAME_MAX + 1];
    uint32_t producer;          /* stage; GPULET_APP_CLIENT for an input of the application */
    uint32_t producer_link;     /* index into that stage's outputs, or the application's inputs */
    gpulet_app_set_t consumers; /* stages that read it */
    bool wanted;                /* it is an output of the application */
    bool produced;
} gpulet_app_tensor_t;

typedef struct gpulet_app_stage {
    char name[GPULET_APP_NAME_MAX + 1]; /* of its own in the application */
    char model[GPULET_APP_NAME_MAX + 1];
    int64_t version;   /* GPULET_APP_NEWEST, or ≥ 1 */
    uint32_t requests; /* items that the model is asked for an item of the application, ≥ 1 */
    size_t inputs_count;
    gpulet_app_link_t *inputs; /* owned; none in the form without tensors */
    size_t outputs_count;
    gpulet_app_link_t *outputs; /* owned; likewise */
    gpulet_app_set_t before;    /* stages that must be done first */
    gpulet_app_set_t after;     /* derived: stages that it must be done for */
} gpulet_app_stage_t;

typedef struct gpulet_app {
    char name[GPULET_APP_NAME_MAX + 1];
    double slo_ms;   /* from arrival to the last answer; 0: best effort */
    double rate_rps; /* requests a second; 0: not given */
    size_t inputs_count;
    uint32_t *inputs; /* owned; indices of tensors, in the order they were added */
    size_t outputs_count;
    uint32_t *outputs; /* owned; likewise */
    size_t tensors_count;
    gpulet_app_tensor_t *tensors; /* owned */
    size_t stages_count;
    gpulet_app_stage_t *stages; /* owned */

    /* derived by gpulet_app_finish */
    uint32_t order[GPULET_APP_STAGES_MAX]; /* stages, each behind all that come before it; of
                                              several that could be next the first one added */
    gpulet_app_set_t all;
    gpulet_app_set_t first; /* nothing comes before them */
    gpulet_app_set_t last;  /* nothing comes after them */
} gpulet_app_t;

/* ---- building ---- */

/* E_INVALID when the name is not one. Caller destroys. */
gpulet_status_t gpulet_app_create(gpulet_app_t **out, const char *name,
                                  gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_app_destroy(gpulet_app_t *app); /* NULL is fine */

/* An input that clients give, an output that they get: a name of a tensor. E_EXISTS when it was
 * added before. */
gpulet_status_t gpulet_app_add_input(gpulet_app_t *app, const char *tensor,
                                     gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_app_add_output(gpulet_app_t *app, const char *tensor,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* A stage; name NULL: the model's name, "#2" and so on behind it where that is taken. *stage gets
 * its index. */
gpulet_status_t gpulet_app_add_stage(gpulet_app_t *app, uint32_t *stage, const char *name,
                                     const char *model, gpulet_error_t *err) GPULET_MUST_USE;
/* The stage's model reads (or writes) its tensor `name` as the application's `tensor`. E_EXISTS: a
 * tensor of the model mapped twice, or a tensor of the application written twice. */
gpulet_status_t gpulet_app_map_input(gpulet_app_t *app, uint32_t stage, const char *name,
                                     const char *tensor, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_app_map_output(gpulet_app_t *app, uint32_t stage, const char *name,
                                      const char *tensor, gpulet_error_t *err) GPULET_MUST_USE;
/* The stage comes after another one. */
void gpulet_app_add_after(gpulet_app_t *app, uint32_t stage, uint32_t before);

/* Checks what was built and derives the graph. E_INVALID with a text that names the stage or
 * tensor: no stage; a tensor that is read but neither an input nor written by a stage; an output
 * that no stage writes; an input, or what a stage writes, that nobody reads; a stage that reads
 * nothing or writes nothing where there are tensors; stages that wait for one another. */
gpulet_status_t gpulet_app_finish(gpulet_app_t *app, gpulet_error_t *err) GPULET_MUST_USE;

/* ---- reading ---- */

/* UINT32_MAX when there is none. */
uint32_t gpulet_app_find_stage(const gpulet_app_t *app, const char *name);
uint32_t gpulet_app_find_tensor(const gpulet_app_t *app, const char *name);

/* The longest way through what comes after each stage, by the cost of each stage: rest[i] is the
 * most that stages behind i cost in a row, i itself not counted. Returns the cost of the longest
 * way through the whole. The arrays have an element a stage; rest may be NULL. Sums of integers
 * stop at UINT64_MAX. */
uint64_t gpulet_app_rest_ns(uint64_t *rest, const gpulet_app_t *app, const uint64_t *cost_ns);
double gpulet_app_rest_ms(double *rest, const gpulet_app_t *app, const double *cost_ms);

/* ---- several, from a file (docs/formats.md "Applications") ---- */

typedef struct gpulet_apps {
    size_t count;
    gpulet_app_t **items; /* owned; finished, in the order of the file, each name once */
} gpulet_apps_t;

/* Text of YAML, or of CSV where the file's name ends in ".csv". Every application has an SLO; its
 * rate may be absent. Errors read "file:line: field: expected …, found …". */
gpulet_status_t gpulet_apps_parse(gpulet_apps_t **out, const char *text, size_t size,
                                  const char *file, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_apps_load(gpulet_apps_t **out, const char *path,
                                 gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_apps_create(gpulet_apps_t **out) GPULET_MUST_USE;
/* Takes the app over, also on failure. E_EXISTS when one of its name is there. */
gpulet_status_t gpulet_apps_add(gpulet_apps_t *apps, gpulet_app_t *app,
                                gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_apps_destroy(gpulet_apps_t *apps);
/* NULL when there is none. */
const gpulet_app_t *gpulet_apps_find(const gpulet_apps_t *apps, const char *name);
/* Writes the YAML of applications without tensors, which reads back the same. */
gpulet_status_t gpulet_apps_format_yaml(gpulet_buf_t *out,
                                        const gpulet_apps_t *apps) GPULET_MUST_USE;

#endif
