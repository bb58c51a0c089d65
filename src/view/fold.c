#include "view/fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool same_gpulet(const gpulet_plan_gpulet_t *a, const gpulet_plan_gpulet_t *b)
{
    if (a->units != b->units || a->slot != b->slot || a->shares_count != b->shares_count)
        return false;
    for (size_t i = 0; i < a->shares_count; i++) {
        const gpulet_plan_share_t *x = &a->shares[i];
        const gpulet_plan_share_t *y = &b->shares[i];
        if (x->batch != y->batch || x->instances != y->instances || strcmp(x->model, y->model) != 0)
            return false;
    }
    return true;
}

static bool same_device(const gpulet_plan_device_t *a, const gpulet_plan_device_t *b)
{
    if (a->gpulets_count != b->gpulets_count || strcmp(a->type, b->type) != 0)
        return false;
    for (size_t i = 0; i < a->gpulets_count; i++) {
        if (!same_gpulet(&a->gpulets[i], &b->gpulets[i]))
            return false;
    }
    return true;
}

gpulet_status_t gpulet_view_fold(gpulet_view_group_t **out, size_t *count,
                                 const gpulet_plan_t *plan)
{
    gpulet_view_group_t *groups = calloc(plan->devices_count + 1, sizeof(*groups));
    size_t used = 0;
    if (groups == NULL)
        return GPULET_E_NOMEM;
    for (size_t d = 0; d < plan->devices_count; d++) {
        size_t g = 0;
        while (g < used && !same_device(&plan->devices[groups[g].first], &plan->devices[d]))
            g++;
        if (g == used)
            groups[used++] = (gpulet_view_group_t){.first = d, .count = 0};
        groups[g].count++;
    }
    *out = groups;
    *count = used;
    return GPULET_OK;
}

const gpulet_device_type_t *gpulet_view_type(const gpulet_device_set_t *set, const char *name)
{
    int type = gpulet_device_set_find(set, name);
    return type >= 0 ? &set->types[type] : NULL;
}

double gpulet_view_scale(const gpulet_plan_device_t *device, const gpulet_device_type_t *type)
{
    double units = 0.0;
    if (type != NULL && type->slots > 0)
        return (double)type->slots;
    for (size_t i = 0; i < device->gpulets_count; i++)
        units += (double)device->gpulets[i].units;
    return fmax(fmax(units, 1.0), type != NULL ? (double)type->units : 0.0);
}

gpulet_view_span_t gpulet_view_place(const gpulet_plan_device_t *device,
                                     const gpulet_device_type_t *type, size_t gpulet)
{
    const gpulet_plan_gpulet_t *g = &device->gpulets[gpulet];
    double scale = gpulet_view_scale(device, type);
    double begin = 0.0;
    double length = (double)g->units;
    if (type != NULL && type->slots > 0 && g->slot >= 0) {
        int size = gpulet_device_type_size_index(type, g->units);
        begin = (double)g->slot;
        length = size >= 0 ? (double)type->placements[size].length : length;
    } else {
        for (size_t i = 0; i < gpulet; i++)
            begin += (double)device->gpulets[i].units;
    }
    return (gpulet_view_span_t){.begin = fmin(begin / scale, 1.0),
                                .end = fmin((begin + length) / scale, 1.0)};
}

const char *gpulet_view_key(char out[GPULET_VIEW_KEY_SIZE], size_t model)
{
    char reversed[GPULET_VIEW_KEY_SIZE];
    size_t length = 0;
    for (size_t rest = model + 1; rest > 0; rest = (rest - 1) / 26)
        reversed[length++] = (char)('A' + (rest - 1) % 26);
    for (size_t i = 0; i < length; i++)
        out[i] = reversed[length - 1 - i];
    out[length] = '\0';
    return out;
}

unsigned gpulet_view_background(size_t model)
{
    static const unsigned backgrounds[] = {117, 150, 216, 222, 183, 152,
                                           218, 187, 111, 180, 115, 209};
    return backgrounds[model % (sizeof(backgrounds) / sizeof(backgrounds[0]))];
}

size_t gpulet_view_model(const gpulet_plan_t *plan, const char *name)
{
    size_t i = 0;
    while (i < plan->models_count && strcmp(plan->models[i].model, name) != 0)
        i++;
    return i;
}

uint64_t gpulet_view_step(double scale, double most)
{
    static const uint64_t steps[] = {1, 2, 5};
    for (uint64_t power = 1;; power *= 10) {
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            if (scale / (double)(steps[i] * power) <= fmax(most, 1.0))
                return steps[i] * power;
        }
    }
}
