/* What a model of the fake engine is and does, read from its file: one `key=value` a line, `#`
 * begins a comment line.
 *
 *   input=NAME:DATATYPE:DIMS      an input, e.g. input=IMAGE:FP32:-1x3x224x224; no DIMS is a
 *                                 scalar; repeatable
 *   output=NAME:DATATYPE:DIMS     an output; repeatable; without any, one "OUTPUT0" like the
 *                                 first input
 *   latency_ms=F                  time of a run, and
 *   latency_ms_per_item=F         what each item of the batch adds to it
 *   cold_ms=F                     what a run adds that begins 2 ms or more after the one before
 *   jitter=F                      each run takes between 1-F and 1+F of that, 0 ≤ F ≤ 1
 *   seed=N                        of the jitter
 *   load_ms=F                     time of loading
 *   memory_mb=N                   memory that the loaded model holds
 *   fail_load=TEXT                loading fails with this text
 *   hang_load=1                   loading never ends, whatever its limit
 *   crash_load=1                  loading aborts the process
 *   load_units=N                  the three before happen only in gpu-lets of N units
 *   whole_outputs=1               outputs hold one item whatever the batch: it cannot be batched
 *   fail_run_every=N              every Nth run fails
 *   hang_run_every=N              every Nth run lasts until it is stopped
 *   crash_run_every=N             every Nth run aborts the process
 *
 * Runs are counted from 1. No state but the caller's. */
#ifndef GPULET_ENGINE_FAKE_SCRIPT_H
#define GPULET_ENGINE_FAKE_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"

enum { GPULET_FAKE_SCRIPT_MAX = 65536, GPULET_FAKE_TEXT_MAX = 256 };

/* What a model's file is to this engine. */
typedef enum gpulet_fake_file {
    GPULET_FAKE_FILE_BLANK, /* a text without a line that says something, or no byte at all */
    GPULET_FAKE_FILE_SCRIPT,
    GPULET_FAKE_FILE_OTHER /* an ONNX model perhaps */
} gpulet_fake_file_t;

typedef struct gpulet_fake_script {
    gpulet_fake_file_t file;
    bool names_tensors;   /* it has an input= or an output= */
    gpulet_model_io_t io; /* owned */
    double latency_ms;
    double latency_ms_per_item;
    double cold_ms;
    double jitter;
    double load_ms;
    uint64_t seed;
    uint64_t memory_mb;
    uint64_t fail_run_every; /* 0: never; likewise below */
    uint64_t hang_run_every;
    uint64_t crash_run_every;
    uint64_t hang_load; /* 0: no; likewise the next */
    uint64_t crash_load;
    uint64_t load_units; /* 0: in all */
    uint64_t whole_outputs;
    char fail_load[GPULET_FAKE_TEXT_MAX]; /* empty: loads */
} gpulet_fake_script_t;

/* Reads the bytes of a model file; what is no text of key=value lines gives the default model.
 * E_INVALID with "line N: …" for a line that cannot be understood. The caller deinits the script.
 */
gpulet_status_t gpulet_fake_script_parse(gpulet_fake_script_t *out, const char *text, size_t size,
                                         gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_fake_script_load(gpulet_fake_script_t *out, const char *path,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* A zeroed script is fine. */
void gpulet_fake_script_deinit(gpulet_fake_script_t *script);

#endif
