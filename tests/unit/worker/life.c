/* The life of a worker process: start, load, stop, and all the ways to die or go mad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness.h"

static const char identity[] = "input=x:FP32:-1x4\noutput=y:FP32:-1x4\n";
static float ones[4] = {1, 1, 1, 1};

static gpulet_tensor_view_t row(float *values)
{
    return (gpulet_tensor_view_t){.type = GPULET_DATATYPE_FP32,
                                  .shape = {.rank = 2, .dims = {1, 4}},
                                  .data = values,
                                  .size = 16};
}

static gpulet_status_t run_one(harness_t *h, uint64_t batch)
{
    gpulet_tensor_view_t view = row(ones);
    gpulet_wire_span_t span = harness_request(h, 1, &view, 1);
    return gpulet_worker_run(h->worker, batch, 1, 1, &span, 1, NULL, 0);
}

/* ---- ordinary life ---- */

static void starts_loads_and_stops(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "cpu0.1", NULL);
    harness_wait(h, &h->ready, 1);
    harness_load(h, 1, identity, true, 0);
    assert_string_equal(h->first_input.name, "x");
    assert_int_equal(h->first_output.shape.dims[1], 4);
    harness_stop(h);
    assert_int_equal(h->lost, 0);
}

static void a_load_may_be_asked_for_before_it_is_ready(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "early", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(h->ready, 1);
    harness_stop(h);
}

static gpulet_status_t load_path(harness_t *h, const char *path)
{
    gpulet_error_t err;
    const gpulet_worker_model_t m = {.model = 9,
                                     .name = "m",
                                     .path = path,
                                     .input_fd = gpulet_slab_fd(h->inputs),
                                     .input_size = gpulet_slab_size(h->inputs)};
    return gpulet_worker_load(h->worker, &m, &err);
}

static void a_load_that_fails_says_why_and_the_worker_lives(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "fails", NULL);
    assert_int_equal(load_path(h, harness_file(h, "bad", "fail_load=the weights are gone\n")),
                     GPULET_OK);
    harness_wait(h, &h->load_failed, 1);
    assert_non_null(strstr(h->text, "the weights are gone"));
    assert_int_not_equal(h->status, GPULET_OK);
    assert_int_equal(load_path(h, "/nowhere"), GPULET_OK);
    harness_wait(h, &h->load_failed, 2);
    harness_load(h, 9, identity, true, 0);
    assert_int_equal(load_path(h, "/nowhere"), GPULET_E_EXISTS);
    harness_stop(h);
}

static void a_model_unloaded_makes_room_for_its_number(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "unload", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(gpulet_worker_unload(h->worker, 1), GPULET_OK);
    assert_int_equal(gpulet_worker_unload(h->worker, 1), GPULET_E_NOT_FOUND);
    harness_load(h, 1, "input=z:INT8:-1x2\n", true, 0);
    assert_string_equal(h->first_input.name, "z");
    harness_stop(h);
}

static void a_model_unloaded_while_loading_is_never_spoken_of(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "unload", NULL);
    assert_int_equal(load_path(h, harness_file(h, "slow", "load_ms=50\n")), GPULET_OK);
    assert_int_equal(gpulet_worker_unload(h->worker, 9), GPULET_OK);
    harness_load(h, 2, identity, true, 0);
    assert_int_equal(h->loaded, 1);
    harness_stop(h);
}

static void memory_of_a_model_is_seen(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "memory", NULL);
    harness_load(h, 1, "memory_mb=64\n", true, 0);
    assert_true(h->load_memory >= 60 << 20);
    assert_true(h->load_memory < 1 << 30); /* sanitizers take a share of their own */
    harness_stop(h);
}

static void a_run_is_timed_when_that_is_asked_for(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "timed", NULL);
    harness_load(h, 1, "latency_ms=20\nlatency_ms_per_item=5\n", true, 0);
    assert_int_equal(h->load_run_ns, 0);
    h->timed_runs = 3;
    harness_load(h, 2, "latency_ms=20\nlatency_ms_per_item=5\n", true, 0);
    assert_in_range(h->load_run_ns, 25 * GPULET_NS_PER_MS, GPULET_NS_PER_S);
    h->timed_runs = 0;
    harness_stop(h);
}

static void low_priority(gpulet_worker_options_t *o)
{
    o->nice = 10;
}

static void loads_in_the_background_and_comes_to_the_front(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "nice", low_priority);
    harness_load(h, 1, identity, true, 0);
    gpulet_worker_set_foreground(h->worker);
    assert_int_equal(gpulet_worker_regrant(h->worker, "fake:test/0:1"), GPULET_OK);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->done, 1);
    harness_stop(h);
}

static void a_terminals_interrupt_does_not_end_it(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "signals", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(kill(gpulet_worker_pid(h->worker), SIGINT), 0);
    assert_int_equal(kill(gpulet_worker_pid(h->worker), SIGTERM), 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->done, 1);
    harness_stop(h);
}

/* Only its own: standard ones, control socket, rings, events, epoll, output segment. */
static void it_keeps_no_descriptor_of_the_server(void **state)
{
    harness_t *h = *state;
    char path[64], target[256], link[512];
    int leak = fcntl(STDERR_FILENO, F_DUPFD, 40); /* on purpose without close-on-exec */
    int pipes = 0;
    harness_start(h, NULL, "descriptors", NULL);
    harness_wait(h, &h->ready, 1);
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)gpulet_worker_pid(h->worker));
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        (void)snprintf(link, sizeof(link), "%s/%s", path, e->d_name);
        ssize_t n = readlink(link, target, sizeof(target) - 1);
        if (n < 0 || atoi(e->d_name) < 3)
            continue;
        target[n] = '\0';
        pipes += atoi(e->d_name) >= 40;
    }
    (void)closedir(d);
    (void)close(leak);
    assert_int_equal(pipes, 0);
    harness_stop(h);
}

/* ---- failing to start ---- */

static void a_program_that_is_not_there_is_an_error_at_once(void **state)
{
    harness_t *h = *state;
    const gpulet_worker_callbacks_t none = {0};
    const gpulet_worker_options_t options = {
        .program = "/nowhere/gpulet-worker", .name = "x", .backend = "fake", .engine = "fake"};
    gpulet_error_t err;
    assert_int_equal(gpulet_worker_start(&h->worker, &options, &none, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere"));
    assert_null(h->worker);
}

static void no_engine(gpulet_worker_options_t *o)
{
    o->engine = "steam";
}

static void an_unknown_engine_loses_the_worker_with_the_reason(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "engine", no_engine);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "steam"));
    assert_int_equal(h->ready, 0);
}

static void short_start(gpulet_worker_options_t *o)
{
    o->start_limit_ns = 50 * GPULET_NS_PER_MS;
}

static void a_worker_that_never_gets_ready_is_lost(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "never-ready", short_start);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "not ready after 50 ms"));
}

static void a_worker_that_exits_at_once_is_lost(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "exit-at-once", NULL);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "status 3"));
}

static void short_load(gpulet_worker_options_t *o)
{
    o->load_limit_ns = 50 * GPULET_NS_PER_MS;
    o->run_limit_ns = 50 * GPULET_NS_PER_MS;
}

static void a_load_without_an_answer_loses_the_worker(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "slow-load", short_load);
    harness_wait(h, &h->ready, 1);
    assert_int_equal(load_path(h, "/anything"), GPULET_OK);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "load of model 9"));
}

/* ---- dying ---- */

static void a_killed_worker_is_lost_once_and_its_results_stay(void **state)
{
    harness_t *h = *state;
    float values[4] = {1, 2, 3, 4};
    gpulet_tensor_view_t view = row(values);
    harness_start(h, NULL, "killed", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\nhang_run_every=3\n", true, 0);
    gpulet_wire_span_t span = harness_request(h, 1, &view, 1);
    assert_int_equal(gpulet_worker_run(h->worker, 5, 1, 1, &span, 1, NULL, 0), GPULET_OK);
    harness_wait(h, &h->done, 1);
    assert_int_equal(gpulet_worker_run(h->worker, 6, 1, 1, &span, 1, NULL, 0), GPULET_OK);
    assert_int_equal(kill(gpulet_worker_pid(h->worker), SIGKILL), 0);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "signal 9"));
    gpulet_worker_process(h->worker);
    gpulet_worker_check(h->worker, gpulet_clock_ns());
    assert_int_equal(h->lost, 1);
    assert_int_equal(gpulet_worker_run(h->worker, 7, 1, 1, &span, 1, NULL, 0), GPULET_E_CLOSED);
    gpulet_worker_destroy(h->worker);
    h->worker = NULL;
    assert_int_equal(h->done, 1);
    assert_memory_equal(h->dones[0].tensors[0].data, values, sizeof(values));
}

static void a_crash_in_a_run_loses_the_worker(void **state)
{
    harness_t *h = *state;
    h->destroy_in_lost = true;
    harness_start(h, NULL, "crash", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\ncrash_run_every=3\n", true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    assert_int_equal(run_one(h, 2), GPULET_OK);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "signal 6"));
    assert_int_equal(h->done, 1); /* the good one came first */
    assert_null(h->worker);
}

static void short_run(gpulet_worker_options_t *o)
{
    o->run_limit_ns = 100 * GPULET_NS_PER_MS;
}

static void a_run_that_hangs_loses_the_worker(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "hang", short_run);
    harness_load(h, 1, "input=x:FP32:-1x4\nhang_run_every=2\n", true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "over 100 ms"));
    assert_int_equal(h->done, 0);
}

/* The load of another model lasts, but the batch does not wait for it. */
static void a_run_that_hangs_beside_a_load_loses_the_worker(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "hang-load", short_run);
    harness_load(h, 1, "input=x:FP32:-1x4\nhang_run_every=2\n", true, 0);
    gpulet_worker_set_foreground(h->worker);
    assert_int_equal(load_path(h, harness_file(h, "slow", "load_ms=60000\n")), GPULET_OK);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->lost, 1);
    assert_non_null(strstr(h->text, "over 100 ms"));
}

static void destroying_a_busy_worker_leaves_nothing(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "busy", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\nhang_run_every=2\n", true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    gpulet_worker_destroy(h->worker);
    h->worker = NULL;
}

/* ---- stopping ---- */

static void a_stop_lets_the_batches_it_holds_end(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "stop", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\nlatency_ms=30\n", true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    assert_int_equal(run_one(h, 2), GPULET_OK);
    gpulet_worker_stop(h->worker, 5 * GPULET_NS_PER_S);
    assert_int_equal(run_one(h, 3), GPULET_E_CLOSED);
    harness_wait(h, &h->stopped, 1);
    assert_int_equal(h->done, 2);
    assert_int_equal(h->lost, 0);
}

static void a_worker_deaf_to_stop_is_killed(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "deaf", NULL);
    harness_wait(h, &h->ready, 1);
    gpulet_worker_stop(h->worker, 50 * GPULET_NS_PER_MS);
    harness_wait(h, &h->stopped, 1);
    assert_int_equal(h->lost, 0);
}

static void a_stop_that_costs_a_batch_is_a_loss(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "stop", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\nhang_run_every=2\n", true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    gpulet_worker_stop(h->worker, 50 * GPULET_NS_PER_MS);
    harness_wait(h, &h->lost, 1);
    assert_int_equal(h->stopped, 0);
}

/* A server that is killed takes its workers along. */
static void a_worker_dies_with_its_server(void **state)
{
    harness_t *h = *state;
    int pipes[2];
    pid_t worker = 0;
    assert_int_equal(pipe(pipes), 0);
    pid_t server = fork();
    if (server == 0) {
        harness_start(h, NULL, "orphan", NULL);
        harness_wait(h, &h->ready, 1);
        worker = gpulet_worker_pid(h->worker);
        if (write(pipes[1], &worker, sizeof(worker)) != sizeof(worker))
            _exit(1);
        (void)raise(SIGKILL);
    }
    assert_int_equal(read(pipes[0], &worker, sizeof(worker)), sizeof(worker));
    assert_int_equal(waitpid(server, NULL, 0), server);
    for (int i = 0; i < 500 && kill(worker, 0) == 0; i++) {
        char path[64], text[256] = "";
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)worker);
        FILE *f = fopen(path, "re"); /* dead and not yet reaped by init will do */
        if (f == NULL || fgets(text, sizeof(text), f) == NULL || strstr(text, ") Z ") != NULL)
            i = 1000;
        if (f != NULL)
            (void)fclose(f);
        (void)poll(NULL, 0, 10);
        assert_true(i != 499);
    }
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

/* ---- mad ones ---- */

static void mad_after_ready_is_lost(void **state)
{
    static const char *const ways[] = {
        "early-ready", "unsealed",  "short-segment", "no-descriptor", "garbage",
        "unasked",     "wrong-way", "gone",          "closed",        "many-segments"};
    harness_t *h = *state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        h->lost = 0;
        harness_start(h, WORKER_MAD, ways[i], NULL);
        harness_wait(h, &h->lost, 1);
        print_message("%s: %s\n", ways[i], h->text);
        assert_null(strstr(h->text, "status"));
        gpulet_worker_destroy(h->worker);
        h->worker = NULL;
    }
}

static void a_mad_answer_is_never_passed_on(void **state)
{
    static const char *const ways[] = {"batch", "status", "segment", "offset", "size",
                                       "count", "rank",   "items",   "head"};
    harness_t *h = *state;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        h->lost = 0;
        harness_start(h, WORKER_MAD, ways[i], NULL);
        harness_load(h, 1, identity, true, 0);
        assert_int_equal(run_one(h, 1), GPULET_OK);
        harness_wait(h, &h->lost, 1);
        print_message("%s: %s\n", ways[i], h->text);
        assert_int_equal(h->done, 0);
        gpulet_worker_destroy(h->worker);
        h->worker = NULL;
    }
}

/* The server looks at the worker's index only when the ring seems full: that takes some thousand
 * batches. */
static void a_mad_index_of_the_reader_is_found_when_it_matters(void **state)
{
    harness_t *h = *state;
    gpulet_tensor_view_t view = row(ones);
    h->release_at_once = true;
    harness_start(h, WORKER_MAD, "tail", NULL);
    harness_load(h, 1, identity, true, 0);
    gpulet_wire_span_t span = harness_request(h, 1, &view, 1);
    for (uint64_t i = 0; i < 20000 && h->lost == 0; i++) {
        gpulet_status_t st = gpulet_worker_run(h->worker, i, 1, 1, &span, 1, NULL, 0);
        if (st == GPULET_E_CLOSED)
            harness_wait(h, &h->lost, 1);
        else
            harness_wait(h, &h->done, h->done + 1);
    }
    assert_int_equal(h->lost, 1);
    assert_non_null(strstr(h->text, "nonsense"));
}

/* A worker's figures of time went to the brain as they were: one wild one, and the model was
 * refused for being late from then on. */
static void wild_times_are_bounded_by_what_passed(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "times", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->done, 1);
    assert_true(h->dones[0].exec_ns < HARNESS_WAIT_MS * GPULET_NS_PER_MS);
}

static void a_batch_is_finished_once_only(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "twice", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->lost, 1);
    assert_int_equal(h->done, 1);
}

static void an_answer_written_before_death_counts(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "die-after-done", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->lost, 1);
    assert_int_equal(h->done, 1);
}

static void an_answer_without_a_wake_up_is_found_by_the_timer(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "no-wake", NULL);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->done, 1);
}

static void a_silent_worker_is_lost_at_the_run_limit(void **state)
{
    harness_t *h = *state;
    harness_start(h, WORKER_MAD, "silent", short_run);
    harness_load(h, 1, identity, true, 0);
    assert_int_equal(run_one(h, 1), GPULET_OK);
    harness_wait(h, &h->lost, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_loads_and_stops),
        TEST(a_load_may_be_asked_for_before_it_is_ready),
        TEST(a_load_that_fails_says_why_and_the_worker_lives),
        TEST(a_model_unloaded_makes_room_for_its_number),
        TEST(a_model_unloaded_while_loading_is_never_spoken_of),
        TEST(memory_of_a_model_is_seen),
        TEST(a_run_is_timed_when_that_is_asked_for),
        TEST(loads_in_the_background_and_comes_to_the_front),
        TEST(a_terminals_interrupt_does_not_end_it),
        TEST(it_keeps_no_descriptor_of_the_server),
        TEST(a_program_that_is_not_there_is_an_error_at_once),
        TEST(an_unknown_engine_loses_the_worker_with_the_reason),
        TEST(a_worker_that_never_gets_ready_is_lost),
        TEST(a_worker_that_exits_at_once_is_lost),
        TEST(a_load_without_an_answer_loses_the_worker),
        TEST(a_killed_worker_is_lost_once_and_its_results_stay),
        TEST(a_crash_in_a_run_loses_the_worker),
        TEST(a_run_that_hangs_loses_the_worker),
        TEST(a_run_that_hangs_beside_a_load_loses_the_worker),
        TEST(destroying_a_busy_worker_leaves_nothing),
        TEST(a_stop_lets_the_batches_it_holds_end),
        TEST(a_worker_deaf_to_stop_is_killed),
        TEST(a_stop_that_costs_a_batch_is_a_loss),
        TEST(a_worker_dies_with_its_server),
        TEST(mad_after_ready_is_lost),
        TEST(a_mad_answer_is_never_passed_on),
        TEST(a_mad_index_of_the_reader_is_found_when_it_matters),
        TEST(wild_times_are_bounded_by_what_passed),
        TEST(a_batch_is_finished_once_only),
        TEST(an_answer_written_before_death_counts),
        TEST(an_answer_without_a_wake_up_is_found_by_the_timer),
        TEST(a_silent_worker_is_lost_at_the_run_limit),
    };
    return cmocka_run_group_tests_name("worker.life", tests, NULL, NULL);
}
