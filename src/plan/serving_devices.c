/* The devices that a plan for serving keeps to. A count says that devices 0 to count - 1 are there;
 * those that are kept may be others. So while the plan is worked on they are numbered from 0, those
 * of the running plan that are not kept come behind them, and afterwards each has its own number
 * again: else what runs on them would be moved to the first ones. */
#include <stdlib.h>
#include <string.h>

#include "plan/serving_internal.h"

static int compare_numbers(const void *a, const void *b)
{
    const uint32_t *x = a;
    const uint32_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint32_t count_of(const gpulet_plan_t *plan, const char *type)
{
    uint32_t count = 0;
    for (size_t d = 0; d < plan->devices_count; d++)
        count += strcmp(plan->devices[d].type, type) == 0;
    return count;
}

/* How many of the kept have a lower number. */
static uint32_t below(const plan_serving_kept_t *kept, uint32_t index)
{
    uint32_t low = 0;
    uint32_t high = kept->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (kept->numbers[mid] < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static uint32_t to_first(const plan_serving_kept_t *kept, uint32_t index)
{
    uint32_t lower = below(kept, index);
    bool is_kept = lower < kept->count && kept->numbers[lower] == index;
    return is_kept ? lower : kept->count + (index - lower);
}

static uint32_t to_own(const plan_serving_kept_t *kept, uint32_t number)
{
    if (number < kept->count)
        return kept->numbers[number];
    uint32_t index = number - kept->count;
    for (uint32_t i = 0; i < kept->count && kept->numbers[i] <= index; i++)
        index++;
    return index;
}

static void renumber(gpulet_plan_t *plan, const plan_serving_t *s,
                     uint32_t (*number)(const plan_serving_kept_t *kept, uint32_t index))
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        int type = gpulet_device_set_find(&s->devices, plan->devices[d].type);
        if (type >= 0)
            plan->devices[d].index = number(&s->kept[type], plan->devices[d].index);
    }
}

/* The devices of the type that the plan uses. */
static gpulet_status_t keep_type(plan_serving_kept_t *kept, const gpulet_plan_t *plan,
                                 const char *type)
{
    kept->numbers = calloc(count_of(plan, type) + 1U, sizeof(*kept->numbers));
    if (kept->numbers == NULL)
        return GPULET_E_NOMEM;
    for (size_t d = 0; d < plan->devices_count; d++) {
        if (strcmp(plan->devices[d].type, type) == 0)
            kept->numbers[kept->count++] = plan->devices[d].index;
    }
    qsort(kept->numbers, kept->count, sizeof(*kept->numbers), compare_numbers);
    return GPULET_OK;
}

gpulet_status_t plan_serving_keep_devices(plan_serving_t *s, gpulet_plan_t *plan)
{
    gpulet_status_t st = GPULET_OK;
    s->kept = calloc(s->devices.types_count + 1U, sizeof(*s->kept));
    if (s->kept == NULL)
        return GPULET_E_NOMEM;
    for (uint32_t t = 0; t < s->devices.types_count && st == GPULET_OK; t++) {
        if (s->options->all_devices && s->devices.counts[t] >= 0)
            continue;
        st = keep_type(&s->kept[t], plan, s->devices.types[t].name);
        s->devices.counts[t] = (int32_t)s->kept[t].count;
    }
    if (st == GPULET_OK && s->input.from != NULL)
        st = gpulet_plan_clone(&s->from, s->input.from);
    if (st != GPULET_OK)
        return st;
    renumber(plan, s, to_first);
    if (s->from != NULL) {
        renumber(s->from, s, to_first);
        s->input.from = s->from;
    }
    return GPULET_OK;
}

void plan_serving_own_devices(gpulet_plan_t *plan, const plan_serving_t *s)
{
    renumber(plan, s, to_own);
}

void plan_serving_forget_devices(plan_serving_t *s)
{
    for (uint32_t t = 0; t < s->devices.types_count && s->kept != NULL; t++)
        free(s->kept[t].numbers);
    free(s->kept);
    gpulet_plan_destroy(s->from);
}
