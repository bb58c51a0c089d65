#include "client/http_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"

enum {
    PARTS_MAX = 4,
    READ_CHUNK = 65536,
    HEAD_MAX = 65536,
    CHUNK_LINE_MAX = 4096,
    RESPONSE_MAX = 1 << 30
};

struct gpulet_client {
    int fd;
    bool connected;
    struct iovec parts[PARTS_MAX];
    int parts_count;
    int part;
    gpulet_buf_t in;
    size_t head_size;   /* 0: the head is not complete */
    uint64_t body_size; /* UINT64_MAX: until the server closes */
    bool chunked;
    bool keep;
    int status;
    gpulet_buf_t chunks; /* a chunked body, put together */
    size_t chunk_at;
    const char *error;
};

gpulet_status_t gpulet_url_parse(gpulet_url_t *out, const char *text, gpulet_error_t *err)
{
    const char *rest = strncmp(text, "http://", 7) == 0 ? text + 7
                       : strstr(text, "://") == NULL    ? text
                                                        : NULL;
    if (rest == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--url: expected http://host:port, found '%s'",
                           text);
    size_t authority = strcspn(rest, "/");
    const char *colon = memrchr(rest, ':', authority);
    size_t host = colon != NULL && memchr(colon, ']', authority - (size_t)(colon - rest)) == NULL
                      ? (size_t)(colon - rest)
                      : authority;
    size_t port = host < authority ? authority - host - 1 : 0;
    uint64_t number = 8000;
    if (host == 0 || host > GPULET_URL_HOST_MAX || strlen(rest + authority) > GPULET_URL_BASE_MAX ||
        (host < authority && (gpulet_parse_u64(&number, rest + host + 1, port) != GPULET_OK ||
                              number == 0 || number > 65535)))
        return gpulet_fail(err, GPULET_E_INVALID, "--url: expected http://host:port, found '%s'",
                           text);
    memset(out, 0, sizeof(*out));
    bool bracketed = rest[0] == '[' && host > 2 && rest[host - 1] == ']';
    (void)snprintf(out->host, sizeof(out->host), "%.*s", (int)(bracketed ? host - 2 : host),
                   rest + bracketed);
    (void)snprintf(out->port, sizeof(out->port), "%u", (unsigned)number);
    (void)snprintf(out->base, sizeof(out->base), "%s", rest + authority);
    size_t base = strlen(out->base);
    while (base > 0 && out->base[base - 1] == '/')
        out->base[--base] = '\0';
    return GPULET_OK;
}

gpulet_status_t gpulet_url_resolve(gpulet_url_t *url, gpulet_error_t *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(url->host, url->port, &hints, &found);
    if (rc != 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", url->host, gai_strerror(rc));
    memcpy(&url->address, found->ai_addr, found->ai_addrlen);
    url->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    return GPULET_OK;
}

void gpulet_url_append_segment(gpulet_buf_t *out, const char *name)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    while (*name != '\0') {
        size_t size = strspn(name, plain);
        gpulet_buf_append(out, name, size);
        name += size;
        if (*name != '\0')
            gpulet_buf_printf(out, "%%%02X", (unsigned)(unsigned char)*name++);
    }
}

gpulet_status_t gpulet_client_create(gpulet_client_t **out, const gpulet_url_t *url,
                                     gpulet_error_t *err)
{
    gpulet_client_t *client = calloc(1, sizeof(*client));
    int one = 1;
    if (client == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    client->error = "";
    client->fd = socket(url->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0 ||
        (connect(client->fd, (const struct sockaddr *)&url->address, url->address_size) != 0 &&
         errno != EINPROGRESS)) {
        gpulet_status_t st = gpulet_fail(err, GPULET_E_IO, "http://%s:%s: %s", url->host, url->port,
                                         strerror(errno));
        gpulet_client_destroy(client);
        return st;
    }
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *out = client;
    return GPULET_OK;
}

void gpulet_client_destroy(gpulet_client_t *client)
{
    if (client == NULL)
        return;
    if (client->fd >= 0)
        (void)close(client->fd);
    gpulet_buf_deinit(&client->in);
    gpulet_buf_deinit(&client->chunks);
    free(client);
}

int gpulet_client_fd(const gpulet_client_t *client)
{
    return client->fd;
}

static gpulet_client_step_t fail(gpulet_client_t *client, const char *text)
{
    client->error = text;
    client->keep = false;
    return GPULET_CLIENT_FAILED;
}

gpulet_client_step_t gpulet_client_begin(gpulet_client_t *client, const struct iovec *parts,
                                         int parts_count)
{
    if (parts_count > PARTS_MAX)
        return fail(client, "too many parts");
    memcpy(client->parts, parts, (size_t)parts_count * sizeof(*parts));
    client->parts_count = parts_count;
    client->part = 0;
    client->head_size = 0;
    client->status = 0;
    client->chunk_at = 0;
    gpulet_buf_clear(&client->in);
    gpulet_buf_clear(&client->chunks);
    return gpulet_client_step(client);
}

static gpulet_client_step_t send_parts(gpulet_client_t *client)
{
    while (client->part < client->parts_count) {
        ssize_t sent =
            writev(client->fd, &client->parts[client->part], client->parts_count - client->part);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || (errno == ENOTCONN && !client->connected)))
            return GPULET_CLIENT_WAIT_WRITE;
        if (sent < 0)
            return fail(client, strerror(errno));
        client->connected = true;
        size_t left = (size_t)sent;
        while (client->part < client->parts_count && left >= client->parts[client->part].iov_len) {
            left -= client->parts[client->part].iov_len;
            client->part++;
        }
        if (left > 0) {
            client->parts[client->part].iov_base =
                (char *)client->parts[client->part].iov_base + left;
            client->parts[client->part].iov_len -= left;
        }
    }
    return GPULET_CLIENT_WAIT_READ;
}

static bool parse_field(gpulet_client_t *client, const char *line, size_t size)
{
    const char *colon = memchr(line, ':', size);
    if (colon == NULL)
        return false;
    size_t name = (size_t)(colon - line);
    const char *value = colon + 1;
    size_t value_size = size - name - 1;
    while (value_size > 0 && (*value == ' ' || *value == '\t')) {
        value++;
        value_size--;
    }
    while (value_size > 0 && (value[value_size - 1] == ' ' || value[value_size - 1] == '\t'))
        value_size--;
    if (name == 14 && strncasecmp(line, "content-length", 14) == 0)
        return gpulet_parse_u64(&client->body_size, value, value_size) == GPULET_OK &&
               client->body_size < RESPONSE_MAX;
    if (name == 17 && strncasecmp(line, "transfer-encoding", 17) == 0)
        client->chunked = value_size == 7 && strncasecmp(value, "chunked", 7) == 0;
    if (name == 10 && strncasecmp(line, "connection", 10) == 0)
        client->keep = !(value_size == 5 && strncasecmp(value, "close", 5) == 0);
    return true;
}

/* The head ends at `end`. False: it is no HTTP/1.1 response. */
static bool parse_head(gpulet_client_t *client, size_t end)
{
    const char *text = client->in.data;
    uint64_t status = 0;
    if (end < 12 || strncmp(text, "HTTP/1.", 7) != 0 ||
        gpulet_parse_u64(&status, text + 9, 3) != GPULET_OK)
        return false;
    client->status = (int)status;
    client->keep = text[7] == '1';
    client->chunked = false;
    client->body_size = UINT64_MAX;
    const char *line = memchr(text, '\n', end);
    while (line != NULL && line + 1 < text + end) {
        line++;
        const char *next = memchr(line, '\n', (size_t)(text + end - line));
        size_t size = next != NULL ? (size_t)(next - line) : (size_t)(text + end - line);
        if (size > 0 && line[size - 1] == '\r')
            size--;
        if (size > 0 && !parse_field(client, line, size))
            return false;
        line = next;
    }
    if (client->status == 204 || client->status == 304 || client->status / 100 == 1) {
        client->body_size = 0;
        client->chunked = false;
    }
    client->head_size = end;
    return true;
}

/* The size in a chunk's first line, which a newline ends; false when there is none. */
static bool chunk_size(size_t *out, const char *line)
{
    size_t digits = strspn(line, "0123456789abcdefABCDEF");
    if (digits == 0 || digits > 8 || strchr("\r\n \t;", line[digits]) == NULL)
        return false;
    *out = strtoul(line, NULL, 16);
    return *out <= RESPONSE_MAX;
}

/* The lines after the last chunk, up to an empty one. */
static bool trailer_ended(const char *at, size_t left)
{
    return (left >= 2 && memcmp(at, "\r\n", 2) == 0) || memmem(at, left, "\r\n\r\n", 4) != NULL;
}

/* Puts complete chunks together. 1: the body is complete, 0: more is needed, -1: malformed. */
static int take_chunks(gpulet_client_t *client)
{
    for (;;) {
        const char *at = client->in.data + client->head_size + client->chunk_at;
        size_t left = client->in.size - client->head_size - client->chunk_at;
        const char *newline = memchr(at, '\n', left);
        size_t size = 0;
        if (newline == NULL)
            return left > CHUNK_LINE_MAX ? -1 : 0;
        size_t head = (size_t)(newline + 1 - at);
        if (!chunk_size(&size, at))
            return -1;
        if (size == 0)
            return trailer_ended(at + head, left - head) ? 1 : 0;
        if (left < head + size + 2)
            return 0;
        if (memcmp(at + head + size, "\r\n", 2) != 0)
            return -1;
        gpulet_buf_append(&client->chunks, newline + 1, size);
        client->chunk_at += head + size + 2;
    }
}

static gpulet_client_step_t check_response(gpulet_client_t *client)
{
    while (client->head_size == 0) {
        const char *end =
            client->in.size > 0 ? memmem(client->in.data, client->in.size, "\r\n\r\n", 4) : NULL;
        if (end == NULL)
            return client->in.size > HEAD_MAX ? fail(client, "the response's head does not end")
                                              : GPULET_CLIENT_WAIT_READ;
        if (!parse_head(client, (size_t)(end - client->in.data) + 4))
            return fail(client, "the response is no HTTP/1.1");
        if (client->status / 100 == 1) { /* 100 Continue: the real one follows */
            size_t size = client->head_size;
            memmove(client->in.data, client->in.data + size, client->in.size - size);
            client->in.size -= size;
            client->in.data[client->in.size] = '\0';
            client->head_size = 0;
        }
    }
    if (client->chunked) {
        int done = take_chunks(client);
        if (gpulet_buf_status(&client->chunks) != GPULET_OK)
            return fail(client, "out of memory");
        return done < 0   ? fail(client, "a chunk is malformed")
               : done > 0 ? GPULET_CLIENT_DONE
                          : GPULET_CLIENT_WAIT_READ;
    }
    if (client->body_size == UINT64_MAX)
        return GPULET_CLIENT_WAIT_READ;
    return client->in.size - client->head_size >= client->body_size ? GPULET_CLIENT_DONE
                                                                    : GPULET_CLIENT_WAIT_READ;
}

static gpulet_client_step_t receive(gpulet_client_t *client)
{
    for (;;) {
        if (client->in.size > (size_t)RESPONSE_MAX + HEAD_MAX)
            return fail(client, "the response is too large");
        if (gpulet_buf_reserve(&client->in, READ_CHUNK) != GPULET_OK)
            return fail(client, "out of memory");
        size_t room = client->in.capacity - client->in.size - 1;
        ssize_t got = read(client->fd, client->in.data + client->in.size, room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return GPULET_CLIENT_WAIT_READ;
        if (got < 0)
            return fail(client, strerror(errno));
        if (got == 0) {
            bool ends =
                client->head_size > 0 && client->body_size == UINT64_MAX && !client->chunked;
            client->keep = false;
            client->body_size = ends ? client->in.size - client->head_size : client->body_size;
            return ends ? GPULET_CLIENT_DONE : fail(client, "the server closed the connection");
        }
        client->in.size += (size_t)got;
        client->in.data[client->in.size] = '\0';
        gpulet_client_step_t step = check_response(client);
        if (step != GPULET_CLIENT_WAIT_READ || (size_t)got < room)
            return step;
    }
}

gpulet_client_step_t gpulet_client_step(gpulet_client_t *client)
{
    if (client->part < client->parts_count) {
        gpulet_client_step_t step = send_parts(client);
        if (step == GPULET_CLIENT_FAILED || step == GPULET_CLIENT_WAIT_WRITE)
            return step;
        return GPULET_CLIENT_WAIT_READ; /* the answer is not there yet: save the read that would say
                                           so */
    }
    return receive(client);
}

int gpulet_client_status(const gpulet_client_t *client)
{
    return client->status;
}

const char *gpulet_client_body(const gpulet_client_t *client, size_t *size)
{
    if (client->chunked) {
        *size = client->chunks.size;
        return client->chunks.data != NULL ? client->chunks.data : "";
    }
    *size = (size_t)client->body_size;
    return client->in.data + client->head_size;
}

bool gpulet_client_reusable(const gpulet_client_t *client)
{
    return client->keep;
}

const char *gpulet_client_error(const gpulet_client_t *client)
{
    return client->error;
}

static gpulet_client_step_t wait_step(gpulet_client_t *client, gpulet_client_step_t step,
                                      uint64_t until_ns)
{
    while (step == GPULET_CLIENT_WAIT_READ || step == GPULET_CLIENT_WAIT_WRITE) {
        uint64_t now_ns = gpulet_clock_ns();
        struct pollfd p = {client->fd, step == GPULET_CLIENT_WAIT_READ ? POLLIN : POLLOUT, 0};
        if (now_ns >= until_ns)
            return fail(client, "no answer in time");
        int rc = poll(&p, 1, (int)((until_ns - now_ns) / GPULET_NS_PER_MS) + 1);
        if (rc > 0)
            step = gpulet_client_step(client);
    }
    return step;
}

/* NOLINTNEXTLINE(readability-function-size): a whole exchange, and what to wait for. */
gpulet_status_t gpulet_client_fetch(int *status_out, gpulet_buf_t *body, const gpulet_url_t *url,
                                    const char *method, const char *path, const char *content,
                                    size_t content_size, int timeout_ms, gpulet_error_t *err)
{
    const bool v6 = strchr(url->host, ':') != NULL;
    gpulet_client_t *client = NULL;
    gpulet_buf_t head = GPULET_BUF_INIT;
    gpulet_status_t st = gpulet_client_create(&client, url, err);
    if (st != GPULET_OK)
        return st;
    gpulet_buf_printf(&head,
                      "%s %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: gpulet\r\n"
                      "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                      method, url->base, path, v6 ? "[" : "", url->host, v6 ? "]" : "", url->port,
                      content_size);
    struct iovec parts[2] = {{head.data, head.size}, {(void *)(uintptr_t)content, content_size}};
    uint64_t until_ns = gpulet_clock_ns() + (uint64_t)timeout_ms * GPULET_NS_PER_MS;
    gpulet_client_step_t step =
        wait_step(client, gpulet_client_begin(client, parts, content_size > 0 ? 2 : 1), until_ns);
    if (step == GPULET_CLIENT_DONE) {
        size_t size = 0;
        const char *data = gpulet_client_body(client, &size);
        *status_out = client->status;
        gpulet_buf_append(body, data, size);
        st = gpulet_buf_status(body);
    } else {
        st = gpulet_fail(err, GPULET_E_IO, "http://%s:%s%s%s: %s", url->host, url->port, url->base,
                         path, client->error);
    }
    gpulet_buf_deinit(&head);
    gpulet_client_destroy(client);
    return st;
}
