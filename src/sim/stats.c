#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

double gpulet_sim_attainment(const gpulet_sim_result_t *result)
{
    uint64_t asked = 0;
    uint64_t in_time = 0;
    for (size_t i = 0; i < result->models_count; i++) {
        asked += result->models[i].offered - result->models[i].cancelled;
        in_time += result->models[i].in_time;
    }
    return asked > 0 ? (double)in_time / (double)asked : 1;
}

double gpulet_sim_goodput_rps(const gpulet_sim_result_t *result)
{
    uint64_t in_time = 0;
    for (size_t i = 0; i < result->models_count; i++)
        in_time += result->models[i].in_time;
    return result->seconds > 0 ? (double)in_time / result->seconds : 0;
}

void gpulet_sim_result_deinit(gpulet_sim_result_t *result)
{
    free(result->models);
    free(result->windows);
    *result = (gpulet_sim_result_t){0};
}

/* ---- windows ---- */

static uint64_t window_ns(const sim_t *sim)
{
    return (uint64_t)(sim->o->series_s * 1e9);
}

static bool reserve_windows(sim_t *sim, size_t count)
{
    gpulet_sim_result_t *result = sim->result;
    if (count > sim->windows_capacity) {
        size_t capacity = count < 16 ? 16 : count * 2;
        gpulet_sim_window_t *grown =
            reallocarray(result->windows, capacity * result->models_count, sizeof(*grown));
        if (grown == NULL) {
            sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
            return false;
        }
        result->windows = grown;
        sim->windows_capacity = capacity;
    }
    if (count > result->windows_count) {
        memset(result->windows + result->windows_count * result->models_count, 0,
               (count - result->windows_count) * result->models_count * sizeof(result->windows[0]));
        result->windows_count = count;
    }
    return true;
}

static gpulet_sim_window_t *window_of(const sim_t *sim, const sim_request_t *r)
{
    return &sim->result->windows[r->window * sim->result->models_count + r->model];
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
    for (size_t i = 0; i < result->models_count; i++) {
        gpulet_sim_window_t *w = &result->windows[index * result->models_count + i];
        w->planned_rps = sim->models[i].planned_rps;
        w->devices_used = sim->devices_used;
    }
    sim_stats_schedule_window(sim, sim->now_ns);
}

/* ---- requests ---- */

void sim_stats_arrived(sim_t *sim, sim_request_t *r)
{
    sim->result->requests++;
    sim->models[r->model].offered++;
    r->counted = r->arrival_ns >= sim->count_from_ns && r->arrival_ns < sim->count_until_ns;
    if (!r->counted)
        return;
    sim->result->models[r->model].offered += r->items;
    if (sim->o->series_s <= 0)
        return;
    uint64_t index = (r->arrival_ns - sim->count_from_ns) / window_ns(sim);
    r->window = (uint32_t)index;
    if (reserve_windows(sim, index + 1))
        window_of(sim, r)->offered += r->items;
    else
        r->counted = false;
}

void sim_stats_replied(sim_t *sim, const sim_request_t *r, bool in_time, gpulet_status_t status)
{
    gpulet_sim_model_t *m = &sim->result->models[r->model];
    sim->models[r->model].ended++;
    if (!r->counted)
        return;
    if (status != GPULET_OK) {
        m->failed += r->items;
        in_time = false;
    } else {
        *(in_time ? &m->in_time : &m->late) += r->items;
        gpulet_hist_record(&m->latency_ns, sim->now_ns - r->arrival_ns);
    }
    if (sim->o->series_s > 0)
        *(in_time ? &window_of(sim, r)->in_time : &window_of(sim, r)->missed) += r->items;
}

void sim_stats_rejected(sim_t *sim, const sim_request_t *r)
{
    sim->models[r->model].ended++;
    if (!r->counted)
        return;
    sim->result->models[r->model].rejected += r->items;
    if (sim->o->series_s > 0)
        window_of(sim, r)->missed += r->items;
}

void sim_stats_cancelled(sim_t *sim, const sim_request_t *r)
{
    sim->models[r->model].ended++;
    if (r->counted)
        sim->result->models[r->model].cancelled += r->items;
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
