/* The other job of the worker's program: to prepare a model, so that workers load it quickly
 * (engine.h, prepare). A process of its own, since loading a model leaves memory behind and may
 * hang or die; at idle priority, on any core. */
#ifndef GPULET_WORKER_PREPARE_H
#define GPULET_WORKER_PREPARE_H

#include <stdint.h>
#include <sys/types.h>

typedef struct gpulet_prepare_options {
    const char *engine;
    const char *ort_library; /* NULL: as engine.h says */
    const char *path;        /* the model's file */
    const char *folder;      /* there and empty */
    uint64_t limit_ns;
} gpulet_prepare_options_t;

/* The process's exit status: 0 when the folder holds a prepared model. parent: the process that
 * started it, with which it ends. Threads: the only one of its process. */
int gpulet_prepare_main(const gpulet_prepare_options_t *options, pid_t parent);

#endif
