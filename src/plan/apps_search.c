/* Which SLO each model is to have: staircases of cost, and a search over their steps.
 *
 * Time is worth different amounts to different models: a step of a staircase says what a model
 * saves when it is given so much more. With one way through one application the question is a
 * knapsack with one choice a model; with several ways, and models that several applications share,
 * every way is a constraint of its own. A branch and bound over the steps answers it exactly while
 * it is small; it begins with a greedy answer, and keeps the best where it has to stop. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/apps_internal.h"
#include "plan/workspace.h"

enum { NODES_MAX = 20000 };

static const double slack = 1e-9; /* relative: rounding may not decide what fits */

double apps_longest_ms(const apps_problem_t *p, size_t entry, const double *slo_ms)
{
    const gpulet_app_t *app = p->split->entries[entry].app;
    double cost[GPULET_APP_STAGES_MAX];
    for (size_t s = 0; s < app->stages_count; s++)
        cost[s] = slo_ms[p->uses[entry * GPULET_APP_STAGES_MAX + s]];
    return gpulet_app_rest_ms(NULL, app, cost);
}

bool apps_fits(const apps_problem_t *p, const double *slo_ms)
{
    for (size_t e = 0; e < p->split->count; e++) {
        if (apps_longest_ms(p, e, slo_ms) > p->split->entries[e].slo_ms * (1 + slack))
            return false;
    }
    return true;
}

/* ---- staircases ---- */

static int by_slo(const void *a, const void *b)
{
    const apps_option_t *x = a;
    const apps_option_t *y = b;
    if (x->slo_ms != y->slo_ms)
        return x->slo_ms < y->slo_ms ? -1 : 1;
    return x->cost < y->cost ? -1 : x->cost > y->cost;
}

/* What a model needs at one size of one type, batch by batch. A batch that is gathered for its
 * duty cycle waits for that long at most, and never for less than a batch takes. */
static void add_options(apps_item_t *item, const gpulet_choices_t *choices,
                        const gpulet_device_type_t *type, uint32_t units, double fraction)
{
    for (size_t i = 0; i < choices->count; i++) {
        const gpulet_choice_t *c = &choices->items[i];
        double duty_ms = fmax(c->latency_ms, c->load / item->rate_rps * 1000);
        item->options[item->options_count++] = (apps_option_t){
            (duty_ms + c->latency_ms) / fraction,
            item->rate_rps / 1000 * c->latency_ms / c->load * units / type->units * type->cost};
    }
}

/* Leaves the steps: what costs less than all that is quicker. */
static void keep_steps(apps_item_t *item)
{
    size_t kept = 0;
    qsort(item->options, item->options_count, sizeof(*item->options), by_slo);
    for (size_t i = 0; i < item->options_count; i++) {
        if (item->options[i].slo_ms > item->cap_ms * (1 + slack))
            break;
        if (kept == 0 || item->options[i].cost < item->options[kept - 1].cost * (1 - slack))
            item->options[kept++] = item->options[i];
    }
    item->options_count = kept;
}

static gpulet_status_t make_options(apps_item_t *item, const gpulet_workspace_t *ws, size_t model)
{
    const double fraction = ws->input->slo_fraction > 0 ? ws->input->slo_fraction : 1;
    size_t count = 0;
    for (size_t i = 0; i < ws->sizes_total; i++)
        count += ws->choices[model * ws->sizes_total + i].count;
    item->options = calloc(count + 1, sizeof(*item->options));
    if (item->options == NULL)
        return GPULET_E_NOMEM;
    for (size_t t = 0; t < ws->types_count; t++) {
        const gpulet_device_type_t *type = ws->types[t].type;
        for (uint32_t s = 0; s < type->sizes_count; s++)
            add_options(item, gpulet_workspace_choices(ws, model, t, s), type, type->sizes[s],
                        fraction);
    }
    keep_steps(item);
    /* No size is quick enough for the cap: so much it would take at least. */
    if (item->options_count == 0)
        item->options[item->options_count++] =
            (apps_option_t){2 * ws->models[model].latency_ms_least / fraction, INFINITY};
    return GPULET_OK;
}

gpulet_status_t apps_options(apps_problem_t *p, gpulet_error_t *err)
{
    gpulet_plan_input_t input = *p->input;
    gpulet_workload_t *workload = NULL;
    gpulet_workspace_t *ws = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    for (size_t i = 0; i < p->items_count && st == GPULET_OK; i++) {
        gpulet_demand_t demand = {
            .rate_rps = p->items[i].rate_rps, .slo_ms = p->items[i].cap_ms, .weight = 1};
        memcpy(demand.model, p->items[i].model, strlen(p->items[i].model) + 1);
        st = gpulet_workload_add(workload, &demand, err);
    }
    input.workload = workload;
    if (st == GPULET_OK)
        st = gpulet_workspace_create(&ws, &input, err);
    /* The workspace leaves out what has no rate; so do we. */
    for (size_t i = 0, m = 0; i < p->items_count && st == GPULET_OK; i++) {
        if (p->items[i].rate_rps > 0 && (st = make_options(&p->items[i], ws, m++)) != GPULET_OK)
            (void)gpulet_fail(err, st, "out of memory");
    }
    gpulet_workspace_destroy(ws);
    gpulet_workload_destroy(workload);
    return st;
}

/* ---- search ---- */

typedef struct search {
    const apps_problem_t *p;
    size_t count;     /* items that can be chosen for, in the order below */
    size_t *order;    /* owned */
    size_t *chosen;   /* owned; by item, an option */
    size_t *best;     /* owned */
    double *slo_ms;   /* by item */
    double best_cost; /* INFINITY: nothing fits yet */
    uint32_t nodes;
} search_t;

static void take(search_t *s, size_t item, size_t option)
{
    s->chosen[item] = option;
    s->slo_ms[item] = s->p->items[item].options[option].slo_ms;
}

static double cost_of(const search_t *s)
{
    double cost = 0;
    for (size_t i = 0; i < s->count; i++)
        cost += s->p->items[s->order[i]].options[s->chosen[s->order[i]]].cost;
    return cost;
}

static void note_best(search_t *s)
{
    double cost = cost_of(s);
    if (cost >= s->best_cost * (1 - slack) && isfinite(s->best_cost))
        return;
    s->best_cost = cost;
    memcpy(s->best, s->chosen, s->p->items_count * sizeof(*s->best));
}

/* The last option of the item that fits with all others as they are; the item keeps what it has. */
static size_t last_that_fits(search_t *s, size_t item)
{
    const size_t was = s->chosen[item];
    size_t low = was;
    size_t high = s->p->items[item].options_count - 1;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        take(s, item, middle);
        if (apps_fits(s->p, s->slo_ms))
            low = middle;
        else
            high = middle - 1;
    }
    take(s, item, was);
    return low;
}

/* From the quickest options on: always the step that saves most for the time it takes. */
static void climb(search_t *s)
{
    for (;;) {
        size_t best_item = SIZE_MAX;
        size_t best_option = 0;
        double best_gain = 0;
        for (size_t i = 0; i < s->count; i++) {
            const size_t item = s->order[i];
            const apps_option_t *options = s->p->items[item].options;
            const size_t at = s->chosen[item];
            const size_t last = last_that_fits(s, item);
            for (size_t o = at + 1; o <= last; o++) {
                double gain =
                    (options[at].cost - options[o].cost) / (options[o].slo_ms - options[at].slo_ms);
                if (gain > best_gain) {
                    best_gain = gain;
                    best_item = item;
                    best_option = o;
                }
            }
        }
        if (best_item == SIZE_MAX)
            break;
        take(s, best_item, best_option);
    }
    note_best(s);
}

/* All of depth … are at their quickest. */
static void descend(search_t *s, size_t depth, double cost)
{
    double bound = cost;
    if (s->nodes++ >= NODES_MAX)
        return;
    if (depth == s->count) {
        note_best(s);
        return;
    }
    for (size_t i = depth; i < s->count; i++)
        bound += s->p->items[s->order[i]].options[last_that_fits(s, s->order[i])].cost;
    if (bound >= s->best_cost * (1 - slack))
        return;
    const size_t item = s->order[depth];
    const size_t first = s->chosen[item];
    for (size_t o = last_that_fits(s, item) + 1; o-- > first;) {
        take(s, item, o);
        descend(s, depth + 1, cost + s->p->items[item].options[o].cost);
    }
    take(s, item, first);
}

/* Those that cost most first: they decide most. */
static void set_order(search_t *s, size_t fixed)
{
    for (size_t i = 0; i < s->p->items_count; i++) {
        if (s->p->items[i].options_count > 0 && i != fixed)
            s->order[s->count++] = i;
    }
    for (size_t i = 1; i < s->count; i++) {
        for (size_t k = i; k > 0 && s->p->items[s->order[k]].options[0].cost >
                                        s->p->items[s->order[k - 1]].options[0].cost;
             k--) {
            size_t swapped = s->order[k];
            s->order[k] = s->order[k - 1];
            s->order[k - 1] = swapped;
        }
    }
}

gpulet_status_t apps_search(const apps_problem_t *p, size_t fixed, size_t option, double *slo_ms,
                            bool *fits)
{
    search_t s = {.p = p, .slo_ms = slo_ms, .best_cost = INFINITY};
    s.order = calloc(p->items_count + 1, sizeof(*s.order));
    s.chosen = calloc(p->items_count + 1, sizeof(*s.chosen));
    s.best = calloc(p->items_count + 1, sizeof(*s.best));
    gpulet_status_t st =
        s.order != NULL && s.chosen != NULL && s.best != NULL ? GPULET_OK : GPULET_E_NOMEM;
    if (st == GPULET_OK) {
        set_order(&s, fixed);
        for (size_t i = 0; i < p->items_count; i++) {
            slo_ms[i] = p->items[i].cap_ms; /* of what has no rate */
            if (p->items[i].options_count > 0)
                take(&s, i, i == fixed ? option : 0);
        }
        *fits = apps_fits(p, slo_ms);
        if (*fits) {
            climb(&s);
            for (size_t i = 0; i < s.count; i++)
                take(&s, s.order[i], 0);
            descend(&s, 0, 0);
            for (size_t i = 0; i < s.count; i++)
                take(&s, s.order[i], s.best[s.order[i]]);
        }
    }
    free(s.order);
    free(s.chosen);
    free(s.best);
    return st;
}

/* ---- what is left ---- */

/* How much longer every way that the item is on may be, for each time that it is on it. */
static double room_ms(const apps_problem_t *p, size_t item, double *slo_ms)
{
    const double was = slo_ms[item];
    double low = 0;
    double high = p->items[item].cap_ms - was;
    if (high <= 0)
        return 0;
    for (int round = 0; round < 50; round++) {
        double middle = (low + high) / 2;
        slo_ms[item] = was + middle;
        if (apps_fits(p, slo_ms))
            low = middle;
        else
            high = middle;
    }
    slo_ms[item] = was;
    return low;
}

void apps_spread(const apps_problem_t *p, double *slo_ms)
{
    double factor = INFINITY;
    for (size_t e = 0; e < p->split->count; e++)
        factor = fmin(factor, p->split->entries[e].slo_ms / apps_longest_ms(p, e, slo_ms));
    for (size_t i = 0; i < p->items_count; i++) {
        if (p->items[i].staged && isfinite(factor))
            slo_ms[i] = fmin(slo_ms[i] * factor, p->items[i].cap_ms);
    }
    for (size_t i = 0; i < p->items_count; i++) {
        if (p->items[i].staged)
            slo_ms[i] += room_ms(p, i, slo_ms);
        else
            slo_ms[i] = p->items[i].cap_ms;
    }
}
