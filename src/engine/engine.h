/* Engines: what runs a model. One table of functions an engine; `ort` (ONNX Runtime by dlopen) and
 * `fake` (sleeps by a profile).
 *
 * Lifecycles nest: engine ⊃ model ⊃ run. An engine is opened once in a process, by the process that
 * will run it (never before a fork). Threads: open, load, unload and close one at a time, from any
 * thread; a load may go on while other models run; run of *one* model from one thread at a time.
 * The calling thread is part of the model's pool: the caller sets its own CPU mask first; pool
 * threads inherit the mask that load was called with. */
#ifndef GPULET_ENGINE_ENGINE_H
#define GPULET_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"

enum { GPULET_ENGINE_ABI = 3, GPULET_ENGINE_PREPARED_PATH_MAX = 4096 };

typedef struct gpulet_engine gpulet_engine_t; /* an open engine; each backend's first member is
                                                 `const gpulet_engine_ops_t *ops` */
typedef struct gpulet_engine_model gpulet_engine_model_t; /* a loaded model; likewise */

typedef struct gpulet_engine_options {
    const char *ort_library;  /* path or NULL: GPULET_ORT_LIBRARY, the install folder, the loader's
                                 path (ort) */
    const char *fake_profile; /* path of a profile CSV, or NULL (fake) */
    const char *fake_device;  /* device type in that profile, or NULL: the first */
} gpulet_engine_options_t;

typedef struct gpulet_engine_load_options {
    const char *name; /* the model's name (fake looks it up in its profile) */
    const char *path; /* the model's file; "": it has none (fake) */
    /* What the model takes and gives where its file does not say it to the engine, NULL where it
     * does (fake); borrowed for the call. */
    const gpulet_model_io_t *io;
    uint32_t batch_fixed; /* items of every run, with io; 0: what the inputs hold (fake) */
    uint32_t threads;     /* cores of the gpu-let, ≥ 1; the calling thread is one of them */
    uint32_t units;       /* size of the gpu-let in device units (fake) */
    /* Pool threads run only while nothing else wants their cores (SCHED_IDLE): they may be put on
     * cores of others. The calling thread is not changed. */
    bool yielding;
    bool spin; /* pool threads may spin between runs: only where the gpu-let owns its cores */
    /* Watchdog on creating the session: E_TIMEOUT after that (0: no limit). A library that hangs
     * cannot be stopped: its thread stays behind, perhaps for ever. The process should then end, by
     * _exit(), as soon as it has said so. */
    uint64_t load_limit_ns;
    /* What to run on (ort): NULL or "cpu", or "cuda", which needs a library built with it; what it
     * cannot run is run on the CPU. Inputs and outputs lie in the host's memory all the same. */
    const char *provider;
    uint32_t ordinal; /* the provider's device, as this process counts them */
    void *stream;     /* a CUDA stream all work is to go through, which outlives the model; NULL:
                         the library's own */
} gpulet_engine_load_options_t;

/* Opening `ort` sets ORT_DISABLE_TELEMETRY in the environment and the allocator's threshold for
 * mapped blocks (mallopt), both for the whole process: open it before there are other threads. The
 * library stays loaded after close. */

/* One output of a run. Before: data/size is where it should be written (NULL: the engine
 * allocates), shape the expected shape. After: type, shape, data, size as they are. When the engine
 * had to allocate, `owner` is set and data stays valid until gpulet_engine_output_release. BYTES
 * outputs are always engine-allocated, serialised as OIP does. */
typedef struct gpulet_engine_output {
    gpulet_tensor_view_t tensor;
    void *owner;
} gpulet_engine_output_t;

typedef struct gpulet_engine_ops {
    uint32_t abi_version; /* GPULET_ENGINE_ABI */
    const char *name;     /* "ort", "fake" */
    gpulet_status_t (*open)(gpulet_engine_t **out, const gpulet_engine_options_t *options,
                            gpulet_error_t *err);
    void (*close)(gpulet_engine_t *engine);                /* NULL is fine */
    const char *(*version)(const gpulet_engine_t *engine); /* "1.32.0"; borrowed */
    /* A model that is corrupt, too new, has an unknown operator or an unsupported type is E_INVALID
     * or E_UNSUPPORTED with the engine's own words (source paths cut off); the engine stays good.
     */
    gpulet_status_t (*load)(gpulet_engine_model_t **out, gpulet_engine_t *engine,
                            const gpulet_engine_load_options_t *options, gpulet_error_t *err);
    void (*unload)(
        gpulet_engine_model_t *model); /* gives memory back to the system; NULL is fine */
    const gpulet_model_io_t *(*io)(const gpulet_engine_model_t *model); /* borrowed until unload */
    /* inputs[i] belongs to io->inputs[i]; all are checked by the engine wrapper for NULL data,
     * type, rank, dims and exact byte size before the library sees them. outputs[i] belongs to
     * io->outputs[i]; all outputs are computed. An output whose given memory is too small or whose
     * shape turns out different is still delivered, by allocation. Errors leave nothing to release.
     */
    gpulet_status_t (*run)(gpulet_engine_model_t *model, const gpulet_tensor_view_t *inputs,
                           gpulet_engine_output_t *outputs, gpulet_error_t *err);
    void (*output_release)(gpulet_engine_model_t *model, gpulet_engine_output_t *output);
    /* Asks a running run to stop soon, from any thread (between nodes only); it then returns
     * E_CANCELLED, or OK when it was done before it noticed. Does nothing when no run is going on.
     */
    void (*terminate)(gpulet_engine_model_t *model);
    /* Gives back what the arena holds beyond the need of small batches (called when idle): ort does
     * it at the end of the next run, if that is of one item; a larger one shows that the idle time
     * is over. */
    void (*trim)(gpulet_engine_model_t *model);
    /* Writes into the folder, which is there and empty, what the engine makes of the model before
     * it can run it; the file of gpulet_engine_prepared_path is then loaded instead of the model's,
     * many times faster, and its weights are mapped: workers share them. It is good for this
     * library on this kind of processor only. NULL where nothing is to be gained. */
    gpulet_status_t (*prepare)(gpulet_engine_t *engine, const gpulet_engine_load_options_t *options,
                               const char *folder, gpulet_error_t *err);
} gpulet_engine_ops_t;

/* The engines compiled in, NULL-terminated. */
const gpulet_engine_ops_t *const *gpulet_engine_all(void);
/* NULL when there is none of that name. */
const gpulet_engine_ops_t *gpulet_engine_find(const char *name);
/* E_TOO_LARGE when the path does not fit. */
gpulet_status_t gpulet_engine_prepared_path(char *out, size_t out_size,
                                            const char *folder) GPULET_MUST_USE;
/* Whether the file exists that `ort` would load, and which: for `doctor` and start-up messages. In
 * this order: ort_library; the environment's GPULET_ORT_LIBRARY (either may name the file or its
 * folder, and must be right); ../lib/gpulet beside the program's folder; the source tree's
 * .setup/ort; what the loader finds as libonnxruntime.so.1, which is then open in this process.
 * E_NOT_FOUND says what to install. */
gpulet_status_t gpulet_engine_ort_locate(char *path_out, size_t path_size, const char *ort_library,
                                         gpulet_error_t *err) GPULET_MUST_USE;

#endif
