/* The start of a worker, from the server's side: whatever fails, it is started, or it is not and
 * nothing of it is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/worker.h"
#include "torture.h"

enum { WAIT_S = 20 };

typedef struct seen {
    int ready, lost;
} seen_t;

static void on_ready(void *context, gpulet_worker_t *worker)
{
    (void)worker;
    ((seen_t *)context)->ready++;
}

static void on_lost(void *context, gpulet_worker_t *worker, const char *why)
{
    (void)worker;
    (void)why;
    ((seen_t *)context)->lost++;
}

static gpulet_status_t start(void *context)
{
    seen_t seen = {0, 0};
    const gpulet_worker_callbacks_t callbacks = {
        .context = &seen, .on_ready = on_ready, .on_lost = on_lost};
    const gpulet_worker_options_t options = {.program = GPULET_BIN_DIR "/gpulet-worker",
                                             .name = "torture",
                                             .backend = "fake",
                                             .grant = "fake:test/0:0",
                                             .engine = "fake",
                                             .log_level = "error",
                                             .units = 1,
                                             .batch_ahead = 2};
    gpulet_worker_t *worker = NULL;
    gpulet_error_t err;
    (void)context;
    gpulet_status_t st = gpulet_worker_start(&worker, &options, &callbacks, &err);
    if (st != GPULET_OK)
        assert_null(worker);
    uint64_t end_ns = gpulet_clock_ns() + WAIT_S * GPULET_NS_PER_S;
    while (st == GPULET_OK && seen.ready + seen.lost == 0) {
        struct pollfd p = {.fd = gpulet_worker_fd(worker), .events = POLLIN};
        if (poll(&p, 1, 20) > 0)
            gpulet_worker_process(worker);
        gpulet_worker_check(worker, gpulet_clock_ns());
        assert_true(gpulet_clock_ns() < end_ns);
    }
    if (st == GPULET_OK && seen.lost > 0)
        st = GPULET_E_CLOSED;
    gpulet_worker_destroy(worker);
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        fail_msg("a process is left");
    return st;
}

static void start_of_a_worker(void **state)
{
    (void)state;
    torture_run("worker", start, NULL, TORTURE_BOTH, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(start_of_a_worker)};
    return cmocka_run_group_tests_name("torture.worker", tests, NULL, NULL);
}
