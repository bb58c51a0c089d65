#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "ipc/check.h"

static int descriptors_before;

int harness_descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        count++;
    (void)closedir(d);
    return count;
}

int harness_children(void)
{
    char path[64], text[256];
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "re");
    if (f == NULL) /* A kernel without that file: waitpid tells at least of ended ones. */
        return waitpid(-1, NULL, WNOHANG) > 0;
    size_t n = fread(text, 1, sizeof(text), f);
    (void)fclose(f);
    return n > 0;
}

static void on_ready(void *context, gpulet_worker_t *worker)
{
    harness_t *h = context;
    assert_ptr_equal(worker, h->worker);
    h->ready++;
}

static void on_loaded(void *context, gpulet_worker_t *worker, const gpulet_worker_loaded_t *loaded)
{
    harness_t *h = context;
    (void)worker;
    h->io = *loaded->io;
    if (h->io.inputs_count > 0)
        h->first_input = loaded->io->inputs[0];
    if (h->io.outputs_count > 0)
        h->first_output = loaded->io->outputs[0];
    h->load_memory = loaded->memory_bytes;
    h->load_run_ns = loaded->run_ns;
    h->loaded++;
}

static void on_load_failed(void *context, gpulet_worker_t *worker, uint32_t model,
                           gpulet_status_t status, const char *text)
{
    harness_t *h = context;
    (void)worker;
    (void)model;
    h->status = status;
    (void)snprintf(h->text, sizeof(h->text), "%s", text);
    h->load_failed++;
}

static void on_measured(void *context, gpulet_worker_t *worker,
                        const gpulet_worker_measured_t *measured)
{
    harness_t *h = context;
    (void)worker;
    h->measurement = *measured;
    (void)snprintf(h->text, sizeof(h->text), "%s", measured->text);
    h->measurement.text = h->text;
    h->measured++;
}

static void on_done(void *context, gpulet_worker_t *worker, const gpulet_worker_result_t *result)
{
    harness_t *h = context;
    (void)worker;
    if (h->done < HARNESS_DONES) {
        harness_done_t *d = &h->dones[h->done];
        d->batch = result->batch;
        d->status = result->status;
        d->exec_ns = result->exec_ns;
        d->output = h->release_at_once ? NULL : result->output;
        d->tensors_count = result->tensors_count;
        (void)snprintf(d->error, sizeof(d->error), "%s", result->error);
        for (uint32_t i = 0; i < result->tensors_count && i < 4; i++)
            d->tensors[i] = result->tensors[i];
    } else {
        assert_true(h->release_at_once);
    }
    if (h->release_at_once && result->output != NULL)
        gpulet_worker_release(result->output);
    h->done++;
}

static void on_lost(void *context, gpulet_worker_t *worker, const char *why)
{
    harness_t *h = context;
    (void)snprintf(h->text, sizeof(h->text), "%s", why);
    h->lost++;
    if (h->destroy_in_lost) {
        gpulet_worker_destroy(worker);
        h->worker = NULL;
    }
}

static void on_stopped(void *context, gpulet_worker_t *worker)
{
    harness_t *h = context;
    (void)worker;
    h->stopped++;
}

int harness_setup(void **state)
{
    gpulet_error_t err;
    harness_t *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    descriptors_before = harness_descriptors();
    (void)snprintf(h->folder, sizeof(h->folder), "/tmp/gpulet-test-XXXXXX");
    assert_non_null(mkdtemp(h->folder));
    assert_int_equal(gpulet_slab_create(&h->inputs, "test-inputs", 16 << 20, &err), GPULET_OK);
    *state = h;
    return 0;
}

int harness_teardown(void **state)
{
    harness_t *h = *state;
    char command[128];
    for (int i = 0; i < h->done && i < HARNESS_DONES; i++)
        gpulet_worker_release(h->dones[i].output);
    gpulet_worker_destroy(h->worker);
    gpulet_slab_destroy(h->inputs);
    (void)snprintf(command, sizeof(command), "rm -r %s", h->folder);
    assert_int_equal(system(command), 0);
    free(h);
    assert_int_equal(harness_descriptors(), descriptors_before);
    assert_int_equal(harness_children(), 0);
    return 0;
}

void harness_start(harness_t *h, const char *program, const char *name,
                   void (*adjust)(gpulet_worker_options_t *options))
{
    const gpulet_worker_callbacks_t callbacks = {.context = h,
                                                 .on_ready = on_ready,
                                                 .on_loaded = on_loaded,
                                                 .on_load_failed = on_load_failed,
                                                 .on_measured = on_measured,
                                                 .on_done = on_done,
                                                 .on_lost = on_lost,
                                                 .on_stopped = on_stopped};
    gpulet_worker_options_t options = {.program = program == NULL ? GPULET_BIN_DIR "/gpulet-worker"
                                                                  : program,
                                       .name = name,
                                       .backend = "fake",
                                       .grant = "fake:test/0:0",
                                       .engine = "fake",
                                       .log_level = "warning",
                                       .units = 1,
                                       .batch_ahead = 2};
    gpulet_error_t err;
    if (adjust != NULL)
        adjust(&options);
    assert_null(h->worker);
    if (gpulet_worker_start(&h->worker, &options, &callbacks, &err) != GPULET_OK)
        fail_msg("%s", err.text);
}

void harness_wait(harness_t *h, const int *counter, int value)
{
    uint64_t end_ns = gpulet_clock_ns() + HARNESS_WAIT_MS * GPULET_NS_PER_MS;
    while (*counter < value) {
        struct pollfd p = {.fd = gpulet_worker_fd(h->worker), .events = POLLIN};
        if (poll(&p, 1, 20) > 0)
            gpulet_worker_process(h->worker);
        if (h->worker != NULL)
            gpulet_worker_check(h->worker, gpulet_clock_ns());
        if (*counter < value && h->worker == NULL)
            fail_msg("the handle is gone: %s", h->text);
        if (gpulet_clock_ns() > end_ns || (*counter < value && h->lost + h->stopped > 0))
            fail_msg("waited in vain (lost %d: %s)", h->lost, h->text);
    }
}

const char *harness_file(harness_t *h, const char *name, const char *text)
{
    static char path[128];
    gpulet_error_t err;
    (void)snprintf(path, sizeof(path), "%s/%s", h->folder, name);
    assert_int_equal(gpulet_file_write(path, text, strlen(text), &err), GPULET_OK);
    return path;
}

void harness_load(harness_t *h, uint32_t model, const char *text, bool batched,
                  uint32_t batch_fixed)
{
    char name[32];
    gpulet_error_t err;
    (void)snprintf(name, sizeof(name), "model-%u", model);
    const gpulet_worker_model_t m = {.model = model,
                                     .name = name,
                                     .path = harness_file(h, name, text),
                                     .input_fd = gpulet_slab_fd(h->inputs),
                                     .input_size = gpulet_slab_size(h->inputs),
                                     .batch_fixed = batch_fixed,
                                     .timed_runs = h->timed_runs,
                                     .batched = batched};
    int failed = h->load_failed;
    int loaded = h->loaded;
    assert_int_equal(gpulet_worker_load(h->worker, &m, &err), GPULET_OK);
    harness_wait(h, &h->loaded, loaded + 1);
    assert_int_equal(h->load_failed, failed);
}

void harness_stop(harness_t *h)
{
    gpulet_worker_stop(h->worker, 5 * GPULET_NS_PER_S);
    harness_wait(h, &h->stopped, 1);
    gpulet_worker_destroy(h->worker);
    h->worker = NULL;
}

static void sizes_of(uint64_t *sizes, const gpulet_tensor_view_t *tensors, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = tensors[i].size;
}

uint64_t harness_request_size(const gpulet_tensor_view_t *tensors, uint32_t count)
{
    uint64_t sizes[GPULET_MODEL_IO_MAX] = {0};
    sizes_of(sizes, tensors, count);
    return gpulet_tensors_layout(NULL, sizes, count);
}

uint64_t harness_request_at(uint8_t *base, const gpulet_tensor_view_t *tensors, uint32_t count)
{
    uint64_t sizes[GPULET_MODEL_IO_MAX] = {0}, offsets[GPULET_MODEL_IO_MAX];
    gpulet_wire_tensors_t *table = (gpulet_wire_tensors_t *)(void *)base;
    sizes_of(sizes, tensors, count);
    uint64_t size = gpulet_tensors_layout(offsets, sizes, count);
    table->count = count;
    table->reserved = 0;
    for (uint32_t i = 0; i < count; i++) {
        gpulet_wire_tensor_t *t = &table->tensors[i];
        t->type = (uint32_t)tensors[i].type;
        t->rank = tensors[i].shape.rank;
        memcpy(t->dims, tensors[i].shape.dims, sizeof(t->dims));
        t->offset = offsets[i];
        t->size = sizes[i];
        memcpy(base + offsets[i], tensors[i].data, tensors[i].size);
    }
    return size;
}

gpulet_wire_span_t harness_request(harness_t *h, uint32_t items,
                                   const gpulet_tensor_view_t *tensors, uint32_t count)
{
    gpulet_wire_span_t span = {.items = items, .size = harness_request_size(tensors, count)};
    assert_int_equal(gpulet_slab_alloc(&span.offset, h->inputs, (size_t)span.size), GPULET_OK);
    uint8_t *base = (uint8_t *)gpulet_slab_base(h->inputs) + span.offset;
    assert_int_equal(harness_request_at(base, tensors, count), span.size);
    return span;
}
