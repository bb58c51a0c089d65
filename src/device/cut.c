#include "device/cut.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A window of units and why to prefer it: each number the smaller the better, the first the most
 * important. */
typedef struct window {
    uint32_t first;
    uint32_t shared;  /* users on its units */
    uint32_t borders; /* between groups */
    uint32_t left;    /* units of the free run that stay unused */
    uint32_t inner;   /* 1 when it would leave free units on both sides */
} window_t;

gpulet_status_t gpulet_cut_init(gpulet_cut_t *cut, uint32_t units, const uint32_t *groups)
{
    assert(units > 0);
    cut->units = units;
    cut->groups = calloc(units, sizeof(*cut->groups));
    cut->users = calloc(units, sizeof(*cut->users));
    if (cut->groups == NULL || cut->users == NULL) {
        gpulet_cut_deinit(cut);
        return GPULET_E_NOMEM;
    }
    if (groups != NULL)
        memcpy(cut->groups, groups, units * sizeof(*groups));
    return GPULET_OK;
}

void gpulet_cut_deinit(gpulet_cut_t *cut)
{
    free(cut->groups);
    free(cut->users);
    *cut = (gpulet_cut_t){0};
}

uint32_t gpulet_cut_free_units(const gpulet_cut_t *cut)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cut->units; i++)
        count += cut->users[i] == 0;
    return count;
}

static uint32_t run_end(const gpulet_cut_t *cut, uint32_t first)
{
    while (first < cut->units && cut->users[first] == 0)
        first++;
    return first;
}

static uint32_t borders_in(const gpulet_cut_t *cut, uint32_t first, uint32_t count)
{
    uint32_t borders = 0;
    for (uint32_t i = first + 1; i < first + count; i++)
        borders += cut->groups[i] != cut->groups[i - 1];
    return borders;
}

static bool better(const window_t *a, const window_t *b)
{
    if (a->shared != b->shared)
        return a->shared < b->shared;
    if (a->borders != b->borders)
        return a->borders < b->borders;
    if (a->left != b->left)
        return a->left < b->left;
    return a->inner < b->inner;
}

static bool find_free_window(window_t *best, const gpulet_cut_t *cut, uint32_t count)
{
    bool found = false;
    for (uint32_t begin = 0; begin < cut->units; begin++) {
        uint32_t end = run_end(cut, begin);
        for (uint32_t first = begin; first + count <= end; first++) {
            window_t w = {.first = first,
                          .borders = borders_in(cut, first, count),
                          .left = end - begin - count,
                          .inner = first > begin && first + count < end};
            if (!found || better(&w, best))
                *best = w;
            found = true;
        }
        if (end > begin)
            begin = end;
    }
    return found;
}

static void find_shared_window(window_t *best, const gpulet_cut_t *cut, uint32_t count)
{
    for (uint32_t first = 0; first + count <= cut->units; first++) {
        window_t w = {.first = first, .borders = borders_in(cut, first, count)};
        for (uint32_t i = first; i < first + count; i++)
            w.shared += cut->users[i];
        if (first == 0 || better(&w, best))
            *best = w;
    }
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The longest free runs first, so that it is cut into the fewest pieces. */
static void take_scattered(gpulet_cut_t *cut, uint32_t *out, uint32_t count)
{
    uint32_t taken = 0;
    while (taken < count) {
        uint32_t longest = 0;
        uint32_t longest_first = 0;
        for (uint32_t begin = 0; begin < cut->units; begin++) {
            uint32_t end = run_end(cut, begin);
            if (end - begin > longest) {
                longest = end - begin;
                longest_first = begin;
            }
            if (end > begin)
                begin = end;
        }
        assert(longest > 0);
        for (uint32_t i = 0; i < longest && taken < count; i++) {
            out[taken++] = longest_first + i;
            cut->users[longest_first + i]++;
        }
    }
    qsort(out, count, sizeof(*out), by_number);
}

static void take_window(gpulet_cut_t *cut, uint32_t *out, const window_t *window, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        out[i] = window->first + i;
        cut->users[out[i]]++;
    }
}

gpulet_status_t gpulet_cut_take(gpulet_cut_t *cut, uint32_t *out, uint32_t count, bool overlap)
{
    window_t window = {0};
    assert(count >= 1 && count <= cut->units);
    if (find_free_window(&window, cut, count)) {
        take_window(cut, out, &window, count);
    } else if (gpulet_cut_free_units(cut) >= count) {
        take_scattered(cut, out, count);
    } else if (overlap) {
        find_shared_window(&window, cut, count);
        take_window(cut, out, &window, count);
    } else {
        return GPULET_E_FULL;
    }
    return GPULET_OK;
}

void gpulet_cut_give(gpulet_cut_t *cut, const uint32_t *taken, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        assert(taken[i] < cut->units && cut->users[taken[i]] > 0);
        cut->users[taken[i]]--;
    }
}

bool gpulet_cut_exclusive(const gpulet_cut_t *cut, const uint32_t *taken, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (cut->users[taken[i]] != 1)
            return false;
    }
    return true;
}

gpulet_status_t gpulet_cut_settle(gpulet_cut_t *cut, uint32_t *taken, uint32_t count)
{
    if (gpulet_cut_exclusive(cut, taken, count))
        return GPULET_OK;
    gpulet_cut_give(cut, taken, count);
    gpulet_status_t st = gpulet_cut_take(cut, taken, count, false);
    if (st != GPULET_OK) {
        for (uint32_t i = 0; i < count; i++)
            cut->users[taken[i]]++;
    }
    return st;
}
