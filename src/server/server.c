#include "server/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/ensembles.h"
#include "server/follow.h"
#include "server/keeper.h"
#include "server/known.h"
#include "server/planning.h"
#include "server/recall.h"
#include "store/store.h"

enum { TICK_MS = 100, TRIM_TICKS = 20, HEALTH_TICKS = 10, PATH_SIZE = 4096 };

static void on_sched_timer(evutil_socket_t fd, short what, void *context)
{
    gpulet_server_t *server = context;
    uint64_t fired = 0;
    (void)what;
    if (read(fd, &fired, sizeof(fired)) < 0)
        return; /* it was set anew in this very turn */
    server->timer_armed_ns = UINT64_MAX;
    if (gpulet_clock_ns() >= server->timer_wanted_ns) {
        server->timer_wanted_ns = UINT64_MAX;
        server_brain_apply(server, gpulet_sched_on_timer(server->sched, gpulet_clock_ns()));
    }
    server_brain_arm(server);
}

static void begin_stop(gpulet_server_t *server)
{
    server_calibrate_end(server);
    server_brain_apply(server, gpulet_sched_shutdown(server->sched, gpulet_clock_ns(), true));
    server_gpulets_stop(server);
    server->stop = true;
}

/* Draining ends when every request is answered and sent, or the limit has passed. */
static void check_drain(gpulet_server_t *server, uint64_t now_ns)
{
    if (!server->draining || server->stop)
        return;
    if (server->infers_open == 0 && gpulet_sched_idle(server->sched) &&
        gpulet_http_server_connections(server->http) == 0) {
        begin_stop(server);
    } else if (now_ns >= server->drain_until_ns) {
        GPULET_LOG(WARNING, "event=drain_limit requests_open=%llu",
                   (unsigned long long)server->infers_open);
        begin_stop(server);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    gpulet_server_t *server = context;
    (void)fd;
    (void)what;
    server_gpulets_step(server);
    server_follow_step(server, gpulet_clock_ns());
    server_calibrate_step(server);
    server_prepared_step(server);
    server_lend_step(server, gpulet_clock_ns());
    server_reload_reap(server);
    server_ensembles_refresh(server);
    if (++server->ticks % TRIM_TICKS == 0)
        server_catalog_trim(server);
    if (server->ticks % HEALTH_TICKS == 0 && !server->stop)
        server_devices_check(server);
    check_drain(server, gpulet_clock_ns());
}

static void on_stop_signal(evutil_socket_t signal_number, short what, void *context)
{
    gpulet_server_t *server = context;
    (void)what;
    if (server->draining && signal_number == SIGHUP)
        return; /* a shell passes on what the terminal has told already */
    if (server->draining || !server->ready) {
        begin_stop(server); /* asked twice, or before anything was served: at once */
        (void)event_base_loopbreak(server->base);
        return;
    }
    GPULET_LOG(INFO, "event=drain signal=%d requests_open=%llu", (int)signal_number,
               (unsigned long long)server->infers_open);
    server->draining = true;
    server->drain_until_ns = gpulet_clock_ns() + (uint64_t)(server->settings.drain_limit_s * 1e9);
    server_brain_apply(server, gpulet_sched_shutdown(server->sched, gpulet_clock_ns(), false));
    server_follow_end(server);
    gpulet_http_server_drain(server->http);
    gpulet_http_server_drain(server->metrics_http);
    check_drain(server, gpulet_clock_ns());
}

void server_announce_ready(gpulet_server_t *server)
{
    (void)printf("ready http=%s:%u grpc=off metrics=%s:%u\n", server->settings.address,
                 gpulet_http_server_port(server->http), server->settings.address,
                 gpulet_http_server_port(server->metrics_http));
    (void)fflush(stdout);
    GPULET_LOG(INFO, "event=ready models=%u seconds=%.3f planner=%s feasible=%d",
               server->named_count, (double)(gpulet_clock_ns() - server->started_ns) / 1e9,
               server->plan->planner, server->plan->feasible);
}

/* A terminal that is closed ends the server as well, unless that is ignored (nohup). */
static gpulet_status_t listen_for_signals(gpulet_server_t *server)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction before;
        if (numbers[i] == SIGHUP && sigaction(SIGHUP, NULL, &before) == 0 &&
            before.sa_handler == SIG_IGN)
            continue;
        server->stop_signals[i] =
            event_new(server->base, numbers[i], EV_SIGNAL | EV_PERSIST, on_stop_signal, server);
        if (server->stop_signals[i] == NULL || event_add(server->stop_signals[i], NULL) != 0)
            return GPULET_E_NOMEM;
    }
    return GPULET_OK;
}

static gpulet_status_t open_loop(gpulet_server_t *server, gpulet_error_t *err)
{
    struct timeval tick = {0, TICK_MS * 1000L};
    server->base = event_base_new();
    if (server->base == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "no event loop");
    server->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (server->timer_fd < 0)
        return gpulet_fail(err, GPULET_E_IO, "timer: %s", strerror(errno));
    server->sched_timer =
        event_new(server->base, server->timer_fd, EV_READ | EV_PERSIST, on_sched_timer, server);
    server->tick = event_new(server->base, -1, EV_PERSIST, on_tick, server);
    if (server->sched_timer == NULL || server->tick == NULL ||
        event_add(server->sched_timer, NULL) != 0 || event_add(server->tick, &tick) != 0 ||
        listen_for_signals(server) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_NOMEM, "no event loop");
    return GPULET_OK;
}

/* To the brain 0 means its default, to the user none at all. */
static uint64_t brain_ns(double us)
{
    return us > 0 ? (uint64_t)(us * 1e3) : 1;
}

static gpulet_status_t open_sched(gpulet_server_t *server, gpulet_error_t *err)
{
    const gpulet_settings_t *s = &server->settings;
    gpulet_sched_options_t options = {
        .requests_max = (uint32_t)s->requests_max,
        .commit_ahead_ns = brain_ns(s->commit_ahead_us),
        .overhead_ns = brain_ns(s->overhead_us),
    };
    gpulet_status_t st = gpulet_sched_create(&server->sched, &options);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "out of memory");
}

/* gpulet-worker lies beside this program unless told otherwise. */
static gpulet_status_t find_worker_program(gpulet_server_t *server, gpulet_error_t *err)
{
    char path[PATH_SIZE];
    if (server->settings.worker_program != NULL) {
        (void)snprintf(path, sizeof(path), "%s", server->settings.worker_program);
    } else {
        ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof("gpulet-worker"));
        if (length <= 0)
            return gpulet_fail(err, GPULET_E_IO,
                               "cannot tell where this program lies: name --worker-program");
        path[length] = '\0';
        char *slash = strrchr(path, '/');
        (void)snprintf(slash + 1, sizeof(path) - (size_t)(slash + 1 - path), "gpulet-worker");
    }
    if (access(path, X_OK) != 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND,
                           "--worker-program: %s is not there or cannot be run", path);
    server->worker_program = strdup(path);
    return server->worker_program != NULL ? GPULET_OK
                                          : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

/* Without its store the server measures again; that is worth a warning, not a refusal, unless the
 * file was named. */
static gpulet_status_t open_store(gpulet_server_t *server, gpulet_error_t *err)
{
    const char *path = server->settings.store;
    gpulet_error_t why;
    if (path != NULL && strcmp(path, "none") == 0)
        return GPULET_OK;
    gpulet_measured_by(server->measured_by, server->settings.engine, server->settings.ort_library,
                       server->settings.device);
    gpulet_status_t st = gpulet_store_open(&server->store, path, &why);
    if (st == GPULET_OK)
        return server_keeper_create(&server->keeper, server->store, err);
    if (path != NULL)
        return gpulet_fail(err, st, "%s", why.text);
    GPULET_LOG(WARNING, "event=no_store reason=\"%s\"", why.text);
    return GPULET_OK;
}

static gpulet_status_t check_engine(gpulet_server_t *server, gpulet_error_t *err)
{
    char path[PATH_SIZE];
    if (gpulet_engine_find(server->settings.engine) == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--engine: no engine is called '%s'",
                           server->settings.engine);
    if (strcmp(server->settings.engine, "ort") != 0)
        return GPULET_OK;
    return gpulet_engine_ort_locate(path, sizeof(path), server->settings.ort_library, err);
}

static gpulet_status_t open_parts(gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_log_level_t level = GPULET_LOG_INFO;
    const gpulet_settings_t *s = &server->settings;
    if (gpulet_log_level_parse(&level, s->log_level) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--log-level: expected debug, info, warning or error, found '%s'",
                           s->log_level);
    gpulet_log_setup(level, "gpuletd");
    if (s->grpc_port != 0)
        GPULET_LOG(WARNING, "event=grpc_unavailable port=%llu reason=\"gRPC is not served yet\"",
                   (unsigned long long)s->grpc_port);
    if (s->model_repository == NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "--model-repository: expected a folder of models");
    gpulet_status_t st = check_engine(server, err);
    if (st == GPULET_OK && s->workload != NULL)
        st = gpulet_workload_load(&server->workload, s->workload, s->scenario, err);
    if (st == GPULET_OK)
        st = find_worker_program(server, err);
    if (st == GPULET_OK)
        st = open_loop(server, err);
    if (st == GPULET_OK)
        st = open_sched(server, err);
    if (st == GPULET_OK)
        st = server_catalog_open(server, err);
    if (st == GPULET_OK)
        st = server_gpulets_open(server, err);
    if (st == GPULET_OK)
        st = server_planning_open(server, err);
    if (st == GPULET_OK && server_events_create(&server->events) != GPULET_OK)
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    if (st == GPULET_OK)
        st = server_follow_open(server, err);
    if (st == GPULET_OK)
        st = open_store(server, err);
    if (st == GPULET_OK)
        st = server_known_open(server, err);
    if (st == GPULET_OK)
        st = server_recall_open(server, err);
    if (st == GPULET_OK)
        st = server_prepared_open(server, err);
    return st == GPULET_OK ? server_api_open(server, err) : st;
}

gpulet_status_t gpulet_server_create(gpulet_server_t **out, gpulet_settings_t *settings,
                                     gpulet_error_t *err)
{
    gpulet_server_t *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    server->settings = *settings;
    memset(settings, 0, sizeof(*settings));
    server->started_ns = gpulet_clock_ns();
    if (getrandom(&server->shape_seed, sizeof(server->shape_seed), GRND_NONBLOCK) < 0)
        server->shape_seed = server->started_ns; /* the machine has just been started */
    server_machine_sample(&server->machine, server->started_ns);
    server->timer_fd = -1;
    server->timer_armed_ns = UINT64_MAX;
    server->timer_wanted_ns = UINT64_MAX;
    gpulet_status_t st = open_parts(server, err);
    if (st != GPULET_OK) {
        gpulet_server_destroy(server);
        return st;
    }
    *out = server;
    return GPULET_OK;
}

/* After the loop ended the workers are given a moment to go by themselves. */
static void wait_for_workers(gpulet_server_t *server)
{
    uint64_t until_ns = gpulet_clock_ns() + 3 * GPULET_NS_PER_S;
    server_gpulets_stop(server);
    server_gpulets_step(server);
    while (!server_gpulets_all_stopped(server) && gpulet_clock_ns() < until_ns) {
        (void)event_base_loop(server->base, EVLOOP_ONCE);
        server_gpulets_step(server);
    }
    /* What still waits, perhaps since its worker had to be killed, is told so. */
    server_brain_apply(server, gpulet_sched_shutdown(server->sched, gpulet_clock_ns(), true));
    (void)event_base_loop(server->base, EVLOOP_NONBLOCK);
}

static gpulet_status_t begin_first_plan(gpulet_server_t *server, gpulet_error_t *err)
{
    server_devices_check(server);
    server_plan_job_t job = {.reason = GPULET_FOLLOW_START,
                             .wanted_ns = gpulet_clock_ns(),
                             .devices_seen = server->devices_seq};
    if (!server_planning_stored(&job, server))
        server_planning_make(&job, server);
    if (job.status == GPULET_OK)
        job.status = server_transition_begin(server, &job);
    gpulet_status_t st =
        job.status == GPULET_OK ? GPULET_OK : gpulet_fail(err, job.status, "%s", job.err.text);
    server_calibrate_want(server);
    server_planning_job_deinit(&job);
    return st;
}

gpulet_status_t gpulet_server_run(gpulet_server_t *server, gpulet_error_t *err)
{
    gpulet_status_t st = begin_first_plan(server, err);
    if (st != GPULET_OK)
        return st;
    while (!server->stop) {
        if (event_base_loop(server->base, EVLOOP_ONCE) < 0)
            break;
        if (server->ready && !server->draining && server->calibration_wanted &&
            server->calibration == NULL && !server_recall_wanted(server)) {
            server->calibration_wanted = false;
            (void)server_calibrate_begin(server);
        }
    }
    server->stop = true;
    wait_for_workers(server);
    if (server->exit_status != GPULET_OK)
        return gpulet_fail(err, server->exit_status, "%s", server->exit_error.text);
    GPULET_LOG(INFO, "event=end requests=%llu", (unsigned long long)server->infers_total);
    return GPULET_OK;
}

void gpulet_server_destroy(gpulet_server_t *server)
{
    if (server == NULL)
        return;
    server->stop = true;
    if (server->base != NULL)
        server_calibrate_end(server);
    server_prepared_close(server);
    server_api_close(server);
    server_ensembles_close(server);
    server_infer_close_all(server);
    if (server->backend != NULL)
        server_gpulets_close(server);
    server_follow_close(server);
    server_planning_close(server);
    server_events_destroy(server->events);
    server_catalog_close(server);
    server_recall_close(server);
    server_known_close(server);
    server_keeper_destroy(server->keeper);
    gpulet_store_close(server->store);
    gpulet_workload_destroy(server->workload);
    gpulet_sched_destroy(server->sched);
    struct event *events[] = {server->sched_timer, server->tick, server->stop_signals[0],
                              server->stop_signals[1], server->stop_signals[2]};
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        if (events[i] != NULL)
            event_free(events[i]);
    }
    if (server->base != NULL)
        event_base_free(server->base);
    if (server->timer_fd >= 0)
        (void)close(server->timer_fd);
    free(server->answers);
    free(server->worker_program);
    gpulet_settings_deinit(&server->settings);
    free(server);
}
