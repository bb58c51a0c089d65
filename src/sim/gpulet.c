/* Gpu-lets: a process that starts, loads its models one after the other, serves, drains or dies. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

/* ---- services ---- */

static uint32_t find_model(const gpulet_workload_t *workload, const char *name)
{
    const gpulet_demand_t *demand = gpulet_workload_find(workload, name);
    return demand != NULL ? (uint32_t)(demand - workload->demands) : SIM_NONE;
}

gpulet_status_t sim_gpulet_services(sim_service_t **out, sim_t *sim, uint32_t device,
                                    const gpulet_plan_gpulet_t *planned)
{
    sim_service_t *services = calloc(planned->shares_count + 1, sizeof(*services));
    if (services == NULL)
        return gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory");
    for (size_t i = 0; i < planned->shares_count; i++) {
        services[i].share = planned->shares[i];
        services[i].model = find_model(sim->o->planning.workload, planned->shares[i].model);
        assert(services[i].model != SIM_NONE); /* plans are checked before */
        gpulet_status_t st = sim_curves_get(&services[i].curve, &sim->curves,
                                            sim->devices[device].type, services[i].model,
                                            planned->units, planned->shares[i].instances, sim->err);
        if (st != GPULET_OK) {
            free(services);
            return st;
        }
    }
    *out = services;
    return GPULET_OK;
}

static const sim_service_t *find_service(const sim_service_t *services, size_t count,
                                         uint32_t model)
{
    for (size_t i = 0; i < count; i++) {
        if (services[i].model == model)
            return &services[i];
    }
    return NULL;
}

bool sim_gpulet_holds(const sim_gpulet_t *g, uint32_t model)
{
    return find_service(g->services, g->services_count, model) != NULL;
}

static double service_mb(const sim_service_t *service)
{
    const sim_curve_t *curve = service->curve;
    uint32_t batch =
        service->share.batch < curve->batch_max ? service->share.batch : curve->batch_max;
    /* Where the instances were not measured together, each takes what one does. */
    double copies = curve->profile->instances == curve->instances ? 1 : (double)curve->instances;
    return curve->memory_mb[batch - 1] * copies;
}

double sim_gpulet_memory_mb(const sim_t *sim, const sim_gpulet_t *g)
{
    const gpulet_device_type_t *type =
        &sim->o->planning.devices->types[sim->devices[g->device].type];
    double sum = type->memory_mb_process;
    for (size_t i = 0; i < g->services_count; i++) {
        const sim_service_t *next = find_service(g->wanted, g->wanted_count, g->services[i].model);
        double now_mb = service_mb(&g->services[i]);
        sum += next != NULL ? fmax(now_mb, service_mb(next)) : now_mb;
    }
    for (size_t i = 0; i < g->wanted_count; i++) {
        if (!sim_gpulet_holds(g, g->wanted[i].model))
            sum += service_mb(&g->wanted[i]);
    }
    return sum;
}

/* ---- making and ending ---- */

static gpulet_status_t list_on_device(sim_device_t *device, uint32_t id)
{
    if (device->gpulets_count == device->gpulets_capacity) {
        size_t capacity = device->gpulets_capacity == 0 ? 4 : device->gpulets_capacity * 2;
        uint32_t *grown = reallocarray(device->gpulets, capacity, sizeof(*grown));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        device->gpulets = grown;
        device->gpulets_capacity = capacity;
    }
    device->gpulets[device->gpulets_count++] = id;
    return GPULET_OK;
}

static uint32_t free_place(sim_t *sim)
{
    for (size_t i = 0; i < sim->gpulets_count; i++) {
        if (sim->gpulets[i] == NULL)
            return (uint32_t)i;
    }
    if (sim->gpulets_count == sim->gpulets_capacity) {
        size_t capacity = sim->gpulets_capacity == 0 ? 32 : sim->gpulets_capacity * 2;
        sim_gpulet_t **grown = reallocarray(sim->gpulets, capacity, sizeof(*grown));
        if (grown == NULL)
            return SIM_NONE;
        sim->gpulets = grown;
        sim->gpulets_capacity = capacity;
    }
    sim->gpulets[sim->gpulets_count] = NULL;
    return (uint32_t)sim->gpulets_count++;
}

static uint32_t instances_of(const sim_service_t *services, size_t count)
{
    uint32_t most = 1;
    for (size_t i = 0; i < count; i++)
        most = services[i].share.instances > most ? services[i].share.instances : most;
    return most;
}

/* The brain keeps what it learned by model and size: sizes of other types or with other co-resident
 * instances are others. Units are below 2^20, types below 2^6. */
static uint32_t speed_of(const sim_t *sim, const sim_gpulet_t *g)
{
    uint32_t instances = instances_of(g->services, g->services_count) - 1;
    return g->units | sim->devices[g->device].type << 20 | (instances < 63 ? instances : 63) << 26;
}

gpulet_status_t sim_gpulet_create(sim_gpulet_t **out, sim_t *sim, uint32_t device,
                                  const gpulet_plan_gpulet_t *planned)
{
    sim_gpulet_t *g = calloc(1, sizeof(*g));
    uint32_t place = g != NULL ? free_place(sim) : SIM_NONE;
    if (place == SIM_NONE) {
        free(g);
        return gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory");
    }
    *g = (sim_gpulet_t){.state = SIM_GPULET_BLOCKED,
                        .id = place,
                        .device = device,
                        .units = planned->units,
                        .slot = planned->slot,
                        .duty_ms = planned->duty_ms,
                        .services_count = planned->shares_count};
    gpulet_status_t st = sim_gpulet_services(&g->services, sim, device, planned);
    if (st == GPULET_OK && (st = list_on_device(&sim->devices[device], place)) != GPULET_OK)
        (void)gpulet_fail(sim->err, st, "out of memory");
    if (st != GPULET_OK) {
        free(g->services);
        free(g);
        return st;
    }
    g->speed = speed_of(sim, g);
    sim->gpulets[place] = g;
    *out = g;
    return GPULET_OK;
}

void sim_gpulet_destroy(sim_t *sim, sim_gpulet_t *g)
{
    sim_device_t *device = &sim->devices[g->device];
    size_t kept = 0;
    assert(g->lanes_count == 0);
    for (size_t i = 0; i < device->gpulets_count; i++) {
        if (device->gpulets[i] != g->id)
            device->gpulets[kept++] = device->gpulets[i];
    }
    device->gpulets_count = kept;
    sim->gpulets[g->id] = NULL;
    free(g->services);
    free(g->wanted);
    free(g->lanes);
    free(g);
    sim_stats_devices(sim);
}

/* ---- starting and loading ---- */

static void step_after(sim_t *sim, sim_gpulet_t *g, double seconds)
{
    g->epoch = ++sim->epoch_next;
    sim_add_event(sim, SIM_EVENT_GPULET, sim_after_s(sim, seconds), g->id, g->epoch);
}

void sim_gpulet_start(sim_t *sim, sim_gpulet_t *g)
{
    gpulet_sim_range_t range = sim->o->start_s;
    g->state = SIM_GPULET_STARTING;
    step_after(sim, g, range.min + (range.max - range.min) * gpulet_rng_f64(&sim->start_rng));
    sim_stats_devices(sim);
}

void sim_gpulet_load_wanted(sim_t *sim, sim_gpulet_t *g)
{
    g->loads_left = 0;
    for (size_t i = 0; i < g->wanted_count; i++)
        g->loads_left += !sim_gpulet_holds(g, g->wanted[i].model);
    g->loading = g->loads_left > 0;
    if (g->loading)
        step_after(sim, g, sim->o->load_s);
}

static void loaded(sim_t *sim, sim_gpulet_t *g)
{
    sim->restless = true;
    if (g->fresh) {
        g->state = SIM_GPULET_READY;
        return;
    }
    sim_gpulet_add_lanes(sim, g); /* it was started again in its own place */
    if (g->wanted != NULL)
        sim_gpulet_load_wanted(sim, g);
}

static void come_up(sim_t *sim, sim_gpulet_t *g)
{
    if (sim_fault_strikes(sim, GPULET_FAULT_START_FAILS)) {
        if (++g->failures >= SIM_START_TRIES && g->fresh && !sim->transition.broke)
            sim->hopeless = sim->restless = true;
        sim_gpulet_start(sim, g);
        return;
    }
    g->failures = 0;
    g->state = SIM_GPULET_LOADING;
    g->loads_left = (uint32_t)g->services_count;
    if (g->loads_left == 0)
        loaded(sim, g);
    else
        step_after(sim, g, sim->o->load_s);
}

void sim_gpulet_step(sim_t *sim, uint32_t gpulet, uint64_t epoch)
{
    sim_gpulet_t *g = gpulet < sim->gpulets_count ? sim->gpulets[gpulet] : NULL;
    if (g == NULL || g->epoch != epoch)
        return;
    if (g->state == SIM_GPULET_STARTING) {
        come_up(sim, g);
    } else if (--g->loads_left > 0) {
        step_after(sim, g, sim->o->load_s);
    } else if (g->state == SIM_GPULET_LOADING) {
        loaded(sim, g);
    } else {
        g->loading = false;
        sim->restless = true;
    }
}

/* ---- lanes ---- */

/* What an instance serves: `services` and, beside them, what only `before` has. */
typedef struct menu {
    const sim_service_t *parts[2];
    size_t counts[2];
} menu_t;

static gpulet_status_t set_served(sim_lane_t *lane, uint32_t count)
{
    if (count > lane->served_capacity) {
        void *grown = reallocarray(lane->served, count, sizeof(*lane->served));
        if (grown == NULL)
            return GPULET_E_NOMEM;
        lane->served = grown;
        lane->served_capacity = count;
    }
    lane->served_count = 0;
    return GPULET_OK;
}

/* Fills in what the lane serves; *out has room for all. */
static uint32_t fill_lane(sim_lane_t *lane, gpulet_sched_service_t *out, const menu_t *menu)
{
    uint32_t count = 0;
    for (int part = 0; part < 2; part++) {
        for (size_t i = 0; i < menu->counts[part]; i++) {
            const sim_service_t *s = &menu->parts[part][i];
            if (s->share.instances <= lane->ordinal ||
                (part == 1 && find_service(menu->parts[0], menu->counts[0], s->model) != NULL))
                continue;
            lane->served[count].model = s->model;
            lane->served[count].curve = s->curve;
            out[count++] = (gpulet_sched_service_t){
                .model = s->model,
                .batch = s->share.batch,
                .rate_rps = s->share.rate_rps / s->share.instances,
                .exec_ns = s->curve->exec_ns,
                .exec_count = s->curve->batch_max,
            };
        }
    }
    return count;
}

/* Adds the lane to the brain, or changes what it serves. */
static void put_lane(sim_t *sim, const sim_gpulet_t *g, uint32_t index, const menu_t *menu,
                     bool add)
{
    sim_lane_t *lane = &sim->lanes[index];
    uint32_t most = (uint32_t)(menu->counts[0] + menu->counts[1]);
    gpulet_sched_service_t *services = calloc(most + 1, sizeof(*services));
    gpulet_actions_t actions = {NULL, 0};
    gpulet_status_t st = services != NULL ? set_served(lane, most) : GPULET_E_NOMEM;
    if (st == GPULET_OK) {
        lane->served_count = fill_lane(lane, services, menu);
        gpulet_sched_lane_t value = {g->speed, lane->served_count, services};
        st = add ? gpulet_sched_lane_add(sim->sched, sim->now_ns, index, &value, &actions)
                 : gpulet_sched_lane_serve(sim->sched, sim->now_ns, index, &value, &actions);
    }
    free(services);
    if (st == GPULET_OK) {
        sim_apply(sim, actions);
    } else {
        (void)gpulet_fail(sim->err, st, "a lane cannot be set: %s", gpulet_status_text(st));
        sim_fail(sim, st);
    }
}

/* As many lanes as instances; those that are there are left alone. */
static void extend_lanes(sim_t *sim, sim_gpulet_t *g)
{
    uint32_t wanted = instances_of(g->services, g->services_count);
    menu_t menu = {{g->services, NULL}, {g->services_count, 0}};
    if (wanted <= g->lanes_count)
        return;
    uint32_t *grown = reallocarray(g->lanes, wanted, sizeof(*grown));
    if (grown == NULL) {
        sim_fail(sim, gpulet_fail(sim->err, GPULET_E_NOMEM, "out of memory"));
        return;
    }
    g->lanes = grown;
    while (g->lanes_count < wanted) {
        uint32_t lane = sim_lane_take(sim, g->id, (uint32_t)g->lanes_count);
        if (lane == SIM_NONE)
            return;
        g->lanes[g->lanes_count++] = lane;
        put_lane(sim, g, lane, &menu, true);
    }
}

void sim_gpulet_add_lanes(sim_t *sim, sim_gpulet_t *g)
{
    g->state = SIM_GPULET_SERVING;
    g->fresh = false;
    extend_lanes(sim, g);
    sim_stats_devices(sim);
}

void sim_gpulet_serve(sim_t *sim, sim_gpulet_t *g, const sim_service_t *before, size_t before_count)
{
    menu_t menu = {{g->services, before}, {g->services_count, before_count}};
    extend_lanes(sim, g);
    for (size_t i = 0; i < g->lanes_count; i++) {
        if (!sim->lanes[g->lanes[i]].draining)
            put_lane(sim, g, g->lanes[i], &menu, false);
    }
}

void sim_gpulet_lane_idle(sim_t *sim, uint32_t index)
{
    sim_gpulet_t *g = sim->gpulets[sim->lanes[index].gpulet];
    size_t kept = 0;
    for (size_t i = 0; i < g->lanes_count; i++) {
        if (g->lanes[i] != index)
            g->lanes[kept++] = g->lanes[i];
    }
    g->lanes_count = kept;
    sim_lane_free(sim, index);
    sim->restless = true;
}

void sim_gpulet_drain(sim_t *sim, sim_gpulet_t *g)
{
    g->state = SIM_GPULET_DRAINING;
    g->epoch = 0;
    sim->restless = true;
    for (size_t i = g->lanes_count; i-- > 0;) {
        if (sim->lanes[g->lanes[i]].draining)
            continue;
        sim->lanes[g->lanes[i]].draining = true;
        sim_apply(sim, gpulet_sched_lane_drain(sim->sched, sim->now_ns, g->lanes[i]));
    }
}

/* ---- death ---- */

/* For the checks: what a lost batch held waits again. */
static void give_back(sim_t *sim, const sim_batch_t *b)
{
    for (uint32_t i = 0; b->id != 0 && i < b->count; i++) {
        sim->requests[b->requests[i]].state = SIM_REQUEST_WAITING;
        sim->requests[b->requests[i]].returned = true;
    }
}

static void lose_lanes(sim_t *sim, sim_gpulet_t *g)
{
    g->lost = true;
    while (g->lanes_count > 0) {
        uint32_t index = g->lanes[g->lanes_count - 1];
        if (sim->o->check) {
            give_back(sim, &sim->lanes[index].running);
            give_back(sim, &sim->lanes[index].waiting);
        }
        sim->lanes[index].running.id = sim->lanes[index].waiting.id = 0;
        g->lanes_count--;
        sim_apply(sim, gpulet_sched_lane_lost(sim->sched, sim->now_ns, index));
        sim_lane_free(sim, index);
    }
    sim_lanes_change_speeds(sim, g->device);
    g->lost = false;
}

void sim_gpulet_lose(sim_t *sim, sim_gpulet_t *g)
{
    bool back = !g->retired && g->state != SIM_GPULET_DRAINING && !sim->devices[g->device].gone;
    double back_s = sim->o->start_s.max + sim->o->load_s * (double)g->services_count;
    bool leaves = g->state == SIM_GPULET_DRAINING;
    lose_lanes(sim, g);
    g->state = SIM_GPULET_DEAD;
    g->loading = false;
    g->epoch = 0;
    if (back)
        sim_gpulet_start(sim, g);
    for (size_t i = 0; i < g->services_count; i++)
        sim_apply(sim, gpulet_sched_model_expect(sim->sched, sim->now_ns, g->services[i].model,
                                                 back ? sim_after_s(sim, back_s) : 0));
    sim->restless = true;
    if (leaves)
        sim_gpulet_destroy(sim, g);
    else
        sim_stats_devices(sim);
}
