/* The gpu-let that is worth most: a search over sets of (model, choice), and a relaxation for where
 * that would take too long. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/price_internal.h"

/* A bound in double is used to leave branches out: it is raised by far more than it can be off. */
static const double RAISE = 1.0 + 1e-12;

/* Of so few models every set is searched at once, without a good one to begin with. */
enum { FEW = 8 };

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

typedef struct search {
    const gpulet_price_gpulet_query_t *q;
    uint32_t depth_max;
    bool complete;
    uint64_t work;
    uint64_t best;
    gpulet_price_gpulet_t *out;
    size_t items[GPULET_PRICE_MEMBERS_MAX];
    size_t options[GPULET_PRICE_MEMBERS_MAX];
} search_t;

static uint64_t quotient_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0 ? 1 : 0);
}

/* Worth of the first `depth` members with a cycle of `duty`. */
static uint64_t worth(const search_t *s, uint32_t depth, uint64_t duty)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < depth; i++) {
        const gpulet_price_item_t *item = &s->q->items[s->items[i]];
        uint64_t full = quotient_up(item->gains[s->options[i]], duty);
        sum += full < item->price ? full : item->price;
    }
    return sum;
}

static void keep(search_t *s, uint32_t depth, uint64_t value)
{
    if (s->q->collect == NULL)
        s->best = value;
    s->out->count = depth;
    for (uint32_t i = 0; i < depth; i++) {
        const gpulet_price_item_t *item = &s->q->items[s->items[i]];
        s->out->models[i] = item->model;
        s->out->choices[i] = item->options[s->options[i]].choice;
    }
}

/* With collect the threshold stays; false when the search is to end. */
static bool collected(search_t *s, uint64_t value)
{
    s->complete = s->complete && (s->q->collect == NULL || s->q->collect(s->q->ctx, s->out, value));
    return s->complete;
}

/* What the chosen members and any of items[next …] can be worth together, with a cycle between
 * `sum` and `limit`. With D the cycle, the chosen are worth at most full + part/D, where `full`
 * counts those that serve all their demand already at D = sum, and the others at most the density
 * of the next item times the rest of the cycle, 1 − sum/D. That is monotone in D, so its ends
 * decide. */
static double most(const search_t *s, uint32_t depth, size_t next, uint64_t sum, uint64_t limit)
{
    const gpulet_price_item_t *item = &s->q->items[next];
    uint32_t left = s->depth_max - depth;
    double rest = smaller(item->price_after, (double)left * item->price_highest);
    if (depth == 0)
        return smaller(item->density, rest);
    double full = 0.0;
    double part = 0.0;
    for (uint32_t i = 0; i < depth; i++) {
        const gpulet_price_item_t *chosen = &s->q->items[s->items[i]];
        double gain = (double)chosen->gains[s->options[i]];
        if (gain >= (double)chosen->price * (double)sum)
            full += (double)chosen->price;
        else
            part += gain;
    }
    double shortest = full + part / (double)sum;
    double longest =
        full + part / (double)limit + item->density * (1.0 - (double)sum / (double)limit);
    return smaller(larger(shortest, longest), shortest + rest);
}

/* Depth is the number of models in one gpu-let, at most GPULET_PRICE_MEMBERS_MAX. */
static void extend(search_t *s, size_t next, uint32_t depth, uint64_t sum, uint64_t limit,
                   double memory_mb)
{
    const gpulet_price_gpulet_query_t *q = s->q;
    for (size_t j = next; j < q->count; j++) {
        /* Densities, sums and highest prices fall: what holds for this item holds for all later.
         * Every worth is rounded up once a member. */
        if (most(s, depth, j, sum, limit) * RAISE + (double)s->depth_max <= (double)s->best)
            return;
        const gpulet_price_item_t *item = &q->items[j];
        s->items[depth] = j;
        for (size_t k = 0; k < item->count; k++) {
            const gpulet_price_option_t *o = &item->options[k];
            uint64_t duty = sum + o->latency;
            uint64_t own = q->prototype_duty ? duty : o->latency;
            if (duty > limit || duty + own > item->slo)
                break;
            if (memory_mb + o->memory_mb > q->memory_mb)
                continue;
            if (++s->work > q->work_max) {
                s->complete = false;
                return;
            }
            s->options[depth] = k;
            uint64_t value = worth(s, depth + 1, duty);
            if (value > s->best) {
                keep(s, depth + 1, value);
                if (!collected(s, value))
                    return;
            }
            uint64_t most_duty = q->prototype_duty ? item->slo / 2 : item->slo - o->latency;
            if (depth + 1 < s->depth_max && s->complete)
                extend(s, j + 1, depth + 1, duty, most_duty < limit ? most_duty : limit,
                       memory_mb + o->memory_mb);
        }
    }
}

/* ---- the relaxation ---- */

typedef struct piece {
    double density;
    double worth;
} piece_t;

static int compare_pieces(const void *a, const void *b)
{
    double x = ((const piece_t *)a)->density;
    double y = ((const piece_t *)b)->density;
    return x > y ? -1 : x < y;
}

/* With a cycle between low and high: each model by a straight line, its best worth for a time, up
 * to its most worth; time is filled by the steepest lines first. */
static double relaxed_between(const gpulet_price_gpulet_query_t *q, piece_t *pieces, double low,
                              double high)
{
    size_t count = 0;
    for (size_t j = 0; j < q->count; j++) {
        const gpulet_price_item_t *item = &q->items[j];
        piece_t p = {0.0, 0.0};
        for (size_t k = 0; k < item->count; k++) {
            double latency = (double)item->options[k].latency;
            double own = q->prototype_duty ? low : latency;
            if (low + own > (double)item->slo || latency > high)
                break;
            double value = smaller((double)item->gains[k] / low + 1.0, (double)item->price);
            p.worth = larger(p.worth, value);
            p.density = larger(p.density, value / latency);
        }
        if (p.worth > 0.0)
            pieces[count++] = p;
    }
    if (count > 1)
        qsort(pieces, count, sizeof(*pieces), compare_pieces);
    double left = high;
    double sum = 0.0;
    for (size_t i = 0; i < count && left > 0.0; i++) {
        double time = pieces[i].worth / pieces[i].density;
        sum += time <= left ? pieces[i].worth : pieces[i].density * left;
        left -= time;
    }
    return sum;
}

static uint64_t relaxed(const gpulet_price_gpulet_query_t *q)
{
    double first = q->count > 0 ? q->items[0].density : 0.0;
    piece_t *pieces = malloc((q->count + 1) * sizeof(*pieces));
    if (pieces == NULL)
        return (uint64_t)(first * RAISE) + GPULET_PRICE_MEMBERS_MAX;
    double shortest = INFINITY;
    double longest = 0.0;
    for (size_t j = 0; j < q->count; j++) {
        shortest = smaller(shortest, (double)q->items[j].options[0].latency);
        longest = larger(longest, (double)q->items[j].slo);
    }
    double value = 0.0;
    // NOLINTNEXTLINE(cert-flp30-c,clang-analyzer-security.FloatLoopCounter): it only grows
    for (double low = shortest; low <= longest; low *= 1.02)
        value = larger(value, relaxed_between(q, pieces, low, low * 1.02));
    free(pieces);
    /* No set is worth more for its time than its best member. */
    return (uint64_t)(smaller(value, first + (double)q->count) * RAISE) + 2;
}

/* ---- a good gpu-let for where the search is cut off ---- */

/* Members by density, each with the batch that serves most in what is left of a cycle of `duty`. */
static void fill_cycle(search_t *s, uint64_t duty)
{
    const gpulet_price_gpulet_query_t *q = s->q;
    uint32_t depth = 0;
    uint64_t sum = 0;
    double memory_mb = 0.0;
    for (size_t j = 0; j < q->count && depth < s->depth_max; j++) {
        const gpulet_price_item_t *item = &q->items[j];
        size_t chosen = item->count;
        for (size_t k = 0; k < item->count; k++) {
            const gpulet_price_option_t *o = &item->options[k];
            uint64_t own = q->prototype_duty ? duty : o->latency;
            if (sum + o->latency > duty || duty + own > item->slo)
                break;
            if (memory_mb + o->memory_mb > q->memory_mb)
                continue;
            chosen = k;
            if (item->gains[k] / duty >= item->price)
                break;
        }
        if (chosen == item->count)
            continue;
        s->items[depth] = j;
        s->options[depth++] = chosen;
        sum += item->options[chosen].latency;
        memory_mb += item->options[chosen].memory_mb;
    }
    uint64_t value = depth > 0 ? worth(s, depth, sum) : 0;
    if (value > s->best)
        keep(s, depth, value);
}

static void fill_cycles(search_t *s)
{
    uint64_t shortest = UINT64_MAX;
    uint64_t longest = 0;
    for (size_t j = 0; j < s->q->count; j++) {
        uint64_t latency = s->q->items[j].options[0].latency;
        shortest = latency < shortest ? latency : shortest;
        longest = s->q->items[j].slo > longest ? s->q->items[j].slo : longest;
    }
    for (uint64_t duty = shortest; s->q->count > 0 && duty <= longest; duty += duty / 20 + 1) {
        fill_cycle(s, duty);
        s->work += s->q->count;
    }
}

uint64_t gpulet_price_gpulet(gpulet_price_gpulet_t *out, uint64_t *value, uint64_t *bound,
                             const gpulet_price_gpulet_query_t *query)
{
    search_t s = {.q = query, .complete = true, .out = out};
    uint32_t allowed = query->members_max > 0 && query->members_max < query->count
                           ? query->members_max
                           : (uint32_t)query->count;
    s.depth_max = allowed < GPULET_PRICE_MEMBERS_MAX ? allowed : GPULET_PRICE_MEMBERS_MAX;
    out->count = 0;
    if (query->collect != NULL)
        s.best = query->least > 0 ? query->least - 1 : 0;
    else if (allowed > 1 && query->count > FEW)
        fill_cycles(&s);
    uint64_t filled = s.work;
    s.work = 0;
    extend(&s, 0, 0, 0, UINT64_MAX, 0.0);
    *value = s.best;
    *bound = s.best;
    if (query->collect != NULL) {
        *bound = s.complete && s.depth_max == allowed ? s.best : GPULET_PRICE_UNKNOWN;
    } else if ((!s.complete || s.depth_max < allowed) && !query->bounded) {
        *bound = GPULET_PRICE_UNKNOWN;
    } else if (!s.complete || s.depth_max < allowed) {
        uint64_t at_most = relaxed(query);
        *bound = at_most > s.best ? at_most : s.best;
    }
    return s.work + filled;
}
