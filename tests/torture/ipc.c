/* Messages, segments and descriptors between two processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/control.h"
#include "ipc/slab.h"
#include "torture.h"

enum { SEGMENT = 4 << 20, LARGE = 2 << 20 };

static gpulet_status_t slab(void *context)
{
    gpulet_slab_t *out = NULL;
    gpulet_error_t err;
    void *base = NULL;
    uint64_t offsets[3] = {0};
    (void)context;
    gpulet_status_t st = gpulet_slab_create(&out, "torture", SEGMENT, &err);
    if (st != GPULET_OK) {
        assert_null(out);
        return st;
    }
    for (int i = 0; i < 3 && st == GPULET_OK; i++)
        st = gpulet_slab_alloc(&offsets[i], out, (size_t)GPULET_SLAB_SLOT_MIN << (i * 5));
    if (st == GPULET_OK)
        st = gpulet_shared_map(&base, gpulet_slab_fd(out), gpulet_slab_size(out), false, &err);
    if (st == GPULET_OK)
        assert_int_equal(munmap(base, gpulet_slab_size(out)), 0);
    else
        assert_null(base);
    if (st == GPULET_OK) {
        for (int i = 0; i < 3; i++)
            gpulet_slab_free(out, offsets[i]);
        gpulet_slab_trim(out);
        assert_int_equal(gpulet_slab_used(out), 0);
    }
    gpulet_slab_destroy(out);
    return st;
}

static gpulet_status_t large(void *context)
{
    gpulet_error_t err;
    void *base = NULL;
    int fd = -1;
    (void)context;
    gpulet_status_t st = gpulet_large_create(&fd, &base, "torture", LARGE, &err);
    if (st != GPULET_OK) {
        assert_null(base);
        assert_int_equal(fd, -1);
        return st;
    }
    assert_int_equal(munmap(base, LARGE), 0);
    assert_int_equal(close(fd), 0);
    return GPULET_OK;
}

static size_t encode_loaded(uint8_t *packet)
{
    static gpulet_tensor_spec_t specs[2];
    gpulet_control_t m = {.kind = GPULET_CONTROL_LOADED, .model = 1};
    size_t size = 0;
    for (int i = 0; i < 2; i++) {
        (void)snprintf(specs[i].name, sizeof(specs[i].name), "T%d", i);
        specs[i].type = GPULET_DATATYPE_FP32;
        specs[i].shape = (gpulet_shape_t){.rank = 1, .dims = {4}};
    }
    m.io = (gpulet_model_io_t){
        .inputs_count = 2, .outputs_count = 2, .inputs = specs, .outputs = specs};
    assert_int_equal(gpulet_control_encode(packet, GPULET_CONTROL_MESSAGE_MAX, &size, &m),
                     GPULET_OK);
    return size;
}

/* A message with a descriptor through a socket, and its decoding. */
static gpulet_status_t message(void *context)
{
    static uint8_t packet[GPULET_CONTROL_MESSAGE_MAX];
    gpulet_control_t out;
    int pair[2];
    int fd = -1;
    (void)context;
    torture_pause();
    size_t size = encode_loaded(packet);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    torture_resume();
    gpulet_status_t st = gpulet_control_send(pair[0], packet, size, pair[0], true);
    if (st == GPULET_OK)
        st = gpulet_control_receive(pair[1], packet, sizeof(packet), &size, &fd);
    if (st == GPULET_OK)
        st = gpulet_control_decode(&out, packet, size);
    if (st == GPULET_OK)
        gpulet_control_deinit(&out);
    if (fd >= 0)
        (void)close(fd);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return st;
}

static void segments_and_messages(void **state)
{
    (void)state;
    torture_run("slab", slab, NULL, TORTURE_BOTH, 6);
    torture_run("large segment", large, NULL, TORTURE_BOTH, 3);
    torture_run("message", message, NULL, TORTURE_BOTH, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(segments_and_messages)};
    return cmocka_run_group_tests_name("torture.ipc", tests, NULL, NULL);
}
