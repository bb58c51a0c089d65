/* The events that a server has told of. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "view/live.h"
#include "view/live_read.h"

enum { WHERE_SIZE = 64 };

typedef struct event_fields {
    double seq;
    double time_ms;
    const char *kind;
    const char *reason;
    const char *outcome;
    const char *text;
    double gpulets_started;
    double gpulets_stopped;
    double gpulets_kept;
    double models_loaded;
    double plan_ms;
    double duration_ms;
} event_fields_t;

#define FIELD(KIND, name, required)                                                                \
    {                                                                                              \
#name, LIVE_##KIND, offsetof(event_fields_t, name), required                               \
    }

static const live_field_t fields[] = {
    FIELD(COUNT, seq, 1),
    FIELD(NUMBER, time_ms, 0),
    FIELD(TEXT, kind, 1),
    FIELD(TEXT, reason, 0),
    FIELD(TEXT, outcome, 0),
    FIELD(TEXT, text, 0),
    FIELD(NUMBER, gpulets_started, 0),
    FIELD(NUMBER, gpulets_stopped, 0),
    FIELD(NUMBER, gpulets_kept, 0),
    FIELD(NUMBER, models_loaded, 0),
    FIELD(NUMBER, plan_ms, 0),
    FIELD(NUMBER, duration_ms, 0),
    {NULL, LIVE_TEXT, 0, 0},
};

static void append_count(gpulet_buf_t *out, double value, const char *what, const char **joint)
{
    if (!(value > 0)) /* nor NAN */
        return;
    gpulet_buf_printf(out, "%s%.0f %s", *joint, value, what);
    *joint = ", ";
}

static void append_ms(gpulet_buf_t *out, double ms, const char *what, const char **joint)
{
    if (!(ms > 0))
        return;
    if (ms < 1000)
        gpulet_buf_printf(out, "%s%s %.3g ms", *joint, what, ms);
    else
        gpulet_buf_printf(out, "%s%s %.1f s", *joint, what, ms / 1000);
    *joint = ", ";
}

/* Plans may be kept or fail; what else happened has happened, where it did not fail. */
static bool tells_outcome(const event_fields_t *e)
{
    return strstr(e->kind, "plan") != NULL || strcmp(e->outcome, "reached") != 0;
}

static bool is_bad(const event_fields_t *e)
{
    return strcmp(e->outcome, "failed") == 0 || strcmp(e->kind, "rollback") == 0 ||
           strstr(e->kind, "lost") != NULL;
}

/* "replan (burst) reached: text; 2 started, 1 stopped, took 1.2 s" */
static char *line_of(const event_fields_t *e)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    const char *joint = "; ";
    gpulet_buf_append_str(&out, e->kind);
    for (size_t i = 0; i < out.size; i++) {
        if (out.data[i] == '_')
            out.data[i] = ' ';
    }
    if (e->reason[0] != '\0' && strcmp(e->reason, "none") != 0)
        gpulet_buf_printf(&out, " (%s)", e->reason);
    if (e->outcome[0] != '\0' && tells_outcome(e))
        gpulet_buf_printf(&out, " %s", e->outcome);
    if (e->text[0] != '\0')
        gpulet_buf_printf(&out, ": %s", e->text);
    append_count(&out, e->gpulets_started, "started", &joint);
    append_count(&out, e->gpulets_stopped, "stopped", &joint);
    append_count(&out, e->gpulets_kept, "kept", &joint);
    append_count(&out, e->models_loaded, "loaded", &joint);
    append_ms(&out, e->plan_ms, "planned in", &joint);
    append_ms(&out, e->duration_ms, "took", &joint);
    if (gpulet_buf_status(&out) == GPULET_OK)
        return gpulet_buf_release(&out);
    gpulet_buf_deinit(&out);
    return NULL;
}

static void free_events(gpulet_live_event_t *events, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(events[i].text);
    free(events);
}

static gpulet_status_t read_event(gpulet_live_event_t *out, const json_t *object, size_t index,
                                  gpulet_error_t *err)
{
    char where[WHERE_SIZE];
    event_fields_t e;
    (void)snprintf(where, sizeof(where), "events: events[%zu]", index);
    gpulet_status_t st = live_read_object(&e, object, fields, where, err);
    if (st != GPULET_OK)
        return st;
    char *text = line_of(&e);
    if (text == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    *out =
        (gpulet_live_event_t){.seq = e.seq, .time_ms = e.time_ms, .text = text, .bad = is_bad(&e)};
    return GPULET_OK;
}

/* The last ones of old and new in an array of their own; the texts of the old ones move. */
static gpulet_status_t join(gpulet_live_log_t *log, gpulet_live_event_t *events, size_t count,
                            gpulet_error_t *err)
{
    size_t total = log->count + count;
    size_t kept = total < GPULET_LIVE_EVENTS_MAX ? total : GPULET_LIVE_EVENTS_MAX;
    gpulet_live_event_t *joined = calloc(kept + 1, sizeof(*joined));
    if (joined == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < total; i++) {
        gpulet_live_event_t *from = i < log->count ? &log->events[i] : &events[i - log->count];
        if (i + kept < total)
            free(from->text);
        else
            joined[i + kept - total] = *from;
    }
    free(log->events);
    log->events = joined;
    log->count = kept;
    return GPULET_OK;
}

gpulet_status_t gpulet_live_log_read(gpulet_live_log_t *log, const char *text, size_t size,
                                     gpulet_error_t *err)
{
    gpulet_live_event_t *events = NULL;
    json_t *document = NULL;
    const json_t *list = NULL;
    size_t count = 0;
    size_t read = 0;
    gpulet_status_t st = live_read_document(&document, text, size, "events", err);
    if (st != GPULET_OK)
        return st;
    st = live_read_list(&list, &count, document, "events", "events", err);
    if (st == GPULET_OK && (events = calloc(count + 1, sizeof(*events))) == NULL)
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    while (st == GPULET_OK && read < count) {
        st = read_event(&events[read], json_array_get(list, read), read, err);
        read += st == GPULET_OK ? 1 : 0;
    }
    const json_t *next = json_object_get(document, "next");
    if (st == GPULET_OK && !json_is_number(next))
        st = gpulet_fail(err, GPULET_E_INVALID, "events.next: expected a number");
    if (st == GPULET_OK && count > 0)
        st = join(log, events, count, err);
    if (st == GPULET_OK) {
        log->next = fmax(json_number_value(next), 0);
        free(events); /* the texts are the log's now */
    } else {
        free_events(events, read);
    }
    json_decref(document);
    return st;
}

void gpulet_live_log_clear(gpulet_live_log_t *log)
{
    free_events(log->events, log->count);
    *log = (gpulet_live_log_t){0};
}
