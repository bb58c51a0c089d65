/* Models and applications together, as files name them. */
#include <stdio.h>
#include <string.h>

#include "sim/load.h"

/* NULL when there is none. */
static gpulet_app_t *find_app(const gpulet_apps_t *apps, const char *name)
{
    for (size_t i = 0; i < apps->count; i++) {
        if (strcmp(apps->items[i]->name, name) == 0)
            return apps->items[i];
    }
    return NULL;
}

static gpulet_status_t take_rows(gpulet_workload_t *models, gpulet_apps_t *apps,
                                 const gpulet_workload_t *rows, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; rows != NULL && i < rows->count && st == GPULET_OK; i++) {
        gpulet_app_t *app = find_app(apps, rows->demands[i].model);
        if (app == NULL) {
            st = gpulet_workload_add(models, &rows->demands[i], err);
            continue;
        }
        app->rate_rps = rows->demands[i].rate_rps;
        app->slo_ms = rows->demands[i].slo_ms;
    }
    return st;
}

static double latest_ms(const gpulet_apps_t *apps)
{
    double latest = 0;
    for (size_t i = 0; i < apps->count; i++)
        latest = apps->items[i]->slo_ms > latest ? apps->items[i]->slo_ms : latest;
    return latest;
}

static gpulet_status_t add_stages(gpulet_workload_t *models, const gpulet_app_t *app, double slo_ms,
                                  gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t s = 0; s < app->stages_count && st == GPULET_OK; s++) {
        gpulet_demand_t demand = {.slo_ms = slo_ms, .weight = 1};
        if (gpulet_workload_find(models, app->stages[s].model) != NULL)
            continue;
        (void)snprintf(demand.model, sizeof(demand.model), "%s", app->stages[s].model);
        st = gpulet_workload_add(models, &demand, err);
    }
    return st;
}

static gpulet_status_t make_subjects(gpulet_workload_t *subjects, const gpulet_workload_t *models,
                                     const gpulet_apps_t *apps, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < models->count && st == GPULET_OK; i++)
        st = gpulet_workload_add(subjects, &models->demands[i], err);
    for (size_t i = 0; i < apps->count && st == GPULET_OK; i++) {
        const gpulet_app_t *app = apps->items[i];
        gpulet_demand_t demand = {.rate_rps = app->rate_rps, .slo_ms = app->slo_ms, .weight = 1};
        if (gpulet_workload_find(models, app->name) != NULL)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "application %s: expected a name that no model has", app->name);
        (void)snprintf(demand.model, sizeof(demand.model), "%s", app->name);
        st = gpulet_workload_add(subjects, &demand, err);
    }
    return st;
}

gpulet_status_t gpulet_sim_subjects(gpulet_workload_t **models, gpulet_workload_t **subjects,
                                    gpulet_apps_t *apps, const gpulet_workload_t *rows,
                                    gpulet_error_t *err)
{
    gpulet_workload_t *direct = NULL;
    gpulet_workload_t *all = NULL;
    gpulet_status_t st = gpulet_workload_create(&direct);
    if (st == GPULET_OK)
        st = gpulet_workload_create(&all);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    if (st == GPULET_OK)
        st = take_rows(direct, apps, rows, err);
    for (size_t i = 0; i < apps->count && st == GPULET_OK; i++)
        st = add_stages(direct, apps->items[i], latest_ms(apps), err);
    if (st == GPULET_OK)
        st = make_subjects(all, direct, apps, err);
    if (st != GPULET_OK) {
        gpulet_workload_destroy(direct);
        gpulet_workload_destroy(all);
        return st;
    }
    *models = direct;
    *subjects = all;
    return GPULET_OK;
}
