#include "cmd/cmd_top_poll.h"

#include <stdlib.h>

#include "base/clock.h"
#include "client/http_client.h"

static const uint64_t answer_limit_ns = 5 * GPULET_NS_PER_S;

typedef enum poll_state { POLL_IDLE, POLL_STATUS, POLL_EVENTS } poll_state_t;

struct top_poll {
    gpulet_url_t url;
    uint64_t interval_ns;
    poll_state_t state;
    gpulet_client_t *client; /* NULL: not connected */
    gpulet_client_step_t step;
    bool reused; /* the connection had answered before this request */
    gpulet_buf_t request;
    uint64_t due_ns;      /* of the next look */
    uint64_t deadline_ns; /* of the answer that is waited for */
    gpulet_live_status_t *now;
    gpulet_live_status_t *before;
    gpulet_live_log_t log;
    bool tells_events;
    bool failing;
    gpulet_error_t problem;
    uint64_t problem_since_ns;
    uint64_t looks;
};

gpulet_status_t top_poll_create(top_poll_t **out, const char *url, uint64_t interval_ns,
                                gpulet_error_t *err)
{
    top_poll_t *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = gpulet_url_parse(&p->url, url, err);
    if (st == GPULET_OK)
        st = gpulet_url_resolve(&p->url, err);
    if (st != GPULET_OK) {
        top_poll_destroy(p);
        return st;
    }
    p->interval_ns = interval_ns;
    p->tells_events = true;
    *out = p;
    return GPULET_OK;
}

void top_poll_destroy(top_poll_t *poll)
{
    if (poll == NULL)
        return;
    gpulet_client_destroy(poll->client);
    gpulet_buf_deinit(&poll->request);
    gpulet_live_status_destroy(poll->now);
    gpulet_live_status_destroy(poll->before);
    gpulet_live_log_clear(&poll->log);
    free(poll);
}

/* ---- one request ---- */

static void disconnect(top_poll_t *p)
{
    gpulet_client_destroy(p->client);
    p->client = NULL;
    p->reused = false;
}

/* The look is over; p->problem says why. */
static void give_up(top_poll_t *p, uint64_t now_ns)
{
    disconnect(p);
    if (!p->failing)
        p->problem_since_ns = now_ns;
    p->failing = true;
    p->state = POLL_IDLE;
    p->looks++;
}

static void send_request(top_poll_t *p, uint64_t now_ns)
{
    const bool v6 = p->url.address.ss_family == AF_INET6;
    gpulet_buf_clear(&p->request);
    gpulet_buf_printf(&p->request, "GET %s/gpulet/v1/", p->url.base);
    if (p->state == POLL_STATUS)
        gpulet_buf_append_str(&p->request, "status");
    else
        gpulet_buf_printf(&p->request, "events?since=%.0f", p->log.next);
    gpulet_buf_printf(&p->request, " HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: gpulet\r\n\r\n",
                      v6 ? "[" : "", p->url.host, v6 ? "]" : "", p->url.port);
    if (gpulet_buf_status(&p->request) != GPULET_OK) {
        (void)gpulet_fail(&p->problem, GPULET_E_NOMEM, "out of memory");
        give_up(p, now_ns);
        return;
    }
    if (p->client == NULL && gpulet_client_create(&p->client, &p->url, &p->problem) != GPULET_OK) {
        give_up(p, now_ns);
        return;
    }
    const struct iovec part = {p->request.data, p->request.size};
    p->deadline_ns = now_ns + answer_limit_ns;
    p->step = gpulet_client_begin(p->client, &part, 1);
}

static void begin(top_poll_t *p, poll_state_t state, uint64_t now_ns)
{
    p->state = state;
    p->reused = p->client != NULL;
    send_request(p, now_ns);
}

/* ---- answers ---- */

static void take_status(top_poll_t *p, const char *body, size_t size, uint64_t now_ns)
{
    gpulet_live_status_t *status = NULL;
    if (gpulet_client_status(p->client) != 200) {
        (void)gpulet_fail(&p->problem, GPULET_E_UNAVAILABLE, "the server answers %d",
                          gpulet_client_status(p->client));
        give_up(p, now_ns);
        return;
    }
    if (gpulet_live_status_read(&status, body, size, &p->problem) != GPULET_OK) {
        give_up(p, now_ns);
        return;
    }
    gpulet_live_status_destroy(p->before);
    p->before = p->now;
    p->now = status;
    if (p->before != NULL && p->before->uptime_s > status->uptime_s) {
        /* Another server since: nothing of the old one is comparable. */
        gpulet_live_status_destroy(p->before);
        p->before = NULL;
        gpulet_live_log_clear(&p->log);
        p->tells_events = true;
    }
    p->failing = false;
    p->looks++;
}

static void take_events(top_poll_t *p, const char *body, size_t size, uint64_t now_ns)
{
    const int http = gpulet_client_status(p->client);
    if (http == 404 || http == 405 || http == 501)
        p->tells_events = false;
    else if (http == 200 && gpulet_live_log_read(&p->log, body, size, &p->problem) != GPULET_OK)
        give_up(p, now_ns);
    p->looks++;
}

static void take_answer(top_poll_t *p, uint64_t now_ns)
{
    const poll_state_t state = p->state;
    size_t size = 0;
    const char *body = gpulet_client_body(p->client, &size);
    if (state == POLL_STATUS)
        take_status(p, body, size, now_ns);
    else
        take_events(p, body, size, now_ns);
    if (p->state == POLL_IDLE)
        return; /* given up */
    if (!gpulet_client_reusable(p->client))
        disconnect(p);
    if (state == POLL_STATUS && p->tells_events)
        begin(p, POLL_EVENTS, now_ns);
    else
        p->state = POLL_IDLE;
}

static void lose_connection(top_poll_t *p, uint64_t now_ns)
{
    /* A server may end a connection that has been quiet for long: that is no answer yet. */
    if (p->reused) {
        disconnect(p);
        send_request(p, now_ns);
        return;
    }
    const char *why = gpulet_client_error(p->client);
    (void)gpulet_fail(&p->problem, GPULET_E_IO, "%s", why[0] != '\0' ? why : "no answer");
    give_up(p, now_ns);
}

void top_poll_step(top_poll_t *poll, uint64_t now_ns, bool may_begin)
{
    if (poll->state == POLL_IDLE && may_begin && now_ns >= poll->due_ns) {
        poll->due_ns = now_ns + poll->interval_ns;
        begin(poll, POLL_STATUS, now_ns);
    } else if (poll->state != POLL_IDLE) {
        poll->step = gpulet_client_step(poll->client);
    }
    while (poll->state != POLL_IDLE && poll->step == GPULET_CLIENT_DONE)
        take_answer(poll, now_ns);
    if (poll->state != POLL_IDLE && poll->step == GPULET_CLIENT_FAILED)
        lose_connection(poll, now_ns);
    if (poll->state != POLL_IDLE && now_ns >= poll->deadline_ns) {
        (void)gpulet_fail(&poll->problem, GPULET_E_TIMEOUT, "no answer within %d s",
                          (int)(answer_limit_ns / GPULET_NS_PER_S));
        give_up(poll, now_ns);
    }
}

struct pollfd top_poll_wait(const top_poll_t *poll)
{
    if (poll->state == POLL_IDLE)
        return (struct pollfd){.fd = -1};
    return (struct pollfd){.fd = gpulet_client_fd(poll->client),
                           .events = poll->step == GPULET_CLIENT_WAIT_WRITE ? POLLOUT : POLLIN};
}

uint64_t top_poll_due_ns(const top_poll_t *poll)
{
    return poll->state == POLL_IDLE ? poll->due_ns : poll->deadline_ns;
}

bool top_poll_busy(const top_poll_t *poll)
{
    return poll->state != POLL_IDLE;
}

top_poll_view_t top_poll_view(const top_poll_t *poll)
{
    return (top_poll_view_t){.now = poll->now,
                             .before = poll->before,
                             .log = poll->tells_events ? &poll->log : NULL,
                             .problem = poll->failing ? poll->problem.text : NULL,
                             .problem_since_ns = poll->problem_since_ns,
                             .looks = poll->looks};
}
