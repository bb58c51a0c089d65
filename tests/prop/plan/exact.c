/* Planner `optimal` against the enumeration of every plan, in hundreds of small seeded worlds: with
 * and without interference, costs, placement rules, instances, memory; models in turns.
 *
 * Arguments: how many seeds (default 1500) and the first one (default 1). Ends with "N passed, M
 * failed". */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../seeds.h"
#include "base/buf.h"
#include "base/rng.h"
#include "enumerate.h"
#include "instance.h"
#include "solve/solve.h"

typedef struct maker {
    gpulet_rng_t rng;
    instance_t in;
    size_t types;
    bool memory;
    bool interference;
} maker_t;

static const char *const shapes[] = {
    "    units: 2\n    sizes: [1, 2]\n",
    "    units: 10\n    sizes: [4, 6, 10]\n    gpulets_max: 2\n",
    "    units: 5\n    sizes: [2, 3, 5]\n    gpulets_max: 2\n",
    ("    units: 7\n    sizes: [2, 4]\n    gpulets_max: 3\n    placement:\n      slots: 8\n"
     "      2: {length: 2, starts: [0, 2, 4]}\n      4: {length: 4, starts: [0]}\n"),
};
static const uint32_t shape_sizes[][3] = {{1, 2, 0}, {4, 6, 10}, {2, 3, 5}, {2, 4, 0}};
static const uint32_t shape_units[] = {2, 10, 5, 7};

static double between(maker_t *m, double low, double high)
{
    return low + (high - low) * gpulet_rng_f64(&m->rng);
}

static void need(bool ok, const char *text)
{
    if (!ok) {
        fprintf(stderr, "%s\n", text);
        abort();
    }
}

static void make_models(maker_t *m, const size_t *chosen)
{
    size_t models = 1 + gpulet_rng_below(&m->rng, 3);
    uint32_t batches = models == 3 ? 2 : 4;
    for (size_t i = 0; i < models; i++) {
        gpulet_demand_t d = {.weight = 1.0};
        snprintf(d.model, sizeof(d.model), "m%zu", i);
        double weight = exp(between(m, 0.0, 3.0));
        for (size_t t = 0; t < m->types; t++) {
            char device[8];
            snprintf(device, sizeof(device), "t%zu", t);
            for (size_t s = 0; s < 3 && shape_sizes[chosen[t]][s] > 0; s++) {
                uint32_t units = shape_sizes[chosen[t]][s];
                double speed = pow((double)units / shape_units[chosen[t]], between(m, 0.3, 1.1));
                uint32_t instances = models < 3 && gpulet_rng_below(&m->rng, 4) == 0 ? 2 : 1;
                for (uint32_t k = 1; k <= instances; k++) {
                    for (uint32_t b = 1; b <= batches; b++) {
                        gpulet_profile_point_t p = {.batch = b, .latency_ms_p99 = NAN};
                        p.latency_ms = weight * (1.0 + 0.4 * b) * (0.5 + 0.5 * k) / speed *
                                       between(m, 0.97, 1.03);
                        p.throughput_rps = NAN;
                        p.memory_mb = m->memory ? 100.0 * k + 10.0 * b : NAN;
                        p.l2_util = m->interference ? between(m, 0.0, 1.0) : NAN;
                        p.dram_util = m->interference ? between(m, 0.0, 1.0) : NAN;
                        need(gpulet_profile_add(m->in.profile, device, d.model, units, k, &p, true,
                                                NULL) == GPULET_OK,
                             "profile");
                    }
                }
            }
        }
        d.slo_ms = weight * exp(between(m, 1.0, 3.0));
        d.rate_rps = 1000.0 / weight * exp(between(m, -4.0, 0.5));
        need(gpulet_workload_add(m->in.workload, &d, NULL) == GPULET_OK, "workload");
    }
}

static void make_devices(maker_t *m, size_t *chosen)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {{0}};
    bool costs = m->types > 1 && gpulet_rng_below(&m->rng, 2) == 0;
    gpulet_buf_append_str(&buf, "types:\n");
    for (size_t t = 0; t < m->types; t++) {
        chosen[t] = gpulet_rng_below(&m->rng, 4);
        gpulet_buf_printf(&buf, "  t%zu:\n%s    models_max: %d\n", t, shapes[chosen[t]],
                          (int)gpulet_rng_below(&m->rng, 4));
        if (m->memory)
            gpulet_buf_printf(&buf, "    memory_mb: %.1f\n", between(m, 150.0, 500.0));
        if (m->memory && gpulet_rng_below(&m->rng, 2) == 0)
            gpulet_buf_printf(&buf, "    memory_headroom: 0.9\n    memory_mb_process: %.1f\n",
                              between(m, 5.0, 80.0));
        if (costs)
            gpulet_buf_printf(&buf, "    cost: %.1f\n",
                              gpulet_rng_below(&m->rng, 2) == 0 ? between(m, 0.5, 2.0)
                                                                : 1.0 + (double)t);
    }
    need(gpulet_device_set_parse(&m->in.devices, buf.data, buf.size, "devices", &err) == GPULET_OK,
         err.text);
    gpulet_buf_deinit(&buf);
}

static void make_interference(maker_t *m)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {{0}};
    gpulet_buf_append_str(&buf, "device,l2_self,l2_other,dram_self,dram_other,constant\n");
    for (size_t t = 0; t < m->types; t++)
        gpulet_buf_printf(&buf, "t%zu,%.4f,%.4f,%.4f,%.4f,%.4f\n", t, between(m, -0.2, 0.3),
                          between(m, -0.1, 0.8), between(m, -0.2, 0.4), between(m, -0.1, 0.4),
                          between(m, 0.7, 1.1));
    need(gpulet_interference_parse(&m->in.interference, buf.data, buf.size, "i", &err) == GPULET_OK,
         err.text);
    gpulet_buf_deinit(&buf);
}

static void make(maker_t *m, uint64_t seed)
{
    size_t chosen[2] = {0};
    memset(m, 0, sizeof(*m));
    gpulet_rng_init(&m->rng, seed);
    m->types = 1 + (gpulet_rng_below(&m->rng, 4) == 0 ? 1 : 0);
    m->memory = gpulet_rng_below(&m->rng, 3) == 0;
    m->interference = gpulet_rng_below(&m->rng, 3) == 0;
    need(gpulet_profile_create(&m->in.profile) == GPULET_OK, "profile");
    need(gpulet_workload_create(&m->in.workload) == GPULET_OK, "workload");
    make_devices(m, chosen);
    make_models(m, chosen);
    if (m->interference)
        make_interference(m);
    m->in.input = (gpulet_plan_input_t){.profile = m->in.profile,
                                        .devices = m->in.devices,
                                        .workload = m->in.workload,
                                        .interference = m->in.interference,
                                        .solver = gpulet_solve_coin()};
    m->in.input.prototype_duty = gpulet_rng_below(&m->rng, 6) == 0;
}

typedef struct tally {
    uint64_t passed;
    uint64_t failed;
    uint64_t skipped; /* too large to enumerate */
    uint64_t proved;
    uint64_t beaten; /* elastic needs more */
} tally_t;

static void check(tally_t *tally, maker_t *m, uint64_t seed)
{
    gpulet_plan_t *plan = NULL;
    gpulet_plan_t *elastic = NULL;
    gpulet_error_t err = {{0}};
    need(gpulet_planner_run(&plan, gpulet_planner_find("optimal"), &m->in.input, &err) == GPULET_OK,
         err.text);
    need(gpulet_planner_run(&elastic, gpulet_planner_find("elastic"), &m->in.input, &err) ==
             GPULET_OK,
         err.text);
    double used = isnan(plan->cost) ? (double)plan->devices_used : plan->cost;
    double other = isnan(elastic->cost) ? (double)elastic->devices_used : elastic->cost;
    double least = plan->feasible ? enumerate_least_cost(&m->in.input, used)
                                  : enumerate_least_cost(&m->in.input, 4.0);
    bool right = plan->feasible ? used <= least * (1.0 + 1e-9) : !isfinite(least);
    if (isnan(least)) {
        tally->skipped++;
    } else if (!right || (plan->feasible && plan->lower_bound > least * (1.0 + 1e-9))) {
        printf("seed %" PRIu64 ": optimal %s, %g, bound %g; every plan enumerated: %g\n", seed,
               plan->feasible ? "feasible" : "infeasible", used, plan->lower_bound, least);
        tally->failed++;
    } else {
        tally->passed++;
        tally->proved += plan->proved_optimal || plan->proved_infeasible ? 1 : 0;
        tally->beaten += elastic->feasible && other > used * (1.0 + 1e-9) ? 1 : 0;
    }
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(elastic);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1500;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    seeds_choose(&first, &count);
    tally_t tally = {0};
    for (uint64_t seed = first; seed < first + count; seed++) {
        maker_t m;
        make(&m, seed);
        check(&tally, &m, seed);
        instance_deinit(&m.in);
    }
    printf("proved %" PRIu64 ", better than elastic %" PRIu64 ", too large to enumerate %" PRIu64
           "\n%" PRIu64 " passed, %" PRIu64 " failed\n",
           tally.proved, tally.beaten, tally.skipped, tally.passed, tally.failed);
    return tally.failed > 0 ? 1 : 0;
}
