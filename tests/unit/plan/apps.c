/* Shares of an application's SLO: kept within it, as good as the best of a grid, never worse than
 * simple rules. */
#include "plan/apps.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

/* ssd feeds two classifiers; six digits beside an image; a chain over all of them. */
static const char traffic[] = "apps: {traffic: {slo_ms: 202, rate_rps: 200, stages: {ssd: {model: "
                              "ssd-mobilenet}, car: {model: "
                              "googlenet, after: [ssd]}, person: {model: vgg16, after: [ssd]}}}}\n";
static const char game[] =
    "apps: {game: {slo_ms: 108, rate_rps: 300, stages: {image: {model: resnet50}, digits: {model: "
    "lenet, requests: 6}}}}\n";
static const char chain[] = "apps: {chain: {slo_ms: 150, rate_rps: 150, stages: {a: {model: "
                            "googlenet}, b: {model: resnet50, "
                            "after: [a]}, c: {model: lenet, after: [b]}}}}\n";
static const char two[] = "apps: {traffic: {slo_ms: 202, rate_rps: 100, stages: {ssd: {model: "
                          "ssd-mobilenet}, car: {model: "
                          "googlenet, after: [ssd]}, person: {model: vgg16, after: [ssd]}}}, "
                          "short: {slo_ms: 90, rate_rps: "
                          "80, stages: {a: {model: googlenet}, b: {model: lenet, after: [a]}}}}\n";

static bool brief; /* under sanitizers planning is some thirty times slower */

typedef struct world {
    gpulet_profile_t *profile;
    gpulet_device_set_t *devices;
    gpulet_plan_input_t input;
} world_t;

static int up(void **state)
{
    world_t *w = calloc(1, sizeof(*w));
    gpulet_error_t err = {""};
    assert_non_null(w);
    if (gpulet_profile_load(&w->profile, GPULET_SOURCE_DIR "/data/profile_2080ti_synthetic_v2.csv",
                            GPULET_PROFILE_FORMAT_CSV, NULL, &err) != GPULET_OK ||
        gpulet_device_set_load(&w->devices, GPULET_SOURCE_DIR "/data/devices_2080ti.yaml", &err) !=
            GPULET_OK)
        fail_msg("%s", err.text);
    for (uint32_t t = 0; t < w->devices->types_count; t++)
        w->devices->counts[t] = -1;
    w->input = (gpulet_plan_input_t){.profile = w->profile, .devices = w->devices};
    *state = w;
    return 0;
}

static int down(void **state)
{
    world_t *w = *state;
    gpulet_profile_destroy(w->profile);
    gpulet_device_set_destroy(w->devices);
    free(w);
    return 0;
}

static gpulet_apps_t *parse(const char *text)
{
    gpulet_apps_t *apps = NULL;
    gpulet_error_t err = {""};
    if (gpulet_apps_parse(&apps, text, strlen(text), "a", &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return apps;
}

static gpulet_apps_plan_t *split(const gpulet_plan_input_t *input, const gpulet_apps_t *apps,
                                 gpulet_apps_options_t options)
{
    gpulet_apps_plan_t *out = NULL;
    gpulet_error_t err = {""};
    if (gpulet_apps_plan_split(&out, input, apps, &options, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return out;
}

/* Every way sums up to its SLO at most, and a model's row holds the smallest share. */
static void check_split(const gpulet_apps_plan_t *s)
{
    for (size_t e = 0; e < s->count; e++) {
        const gpulet_apps_entry_t *entry = &s->entries[e];
        double shares[GPULET_APP_STAGES_MAX];
        for (size_t i = 0; i < entry->app->stages_count; i++) {
            shares[i] = entry->stages[i].share_ms;
            assert_true(shares[i] > 0 && isnan(entry->stages[i].worst_ms));
            const gpulet_demand_t *demand =
                gpulet_workload_find(s->workload, entry->app->stages[i].model);
            assert_non_null(demand);
            assert_true(demand->slo_ms <= shares[i] * (1 + 1e-9));
        }
        assert_true(gpulet_app_rest_ms(NULL, entry->app, shares) <= entry->slo_ms * (1 + 1e-6));
    }
}

static gpulet_plan_t *plan_of(const gpulet_plan_input_t *with, const gpulet_workload_t *workload)
{
    gpulet_plan_input_t input = *with;
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {""};
    input.workload = workload;
    input.brief = true;
    if (gpulet_planner_run(&plan, gpulet_planner_find("elastic"), &input, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return plan;
}

/* Devices; INFINITY where the plan is not feasible. */
static double devices_of(const gpulet_plan_input_t *input, const gpulet_workload_t *workload)
{
    gpulet_plan_t *plan = plan_of(input, workload);
    double devices = plan->feasible ? (double)plan->devices_used : (double)INFINITY;
    gpulet_plan_destroy(plan);
    return devices;
}

static double devices_by(const gpulet_plan_input_t *input, const gpulet_apps_t *apps,
                         gpulet_apps_rule_t rule)
{
    gpulet_apps_plan_t *s = split(input, apps, (gpulet_apps_options_t){.rule = rule});
    check_split(s);
    double devices = devices_of(input, s->workload);
    gpulet_apps_plan_destroy(s);
    return devices;
}

static void shares_are_kept_and_models_planned_once(void **state)
{
    const world_t *w = *state;
    gpulet_apps_t *apps = parse(two);
    gpulet_plan_input_t input = w->input;
    gpulet_workload_t *direct = NULL;
    gpulet_demand_t lenet = {"lenet", 50, 5, 3, 2, true};
    gpulet_demand_t bert = {"bert", 10, 22, 0, 1, false};
    assert_int_equal(gpulet_workload_create(&direct), GPULET_OK);
    assert_int_equal(gpulet_workload_add(direct, &lenet, NULL), GPULET_OK);
    assert_int_equal(gpulet_workload_add(direct, &bert, NULL), GPULET_OK);
    input.workload = direct;
    gpulet_apps_plan_t *s = split(&input, apps, (gpulet_apps_options_t){0});
    check_split(s);
    assert_int_equal(s->workload->count, 5);
    const gpulet_demand_t *first = &s->workload->demands[0];
    assert_string_equal(first->model, "lenet");
    assert_true(first->rate_rps == 130 && first->slo_ms <= 5 && first->priority == 3);
    assert_true(first->weight == 2);
    assert_string_equal(s->workload->demands[1].model, "bert");
    assert_true(s->workload->demands[1].slo_ms == 22);
    const gpulet_demand_t *goo = gpulet_workload_find(s->workload, "googlenet");
    assert_true(goo->rate_rps == 180 && goo->slo_ms < 90);
    gpulet_plan_t *plan = plan_of(&input, s->workload);
    assert_true(plan->feasible);
    gpulet_apps_plan_worst(s, plan);
    for (size_t e = 0; e < s->count; e++) {
        double worst[GPULET_APP_STAGES_MAX];
        for (size_t i = 0; i < s->entries[e].app->stages_count; i++) {
            worst[i] = s->entries[e].stages[i].worst_ms;
            assert_true(worst[i] > 0 && worst[i] <= s->entries[e].stages[i].share_ms * (1 + 1e-9));
        }
        assert_true(gpulet_app_rest_ms(NULL, s->entries[e].app, worst) <= s->entries[e].slo_ms);
    }
    gpulet_plan_destroy(plan);
    gpulet_apps_plan_destroy(s);
    gpulet_workload_destroy(direct);
    gpulet_apps_destroy(apps);
}

static double devices_with(const world_t *w, const gpulet_app_t *app, const double *shares)
{
    gpulet_workload_t *workload = NULL;
    assert_int_equal(gpulet_workload_create(&workload), GPULET_OK);
    for (size_t i = 0; i < app->stages_count; i++) {
        gpulet_demand_t demand = {.rate_rps = app->rate_rps, .slo_ms = shares[i], .weight = 1};
        (void)snprintf(demand.model, sizeof(demand.model), "%s", app->stages[i].model);
        assert_int_equal(gpulet_workload_add(workload, &demand, NULL), GPULET_OK);
    }
    double devices = devices_of(&w->input, workload);
    gpulet_workload_destroy(workload);
    return devices;
}

/* The fewest devices over a grid of shares of a chain of two or three stages. */
static double best_of_grid(const world_t *w, const gpulet_app_t *app, uint32_t steps)
{
    double best = INFINITY;
    const double step = app->slo_ms / steps;
    for (uint32_t a = 1; a < steps; a++) {
        if (app->stages_count == 2)
            best = fmin(best, devices_with(w, app, (double[]){a * step, (steps - a) * step}));
        for (uint32_t b = 1; app->stages_count == 3 && a + b < steps; b++)
            best = fmin(
                best, devices_with(w, app, (double[]){a * step, b * step, (steps - a - b) * step}));
    }
    return best;
}

static void as_good_as_the_best_of_a_grid(void **state)
{
    const world_t *w = *state;
    static const char *const pairs[][3] = {{"ssd-mobilenet", "vgg16", NULL},
                                           {"googlenet", "resnet50", NULL},
                                           {"lenet", "vgg16", NULL},
                                           {"googlenet", "lenet", "resnet50"}};
    static const double rates[] = {60, 700, 4000};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        for (size_t r = 0; r < (brief ? 1 : sizeof(rates) / sizeof(rates[0])); r++) {
            char text[512];
            const char *third = pairs[i][2];
            (void)snprintf(text, sizeof(text),
                           "apps: {a: {slo_ms: 110, rate_rps: %g, stages: {x: {model: %s}, y: "
                           "{model: %s, after: [x]}%s%s%s}}}\n",
                           rates[r], pairs[i][0], pairs[i][1], third ? ", z: {model: " : "",
                           third ? third : "", third ? ", after: [y]}" : "");
            gpulet_apps_t *apps = parse(text);
            double ours = devices_by(&w->input, apps, GPULET_APPS_RULE_LEAST);
            double grid = best_of_grid(w, apps->items[0], third ? 12 : brief ? 20 : 60);
            print_message("%s + %s%s%s at %g/s: %g devices, best of the grid %g\n", pairs[i][0],
                          pairs[i][1], third ? " + " : "", third ? third : "", rates[r], ours,
                          grid);
            assert_true(ours <= grid);
            gpulet_apps_destroy(apps);
        }
    }
}

static void scale(gpulet_apps_t *apps, double rates, double slos)
{
    for (size_t i = 0; i < apps->count; i++) {
        apps->items[i]->rate_rps *= rates;
        apps->items[i]->slo_ms *= slos;
    }
}

static void never_worse_than_simple_rules(void **state)
{
    const world_t *w = *state;
    const char *const texts[] = {traffic, game, chain, two};
    double sums[3] = {0, 0, 0};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (int n = 0; n < (brief ? 3 : 8); n++) {
            gpulet_apps_t *apps = parse(texts[i]);
            double factor = pow(4, n / 2);
            scale(apps, factor, n % 2 == 0 ? 1 : 0.7);
            double by[3];
            for (int rule = 0; rule < 3; rule++) {
                by[rule] = devices_by(&w->input, apps, (gpulet_apps_rule_t)rule);
                sums[rule] += isfinite(by[rule]) ? by[rule] : 0;
            }
            print_message("%-8s x %-3g in %g ms: %g devices, equal shares %g, by latency %g\n",
                          apps->items[0]->name, factor, apps->items[0]->slo_ms, by[0], by[1],
                          by[2]);
            assert_true(by[0] <= by[1] && by[0] <= by[2]);
            gpulet_apps_destroy(apps);
        }
    }
    print_message("together: %g, %g, %g\n", sums[0], sums[1], sums[2]);
}

static gpulet_app_t *random_app(gpulet_rng_t *rng, const char *name)
{
    static const char *const models[] = {"lenet", "googlenet", "resnet50",  "ssd-mobilenet",
                                         "vgg16", "bert",      "mnasnet1_0"};
    gpulet_app_t *app = NULL;
    uint32_t stages = 1 + (uint32_t)gpulet_rng_below(rng, 6);
    assert_int_equal(gpulet_app_create(&app, name, NULL), GPULET_OK);
    for (uint32_t i = 0; i < stages; i++) {
        uint32_t index = 0;
        assert_int_equal(
            gpulet_app_add_stage(app, &index, NULL, models[gpulet_rng_below(rng, 7)], NULL),
            GPULET_OK);
        app->stages[i].requests = 1 + (uint32_t)gpulet_rng_below(rng, 3);
        for (uint32_t j = 0; j < i; j++) {
            if (gpulet_rng_below(rng, 3) == 0)
                gpulet_app_add_after(app, i, j);
        }
    }
    app->slo_ms = 20 + gpulet_rng_f64(rng) * 400;
    app->rate_rps = 1 + gpulet_rng_f64(rng) * 300;
    assert_int_equal(gpulet_app_finish(app, NULL), GPULET_OK);
    return app;
}

static void random_applications_keep_their_slos_and_plans_repeat(void **state)
{
    const world_t *w = *state;
    for (uint64_t seed = 1; seed <= (brief ? 8 : 60); seed++) {
        gpulet_rng_t rng;
        gpulet_apps_t *apps = NULL;
        gpulet_plan_input_t input = w->input;
        gpulet_rng_init(&rng, seed);
        input.slo_fraction = seed % 3 == 0 ? 0.8 : 0;
        input.rate_percentile = seed % 4 == 0 ? 0.99 : 0;
        assert_int_equal(gpulet_apps_create(&apps), GPULET_OK);
        for (int i = 0; i < 3; i++) {
            char name[2] = {(char)('a' + i), '\0'};
            assert_int_equal(gpulet_apps_add(apps, random_app(&rng, name), NULL), GPULET_OK);
        }
        gpulet_apps_plan_t *first = split(&input, apps, (gpulet_apps_options_t){.plans_max = 4});
        gpulet_apps_plan_t *again = split(&input, apps, (gpulet_apps_options_t){.plans_max = 4});
        gpulet_apps_plan_t *quick = split(&input, apps, (gpulet_apps_options_t){.plans_max = 1});
        check_split(first);
        check_split(quick);
        for (size_t i = 0; i < first->workload->count; i++)
            assert_true(first->workload->demands[i].slo_ms == again->workload->demands[i].slo_ms);
        double least = devices_of(&input, first->workload);
        assert_true(least <= devices_by(&input, apps, GPULET_APPS_RULE_EQUAL));
        assert_true(least <= devices_by(&input, apps, GPULET_APPS_RULE_PROPORTIONAL));
        gpulet_apps_plan_destroy(first);
        gpulet_apps_plan_destroy(again);
        gpulet_apps_plan_destroy(quick);
        gpulet_apps_destroy(apps);
    }
}

static void what_is_missing_is_named(void **state)
{
    const world_t *w = *state;
    gpulet_apps_plan_t *out = NULL;
    gpulet_error_t err = {""};
    gpulet_apps_options_t options = {0};
    gpulet_apps_t *apps = parse("apps: {a: {slo_ms: 9, stages: {x: {model: nobody}}}}\n");
    assert_int_equal(gpulet_apps_plan_split(&out, &w->input, apps, &options, &err),
                     GPULET_E_INVALID);
    assert_string_equal(err.text, "application a: rate_rps: expected one");
    options.rate_rps_default = 1;
    assert_int_equal(gpulet_apps_plan_split(&out, &w->input, apps, &options, &err),
                     GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "nobody"));
    assert_null(out);
    gpulet_apps_destroy(apps);
    /* An SLO out of reach: shares that fit into it, and no plan. */
    apps = parse("apps: {a: {slo_ms: 3, rate_rps: 1, stages: {x: {model: vgg16}, y: {model: lenet, "
                 "after: [x]}}}}\n");
    gpulet_apps_plan_t *s = split(&w->input, apps, options);
    check_split(s);
    assert_true(isinf(devices_of(&w->input, s->workload)));
    gpulet_apps_plan_destroy(s);
    gpulet_apps_destroy(apps);
}

static gpulet_status_t adopt(gpulet_apps_plan_t **out, const world_t *w, const gpulet_apps_t *apps,
                             const gpulet_plan_t *plan, gpulet_error_t *err)
{
    const gpulet_apps_options_t options = {.rate_rps_default = 1};
    *out = NULL;
    return gpulet_apps_plan_adopt(out, plan, &w->input, apps, &options, err);
}

/* A plan says by the objectives of its models which shares it was made for. */
static void the_shares_of_a_plan_are_found_again(void **state)
{
    const world_t *w = *state;
    gpulet_apps_plan_t *out = NULL;
    gpulet_error_t err = {""};
    gpulet_apps_t *apps = parse(two);
    gpulet_apps_plan_t *s = split(&w->input, apps, (gpulet_apps_options_t){0});
    gpulet_plan_t *plan = plan_of(&w->input, s->workload);
    assert_int_equal(adopt(&out, w, apps, plan, &err), GPULET_OK);
    check_split(out);
    for (size_t e = 0; e < s->count; e++) {
        for (size_t i = 0; i < s->entries[e].app->stages_count; i++)
            assert_true(
                fabs(out->entries[e].stages[i].share_ms - s->entries[e].stages[i].share_ms) < 1e-6);
    }
    gpulet_apps_plan_destroy(out);
    /* Models that it was made for alone, without a word of shares: what they take is what counts.
     */
    for (size_t i = 0; i < plan->models_count; i++)
        plan->models[i].slo_ms = 1000;
    assert_int_equal(adopt(&out, w, apps, plan, &err), GPULET_OK);
    check_split(out);
    gpulet_apps_plan_worst(out, plan);
    for (size_t e = 0; e < out->count; e++) {
        for (size_t i = 0; i < out->entries[e].app->stages_count; i++)
            assert_true(out->entries[e].stages[i].worst_ms <=
                        out->entries[e].stages[i].share_ms * (1 + 1e-9));
    }
    gpulet_apps_plan_destroy(out);
    scale(apps, 1, 0.2);
    assert_int_equal(adopt(&out, w, apps, plan, &err), GPULET_E_INFEASIBLE);
    assert_non_null(strstr(err.text, "application traffic takes "));
    assert_null(out);
    plan->models_count = 0;
    const size_t devices_count = plan->devices_count;
    plan->devices_count = 0;
    assert_int_equal(adopt(&out, w, apps, plan, &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "ssd-mobilenet"));
    plan->devices_count = devices_count;
    gpulet_plan_destroy(plan);
    gpulet_apps_plan_destroy(s);
    gpulet_apps_destroy(apps);
}

int main(int argc, char **argv)
{
    (void)argv;
    brief = argc > 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_kept_and_models_planned_once),
        cmocka_unit_test(as_good_as_the_best_of_a_grid),
        cmocka_unit_test(never_worse_than_simple_rules),
        cmocka_unit_test(random_applications_keep_their_slos_and_plans_repeat),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(the_shares_of_a_plan_are_found_again),
    };
    return cmocka_run_group_tests_name("plan.apps", tests, up, down);
}
