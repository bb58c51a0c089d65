/* Devices that are gone or on which no worker lives, and devices that are back: plans are made for
 * those that are left. */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/follow.h"
#include "server/gpulets.h"

/* A device on which no worker lives is tried again after that, doubled each time. */
enum { TRY_AGAIN_S = 30, TRY_DOUBLINGS_MAX = 5 };

static void note(gpulet_server_t *server, const server_device_t *device, bool lost, const char *why)
{
    server_event_t event = {.kind = lost ? SERVER_EVENT_DEVICE_LOST : SERVER_EVENT_DEVICE_BACK,
                            .reason = GPULET_FOLLOW_LOST,
                            .outcome = SERVER_OUTCOME_REACHED,
                            .devices_before = server_devices_used(server),
                            .devices_after = server_devices_used(server),
                            .headroom = server_follow_headroom(server),
                            .shortfall = server_follow_shortfall(server)};
    char text[GPULET_ERROR_TEXT_MAX * 2];
    (void)snprintf(event.text, sizeof(event.text), "%s %u: %s", device->desc.type,
                   device->desc.index, why);
    server_events_add(server->events, &event);
    GPULET_LOG(WARNING, "event=%s device=%s index=%u reason=%s",
               lost ? "device_lost" : "device_back", device->desc.type, device->desc.index,
               gpulet_log_quote(text, sizeof(text), why));
}

/* Its workers hang or are dead: what they were running is run elsewhere. */
static void lose_workers(gpulet_server_t *server, uint32_t device)
{
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device == device && g->worker != NULL)
            g->lost = true;
    }
    server->gpulets_dirty = true;
}

static bool check_health(gpulet_server_t *server, uint32_t index)
{
    server_device_t *device = &server->devices[index];
    gpulet_error_t err = {""};
    bool gone = server->backend->health(device->device, &server->device_options, &err) != GPULET_OK;
    if (gone == device->gone)
        return false;
    device->gone = gone;
    if (gone)
        lose_workers(server, index);
    note(server, device, gone, gone ? err.text : "it answers again");
    return true;
}

static bool others_are_usable(const gpulet_server_t *server, uint32_t index)
{
    for (uint32_t i = 0; i < server->devices_count; i++) {
        if (i != index && !server->devices[i].gone && !server->devices[i].failing)
            return true;
    }
    return false;
}

/* Every gpu-let on it has lost its worker over and over. Where only some have, it is not the
 * device's fault. */
static bool is_failing(const gpulet_server_t *server, uint32_t index)
{
    bool any = false;
    for (const server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (g->device != index || g->retired)
            continue;
        if (!server_gpulet_is_hopeless(g))
            return false;
        any = true;
    }
    return any;
}

static bool check_workers(gpulet_server_t *server, uint32_t index, uint64_t now_ns)
{
    server_device_t *device = &server->devices[index];
    if (device->failing && now_ns >= device->back_at_ns) {
        device->failing = false;
        note(server, device, false, "it is tried again");
        return true;
    }
    if (device->failing || device->gone || !is_failing(server, index) ||
        !others_are_usable(server, index))
        return false;
    uint32_t doublings =
        device->failures < TRY_DOUBLINGS_MAX ? device->failures : TRY_DOUBLINGS_MAX;
    device->failing = true;
    device->failures++;
    device->back_at_ns = now_ns + ((uint64_t)TRY_AGAIN_S * GPULET_NS_PER_S << doublings);
    note(server, device, true, "its workers die over and over");
    return true;
}

void server_devices_blame(gpulet_server_t *server, uint64_t now_ns)
{
    for (uint32_t i = 0; i < server->devices_count; i++)
        server->devices_blamed |= check_workers(server, i, now_ns);
}

void server_devices_check(gpulet_server_t *server)
{
    uint64_t now_ns = gpulet_clock_ns();
    bool changed = server->devices_blamed;
    server->devices_blamed = false;
    for (uint32_t i = 0; i < server->devices_count; i++) {
        if (server->backend->health != NULL)
            changed |= check_health(server, i);
        changed |= check_workers(server, i, now_ns);
    }
    if (!changed)
        return;
    server->devices_seq++;
    server_gpulets_step(server);
    server_follow_ask(server, GPULET_FOLLOW_LOST);
}
