/* Everything slow that server and worker say to each other, over a SOCK_SEQPACKET pair: one message
 * a packet, at most one descriptor with it.
 *
 * gpulet_control_t holds one message in the clear; encode and decode are pure functions of bytes,
 * and decode trusts nothing: the server feeds it what a worker wrote. Strings of a decoded message
 * point into the packet. Thread-safe: no state. */
#ifndef GPULET_IPC_CONTROL_H
#define GPULET_IPC_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/tensor.h"

enum {
    GPULET_CONTROL_MESSAGE_MAX = 98304, /* bytes of a packet */
    GPULET_CONTROL_TEXT_MAX = 4096,     /* bytes of one string */
    GPULET_CONTROL_MAGIC = 0x6c757067
};

/* What each kind carries is what its row in control.c says; other fields are zero. */
typedef enum gpulet_control_kind {
    /* server → worker */
    GPULET_CONTROL_START = 1, /* the first; descriptor: the control memfd with both rings */
    GPULET_CONTROL_EVENTS,    /* twice, after START: the worker's eventfd, then the server's */
    GPULET_CONTROL_LOAD,      /* descriptor: the model's input segment */
    GPULET_CONTROL_UNLOAD,
    GPULET_CONTROL_MEASURE,
    GPULET_CONTROL_FORGET, /* a large input segment will not be used again */
    GPULET_CONTROL_REGRANT,
    GPULET_CONTROL_FOREGROUND,
    GPULET_CONTROL_WIDEN, /* a second copy of a loaded model, for lent cores */
    GPULET_CONTROL_STOP,
    /* both ways */
    GPULET_CONTROL_LARGE, /* a large segment; descriptor: its memfd */
    /* worker → server */
    GPULET_CONTROL_HELLO, /* descriptor: the output segment */
    GPULET_CONTROL_READY,
    GPULET_CONTROL_FAILED, /* it could not start: it ends now */
    GPULET_CONTROL_LOADED,
    GPULET_CONTROL_LOAD_FAILED,
    GPULET_CONTROL_MEASURED,
    GPULET_CONTROL_WIDENED,
    GPULET_CONTROL_GONE, /* a large output segment will not be used again */
    GPULET_CONTROL_KINDS
} gpulet_control_kind_t;

typedef struct gpulet_control_start {
    uint32_t magic;
    uint32_t version;
    uint32_t layout; /* sizes of the wire structs, folded: catches two builds */
    uint32_t units;
    int32_t nice;
    bool spin;
    uint64_t output_bytes_max;
    uint64_t
        ring_to_worker; /* data bytes of each ring; they follow each other in the control memfd */
    uint64_t ring_to_server;
    const char *backend;
    const char *grant;
    const char *engine;
    const char *ort_library;  /* "": none */
    const char *fake_profile; /* "": none */
    const char *device_type;  /* that the gpu-let is of; "": not told */
    const char *log_level;
} gpulet_control_start_t;

/* One message. Strings are never NULL after decode. */
typedef struct gpulet_control {
    gpulet_control_kind_t kind;
    uint32_t model;     /* LOAD UNLOAD MEASURE LOADED LOAD_FAILED MEASURED */
    uint32_t segment;   /* LARGE FORGET GONE */
    uint32_t batch;     /* MEASURE MEASURED; LOAD: batch_fixed; WIDEN: units, lent ones included */
    uint32_t runs;      /* MEASURE: least; MEASURED; LOAD: largest batch it will be asked for */
    uint32_t runs_max;  /* MEASURE; LOAD: runs of one item to time, at most */
    uint32_t cold_runs; /* MEASURE: at most so many cold runs, 0: none */
    uint32_t threads;   /* READY WIDEN */
    int32_t status;     /* FAILED LOAD_FAILED MEASURED WIDENED */
    bool batched;       /* LOAD; LOADED: its outputs can be taken apart by items */
    uint64_t size;      /* HELLO LARGE LOAD: bytes of the segment that comes along */
    uint64_t ns;     /* MEASURE: budget; MEASURED: the shortest run; LOAD WIDEN: limit; LOADED: load
                        time */
    uint64_t p50_ns; /* MEASURED; LOADED: of one item, 0: not timed */
    uint64_t p99_ns; /* MEASURED */
    uint64_t cold_ns;     /* MEASURED: by how much a cold run takes longer; 0: not seen to */
    uint64_t memory;      /* LOADED MEASURED, bytes */
    const char *name;     /* LOAD WIDEN */
    const char *prepared; /* LOAD WIDEN: a file to load instead, "": none */
    const char *text; /* LOAD WIDEN: path; REGRANT: grant; READY: engine's version; failures: why */
    gpulet_control_start_t start; /* START */
    gpulet_model_io_t io; /* LOADED; LOAD: what it takes and gives, nothing where its file says it;
                             decode allocates it: gpulet_control_deinit */
    gpulet_model_io_t warmup; /* LOAD: inputs that are of certain shapes when the model is tried and
                                 measured; no outputs; likewise */
} gpulet_control_t;

/* What start.layout must be. */
uint32_t gpulet_control_layout(void);
/* E_TOO_LARGE when a text is over GPULET_CONTROL_TEXT_MAX or the whole over
 * GPULET_CONTROL_MESSAGE_MAX (or cap). */
gpulet_status_t gpulet_control_encode(uint8_t *out, size_t cap, size_t *size_out,
                                      const gpulet_control_t *message) GPULET_MUST_USE;
/* E_INVALID on anything that encode would not write. On success the caller ends with
 * gpulet_control_deinit. */
gpulet_status_t gpulet_control_decode(gpulet_control_t *out, const uint8_t *data,
                                      size_t size) GPULET_MUST_USE;
void gpulet_control_deinit(gpulet_control_t *message);

/* Sends one packet, with fd when it is ≥ 0. E_AGAIN when the peer's buffer is full (only with wait
 * false), E_CLOSED when the peer is gone. */
gpulet_status_t gpulet_control_send(int socket_fd, const uint8_t *data, size_t size, int fd,
                                    bool wait) GPULET_MUST_USE;
/* Receives one packet without waiting; *fd_out is -1 or a descriptor that the caller owns. E_AGAIN
 * when there is none, E_CLOSED when the peer is gone, E_INVALID when it sent more than fits (or
 * more than one descriptor). */
gpulet_status_t gpulet_control_receive(int socket_fd, uint8_t *out, size_t cap, size_t *size_out,
                                       int *fd_out) GPULET_MUST_USE;

#endif
