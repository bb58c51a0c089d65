#include "sim/random.h"

#include <math.h>
#include <stdio.h>

#include "core/arrivals.h"

enum { MODELS_MAX = 4, TYPES_MAX = 2, KINDS = 5, APPS_MAX = 2, STAGES_MAX = 5 };

/* A kind of device: what is written before its memory, and its sizes. */
typedef struct kind {
    const char *yaml;
    uint32_t units;
    uint32_t sizes[5]; /* 0: the end */
    bool isolated;
} kind_t;

static const kind_t kinds[KINDS] = {
    {"    units: 100\n    sizes: [25, 50, 75, 100]\n    gpulets_max: 4\n",
     100,
     {25, 50, 75, 100, 0},
     false},
    {"    units: 100\n    sizes: [20, 40, 60, 80, 100]\n    gpulets_max: 2\n    models_max: 3\n",
     100,
     {20, 40, 60, 80, 100},
     false},
    {"    units: 7\n    sizes: [1, 2, 3, 4, 7]\n    gpulets_max: 7\n    isolated: true\n"
     "    placement:\n      slots: 8\n"
     "      1: {length: 1, starts: [0, 1, 2, 3, 4, 5, 6]}\n"
     "      2: {length: 2, starts: [0, 2, 4]}\n"
     "      3: {length: 4, starts: [0, 4]}\n"
     "      4: {length: 4, starts: [0]}\n"
     "      7: {length: 8, starts: [0]}\n",
     7,
     {1, 2, 3, 4, 7},
     true},
    {"    units: 4\n    sizes: [1, 2, 4]\n    isolated: true\n", 4, {1, 2, 4, 0}, true},
    {"    units: 2\n    sizes: [1, 2]\n    gpulets_max: 2\n", 2, {1, 2, 0}, false},
};

typedef struct maker {
    gpulet_rng_t rng;
    uint32_t models;
    uint32_t types;
    const kind_t *kind[TYPES_MAX];
    double fixed_ms[MODELS_MAX]; /* of a batch on the whole device: fixed + each · batch */
    double each_ms[MODELS_MAX];
    double memory_mb[MODELS_MAX];
    double rate_rps[MODELS_MAX];
    double slo_ms[MODELS_MAX];
    bool tails; /* the profile has 99th percentiles */
    gpulet_rng_t
        apps_rng; /* applications have numbers of their own: worlds without are as they were */
    gpulet_error_t *err;
} maker_t;

static uint32_t below(maker_t *m, uint32_t bound)
{
    return (uint32_t)gpulet_rng_below(&m->rng, bound);
}

static bool chance(maker_t *m, double p)
{
    return gpulet_rng_f64(&m->rng) < p;
}

/* Uniform in the logarithm. */
static double between(maker_t *m, double low, double high)
{
    return low * pow(high / low, gpulet_rng_f64(&m->rng));
}

static void choose_models(maker_t *m)
{
    m->models = 1 + below(m, MODELS_MAX);
    m->types = chance(m, 0.25) ? 2 : 1;
    m->tails = chance(m, 0.5);
    for (uint32_t t = 0; t < m->types; t++)
        m->kind[t] = &kinds[below(m, KINDS)];
    for (uint32_t i = 0; i < m->models; i++) {
        m->fixed_ms[i] = between(m, 0.3, 8);
        m->each_ms[i] = between(m, 0.05, 3);
        m->memory_mb[i] = between(m, 50, 1500);
        double alone_ms = m->fixed_ms[i] + m->each_ms[i];
        m->slo_ms[i] = between(m, 3, 40) * alone_ms;
        m->rate_rps[i] = between(m, 0.02, 1.5) * 1000 / alone_ms;
        m->rate_rps[i] = m->rate_rps[i] > 800 ? 800 : m->rate_rps[i];
    }
}

/* ---- inputs, as texts: what people write goes through the same readers ---- */

static gpulet_status_t make_devices(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_append_str(&text, "types:\n");
    for (uint32_t t = 0; t < m->types; t++) {
        gpulet_buf_printf(&text, "  type%u:\n%s", t, m->kind[t]->yaml);
        if (chance(m, 0.6))
            gpulet_buf_printf(&text, "    memory_mb: %u\n", 2000 + below(m, 4000));
    }
    gpulet_buf_append_str(&text, "devices:\n");
    for (uint32_t t = 0; t < m->types; t++)
        gpulet_buf_printf(&text, "  type%u: %d\n", t, chance(m, 0.1) ? -1 : 1 + (int)below(m, 3));
    gpulet_status_t st = gpulet_buf_status(&text);
    if (st == GPULET_OK)
        st = gpulet_device_set_parse(&w->devices, text.data, text.size, "devices", m->err);
    gpulet_buf_deinit(&text);
    return st;
}

static void put_curve(gpulet_buf_t *text, const maker_t *m, uint32_t type, uint32_t model,
                      uint32_t units)
{
    double slower = pow((double)m->kind[type]->units / units, 0.8);
    for (uint32_t batch = 1; batch <= 16; batch *= 2) {
        double ms = (m->fixed_ms[model] + m->each_ms[model] * batch) * slower;
        gpulet_buf_printf(text, "type%u,m%u,%u,%u,%.6f,%.3f,", type, model, units, batch, ms,
                          m->memory_mb[model] + 5 * batch);
        if (m->tails)
            gpulet_buf_printf(text, "%.6f", ms * 1.3);
        gpulet_buf_append_char(text, '\n');
    }
}

static gpulet_status_t make_profile(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_append_str(&text, "device,model,units,batch,latency_ms,memory_mb,latency_ms_p99\n");
    for (uint32_t t = 0; t < m->types; t++) {
        for (uint32_t i = 0; i < m->models; i++) {
            for (uint32_t k = 0; k < 5 && m->kind[t]->sizes[k] != 0; k++)
                put_curve(&text, m, t, i, m->kind[t]->sizes[k]);
        }
    }
    gpulet_status_t st = gpulet_buf_status(&text);
    if (st == GPULET_OK)
        st = gpulet_profile_parse(&w->profile, text.data, text.size, "profile",
                                  GPULET_PROFILE_FORMAT_CSV, NULL, m->err);
    gpulet_buf_deinit(&text);
    return st;
}

static gpulet_status_t make_workload(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_status_t st = gpulet_workload_create(&w->workload);
    for (uint32_t i = 0; i < m->models && st == GPULET_OK; i++) {
        gpulet_demand_t demand = {.rate_rps = m->rate_rps[i],
                                  .slo_ms = m->slo_ms[i],
                                  .priority = below(m, 2),
                                  .weight = 1 + below(m, 3)};
        (void)snprintf(demand.model, sizeof(demand.model), "m%u", i);
        st = gpulet_workload_add(w->workload, &demand, m->err);
    }
    return st;
}

/* Stages come after some of those before them; now and then one asks for several items. Clients ask
 * for a part of the models beside them, and less. */
static void put_app(gpulet_buf_t *text, maker_t *m, uint32_t index)
{
    gpulet_rng_t *rng = &m->apps_rng;
    uint32_t stages = 1 + (uint32_t)gpulet_rng_below(rng, STAGES_MAX);
    double alone_ms = 0;
    gpulet_buf_printf(text, "  app%u:\n    stages:\n", index);
    for (uint32_t s = 0; s < stages; s++) {
        uint32_t model = (uint32_t)gpulet_rng_below(rng, m->models);
        uint32_t requests = gpulet_rng_f64(rng) < 0.2 ? 2 : 1;
        const char *separator = ", after: [";
        gpulet_buf_printf(text, "      s%u: {model: m%u, requests: %u", s, model, requests);
        for (uint32_t b = 0; b < s; b++) {
            if (gpulet_rng_f64(rng) >= 0.5)
                continue;
            gpulet_buf_printf(text, "%ss%u", separator, b);
            separator = ", ";
        }
        gpulet_buf_printf(text, "%s}\n", separator[2] == 'a' ? "" : "]");
        alone_ms += m->fixed_ms[model] + requests * m->each_ms[model];
    }
    gpulet_buf_printf(text, "    slo_ms: %.3f\n    rate_rps: %.3f\n",
                      alone_ms * (1.5 + 15 * gpulet_rng_f64(rng)),
                      1000 / alone_ms * (0.02 + 0.5 * gpulet_rng_f64(rng)));
}

static gpulet_status_t make_apps(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_workload_t *rows = w->workload;
    uint32_t count = 1 + (uint32_t)gpulet_rng_below(&m->apps_rng, APPS_MAX);
    for (size_t i = 0; i < rows->count; i++) {
        double part = gpulet_rng_f64(&m->apps_rng);
        rows->demands[i].rate_rps *= part < 0.4 ? 0 : part;
        m->rate_rps[i] = rows->demands[i].rate_rps;
    }
    gpulet_buf_append_str(&text, "apps:\n");
    for (uint32_t i = 0; i < count; i++)
        put_app(&text, m, i);
    gpulet_status_t st = gpulet_buf_status(&text);
    if (st == GPULET_OK)
        st = gpulet_apps_parse(&w->apps, text.data, text.size, "apps.yaml", m->err);
    if (st == GPULET_OK)
        st = gpulet_sim_subjects(&w->workload, &w->subjects, w->apps, rows, m->err);
    if (st == GPULET_OK)
        gpulet_workload_destroy(rows);
    gpulet_buf_deinit(&text);
    return st;
}

static gpulet_status_t make_truth(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_append_str(
        &text, "device,model,units,batch,other_model,other_units,other_batch,slowdown\n");
    for (uint32_t t = 0; t < m->types; t++) {
        for (uint32_t i = 0; i < m->models * m->models; i++) {
            for (uint32_t k = 0; k < 4; k++)
                gpulet_buf_printf(&text, "type%u,m%u,%u,%u,m%u,%u,%u,%.4f\n", t, i % m->models,
                                  m->kind[t]->sizes[0], k % 2 == 0 ? 1 : 8, i / m->models,
                                  m->kind[t]->sizes[0], k / 2 == 0 ? 1 : 8, between(m, 1, 1.8));
        }
    }
    gpulet_status_t st = gpulet_buf_status(&text);
    if (st == GPULET_OK)
        st = gpulet_pairs_parse(&w->truth, text.data, text.size, "pairs", m->err);
    gpulet_buf_deinit(&text);
    return st;
}

static gpulet_status_t make_belief(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_append_str(&text, "device,constant\n");
    for (uint32_t t = 0; t < m->types; t++)
        gpulet_buf_printf(&text, "type%u,%.4f\n", t, between(m, 1, 1.5));
    gpulet_status_t st = gpulet_buf_status(&text);
    if (st == GPULET_OK)
        st = gpulet_interference_parse(&w->believed, text.data, text.size, "interference", m->err);
    gpulet_buf_deinit(&text);
    return st;
}

/* Rates jump up and down several times. */
static gpulet_status_t make_rates(gpulet_sim_world_t *w, maker_t *m)
{
    gpulet_buf_t text = GPULET_BUF_INIT;
    gpulet_buf_append_str(&text, "time_s,model,rate_rps\n");
    for (uint32_t i = 0; i < m->models; i++) {
        double at_s = 0;
        for (uint32_t k = 0; k < 5; k++) {
            double rate = chance(m, 0.1) ? 0 : m->rate_rps[i] * between(m, 0.1, 3);
            gpulet_buf_printf(&text, "%.3f,m%u,%.3f\n", at_s, i, rate);
            at_s += between(m, 0.3, 4);
        }
    }
    for (size_t i = 0; w->apps != NULL && i < w->apps->count; i++) {
        for (uint32_t k = 0; k < 4; k++)
            gpulet_buf_printf(&text, "%u,app%zu,%.3f\n", 2 * k, i,
                              w->apps->items[i]->rate_rps * 2 * gpulet_rng_f64(&m->apps_rng));
    }
    gpulet_status_t st = gpulet_buf_status(&text);
    if (st == GPULET_OK)
        st = gpulet_sim_rates_parse(&w->rates, text.data, text.size, "rates",
                                    w->subjects != NULL ? w->subjects : w->workload, m->err);
    gpulet_buf_deinit(&text);
    return st;
}

/* ---- how it is run ---- */

static void choose_faults(gpulet_faults_t *faults, maker_t *m)
{
    /* The most of each, and how large. */
    static const double most[GPULET_FAULT_COUNT][2] = {
        [GPULET_FAULT_WORKER_DEATH] = {0.02, 0}, [GPULET_FAULT_SLOW] = {0.05, 10},
        [GPULET_FAULT_LOST_DONE] = {0.01, 0},    [GPULET_FAULT_RING_FULL] = {0.01, 0},
        [GPULET_FAULT_CLIENT_GONE] = {0.1, 0},   [GPULET_FAULT_START_FAILS] = {0.5, 0},
        [GPULET_FAULT_BURST] = {1, 40},          [GPULET_FAULT_DEVICE_GONE] = {0.4, 2}};
    for (int i = 0; i < GPULET_FAULT_COUNT; i++) {
        bool on = chance(m, 0.4);
        double part = gpulet_rng_f64(&m->rng);
        faults->chance[i] = on ? part * part * most[i][0] : 0;
        faults->size[i] = most[i][1];
    }
}

static const gpulet_planner_t *choose_planner(maker_t *m)
{
    const gpulet_planner_t *choice = NULL;
    uint32_t seen = 0;
    for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++) {
        if (!p->slow && !p->from_plan && below(m, ++seen) == 0)
            choice = p;
    }
    /* Half of the worlds are planned as a server plans. */
    return chance(m, 0.5) ? gpulet_planner_find("elastic") : choice;
}

static void choose_options(gpulet_sim_world_t *w, maker_t *m, uint64_t seed)
{
    gpulet_sim_options_t *o = &w->options;
    double overhead_us = chance(m, 0.3) ? 0 : between(m, 10, 500);
    *o = (gpulet_sim_options_t){
        .seed = seed,
        .planning = {.profile = w->profile,
                     .devices = w->devices,
                     .workload = w->workload,
                     .interference = w->believed,
                     .rate_percentile = chance(m, 0.7) ? 0.99 : 0,
                     .p99 = m->tails},
        .apps = w->apps,
        .planner = choose_planner(m),
        .use_spare = chance(m, 0.15),
        .all_devices = chance(m, 0.3),
        .multiple = 1,
        .rates = w->rates,
        .uniform = chance(m, 0.2),
        .warmup_s = 0.5,
        .duration_s = between(m, 3, 12),
        .truth_pairs = w->truth,
        .truth_interference = w->truth == NULL && chance(m, 0.5) ? w->believed : NULL,
        .spread = chance(m, 0.5) ? 0.2 : 0,
        .overhead_ns = (uint64_t)(overhead_us * 1e3),
        .commit_ahead_ns = chance(m, 0.2) ? 0 : 500000,
        .host_ns = (uint64_t)(overhead_us * between(m, 0.5, 2) * 1e3),
        .run_limit_ns = (uint64_t)(between(m, 0.3, 2) * 1e9),
        .requests_max = 64 + below(m, 1000),
        .follow = chance(m, 0.8),
        .following = {.sample_ns = 100000000,
                      .window = 10,
                      .period_ns = (uint64_t)(between(m, 0.5, 3) * 1e9),
                      .hold_ns = 200000000},
        .start_s = {0.02, between(m, 0.02, 0.5)},
        .load_s = between(m, 0.001, 0.2),
        .plan_s = chance(m, 0.2) ? 0 : between(m, 0.001, 0.2),
        .transition_limit_s = between(m, 0.3, 5),
        .phases = true,
        .check = true,
        .series_s = chance(m, 0.3) ? 0.7 : 0,
    };
    choose_faults(&o->faults, m);
}

gpulet_status_t gpulet_sim_world_make(gpulet_sim_world_t *out, uint64_t seed, gpulet_error_t *err)
{
    maker_t m = {.err = err};
    gpulet_rng_init(&m.rng, gpulet_rng_seed(seed, "world", ""));
    gpulet_rng_init(&m.apps_rng, gpulet_rng_seed(seed, "apps", ""));
    choose_models(&m);
    gpulet_status_t st = make_devices(out, &m);
    if (st == GPULET_OK)
        st = make_profile(out, &m);
    if (st == GPULET_OK)
        st = make_workload(out, &m);
    if (st == GPULET_OK && gpulet_rng_f64(&m.apps_rng) < 0.3)
        st = make_apps(out, &m);
    if (st == GPULET_OK && chance(&m, 0.4))
        st = make_truth(out, &m);
    if (st == GPULET_OK && chance(&m, 0.4))
        st = make_belief(out, &m);
    if (st == GPULET_OK && chance(&m, 0.6))
        st = make_rates(out, &m);
    if (st == GPULET_OK)
        choose_options(out, &m, seed);
    return st;
}

void gpulet_sim_world_deinit(gpulet_sim_world_t *world)
{
    gpulet_sim_rates_destroy(world->rates);
    gpulet_pairs_destroy(world->truth);
    gpulet_interference_destroy(world->believed);
    gpulet_workload_destroy(world->workload);
    gpulet_workload_destroy(world->subjects);
    gpulet_apps_destroy(world->apps);
    gpulet_device_set_destroy(world->devices);
    gpulet_profile_destroy(world->profile);
    *world = (gpulet_sim_world_t){0};
}
