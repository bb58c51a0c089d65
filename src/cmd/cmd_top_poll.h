/* Asks a server for its status and events, again and again, without ever waiting: the caller polls
 * a descriptor and calls step. One connection, kept as long as the server keeps it. One owner. */
#ifndef GPULET_CMD_CMD_TOP_POLL_H
#define GPULET_CMD_CMD_TOP_POLL_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "view/live.h"

typedef struct top_poll top_poll_t;

/* What is known; borrowed until the next step. */
typedef struct top_poll_view {
    const gpulet_live_status_t *now;    /* NULL: nothing yet */
    const gpulet_live_status_t *before; /* of the same server; NULL: none */
    const gpulet_live_log_t *log;       /* NULL: it tells no events */
    const char *problem;                /* NULL, or why the last try failed */
    uint64_t problem_since_ns;
    uint64_t looks; /* changes whenever anything above did */
} top_poll_view_t;

/* The host is looked up here, which may take a while. */
gpulet_status_t top_poll_create(top_poll_t **out, const char *url, uint64_t interval_ns,
                                gpulet_error_t *err) GPULET_MUST_USE;
void top_poll_destroy(top_poll_t *poll); /* NULL is fine */
/* Goes on as far as it can. may_begin: another look may be begun when it is time. */
void top_poll_step(top_poll_t *poll, uint64_t now_ns, bool may_begin);
/* What to wait for until the next step: fd -1 for nothing but time. */
struct pollfd top_poll_wait(const top_poll_t *poll);
/* When step has something to do at the latest. */
uint64_t top_poll_due_ns(const top_poll_t *poll);
/* A look is under way. */
bool top_poll_busy(const top_poll_t *poll);
top_poll_view_t top_poll_view(const top_poll_t *poll);

#endif
