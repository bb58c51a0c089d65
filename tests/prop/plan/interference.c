/* What is promised of interference, whatever its kind, on thousands of random inputs: a factor is
 * at least 1 and rises with the neighbours' pressure, planners' plans verify, and planning with a
 * quantile of the error is never less careful than planning with what was fitted.
 *
 * Arguments: how many seeds (default 1500) and the first one (default 1). Ends with "N passed, M
 * failed". */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../seeds.h"
#include "base/rng.h"
#include "instance.h"
#include "plan/elastic.h"
#include "solve/solve.h"

enum { KINDS = 3, PROBES = 24 };

static const double QUANTILE = 0.95;

typedef struct tally {
    uint64_t plans;   /* feasible */
    uint64_t shared;  /* with a factor above 1 somewhere */
    uint64_t careful; /* feasible with the quantile */
    uint64_t pairs;   /* looked at */
} tally_t;

typedef struct probe {
    gpulet_interference_side_t side;
    const char *device;
} probe_t;

static uint32_t units_of(const instance_t *in, const char *device)
{
    return in->devices->types[gpulet_device_set_find(in->devices, device)].units;
}

static probe_t probe(const instance_t *in, gpulet_rng_t *rng)
{
    size_t count = gpulet_profile_curves_count(in->profile);
    const gpulet_curve_t *curve =
        gpulet_profile_curve_at(in->profile, gpulet_rng_below(rng, count));
    uint32_t low = gpulet_curve_batch_min(curve);
    uint32_t batch = low + (uint32_t)gpulet_rng_below(rng, gpulet_curve_batch_max(curve) - low + 1);
    return (probe_t){gpulet_interference_side(curve, batch, units_of(in, curve->device)),
                     curve->device};
}

/* Two neighbours of one batch: whoever presses harder slows it down no less; taken apart for
 * planning the factor is the same. */
static const char *check_pair(const instance_t *in, gpulet_rng_t *rng, bool *checked)
{
    probe_t self = probe(in, rng);
    probe_t one = probe(in, rng);
    probe_t two = probe(in, rng);
    const gpulet_interference_row_t *row = gpulet_interference_find(in->interference, self.device);
    *checked =
        row != NULL && strcmp(self.device, one.device) == 0 && strcmp(self.device, two.device) == 0;
    if (!*checked)
        return NULL;
    double a = gpulet_interference_between(row, &self.side, &one.side);
    double b = gpulet_interference_between(row, &self.side, &two.side);
    double pressure_a = gpulet_interference_pressure(row, &one.side);
    double pressure_b = gpulet_interference_pressure(row, &two.side);
    gpulet_interference_response_t r = gpulet_interference_response(row, &self.side);
    if (!(a >= 1.0 && b >= 1.0 && isfinite(a) && isfinite(b)))
        return "a factor is below 1 or no number";
    if ((pressure_a < pressure_b && a > b * (1.0 + 1e-12)) ||
        (pressure_a > pressure_b && b > a * (1.0 + 1e-12)))
        return "a harder neighbour slows down less";
    if (fabs(gpulet_interference_factor_at(&r, pressure_a) - a) > 1e-9 * a)
        return "planners and verifier see different factors";
    if (gpulet_interference_factor_at(&r, pressure_a + 0.5) <
        gpulet_interference_factor_at(&r, pressure_a))
        return "a factor falls with pressure";
    return NULL;
}

static const char *check_quantile(const instance_t *in, gpulet_rng_t *rng, bool *checked)
{
    probe_t self = probe(in, rng);
    probe_t other = probe(in, rng);
    const gpulet_interference_row_t *row = gpulet_interference_find(in->interference, self.device);
    *checked = row != NULL && strcmp(self.device, other.device) == 0;
    double before = 0.0;
    for (double q = 0.0; *checked && q < 0.991; q += 0.33) {
        if (gpulet_interference_adjust(in->interference, q, false, "i", NULL) != GPULET_OK)
            return "a quantile of the file is refused";
        double factor = gpulet_interference_between(row, &self.side, &other.side);
        if (factor < before)
            return "a higher quantile gives a smaller factor";
        before = factor;
    }
    return gpulet_interference_adjust(in->interference, 0.0, false, "i", NULL) == GPULET_OK
               ? NULL
               : "the fitted model is refused";
}

/* 1 exactly when nobody stands beside or the type is isolated. */
static const char *check_shares(tally_t *tally, const gpulet_plan_t *plan, const instance_t *in)
{
    bool disturbed = false;
    for (size_t d = 0; d < plan->devices_count; d++) {
        const gpulet_plan_device_t *device = &plan->devices[d];
        int type = gpulet_device_set_find(in->devices, device->type);
        bool alone = device->gpulets_count == 1 || in->devices->types[type].isolated;
        for (size_t g = 0; g < device->gpulets_count; g++) {
            for (size_t i = 0; i < device->gpulets[g].shares_count; i++) {
                double factor = device->gpulets[g].shares[i].interference;
                if (alone && factor != 1.0)
                    return "a factor with nobody beside";
                if (!(factor >= 1.0))
                    return "a factor below 1 in a plan";
                disturbed = disturbed || factor > 1.0;
            }
        }
    }
    tally->shared += disturbed ? 1 : 0;
    return NULL;
}

/* A plan made with the quantile keeps its promises under what was fitted. */
static const char *check_careful(tally_t *tally, const instance_t *in,
                                 const gpulet_planner_t *planner, gpulet_error_t *err)
{
    gpulet_plan_t *careful = NULL;
    gpulet_plan_t *under_mean = NULL;
    const char *wrong = NULL;
    if (gpulet_interference_adjust(in->interference, QUANTILE, false, "i", err) != GPULET_OK ||
        gpulet_planner_run(&careful, planner, &in->input, err) != GPULET_OK)
        return "planning with a quantile is an error";
    if (careful->feasible && gpulet_plan_verify(careful, &in->input, err) != GPULET_OK)
        wrong = "a plan with a quantile does not verify";
    if (gpulet_interference_adjust(in->interference, 0.0, false, "i", err) != GPULET_OK)
        wrong = "the fitted model is refused";
    if (wrong == NULL && careful->feasible) {
        tally->careful++;
        if (gpulet_plan_rebase(&under_mean, careful, &in->input) != GPULET_OK ||
            under_mean == NULL || !under_mean->feasible ||
            gpulet_plan_verify(under_mean, &in->input, err) != GPULET_OK)
            wrong = "a careful plan breaks under what was fitted";
    }
    gpulet_plan_destroy(careful);
    gpulet_plan_destroy(under_mean);
    return wrong;
}

static const char *check_planner(tally_t *tally, const instance_t *in, const char *name,
                                 gpulet_error_t *err)
{
    const gpulet_planner_t *planner = gpulet_planner_find(name);
    gpulet_plan_t *plan = NULL;
    const char *wrong = NULL;
    if (gpulet_planner_run(&plan, planner, &in->input, err) != GPULET_OK)
        return "planning is an error";
    gpulet_status_t st = gpulet_plan_verify(plan, &in->input, err);
    if (plan->feasible != (st == GPULET_OK))
        wrong = "planner and verifier disagree";
    if (wrong == NULL)
        wrong = check_shares(tally, plan, in);
    tally->plans += plan->feasible ? 1 : 0;
    gpulet_plan_destroy(plan);
    return wrong != NULL ? wrong : check_careful(tally, in, planner, err);
}

static double used(const gpulet_plan_t *plan)
{
    return isnan(plan->cost) ? (double)plan->devices_used : plan->cost;
}

/* What one planner proves no other refutes, whatever the kind of interference. */
static const char *check_bound(const instance_t *in, gpulet_error_t *err)
{
    gpulet_plan_t *elastic = NULL;
    gpulet_plan_t *optimal = NULL;
    const char *wrong = NULL;
    if (gpulet_planner_run(&elastic, gpulet_planner_find("elastic"), &in->input, err) !=
            GPULET_OK ||
        gpulet_planner_run(&optimal, gpulet_planner_find("optimal"), &in->input, err) != GPULET_OK)
        wrong = "planning is an error";
    else if (elastic->feasible &&
             (!optimal->feasible || used(optimal) > used(elastic) * (1.0 + 1e-9)))
        wrong = "optimal is worse than elastic";
    else if (elastic->feasible && optimal->lower_bound > used(elastic) * (1.0 + 1e-9))
        wrong = "a plan of elastic is below the bound of optimal";
    gpulet_plan_destroy(elastic);
    gpulet_plan_destroy(optimal);
    return wrong;
}

static size_t planners_count(void)
{
    size_t count = 0;
    while (gpulet_planners()[count].name != NULL)
        count++;
    return count;
}

/* The instances have limits of memory and network, and several instances of a model, too. */
static const char *check(tally_t *tally, const instance_t *in, uint64_t seed, gpulet_error_t *err)
{
    gpulet_rng_t rng;
    const char *wrong = NULL;
    gpulet_rng_init(&rng, seed);
    for (int i = 0; i < PROBES && wrong == NULL; i++) {
        bool checked = false;
        wrong = check_pair(in, &rng, &checked);
        tally->pairs += checked ? 1 : 0;
        if (wrong == NULL)
            wrong = check_quantile(in, &rng, &checked);
    }
    if (wrong == NULL)
        wrong = check_planner(tally, in, "elastic", err);
    if (wrong == NULL && seed / KINDS % 2 == 0)
        wrong = check_bound(in, err);
    const gpulet_planner_t *other = &gpulet_planners()[seed / KINDS % planners_count()];
    return wrong == NULL && !other->from_plan ? check_planner(tally, in, other->name, err) : wrong;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1500;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    seeds_choose(&first, &count);
    tally_t tallies[KINDS] = {{0}};
    uint64_t passed = 0;
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        gpulet_interference_kind_t kind = (gpulet_interference_kind_t)(seed % KINDS);
        gpulet_error_t err = {{0}};
        instance_t in;
        instance_init(&in, seed);
        in.input.solver = gpulet_solve_coin();
        const char *wrong = instance_set_interference(&in, kind, seed + 1000000)
                                ? check(&tallies[kind], &in, seed, &err)
                                : NULL;
        if (wrong != NULL)
            printf("seed %" PRIu64 " %s: %s\n  %s\n", seed, gpulet_interference_kind_name(kind),
                   wrong, err.text);
        passed += wrong == NULL ? 1 : 0;
        failed += wrong != NULL ? 1 : 0;
        instance_deinit(&in);
    }
    for (int k = 0; k < KINDS; k++) {
        const tally_t *t = &tallies[k];
        printf("%s: pairs %" PRIu64 ", feasible %" PRIu64 ", disturbed %" PRIu64
               ", feasible with the quantile %" PRIu64 "\n",
               gpulet_interference_kind_name((gpulet_interference_kind_t)k), t->pairs, t->plans,
               t->shared, t->careful);
        if (count >= 100 && (t->pairs == 0 || t->shared == 0 || t->careful == 0))
            failed++; /* it looked at nothing */
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}
