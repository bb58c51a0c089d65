#include "study/compare.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A kind of gpu-let and how many of it each plan has. */
typedef struct kind {
    const char *type;
    const gpulet_plan_gpulet_t *gpulet;
    size_t counts[2]; /* before, after */
} kind_t;

static bool has_share(const gpulet_plan_gpulet_t *g, const gpulet_plan_share_t *share)
{
    for (size_t i = 0; i < g->shares_count; i++) {
        if (g->shares[i].batch == share->batch && g->shares[i].instances == share->instances &&
            strcmp(g->shares[i].model, share->model) == 0)
            return true;
    }
    return false;
}

/* A model stands at most once in a gpu-let, so inclusion and equal counts are equality. */
static bool is_kind(const kind_t *kind, const char *type, const gpulet_plan_gpulet_t *g)
{
    if (kind->gpulet->units != g->units || kind->gpulet->shares_count != g->shares_count ||
        strcmp(kind->type, type) != 0)
        return false;
    for (size_t i = 0; i < g->shares_count; i++) {
        if (!has_share(kind->gpulet, &g->shares[i]))
            return false;
    }
    return true;
}

static size_t count_gpulets(const gpulet_plan_t *plan)
{
    size_t count = 0;
    for (size_t d = 0; d < plan->devices_count; d++)
        count += plan->devices[d].gpulets_count;
    return count;
}

static void add_plan(kind_t *kinds, size_t *count, const gpulet_plan_t *plan, size_t side)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        const gpulet_plan_device_t *device = &plan->devices[d];
        for (size_t i = 0; i < device->gpulets_count; i++) {
            size_t k = 0;
            while (k < *count && !is_kind(&kinds[k], device->type, &device->gpulets[i]))
                k++;
            if (k == *count)
                kinds[(*count)++] = (kind_t){device->type, &device->gpulets[i], {0, 0}};
            kinds[k].counts[side]++;
        }
    }
}

gpulet_status_t gpulet_compare_plans(gpulet_compare_t *out, const gpulet_plan_t *before,
                                     const gpulet_plan_t *after)
{
    size_t most = count_gpulets(before) + count_gpulets(after) + 1;
    gpulet_compare_t c = {0};
    size_t count = 0;
    kind_t *kinds = calloc(most, sizeof(*kinds));
    c.started_list = calloc(most, sizeof(*c.started_list));
    c.stopped_list = calloc(most, sizeof(*c.stopped_list));
    if (kinds == NULL || c.started_list == NULL || c.stopped_list == NULL) {
        free(kinds);
        gpulet_compare_deinit(&c);
        return GPULET_E_NOMEM;
    }
    add_plan(kinds, &count, before, 0);
    add_plan(kinds, &count, after, 1);
    for (size_t i = 0; i < count; i++) {
        size_t was = kinds[i].counts[0];
        size_t is = kinds[i].counts[1];
        gpulet_compare_change_t change = {kinds[i].type, kinds[i].gpulet,
                                          is > was ? is - was : was - is};
        c.kept += is < was ? is : was;
        if (is > was) {
            c.started += change.count;
            c.started_list[c.started_kinds++] = change;
        } else if (was > is) {
            c.stopped += change.count;
            c.stopped_list[c.stopped_kinds++] = change;
        }
    }
    free(kinds);
    *out = c;
    return GPULET_OK;
}

void gpulet_compare_deinit(gpulet_compare_t *compare)
{
    free(compare->started_list);
    free(compare->stopped_list);
    *compare = (gpulet_compare_t){0};
}
