/* Batches through a live worker with the fake engine: gathering, padding, large data, errors,
 * measuring. Row i of an output repeats row i of the first input, so that every answer shows whose
 * it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "harness.h"

static const char identity[] = "input=x:FP32:-1x4\noutput=y:FP32:-1x4\n";

static gpulet_tensor_view_t tensor(gpulet_datatype_t type, int64_t a, int64_t b, void *data,
                                   size_t size)
{
    return (gpulet_tensor_view_t){
        .type = type, .shape = {.rank = 2, .dims = {a, b}}, .data = data, .size = size};
}

static gpulet_tensor_view_t floats(int64_t items, int64_t width, float *data)
{
    return tensor(GPULET_DATATYPE_FP32, items, width, data,
                  (size_t)(items * width) * sizeof(float));
}

static const harness_done_t *run(harness_t *h, uint32_t model, uint32_t items,
                                 const gpulet_wire_span_t *spans, uint32_t count)
{
    int done = h->done;
    gpulet_status_t st =
        gpulet_worker_run(h->worker, (uint64_t)done + 100, model, items, spans, count, NULL, 0);
    assert_int_equal(st, GPULET_OK);
    harness_wait(h, &h->done, done + 1);
    assert_int_equal(h->dones[done].batch, done + 100);
    return &h->dones[done];
}

static void one_request_runs_in_place(void **state)
{
    harness_t *h = *state;
    float x[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    harness_start(h, NULL, "run", NULL);
    harness_load(h, 1, identity, true, 0);
    gpulet_tensor_view_t v = floats(2, 4, x);
    gpulet_wire_span_t span = harness_request(h, 2, &v, 1);
    const harness_done_t *d = run(h, 1, 2, &span, 1);
    assert_int_equal(d->status, GPULET_OK);
    assert_int_equal(d->tensors_count, 1);
    assert_int_equal(d->tensors[0].shape.dims[0], 2);
    assert_memory_equal(d->tensors[0].data, x, sizeof(x));
    assert_int_equal((uintptr_t)d->tensors[0].data % GPULET_WIRE_ALIGN, 0);
    harness_stop(h);
}

static void several_requests_are_gathered_in_order(void **state)
{
    harness_t *h = *state;
    enum { REQUESTS = 5 };
    float x[16];
    gpulet_wire_span_t spans[REQUESTS];
    uint32_t items = 0;
    harness_start(h, NULL, "gather", NULL);
    harness_load(h, 1, identity, true, 0);
    for (uint32_t r = 0; r < REQUESTS; r++) {
        uint32_t n = 1 + r % 3;
        for (uint32_t i = 0; i < n * 4; i++)
            x[i] = (float)(items * 4 + i);
        gpulet_tensor_view_t v = floats(n, 4, x);
        spans[r] = harness_request(h, n, &v, 1);
        items += n;
    }
    const harness_done_t *d = run(h, 1, items, spans, REQUESTS);
    assert_int_equal(d->status, GPULET_OK);
    assert_int_equal(d->tensors[0].shape.dims[0], items);
    for (uint32_t i = 0; i < items * 4; i++)
        assert_true(((float *)d->tensors[0].data)[i] == (float)i);
    harness_stop(h);
}

static void a_fixed_batch_is_padded_and_cut(void **state)
{
    harness_t *h = *state;
    float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    gpulet_wire_span_t spans[2];
    harness_start(h, NULL, "fixed", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\noutput=y:FP32:-1x4\noutput=z:FP32:-1x8\n", true, 8);
    gpulet_tensor_view_t v = floats(3, 4, x);
    spans[0] = harness_request(h, 3, &v, 1);
    const harness_done_t *d = run(h, 1, 3, spans, 1);
    assert_int_equal(d->status, GPULET_OK);
    assert_int_equal(d->tensors[0].shape.dims[0], 3);
    assert_int_equal(d->tensors[0].size, sizeof(x));
    assert_memory_equal(d->tensors[0].data, x, sizeof(x));
    assert_int_equal(d->tensors[1].size, 2 * sizeof(x));
    v = floats(1, 4, x + 8);
    spans[1] = harness_request(h, 1, &v, 1);
    d = run(h, 1, 4, spans, 2);
    assert_memory_equal((uint8_t *)d->tensors[0].data + sizeof(x), x + 8, 16);
    spans[0].items = 9;
    d = run(h, 1, 9, spans, 1);
    assert_int_equal(d->status, GPULET_E_INVALID);
    harness_stop(h);
}

/* "a", "bcd" … as OIP writes them. */
static size_t strings(uint8_t *out, const char *const *texts, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t n = (uint32_t)strlen(texts[i]);
        memcpy(out + at, &n, sizeof(n));
        memcpy(out + at + sizeof(n), texts[i], n);
        at += sizeof(n) + n;
    }
    return at;
}

static void strings_are_gathered_padded_and_cut(void **state)
{
    harness_t *h = *state;
    static const char *const texts[] = {"a", "bcd", "", "efghij"};
    uint8_t first[64], second[64], all[128];
    harness_start(h, NULL, "strings", NULL);
    for (uint32_t fixed = 0; fixed <= 5; fixed += 5) {
        harness_load(h, 1 + fixed, "input=x:BYTES:-1x2\noutput=y:BYTES:-1x2\n", true, fixed);
        gpulet_tensor_view_t a =
            tensor(GPULET_DATATYPE_BYTES, 1, 2, first, strings(first, texts, 2));
        gpulet_tensor_view_t b =
            tensor(GPULET_DATATYPE_BYTES, 1, 2, second, strings(second, texts + 2, 2));
        gpulet_wire_span_t spans[2] = {harness_request(h, 1, &a, 1), harness_request(h, 1, &b, 1)};
        const harness_done_t *d = run(h, 1 + fixed, 2, spans, 2);
        assert_int_equal(d->status, GPULET_OK);
        assert_int_equal(d->tensors[0].size, strings(all, texts, 4));
        assert_memory_equal(d->tensors[0].data, all, d->tensors[0].size);
    }
    harness_stop(h);
}

static void an_output_of_unknown_size_is_copied(void **state)
{
    harness_t *h = *state;
    float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    harness_start(h, NULL, "dynamic", NULL);
    harness_load(h, 1, "input=x:FP32:-1x-1\noutput=y:FP32:-1x-1\noutput=z:INT8:-1x2\n", true, 0);
    gpulet_tensor_view_t v = floats(2, 6, x);
    gpulet_wire_span_t span = harness_request(h, 2, &v, 1);
    const harness_done_t *d = run(h, 1, 2, &span, 1);
    assert_int_equal(d->status, GPULET_OK);
    assert_int_equal(d->tensors[0].shape.dims[1], 6);
    assert_memory_equal(d->tensors[0].data, x, sizeof(x));
    assert_int_equal(d->tensors[1].size, 4);
    harness_stop(h);
}

static void a_model_without_a_batch_runs_as_it_is(void **state)
{
    harness_t *h = *state;
    float x[4] = {4, 3, 2, 1};
    gpulet_wire_span_t spans[2];
    harness_start(h, NULL, "plain", NULL);
    harness_load(h, 1, "input=x:FP32:2x2\noutput=y:FP32:2x2\n", false, 0);
    gpulet_tensor_view_t v = floats(2, 2, x);
    spans[0] = spans[1] = harness_request(h, 1, &v, 1);
    const harness_done_t *d = run(h, 1, 1, spans, 1);
    assert_int_equal(d->status, GPULET_OK);
    assert_memory_equal(d->tensors[0].data, x, sizeof(x));
    assert_int_equal(run(h, 1, 2, spans, 2)->status, GPULET_E_INVALID);
    harness_stop(h);
}

static void a_model_that_does_not_batch_after_all_runs_single_items(void **state)
{
    harness_t *h = *state;
    float x[8] = {0};
    harness_start(h, NULL, "liar", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\noutput=y:FP32:1x4\n", true, 0);
    gpulet_tensor_view_t v = floats(2, 4, x);
    gpulet_wire_span_t span = harness_request(h, 2, &v, 1);
    const harness_done_t *d = run(h, 1, 2, &span, 1);
    assert_int_equal(d->status, GPULET_E_INVALID);
    assert_non_null(strstr(d->error, "does not batch"));
    v = floats(1, 4, x);
    span = harness_request(h, 1, &v, 1);
    d = run(h, 1, 1, &span, 1);
    assert_int_equal(d->status, GPULET_OK);
    assert_int_equal(d->tensors[0].shape.dims[0], 1);
    harness_stop(h);
}

/* ---- large data ---- */

static void large_inputs_and_outputs_travel_in_segments_of_their_own(void **state)
{
    harness_t *h = *state;
    enum { WIDTH = 600000 }; /* 2.4 MB an item */
    char model[128];
    gpulet_error_t err;
    void *base = NULL;
    float *x = malloc(WIDTH * sizeof(float));
    gpulet_worker_large_t large = {.segment = 77, .fd = -1};
    assert_non_null(x);
    for (int i = 0; i < WIDTH; i++)
        x[i] = (float)i;
    (void)snprintf(model, sizeof(model), "input=x:FP32:-1x%d\noutput=y:FP32:-1x%d\n", WIDTH, WIDTH);
    harness_start(h, NULL, "large", NULL);
    harness_load(h, 1, model, true, 0);
    gpulet_tensor_view_t v = floats(1, WIDTH, x);
    large.size = harness_request_size(&v, 1);
    assert_int_equal(gpulet_large_create(&large.fd, &base, "large", large.size, &err), GPULET_OK);
    assert_int_equal(harness_request_at(base, &v, 1), large.size);
    const gpulet_wire_span_t spans[2] = {{.size = large.size, .segment = 77, .items = 1},
                                         {.size = large.size, .segment = 77, .items = 1}};
    for (int i = 0; i < 6;
         i++) { /* one request in place, two gathered; outputs held and given back */
        uint32_t count = 1 + (uint32_t)i % 2;
        assert_int_equal(
            gpulet_worker_run(h->worker, (uint64_t)i, 1, count, spans, count, &large, 1),
            GPULET_OK);
        harness_wait(h, &h->done, i + 1);
        harness_done_t *d = &h->dones[i];
        assert_int_equal(d->status, GPULET_OK);
        assert_int_equal(d->tensors[0].size, count * WIDTH * sizeof(float));
        for (uint32_t item = 0; item < count; item++)
            assert_memory_equal((float *)d->tensors[0].data + (size_t)item * WIDTH, x,
                                WIDTH * sizeof(float));
        if (i >= 2) {
            gpulet_worker_release(d->output);
            d->output = NULL;
        }
    }
    gpulet_worker_forget_large(h->worker, 77);
    gpulet_worker_forget_large(h->worker, 78);
    (void)close(large.fd);
    (void)munmap(base, large.size);
    harness_stop(h);
    free(x);
}

static int worker_descriptors(const harness_t *h)
{
    char path[64];
    int count = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)gpulet_worker_pid(h->worker));
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d) != NULL)
        count++;
    (void)closedir(d);
    return count;
}

static void a_quiet_worker_gives_large_segments_back(void **state)
{
    harness_t *h = *state;
    enum { WIDTH = 600000 };
    char model[128];
    float x[4] = {1, 2, 3, 4};
    (void)snprintf(model, sizeof(model), "input=x:FP32:-1x4\noutput=y:FP32:-1x%d\n", WIDTH);
    harness_start(h, NULL, "quiet", NULL);
    harness_load(h, 2, identity, true, 0);
    int before = worker_descriptors(h);
    harness_load(h, 1, model, true, 0);
    gpulet_tensor_view_t v = floats(1, 4, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    for (int round = 0; round < 2; round++) {
        const harness_done_t *d = run(h, 1, 1, &span, 1);
        assert_int_equal(d->status, GPULET_OK);
        assert_true(((float *)d->tensors[0].data)[WIDTH - 1] == 4);
        assert_int_equal(worker_descriptors(h), before + 1);
        gpulet_worker_release(d->output);
        h->dones[round].output = NULL;
        for (int i = 0; i < 1000 && worker_descriptors(h) > before; i++) {
            (void)poll(NULL, 0, 10);
            gpulet_worker_process(h->worker);
        }
        assert_int_equal(worker_descriptors(h), before);
    }
    harness_stop(h);
}

static void many_large_inputs_at_once_overflow_no_socket(void **state)
{
    harness_t *h = *state;
    enum { COUNT = 200 };
    static gpulet_wire_span_t spans[COUNT];
    static gpulet_worker_large_t large[COUNT];
    gpulet_error_t err;
    float x[4];
    harness_start(h, NULL, "many", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\noutput=y:FP32:-1x4\nlatency_ms=100\n", true, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        void *base = NULL;
        x[0] = (float)i;
        gpulet_tensor_view_t v = floats(1, 4, x);
        large[i].segment = i + 1;
        large[i].size = harness_request_size(&v, 1);
        assert_int_equal(gpulet_large_create(&large[i].fd, &base, "l", large[i].size, &err), 0);
        spans[i] = (gpulet_wire_span_t){
            .size = harness_request_at(base, &v, 1), .segment = i + 1, .items = 1};
        (void)munmap(base, large[i].size);
    }
    for (uint64_t half = 0; half < 2;
         half++) /* the second comes while the first runs and the worker does not look */
        assert_int_equal(gpulet_worker_run(h->worker, half, 1, COUNT / 2, spans + half * COUNT / 2,
                                           COUNT / 2, large + half * COUNT / 2, COUNT / 2),
                         GPULET_OK);
    for (uint32_t i = 0; i < COUNT; i++)
        (void)close(large[i].fd);
    harness_wait(h, &h->done, 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        const harness_done_t *d = &h->dones[i / (COUNT / 2)];
        assert_int_equal(d->status, GPULET_OK);
        assert_true(((float *)d->tensors[0].data)[i % (COUNT / 2) * 4] == (float)i);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        gpulet_worker_forget_large(h->worker, i + 1);
    harness_stop(h);
}

static void small_output(gpulet_worker_options_t *o)
{
    o->output_bytes_max = 1 << 20;
    o->batch_ahead = 4;
}

/* The output segment has one chunk of 1 MiB: two slots of 512 KiB. */
static void a_worker_without_memory_for_output_waits_for_a_release(void **state)
{
    harness_t *h = *state;
    enum { WIDTH = 100000 };
    char model[128];
    float *x = calloc(WIDTH, sizeof(float));
    assert_non_null(x);
    (void)snprintf(model, sizeof(model), "input=x:FP32:-1x%d\noutput=y:FP32:-1x%d\n", WIDTH, WIDTH);
    harness_start(h, NULL, "starved", small_output);
    harness_load(h, 1, model, true, 0);
    gpulet_tensor_view_t v = floats(1, WIDTH, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(gpulet_worker_run(h->worker, i, 1, 1, &span, 1, NULL, 0), GPULET_OK);
    assert_int_equal(gpulet_worker_run(h->worker, 9, 1, 1, &span, 1, NULL, 0), GPULET_E_FULL);
    harness_wait(h, &h->done, 2);
    for (int i = 0; i < 5; i++) {
        (void)poll(NULL, 0, 10);
        gpulet_worker_process(h->worker);
    }
    assert_int_equal(h->done, 2);
    for (int i = 0; i < 2; i++) {
        gpulet_worker_release(h->dones[i].output);
        h->dones[i].output = NULL;
        harness_wait(h, &h->done, 3 + i);
    }
    harness_stop(h);
    free(x);
}

/* ---- errors ---- */

static void a_failing_run_is_an_answer_and_the_worker_lives(void **state)
{
    harness_t *h = *state;
    float x[4] = {0};
    harness_start(h, NULL, "fails", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\nfail_run_every=2\n", true, 0);
    gpulet_tensor_view_t v = floats(1, 4, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    const harness_done_t *d = run(h, 1, 1, &span, 1);
    assert_int_equal(d->status, GPULET_E_INTERNAL);
    assert_non_null(strstr(d->error, "fails as its script says"));
    assert_null(d->output);
    assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_OK);
    harness_stop(h);
}

static void a_bad_request_is_an_error_and_no_crash(void **state)
{
    harness_t *h = *state;
    float x[8] = {0};
    harness_start(h, NULL, "bad", NULL);
    harness_load(h, 1, identity, true, 0);
    gpulet_tensor_view_t v = floats(2, 4, x);
    const gpulet_wire_span_t good = harness_request(h, 2, &v, 1);
    gpulet_wire_span_t span = good;
    span.items = 1; /* not what the tensor holds */
    assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_E_INVALID);
    span = good;
    assert_int_equal(run(h, 1, 3, &span, 1)->status, GPULET_E_INVALID);
    span.offset = gpulet_slab_size(h->inputs);
    assert_int_equal(run(h, 1, 2, &span, 1)->status, GPULET_E_INVALID);
    span = good;
    span.size = 100;
    assert_int_equal(run(h, 1, 2, &span, 1)->status, GPULET_E_INVALID);
    v = floats(4, 2, x);
    span = harness_request(h, 4, &v, 1);
    assert_int_equal(run(h, 1, 4, &span, 1)->status, GPULET_E_INVALID);
    v = tensor(GPULET_DATATYPE_INT32, 2, 4, x, sizeof(x));
    span = harness_request(h, 2, &v, 1);
    assert_int_equal(run(h, 1, 2, &span, 1)->status, GPULET_E_INVALID);
    assert_int_equal(run(h, 1, 2, &good, 1)->status, GPULET_OK);
    harness_stop(h);
}

static void requests_of_unequal_shape_do_not_share_a_batch(void **state)
{
    harness_t *h = *state;
    float x[8] = {0};
    harness_start(h, NULL, "unequal", NULL);
    harness_load(h, 1, "input=x:FP32:-1x-1\noutput=y:FP32:-1x-1\n", true, 0);
    gpulet_tensor_view_t a = floats(1, 4, x), b = floats(1, 8, x);
    const gpulet_wire_span_t spans[2] = {harness_request(h, 1, &a, 1),
                                         harness_request(h, 1, &b, 1)};
    assert_int_equal(run(h, 1, 2, spans, 2)->status, GPULET_E_INVALID);
    harness_stop(h);
}

/* ---- measuring ---- */

static gpulet_status_t measure(harness_t *h, uint32_t model, uint32_t batch, uint32_t runs_min,
                               uint32_t runs_max, uint64_t budget_ns)
{
    const gpulet_worker_order_t order = {.model = model,
                                         .batch = batch,
                                         .runs_min = runs_min,
                                         .runs_max = runs_max,
                                         .budget_ns = budget_ns};
    return gpulet_worker_measure(h->worker, &order);
}

static void measures_what_a_run_takes(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "measure", NULL);
    harness_load(h, 1, "input=x:FP32:-1x-1\nlatency_ms=2\nlatency_ms_per_item=1\n", true, 0);
    assert_int_equal(measure(h, 1, 3, 5, 20, 1), GPULET_OK);
    harness_wait(h, &h->measured, 1);
    assert_int_equal(h->measurement.status, GPULET_OK);
    assert_int_equal(h->measurement.batch, 3);
    assert_int_equal(h->measurement.runs, 5);
    assert_true(h->measurement.least_ns >= 5 * GPULET_NS_PER_MS);
    assert_true(h->measurement.p50_ns >= h->measurement.least_ns);
    assert_true(h->measurement.p99_ns >= h->measurement.p50_ns);
    assert_int_equal(measure(h, 1, 1, 1, 10, GPULET_NS_PER_S), GPULET_OK);
    harness_wait(h, &h->measured, 2);
    assert_int_equal(h->measurement.runs, 10);
    assert_int_equal(measure(h, 4, 1, 1, 10, 0), GPULET_E_NOT_FOUND);
    harness_stop(h);
}

static void measures_by_how_much_a_cold_run_takes_longer(void **state)
{
    harness_t *h = *state;
    gpulet_worker_order_t order = {.model = 1, .batch = 1, .runs_min = 3, .runs_max = 3};
    harness_start(h, NULL, "cold", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\noutput=y:FP32:-1x4\nlatency_ms=1\ncold_ms=40\n", true,
                 0);
    assert_int_equal(gpulet_worker_measure(h->worker, &order), GPULET_OK);
    harness_wait(h, &h->measured, 1);
    assert_int_equal(h->measurement.cold_ns, 0); /* not asked for */
    order.cold_runs = 7;
    assert_int_equal(gpulet_worker_measure(h->worker, &order), GPULET_OK);
    harness_wait(h, &h->measured, 2);
    assert_int_equal(h->measurement.status, GPULET_OK);
    assert_int_equal(h->measurement.runs, 3);
    assert_true(h->measurement.cold_ns >= 10 * GPULET_NS_PER_MS);
    harness_stop(h);
}

static void a_measurement_that_fails_says_so(void **state)
{
    harness_t *h = *state;
    harness_start(h, NULL, "measure", NULL);
    harness_load(h, 1, "input=x:FP32:-1x4\noutput=y:FP32:-1x4\nfail_run_every=1\n", true, 0);
    assert_int_equal(measure(h, 1, 1, 1, 3, 0), GPULET_OK);
    harness_wait(h, &h->measured, 1);
    assert_int_not_equal(h->measurement.status, GPULET_OK);
    assert_int_equal(h->measurement.runs, 0);
    assert_non_null(strstr(h->text, "fails as its script says"));
    harness_stop(h);
}

/* ---- many ---- */

static uint64_t cpu_ns(const struct rusage *u)
{
    return (uint64_t)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * GPULET_NS_PER_S +
           (uint64_t)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) * 1000;
}

/* What the worker has used: all its threads, in clock ticks. */
static uint64_t worker_cpu_ns(const harness_t *h)
{
    char path[64], text[1024] = "";
    unsigned long long user = 0, system = 0;
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)gpulet_worker_pid(h->worker));
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    (void)fclose(f);
    assert_int_equal(sscanf(strrchr(text, ')'),
                            ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
                            &system),
                     2);
    return (user + system) * (GPULET_NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void twenty_thousand_batches_come_back_in_order_and_cheaply(void **state)
{
    harness_t *h = *state;
    enum { BATCHES = 20000 };
    float x[16] = {0};
    struct rusage before, after;
    h->release_at_once = true;
    harness_start(h, NULL, "many", NULL);
    harness_load(h, 1, "input=x:FP32:-1x16\noutput=y:FP32:-1x16\n", true, 0);
    gpulet_tensor_view_t v = floats(1, 16, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    uint64_t sent = 0;
    uint64_t worker_ns = worker_cpu_ns(h);
    uint64_t begun_ns = gpulet_clock_ns();
    (void)getrusage(RUSAGE_SELF, &before);
    while (h->done < BATCHES) {
        struct pollfd p = {.fd = gpulet_worker_fd(h->worker), .events = POLLIN};
        while (sent < BATCHES &&
               gpulet_worker_run(h->worker, sent, 1, 1, &span, 1, NULL, 0) == GPULET_OK)
            sent++;
        assert_int_equal(poll(&p, 1, 5000), 1);
        gpulet_worker_process(h->worker);
        assert_int_equal(h->lost, 0);
    }
    (void)getrusage(RUSAGE_SELF, &after);
    print_message("%d batches: wall %.1f us, server %.1f us, worker %.1f us each\n", (int)BATCHES,
                  (double)(gpulet_clock_ns() - begun_ns) / BATCHES / 1e3,
                  (double)(cpu_ns(&after) - cpu_ns(&before)) / BATCHES / 1e3,
                  (double)(worker_cpu_ns(h) - worker_ns) / BATCHES / 1e3);
    for (uint64_t i = 0; i < HARNESS_DONES; i++)
        assert_int_equal(h->dones[i].batch, i);
    harness_stop(h);
}

static void spins(gpulet_worker_options_t *o)
{
    o->spin = true;
}

static void a_spinning_worker_answers_and_sleeps(void **state)
{
    harness_t *h = *state;
    float x[4] = {0};
    h->release_at_once = true;
    harness_start(h, NULL, "spin", spins);
    harness_load(h, 1, identity, true, 0);
    gpulet_tensor_view_t v = floats(1, 4, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    for (int i = 0; i < 60; i++)
        assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_OK);
    harness_stop(h);
}

/* The model's load is asked for, and its answer not waited for. */
static void begin_load(harness_t *h, uint32_t model, const char *name, const char *text)
{
    gpulet_error_t err;
    const gpulet_worker_model_t m = {.model = model,
                                     .name = name,
                                     .path = harness_file(h, name, text),
                                     .input_fd = gpulet_slab_fd(h->inputs),
                                     .input_size = gpulet_slab_size(h->inputs),
                                     .batched = true};
    assert_int_equal(gpulet_worker_load(h->worker, &m, &err), GPULET_OK);
}

static void batches_go_on_beside_a_load(void **state)
{
    harness_t *h = *state;
    float x[4] = {1, 2, 3, 4};
    harness_start(h, NULL, "beside", NULL);
    harness_load(h, 1, identity, true, 0);
    gpulet_worker_set_foreground(h->worker);
    gpulet_tensor_view_t v = floats(1, 4, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    begin_load(h, 2, "second", "input=x:FP32:-1x4\noutput=y:FP32:-1x4\nload_ms=20\n");
    for (int i = 0; i < 3; i++)
        assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_OK);
    harness_wait(h, &h->loaded, 2);
    assert_int_equal(run(h, 2, 1, &span, 1)->status, GPULET_OK);
    begin_load(h, 3, "broken", "fail_load=its weights are upside down\n");
    harness_wait(h, &h->load_failed, 1);
    assert_non_null(strstr(h->text, "upside down"));
    assert_int_equal(run(h, 2, 1, &span, 1)->status, GPULET_OK);
    /* This one never ends: what is served goes on all the same, and so does the end. */
    begin_load(h, 4, "hangs", "hang_load=1\n");
    for (int i = 0; i < 3; i++)
        assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_OK);
    assert_int_equal(h->loaded, 2);
    assert_int_equal(h->load_failed, 1);
    harness_stop(h);
}

static void a_model_comes_and_goes_while_another_is_served(void **state)
{
    harness_t *h = *state;
    float x[4] = {1, 2, 3, 4};
    harness_start(h, NULL, "swap", NULL);
    harness_load(h, 1, identity, true, 0);
    gpulet_worker_set_foreground(h->worker);
    gpulet_tensor_view_t v = floats(1, 4, x);
    gpulet_wire_span_t span = harness_request(h, 1, &v, 1);
    for (int i = 0; i < 5; i++) {
        begin_load(h, 2, "second", identity);
        assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_OK);
        harness_wait(h, &h->loaded, i + 2);
        assert_int_equal(run(h, 2, 1, &span, 1)->status, GPULET_OK);
        assert_int_equal(gpulet_worker_unload(h->worker, 2), GPULET_OK);
    }
    assert_int_equal(run(h, 1, 1, &span, 1)->status, GPULET_OK);
    harness_stop(h);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, harness_setup, harness_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_go_on_beside_a_load),
        TEST(a_model_comes_and_goes_while_another_is_served),
        TEST(one_request_runs_in_place),
        TEST(several_requests_are_gathered_in_order),
        TEST(a_fixed_batch_is_padded_and_cut),
        TEST(strings_are_gathered_padded_and_cut),
        TEST(an_output_of_unknown_size_is_copied),
        TEST(a_model_without_a_batch_runs_as_it_is),
        TEST(a_model_that_does_not_batch_after_all_runs_single_items),
        TEST(large_inputs_and_outputs_travel_in_segments_of_their_own),
        TEST(a_quiet_worker_gives_large_segments_back),
        TEST(many_large_inputs_at_once_overflow_no_socket),
        TEST(a_worker_without_memory_for_output_waits_for_a_release),
        TEST(a_failing_run_is_an_answer_and_the_worker_lives),
        TEST(a_bad_request_is_an_error_and_no_crash),
        TEST(requests_of_unequal_shape_do_not_share_a_batch),
        TEST(measures_what_a_run_takes),
        TEST(measures_by_how_much_a_cold_run_takes_longer),
        TEST(a_measurement_that_fails_says_so),
        TEST(a_spinning_worker_answers_and_sleeps),
        TEST(twenty_thousand_batches_come_back_in_order_and_cheaply),
    };
    return cmocka_run_group_tests_name("worker.run", tests, NULL, NULL);
}
