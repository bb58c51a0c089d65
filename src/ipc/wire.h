/* What server and worker say to each other.
 *
 * Hot records travel in two rings of one shared memfd (ipc/ring.h): server → worker RUN and
 * RELEASE, worker → server DONE. Everything slow (LOAD, UNLOAD, MEASURE, STOP, their answers, and
 * descriptors) travels over a SOCK_SEQPACKET pair (ipc/control.h). A record's bytes are copied out
 * of shared memory before they are looked at, and every field of what a worker says is checked by
 * the server: a worker may go mad. Both ends are of one build: structs are in native layout, sizes
 * fixed by static assertions, magic and version in the first message. */
#ifndef GPULET_IPC_WIRE_H
#define GPULET_IPC_WIRE_H

#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"

enum {
    GPULET_WIRE_VERSION = 8,
    GPULET_WIRE_REQUESTS_MAX = 256, /* requests in a batch */
    GPULET_WIRE_ERROR_MAX = 239,
    GPULET_WIRE_AHEAD_MAX = 16, /* batches that a worker may hold */
    GPULET_WIRE_ALIGN = 64      /* of tensors in shared memory */
};

typedef enum gpulet_record_kind {
    GPULET_RECORD_RUN = 1,
    GPULET_RECORD_RELEASE = 2,
    GPULET_RECORD_DONE = 3
} gpulet_record_kind_t;

/* Where bytes lie: segment 0 is the shared segment of the model (inputs) or the worker (outputs),
 * others are large segments of their own, known by number. */
typedef struct gpulet_wire_span {
    uint64_t offset;
    uint64_t size;
    uint32_t segment;
    uint32_t items; /* RUN: of the request */
} gpulet_wire_span_t;

typedef struct gpulet_record_run {
    uint32_t kind;
    uint32_t model;
    uint64_t batch;
    uint32_t items;          /* sum over the requests */
    uint32_t requests_count; /* 1 … GPULET_WIRE_REQUESTS_MAX */
    uint32_t wide;           /* on the copy for lent cores, where there is one */
    uint32_t reserved;
    gpulet_wire_span_t requests[]; /* each begins with a gpulet_wire_tensors_t */
} gpulet_record_run_t;

/* The server is done with an output span. */
typedef struct gpulet_record_release {
    uint32_t kind;
    uint32_t segment;
    uint64_t offset;
} gpulet_record_release_t;

typedef struct gpulet_record_done {
    uint32_t kind;
    int32_t status; /* gpulet_status_t */
    uint64_t batch;
    uint64_t exec_ns;   /* the engine's run alone */
    uint64_t input_ns;  /* gathering */
    uint64_t output_ns; /* scattering, serialising */
    gpulet_wire_span_t
        output; /* begins with a gpulet_wire_tensors_t; size 0 when status is not OK */
    char error[GPULET_WIRE_ERROR_MAX + 1]; /* zero-terminated; the record may end with the text */
} gpulet_record_done_t;

/* One tensor of a span; offset is from the start of the span, aligned to GPULET_WIRE_ALIGN. */
typedef struct gpulet_wire_tensor {
    uint32_t type; /* gpulet_datatype_t; INVALID: an absent optional input */
    uint32_t rank;
    int64_t dims[GPULET_RANK_MAX];
    uint64_t offset;
    uint64_t size;
} gpulet_wire_tensor_t;

/* First thing in a span: the table of its tensors. */
typedef struct gpulet_wire_tensors {
    uint32_t count;
    uint32_t reserved;
    gpulet_wire_tensor_t tensors[];
} gpulet_wire_tensors_t;

#endif
