/* A worker gone mad, in the way its name says. It speaks the protocol properly up to that point. */
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/check.h"
#include "ipc/control.h"
#include "ipc/ring.h"
#include "ipc/slab.h"
#include "ipc/wire.h"

static uint8_t packet[GPULET_CONTROL_MESSAGE_MAX];
static const char *how;
static gpulet_ring_t in, out;
static gpulet_slab_t *slab;

static bool is(const char *name)
{
    return strcmp(how, name) == 0;
}

static gpulet_control_t receive(int *fd)
{
    gpulet_control_t m;
    size_t size = 0;
    struct pollfd p = {.fd = 3, .events = POLLIN};
    for (;;) {
        (void)poll(&p, 1, -1);
        gpulet_status_t st = gpulet_control_receive(3, packet, sizeof(packet), &size, fd);
        if (st == GPULET_OK && gpulet_control_decode(&m, packet, size) == GPULET_OK)
            return m;
        if (st != GPULET_E_AGAIN)
            exit(1);
    }
}

static void send_message(const gpulet_control_t *m, int fd)
{
    static uint8_t bytes[GPULET_CONTROL_MESSAGE_MAX];
    size_t size = 0;
    if (gpulet_control_encode(bytes, sizeof(bytes), &size, m) != GPULET_OK ||
        gpulet_control_send(3, bytes, size, fd, true) != GPULET_OK)
        exit(1);
}

static void wait_for_ever(void)
{
    for (;;)
        (void)pause();
}

static void done_push(gpulet_record_done_t *done)
{
    done->kind = GPULET_RECORD_DONE;
    gpulet_status_t st = gpulet_ring_push(&out, done, sizeof(*done), NULL, 0);
    assert(st == GPULET_OK);
    gpulet_ring_wake(&out, GPULET_RING_ASLEEP);
}

static void hello(void)
{
    gpulet_error_t err;
    gpulet_control_t m = {.kind = GPULET_CONTROL_HELLO};
    int fd = -1;
    if (is("early-ready")) {
        m.kind = GPULET_CONTROL_READY;
        send_message(&m, -1);
        wait_for_ever();
    }
    if (is("unsealed")) {
        fd = memfd_create("unsealed", 0);
        m.size = 4096;
        send_message(&m, ftruncate(fd, 4096) == 0 ? fd : -1);
        wait_for_ever();
    }
    gpulet_status_t st = gpulet_slab_create(&slab, "mad", 1 << 20, &err);
    assert(st == GPULET_OK);
    m.size = gpulet_slab_size(slab) + (is("short-segment") ? 4096 : 0);
    send_message(&m, is("no-descriptor") ? -1 : gpulet_slab_fd(slab));
    m.kind = GPULET_CONTROL_READY;
    send_message(&m, -1);
}

static void after_ready(void)
{
    gpulet_control_t m = {.kind = GPULET_CONTROL_LOADED, .model = 1};
    if (is("garbage")) {
        if (gpulet_control_send(3, (const uint8_t *)"garbage", 7, -1, true) != GPULET_OK)
            exit(1);
    } else if (is("unasked"))
        send_message(&m, -1);
    else if (is("wrong-way") && (m.kind = GPULET_CONTROL_STOP) != 0)
        send_message(&m, -1);
    else if (is("gone") && (m.kind = GPULET_CONTROL_GONE) != 0)
        send_message(&m, -1);
    else if (is("closed"))
        (void)close(3);
    else if (is("many-segments")) {
        m.kind = GPULET_CONTROL_LARGE;
        for (m.segment = 1; m.segment < 5000; m.segment++) {
            m.size = 4096;
            send_message(&m, gpulet_slab_fd(slab));
        }
    } else if (is("index")) {
        atomic_store(&out.shared->head, 12345);
        atomic_store(&out.shared->sleeping, 1);
        gpulet_ring_wake(&out, GPULET_RING_ASLEEP);
    } else {
        return;
    }
    wait_for_ever();
}

/* The first batch is answered wrongly. */
static void answer(uint64_t batch)
{
    gpulet_record_done_t done = {.batch = batch};
    gpulet_wire_tensors_t *table = gpulet_slab_base(slab);
    table->count = 1;
    table->tensors[0] = (gpulet_wire_tensor_t){
        .type = GPULET_DATATYPE_FP32, .rank = 2, .dims = {1, 4}, .offset = 128, .size = 16};
    done.output.size = 192;
    if (is("batch"))
        done.batch += 7;
    else if (is("status"))
        done.status = 99;
    else if (is("segment"))
        done.output.segment = 3;
    else if (is("offset"))
        done.output.offset = 1 << 20;
    else if (is("size"))
        done.output.size = UINT64_MAX;
    else if (is("count"))
        table->count = 2;
    else if (is("rank"))
        table->tensors[0].rank = 200;
    else if (is("items"))
        table->tensors[0] = (gpulet_wire_tensor_t){
            .type = GPULET_DATATYPE_FP32, .rank = 2, .dims = {2, 2}, .offset = 128, .size = 16};
    else if (is("times"))
        done.exec_ns = done.input_ns = done.output_ns = UINT64_MAX;
    else if (is("twice"))
        done_push(&done);
    else if (is("die-after-done")) {
        done_push(&done);
        (void)kill(getpid(), SIGKILL);
    } else if (is("tail"))
        atomic_store(&in.shared->tail, 1);
    else if (is("head")) {
        atomic_store(&out.shared->head, UINT64_MAX);
        gpulet_ring_wake(&out, GPULET_RING_ASLEEP);
        wait_for_ever();
    } else if (is("no-wake")) {
        done.kind = GPULET_RECORD_DONE;
        gpulet_status_t st = gpulet_ring_push(&out, &done, sizeof(done), NULL, 0);
        assert(st == GPULET_OK);
        wait_for_ever();
    } else if (is("silent"))
        wait_for_ever();
    done_push(&done);
}

static void serve(void)
{
    static gpulet_tensor_spec_t spec = {
        .name = "x", .type = GPULET_DATATYPE_FP32, .shape = {.rank = 2, .dims = {-1, 4}}};
    union {
        gpulet_record_release_t release;
        uint64_t align[2048];
    } record;
    for (;;) {
        size_t size = 0;
        int fd = -1;
        struct pollfd p = {.fd = 3, .events = POLLIN};
        if (poll(&p, 1, 1) > 0) {
            gpulet_control_t m = receive(&fd);
            if (m.kind == GPULET_CONTROL_STOP && !is("deaf"))
                exit(0);
            if (m.kind == GPULET_CONTROL_LOAD && !is("slow-load")) {
                m.kind = GPULET_CONTROL_LOADED;
                m.io = (gpulet_model_io_t){1, 1, &spec, &spec};
                send_message(&m, -1);
            }
        }
        if (gpulet_ring_pop(&in, &record, sizeof(record), &size) == GPULET_OK &&
            record.release.kind == GPULET_RECORD_RUN) {
            const gpulet_record_run_t *run = (const void *)&record;
            answer(run->batch);
        }
    }
}

int main(int argc, char **argv)
{
    int memory = -1, worker_event = -1, server_event = -1;
    gpulet_error_t err;
    void *base = NULL;
    if (argc != 5)
        return 2;
    how = argv[4];
    if (is("exit-at-once"))
        return 3;
    if (is("never-ready"))
        wait_for_ever();
    gpulet_control_t start = receive(&memory);
    uint64_t to_worker = start.start.ring_to_worker, to_server = start.start.ring_to_server;
    (void)receive(&worker_event);
    (void)receive(&server_event);
    size_t first = gpulet_ring_bytes(to_worker);
    gpulet_status_t st =
        gpulet_shared_map(&base, memory, first + gpulet_ring_bytes(to_server), true, &err);
    assert(st == GPULET_OK);
    gpulet_ring_init(&in, base, to_worker, worker_event);
    gpulet_ring_init(&out, (uint8_t *)base + first, to_server, server_event);
    hello();
    after_ready();
    serve();
    return 0;
}
