#include "server/events.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>

#include "core/text.h"

struct server_events {
    uint64_t next; /* sequence number */
    server_event_t ring[SERVER_EVENTS_MAX];
    uint64_t replans[GPULET_FOLLOW_COUNT][SERVER_OUTCOME_COUNT];
    uint64_t durations_count;
    double durations_sum_ms;
};

static const char *kind_text(server_event_kind_t kind)
{
    static const char *const texts[] = {
#define KIND_TEXT(name, text) text,
        SERVER_EVENT_MAP(KIND_TEXT)
#undef KIND_TEXT
    };
    return texts[kind];
}

const char *server_outcome_text(server_outcome_t outcome)
{
    static const char *const texts[] = {
#define OUTCOME_TEXT(name, text) text,
        SERVER_OUTCOME_MAP(OUTCOME_TEXT)
#undef OUTCOME_TEXT
    };
    return texts[outcome];
}

gpulet_status_t server_events_create(server_events_t **out)
{
    server_events_t *events = calloc(1, sizeof(*events));
    if (events == NULL)
        return GPULET_E_NOMEM;
    events->next = 1;
    *out = events;
    return GPULET_OK;
}

void server_events_destroy(server_events_t *events)
{
    free(events);
}

static bool is_replan(const server_event_t *event)
{
    return event->kind == SERVER_EVENT_PLAN || event->kind == SERVER_EVENT_REPLAN ||
           event->kind == SERVER_EVENT_ROLLBACK;
}

void server_events_add(server_events_t *events, const server_event_t *event)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    server_event_t *slot = &events->ring[events->next % SERVER_EVENTS_MAX];
    *slot = *event;
    slot->seq = events->next++;
    slot->time_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (!is_replan(event))
        return;
    events->replans[event->reason][event->outcome]++;
    if (event->outcome == SERVER_OUTCOME_REACHED) {
        events->durations_count++;
        events->durations_sum_ms += event->duration_ms;
    }
}

void server_events_count(server_events_t *events, gpulet_follow_reason_t reason,
                         server_outcome_t outcome)
{
    events->replans[reason][outcome]++;
}

static void write_number(gpulet_buf_t *out, const char *name, double value)
{
    char text[GPULET_TEXT_NUMBER_SIZE];
    gpulet_buf_printf(out, ",\"%s\":%s", name,
                      isfinite(value) ? gpulet_text_number(text, value) : "null");
}

/* A text may have been cut inside a character. */
static void write_text(gpulet_buf_t *out, const char *text)
{
    json_t *value = json_string(text);
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);
    gpulet_buf_append_str(out, quoted != NULL ? quoted : "\"(not UTF-8)\"");
    free(quoted);
    json_decref(value);
}

static void write_event(gpulet_buf_t *out, const server_event_t *e)
{
    gpulet_buf_printf(
        out, "{\"seq\":%llu,\"time_ms\":%llu,\"kind\":\"%s\",\"reason\":\"%s\",\"outcome\":\"%s\"",
        (unsigned long long)e->seq, (unsigned long long)e->time_ms, kind_text(e->kind),
        gpulet_follow_reason_text(e->reason), server_outcome_text(e->outcome));
    gpulet_buf_append_str(out, ",\"text\":");
    write_text(out, e->text);
    gpulet_buf_printf(out,
                      ",\"devices_before\":%u,\"devices_after\":%u,\"gpulets_started\":%u,"
                      "\"gpulets_stopped\":%u,\"gpulets_kept\":%u,\"models_loaded\":%u,"
                      "\"models_unloaded\":%u",
                      e->devices_before, e->devices_after, e->gpulets_started, e->gpulets_stopped,
                      e->gpulets_kept, e->models_loaded, e->models_unloaded);
    write_number(out, "plan_ms", e->plan_ms);
    write_number(out, "duration_ms", e->duration_ms);
    write_number(out, "headroom", e->headroom);
    write_number(out, "shortfall", e->shortfall);
    gpulet_buf_append_char(out, '}');
}

void server_events_write(gpulet_buf_t *out, const server_events_t *events, uint64_t since)
{
    uint64_t oldest = events->next > SERVER_EVENTS_MAX ? events->next - SERVER_EVENTS_MAX : 1;
    uint64_t first = since > oldest ? since : oldest;
    gpulet_buf_append_str(out, "{\"events\":[");
    for (uint64_t seq = first; seq < events->next; seq++) {
        if (seq > first)
            gpulet_buf_append_char(out, ',');
        write_event(out, &events->ring[seq % SERVER_EVENTS_MAX]);
    }
    gpulet_buf_printf(out, "],\"next\":%llu}", (unsigned long long)events->next);
}

uint64_t server_events_replans(const server_events_t *events, gpulet_follow_reason_t reason,
                               server_outcome_t outcome)
{
    return events->replans[reason][outcome];
}

void server_events_durations(const server_events_t *events, uint64_t *count, double *sum_ms)
{
    *count = events->durations_count;
    *sum_ms = events->durations_sum_ms;
}
