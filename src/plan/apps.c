#include "plan/apps.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/apps_internal.h"

enum { PLANS_MAX_DEFAULT = 12 };

void gpulet_apps_plan_destroy(gpulet_apps_plan_t *split)
{
    if (split == NULL)
        return;
    for (size_t e = 0; e < split->count; e++)
        free(split->entries[e].stages);
    free(split->entries);
    gpulet_workload_destroy(split->workload);
    free(split);
}

static gpulet_status_t fail_memory(gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

/* ---- the problem ---- */

static gpulet_status_t set_entry(gpulet_apps_entry_t *entry, const gpulet_app_t *app,
                                 const gpulet_apps_options_t *o, gpulet_error_t *err)
{
    entry->app = app;
    entry->slo_ms = app->slo_ms > 0 ? app->slo_ms : o->slo_ms_default;
    entry->rate_rps = app->rate_rps > 0 ? app->rate_rps : o->rate_rps_default;
    if (!(entry->slo_ms > 0))
        return gpulet_fail(err, GPULET_E_INVALID, "application %s: slo_ms: expected one",
                           app->name);
    if (!(entry->rate_rps > 0))
        return gpulet_fail(err, GPULET_E_INVALID, "application %s: rate_rps: expected one",
                           app->name);
    entry->stages = calloc(app->stages_count, sizeof(*entry->stages));
    return entry->stages != NULL ? GPULET_OK : fail_memory(err);
}

static gpulet_status_t set_entries(gpulet_apps_plan_t *split, const gpulet_apps_t *apps,
                                   const gpulet_apps_options_t *o, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    split->entries = calloc(apps->count + 1, sizeof(*split->entries));
    if (split->entries == NULL)
        return fail_memory(err);
    for (size_t i = 0; i < apps->count && st == GPULET_OK; i++)
        st = set_entry(&split->entries[split->count++], apps->items[i], o, err);
    return st;
}

/* The model's item; made where there is none yet. Items have room. */
static uint32_t item_of(apps_problem_t *p, const char *model)
{
    for (size_t i = 0; i < p->items_count; i++) {
        if (strcmp(p->items[i].model, model) == 0)
            return (uint32_t)i;
    }
    p->items[p->items_count] = (apps_item_t){.model = model, .cap_ms = INFINITY};
    return (uint32_t)p->items_count++;
}

static void add_direct(apps_problem_t *p, const gpulet_workload_t *workload)
{
    for (size_t i = 0; workload != NULL && i < workload->count; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        apps_item_t *item = &p->items[item_of(p, demand->model)];
        item->direct = demand;
        item->rate_rps = demand->rate_rps;
        /* What nobody asks for binds nobody. */
        if (demand->rate_rps > 0)
            item->cap_ms = demand->slo_ms;
    }
}

static void add_stages(apps_problem_t *p, bool rates_included)
{
    for (size_t e = 0; e < p->split->count; e++) {
        const gpulet_apps_entry_t *entry = &p->split->entries[e];
        for (size_t s = 0; s < entry->app->stages_count; s++) {
            const gpulet_app_stage_t *stage = &entry->app->stages[s];
            uint32_t index = item_of(p, stage->model);
            p->items[index].staged = true;
            if (!rates_included || p->items[index].direct == NULL)
                p->items[index].rate_rps += entry->rate_rps * stage->requests;
            p->items[index].cap_ms = fmin(p->items[index].cap_ms, entry->slo_ms);
            p->uses[e * GPULET_APP_STAGES_MAX + s] = index;
        }
    }
    /* Of models that only have a row of rate 0 the row's own objective stays. */
    for (size_t i = 0; i < p->items_count; i++) {
        if (isinf(p->items[i].cap_ms) && p->items[i].direct != NULL)
            p->items[i].cap_ms = p->items[i].direct->slo_ms;
    }
}

static gpulet_status_t set_problem(apps_problem_t *p, bool rates_included, gpulet_error_t *err)
{
    size_t room = p->input->workload != NULL ? p->input->workload->count : 0;
    for (size_t e = 0; e < p->split->count; e++)
        room += p->split->entries[e].app->stages_count;
    p->items = calloc(room + 1, sizeof(*p->items));
    p->uses = calloc(p->split->count * GPULET_APP_STAGES_MAX + 1, sizeof(*p->uses));
    if (p->items == NULL || p->uses == NULL)
        return fail_memory(err);
    add_direct(p, p->input->workload);
    add_stages(p, rates_included);
    return GPULET_OK;
}

static void clear_problem(apps_problem_t *p)
{
    for (size_t i = 0; p->items != NULL && i < p->items_count; i++)
        free(p->items[i].options);
    free(p->items);
    free(p->uses);
}

/* ---- rules for comparison ---- */

/* Least latency of one item on a whole device. */
static double alone_ms(const apps_problem_t *p, const char *model)
{
    double least = INFINITY;
    for (size_t t = 0; t < p->input->devices->types_count; t++) {
        const gpulet_device_type_t *type = &p->input->devices->types[t];
        for (uint32_t s = type->sizes_count; s-- > 0;) {
            const gpulet_curve_t *curve =
                gpulet_profile_curve(p->input->profile, type->name, model, type->sizes[s], 1);
            if (curve == NULL)
                continue;
            least = fmin(least, gpulet_curve_latency_ms(curve, gpulet_curve_batch_min(curve),
                                                        p->input->p99));
            break;
        }
    }
    return isfinite(least) ? least : 1;
}

/* Every stage's part of its application's SLO, by weights of stages. */
static void by_rule(const apps_problem_t *p, gpulet_apps_rule_t rule, double *slo_ms)
{
    for (size_t i = 0; i < p->items_count; i++)
        slo_ms[i] = p->items[i].cap_ms;
    for (size_t e = 0; e < p->split->count; e++) {
        const gpulet_apps_entry_t *entry = &p->split->entries[e];
        double weight[GPULET_APP_STAGES_MAX];
        for (size_t s = 0; s < entry->app->stages_count; s++)
            weight[s] =
                rule == GPULET_APPS_RULE_EQUAL ? 1 : alone_ms(p, entry->app->stages[s].model);
        double whole = gpulet_app_rest_ms(NULL, entry->app, weight);
        for (size_t s = 0; s < entry->app->stages_count; s++) {
            double *slo = &slo_ms[p->uses[e * GPULET_APP_STAGES_MAX + s]];
            *slo = fmin(*slo, entry->slo_ms * weight[s] / whole);
        }
    }
}

/* ---- candidates, planned ---- */

static gpulet_status_t make_workload(gpulet_workload_t **out, const apps_problem_t *p,
                                     const double *slo_ms, gpulet_error_t *err)
{
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    if (st != GPULET_OK)
        return fail_memory(err);
    for (size_t i = 0; i < p->items_count && st == GPULET_OK; i++) {
        const apps_item_t *item = &p->items[i];
        gpulet_demand_t demand = {.weight = 1};
        if (item->direct != NULL)
            demand = *item->direct;
        memcpy(demand.model, item->model, strlen(item->model) + 1);
        demand.rate_rps = item->rate_rps;
        demand.slo_ms = slo_ms[i];
        st = gpulet_workload_add(workload, &demand, err);
    }
    if (st == GPULET_OK)
        *out = workload;
    else
        gpulet_workload_destroy(workload);
    return st;
}

/* What a plan is worth; less is better, the first that differs decides. */
typedef struct worth {
    double missing; /* part of the demand that it does not serve */
    double cost;    /* devices, or cost */
    double units;   /* of its gpu-lets, as parts of their devices */
} worth_t;

typedef struct contest {
    const apps_problem_t *p;
    const gpulet_planner_t *planner;
    uint32_t plans_left;
    bool won; /* best is one */
    worth_t worth;
    double *best;  /* owned; SLOs of the best so far */
    double *other; /* owned; of the candidate at hand */
} contest_t;

static worth_t worth_of(const gpulet_plan_t *plan, const gpulet_device_set_t *devices,
                        const gpulet_workload_t *workload)
{
    worth_t worth = {0, isnan(plan->cost) ? plan->devices_used : plan->cost, 0};
    for (size_t i = 0; i < workload->count && !plan->feasible; i++) {
        const gpulet_demand_t *demand = &workload->demands[i];
        double routed = gpulet_plan_routed_rps(plan, demand->model);
        if (demand->rate_rps > 0)
            worth.missing += fmax(0, 1 - routed / demand->rate_rps);
    }
    if (!plan->feasible)
        worth.missing += 1e-6; /* worse than any that is */
    for (size_t d = 0; d < plan->devices_count; d++) {
        int type = gpulet_device_set_find(devices, plan->devices[d].type);
        for (size_t g = 0; type >= 0 && g < plan->devices[d].gpulets_count; g++)
            worth.units += (double)plan->devices[d].gpulets[g].units / devices->types[type].units;
    }
    return worth;
}

static bool is_better(const worth_t *a, const worth_t *b)
{
    if (a->missing != b->missing)
        return a->missing < b->missing;
    if (a->cost != b->cost)
        return a->cost < b->cost;
    return a->units < b->units * (1 - 1e-9);
}

/* Plans the candidate c->other, and keeps it if it is better. */
static gpulet_status_t try_candidate(contest_t *c, bool *better, gpulet_error_t *err)
{
    gpulet_plan_input_t input = *c->p->input;
    gpulet_workload_t *workload = NULL;
    gpulet_plan_t *plan = NULL;
    *better = false;
    if (c->plans_left == 0)
        return GPULET_OK;
    c->plans_left--;
    gpulet_status_t st = make_workload(&workload, c->p, c->other, err);
    if (st != GPULET_OK)
        return st;
    input.workload = workload;
    input.brief = true;
    st = gpulet_planner_run(&plan, c->planner, &input, err);
    if (st == GPULET_OK) {
        worth_t worth = worth_of(plan, input.devices, workload);
        *better = !c->won || is_better(&worth, &c->worth);
        if (*better) {
            memcpy(c->best, c->other, c->p->items_count * sizeof(*c->best));
            c->worth = worth;
            c->won = true;
        }
    }
    gpulet_plan_destroy(plan);
    gpulet_workload_destroy(workload);
    return st;
}

static gpulet_status_t try_search(contest_t *c, size_t fixed, size_t option, bool *better,
                                  gpulet_error_t *err)
{
    bool fits = false;
    *better = false;
    gpulet_status_t st = apps_search(c->p, fixed, option, c->other, &fits);
    if (st != GPULET_OK)
        return fail_memory(err);
    if (!fits && fixed != SIZE_MAX)
        return GPULET_OK;
    apps_spread(c->p, c->other);
    return try_candidate(c, better, err);
}

/* The option of the item that its SLO among the best allows. */
static size_t option_of(const contest_t *c, size_t item)
{
    size_t option = 0;
    while (option + 1 < c->p->items[item].options_count &&
           c->p->items[item].options[option + 1].slo_ms <= c->best[item] * (1 + 1e-9))
        option++;
    return option;
}

/* Around the best: one model a step quicker or slower, the others as is best with that. */
static gpulet_status_t try_neighbours(contest_t *c, gpulet_error_t *err)
{
    bool again = true;
    gpulet_status_t st = GPULET_OK;
    while (again && c->plans_left > 0 && st == GPULET_OK) {
        again = false;
        for (size_t i = 0; i < 2 * c->p->items_count && st == GPULET_OK && c->plans_left > 0; i++) {
            const size_t item = i / 2;
            const size_t at = option_of(c, item);
            bool better = false;
            if (c->p->items[item].options_count == 0 || !c->p->items[item].staged ||
                (i % 2 == 0 ? at == 0 : at + 1 >= c->p->items[item].options_count))
                continue;
            st = try_search(c, item, i % 2 == 0 ? at - 1 : at + 1, &better, err);
            again |= better;
        }
    }
    return st;
}

static gpulet_status_t choose_least(contest_t *c, gpulet_error_t *err)
{
    bool better = false;
    if (c->plans_left <= 1) { /* nothing to compare: the estimate decides */
        c->plans_left = 0;
        gpulet_status_t st = try_search(c, SIZE_MAX, 0, &better, err);
        memcpy(c->best, c->other, c->p->items_count * sizeof(*c->best));
        return st;
    }
    gpulet_status_t st = try_search(c, SIZE_MAX, 0, &better, err);
    if (st == GPULET_OK) {
        by_rule(c->p, GPULET_APPS_RULE_PROPORTIONAL, c->other);
        st = try_candidate(c, &better, err);
    }
    if (st == GPULET_OK) {
        by_rule(c->p, GPULET_APPS_RULE_EQUAL, c->other);
        st = try_candidate(c, &better, err);
    }
    return st == GPULET_OK ? try_neighbours(c, err) : st;
}

static gpulet_status_t choose(contest_t *c, gpulet_apps_rule_t rule, gpulet_error_t *err)
{
    size_t count = c->p->items_count + 1;
    c->best = calloc(count, sizeof(*c->best));
    c->other = calloc(count, sizeof(*c->other));
    if (c->best == NULL || c->other == NULL)
        return fail_memory(err);
    if (rule == GPULET_APPS_RULE_LEAST)
        return choose_least(c, err);
    by_rule(c->p, rule, c->best);
    return GPULET_OK;
}

/* ---- the result ---- */

static gpulet_status_t fill_split(gpulet_apps_plan_t *split, const apps_problem_t *p,
                                  const double *slo_ms, gpulet_error_t *err)
{
    for (size_t e = 0; e < split->count; e++) {
        for (size_t s = 0; s < split->entries[e].app->stages_count; s++)
            split->entries[e].stages[s] =
                (gpulet_apps_stage_t){slo_ms[p->uses[e * GPULET_APP_STAGES_MAX + s]], NAN};
    }
    return make_workload(&split->workload, p, slo_ms, err);
}

gpulet_status_t gpulet_apps_plan_split(gpulet_apps_plan_t **out, const gpulet_plan_input_t *input,
                                       const gpulet_apps_t *apps,
                                       const gpulet_apps_options_t *options, gpulet_error_t *err)
{
    assert(input->profile != NULL && input->devices != NULL);
    const gpulet_planner_t *planner = options->planner;
    gpulet_apps_plan_t *split = calloc(1, sizeof(*split));
    if (split == NULL)
        return fail_memory(err);
    apps_problem_t problem = {.input = input, .split = split};
    contest_t contest = {
        .p = &problem,
        .planner = gpulet_planner_quick(
            planner != NULL && !planner->from_plan ? planner : gpulet_planner_find("elastic")),
        .plans_left = options->plans_max > 0 ? options->plans_max : PLANS_MAX_DEFAULT};
    gpulet_status_t st = set_entries(split, apps, options, err);
    if (st == GPULET_OK)
        st = set_problem(&problem, options->rates_included, err);
    if (st == GPULET_OK)
        st = apps_options(&problem, err);
    if (st == GPULET_OK)
        st = choose(&contest, options->rule, err);
    if (st == GPULET_OK)
        st = fill_split(split, &problem, contest.best, err);
    free(contest.best);
    free(contest.other);
    clear_problem(&problem);
    if (st != GPULET_OK) {
        gpulet_apps_plan_destroy(split);
        return st;
    }
    *out = split;
    return GPULET_OK;
}

static double worst_of(const gpulet_plan_t *plan, const char *model)
{
    double worst = NAN;
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t g = 0; g < plan->devices[d].gpulets_count; g++) {
            const gpulet_plan_gpulet_t *gpulet = &plan->devices[d].gpulets[g];
            for (size_t s = 0; s < gpulet->shares_count; s++) {
                if (strcmp(gpulet->shares[s].model, model) == 0)
                    worst = fmax(worst, gpulet->shares[s].worst_ms); /* fmax passes over NAN */
            }
        }
    }
    return worst;
}

/* ---- a plan from elsewhere ---- */

static double slo_of(const gpulet_plan_t *plan, const char *model)
{
    for (size_t i = 0; i < plan->models_count; i++) {
        if (strcmp(plan->models[i].model, model) == 0)
            return plan->models[i].slo_ms;
    }
    return NAN;
}

/* Every model's SLO as the plan was made for, or as long as it takes. NULL, or a model that the
 * plan says nothing of. */
static const char *read_slos(const apps_problem_t *p, const gpulet_plan_t *plan, bool worst,
                             double *slo_ms)
{
    const double fraction = p->input->slo_fraction > 0 ? p->input->slo_fraction : 1;
    for (size_t i = 0; i < p->items_count; i++) {
        const apps_item_t *item = &p->items[i];
        double slo = worst ? worst_of(plan, item->model) / fraction : slo_of(plan, item->model);
        if (item->staged && !(slo > 0 && isfinite(slo)))
            return item->model;
        slo_ms[i] = item->staged ? fmin(slo, item->cap_ms) : item->cap_ms;
    }
    return NULL;
}

static gpulet_status_t adopt_slos(const apps_problem_t *p, const gpulet_plan_t *plan,
                                  double *slo_ms, gpulet_error_t *err)
{
    if (read_slos(p, plan, false, slo_ms) != NULL || !apps_fits(p, slo_ms)) {
        const char *unknown = read_slos(p, plan, true, slo_ms);
        if (unknown != NULL)
            return gpulet_fail(err, GPULET_E_NOT_FOUND,
                               "the plan does not say how long model %s takes", unknown);
    }
    for (size_t e = 0; e < p->split->count; e++) {
        const gpulet_apps_entry_t *entry = &p->split->entries[e];
        double longest_ms = apps_longest_ms(p, e, slo_ms);
        if (longest_ms > entry->slo_ms * (1 + 1e-9))
            return gpulet_fail(err, GPULET_E_INFEASIBLE,
                               "application %s takes %.6g ms by the plan, its SLO is %.6g ms",
                               entry->app->name, longest_ms, entry->slo_ms);
    }
    apps_spread(p, slo_ms);
    return GPULET_OK;
}

gpulet_status_t gpulet_apps_plan_adopt(gpulet_apps_plan_t **out, const gpulet_plan_t *plan,
                                       const gpulet_plan_input_t *input, const gpulet_apps_t *apps,
                                       const gpulet_apps_options_t *options, gpulet_error_t *err)
{
    double *slo_ms = NULL;
    gpulet_apps_plan_t *split = calloc(1, sizeof(*split));
    if (split == NULL)
        return fail_memory(err);
    apps_problem_t problem = {.input = input, .split = split};
    gpulet_status_t st = set_entries(split, apps, options, err);
    if (st == GPULET_OK)
        st = set_problem(&problem, options->rates_included, err);
    if (st == GPULET_OK && (slo_ms = calloc(problem.items_count + 1, sizeof(*slo_ms))) == NULL)
        st = fail_memory(err);
    if (st == GPULET_OK)
        st = adopt_slos(&problem, plan, slo_ms, err);
    if (st == GPULET_OK)
        st = fill_split(split, &problem, slo_ms, err);
    free(slo_ms);
    clear_problem(&problem);
    if (st != GPULET_OK) {
        gpulet_apps_plan_destroy(split);
        return st;
    }
    *out = split;
    return GPULET_OK;
}

void gpulet_apps_plan_worst(gpulet_apps_plan_t *split, const gpulet_plan_t *plan)
{
    for (size_t e = 0; e < split->count; e++) {
        const gpulet_apps_entry_t *entry = &split->entries[e];
        for (size_t s = 0; s < entry->app->stages_count; s++)
            entry->stages[s].worst_ms = worst_of(plan, entry->app->stages[s].model);
    }
}
