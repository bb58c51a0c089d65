/* The yardstick: the least server that could answer the same requests. One thread, one epoll loop,
 * the engine in the same process; every request runs as soon as it is read, alone, or with --batch
 * together with the others that were readable at that moment. No objectives, no isolation, no
 * queues, no plan: what gpuletd costs, and what it brings, is measured against this. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bare_model.h"
#include "bare_oip.h"
#include "base/options.h"
#include "base/parse.h"

enum {
    EVENTS_MAX = 256,
    READ_ROOM = 16384,
    HEAD_MAX = 16384,
    BODY_MAX = 1 << 28,
    MODELS_MAX = 16,
    BACKLOG = 1024
};

typedef struct settings {
    char *repository;
    char *models;
    uint64_t port;
    uint64_t threads;
    uint64_t batch;
    char *ort_library;
    bool spin;
    bool help;
} settings_t;

#define AT(field) offsetof(settings_t, field)

static const gpulet_option_t options_table[] = {
    {"model-dir", GPULET_OPTION_STRING, AT(repository), NULL, 1, 0, "DIR", "repository of models",
     NULL},
    {"models", GPULET_OPTION_STRING, AT(models), NULL, 1, 0, "A,B", "which of them to serve", NULL},
    {"port", GPULET_OPTION_U64, AT(port), "0", 0, 65535, "PORT",
     "port on loopback, 0 for a free one", NULL},
    {"threads", GPULET_OPTION_U64, AT(threads), "1", 1, 1024, "N", "threads that run a model",
     NULL},
    {"batch", GPULET_OPTION_U64, AT(batch), "1", 1, GPULET_BARE_BATCH_MAX, "N",
     "requests that are readable together run as one batch of at most so many", NULL},
    {"ort-library", GPULET_OPTION_STRING, AT(ort_library), NULL, 1, 0, "PATH",
     "ONNX Runtime's shared library", NULL},
    {"spin", GPULET_OPTION_BOOL, AT(spin), NULL, 1, 0, NULL,
     "the engine's threads spin between runs", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, 1, 0, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, 1, 0, NULL, NULL, NULL},
};

typedef struct conn {
    int fd;
    bool close_after; /* the answer being sent is the last one */
    bool waits_write;
    gpulet_buf_t in;
    size_t request_size; /* head and body of the request at the front of `in`; 0: not known yet */
    size_t head_size;
    size_t json_size;
    gpulet_buf_t out;
    size_t sent;
    gpulet_bare_model_t *model; /* of the request that is to run */
    gpulet_bare_work_t work;
    struct conn *next; /* in the queue of those to run */
} conn_t;

typedef struct server {
    settings_t settings;
    const gpulet_engine_ops_t *ops;
    gpulet_engine_t *engine;
    gpulet_bare_model_t models[MODELS_MAX];
    size_t models_count;
    int epoll;
    int listener;
    int signals;
    conn_t *queue_head;
    conn_t **queue_tail;
} server_t;

/* ---- answers ---- */

static void put_u64(gpulet_buf_t *out, uint64_t value)
{
    char text[20];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    gpulet_buf_append(out, text + at, sizeof(text) - at);
}

static void answer_text(conn_t *conn, int status, const char *reason, const char *body, size_t size)
{
    gpulet_buf_printf(
        &conn->out,
        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n", status,
        reason, size, conn->close_after ? "Connection: close\r\n" : "");
    gpulet_buf_append(&conn->out, body, size);
}

static void answer_error(conn_t *conn, int status, const char *text)
{
    gpulet_buf_t body = GPULET_BUF_INIT;
    gpulet_buf_append_str(&body, "{\"error\":\"");
    for (const char *at = text; *at != '\0'; at++)
        gpulet_buf_append_char(&body,
                               *at == '"' || *at == '\\' || (unsigned char)*at < ' ' ? '\'' : *at);
    gpulet_buf_append_str(&body, "\"}");
    answer_text(conn, status, status < 500 ? "Bad Request" : "Error",
                body.data != NULL ? body.data : "", body.size);
    gpulet_buf_deinit(&body);
}

static void put_output_json(gpulet_buf_t *json, const gpulet_tensor_spec_t *spec,
                            const gpulet_tensor_view_t *view)
{
    gpulet_buf_append_str(json, "{\"name\":\"");
    gpulet_buf_append_str(json, spec->name);
    gpulet_buf_append_str(json, "\",\"datatype\":\"");
    gpulet_buf_append_str(json, gpulet_datatype_name(view->type));
    gpulet_buf_append_str(json, "\",\"shape\":[");
    for (uint32_t d = 0; d < view->shape.rank; d++) {
        if (d > 0)
            gpulet_buf_append_char(json, ',');
        put_u64(json, (uint64_t)view->shape.dims[d]);
    }
    gpulet_buf_append_str(json, "],\"parameters\":{\"binary_data_size\":");
    put_u64(json, view->size);
    gpulet_buf_append_str(json, "}}");
}

/* The gpulet_bare_answer_t of a batch; context is the array of its connections. */
static void answer_outputs(void *context, size_t index, const gpulet_tensor_view_t *outputs)
{
    static gpulet_buf_t json; /* one thread: its memory is used again */
    conn_t *conn = ((conn_t **)context)[index];
    const gpulet_model_io_t *io = conn->model->io;
    size_t binary = 0;
    gpulet_buf_clear(&json);
    gpulet_buf_append_str(&json, "{\"model_name\":\"");
    gpulet_buf_append_str(&json, conn->model->name);
    gpulet_buf_append_str(&json, "\",\"model_version\":\"");
    gpulet_buf_append_str(&json, conn->model->version);
    gpulet_buf_append_str(&json, "\",\"outputs\":[");
    for (uint32_t i = 0; i < io->outputs_count; i++) {
        if (i > 0)
            gpulet_buf_append_char(&json, ',');
        put_output_json(&json, &io->outputs[i], &outputs[i]);
        binary += outputs[i].size;
    }
    gpulet_buf_append_str(&json, "]}");
    gpulet_buf_append_str(&conn->out,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                          "Inference-Header-Content-Length: ");
    put_u64(&conn->out, json.size);
    gpulet_buf_append_str(&conn->out, "\r\nContent-Length: ");
    put_u64(&conn->out, json.size + binary);
    gpulet_buf_append_str(&conn->out,
                          conn->close_after ? "\r\nConnection: close\r\n\r\n" : "\r\n\r\n");
    gpulet_buf_append(&conn->out, json.data, json.size);
    for (uint32_t i = 0; i < io->outputs_count; i++)
        gpulet_buf_append(&conn->out, outputs[i].data, outputs[i].size);
}

/* ---- requests ---- */

static bool is_field(const char *line, size_t size, const char *name)
{
    size_t length = strlen(name);
    return size > length && line[length] == ':' && strncasecmp(line, name, length) == 0;
}

static bool read_field(conn_t *conn, uint64_t *body_size, const char *line, size_t size)
{
    uint64_t *number = NULL;
    uint64_t json_size = 0;
    if (is_field(line, size, "content-length"))
        number = body_size;
    else if (is_field(line, size, "inference-header-content-length"))
        number = &json_size;
    else if (is_field(line, size, "transfer-encoding"))
        return false;
    else if (is_field(line, size, "connection"))
        conn->close_after = memmem(line, size, "close", 5) != NULL;
    if (number == NULL)
        return true;
    const char *value = (const char *)memchr(line, ':', size) + 1;
    while (value < line + size && *value == ' ')
        value++;
    if (gpulet_parse_u64(number, value, (size_t)(line + size - value)) != GPULET_OK ||
        *number > BODY_MAX)
        return false;
    if (number == &json_size)
        conn->json_size = (size_t)json_size;
    return true;
}

/* True when the whole request is in conn->in. *bad: it is none. */
static bool has_request(conn_t *conn, bool *bad)
{
    if (conn->request_size > 0)
        return conn->in.size >= conn->request_size;
    const char *end =
        conn->in.size > 0 ? memmem(conn->in.data, conn->in.size, "\r\n\r\n", 4) : NULL;
    uint64_t body_size = 0;
    *bad = end == NULL && conn->in.size > HEAD_MAX;
    if (end == NULL)
        return false;
    conn->json_size = 0;
    conn->head_size = (size_t)(end - conn->in.data) + 4;
    const char *line = memchr(conn->in.data, '\n', conn->head_size);
    for (line++; line < end + 2;) {
        const char *next = memchr(line, '\r', (size_t)(end + 2 - line));
        next = next != NULL ? next : end;
        if (!read_field(conn, &body_size, line, (size_t)(next - line)))
            *bad = true;
        line = next + 2;
    }
    *bad = *bad || conn->json_size > body_size;
    conn->request_size = conn->head_size + (size_t)body_size;
    if (*bad || gpulet_buf_reserve(&conn->in, conn->request_size) != GPULET_OK)
        return false;
    return conn->in.size >= conn->request_size;
}

static gpulet_bare_model_t *find_model(server_t *server, const char *name, size_t size)
{
    for (size_t i = 0; i < server->models_count; i++) {
        if (strlen(server->models[i].name) == size &&
            memcmp(server->models[i].name, name, size) == 0)
            return &server->models[i];
    }
    return NULL;
}

/* Fills conn->work; the text of what is wrong with the request, NULL when nothing is. */
static const char *read_inputs(conn_t *conn)
{
    gpulet_bare_head_t head;
    const gpulet_model_io_t *io = conn->model->io;
    char *at = conn->in.data + conn->head_size + conn->json_size;
    const char *end = conn->in.data + conn->request_size;
    if (conn->json_size == 0 ||
        !gpulet_bare_head_parse(&head, conn->in.data + conn->head_size, conn->json_size))
        return "expected the JSON head of a request with binary inputs";
    if (head.inputs_count != io->inputs_count)
        return "wrong number of inputs";
    bool filled[GPULET_BARE_TENSORS_MAX] = {false};
    for (uint32_t h = 0; h < head.inputs_count; h++) {
        gpulet_bare_input_t *input = &head.inputs[h];
        uint32_t i = 0;
        while (i < io->inputs_count &&
               (strlen(io->inputs[i].name) != input->name_size ||
                memcmp(io->inputs[i].name, input->name, input->name_size) != 0))
            i++;
        if (i == io->inputs_count || filled[i])
            return "unknown or repeated input";
        if (input->tensor.size > (size_t)(end - at))
            return "an input is longer than the body";
        if (input->tensor.shape.rank > 0 && input->tensor.shape.dims[0] < 1)
            return "an empty input";
        if (conn->model->batchable &&
            (input->tensor.shape.rank == 0 || input->tensor.shape.dims[0] > BODY_MAX))
            return "an input without or with an absurd batch dimension";
        filled[i] = true;
        input->tensor.data = at;
        conn->work.inputs[i] = input->tensor;
        at += input->tensor.size;
    }
    return at == end ? NULL : "the body is longer than its inputs";
}

/* Answers the request at the front at once, or sets conn->model and conn->work for it to run. */
static void take_request(server_t *server, conn_t *conn)
{
    static const char models[] = "/v2/models/";
    const char *line = conn->in.data;
    const char *line_end = memchr(line, '\r', conn->head_size);
    const char *path = memchr(line, ' ', (size_t)(line_end - line));
    path = path != NULL ? path + 1 : line_end;
    const char *path_end = memchr(path, ' ', (size_t)(line_end - path));
    size_t size = path_end != NULL ? (size_t)(path_end - path) : 0;
    bool post = line[0] == 'P';
    conn->model = NULL;
    if (!post && size >= 10 && memcmp(path, "/v2/health", 10) == 0) {
        answer_text(conn, 200, "OK", "", 0);
        return;
    }
    bool infer = post && size > 6 && memcmp(path + size - 6, "/infer", 6) == 0;
    size -= infer ? 6 : 0;
    if (size <= sizeof(models) - 1 || memcmp(path, models, sizeof(models) - 1) != 0 ||
        post != infer) {
        answer_error(conn, 404, "no such path");
        return;
    }
    gpulet_bare_model_t *model =
        find_model(server, path + sizeof(models) - 1, size - (sizeof(models) - 1));
    if (model == NULL) {
        answer_error(conn, 404, "no such model");
        return;
    }
    if (!infer) {
        gpulet_buf_t body = GPULET_BUF_INIT;
        gpulet_bare_model_describe(&body, model);
        answer_text(conn, 200, "OK", body.data != NULL ? body.data : "", body.size);
        gpulet_buf_deinit(&body);
        return;
    }
    conn->model = model;
    const char *wrong = read_inputs(conn);
    if (wrong != NULL) {
        conn->model = NULL;
        answer_error(conn, 400, wrong);
    }
}

/* ---- connections ---- */

static void close_conn(conn_t *conn)
{
    (void)close(conn->fd);
    gpulet_buf_deinit(&conn->in);
    gpulet_buf_deinit(&conn->out);
    free(conn);
}

static void watch(const server_t *server, conn_t *conn, bool write)
{
    if (conn->waits_write == write)
        return;
    struct epoll_event event = {.events = write ? EPOLLOUT : EPOLLIN, .data.ptr = conn};
    (void)epoll_ctl(server->epoll, EPOLL_CTL_MOD, conn->fd, &event);
    conn->waits_write = write;
}

/* False when the connection is closed. */
static bool flush(const server_t *server, conn_t *conn)
{
    while (conn->sent < conn->out.size) {
        ssize_t sent =
            send(conn->fd, conn->out.data + conn->sent, conn->out.size - conn->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            watch(server, conn, true);
            return true;
        }
        if (sent < 0) {
            close_conn(conn);
            return false;
        }
        conn->sent += (size_t)sent;
    }
    if (conn->out.failed || (conn->close_after && conn->out.size > 0)) {
        close_conn(conn);
        return false;
    }
    watch(server, conn, false);
    conn->sent = 0;
    gpulet_buf_clear(&conn->out);
    return true;
}

static void drop_request(conn_t *conn)
{
    size_t rest = conn->in.size - conn->request_size;
    if (rest > 0)
        memmove(conn->in.data, conn->in.data + conn->request_size, rest);
    conn->in.size = rest;
    conn->request_size = 0;
}

/* Answers what can be answered; a request that is to run goes to the end of the queue and the
 * connection rests until it was. False when the connection is closed. */
static bool advance(server_t *server, conn_t *conn)
{
    bool bad = false;
    while (conn->out.size == 0 && has_request(conn, &bad)) {
        take_request(server, conn);
        if (conn->model != NULL) {
            conn->next = NULL;
            *server->queue_tail = conn;
            server->queue_tail = &conn->next;
            return true;
        }
        drop_request(conn);
        if (!flush(server, conn))
            return false;
    }
    if (bad) {
        conn->close_after = true;
        answer_error(conn, 400, "expected an HTTP/1.1 request with a Content-Length");
        return flush(server, conn);
    }
    return true;
}

/* False when the connection is closed. */
static bool receive(conn_t *conn)
{
    if (conn->request_size == 0 && gpulet_buf_reserve(&conn->in, READ_ROOM) != GPULET_OK) {
        close_conn(conn);
        return false;
    }
    for (;;) {
        size_t room = conn->in.capacity - conn->in.size - 1;
        ssize_t got = room > 0 ? read(conn->fd, conn->in.data + conn->in.size, room) : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return true;
        if (got <= 0) {
            close_conn(conn);
            return false;
        }
        conn->in.size += (size_t)got;
        conn->in.data[conn->in.size] = '\0';
        return true; /* the loop is level-triggered: what is left comes with the next turn */
    }
}

static void accept_all(const server_t *server)
{
    int fd;
    int on = 1;
    while ((fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        conn_t *conn = calloc(1, sizeof(*conn));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (conn == NULL || epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
            free(conn);
            (void)close(fd);
            continue;
        }
        conn->fd = fd;
    }
}

/* ---- running ---- */

/* Takes the first of the queue and those behind it that may share its batch. */
static size_t take_batch(conn_t **batch, const gpulet_bare_work_t **works, server_t *server)
{
    size_t count = 0;
    conn_t **at = &server->queue_head;
    while (*at != NULL && count < server->settings.batch) {
        conn_t *conn = *at;
        bool joins = count == 0 || (conn->model == batch[0]->model &&
                                    gpulet_bare_model_joins(conn->model, &conn->work, works[0]));
        if (!joins) {
            at = &conn->next;
            continue;
        }
        *at = conn->next;
        works[count] = &conn->work;
        batch[count++] = conn;
    }
    server->queue_tail = &server->queue_head;
    while (*server->queue_tail != NULL)
        server->queue_tail = &(*server->queue_tail)->next;
    return count;
}

static void run_queue(server_t *server)
{
    conn_t *batch[GPULET_BARE_BATCH_MAX];
    const gpulet_bare_work_t *works[GPULET_BARE_BATCH_MAX];
    gpulet_error_t err;
    while (server->queue_head != NULL) {
        size_t count = take_batch(batch, works, server);
        gpulet_status_t st =
            gpulet_bare_model_run(batch[0]->model, works, count, answer_outputs, batch, &err);
        for (size_t i = 0; i < count; i++) {
            if (st != GPULET_OK)
                answer_error(batch[i], gpulet_status_http(st), err.text);
            drop_request(batch[i]);
            if (flush(server, batch[i]))
                (void)advance(server, batch[i]);
        }
    }
}

static void handle(server_t *server, conn_t *conn, uint32_t events)
{
    bool open = conn->waits_write
                    ? (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0 || flush(server, conn)
                    : receive(conn);
    if (open)
        (void)advance(server, conn);
    /* Without batches a request runs before the next connection is looked at. */
    if (server->settings.batch == 1)
        run_queue(server);
}

static void run_loop(server_t *server)
{
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int count = epoll_wait(server->epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR)
            return;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &server->signals)
                return;
            if (events[i].data.ptr == &server->listener)
                accept_all(server);
            else
                handle(server, events[i].data.ptr, events[i].events);
        }
        run_queue(server);
    }
}

/* ---- start ---- */

static gpulet_status_t add_fd(const server_t *server, int *fd, gpulet_error_t *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = fd};
    if (*fd < 0 || epoll_ctl(server->epoll, EPOLL_CTL_ADD, *fd, &event) != 0)
        return gpulet_fail(err, GPULET_E_IO, "cannot watch a descriptor: %s", strerror(errno));
    return GPULET_OK;
}

static gpulet_status_t listen_on(server_t *server, unsigned *port_out, gpulet_error_t *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int on = 1;
    sigset_t set;
    address.sin_port = htons((uint16_t)server->settings.port);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server->epoll < 0 || server->signals < 0 || server->listener < 0 ||
        setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(server->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(server->listener, BACKLOG) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &size) != 0)
        return gpulet_fail(err, GPULET_E_IO, "cannot listen: %s", strerror(errno));
    *port_out = ntohs(address.sin_port);
    gpulet_status_t st = add_fd(server, &server->listener, err);
    return st == GPULET_OK ? add_fd(server, &server->signals, err) : st;
}

static gpulet_status_t load_models(server_t *server, gpulet_error_t *err)
{
    gpulet_engine_options_t options = {.ort_library = server->settings.ort_library};
    char *names = server->settings.models;
    char *rest = NULL;
    server->ops = gpulet_engine_find("ort");
    if (server->settings.repository == NULL || names == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "expected --model-dir and --models");
    if (server->ops == NULL)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "ONNX Runtime is not compiled in");
    gpulet_status_t st = server->ops->open(&server->engine, &options, err);
    for (char *name = strtok_r(names, ",", &rest); name != NULL && st == GPULET_OK;
         name = strtok_r(NULL, ",", &rest)) {
        gpulet_bare_load_options_t load = {server->settings.repository, name,
                                           (uint32_t)server->settings.threads,
                                           server->settings.spin};
        if (server->models_count == MODELS_MAX)
            return gpulet_fail(err, GPULET_E_TOO_LARGE, "more than %d models", MODELS_MAX);
        st = gpulet_bare_model_load(&server->models[server->models_count], server->ops,
                                    server->engine, &load, err);
        server->models_count += st == GPULET_OK;
    }
    return st;
}

static void close_server(server_t *server)
{
    for (size_t i = 0; i < server->models_count; i++)
        gpulet_bare_model_unload(&server->models[i]);
    if (server->engine != NULL)
        server->ops->close(server->engine);
    gpulet_options_deinit(options_table, &server->settings);
}

int main(int argc, char **argv)
{
    static server_t server; /* large; zero */
    gpulet_error_t err = {""};
    unsigned port = 0;
    int words = 0;
    server.queue_tail = &server.queue_head;
    gpulet_status_t st = gpulet_options_defaults(options_table, &server.settings);
    if (st == GPULET_OK)
        st = gpulet_options_parse(options_table, &server.settings, 1, argc, argv, &words, NULL,
                                  &err);
    if (st == GPULET_OK && server.settings.help) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_options_help(&out, options_table);
        (void)fputs(out.data != NULL ? out.data : "", stdout);
        gpulet_buf_deinit(&out);
        close_server(&server);
        return 0;
    }
    if (st == GPULET_OK)
        st = load_models(&server, &err);
    if (st == GPULET_OK)
        st = listen_on(&server, &port, &err);
    if (st == GPULET_OK) {
        (void)printf("ready http=127.0.0.1:%u\n", port);
        (void)fflush(stdout);
        run_loop(&server);
    } else {
        (void)fprintf(stderr, "bare_server: %s\n", err.text);
    }
    close_server(&server);
    return st == GPULET_OK ? 0 : 1;
}
