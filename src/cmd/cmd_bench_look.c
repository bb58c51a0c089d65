#include "cmd/cmd_bench_look.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "view/live.h"

enum {
    TIMEOUT_MS = 5000,
    UPTIME_SLACK_S = 1 /* an answer takes its time */
};

/* No event has so high a number: the answer says where the next one will be, and nothing else. */
#define EVENTS_PATH "/gpulet/v1/events?since=9007199254740992"

static bool ask(gpulet_buf_t *body, const gpulet_url_t *server, const char *path)
{
    int http = 0;
    gpulet_buf_clear(body);
    return gpulet_client_fetch(&http, body, server, "GET", path, NULL, 0, TIMEOUT_MS, NULL) ==
               GPULET_OK &&
           http == 200 && body->data != NULL;
}

static void read_status(cmd_bench_look_t *out, const gpulet_buf_t *body)
{
    gpulet_live_status_t *status = NULL;
    if (gpulet_live_status_read(&status, body->data, body->size, NULL) != GPULET_OK)
        return;
    out->uptime_s = status->uptime_s;
    out->replans = status->replans;
    if (!status->transition.under_way)
        out->devices_used = status->devices_used;
    gpulet_live_status_destroy(status);
}

static void read_events(cmd_bench_look_t *out, const gpulet_buf_t *body)
{
    gpulet_live_log_t log = {0};
    if (gpulet_live_log_read(&log, body->data, body->size, NULL) == GPULET_OK)
        out->events_next = log.next;
    gpulet_live_log_clear(&log);
}

void cmd_bench_look(cmd_bench_look_t *out, const char *url)
{
    gpulet_url_t server;
    gpulet_buf_t body = GPULET_BUF_INIT;
    *out = (cmd_bench_look_t){(double)gpulet_clock_ns() / 1e9, NAN, NAN, NAN, NAN};
    if (gpulet_url_parse(&server, url, NULL) != GPULET_OK ||
        gpulet_url_resolve(&server, NULL) != GPULET_OK)
        return;
    if (ask(&body, &server, "/gpulet/v1/status"))
        read_status(out, &body);
    if (!isnan(out->uptime_s) && ask(&body, &server, EVENTS_PATH))
        read_events(out, &body);
    gpulet_buf_deinit(&body);
}

/* Comparisons with what was not said are false. */
gpulet_load_server_t cmd_bench_between(const cmd_bench_look_t *before,
                                       const cmd_bench_look_t *after)
{
    gpulet_load_server_t server = {NAN, NAN};
    if (!(after->uptime_s - before->uptime_s >= after->at_s - before->at_s - UPTIME_SLACK_S))
        return server; /* another process */
    server.replans = after->replans - before->replans;
    /* Where nothing happened the devices in use are those of all the time between; how long others
     * were in use is not told. */
    if (after->events_next == before->events_next && after->devices_used == before->devices_used)
        server.devices_time_avg = after->devices_used;
    return server;
}
