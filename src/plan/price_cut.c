/* The cut of a device that is worth most, by dynamic programming over (slot, units left, gpu-lets
 * left). Gpu-lets cover consecutive slots from one of the starts of their size, so filling slots
 * from the left reaches every legal placement. */
#include <stdlib.h>
#include <string.h>

#include "plan/price_internal.h"

enum { CELLS_MAX = 4000000, STEPS_MAX = 40000000 };

typedef struct cutter {
    const gpulet_price_cut_t *cut;
    uint32_t divisor; /* of all sizes and of the units */
    uint32_t units;   /* in it */
    uint32_t counts;  /* gpu-lets at most; 0: the units are the tighter limit */
    int64_t *table;   /* -1: not known yet */
} cutter_t;

typedef struct state {
    uint32_t slot;
    uint32_t units;
    uint32_t left;
    uint32_t top; /* 1: the top one is still to come */
} state_t;

static uint32_t divisor_of(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static size_t index_of(const cutter_t *c, state_t at)
{
    size_t index = at.slot;
    index = index * (c->units + 1) + at.units;
    index = index * ((size_t)c->counts + 1) + (c->counts > 0 ? at.left : 0);
    return index * 2 + at.top;
}

static bool may_start(const gpulet_device_type_t *type, uint32_t size, uint32_t slot)
{
    const gpulet_placement_t *rule = &type->placements[size];
    if (slot + rule->length > type->slots)
        return false;
    for (uint32_t i = 0; i < rule->starts_count; i++) {
        if (rule->starts[i] == slot)
            return true;
    }
    return false;
}

/* The state after a gpu-let of the size; false when it does not fit. */
static bool step(const cutter_t *c, state_t at, uint32_t size, bool as_top, state_t *next)
{
    const gpulet_device_type_t *type = c->cut->type;
    uint32_t units = type->sizes[size] / c->divisor;
    if (units > at.units || (c->counts > 0 && at.left == 0) || (as_top && at.top == 0))
        return false;
    if (type->slots > 0 && !may_start(type, size, at.slot))
        return false;
    *next = at;
    next->units -= units;
    next->left -= c->counts > 0 ? 1 : 0;
    next->top = as_top ? 0 : at.top;
    if (type->slots > 0)
        next->slot += type->placements[size].length;
    return true;
}

/* A state from which the top one can no longer be placed is worth nothing at all. */
static const int64_t IMPOSSIBLE = -2;

/* Depth is gpu-lets plus slots of a device. */
static int64_t best_from(cutter_t *c, state_t at)
{
    int64_t *cell = &c->table[index_of(c, at)];
    if (*cell != -1)
        return *cell;
    int64_t best = at.top != 0 ? IMPOSSIBLE : 0;
    state_t next;
    if (c->cut->type->slots > 0 && at.slot < c->cut->type->slots) {
        next = at;
        next.slot++;
        best = best_from(c, next);
    }
    for (uint32_t size = 0; size < c->cut->type->sizes_count; size++) {
        for (int as_top = 0; as_top < 2; as_top++) {
            uint64_t value = as_top != 0 && c->cut->top != NULL ? c->cut->top[size]
                             : as_top != 0                      ? 0
                                                                : c->cut->values[size];
            if (value == 0 || !step(c, at, size, as_top != 0, &next))
                continue;
            int64_t rest = best_from(c, next);
            if (rest != IMPOSSIBLE && rest + (int64_t)value > best)
                best = rest + (int64_t)value;
        }
    }
    c->table[index_of(c, at)] = best;
    return best;
}

/* One step of the best way from `at`; false at its end. */
static bool follow(cutter_t *c, state_t *at, uint32_t *size, bool *as_top)
{
    int64_t best = best_from(c, *at);
    state_t next;
    for (uint32_t s = 0; s < c->cut->type->sizes_count; s++) {
        for (int t = 0; t < 2; t++) {
            uint64_t value =
                t != 0 ? (c->cut->top != NULL ? c->cut->top[s] : 0) : c->cut->values[s];
            if (value == 0 || !step(c, *at, s, t != 0, &next))
                continue;
            int64_t rest = best_from(c, next);
            if (rest != IMPOSSIBLE && rest + (int64_t)value == best) {
                *at = next;
                *size = s;
                *as_top = t != 0;
                return true;
            }
        }
    }
    return false;
}

static void write_sizes(cutter_t *c, state_t at, uint32_t *sizes, uint32_t *count)
{
    uint32_t size = 0;
    bool as_top = false;
    *count = 0;
    for (;;) {
        if (follow(c, &at, &size, &as_top)) {
            sizes[*count] = size;
            if (as_top) {
                sizes[*count] = sizes[0];
                sizes[0] = size;
            }
            (*count)++;
        } else if (c->cut->type->slots > 0 && at.slot < c->cut->type->slots) {
            at.slot++;
        } else {
            return;
        }
    }
}

/* Where the table would be too large: units are filled by the size that is worth most for each. */
static void by_density(uint64_t *value, uint32_t *sizes, uint32_t *count, const cutter_t *c)
{
    const gpulet_device_type_t *type = c->cut->type;
    uint64_t best = 0;
    uint32_t at = 0;
    for (uint32_t s = 0; s < type->sizes_count; s++) {
        uint64_t worth = c->cut->values[s];
        if (c->cut->top != NULL && c->cut->top[s] > worth)
            worth = c->cut->top[s];
        double whole = (double)worth * (double)type->units / (double)type->sizes[s];
        uint64_t share = whole < 9e18 ? (uint64_t)(whole * (1.0 + 1e-15)) + 1 : UINT64_MAX / 2;
        if (worth > 0 && share > best) {
            best = share;
            at = s;
        }
    }
    *value = best;
    *count = 0;
    uint32_t fit = best > 0 ? type->units / type->sizes[at] : 0;
    fit = fit < type->gpulets_max ? fit : type->gpulets_max;
    for (uint32_t i = 0; i < fit; i++)
        sizes[(*count)++] = at;
}

gpulet_status_t gpulet_price_cut(uint64_t *value, uint32_t *sizes, uint32_t *sizes_count,
                                 bool *exact, gpulet_pricer_t *pricer,
                                 const gpulet_price_cut_t *cut)
{
    const gpulet_device_type_t *type = cut->type;
    cutter_t c = {.cut = cut, .divisor = type->units};
    for (uint32_t s = 0; s < type->sizes_count; s++)
        c.divisor = divisor_of(c.divisor, type->sizes[s]);
    c.units = type->units / c.divisor;
    c.counts = type->gpulets_max < type->units / type->sizes[0] ? type->gpulets_max : 0;
    *exact = true;
    uint64_t cells =
        2 * ((uint64_t)type->slots + 1) * ((uint64_t)c.units + 1) * ((uint64_t)c.counts + 1);
    if (cells > CELLS_MAX || cells * type->sizes_count > STEPS_MAX) {
        *exact = false;
        by_density(value, sizes, sizes_count, &c);
        return GPULET_OK;
    }
    if (cells > pricer->table_capacity) {
        int64_t *more = realloc(pricer->table, cells * sizeof(*more));
        if (more == NULL)
            return GPULET_E_NOMEM;
        pricer->table = more;
        pricer->table_capacity = cells;
    }
    memset(pricer->table, 0xff, cells * sizeof(*pricer->table));
    c.table = pricer->table;
    state_t whole = {0, c.units, c.counts, cut->top != NULL ? 1 : 0};
    int64_t best = best_from(&c, whole);
    *value = best == IMPOSSIBLE ? 0 : (uint64_t)best;
    *sizes_count = 0;
    if (best != IMPOSSIBLE)
        write_sizes(&c, whole, sizes, sizes_count);
    return GPULET_OK;
}
