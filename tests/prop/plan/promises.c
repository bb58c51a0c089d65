/* Thousands of random inputs through every planner; what holds is judged by the verifier and the
 * bound alone.
 *
 * Arguments: how many seeds (default 2000) and the first one (default 1). Ends with "N passed, M
 * failed". */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../seeds.h"
#include "instance.h"
#include "plan/incremental.h"
#include "solve/solve.h"

typedef struct tally {
    uint64_t passed;
    uint64_t failed;
    uint64_t feasible;
    uint64_t infeasible;
    uint64_t proved;
    uint64_t impossible;   /* proved infeasible */
    uint64_t cold_checked; /* cold starts on an easier input … */
    uint64_t cold_worse;   /* … that answered worse */
} tally_t;

static void report(tally_t *tally, uint64_t seed, const char *planner, const char *what)
{
    printf("seed %" PRIu64 " %s: %s\n", seed, planner, what);
    tally->failed++;
}

static double used(const gpulet_plan_t *plan)
{
    return isnan(plan->cost) ? (double)plan->devices_used : plan->cost;
}

static bool worse(const gpulet_plan_t *now, const gpulet_plan_t *before)
{
    return before->feasible && (!now->feasible || used(now) > used(before) * (1.0 + 1e-9));
}

static bool unlimited(const gpulet_device_set_t *set)
{
    for (uint32_t t = 0; t < set->types_count; t++) {
        if (set->counts[t] >= 0)
            return false;
    }
    return true;
}

static const char *check_plan(const gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                              gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_plan_verify(plan, input, err);
    if (plan->feasible != (st == GPULET_OK))
        return plan->feasible ? "the verifier refuses a plan that says it is feasible"
                              : "the verifier accepts what is called infeasible";
    if (plan->feasible && !(plan->lower_bound <= used(plan) * (1.0 + 1e-9)))
        return "a feasible plan is below the bound";
    if (plan->proved_infeasible && plan->feasible)
        return "proved infeasible and feasible";
    if (plan->proved_optimal && used(plan) > plan->lower_bound * (1.0 + 1e-9))
        return "proved optimal above the bound";
    if (plan->feasible != (plan->reason[0] == '\0'))
        return "a reason is given exactly when there is no plan";
    /* Half of a device may be too small for an SLO. */
    if (!plan->feasible && !isnan(plan->lower_bound) && unlimited(input->devices) &&
        strcmp(plan->planner, "even") != 0)
        return "infeasible with as many devices as needed";
    return NULL;
}

static const char *check_document(const gpulet_plan_t *plan, const gpulet_plan_input_t *input,
                                  gpulet_error_t *err)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_plan_t *read = NULL;
    const char *wrong = NULL;
    if (gpulet_plan_format_json(&buf, plan) != GPULET_OK ||
        gpulet_plan_parse_json(&read, buf.data, buf.size, "plan", err) != GPULET_OK)
        wrong = "the document cannot be read again";
    else if (gpulet_plan_verify(read, input, err) != GPULET_OK)
        wrong = "the document does not verify";
    gpulet_plan_destroy(read);
    gpulet_buf_deinit(&buf);
    return wrong;
}

/* A verifier that accepts everything would pass every other check: broken plans must be refused. */
static const char *check_refusals(gpulet_plan_t *plan, const gpulet_plan_input_t *input)
{
    if (plan->devices_count == 0)
        return NULL;
    gpulet_plan_gpulet_t *g = &plan->devices[0].gpulets[0];
    gpulet_plan_share_t *s = &g->shares[0];
    const char *wrong = NULL;
    gpulet_plan_gpulet_t gpulet = *g;
    gpulet_plan_share_t share = *s;
    g->duty_ms *= 0.5;
    if (gpulet_plan_verify(plan, input, NULL) == GPULET_OK)
        wrong = "the verifier accepts half a cycle";
    g->duty_ms = 1e9;
    if (gpulet_plan_verify(plan, input, NULL) == GPULET_OK)
        wrong = "the verifier accepts an endless cycle";
    *g = gpulet;
    s->rate_rps *= 0.9;
    if (gpulet_plan_verify(plan, input, NULL) == GPULET_OK)
        wrong = "the verifier accepts a rate that is not routed";
    *s = share;
    g->units += 1000;
    if (gpulet_plan_verify(plan, input, NULL) == GPULET_OK)
        wrong = "the verifier accepts any size";
    *g = gpulet;
    return wrong;
}

/* An easier input: a lower rate or a model less. Returns what to undo. */
static double ease(instance_t *in, uint64_t seed)
{
    gpulet_demand_t *d = &in->workload->demands[seed % in->workload->count];
    double before = d->rate_rps;
    d->rate_rps = seed % 3 == 0 ? 0.0 : before * 0.7;
    return before;
}

static const char *check_monotone(tally_t *tally, instance_t *in, const gpulet_planner_t *planner,
                                  uint64_t seed, const gpulet_plan_t *plan)
{
    double before = ease(in, seed);
    gpulet_plan_t *cold = NULL;
    gpulet_plan_t *warm = NULL;
    gpulet_plan_input_t from = in->input;
    from.from = plan;
    const char *wrong = NULL;
    /* With interference a smaller batch may press harder on its neighbours than a larger one
     * (fitted coefficients can be negative), so there the old plan is rebased with its batches, and
     * that is what is compared. */
    if (gpulet_planner_run(&cold, planner, &in->input, NULL) != GPULET_OK ||
        gpulet_planner_run(&warm, planner, &from, NULL) != GPULET_OK)
        wrong = "an easier input is an error";
    else if (worse(warm, plan))
        wrong = "starting from a plan that holds the answer is worse";
    else if (plan->feasible && (cold->proved_optimal || cold->proved_infeasible) &&
             worse(cold, plan))
        wrong = "a proved answer to an easier input is worse";
    else if (plan->feasible) {
        tally->cold_checked++;
        tally->cold_worse += worse(cold, plan) ? 1 : 0;
    }
    gpulet_plan_destroy(cold);
    gpulet_plan_destroy(warm);
    in->workload->demands[seed % in->workload->count].rate_rps = before;
    return wrong;
}

static const char *check_repeatable(const gpulet_plan_t *plan, const gpulet_planner_t *planner,
                                    const gpulet_plan_input_t *input)
{
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    gpulet_plan_t *again = NULL;
    const char *wrong = NULL;
    if (gpulet_planner_run(&again, planner, input, NULL) != GPULET_OK ||
        gpulet_plan_format_json(&first, plan) != GPULET_OK ||
        gpulet_plan_format_json(&second, again) != GPULET_OK)
        wrong = "a second run fails";
    else if (strcmp(first.data, second.data) != 0)
        wrong = "a second run gives another plan";
    gpulet_plan_destroy(again);
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    return wrong;
}

static gpulet_plan_t *check_seed(tally_t *tally, instance_t *in, const char *name, uint64_t seed)
{
    const gpulet_planner_t *planner = gpulet_planner_find(name);
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    if (gpulet_planner_run(&plan, planner, &in->input, &err) != GPULET_OK) {
        report(tally, seed, name, err.text);
        return NULL;
    }
    const char *wrong = check_plan(plan, &in->input, &err);
    if (wrong == NULL && plan->feasible && seed % 4 == 0)
        wrong = check_document(plan, &in->input, &err);
    if (wrong == NULL && plan->feasible && seed % 4 == 2)
        wrong = check_refusals(plan, &in->input);
    if (wrong == NULL && seed % 16 == 3)
        wrong = check_repeatable(plan, planner, &in->input);
    if (wrong == NULL && seed % 4 == 1)
        wrong = check_monotone(tally, in, planner, seed, plan);
    if (wrong != NULL) {
        report(tally, seed, name, wrong);
        printf("  %s\n", err.text);
    } else {
        tally->passed++;
    }
    tally->feasible += plan->feasible ? 1 : 0;
    tally->infeasible += plan->feasible ? 0 : 1;
    tally->proved += plan->proved_optimal ? 1 : 0;
    tally->impossible += plan->proved_infeasible ? 1 : 0;
    return plan;
}

/* One pass of elastic, as published; with the prototype's tolerances its plan says what it breaks.
 */
static void check_form(tally_t *tally, const instance_t *in, uint64_t seed,
                       const gpulet_elastic_options_t *options)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    gpulet_plan_input_t input = in->input;
    const char *wrong = NULL;
    input.elastic = *options;
    if (gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &input, &err) != GPULET_OK) {
        report(tally, seed, "elastic, one pass", err.text);
        return;
    }
    if (!plan->by_prototype_rule)
        wrong = check_plan(plan, &input, &err);
    else if (plan->promises_kept != (gpulet_plan_verify(plan, &input, &err) == GPULET_OK))
        wrong = "promises_kept is not what the verifier says";
    else if (plan->feasible && (plan->reason[0] != '\0') == plan->promises_kept)
        wrong = "a broken promise is not said, or one that holds is";
    if (wrong != NULL)
        report(tally, seed, "elastic, one pass", wrong);
    else
        tally->passed++;
    gpulet_plan_destroy(plan);
}

static void check_forms(tally_t *tally, const instance_t *in, uint64_t seed)
{
    gpulet_elastic_options_t options = {.form = GPULET_ELASTIC_FORM_PAPER};
    options.order = (gpulet_elastic_order_t)(seed % 6);
    options.knee = (gpulet_elastic_knee_t)(seed / 6 % 3);
    check_form(tally, in, seed, &options);
    options.form = GPULET_ELASTIC_FORM_PROTOTYPE;
    check_form(tally, in, seed, &options);
    options.rate_slack_rps = seed % 2 == 0 ? 15.0 : 0.0;
    options.rate_enough = 0.85;
    options.residual_slack = seed % 4 < 2 ? 1.05 : 0.0;
    check_form(tally, in, seed, &options);
}

/* From the plan of another planner to other rates, some up and some down. */
static const char *check_incremental(instance_t *in, const gpulet_plan_t *from, uint64_t seed)
{
    const gpulet_planner_t *elastic = gpulet_planner_find("elastic");
    const gpulet_planner_t *planner = gpulet_planner_find("incremental");
    gpulet_plan_input_t input = in->input;
    gpulet_plan_t *moved = NULL;
    gpulet_plan_t *anew = NULL;
    const char *wrong = NULL;
    double before[64];
    for (size_t i = 0; i < in->workload->count; i++) {
        before[i] = in->workload->demands[i].rate_rps;
        in->workload->demands[i].rate_rps *= (double)((seed + 3 * i) % 5) * 0.4;
    }
    gpulet_error_t err = {{0}};
    if (gpulet_planner_run(&anew, elastic, &input, &err) != GPULET_OK)
        wrong = "elastic fails";
    input.from = from;
    if (wrong == NULL && gpulet_planner_run(&moved, planner, &input, &err) != GPULET_OK)
        wrong = "incremental fails";
    if (wrong == NULL && anew->feasible && !moved->feasible)
        wrong = "incremental finds nothing where elastic does";
    if (wrong == NULL && moved->feasible) {
        double dearest = 0.0;
        for (uint32_t t = 0; t < in->devices->types_count; t++)
            dearest = fmax(dearest, in->devices->types[t].cost);
        double enough = GPULET_INCREMENTAL_FACTOR * moved->lower_bound + 2.0 * dearest;
        if (anew->feasible)
            enough = fmax(enough, used(anew));
        if (anew->feasible && used(moved) > enough * (1.0 + 1e-9))
            wrong = "incremental costs more than it promises";
    }
    for (size_t i = 0; i < in->workload->count; i++)
        in->workload->demands[i].rate_rps = before[i];
    /* Nothing changes: nothing moves. */
    gpulet_plan_t *same = NULL;
    if (wrong == NULL && from->feasible) {
        if (gpulet_planner_run(&same, planner, &input, &err) != GPULET_OK)
            wrong = "incremental fails on unchanged rates";
        else if (in->interference == NULL && used(same) >= used(from) * (1.0 - 1e-9) &&
                 (same->movement.gpulets_started > 0 || same->movement.models_loaded > 0))
            wrong = "something moves though nothing changed";
    }
    if (wrong != NULL)
        printf("  %s\n", err.text);
    gpulet_plan_destroy(same);
    gpulet_plan_destroy(moved);
    gpulet_plan_destroy(anew);
    return wrong;
}

enum { PLANNERS_MAX = 16 };

static size_t index_of(const char *name)
{
    return (size_t)(gpulet_planner_find(name) - gpulet_planners());
}

/* What is promised of planners beside one another. */
static void check_order(tally_t *tallies, gpulet_plan_t *const *plans, uint64_t seed)
{
    static const char *const chain[] = {"temporal", "elastic", "optimal"};
    for (size_t i = 1; i < sizeof(chain) / sizeof(chain[0]); i++) {
        const gpulet_plan_t *before = plans[index_of(chain[i - 1])];
        const gpulet_plan_t *now = plans[index_of(chain[i])];
        if (before != NULL && now != NULL && worse(now, before))
            report(&tallies[index_of(chain[i])], seed, chain[i], "worse than the one before");
    }
    const gpulet_plan_t *best = plans[index_of("optimal")];
    for (size_t i = 0; i < PLANNERS_MAX && best != NULL; i++) {
        if (plans[i] != NULL && plans[i]->feasible &&
            best->lower_bound > used(plans[i]) * (1.0 + 1e-9))
            report(&tallies[i], seed, gpulet_planners()[i].name, "below the bound of optimal");
        if (plans[i] != NULL && plans[i]->feasible && best->proved_infeasible)
            report(&tallies[i], seed, gpulet_planners()[i].name, "where optimal proved a no");
    }
}

/* Every planner of the table on one instance. */
static void check_instance(tally_t *tallies, uint64_t seed)
{
    instance_t in;
    gpulet_plan_t *plans[PLANNERS_MAX] = {NULL};
    instance_init(&in, seed);
    in.input.solver = gpulet_solve_coin();
    for (size_t i = 0; gpulet_planners()[i].name != NULL; i++) {
        if (!gpulet_planners()[i].from_plan)
            plans[i] = check_seed(&tallies[i], &in, gpulet_planners()[i].name, seed);
    }
    check_order(tallies, plans, seed);
    check_forms(&tallies[index_of("elastic")], &in, seed);
    if (plans[index_of("elastic")] != NULL && seed % 3 == 0) {
        tally_t *moved = &tallies[index_of("incremental")];
        const char *wrong = check_incremental(&in, plans[index_of("elastic")], seed);
        if (wrong != NULL)
            report(moved, seed, "incremental", wrong);
        else
            moved->passed++;
    }
    for (size_t i = 0; i < PLANNERS_MAX; i++)
        gpulet_plan_destroy(plans[i]);
    instance_deinit(&in);
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    seeds_choose(&first, &count);
    tally_t tallies[PLANNERS_MAX] = {{0}};
    uint64_t passed = 0;
    uint64_t failed = 0;
    for (uint64_t seed = first; seed < first + count; seed++)
        check_instance(tallies, seed);
    for (size_t i = 0; gpulet_planners()[i].name != NULL; i++) {
        const tally_t *t = &tallies[i];
        printf("%s: feasible %" PRIu64 ", infeasible %" PRIu64 ", proved optimal %" PRIu64
               ", proved infeasible %" PRIu64 ", easier but worse %" PRIu64 " of %" PRIu64
               " cold starts\n",
               gpulet_planners()[i].name, t->feasible, t->infeasible, t->proved, t->impossible,
               t->cold_worse, t->cold_checked);
        passed += t->passed;
        failed += t->failed;
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed > 0 ? 1 : 0;
}
