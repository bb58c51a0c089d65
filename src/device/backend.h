/* Device backends: how a device is cut into gpu-lets. One table of functions a backend; drivers are
 * loaded with dlopen, so one binary runs everywhere. `cpu`, `mps` and `fake` now; `green` and
 * `mig` have the same shape.
 *
 * probe, carve, resize and release run in the server; enter runs inside the worker, before it loads
 * anything. What a worker needs to know is a text (`grant`) that carve makes and enter reads: it
 * travels in the worker's start message. */
#ifndef GPULET_DEVICE_BACKEND_H
#define GPULET_DEVICE_BACKEND_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"
#include "core/device_type.h"

enum {
    GPULET_DEVICE_ABI = 5,
    GPULET_GRANT_MAX = 1023,
    GPULET_CPUS_TEXT_MAX = 4095,
    GPULET_DEVICE_UUID_MAX = 95,
    GPULET_CAP_RESIZE_LIVE = 1 << 0, /* a live worker can move to as many other units */
    GPULET_CAP_MEM_ISOLATED = 1 << 1,
    GPULET_CAP_RESERVED = 1 << 2,      /* units are a reservation, not a cap */
    GPULET_CAP_SHARED_WEIGHTS = 1 << 3 /* several lanes in one worker share weights */
};

/* One device of this machine. */
typedef struct gpulet_device_desc {
    char type[GPULET_DEVICE_NAME_MAX + 1]; /* device type it is planned as */
    uint32_t index;                        /* among its type */
    uint32_t units;
    uint32_t step;        /* sizes it is planned in are multiples of that, and the whole; ≥ 1 */
    uint32_t gpulets_max; /* at most so many gpu-lets at a time; ≥ 1 */
    double memory_mb;
    uint32_t caps;
    char text[256]; /* for people: "AMD EPYC, 2 cores, 1 NUMA node" */
} gpulet_device_desc_t;

/* The state of one device's cut: which units are taken. Owned by the server. */
typedef struct gpulet_device gpulet_device_t;
/* One gpu-let: units of one device. */
typedef struct gpulet_partition gpulet_partition_t;

typedef struct gpulet_device_options {
    const char *reserve_cores; /* cpu: cores no gpu-let may use, "0" or "0,2-3"; NULL: none */
    const char *cpus;          /* cpu: what may be used at all, "0-3"; NULL: what the calling
                                  process may run on */
    const char *fake_spec;     /* fake: "type:units:count[:memory_mb][,type:…]" */
    const char *fake_gone; /* fake: a file of the devices that are gone, "type/index" a line; NULL,
                              or no such file: none is */
    uint32_t mps_step;     /* mps: sizes are multiples of so many percent; 0: the default, 10 */
} gpulet_device_options_t;

/* What a worker is told about itself when it has entered its partition. */
typedef struct gpulet_device_entry {
    uint32_t threads;     /* of the host side, ≥ 1: the cores it may use */
    const char *provider; /* what the engine shall run on: "cpu" or "cuda"; constant */
    uint32_t ordinal;     /* of the device, as the provider counts them in this process */
    void *stream; /* the provider's stream that all work must go through; NULL: the engine's own */
} gpulet_device_entry_t;

/* What a device says of itself now, whoever uses it. */
typedef struct gpulet_device_telemetry {
    char uuid[GPULET_DEVICE_UUID_MAX + 1];
    uint64_t memory_total_bytes;
    uint64_t memory_used_bytes;
    double utilization; /* 0 … 1; negative: not known, as are the next two */
    double power_watts;
    double power_limit_watts;
} gpulet_device_telemetry_t;

typedef struct gpulet_device_backend {
    uint32_t abi_version;
    const char *name; /* "cpu", "fake" */
    /* Lists the devices of this machine; *count may exceed cap (then only cap are written).
     * E_UNAVAILABLE, with the reason, when the mechanism is not there. */
    gpulet_status_t (*probe)(gpulet_device_desc_t *out, uint32_t cap, uint32_t *count,
                             const gpulet_device_options_t *options, gpulet_error_t *err);
    gpulet_status_t (*open)(gpulet_device_t **out, uint32_t index,
                            const gpulet_device_options_t *options, gpulet_error_t *err);
    /* After all its partitions are released; NULL is fine. */
    void (*close)(gpulet_device_t *device);
    /* Puts the calling process, all of its threads, where gpu-lets with these options are not: on
     * the reserved cores; without any it stays where it is. cpus (up to GPULET_CPUS_TEXT_MAX bytes
     * and the zero) gets what it could run on before, for the options of later calls. NULL: the
     * host has no part in the device. */
    gpulet_status_t (*stand_aside)(char *cpus, size_t cpus_size,
                                   const gpulet_device_options_t *options, gpulet_error_t *err);
    /* Takes units out of the device, neighbours in the topology first. E_FULL when fewer are free
     * (the caller may oversubscribe only by asking with `overlap`: units then may be shared with
     * other partitions; used while a new gpu-let loads beside an old one). */
    gpulet_status_t (*carve)(gpulet_partition_t **out, gpulet_device_t *device, uint32_t units,
                             int overlap, gpulet_error_t *err);
    /* Text for the worker, at most GPULET_GRANT_MAX bytes. */
    gpulet_status_t (*grant)(char *out, size_t out_size, const gpulet_partition_t *partition);
    /* OK while the device is there; E_UNAVAILABLE with the reason when it is gone, perhaps for a
     * while. Asked about once a second. NULL: it cannot go. */
    gpulet_status_t (*health)(const gpulet_device_t *device, const gpulet_device_options_t *options,
                              gpulet_error_t *err);
    /* For metrics. E_UNAVAILABLE with the reason when the device does not answer. NULL: it has
     * nothing to tell. */
    gpulet_status_t (*telemetry)(gpulet_device_telemetry_t *out, const gpulet_device_t *device,
                                 gpulet_error_t *err);
    /* Inside the worker: makes the calling process live in the partition. Sets environment
     * variables where the mechanism wants it: before there are other threads. */
    gpulet_status_t (*enter)(const char *grant, gpulet_device_entry_t *entry, gpulet_error_t *err);
    /* Inside a worker that has entered: bytes in use on the device, by whomever. NULL: the device's
     * memory is the process's own. */
    gpulet_status_t (*memory_used)(uint64_t *bytes_out, gpulet_error_t *err);
    /* Before a worker is killed that did not end by itself: takes it off the device, so that its
     * neighbours come to no harm. From any thread; may block for some seconds; best effort. NULL:
     * nothing to do. */
    void (*detach)(const char *grant, pid_t worker);
    /* Settles an overlapping partition on free units of its own (or the same size elsewhere); the
     * worker is then sent the new grant. NULL: carve anew. */
    gpulet_status_t (*settle)(gpulet_partition_t *partition, gpulet_error_t *err);
    /* Puts those threads of a worker process that yield to all others (engine.h, yielding) on the
     * units of `lenders`, at least one, besides its own. There they stay: a run that has begun is
     * ended there, and what a later one does not use sleeps. NULL: units cannot be lent. */
    gpulet_status_t (*lend)(pid_t worker, const gpulet_partition_t *own,
                            const gpulet_partition_t *const *lenders, size_t lenders_count,
                            gpulet_error_t *err);
    void (*release)(gpulet_partition_t *partition); /* NULL is fine */
    uint32_t (*units)(const gpulet_partition_t *partition);
    /* For people: "cores 0-3". */
    const char *(*describe)(const gpulet_partition_t *partition);
} gpulet_device_backend_t;

const gpulet_device_backend_t *const *gpulet_device_backends(void);
const gpulet_device_backend_t *gpulet_device_backend_find(const char *name);

#endif
