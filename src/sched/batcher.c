#include "sched/batcher.h"

#include <assert.h>

enum { PLANS_MAX = 16 };

static sched_choice_t prefix_from(const sched_batcher_t *b, const sched_candidate_t *candidates,
                                  uint32_t count, uint32_t first, uint64_t start_ns)
{
    sched_choice_t choice = {first, 0, 0};
    const sched_candidate_t *head = &candidates[first];
    if (first >= count)
        return choice;
    uint64_t budget = head->deadline_ns > start_ns ? head->deadline_ns - start_ns : 0;
    if (head->items > b->alone_above || head->items >= b->items_max) {
        if (sched_curve_safe_ns(b->curve, head->items) <= budget)
            choice = (sched_choice_t){first, 1, head->items};
        return choice;
    }
    uint32_t fit = sched_curve_fit(b->curve, budget, b->items_max);
    for (uint32_t i = first; i < count && choice.count < b->count_max; i++) {
        const sched_candidate_t *c = &candidates[i];
        if (c->items > b->alone_above || choice.items + c->items > fit)
            break;
        if (c->deadline_ns < head->deadline_ns) { /* A lower priority may be tighter. */
            uint64_t slack = c->deadline_ns > start_ns ? c->deadline_ns - start_ns : 0;
            uint32_t tighter = sched_curve_fit(b->curve, slack, fit);
            if (choice.items + c->items > tighter)
                break;
            fit = tighter;
        }
        choice.count++;
        choice.items += c->items;
    }
    return choice;
}

sched_choice_t sched_batcher_prefix(const sched_batcher_t *b, const sched_candidate_t *candidates,
                                    uint32_t count, uint32_t first)
{
    return prefix_from(b, candidates, count, first, b->start_ns);
}

uint32_t sched_batcher_misses(const sched_batcher_t *b, const sched_candidate_t *candidates,
                              uint32_t count, uint32_t first, uint64_t now_ns)
{
    uint32_t misses = 0;
    for (uint32_t i = first; i < count;) {
        uint64_t deadline = candidates[i].deadline_ns;
        if (deadline <= now_ns ||
            sched_curve_safe_ns(b->curve, candidates[i].items) > deadline - now_ns) {
            misses++;
            i++;
            continue;
        }
        sched_choice_t next = prefix_from(b, candidates, count, i, now_ns);
        if (next.count == 0) {
            misses++;
            i++;
            continue;
        }
        now_ns += sched_curve_mean_ns(b->curve, next.items) / b->lanes;
        i += next.count;
    }
    return misses;
}

static uint32_t misses_after(const sched_batcher_t *b, const sched_candidate_t *candidates,
                             uint32_t count, const sched_choice_t *choice)
{
    uint64_t end = b->start_ns + sched_curve_mean_ns(b->curve, choice->items) / b->lanes;
    return choice->first +
           sched_batcher_misses(b, candidates, count, choice->first + choice->count, end);
}

/* A smaller batch of clearly more answers a second (padded sizes), when the rest is in time all the
 * same. */
static sched_choice_t trim(const sched_batcher_t *b, const sched_candidate_t *candidates,
                           uint32_t count, sched_choice_t choice)
{
    uint32_t best = sched_curve_best(b->curve, choice.items);
    if (best >= choice.items || choice.count <= 1)
        return choice;
    sched_choice_t smaller = {choice.first, 0, 0};
    while (smaller.items + candidates[choice.first + smaller.count].items <= best)
        smaller.items += candidates[choice.first + smaller.count++].items;
    if (smaller.count == 0 || misses_after(b, candidates, count, &smaller) > choice.first)
        return choice;
    return smaller;
}

sched_choice_t sched_batcher_choose(const sched_batcher_t *b, const sched_candidate_t *candidates,
                                    uint32_t count)
{
    assert(count > 0 && b->lanes > 0 && b->items_max > 0);
    sched_choice_t best = prefix_from(b, candidates, count, 0, b->start_ns);
    if (best.count == 0 || best.count == count || best.items >= b->items_max ||
        best.count == b->count_max)
        return trim(b, candidates, count, best);
    uint32_t fewest = misses_after(b, candidates, count, &best);
    uint32_t longest = best.items;
    uint32_t plans = 0;
    for (uint32_t d = 1; d < count && fewest > d && plans < PLANS_MAX; d++) {
        if (candidates[d].deadline_ns <= candidates[d - 1].deadline_ns)
            continue; /* Passing over the one before gained nothing. */
        sched_choice_t plan = prefix_from(b, candidates, count, d, b->start_ns);
        if (plan.items <= longest)
            continue;
        longest = plan.items;
        plans++;
        uint32_t misses = misses_after(b, candidates, count, &plan);
        if (misses < fewest) {
            fewest = misses;
            best = plan;
        }
    }
    return trim(b, candidates, count, best);
}
