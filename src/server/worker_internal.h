/* Inside of the server's end of a worker: what worker.c, worker_launch.c and worker_receive.c
 * share. */
#ifndef GPULET_SERVER_WORKER_INTERNAL_H
#define GPULET_SERVER_WORKER_INTERNAL_H

#include "device/backend.h"
#include "ipc/control.h"
#include "ipc/ring.h"
#include "server/worker.h"

enum {
    /* A worker that announces more than this is mad. */
    GPULET_WORKER_SEGMENTS_MAX = 1024,
    GPULET_WORKER_NAME_MAX = 63,
    GPULET_WORKER_TEXT_MAX = 511
};
#define GPULET_WORKER_SEGMENT_BYTES_MAX (UINT64_C(1) << 40)

/* A mapping of memory that the worker owns. Lives while the handle or a result refers to it. */
typedef struct gpulet_worker_segment {
    void *base;
    uint64_t size;
    uint32_t segment;
    uint32_t refs;
} gpulet_worker_segment_t;

/* A result not yet released: what the owner holds as `output`. */
typedef struct gpulet_worker_output {
    struct gpulet_worker_output *prev, *next;
    gpulet_worker_t *worker; /* NULL once the handle is destroyed */
    gpulet_worker_segment_t *segment;
    uint64_t offset;
} gpulet_worker_output_t;

typedef struct gpulet_worker_known {
    struct gpulet_worker_known *next;
    uint32_t model;
    uint32_t batches; /* outstanding */
    bool batched;     /* inputs and outputs hold the items of a batch */
    bool loaded;
    bool widened;  /* it has a copy for lent cores */
    bool unloaded; /* freed when nothing is outstanding */
    gpulet_model_io_t io;
} gpulet_worker_known_t;

typedef struct gpulet_worker_batch {
    gpulet_worker_known_t *known;
    uint64_t batch;
    uint64_t sent_ns;
    uint32_t items;
} gpulet_worker_batch_t;

/* A load or a measurement that the worker owes an answer for. */
typedef struct gpulet_worker_debt {
    struct gpulet_worker_debt *next;
    gpulet_worker_known_t *known;
    gpulet_control_kind_t kind; /* LOAD, MEASURE, WIDEN */
    uint64_t sent_ns;
    uint64_t limit_ns;
} gpulet_worker_debt_t;

/* A control message that the socket had no room for. */
typedef struct gpulet_worker_packet {
    struct gpulet_worker_packet *next;
    int fd; /* owned; -1: none */
    size_t size;
    uint8_t bytes[];
} gpulet_worker_packet_t;

typedef enum gpulet_worker_state {
    GPULET_WORKER_STARTING,
    GPULET_WORKER_READY,
    GPULET_WORKER_LOST,   /* on_lost has been or will be called; only destroy is allowed */
    GPULET_WORKER_STOPPED /* likewise on_stopped */
} gpulet_worker_state_t;

struct gpulet_worker {
    gpulet_worker_callbacks_t callbacks;
    gpulet_worker_state_t state;
    char name[GPULET_WORKER_NAME_MAX + 1];
    uint32_t batch_ahead;
    uint64_t start_limit_ns, load_limit_ns, run_limit_ns;

    pid_t pid;                              /* 0: never started */
    const gpulet_device_backend_t *backend; /* NULL: none of that name */
    char *grant;                            /* owned */
    bool serves;                            /* it loads beside its batches */
    bool reaped;
    int exit_status; /* of waitpid, when reaped */
    int epoll_fd;
    int control_fd;
    int event_fd;        /* ours: the worker writes it */
    bool socket_ready;   /* there may be messages: looked for only then */
    int worker_event_fd; /* the worker's: we write it */
    int pid_fd;
    void *shared;
    size_t shared_size;
    gpulet_ring_t to_worker;
    gpulet_ring_t from_worker;

    int calls;      /* depth of process and check: callbacks may be running */
    bool destroyed; /* destroy was called from a callback */
    bool told;      /* on_lost or on_stopped was called */
    bool stopping;
    bool killed;
    bool wide;       /* batches run on the copies for lent cores */
    bool given_away; /* a thread kills and reaps it */
    uint64_t started_ns;
    uint64_t progress_ns; /* when it last answered anything */
    uint64_t paid_ns;     /* when it last answered a load, a measurement or the like */
    uint64_t stop_deadline_ns;
    uint64_t closed_ns; /* when the control socket was found closed; 0: it is open */
    char why[GPULET_WORKER_TEXT_MAX + 1];

    gpulet_worker_known_t *models;
    gpulet_worker_batch_t batches[GPULET_WIRE_AHEAD_MAX]; /* oldest first */
    uint32_t batches_count;
    gpulet_worker_debt_t *debts;
    gpulet_worker_debt_t **debts_end;

    gpulet_worker_segment_t *output; /* segment 0; NULL before hello */
    gpulet_worker_segment_t **large;
    uint32_t large_count;
    uint32_t large_cap;
    uint64_t large_bytes;
    gpulet_worker_output_t outputs; /* head of the ring of live results */
    gpulet_worker_output_t *spare;  /* freed handles, linked by next */

    uint32_t *sent; /* large input segments that the worker has */
    uint32_t sent_count;
    uint32_t sent_cap;
    gpulet_record_release_t *releases; /* that the ring had no room for */
    size_t releases_count;
    size_t releases_cap;
    gpulet_worker_packet_t *packets;
    gpulet_worker_packet_t **packets_end;

    gpulet_tensor_view_t views[GPULET_MODEL_IO_MAX];
    uint8_t packet[GPULET_CONTROL_MESSAGE_MAX];
};

/* ---- worker_launch.c ---- */
gpulet_status_t gpulet_worker_launch(gpulet_worker_t *worker,
                                     const gpulet_worker_options_t *options,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Kills and reaps the process, closes everything of the channel. Copes with half a launch. */
void gpulet_worker_channel_close(gpulet_worker_t *worker);

/* ---- worker_send.c ---- */
/* Sends a control message, or keeps it until the socket has room. */
gpulet_status_t gpulet_worker_send(gpulet_worker_t *worker, const gpulet_control_t *message,
                                   int fd) GPULET_MUST_USE;
/* Sends what was kept: messages and releases. */
void gpulet_worker_flush(gpulet_worker_t *worker);
void gpulet_worker_packets_free(gpulet_worker_t *worker);
/* The worker has closed its socket, so it is ending and its exit will say why; one that does not
 * end within a second is killed. */
void gpulet_worker_socket_closed(gpulet_worker_t *worker);
/* Makes gpulet_worker_fd readable, so that process is called soon. */
void gpulet_worker_self_wake(gpulet_worker_t *worker);

/* ---- worker_receive.c ---- */
/* Takes what the worker wrote: records and messages. False: there is more, call again soon. */
bool gpulet_worker_receive(gpulet_worker_t *worker);
void gpulet_worker_segment_unref(gpulet_worker_segment_t *segment);
void gpulet_worker_known_settle(gpulet_worker_t *worker, gpulet_worker_known_t *known);

/* ---- worker.c ---- */
/* The worker is of no more use; the first reason stays. on_lost follows from process or check. */
void gpulet_worker_lose(gpulet_worker_t *worker, const char *fmt, ...) GPULET_PRINTF(2, 3);
gpulet_worker_known_t *gpulet_worker_known_find(const gpulet_worker_t *worker, uint32_t model);

#endif
