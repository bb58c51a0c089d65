/* Ensembles in planning: what they are expected to ask of their models, and what they leave those
 * of their objectives. */
#include <string.h>

#include "base/log.h"
#include "server/ensemble.h"

static const double rate_rps_default = 1;

/* What plans to come are to hold. */
static bool is_planned(const server_model_t *model)
{
    const server_ensemble_t *e = model->ensemble;
    bool stays = model->role == SERVER_MODEL_CURRENT && model->successor == NULL && !model->dropped;
    return e != NULL && (stays || model->role == SERVER_MODEL_COMING) && e->linked && !e->unloaded;
}

/* ---- rates ---- */

static void expect_of(server_model_t *model, double rate_rps)
{
    model->staged_rps += rate_rps;
    if (model->successor != NULL) /* it will be asked in its place */
        model->successor->staged_rps += rate_rps;
}

void server_ensembles_expect(gpulet_server_t *server)
{
    if (server->app_runs == NULL)
        return;
    for (uint32_t i = 0; i < server->models_count; i++)
        server->models[i].staged_rps = 0;
    for (uint32_t i = 0; i < server->models_count; i++) {
        const server_model_t *whole = &server->models[i];
        if (!is_planned(whole))
            continue;
        for (size_t s = 0; s < whole->ensemble->app->stages_count; s++)
            expect_of(whole->ensemble->models[s],
                      whole->rate_rps > 0 ? whole->rate_rps : rate_rps_default);
    }
}

double server_model_rate_rps(const server_model_t *model)
{
    double rate_rps = model->rate_rps + model->staged_rps;
    return rate_rps > 0 ? rate_rps : rate_rps_default;
}

/* ---- objectives ---- */

void server_shares_deinit(server_shares_t *shares)
{
    gpulet_apps_plan_destroy(shares->split);
    gpulet_apps_destroy(shares->apps);
    *shares = (server_shares_t){NULL, NULL};
}

static gpulet_status_t describe_one(gpulet_apps_t *apps, const server_model_t *model,
                                    gpulet_error_t *err)
{
    const server_ensemble_t *e = model->ensemble;
    gpulet_app_t *app = NULL;
    uint32_t index = 0;
    gpulet_status_t st = gpulet_app_create(&app, model->entry->key, err);
    if (st != GPULET_OK)
        return st;
    app->slo_ms = model->slo_ms;
    app->rate_rps = model->rate_rps;
    for (size_t s = 0; s < e->app->stages_count && st == GPULET_OK; s++)
        st = gpulet_app_add_stage(app, &index, e->app->stages[s].name, e->models[s]->entry->key,
                                  err);
    for (uint32_t s = 0; s < e->app->stages_count && st == GPULET_OK; s++) {
        for (gpulet_app_set_t left = e->app->stages[s].before; left != 0; left &= left - 1)
            gpulet_app_add_after(app, s, (uint32_t)__builtin_ctzll(left));
    }
    if (st == GPULET_OK)
        st = gpulet_app_finish(app, err);
    if (st == GPULET_OK)
        return gpulet_apps_add(apps, app, err);
    gpulet_app_destroy(app);
    return st;
}

gpulet_status_t server_ensembles_describe(gpulet_apps_t **out, const gpulet_server_t *server,
                                          gpulet_error_t *err)
{
    gpulet_apps_t *apps = NULL;
    gpulet_status_t st = gpulet_apps_create(&apps);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    for (uint32_t i = 0; i < server->models_count && st == GPULET_OK; i++) {
        const server_model_t *model = &server->models[i];
        if (is_planned(model) && model->slo_ms > 0)
            st = describe_one(apps, model, err);
    }
    if (st != GPULET_OK || apps->count == 0) {
        gpulet_apps_destroy(apps);
        apps = NULL;
    }
    *out = apps;
    return st;
}

/* The share of one stage; smaller than what is there already. */
static void leave_share(server_model_t *model, double share_ms)
{
    if (model->stage_slo_ms <= 0 || share_ms < model->stage_slo_ms)
        model->stage_slo_ms = share_ms;
}

/* The shares of the ensemble's stages; NULL where it is none of those that were shared out, or is
 * another now. */
static const gpulet_apps_stage_t *find_shares(const gpulet_apps_plan_t *split,
                                              const server_model_t *model)
{
    const server_ensemble_t *e = model->ensemble;
    for (size_t i = 0; split != NULL && i < split->count; i++) {
        const gpulet_app_t *app = split->entries[i].app;
        if (strcmp(app->name, model->entry->key) != 0)
            continue;
        if (app->slo_ms != model->slo_ms || app->stages_count != e->app->stages_count)
            return NULL;
        for (size_t s = 0; s < app->stages_count; s++) {
            if (strcmp(app->stages[s].model, e->models[s]->entry->key) != 0 ||
                app->stages[s].before != e->app->stages[s].before)
                return NULL;
        }
        return split->entries[i].stages;
    }
    return NULL;
}

static void leave_shares(const server_model_t *model, const gpulet_apps_plan_t *split)
{
    const server_ensemble_t *e = model->ensemble;
    const gpulet_apps_stage_t *shares = find_shares(split, model);
    double one[GPULET_APP_STAGES_MAX];
    for (size_t s = 0; s < e->app->stages_count; s++)
        one[s] = 1;
    const double equal_ms = model->slo_ms / gpulet_app_rest_ms(NULL, e->app, one);
    for (size_t s = 0; s < e->app->stages_count; s++)
        leave_share(e->models[s], shares != NULL ? shares[s].share_ms : equal_ms);
}

/* Clients reach it, now. */
static bool is_served(const server_model_t *model)
{
    return model->ensemble != NULL && model->role == SERVER_MODEL_CURRENT &&
           model->ensemble->linked && !model->ensemble->unloaded;
}

void server_ensembles_share(gpulet_server_t *server)
{
    if (server->app_runs == NULL)
        return;
    for (uint32_t i = 0; i < server->models_count; i++)
        server->models[i].stage_slo_ms = 0;
    for (uint32_t i = 0; i < server->models_count; i++) {
        if (is_served(&server->models[i]) && server->models[i].slo_ms > 0)
            leave_shares(&server->models[i], server->shares.split);
    }
    for (uint32_t i = 0; i < server->models_count; i++) {
        server_model_t *model = &server->models[i];
        /* The brain knows the model already, so this takes no memory. */
        if (model->role != SERVER_MODEL_FREE && model->ensemble == NULL &&
            model->entry->problem == NULL && server_model_publish(server, model) != GPULET_OK)
            GPULET_LOG(ERROR, "event=publish_failed model=%s", model->entry->key);
    }
}
