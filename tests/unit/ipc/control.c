#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/control.h"

static uint8_t packet[GPULET_CONTROL_MESSAGE_MAX];

static size_t encoded(const gpulet_control_t *m)
{
    size_t size = 0;
    assert_int_equal(gpulet_control_encode(packet, sizeof(packet), &size, m), GPULET_OK);
    return size;
}

static void a_start_message_comes_back_whole(void **state)
{
    (void)state;
    const gpulet_control_t in = {.kind = GPULET_CONTROL_START,
                                 .start = {.magic = GPULET_CONTROL_MAGIC,
                                           .layout = gpulet_control_layout(),
                                           .nice = 10,
                                           .spin = true,
                                           .output_bytes_max = 1 << 20,
                                           .backend = "cpu",
                                           .grant = "cores 0-3",
                                           .engine = "fake",
                                           .device_type = "a100",
                                           .log_level = "debug"}};
    gpulet_control_t out;
    size_t size = encoded(&in);
    assert_int_equal(gpulet_control_decode(&out, packet, size), GPULET_OK);
    assert_int_equal(out.start.nice, 10);
    assert_true(out.start.spin);
    assert_string_equal(out.start.grant, "cores 0-3");
    assert_string_equal(out.start.device_type, "a100");
    assert_string_equal(out.start.ort_library, "");
    gpulet_control_deinit(&out);
}

static gpulet_control_t loaded_message(gpulet_tensor_spec_t *specs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        memset(&specs[i], 0, sizeof(specs[i]));
        memset(specs[i].name, 'n', GPULET_TENSOR_NAME_MAX);
        specs[i].type = GPULET_DATATYPE_FP32;
        specs[i].shape = (gpulet_shape_t){.rank = 8, .dims = {-1, 2, 3, 4, 5, 6, 7, 8}};
    }
    return (gpulet_control_t){
        .kind = GPULET_CONTROL_LOADED,
        .model = 3,
        .ns = 4,
        .memory = 5,
        .io = {.inputs_count = count, .outputs_count = count, .inputs = specs, .outputs = specs}};
}

static void the_largest_model_fits_in_a_message(void **state)
{
    (void)state;
    static gpulet_tensor_spec_t specs[GPULET_MODEL_IO_MAX];
    gpulet_control_t in = loaded_message(specs, GPULET_MODEL_IO_MAX);
    gpulet_control_t out;
    size_t size = encoded(&in);
    assert_int_equal(gpulet_control_decode(&out, packet, size), GPULET_OK);
    assert_int_equal(out.io.outputs_count, GPULET_MODEL_IO_MAX);
    assert_string_equal(out.io.outputs[63].name, specs[63].name);
    assert_true(gpulet_shape_equal(&out.io.inputs[5].shape, &specs[5].shape));
    gpulet_control_deinit(&out);
}

static void a_load_brings_what_it_is_told_and_shapes_or_neither(void **state)
{
    (void)state;
    static gpulet_tensor_spec_t specs[GPULET_MODEL_IO_MAX];
    static char path[GPULET_CONTROL_TEXT_MAX + 1];
    gpulet_control_t in = loaded_message(specs, GPULET_MODEL_IO_MAX);
    gpulet_control_t out;
    memset(path, 'p', sizeof(path) - 1);
    in.kind = GPULET_CONTROL_LOAD;
    in.name = in.text = in.prepared = path;
    in.warmup = (gpulet_model_io_t){.inputs_count = GPULET_MODEL_IO_MAX, .inputs = specs};
    assert_int_equal(gpulet_control_decode(&out, packet, encoded(&in)), GPULET_OK);
    assert_int_equal(out.io.outputs_count, GPULET_MODEL_IO_MAX);
    assert_int_equal(out.warmup.inputs_count, GPULET_MODEL_IO_MAX);
    assert_int_equal(out.warmup.outputs_count, 0);
    assert_string_equal(out.warmup.inputs[63].name, specs[63].name);
    assert_true(gpulet_shape_equal(&out.warmup.inputs[5].shape, &specs[5].shape));
    gpulet_control_deinit(&out);
    in.io = in.warmup = (gpulet_model_io_t){0};
    assert_int_equal(gpulet_control_decode(&out, packet, encoded(&in)), GPULET_OK);
    assert_int_equal(out.io.inputs_count + out.io.outputs_count, 0);
    assert_int_equal(out.warmup.inputs_count, 0);
    gpulet_control_deinit(&out);
}

static void every_cut_and_every_flip_of_a_message_is_safe(void **state)
{
    (void)state;
    static gpulet_tensor_spec_t specs[2];
    gpulet_control_t in = loaded_message(specs, 2);
    gpulet_control_t out;
    size_t size = encoded(&in);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *exact = malloc(cut == 0 ? 1 : cut);
        assert_non_null(exact);
        memcpy(exact, packet, cut);
        assert_int_equal(gpulet_control_decode(&out, exact, cut), GPULET_E_INVALID);
        free(exact);
    }
    for (size_t at = 0; at < size; at++) {
        uint8_t *exact = malloc(size);
        assert_non_null(exact);
        memcpy(exact, packet, size);
        exact[at] ^= 0xff;
        if (gpulet_control_decode(&out, exact, size) == GPULET_OK)
            gpulet_control_deinit(&out);
        free(exact);
    }
    packet[size] = 0;
    assert_int_equal(gpulet_control_decode(&out, packet, size + 1), GPULET_E_INVALID);
}

static void a_text_over_the_limit_is_refused(void **state)
{
    (void)state;
    static char text[GPULET_CONTROL_TEXT_MAX + 2];
    gpulet_control_t m = {.kind = GPULET_CONTROL_REGRANT, .text = text};
    size_t size = 0;
    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(gpulet_control_encode(packet, sizeof(packet), &size, &m), GPULET_E_TOO_LARGE);
    text[GPULET_CONTROL_TEXT_MAX] = '\0';
    assert_int_equal(gpulet_control_encode(packet, sizeof(packet), &size, &m), GPULET_OK);
    assert_int_equal(gpulet_control_encode(packet, 100, &size, &m), GPULET_E_TOO_LARGE);
}

static int descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_descriptor_travels_with_its_message(void **state)
{
    (void)state;
    int pair[2];
    int fd = -1;
    size_t size = 0;
    uint64_t value = 5;
    int before = descriptors();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    int event = eventfd(0, EFD_NONBLOCK);
    assert_int_equal(gpulet_control_receive(pair[1], packet, sizeof(packet), &size, &fd),
                     GPULET_E_AGAIN);
    assert_int_equal(gpulet_control_send(pair[0], (const uint8_t *)"hi", 2, event, false),
                     GPULET_OK);
    assert_int_equal(gpulet_control_send(pair[0], (const uint8_t *)"you", 3, -1, false), GPULET_OK);
    assert_int_equal(gpulet_control_receive(pair[1], packet, sizeof(packet), &size, &fd),
                     GPULET_OK);
    assert_int_equal(size, 2);
    assert_int_equal(write(fd, &value, 8), 8);
    assert_int_equal(read(event, &value, 8), 8);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    (void)close(fd);
    assert_int_equal(gpulet_control_receive(pair[1], packet, sizeof(packet), &size, &fd),
                     GPULET_OK);
    assert_int_equal(size, 3);
    assert_int_equal(fd, -1);
    (void)close(pair[0]);
    assert_int_equal(gpulet_control_receive(pair[1], packet, sizeof(packet), &size, &fd),
                     GPULET_E_CLOSED);
    assert_int_equal(gpulet_control_send(pair[1], (const uint8_t *)"hi", 2, -1, false),
                     GPULET_E_CLOSED);
    (void)close(pair[1]);
    (void)close(event);
    assert_int_equal(descriptors(), before);
}

/* As many descriptors as a hostile peer likes. */
static void send_many(int socket_fd, int fd, int count)
{
    union {
        char bytes[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr align;
    } space;
    char byte = 'x';
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = space.bytes,
                       .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
    memset(&space, 0, sizeof(space));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    for (int i = 0; i < count; i++)
        memcpy(CMSG_DATA(c) + (size_t)i * sizeof(int), &fd, sizeof(fd));
    assert_int_equal(sendmsg(socket_fd, &m, 0), 1);
}

static void too_many_descriptors_or_bytes_are_refused_and_closed(void **state)
{
    (void)state;
    int pair[2];
    int fd = -1;
    size_t size = 0;
    int before = descriptors();
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    for (int count = 2; count <= 16; count += 7) {
        send_many(pair[0], pair[0], count);
        assert_int_equal(gpulet_control_receive(pair[1], packet, sizeof(packet), &size, &fd),
                         GPULET_E_INVALID);
        assert_int_equal(descriptors(), before + 2);
    }
    assert_int_equal(gpulet_control_send(pair[0], packet, 100, pair[0], false), GPULET_OK);
    assert_int_equal(gpulet_control_receive(pair[1], packet, 50, &size, &fd), GPULET_E_INVALID);
    assert_int_equal(descriptors(), before + 2);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void a_full_socket_says_again(void **state)
{
    (void)state;
    int pair[2];
    int count = 0;
    gpulet_status_t st;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    while ((st = gpulet_control_send(pair[0], packet, 4000, -1, false)) == GPULET_OK)
        count++;
    assert_int_equal(st, GPULET_E_AGAIN);
    assert_true(count > 10);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_start_message_comes_back_whole),
        cmocka_unit_test(the_largest_model_fits_in_a_message),
        cmocka_unit_test(a_load_brings_what_it_is_told_and_shapes_or_neither),
        cmocka_unit_test(every_cut_and_every_flip_of_a_message_is_safe),
        cmocka_unit_test(a_text_over_the_limit_is_refused),
        cmocka_unit_test(a_descriptor_travels_with_its_message),
        cmocka_unit_test(too_many_descriptors_or_bytes_are_refused_and_closed),
        cmocka_unit_test(a_full_socket_says_again),
    };
    return cmocka_run_group_tests_name("ipc.control", tests, NULL, NULL);
}
