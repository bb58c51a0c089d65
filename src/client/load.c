#include "client/load.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/rng.h"
#include "client/model_info.h"

enum { VARIANTS = 4, EVENTS_MAX = 256, CONNECTIONS_DEFAULT = 256, LEAD_NS = 20000 };

/* After the end answers are waited for so long, and so much longer than any of them may take. */
static const uint64_t grace_least_ns = 5 * GPULET_NS_PER_S;
static const uint64_t grace_beyond_ns = GPULET_NS_PER_S;

/* One request: due, perhaps waiting for a connection, then on its way. */
typedef struct load_request {
    struct load_request *next;
    size_t model;
    uint64_t due_ns;
    bool counted;
} load_request_t;

typedef struct load_conn {
    gpulet_client_t *client;
    load_request_t *request;
    struct load_conn *next_idle;
    struct load_conn *next_all;
    struct load_conn **at_all; /* the pointer that points here */
    bool waits_write;
    bool used; /* answered at least one request */
} load_conn_t;

typedef struct load_source {
    gpulet_model_info_t info;
    gpulet_buf_t variants[VARIANTS];
    gpulet_arrivals_t arrivals;
    uint64_t next_ns;
} load_source_t;

typedef struct load {
    const gpulet_load_options_t *options;
    gpulet_load_result_t *results;
    gpulet_url_t url;
    load_source_t *sources;
    int epoll;
    load_conn_t *idle;
    load_conn_t *all;
    uint32_t connections;
    load_request_t *waiting_head;
    load_request_t **waiting_tail;
    load_request_t *free_requests;
    uint64_t in_flight;
    uint64_t begin_ns;
    uint64_t count_ns; /* requests due from here on are counted */
    uint64_t end_ns;
    uint64_t patience_ns; /* what is not answered by then has failed */
    uint64_t progress_ns;
    uint32_t variant;
} load_t;

static void settle(load_t *load, load_request_t *request, int http_status, const char *text)
{
    gpulet_load_result_t *r = &load->results[request->model];
    uint64_t items = load->options->batch;
    uint64_t now_ns = gpulet_clock_ns();
    uint64_t latency_ns = now_ns > request->due_ns ? now_ns - request->due_ns : 0;
    if (request->counted) {
        r->offered += items;
        if (http_status == 200) {
            gpulet_hist_record(&r->latency_ns, latency_ns);
            if (r->slo_ms <= 0 || (double)latency_ns <= r->slo_ms * 1e6)
                r->in_time += items;
            else
                r->late += items;
        } else if (http_status == 503 || http_status == 429) {
            gpulet_hist_record(&r->reject_latency_ns, latency_ns);
            r->rejected += items;
        } else {
            r->failed += items;
            if (r->error[0] == '\0')
                (void)snprintf(r->error, sizeof(r->error), "%d %s", http_status, text);
        }
    }
    request->next = load->free_requests;
    load->free_requests = request;
}

/* ---- connections ---- */

static void close_conn(load_t *load, load_conn_t *conn)
{
    *conn->at_all = conn->next_all;
    if (conn->next_all != NULL)
        conn->next_all->at_all = conn->at_all;
    gpulet_client_destroy(conn->client);
    free(conn);
    load->connections--;
}

static load_conn_t *open_conn(load_t *load)
{
    gpulet_error_t err;
    uint32_t most =
        load->options->connections_max > 0 ? load->options->connections_max : CONNECTIONS_DEFAULT;
    if (load->connections >= most)
        return NULL;
    load_conn_t *conn = calloc(1, sizeof(*conn));
    if (conn == NULL || gpulet_client_create(&conn->client, &load->url, &err) != GPULET_OK) {
        free(conn);
        return NULL;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, gpulet_client_fd(conn->client), &event) != 0) {
        gpulet_client_destroy(conn->client);
        free(conn);
        return NULL;
    }
    conn->next_all = load->all;
    conn->at_all = &load->all;
    if (load->all != NULL)
        load->all->at_all = &conn->next_all;
    load->all = conn;
    load->connections++;
    return conn;
}

static void watch(load_t *load, load_conn_t *conn, bool write)
{
    if (conn->waits_write == write)
        return;
    struct epoll_event event = {.events = write ? EPOLLOUT : EPOLLIN, .data.ptr = conn};
    (void)epoll_ctl(load->epoll, EPOLL_CTL_MOD, gpulet_client_fd(conn->client), &event);
    conn->waits_write = write;
}

/* True when the connection is free again. */
static bool handle_step(load_t *load, load_conn_t *conn, gpulet_client_step_t step)
{
    load_request_t *request = conn->request;
    if (step == GPULET_CLIENT_WAIT_READ || step == GPULET_CLIENT_WAIT_WRITE) {
        watch(load, conn, step == GPULET_CLIENT_WAIT_WRITE);
        return false;
    }
    size_t size = 0;
    conn->request = NULL;
    if (request != NULL)
        load->in_flight--;
    if (step == GPULET_CLIENT_FAILED && request != NULL && conn->used &&
        gpulet_client_status(conn->client) == 0) {
        /* A kept connection that the server closed just as we used it: once more on another one. */
        close_conn(load, conn);
        request->next = load->waiting_head;
        if (load->waiting_head == NULL)
            load->waiting_tail = &request->next;
        load->waiting_head = request;
        return false;
    }
    if (request != NULL && step == GPULET_CLIENT_FAILED)
        settle(load, request, 0, gpulet_client_error(conn->client));
    else if (request != NULL)
        settle(load, request, gpulet_client_status(conn->client),
               gpulet_client_status(conn->client) == 200 ? ""
                                                         : gpulet_client_body(conn->client, &size));
    if (step == GPULET_CLIENT_FAILED || !gpulet_client_reusable(conn->client)) {
        close_conn(load, conn);
        return false;
    }
    conn->used = true;
    watch(load, conn, false);
    conn->next_idle = load->idle;
    load->idle = conn;
    return true;
}

static void begin_request(load_t *load, load_conn_t *conn, load_request_t *request)
{
    const gpulet_buf_t *bytes = &load->sources[request->model].variants[load->variant++ % VARIANTS];
    struct iovec part = {bytes->data, bytes->size};
    conn->request = request;
    load->in_flight++;
    (void)handle_step(load, conn, gpulet_client_begin(conn->client, &part, 1));
}

static void send_waiting(load_t *load)
{
    while (load->waiting_head != NULL) {
        load_conn_t *conn = load->idle;
        if (conn != NULL)
            load->idle = conn->next_idle;
        else if ((conn = open_conn(load)) == NULL)
            return;
        load_request_t *request = load->waiting_head;
        load->waiting_head = request->next;
        if (load->waiting_head == NULL)
            load->waiting_tail = &load->waiting_head;
        begin_request(load, conn, request);
    }
}

static bool add_request(load_t *load, size_t model, uint64_t due_ns)
{
    load_request_t *request = load->free_requests;
    if (request != NULL)
        load->free_requests = request->next;
    else if ((request = calloc(1, sizeof(*request))) == NULL)
        return false;
    *request =
        (load_request_t){NULL, model, due_ns, due_ns >= load->count_ns && due_ns < load->end_ns};
    *load->waiting_tail = request;
    load->waiting_tail = &request->next;
    return true;
}

/* ---- arrivals ---- */

/* The times of arrivals are those after the start of what is counted. */
static void next_arrival(const load_t *load, size_t index)
{
    load_source_t *source = &load->sources[index];
    double at_ns = gpulet_arrivals_next_s(&source->arrivals) * 1e9;
    uint64_t next_ns = at_ns < 1e18 ? load->count_ns + (uint64_t)(int64_t)at_ns : UINT64_MAX;
    /* A rate may be absurd, not endless. */
    source->next_ns = next_ns > source->next_ns ? next_ns : source->next_ns + 1;
}

static void first_arrival(const load_t *load, size_t index)
{
    const gpulet_load_model_t *model = &load->options->models[index];
    load_source_t *source = &load->sources[index];
    source->arrivals = (gpulet_arrivals_t){.uniform = load->options->uniform,
                                           .multiple = 1.0 / load->options->batch,
                                           .rate_rps = model->rate_rps,
                                           .steps = model->steps,
                                           .steps_count = model->steps_count};
    gpulet_arrivals_init(&source->arrivals, load->options->seed, model->name,
                         -load->options->warmup_s);
    source->next_ns = load->begin_ns;
    next_arrival(load, index);
}

static void add_due(load_t *load, uint64_t now_ns)
{
    for (size_t i = 0; i < load->options->models_count && load->options->in_flight == 0; i++) {
        load_source_t *source = &load->sources[i];
        while (source->next_ns <= now_ns && source->next_ns < load->end_ns) {
            if (!add_request(load, i, source->next_ns))
                return;
            next_arrival(load, i);
        }
    }
    /* One that no connection takes now waits, and no other is added behind it. */
    while (load->options->in_flight > 0 && now_ns < load->end_ns && load->waiting_head == NULL &&
           load->in_flight < load->options->in_flight) {
        if (!add_request(load, 0, now_ns))
            return;
        send_waiting(load);
    }
}

static uint64_t next_due(const load_t *load)
{
    uint64_t next_ns = load->end_ns;
    for (size_t i = 0; i < load->options->models_count && load->options->in_flight == 0; i++) {
        if (load->sources[i].next_ns < next_ns)
            next_ns = load->sources[i].next_ns;
    }
    return next_ns;
}

/* ---- the loop ---- */

static void print_progress(load_t *load, uint64_t now_ns)
{
    uint64_t offered = 0;
    uint64_t in_time = 0;
    if (!load->options->progress || now_ns < load->progress_ns)
        return;
    for (size_t i = 0; i < load->options->models_count; i++) {
        offered += load->results[i].offered;
        in_time += load->results[i].in_time;
    }
    (void)fprintf(stderr, "\r%5.1f s  %llu answered or refused, %.2f%% in time, %llu in flight   ",
                  (double)(now_ns - load->begin_ns) / 1e9, (unsigned long long)offered,
                  offered > 0 ? 100.0 * (double)in_time / (double)offered : 100.0,
                  (unsigned long long)load->in_flight);
    load->progress_ns = now_ns + GPULET_NS_PER_S;
}

static void wait_events(load_t *load, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now_ns = gpulet_clock_ns();
    /* The last few microseconds before something is due are not slept: waking takes about as long.
     */
    uint64_t wait_ns = until_ns > now_ns + LEAD_NS ? until_ns - now_ns - LEAD_NS : 0;
    struct timespec wait = {(time_t)(wait_ns / GPULET_NS_PER_S), (long)(wait_ns % GPULET_NS_PER_S)};
    int count = epoll_pwait2(load->epoll, events, EVENTS_MAX, &wait, NULL);
    for (int i = 0; i < count; i++) {
        load_conn_t *conn = events[i].data.ptr;
        if (conn->request == NULL) { /* an idle connection that the server closed */
            for (load_conn_t **at = &load->idle; *at != NULL; at = &(*at)->next_idle) {
                if (*at == conn) {
                    *at = conn->next_idle;
                    close_conn(load, conn);
                    break;
                }
            }
            continue;
        }
        (void)handle_step(load, conn, gpulet_client_step(conn->client));
    }
}

static void run_loop(load_t *load)
{
    for (;;) {
        uint64_t now_ns = gpulet_clock_ns();
        add_due(load, now_ns);
        send_waiting(load);
        print_progress(load, now_ns);
        bool over = now_ns >= load->end_ns;
        if (over && load->in_flight == 0 && load->waiting_head == NULL)
            return;
        if (over && now_ns >= load->patience_ns)
            return;
        uint64_t until_ns = over ? load->patience_ns : next_due(load);
        if (load->options->progress && load->progress_ns < until_ns)
            until_ns = load->progress_ns;
        wait_events(load, until_ns);
    }
}

/* An answer within the objective counts, however long that is. */
static uint64_t grace_ns(const gpulet_load_options_t *o)
{
    uint64_t most_ns = grace_least_ns;
    for (size_t i = 0; i < o->models_count; i++) {
        uint64_t slo_ns = gpulet_duration_ns(o->models[i].slo_ms);
        if (slo_ns + grace_beyond_ns > most_ns)
            most_ns = slo_ns + grace_beyond_ns;
    }
    return most_ns;
}

/* What never got an answer is a failure. */
static void settle_rest(load_t *load)
{
    while (load->waiting_head != NULL) {
        load_request_t *request = load->waiting_head;
        load->waiting_head = request->next;
        settle(load, request, 0, "no connection in time");
    }
    while (load->all != NULL) {
        if (load->all->request != NULL)
            settle(load, load->all->request, 0, "no answer in time");
        assert(load->all->at_all == &load->all);
        close_conn(load, load->all);
    }
}

static gpulet_status_t open_sources(load_t *load, gpulet_error_t *err)
{
    const gpulet_load_options_t *o = load->options;
    for (size_t i = 0; i < o->models_count; i++) {
        load_source_t *source = &load->sources[i];
        gpulet_request_shape_t shape = {o->batch, o->dim, o->models[i].shapes};
        gpulet_status_t st =
            gpulet_model_info_fetch(&source->info, &load->url, o->models[i].name, err);
        gpulet_rng_t rng;
        gpulet_rng_init(&rng, gpulet_rng_seed(o->seed, "inputs", o->models[i].name));
        for (int v = 0; v < VARIANTS && st == GPULET_OK; v++)
            st = gpulet_request_make(&source->variants[v], &source->info, &load->url, &shape,
                                     !o->json, &rng, err);
        if (st != GPULET_OK)
            return st;
        (void)snprintf(load->results[i].name, sizeof(load->results[i].name), "%s",
                       o->models[i].name);
        load->results[i].slo_ms = o->models[i].slo_ms;
    }
    return GPULET_OK;
}

static void close_load(load_t *load)
{
    while (load->free_requests != NULL) {
        load_request_t *request = load->free_requests;
        load->free_requests = request->next;
        free(request);
    }
    for (size_t i = 0; load->sources != NULL && i < load->options->models_count; i++) {
        gpulet_model_info_deinit(&load->sources[i].info);
        for (int v = 0; v < VARIANTS; v++)
            gpulet_buf_deinit(&load->sources[i].variants[v]);
    }
    free(load->sources);
    if (load->epoll >= 0)
        (void)close(load->epoll);
}

gpulet_status_t gpulet_load_run(gpulet_load_result_t *results, double *seconds_out,
                                const gpulet_load_options_t *options, gpulet_error_t *err)
{
    load_t load = {.options = options, .results = results, .epoll = epoll_create1(EPOLL_CLOEXEC)};
    load.waiting_tail = &load.waiting_head;
    memset(results, 0, options->models_count * sizeof(*results));
    load.sources = calloc(options->models_count, sizeof(*load.sources));
    gpulet_status_t st = load.sources != NULL && load.epoll >= 0
                             ? gpulet_url_parse(&load.url, options->url, err)
                             : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st == GPULET_OK)
        st = gpulet_url_resolve(&load.url, err);
    if (st == GPULET_OK)
        st = open_sources(&load, err);
    if (st != GPULET_OK) {
        close_load(&load);
        return st;
    }
    load.begin_ns = gpulet_clock_ns();
    load.count_ns = load.begin_ns + (uint64_t)(options->warmup_s * 1e9);
    load.end_ns = load.count_ns + (uint64_t)(options->duration_s * 1e9);
    load.patience_ns = load.end_ns + grace_ns(options);
    load.progress_ns = load.begin_ns + GPULET_NS_PER_S;
    for (size_t i = 0; i < options->models_count; i++)
        first_arrival(&load, i);
    run_loop(&load);
    settle_rest(&load);
    if (options->progress)
        (void)fprintf(stderr, "\r%70s\r", "");
    *seconds_out = options->duration_s;
    close_load(&load);
    return GPULET_OK;
}
