/* What the files of net/ share: the server, its connections and the request in each. One loop's
 * thread owns all of it.
 *
 *   http1.c, chunked.c, coding.c   bytes in, meaning out; no sockets
 *   body.c                         body bytes from the buffer (or the socket) to where the
 * application wants them answer.c                       answers: from respond to the last byte sent
 *   conn.c                         the life of a connection, as a loop of steps
 *   server.c                       listening, deadlines, the end
 *
 * Calls of the application change state only; all callbacks come out of gpulet_conn_run, never out
 * of such a call. */
#ifndef GPULET_NET_INTERNAL_H
#define GPULET_NET_INTERNAL_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "net/chunked.h"
#include "net/coding.h"
#include "net/http.h"
#include "net/http1.h"

typedef struct gpulet_conn gpulet_conn_t;

enum {
    CONN_READ_AHEAD = 16384, /* room in a block beyond the largest head */
    CONN_SKIP_MAX = 65536,   /* an unread body up to this is thrown away to keep the connection */
    CONN_BODY_KEPT_MAX = 65536, /* collected bodies' memory kept for the next request */
    CONN_OUT_KEPT_MAX = 65536,
    CONN_LINGER_MS = 1000,     /* how long a peer may take to see the last answer */
    CONN_REQUESTS_A_TURN = 32, /* pipelined requests before others get their turn */
    CONN_READS_A_TURN = 4,
    SERVER_REFUSED_MAX = 64, /* connections over the limit that are told so at one time */
    SERVER_KEPT_MAX = 64,    /* free blocks and connections kept */
    SERVER_SWEEP_MS = 100,
    SERVER_ACCEPT_BATCH = 64,
    SERVER_DATE_SIZE = 30,
    ANSWER_DEFLATE_MIN = 1024,
    ANSWER_DEFLATE_MAX = 1 << 20, /* compressing more would hold up everyone else on the loop */
    ANSWER_ERROR_MAX = 1024
};

/* Memory of a connection that is in use: the bytes received and the table of fields of the head in
 * them. */
typedef struct gpulet_conn_block {
    struct gpulet_conn_block *next;
    gpulet_http1_field_t *fields;
    char *bytes;
} gpulet_conn_block_t;

typedef enum gpulet_conn_state {
    CONN_HEAD,    /* receives a head; idle while nothing of it is there */
    CONN_REQUEST, /* the application has the request */
    CONN_ANSWER,  /* the answer is being sent */
    CONN_SKIP,    /* answered; the rest of the body is thrown away */
    CONN_LINGER,  /* all is said; waits for the peer to see it */
    CONN_DEAD     /* no socket; stays only while the application owes an answer */
} gpulet_conn_state_t;

typedef enum gpulet_body_want { WANT_NOTHING, WANT_COLLECT, WANT_INTO } gpulet_body_want_t;

/* Why a body cannot be completed; 0 when it can. */
typedef struct gpulet_body_fault {
    int status;
    const char *text;
} gpulet_body_fault_t;

struct gpulet_http_request {
    gpulet_conn_t *conn;
    void *user;
    gpulet_http1_head_t head;
    char *base; /* first byte of the head */
    uint64_t arrival_ns;
    bool active; /* from on_request to on_finished */
    bool responded;
    bool gone;      /* on_gone was called */
    bool continued; /* 100 was sent or is not needed */

    /* the body as it is framed on the wire */
    bool body_complete;
    uint64_t body_left; /* bytes on the wire, unless chunked */
    gpulet_chunked_t chunked;
    gpulet_inflater_t *inflater; /* owned; while a compressed body is collected */

    /* where it goes */
    gpulet_body_want_t want;
    char *into;
    size_t into_left;
    uint64_t collect_max;
    gpulet_buf_t body; /* collected; its memory is kept between requests while small */
    uint64_t skipped;
};

struct gpulet_conn {
    gpulet_http_server_t *server;
    gpulet_conn_t *next; /* all connections */
    gpulet_conn_t **back;
    gpulet_conn_t *ready_next;
    gpulet_conn_t *detach_next;
    gpulet_conn_t **detach_back; /* NULL: not in the list */
    gpulet_conn_state_t state;
    int fd;
    bool running;
    bool scheduled;
    bool eof;         /* the peer has said all it will */
    bool refused;     /* over connections_max */
    bool reading;     /* read_event is added */
    bool writing;     /* write_event is added */
    bool close_after; /* the answer */
    bool linger_after;
    bool timed_out;
    struct event read_event;
    struct event write_event;
    uint64_t deadline_ns;

    gpulet_conn_block_t *block; /* NULL while idle */
    size_t start;               /* of the bytes not looked at yet */
    size_t end;
    bool head_begun;

    gpulet_buf_t out; /* interim answers, heads, small bodies */
    struct iovec iov[GPULET_HTTP_PARTS_MAX + 1];
    size_t iov_at;
    size_t iov_count;
    void (*release)(void *context);
    void *release_context;
    char *detached; /* owned: the copy of an answer that the application has back */
    uint64_t detach_at_ns;

    gpulet_http_request_t request;
};

struct gpulet_http_server {
    struct event_base *base;
    gpulet_http_limits_t limits;
    gpulet_http_handler_t handler;
    int listen_fd; /* -1 once draining */
    uint16_t port;
    bool accepting;
    bool draining;
    struct event listen_event;
    struct event ready_event;
    struct event sweep_event;
    struct event detach_event;
    gpulet_conn_t *conns;
    uint32_t conns_open; /* with a socket, refused ones too */
    uint32_t refused_open;
    gpulet_conn_t *ready_first;
    gpulet_conn_t **ready_last;
    gpulet_conn_t *detach_first;
    gpulet_conn_t **detach_last;
    uint64_t now_ns; /* of this turn */
    uint64_t date_until_ns;
    char date[SERVER_DATE_SIZE];
    size_t block_size;
    gpulet_conn_block_t *blocks_free;
    uint32_t blocks_kept;
    gpulet_conn_t *conns_free;
    uint32_t conns_kept;
    gpulet_deflater_t *gzip; /* made on first use */
    gpulet_deflater_t *deflate;
};

/* server.c */
gpulet_conn_block_t *gpulet_server_block_take(gpulet_http_server_t *server);
void gpulet_server_block_give(gpulet_http_server_t *server, gpulet_conn_block_t *block);
/* Runs the connection soon, from the loop. */
void gpulet_server_schedule(gpulet_conn_t *conn);
void gpulet_server_detach_soon(gpulet_conn_t *conn);
void gpulet_server_detach_forget(gpulet_conn_t *conn);
uint64_t gpulet_server_deadline(const gpulet_http_server_t *server, uint32_t after_ms);
/* "Sun, 06 Nov 1994 08:49:37 GMT", renewed each second. */
const char *gpulet_server_date(gpulet_http_server_t *server);

/* conn.c */
/* Makes a connection of an accepted socket, or closes it. */
void gpulet_conn_open(gpulet_http_server_t *server, int fd, bool refused);
/* Does all that can be done now. conn may be gone after it. */
void gpulet_conn_run(gpulet_conn_t *conn);
/* Reads once or a few times, then runs. */
void gpulet_conn_readable(gpulet_conn_t *conn);
void gpulet_conn_timeout(gpulet_conn_t *conn);
/* Closes the socket, finishes the request and frees conn. */
void gpulet_conn_destroy(gpulet_conn_t *conn);
void gpulet_conn_free(gpulet_conn_t *conn);

/* body.c */
void gpulet_body_begin(gpulet_http_request_t *request);
void gpulet_body_end(gpulet_http_request_t *request);
/* Moves buffered bytes on. DONE: what was wanted is there. MORE: needs bytes. FAILED: *fault. */
gpulet_http1_step_t gpulet_body_pump(gpulet_http_request_t *request, gpulet_body_fault_t *fault);
/* Memory into which the next wire bytes may be read directly, once the buffer is empty; 0 bytes
 * when there is none. */
size_t gpulet_body_direct(gpulet_http_request_t *request, char **dst);
void gpulet_body_direct_filled(gpulet_http_request_t *request, size_t size);

/* answer.c */
void gpulet_answer_continue(gpulet_conn_t *conn);
/* An error that the server answers by itself; the connection closes after it. */
void gpulet_answer_error(gpulet_conn_t *conn, int status, const char *text);
/* DONE: all is sent. MORE: the socket is full. FAILED: the peer is gone. */
gpulet_http1_step_t gpulet_answer_flush(gpulet_conn_t *conn);
/* The application gets its bytes back, sent or not. */
void gpulet_answer_release(gpulet_conn_t *conn);
/* Copies what is unsent and gives the application its bytes back. False when there is no memory for
 * that. */
bool gpulet_answer_detach(gpulet_conn_t *conn);
void gpulet_answer_reset(gpulet_conn_t *conn);

#endif
