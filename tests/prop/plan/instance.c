#include "instance.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/rng.h"

typedef struct shape {
    const char *text; /* after "types: name:" */
    uint32_t sizes[8];
    size_t sizes_count;
    uint32_t units;
    bool by_size;
} shape_t;

static const shape_t shapes[] = {
    {"    units: 100\n    sizes: [20, 40, 50, 60, 80, 100]\n    gpulets_max: 2\n",
     {20, 40, 50, 60, 80, 100},
     6,
     100,
     false},
    {"    units: 2\n    sizes: [1, 2]\n", {1, 2}, 2, 2, false},
    {"    units: 8\n    sizes: [1, 2, 3, 4, 6, 8]\n    gpulets_max: 5\n",
     {1, 2, 3, 4, 6, 8},
     6,
     8,
     false},
    {"    units: 4\n    sizes: [4]\n", {4}, 1, 4, false},
    {"    units: 5\n    sizes: [2, 3]\n    gpulets_max: 2\n", {2, 3}, 2, 5, false},
    {"    units: 7\n    sizes: [1, 2, 3, 4, 7]\n    gpulets_max: 7\n    placement:\n      slots: "
     "8\n"
     "      1: {length: 1, starts: [0, 1, 2, 3, 4, 5, 6]}\n      2: {length: 2, starts: [0, 2, "
     "4]}\n"
     "      3: {length: 4, starts: [0, 4]}\n      4: {length: 4, starts: [0]}\n      7: {length: "
     "8, starts: [0]}\n",
     {1, 2, 3, 4, 7},
     5,
     7,
     true},
};
enum { SHAPES_COUNT = sizeof(shapes) / sizeof(shapes[0]), MODELS_MAX = 9 };

typedef struct maker {
    gpulet_rng_t rng;
    instance_t *in;
    size_t types_count;
    const shape_t *types[3];
    bool memory;
    bool utilisation;
    bool p99;
    bool network;
    double input_bytes; /* of the model being made */
} maker_t;

static double between(maker_t *m, double low, double high)
{
    return low + (high - low) * gpulet_rng_f64(&m->rng);
}

static bool chance(maker_t *m, double p)
{
    return gpulet_rng_f64(&m->rng) < p;
}

static void write_type(maker_t *m, gpulet_buf_t *buf, size_t t)
{
    const shape_t *shape = m->types[t];
    gpulet_buf_printf(buf, "  t%zu:\n%s", t, shape->text);
    gpulet_buf_printf(buf, "    models_max: %d\n", (int)gpulet_rng_below(&m->rng, 4));
    if (m->memory && shape->by_size && chance(m, 0.5)) {
        gpulet_buf_printf(buf, "    memory_mb_by_size: {");
        for (size_t s = 0; s < shape->sizes_count; s++)
            gpulet_buf_printf(buf, "%s%u: %u", s > 0 ? ", " : "", shape->sizes[s],
                              700 + 600 * shape->sizes[s]);
        gpulet_buf_printf(buf, "}\n");
    }
    if (m->memory)
        gpulet_buf_printf(buf, "    memory_mb: %.1f\n", between(m, 1500.0, 6000.0));
    if (m->memory && chance(m, 0.3))
        gpulet_buf_printf(buf, "    memory_headroom: 0.9\n    memory_mb_process: %.1f\n",
                          between(m, 50.0, 400.0));
    if (m->network)
        gpulet_buf_printf(buf, "    network_gbps: %.3f\n", between(m, 0.2, 3.0));
    if (chance(m, 0.2))
        gpulet_buf_printf(buf, "    isolated: true\n");
    if (m->types_count > 1 && chance(m, 0.5))
        gpulet_buf_printf(buf, "    cost: %.2f\n", between(m, 0.5, 3.0));
}

static void make_devices(maker_t *m)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {{0}};
    m->types_count = 1 + (chance(m, 0.25) ? gpulet_rng_below(&m->rng, 2) + 1 : 0);
    for (size_t t = 0; t < m->types_count; t++)
        m->types[t] = &shapes[gpulet_rng_below(&m->rng, SHAPES_COUNT)];
    gpulet_buf_append_str(&buf, "types:\n");
    for (size_t t = 0; t < m->types_count; t++)
        write_type(m, &buf, t);
    gpulet_buf_append_str(&buf, "devices:\n");
    bool unlimited = chance(m, 0.5);
    for (size_t t = 0; t < m->types_count; t++)
        gpulet_buf_printf(&buf, "  t%zu: %d\n", t,
                          unlimited ? -1 : 1 + (int)gpulet_rng_below(&m->rng, 5));
    if (gpulet_device_set_parse(&m->in->devices, buf.data, buf.size, "devices", &err) !=
        GPULET_OK) {
        fprintf(stderr, "%s\n%s", err.text, buf.data);
        abort();
    }
    gpulet_buf_deinit(&buf);
}

/* One curve: affine in the batch, with noise, so that latency and rate are not always monotone. */
static void add_curve(maker_t *m, const char *device, const char *model, uint32_t units,
                      uint32_t instances, double weight)
{
    uint32_t first = chance(m, 0.9) ? 1 : 4;
    uint32_t last = 1u << (2 + gpulet_rng_below(&m->rng, 4));
    double intensity = between(m, 0.05, 0.9);
    for (uint32_t b = first; b <= last || b == first; b *= 2) {
        gpulet_profile_point_t p = {.batch = b};
        p.latency_ms = weight * (1.0 + 0.25 * b) * (0.6 + 0.4 * instances) * between(m, 0.95, 1.05);
        p.latency_ms_p99 = m->p99 && chance(m, 0.8) ? p.latency_ms * between(m, 1.0, 1.5) : NAN;
        p.throughput_rps = NAN;
        p.memory_mb = m->memory && chance(m, 0.95) ? (200.0 + 20.0 * b) * instances : NAN;
        p.input_bytes = m->network ? m->input_bytes : NAN;
        p.l2_util = m->utilisation ? fmin(1.0, intensity * (0.6 + 0.05 * b)) : NAN;
        p.dram_util = m->utilisation ? fmin(1.0, intensity * (0.4 + 0.05 * b)) : NAN;
        gpulet_error_t err = {{0}};
        if (gpulet_profile_add(m->in->profile, device, model, units, instances, &p, true, &err) !=
            GPULET_OK) {
            fprintf(stderr, "%s\n", err.text);
            abort();
        }
    }
}

static void add_model(maker_t *m, size_t index)
{
    gpulet_demand_t demand = {.weight = 1.0};
    snprintf(demand.model, sizeof(demand.model), "m%zu", index);
    double weight = exp(between(m, log(0.1), log(20.0)));
    double gain = between(m, 0.2, 1.0);
    m->input_bytes = exp(between(m, log(1e3), log(2e6)));
    uint32_t instances_max = chance(m, 0.3) ? 3 : 1;
    for (size_t t = 0; t < m->types_count; t++) {
        char device[32];
        snprintf(device, sizeof(device), "t%zu", t);
        const shape_t *shape = m->types[t];
        double speed = between(m, 0.5, 2.0);
        for (size_t s = 0; s < shape->sizes_count; s++) {
            bool last = s + 1 == shape->sizes_count;
            double part = (double)shape->sizes[s] / (double)shape->units;
            for (uint32_t k = 1; k <= instances_max && (last || chance(m, 0.95)); k++)
                add_curve(m, device, demand.model, shape->sizes[s], k,
                          weight / speed / pow(part, gain));
        }
    }
    demand.slo_ms = weight * exp(between(m, log(1.5), log(60.0)));
    demand.rate_rps =
        chance(m, 0.05) ? 0.0 : 1000.0 / weight * exp(between(m, log(0.005), log(1.5)));
    if (gpulet_workload_add(m->in->workload, &demand, NULL) != GPULET_OK)
        abort();
}

static void make_interference(maker_t *m)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {{0}};
    gpulet_buf_append_str(&buf, "device,l2_self,l2_other,dram_self,dram_other,constant\n");
    for (size_t t = 0; t < m->types_count; t++)
        gpulet_buf_printf(&buf, "t%zu,%.4f,%.4f,%.4f,%.4f,%.4f\n", t, between(m, -0.2, 0.3),
                          between(m, -0.1, 0.8), between(m, -0.2, 0.4), between(m, -0.1, 0.4),
                          between(m, 0.7, 1.1));
    if (gpulet_interference_parse(&m->in->interference, buf.data, buf.size, "interference", &err) !=
        GPULET_OK) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    gpulet_buf_deinit(&buf);
}

void instance_init(instance_t *in, uint64_t seed)
{
    memset(in, 0, sizeof(*in));
    maker_t m = {.in = in};
    gpulet_rng_init(&m.rng, seed);
    m.memory = chance(&m, 0.5);
    m.utilisation = chance(&m, 0.5);
    m.p99 = chance(&m, 0.3);
    m.network = chance(&m, 0.3);
    if (gpulet_profile_create(&in->profile) != GPULET_OK ||
        gpulet_workload_create(&in->workload) != GPULET_OK)
        abort();
    make_devices(&m);
    size_t models = 1 + gpulet_rng_below(&m.rng, MODELS_MAX);
    for (size_t i = 0; i < models; i++)
        add_model(&m, i);
    if (m.utilisation)
        make_interference(&m);
    in->input = (gpulet_plan_input_t){.profile = in->profile,
                                      .devices = in->devices,
                                      .workload = in->workload,
                                      .interference = in->interference,
                                      .p99 = m.p99};
    if (chance(&m, 0.3))
        in->input.latency_margin = between(&m, 1.0, 1.3);
    if (chance(&m, 0.3))
        in->input.slo_fraction = between(&m, 0.7, 1.0);
    if (chance(&m, 0.3))
        in->input.rate_percentile = between(&m, 0.8, 0.999);
    in->input.prototype_duty = chance(&m, 0.15);
}

/* ---- interference of every kind ---- */

static void set_residuals(maker_t *m, gpulet_interference_row_t *row)
{
    static const double percents[] = {50.0, 90.0, 95.0, 99.0};
    double error = between(m, -0.1, 0.05);
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        row->residuals[row->residuals_count++] =
            (gpulet_interference_residual_t){percents[i], error};
        error += between(m, 0.0, 0.15);
    }
}

static void add_points(maker_t *m, gpulet_interference_row_t *row)
{
    row->bound = between(m, 1.0, 1.8);
    for (size_t i = 0; i < gpulet_profile_curves_count(m->in->profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(m->in->profile, i);
        if (strcmp(curve->device, row->device) != 0 || curve->instances != 1 || chance(m, 0.15))
            continue;
        for (uint32_t batch = 1; batch <= 16; batch *= 4) {
            gpulet_interference_point_t point = {batch, between(m, 0.0, 0.5), between(m, 0.0, 1.5)};
            if (chance(m, 0.1))
                point.sensitivity = NAN;
            if (chance(m, 0.1))
                point.pressure = NAN;
            if (!chance(m, 0.3) &&
                gpulet_interference_add_point(row, curve->model, curve->units, &point) != GPULET_OK)
                abort();
        }
    }
}

bool instance_set_interference(instance_t *in, gpulet_interference_kind_t kind, uint64_t seed)
{
    maker_t m = {.in = in};
    gpulet_interference_t *made = NULL;
    if (kind == GPULET_INTERFERENCE_LINEAR && in->interference == NULL)
        return false;
    gpulet_rng_init(&m.rng, seed);
    if (gpulet_interference_create(&made, kind) != GPULET_OK)
        abort();
    for (uint32_t t = 0; t < in->devices->types_count; t++) {
        gpulet_interference_row_t *row = NULL;
        if (chance(&m, 0.1))
            continue;
        if (gpulet_interference_add(&row, made, in->devices->types[t].name) != GPULET_OK)
            abort();
        row->constant =
            kind == GPULET_INTERFERENCE_LINEAR ? between(&m, 0.7, 1.1) : between(&m, 1.0, 1.6);
        row->l2_self = between(&m, -0.2, 0.3);
        row->l2_other = between(&m, -0.1, 0.8);
        row->dram_self = between(&m, -0.2, 0.4);
        row->dram_other = between(&m, -0.1, 0.4);
        if (kind == GPULET_INTERFERENCE_SENSITIVITY)
            add_points(&m, row);
        set_residuals(&m, row);
        gpulet_interference_finish(row);
    }
    gpulet_interference_destroy(in->interference);
    in->interference = made;
    in->input.interference = made;
    return true;
}

void instance_deinit(instance_t *in)
{
    gpulet_profile_destroy(in->profile);
    gpulet_device_set_destroy(in->devices);
    gpulet_workload_destroy(in->workload);
    gpulet_interference_destroy(in->interference);
}
