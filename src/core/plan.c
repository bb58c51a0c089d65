#include "core/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

gpulet_status_t gpulet_plan_create(gpulet_plan_t **out)
{
    gpulet_plan_t *plan = calloc(1, sizeof(*plan));
    if (plan == NULL)
        return GPULET_E_NOMEM;
    plan->cost = NAN;
    plan->lower_bound = NAN;
    plan->lower_bound_devices = NAN;
    *out = plan;
    return GPULET_OK;
}

static void deinit_device(gpulet_plan_device_t *device)
{
    for (size_t i = 0; i < device->gpulets_count; i++)
        free(device->gpulets[i].shares);
    free(device->gpulets);
}

void gpulet_plan_destroy(gpulet_plan_t *plan)
{
    if (plan == NULL)
        return;
    for (size_t i = 0; i < plan->devices_count; i++)
        deinit_device(&plan->devices[i]);
    free(plan->devices);
    free(plan->models);
    free(plan);
}

static gpulet_status_t clone_gpulet(gpulet_plan_device_t *into, const gpulet_plan_gpulet_t *from)
{
    gpulet_plan_gpulet_t *gpulet = gpulet_plan_add_gpulet(into);
    if (gpulet == NULL)
        return GPULET_E_NOMEM;
    gpulet->units = from->units;
    gpulet->slot = from->slot;
    gpulet->duty_ms = from->duty_ms;
    for (size_t i = 0; i < from->shares_count; i++) {
        gpulet_plan_share_t *share = gpulet_plan_add_share(gpulet);
        if (share == NULL)
            return GPULET_E_NOMEM;
        *share = from->shares[i];
    }
    return GPULET_OK;
}

static gpulet_status_t clone_device(gpulet_plan_t *into, const gpulet_plan_device_t *from)
{
    gpulet_plan_device_t *device = gpulet_plan_add_device(into);
    if (device == NULL)
        return GPULET_E_NOMEM;
    memcpy(device->type, from->type, sizeof(device->type));
    device->index = from->index;
    for (size_t i = 0; i < from->gpulets_count; i++) {
        gpulet_status_t st = clone_gpulet(device, &from->gpulets[i]);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_plan_clone(gpulet_plan_t **out, const gpulet_plan_t *plan)
{
    gpulet_plan_t *copy = NULL;
    gpulet_status_t st = gpulet_plan_create(&copy);
    if (st != GPULET_OK)
        return st;
    *copy = *plan;
    copy->models_count = 0;
    copy->models = NULL;
    copy->devices_count = 0;
    copy->devices = NULL;
    for (size_t i = 0; i < plan->models_count; i++) {
        gpulet_plan_model_t *model = gpulet_plan_add_model(copy);
        if (model == NULL) {
            st = GPULET_E_NOMEM;
            goto fail;
        }
        *model = plan->models[i];
    }
    for (size_t i = 0; i < plan->devices_count; i++) {
        if ((st = clone_device(copy, &plan->devices[i])) != GPULET_OK)
            goto fail;
    }
    *out = copy;
    return GPULET_OK;
fail:
    gpulet_plan_destroy(copy);
    return st;
}

/* The array with room for one zeroed element behind its `count`, or NULL. The structs have no
 * capacity, so that whoever sorts or removes elements has nothing else to keep; growing by powers
 * of two would need one. */
static void *grown(void *array, size_t count, size_t element_size)
{
    char *bytes = reallocarray(array, count + 1, element_size);
    if (bytes != NULL)
        memset(bytes + count * element_size, 0, element_size);
    return bytes;
}

gpulet_plan_device_t *gpulet_plan_add_device(gpulet_plan_t *plan)
{
    gpulet_plan_device_t *devices =
        grown(plan->devices, plan->devices_count, sizeof(plan->devices[0]));
    if (devices == NULL)
        return NULL;
    plan->devices = devices;
    return &devices[plan->devices_count++];
}

gpulet_plan_gpulet_t *gpulet_plan_add_gpulet(gpulet_plan_device_t *device)
{
    gpulet_plan_gpulet_t *gpulets =
        grown(device->gpulets, device->gpulets_count, sizeof(device->gpulets[0]));
    if (gpulets == NULL)
        return NULL;
    device->gpulets = gpulets;
    return &gpulets[device->gpulets_count++];
}

gpulet_plan_share_t *gpulet_plan_add_share(gpulet_plan_gpulet_t *gpulet)
{
    gpulet_plan_share_t *shares =
        grown(gpulet->shares, gpulet->shares_count, sizeof(gpulet->shares[0]));
    if (shares == NULL)
        return NULL;
    gpulet->shares = shares;
    return &shares[gpulet->shares_count++];
}

gpulet_plan_model_t *gpulet_plan_add_model(gpulet_plan_t *plan)
{
    gpulet_plan_model_t *models = grown(plan->models, plan->models_count, sizeof(plan->models[0]));
    if (models == NULL)
        return NULL;
    plan->models = models;
    return &models[plan->models_count++];
}

double gpulet_plan_routed_rps(const gpulet_plan_t *plan, const char *model)
{
    double sum = 0.0;
    for (size_t i = 0; i < plan->devices_count; i++) {
        for (size_t k = 0; k < plan->devices[i].gpulets_count; k++) {
            const gpulet_plan_gpulet_t *g = &plan->devices[i].gpulets[k];
            for (size_t j = 0; j < g->shares_count; j++) {
                if (strcmp(g->shares[j].model, model) == 0)
                    sum += g->shares[j].rate_rps;
            }
        }
    }
    return sum;
}
