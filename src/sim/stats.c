#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

/* What clients asked, directly or as a whole. */
static gpulet_sim_part_t by_clients(const gpulet_sim_result_t *result)
{
    gpulet_sim_part_t all = {0, 0, 0};
    for (size_t i = 0; i < result->models_count; i++) {
        const gpulet_sim_model_t *m = &result->models[i];
        all.offered += m->offered - m->staged.offered;
        all.in_time += m->in_time - m->staged.in_time;
        all.cancelled += m->cancelled - m->staged.cancelled;
    }
    for (size_t i = 0; i < result->apps_count; i++) {
        all.offered += result->apps[i].offered;
        all.in_time += result->apps[i].in_time;
        all.cancelled += result->apps[i].cancelled;
    }
    return all;
}

double gpulet_sim_attainment(const gpulet_sim_result_t *result)
{
    gpulet_sim_part_t all = by_clients(result);
    uint64_t asked = all.offered - all.cancelled;
    return asked > 0 ? (double)all.in_time / (double)asked : 1;
}

double gpulet_sim_goodput_rps(const gpulet_sim_result_t *result)
{
    uint64_t in_time = by_clients(result).in_time;
    return result->seconds > 0 ? (double)in_time / result->seconds : 0;
}

void gpulet_sim_result_deinit(gpulet_sim_result_t *result)
{
    free(result->models);
    free(result->apps);
    free(result->windows);
    *result = (gpulet_sim_result_t){0};
}

/* ---- windows ---- */

static uint64_t window_ns(const sim_t *sim)
{
    return (uint64_t)(sim->o->series_s * 1e9);
}

static size_t subjects_count(const gpulet_sim_result_t *result)
{
    return result->models_count + result->apps_count;
}

static gpulet_sim_model_t *subject_of(const sim_t *sim, uint32_t subject)
{
    gpulet_sim_result_t *result = sim->result;
    return subject < result->models_count ? &result->models[subject]
                                          : &result->apps[subject - result->models_count];
}

static bool reserve_windows(sim_t *sim, size_t count)
{
    gpulet_sim_result_t *result = sim->result;
    const size_t width = subjects_count(result);
    if (count > sim->windows_capacity) {
        size_t capacity = count < 16 ? 16 : count * 2;
        gpulet_sim_window_t *grown =
            reallocarray(result->windows, capacity * width, sizeof(*grown));
        if (grown == NULL) {
            sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
            return false;
        }
        result->windows = grown;
        sim->windows_capacity = capacity;
    }
    if (count > result->windows_count) {
        memset(result->windows + result->windows_count * width, 0,
               (count - result->windows_count) * width * sizeof(result->windows[0]));
        result->windows_count = count;
    }
    return true;
}

static gpulet_sim_window_t *window_of(const sim_t *sim, const sim_asked_t *asked)
{
    return &sim->result->windows[asked->window * subjects_count(sim->result) + asked->subject];
}

void sim_stats_schedule_window(sim_t *sim, uint64_t begin_ns)
{
    uint64_t end_ns = begin_ns + window_ns(sim);
    if (begin_ns < sim->count_until_ns) /* the last one may be shorter */
        sim_add_event(sim, SIM_EVENT_WINDOW,
                      end_ns < sim->count_until_ns ? end_ns : sim->count_until_ns, 0, 0);
}

/* Ends the window that is under way. */
void sim_stats_window(sim_t *sim)
{
    gpulet_sim_result_t *result = sim->result;
    uint64_t index = (sim->now_ns - sim->count_from_ns - 1) / window_ns(sim);
    if (!reserve_windows(sim, index + 1))
        return;
    for (size_t i = 0; i < subjects_count(result); i++) {
        gpulet_sim_window_t *w = &result->windows[index * subjects_count(result) + i];
        w->planned_rps = i < sim->models_count ? sim->models[i].planned_rps : NAN;
        w->devices_used = sim->devices_used;
    }
    sim_stats_schedule_window(sim, sim->now_ns);
}

/* ---- requests ---- */

void sim_stats_arrived(sim_t *sim, sim_asked_t *asked)
{
    gpulet_sim_model_t *m = subject_of(sim, asked->subject);
    asked->counted =
        asked->arrival_ns >= sim->count_from_ns && asked->arrival_ns < sim->count_until_ns;
    if (!asked->counted)
        return;
    m->offered += asked->items;
    m->staged.offered += asked->staged ? asked->items : 0;
    if (sim->o->series_s <= 0)
        return;
    uint64_t index = (asked->arrival_ns - sim->count_from_ns) / window_ns(sim);
    asked->window = (uint32_t)index;
    if (reserve_windows(sim, index + 1))
        window_of(sim, asked)->offered += asked->items;
    else
        asked->counted = false;
}

void sim_stats_replied(sim_t *sim, const sim_asked_t *asked, bool in_time, gpulet_status_t status)
{
    gpulet_sim_model_t *m = subject_of(sim, asked->subject);
    if (!asked->counted)
        return;
    if (status != GPULET_OK) {
        m->failed += asked->items;
        in_time = false;
    } else {
        *(in_time ? &m->in_time : &m->late) += asked->items;
        m->staged.in_time += in_time && asked->staged ? asked->items : 0;
        gpulet_hist_record(&m->latency_ns, sim->now_ns - asked->arrival_ns);
    }
    if (sim->o->series_s > 0)
        *(in_time ? &window_of(sim, asked)->in_time : &window_of(sim, asked)->missed) +=
            asked->items;
}

void sim_stats_rejected(sim_t *sim, const sim_asked_t *asked)
{
    if (!asked->counted)
        return;
    subject_of(sim, asked->subject)->rejected += asked->items;
    if (sim->o->series_s > 0)
        window_of(sim, asked)->missed += asked->items;
}

void sim_stats_cancelled(sim_t *sim, const sim_asked_t *asked)
{
    gpulet_sim_model_t *m = subject_of(sim, asked->subject);
    if (!asked->counted)
        return;
    m->cancelled += asked->items;
    m->staged.cancelled += asked->staged ? asked->items : 0;
}

/* ---- devices ---- */

/* Until now the count held; only what lies within the counted time is added. */
static void add_area(sim_t *sim)
{
    uint64_t begin =
        sim->devices_since_ns > sim->count_from_ns ? sim->devices_since_ns : sim->count_from_ns;
    uint64_t end = sim->now_ns < sim->count_until_ns ? sim->now_ns : sim->count_until_ns;
    if (end > begin)
        sim->devices_area += (double)(end - begin) * sim->devices_used;
    sim->devices_since_ns = sim->now_ns;
}

static bool is_used(const sim_t *sim, const sim_device_t *device)
{
    for (size_t i = 0; i < device->gpulets_count && !device->gone; i++) {
        if (sim->gpulets[device->gpulets[i]]->state != SIM_GPULET_BLOCKED)
            return true;
    }
    return false;
}

void sim_stats_devices(sim_t *sim)
{
    uint32_t used = 0;
    for (size_t i = 0; i < sim->devices_count; i++)
        used += is_used(sim, &sim->devices[i]);
    add_area(sim);
    sim->devices_used = used;
    if (used > sim->result->devices_max && sim->now_ns < sim->count_until_ns)
        sim->result->devices_max = used;
}

void sim_stats_finish(sim_t *sim)
{
    gpulet_sim_result_t *result = sim->result;
    add_area(sim);
    result->seconds = sim->o->duration_s;
    result->trace_hash = sim->hash;
    result->devices_time_avg =
        sim->devices_area / (double)(sim->count_until_ns - sim->count_from_ns);
}
