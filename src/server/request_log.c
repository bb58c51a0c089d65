/* One log line, with its id, for a request that did not end well: that was refused, late, failed or
 * given up by its client. What stands in it is told in infer.h. A request that is answered in time
 * never comes here. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/infer.h"

enum {
    ID_BYTES_MAX = 128,
    ID_TEXT_SIZE = 4 * ID_BYTES_MAX + 8, /* every byte escaped */
    ERROR_TEXT_SIZE = 1024,
    NAME_TEXT_SIZE = 4 * GPULET_MODEL_NAME_MAX + 8,
    NUMBER_TEXT_SIZE = 24,
    TRACE_ID_SIZE = 32,
    TRACE_HEADER_SIZE = 55
};

static bool is_hex(const char *text, size_t size)
{
    return strspn(text, "0123456789abcdef") >= size;
}

/* The trace id of "00-<32>-<16>-<2>" (W3C Trace Context); other versions may go on after that. */
static bool take_trace_id(char out[TRACE_ID_SIZE + 1], const char *header)
{
    if (strlen(header) < TRACE_HEADER_SIZE)
        return false;
    const char *trace = header + 3;
    const char *parent = trace + TRACE_ID_SIZE + 1;
    const char *flags = parent + 17;
    if (!is_hex(header, 2) || header[2] != '-' || strncmp(header, "ff", 2) == 0 ||
        !is_hex(trace, TRACE_ID_SIZE) || trace[TRACE_ID_SIZE] != '-' || !is_hex(parent, 16) ||
        parent[16] != '-' || !is_hex(flags, 2))
        return false;
    if (flags[2] != '\0' && (flags[2] != '-' || strncmp(header, "00", 2) == 0))
        return false;
    if (strspn(trace, "0") >= TRACE_ID_SIZE)
        return false;
    memcpy(out, trace, TRACE_ID_SIZE);
    out[TRACE_ID_SIZE] = '\0';
    return true;
}

/* What the client calls its request, in quotes; else our number of it, without. */
static const char *id_text(char *out, size_t out_size, const server_infer_t *infer)
{
    char trace_id[TRACE_ID_SIZE + 1];
    const char *id = infer->request_parsed ? infer->request.id : "";
    if (id[0] == '\0')
        id = gpulet_http_header(infer->http, "x-request-id");
    if (id == NULL || id[0] == '\0') {
        const char *trace = gpulet_http_header(infer->http, "traceparent");
        id = trace != NULL && take_trace_id(trace_id, trace) ? trace_id : NULL;
    }
    if (id != NULL)
        return gpulet_log_quote_peer(out, out_size, id, ID_BYTES_MAX);
    (void)snprintf(out, out_size, "%llu", (unsigned long long)infer->number);
    return out;
}

/* Bare, as other lines have it, unless that would break the line into other words. */
static const char *name_text(char *out, size_t out_size, const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f || *c == '"' || *c == '\\' || *c == '=')
            return gpulet_log_quote_peer(out, out_size, name, GPULET_MODEL_NAME_MAX);
    }
    return name;
}

static const char *number_text(char out[NUMBER_TEXT_SIZE], uint64_t number)
{
    (void)snprintf(out, NUMBER_TEXT_SIZE, "%llu", (unsigned long long)number);
    return out;
}

/* " step=x error=… suppressed=3", of what there is. */
static void rest_text(char *out, size_t out_size, const server_ran_t *ran, const char *error,
                      uint64_t suppressed)
{
    char text[ERROR_TEXT_SIZE];
    size_t used = 0;
    out[0] = '\0';
    if (ran->step != NULL)
        used +=
            (size_t)snprintf(out, out_size, " step=%s", name_text(text, NAME_TEXT_SIZE, ran->step));
    if (error != NULL)
        used += (size_t)snprintf(out + used, out_size - used, " error=%s",
                                 gpulet_log_quote_peer(text, sizeof(text), error, sizeof(text)));
    if (suppressed > 0)
        (void)snprintf(out + used, out_size - used, " suppressed=%llu",
                       (unsigned long long)suppressed);
}

static void write_line(const server_infer_t *infer, server_end_t end, const char *reason,
                       const server_ran_t *ran, const char *rest)
{
    static const char *const ends[] = {[SERVER_END_REFUSED] = "refused",
                                       [SERVER_END_LATE] = "late",
                                       [SERVER_END_FAILED] = "failed",
                                       [SERVER_END_CANCELLED] = "cancelled"};
    char id[ID_TEXT_SIZE];
    char name[NAME_TEXT_SIZE];
    char batch[NUMBER_TEXT_SIZE];
    gpulet_log_write(
        end == SERVER_END_FAILED ? GPULET_LOG_WARNING : GPULET_LOG_INFO,
        "event=request request=%s model=%s version=%s outcome=%s reason=%s "
        "queue_ms=%.3f exec_ms=%.3f total_ms=%.3f gpulet=%s batch=%s%s",
        id_text(id, sizeof(id), infer), name_text(name, sizeof(name), infer->model->entry->name),
        infer->model->version_text, ends[end], reason, (double)ran->queue_ns / 1e6,
        (double)ran->exec_ns / 1e6, (double)(gpulet_clock_ns() - infer->arrival_ns) / 1e6,
        ran->gpulet != NULL ? ran->gpulet : "-",
        ran->batch != 0 ? number_text(batch, ran->batch) : "-", rest);
}

void server_infer_log(const server_infer_t *infer, server_end_t end, const char *reason,
                      const server_ran_t *ran, const char *error)
{
    char rest[NAME_TEXT_SIZE + ERROR_TEXT_SIZE + 64];
    uint64_t suppressed = 0;
    const bool failed = end == SERVER_END_FAILED;
    /* Failures have a limit of their own: refusals under overload must not hide them. */
    if (!gpulet_log_enabled(failed ? GPULET_LOG_WARNING : GPULET_LOG_INFO) ||
        !gpulet_log_limit_pass(&infer->model->log_limits[failed], gpulet_clock_ns(), &suppressed))
        return;
    rest_text(rest, sizeof(rest), ran, error, suppressed);
    write_line(infer, end, reason, ran, rest);
}

/* As the metrics count it: an ensemble's request that has begun fails as a whole. */
static const char *failure_reason(const server_infer_t *infer, bool cancelled,
                                  const server_ran_t *ran)
{
    if (infer->state == INFER_QUEUED && cancelled)
        return "CANCELED";
    if (infer->state == INFER_QUEUED && infer->model->ensemble != NULL)
        return "BACKEND";
    return ran != NULL && ran->failed ? "BACKEND" : "OTHER";
}

void server_infer_log_failure(const server_infer_t *infer, bool cancelled, const char *text,
                              const server_ran_t *ran)
{
    const server_ran_t waited = {
        .queue_ns = infer->state == INFER_QUEUED ? gpulet_clock_ns() - infer->arrival_ns : 0};
    server_infer_log(infer, cancelled ? SERVER_END_CANCELLED : SERVER_END_FAILED,
                     failure_reason(infer, cancelled, ran), ran != NULL ? ran : &waited,
                     cancelled ? NULL : text);
}
