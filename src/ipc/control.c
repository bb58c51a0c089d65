#include "ipc/control.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipc/wire.h"

/* ---- which fields a kind carries: one table for both directions
 * ------------------------------------- */

enum {
    F_MODEL = 1 << 0,
    F_SEGMENT = 1 << 1,
    F_BATCH = 1 << 2,
    F_RUNS = 1 << 3,
    F_RUNS_MAX = 1 << 4,
    F_THREADS = 1 << 5,
    F_STATUS = 1 << 6,
    F_BATCHED = 1 << 7,
    F_SIZE = 1 << 8,
    F_NS = 1 << 9,
    F_P50 = 1 << 10,
    F_P99 = 1 << 11,
    F_MEMORY = 1 << 12,
    F_NAME = 1 << 13,
    F_TEXT = 1 << 14,
    F_START = 1 << 15,
    F_IO = 1 << 16,
    F_PREPARED = 1 << 17,
    F_COLD_RUNS = 1 << 18,
    F_COLD = 1 << 19,
    F_WARMUP = 1 << 20
};

static const uint32_t fields_of[GPULET_CONTROL_KINDS] = {
    [GPULET_CONTROL_START] = F_START,
    [GPULET_CONTROL_EVENTS] = 0,
    [GPULET_CONTROL_LOAD] = F_MODEL | F_BATCH | F_BATCHED | F_RUNS | F_RUNS_MAX | F_SIZE | F_NS |
                            F_NAME | F_TEXT | F_PREPARED | F_IO | F_WARMUP,
    [GPULET_CONTROL_UNLOAD] = F_MODEL,
    [GPULET_CONTROL_MEASURE] = F_MODEL | F_BATCH | F_RUNS | F_RUNS_MAX | F_COLD_RUNS | F_NS,
    [GPULET_CONTROL_FORGET] = F_SEGMENT,
    [GPULET_CONTROL_REGRANT] = F_TEXT,
    [GPULET_CONTROL_FOREGROUND] = 0,
    [GPULET_CONTROL_WIDEN] = F_MODEL | F_BATCH | F_THREADS | F_NS | F_NAME | F_TEXT | F_PREPARED,
    [GPULET_CONTROL_STOP] = 0,
    [GPULET_CONTROL_LARGE] = F_SEGMENT | F_SIZE,
    [GPULET_CONTROL_HELLO] = F_SIZE,
    [GPULET_CONTROL_READY] = F_THREADS | F_TEXT,
    [GPULET_CONTROL_FAILED] = F_STATUS | F_TEXT,
    [GPULET_CONTROL_LOADED] = F_MODEL | F_BATCHED | F_NS | F_P50 | F_MEMORY | F_IO,
    [GPULET_CONTROL_LOAD_FAILED] = F_MODEL | F_STATUS | F_TEXT,
    [GPULET_CONTROL_MEASURED] =
        F_MODEL | F_BATCH | F_RUNS | F_NS | F_P50 | F_P99 | F_COLD | F_MEMORY | F_STATUS | F_TEXT,
    [GPULET_CONTROL_WIDENED] = F_MODEL | F_STATUS | F_TEXT,
    [GPULET_CONTROL_GONE] = F_SEGMENT,
};

/* ---- a cursor that reads or writes
 * ------------------------------------------------------------------- */

/* Exactly one of out and in is set. After a failure nothing more happens, so one check at the end
 * is enough. */
typedef struct cursor {
    uint8_t *out;
    const uint8_t *in;
    size_t at;
    size_t end;
    bool failed;
} cursor_t;

static bool cursor_take(cursor_t *c, size_t size)
{
    if (c->failed || size > c->end - c->at) {
        c->failed = true;
        return false;
    }
    return true;
}

static void pass_bytes(cursor_t *c, void *value, size_t size)
{
    if (!cursor_take(c, size))
        return;
    assert(c->out != NULL || c->in != NULL);
    if (c->out != NULL)
        memcpy(c->out + c->at, value, size);
    else
        memcpy(value, c->in + c->at, size);
    c->at += size;
}

static void pass_u32(cursor_t *c, uint32_t *value)
{
    pass_bytes(c, value, sizeof(*value));
}

static void pass_u64(cursor_t *c, uint64_t *value)
{
    pass_bytes(c, value, sizeof(*value));
}

static void pass_bool(cursor_t *c, bool *value)
{
    uint8_t byte = *value ? 1 : 0;
    pass_bytes(c, &byte, 1);
    if (byte > 1)
        c->failed = true;
    *value = byte == 1;
}

/* Length, bytes, a zero: a reader may use the bytes in place as a string. */
static void pass_text(cursor_t *c, const char **text)
{
    uint32_t length = 0;
    if (c->out != NULL) {
        size_t size = *text == NULL ? 0 : strlen(*text);
        c->failed = c->failed || size > GPULET_CONTROL_TEXT_MAX;
        length = (uint32_t)size;
    }
    pass_u32(c, &length);
    if (length > GPULET_CONTROL_TEXT_MAX)
        c->failed = true;
    if (!cursor_take(c, (size_t)length + 1))
        return;
    if (c->out != NULL) {
        memcpy(c->out + c->at, *text == NULL ? "" : *text, (size_t)length + 1);
    } else {
        *text = (const char *)(c->in + c->at);
        if (memchr(*text, '\0', (size_t)length + 1) != *text + length)
            c->failed = true;
    }
    c->at += (size_t)length + 1;
}

static void pass_spec(cursor_t *c, gpulet_tensor_spec_t *spec)
{
    const char *name = spec->name;
    uint32_t type = (uint32_t)spec->type;
    pass_text(c, &name);
    pass_u32(c, &type);
    pass_u32(c, &spec->shape.rank);
    if (c->failed || type == GPULET_DATATYPE_INVALID || type >= GPULET_DATATYPE_COUNT ||
        spec->shape.rank > GPULET_RANK_MAX || strlen(name) > GPULET_TENSOR_NAME_MAX) {
        c->failed = true;
        return;
    }
    for (uint32_t i = 0; i < spec->shape.rank; i++) {
        pass_bytes(c, &spec->shape.dims[i], sizeof(spec->shape.dims[i]));
        c->failed = c->failed || spec->shape.dims[i] < -1;
    }
    if (c->failed || c->out != NULL)
        return;
    memcpy(spec->name, name, strlen(name) + 1);
    spec->type = (gpulet_datatype_t)type;
}

static void pass_specs(cursor_t *c, uint32_t *count, gpulet_tensor_spec_t **specs)
{
    uint32_t n = *count;
    pass_u32(c, &n);
    if (c->failed || n > GPULET_MODEL_IO_MAX) {
        c->failed = true;
        return;
    }
    if (c->in != NULL) {
        *specs = calloc(n == 0 ? 1 : n, sizeof(**specs));
        if (*specs == NULL) {
            c->failed = true;
            return;
        }
        *count = n;
    }
    for (uint32_t i = 0; i < n && !c->failed; i++)
        pass_spec(c, &(*specs)[i]);
}

static void pass_start(cursor_t *c, gpulet_control_start_t *s)
{
    pass_u32(c, &s->magic);
    pass_u32(c, &s->version);
    pass_u32(c, &s->layout);
    pass_u32(c, &s->units);
    pass_bytes(c, &s->nice, sizeof(s->nice));
    pass_bool(c, &s->spin);
    pass_u64(c, &s->output_bytes_max);
    pass_u64(c, &s->ring_to_worker);
    pass_u64(c, &s->ring_to_server);
    pass_text(c, &s->backend);
    pass_text(c, &s->grant);
    pass_text(c, &s->engine);
    pass_text(c, &s->ort_library);
    pass_text(c, &s->fake_profile);
    pass_text(c, &s->device_type);
    pass_text(c, &s->log_level);
}

static void pass_message(cursor_t *c, gpulet_control_t *m, uint32_t fields)
{
    const struct {
        uint32_t field;
        uint32_t *value;
    } words[] = {
        {F_MODEL, &m->model},     {F_SEGMENT, &m->segment},   {F_BATCH, &m->batch},
        {F_RUNS, &m->runs},       {F_RUNS_MAX, &m->runs_max}, {F_COLD_RUNS, &m->cold_runs},
        {F_THREADS, &m->threads},
    };
    const struct {
        uint32_t field;
        uint64_t *value;
    } longs[] = {{F_SIZE, &m->size},  {F_NS, &m->ns},        {F_P50, &m->p50_ns},
                 {F_P99, &m->p99_ns}, {F_COLD, &m->cold_ns}, {F_MEMORY, &m->memory}};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if ((fields & words[i].field) != 0)
            pass_u32(c, words[i].value);
    }
    for (size_t i = 0; i < sizeof(longs) / sizeof(longs[0]); i++) {
        if ((fields & longs[i].field) != 0)
            pass_u64(c, longs[i].value);
    }
    if ((fields & F_STATUS) != 0)
        pass_bytes(c, &m->status, sizeof(m->status));
    if ((fields & F_BATCHED) != 0)
        pass_bool(c, &m->batched);
    if ((fields & F_NAME) != 0)
        pass_text(c, &m->name);
    if ((fields & F_TEXT) != 0)
        pass_text(c, &m->text);
    if ((fields & F_PREPARED) != 0)
        pass_text(c, &m->prepared);
    if ((fields & F_START) != 0)
        pass_start(c, &m->start);
    if ((fields & F_IO) != 0) {
        pass_specs(c, &m->io.inputs_count, &m->io.inputs);
        pass_specs(c, &m->io.outputs_count, &m->io.outputs);
    }
    if ((fields & F_WARMUP) != 0)
        pass_specs(c, &m->warmup.inputs_count, &m->warmup.inputs);
}

/* ---- public
 * ------------------------------------------------------------------------------------------- */

uint32_t gpulet_control_layout(void)
{
    return (uint32_t)(sizeof(gpulet_record_run_t) + 100 * sizeof(gpulet_record_done_t) +
                      100000 * sizeof(gpulet_wire_tensor_t) +
                      10000000 * sizeof(gpulet_wire_span_t)) +
           GPULET_CONTROL_KINDS;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): the cursor writes to it. */
gpulet_status_t gpulet_control_encode(uint8_t *out, size_t cap, size_t *size_out,
                                      const gpulet_control_t *message)
{
    gpulet_control_t copy = *message; /* The cursor takes no const; it only reads here. */
    uint32_t kind = (uint32_t)message->kind;
    assert(kind > 0 && kind < GPULET_CONTROL_KINDS);
    cursor_t c = {.out = out,
                  .end = cap < GPULET_CONTROL_MESSAGE_MAX ? cap : GPULET_CONTROL_MESSAGE_MAX};
    pass_u32(&c, &kind);
    pass_message(&c, &copy, fields_of[kind]);
    if (c.failed)
        return GPULET_E_TOO_LARGE;
    *size_out = c.at;
    return GPULET_OK;
}

gpulet_status_t gpulet_control_decode(gpulet_control_t *out, const uint8_t *data, size_t size)
{
    static const char nothing[] = "";
    gpulet_control_t m = {.name = nothing, .text = nothing, .prepared = nothing};
    uint32_t kind = 0;
    cursor_t c = {.in = data, .end = size};
    pass_u32(&c, &kind);
    if (c.failed || kind == 0 || kind >= GPULET_CONTROL_KINDS)
        return GPULET_E_INVALID;
    m.kind = (gpulet_control_kind_t)kind;
    pass_message(&c, &m, fields_of[kind]);
    if (c.failed || c.at != size) {
        gpulet_control_deinit(&m);
        return GPULET_E_INVALID;
    }
    *out = m;
    return GPULET_OK;
}

void gpulet_control_deinit(gpulet_control_t *message)
{
    gpulet_model_io_deinit(&message->io);
    gpulet_model_io_deinit(&message->warmup);
}

gpulet_status_t gpulet_control_send(int socket_fd, const uint8_t *data, size_t size, int fd,
                                    bool wait)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } space;
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&space, 0, sizeof(space));
        message.msg_control = space.bytes;
        message.msg_controllen = sizeof(space.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    for (;;) {
        if (sendmsg(socket_fd, &message, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0)
            return GPULET_OK;
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)
            return GPULET_E_AGAIN;
        return errno == EPIPE || errno == ECONNRESET ? GPULET_E_CLOSED : GPULET_E_IO;
    }
}

/* Takes the first descriptor and closes any others; returns how many there were. */
static int descriptors_take(struct msghdr *message, int *fd_out)
{
    int count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (count++ == 0)
                *fd_out = fd;
            else
                (void)close(fd);
        }
    }
    return count;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): recvmsg writes to it. */
gpulet_status_t gpulet_control_receive(int socket_fd, uint8_t *out, size_t cap, size_t *size_out,
                                       int *fd_out)
{
    union {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } space;
    struct iovec part = {.iov_base = out, .iov_len = cap};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = space.bytes,
                             .msg_controllen = sizeof(space.bytes)};
    ssize_t size;
    int fd = -1;
    do
        size = recvmsg(socket_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return errno == EAGAIN ? GPULET_E_AGAIN : GPULET_E_CLOSED;
    int count = descriptors_take(&message, &fd);
    if (count > 1 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
        if (fd >= 0)
            (void)close(fd);
        return GPULET_E_INVALID;
    }
    if (size == 0) { /* No message of ours is empty: this is the end (or a peer gone mad). */
        if (fd >= 0)
            (void)close(fd);
        return GPULET_E_CLOSED;
    }
    *size_out = (size_t)size;
    *fd_out = fd;
    return GPULET_OK;
}
