/* Where the linear program leaves a gap: an exact search for plans of a few devices. If all demand
 * is worth S and can be served at cost C, some device of the plan is worth at least S/C for its
 * cost. So all devices worth that much are listed (but those that another serves as much as), each
 * is taken in turn, and what it leaves is the same question with less demand and less cost. When
 * none leads to an answer, there is no such plan. Same arithmetic and tolerances as the bound. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/optimal_internal.h"

enum { DEPTH_MAX = 6, ITERATIONS_MAX = 30, REFUTED_MAX = 4096 };

static const double DEMAND_LESS = 1.0 - 6e-6;
static const double PRICE_LEAST = 1e-4; /* of a device: every model takes part in the search */
static const double CRUMB = 1e-6;       /* of a demand: less than this counts as served */

typedef enum answer { ANSWER_NO, ANSWER_YES, ANSWER_UNKNOWN } answer_t;

typedef struct prover {
    gpulet_optimal_t *o;
    gpulet_certifier_t *c;
    gpulet_columns_t columns;
    uint64_t work;
    uint64_t work_max;
    gpulet_status_t status;
    size_t depth;
    uint32_t types[DEPTH_MAX]; /* of the devices taken */
    gpulet_price_list_t lists[DEPTH_MAX];
    size_t taken[DEPTH_MAX];
    size_t refuted_count;
    double
        *refuted; /* owned; REFUTED_MAX rows of models + 1: rates, and the cost that does not do */
} prover_t;

static uint64_t left_work(const prover_t *p)
{
    return p->work < p->work_max ? p->work_max - p->work : 0;
}

static answer_t failed(prover_t *p, gpulet_status_t st)
{
    p->status = st == GPULET_E_INVALID ? p->status : st;
    return ANSWER_UNKNOWN;
}

/* Prices from the linear program of what is left, or the first that say no. */
static gpulet_status_t find_prices(prover_t *p, uint64_t *prices, const double *rates, double cost)
{
    size_t models = p->c->ws->models_count;
    gpulet_master_t master = {0};
    gpulet_status_t st =
        gpulet_master_init(&master, &p->columns, p->c->pricer, p->o->input->solver, rates);
    master.companions = 0;
    if (st == GPULET_OK && p->columns.count == 0)
        st = gpulet_master_seed(&master);
    for (int i = 0; st == GPULET_OK && i < ITERATIONS_MAX && !master.done &&
                    master.bound <= cost * (1.0 + 1e-6);
         i++)
        st = gpulet_master_iterate(&master);
    for (size_t m = 0; st == GPULET_OK && m < models; m++) {
        uint64_t least = (uint64_t)(PRICE_LEAST * master.scale) + 1;
        prices[m] = master.prices[m] > least ? master.prices[m] : least;
        prices[m] = rates[m] > 0.0 ? prices[m] : 0;
    }
    p->work += master.work;
    gpulet_master_deinit(&master);
    return st;
}

static answer_t search(prover_t *p, const double *rates, double cost);

/* Tries every listed device of the type as the next one. */
static answer_t try_listed(prover_t *p, size_t type, const double *rates, double cost)
{
    size_t models = p->c->ws->models_count;
    double *left = calloc(models + 1, sizeof(*left));
    size_t at = p->depth;
    answer_t answer = ANSWER_NO;
    if (left == NULL)
        return failed(p, GPULET_E_NOMEM);
    for (size_t i = 0; i < p->lists[at].count && answer == ANSWER_NO; i++) {
        const float *parts = p->lists[at].items[i].parts;
        for (size_t m = 0; m < models; m++) {
            left[m] = rates[m] * (1.0 - (double)parts[m]);
            if (left[m] <= CRUMB * p->c->ws->models[m].rate_rps)
                left[m] = 0.0;
        }
        p->types[at] = (uint32_t)type;
        p->taken[at] = i;
        p->depth = at + 1;
        answer = search(p, left, cost - p->c->ws->types[type].type->cost);
        if (answer != ANSWER_YES)
            p->depth = at;
    }
    free(left);
    return answer;
}

/* Lists the devices of one type that the plan must have one of, and tries them. */
static answer_t try_type(prover_t *p, size_t type, const uint64_t *prices, const double *rates,
                         double sum, double cost)
{
    double own = p->c->ws->types[type].type->cost;
    double least = floor(sum * own / cost * (1.0 - 1e-12));
    if (own > cost * (1.0 + 1e-9))
        return ANSWER_NO;
    gpulet_price_list_t *list = &p->lists[p->depth];
    gpulet_status_t st =
        gpulet_pricer_run(&p->c->device, p->c->pricer, type, prices, rates, left_work(p), true);
    p->work += p->c->device.work;
    if (st != GPULET_OK || p->c->device.value != p->c->device.bound)
        return failed(p, st);
    st = gpulet_pricer_list(list, p->c->pricer, type, prices, rates,
                            least >= 1.0 ? (uint64_t)least : 1, left_work(p));
    p->work += list->work;
    answer_t answer =
        st == GPULET_OK && list->complete ? try_listed(p, type, rates, cost) : failed(p, st);
    if (answer != ANSWER_YES)
        gpulet_price_list_deinit(list);
    return answer;
}

/* Whether the prices alone say no: all demand is worth more than devices of that cost can be. *sum
 * gets what it is worth. */
static answer_t ask_prices(prover_t *p, const uint64_t *prices, const double *rates, double cost,
                           double *sum)
{
    const gpulet_workspace_t *ws = p->c->ws;
    *sum = 0.0;
    for (size_t m = 0; m < ws->models_count; m++)
        *sum += (double)prices[m];
    double most = 0.0; /* worth for a cost of 1 */
    for (size_t t = 0; t < ws->types_count; t++) {
        gpulet_status_t st =
            gpulet_pricer_run(&p->c->device, p->c->pricer, t, prices, rates, left_work(p), true);
        p->work += p->c->device.work;
        if (st != GPULET_OK)
            return failed(p, st);
        most = fmax(most, (double)p->c->device.bound / ws->types[t].type->cost);
    }
    return *sum > most * cost * (1.0 + 1e-12) ? ANSWER_NO : ANSWER_UNKNOWN;
}

/* With the prices of the linear program; where one device has to do, equal ones may say no sooner.
 */
static answer_t search_priced(prover_t *p, uint64_t *prices, const double *rates, double cost,
                              bool one)
{
    const gpulet_workspace_t *ws = p->c->ws;
    double sum = 0.0;
    for (size_t m = 0; m < ws->models_count; m++)
        prices[m] = rates[m] > 0.0 ? 1u << 24 : 0;
    if (one && ask_prices(p, prices, rates, cost, &sum) == ANSWER_NO)
        return ANSWER_NO;
    gpulet_status_t st = find_prices(p, prices, rates, cost);
    if (st != GPULET_OK)
        return failed(p, st);
    if (ask_prices(p, prices, rates, cost, &sum) == ANSWER_NO)
        return ANSWER_NO;
    if (p->depth == DEPTH_MAX)
        return ANSWER_UNKNOWN;
    answer_t answer = ANSWER_NO;
    for (size_t t = 0; t < ws->types_count && answer == ANSWER_NO; t++)
        answer = try_type(p, t, prices, rates, sum, cost);
    return answer;
}

/* Whether less than rates[] was found to be too much for as much cost: the same devices in another
 * order, say. */
static bool is_refuted(prover_t *p, const double *rates, double cost)
{
    size_t models = p->c->ws->models_count;
    p->work += p->refuted_count / 8;
    for (size_t i = 0; i < p->refuted_count; i++) {
        const double *row = p->refuted + i * (models + 1);
        bool less = row[models] >= cost * (1.0 - 1e-12);
        for (size_t m = 0; m < models && less; m++)
            less = row[m] <= rates[m];
        if (less)
            return true;
    }
    return false;
}

static void add_refuted(prover_t *p, const double *rates, double cost)
{
    size_t models = p->c->ws->models_count;
    if (p->refuted == NULL || p->refuted_count == REFUTED_MAX)
        return;
    double *row = p->refuted + p->refuted_count++ * (models + 1);
    memcpy(row, rates, models * sizeof(*row));
    row[models] = cost;
}

/* Can rates[] be served at that cost? Depth is at most DEPTH_MAX. */
static answer_t search(prover_t *p, const double *rates, double cost)
{
    const gpulet_workspace_t *ws = p->c->ws;
    bool any = false;
    for (size_t m = 0; m < ws->models_count; m++)
        any = any || rates[m] > 0.0;
    if (!any)
        return ANSWER_YES;
    double cheapest = INFINITY;
    for (size_t t = 0; t < ws->types_count; t++)
        cheapest = fmin(cheapest, ws->types[t].type->cost);
    if (cheapest > cost * (1.0 + 1e-9))
        return ANSWER_NO;
    if (is_refuted(p, rates, cost))
        return ANSWER_NO;
    if (p->work > p->work_max)
        return ANSWER_UNKNOWN;
    uint64_t *prices = calloc(ws->models_count + 1, sizeof(*prices));
    if (prices == NULL)
        return failed(p, GPULET_E_NOMEM);
    answer_t answer = search_priced(p, prices, rates, cost, cost < 2.0 * cheapest * (1.0 - 1e-9));
    free(prices);
    if (answer == ANSWER_NO)
        add_refuted(p, rates, cost);
    return answer;
}

/* ---- the plan that was found ---- */

/* The choice with the batch and instances of another workspace's. */
static uint32_t same_choice(const gpulet_choices_t *in, const gpulet_choice_t *as)
{
    for (size_t i = 0; i < in->count; i++) {
        if (in->items[i].batch == as->batch && in->items[i].instances == as->instances)
            return (uint32_t)i;
    }
    return UINT32_MAX;
}

static bool write_column(const prover_t *p, size_t at, gpulet_column_t *column)
{
    const gpulet_price_listed_t *d = &p->lists[at].items[p->taken[at]];
    const gpulet_workspace_t *ws = p->o->ws;
    column->type = p->types[at];
    column->count = 0;
    column->parts = calloc((size_t)d->count * GPULET_PRICE_MEMBERS_MAX + 1, sizeof(*column->parts));
    if (column->parts == NULL)
        return false;
    for (uint32_t g = 0; g < d->count; g++) {
        const gpulet_price_gpulet_t *let = &d->gpulets[g];
        double duty_ms = 0.0;
        uint32_t first = column->count;
        for (uint32_t k = 0; k < let->count; k++) {
            const gpulet_choices_t *from =
                gpulet_workspace_choices(p->c->ws, let->models[k], column->type, let->size);
            const gpulet_choices_t *to =
                gpulet_workspace_choices(ws, let->models[k], column->type, let->size);
            uint32_t choice = same_choice(to, &from->items[let->choices[k]]);
            if (choice == UINT32_MAX)
                return false;
            duty_ms += gpulet_choice_latency_ms(&to->items[choice], let->beside);
            column->parts[column->count++] = (gpulet_column_part_t){
                g, let->size, let->models[k], choice, to->items[choice].load * 1000.0};
        }
        for (uint32_t i = first; i < column->count; i++)
            column->parts[i].rate_rps /= duty_ms;
    }
    return true;
}

/* Builds it under the exact rules; false when they do not allow it after all. */
static bool build(prover_t *p)
{
    gpulet_optimal_t *o = p->o;
    gpulet_pack_clear(&o->trial);
    for (size_t m = 0; m < o->ws->models_count; m++)
        o->rates[m] = o->ws->models[m].rate_rps;
    bool built = true;
    for (size_t i = 0; i < p->depth && built; i++) {
        gpulet_column_t column = {.parts = NULL};
        built = write_column(p, i, &column) && gpulet_optimal_place(&o->trial, &column, o->rates);
        free(column.parts);
    }
    double before = gpulet_pack_cost(&o->best);
    bool complete = gpulet_pack_missing(&o->best) <= 0.0;
    /* What pressures that were rounded down promised too much may still fit somewhere. */
    gpulet_optimal_fill_up(o, o->rates);
    for (size_t m = 0; m < o->ws->models_count; m++) {
        if (o->rates[m] > 1e-9 * o->ws->models[m].rate_rps)
            o->trial.missing_rps[m] = o->rates[m];
    }
    gpulet_optimal_offer(o);
    return built && gpulet_pack_missing(&o->best) <= 0.0 &&
           (!complete || gpulet_pack_cost(&o->best) < before * (1.0 - 1e-9));
}

/* ---- the question ---- */

/* The highest cost below `limit` that some number of devices of the types from `type` on have.
 * Depth is the number of types; each turn of the loop is a device. */
static double highest_below(const gpulet_workspace_t *ws, size_t type, double limit)
{
    if (type == ws->types_count)
        return 0.0;
    double cost = ws->types[type].type->cost;
    double best = 0.0;
    for (uint32_t n = 0; n <= DEPTH_MAX && (double)n * cost < limit * (1.0 - 1e-9); n++) {
        double own = (double)n * cost;
        best = fmax(best, own + highest_below(ws, type + 1, limit - own));
    }
    return best;
}

/* The cost that a better plan may have; 0: there is no such question. */
static double target_cost(const gpulet_optimal_t *o, double cheapest)
{
    if (gpulet_pack_missing(&o->best) <= 0.0) {
        double cost = gpulet_pack_cost(&o->best);
        return cost <= cheapest * (double)(DEPTH_MAX + 1) && o->ws->types_count <= DEPTH_MAX
                   ? highest_below(o->ws, 0, cost)
                   : 0.0;
    }
    double most = 0.0;
    for (size_t t = 0; t < o->ws->types_count; t++) {
        if (o->ws->types[t].devices_max < 0)
            return 0.0;
        most += (double)o->ws->types[t].devices_max * o->ws->types[t].type->cost;
    }
    return most;
}

/* What no plan of at most that cost proves: of the best plan it is the cost, otherwise all devices
 * there are do not do. */
static double bound_above(const gpulet_optimal_t *o, double cost)
{
    double step = gpulet_certifier_step(o->input->devices);
    if (gpulet_pack_missing(&o->best) <= 0.0)
        return gpulet_pack_cost(&o->best);
    return step > 0.0 ? cost + step : cost * (1.0 + 2e-9);
}

gpulet_status_t gpulet_optimal_prove(gpulet_optimal_t *o, uint64_t work_max, bool *more)
{
    double cheapest = INFINITY;
    for (size_t t = 0; t < o->ws->types_count; t++)
        cheapest = fmin(cheapest, o->ws->types[t].type->cost);
    double cost = target_cost(o, cheapest);
    *more = false;
    if (cost <= 0.0 || cost > cheapest * (double)DEPTH_MAX)
        return GPULET_OK;
    prover_t p = {.o = o, .c = &o->certifier, .work_max = work_max};
    p.columns.ws = o->certifier.ws;
    double *rates = calloc(o->ws->models_count + 1, sizeof(*rates));
    if (rates == NULL)
        return GPULET_E_NOMEM;
    for (size_t m = 0; m < o->ws->models_count; m++)
        rates[m] = o->ws->models[m].rate_rps * DEMAND_LESS;
    /* Without memory for it the search only takes longer. */
    p.refuted = malloc(REFUTED_MAX * (o->ws->models_count + 1) * sizeof(*p.refuted));
    answer_t answer = search(&p, rates, cost);
    free(p.refuted);
    if (answer == ANSWER_NO)
        o->bound = fmax(o->bound, bound_above(o, cost));
    else if (answer == ANSWER_YES)
        *more = build(&p);
    for (size_t i = 0; i < DEPTH_MAX; i++)
        gpulet_price_list_deinit(&p.lists[i]);
    gpulet_columns_deinit(&p.columns);
    free(rates);
    o->root.work += p.work;
    return p.status;
}
