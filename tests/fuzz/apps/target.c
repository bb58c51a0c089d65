/* Applications, in either form: what is accepted keeps the promises of the header, and is written,
 * read again and written the same. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/app.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_app(const gpulet_app_t *app)
{
    gpulet_app_set_t placed = 0;
    assert(app->name[0] != '\0' && app->slo_ms > 0 && isfinite(app->slo_ms));
    assert(app->rate_rps >= 0 && isfinite(app->rate_rps));
    assert(app->stages_count >= 1 && app->stages_count <= GPULET_APP_STAGES_MAX);
    assert(app->first != 0 && app->last != 0);
    for (size_t n = 0; n < app->stages_count; n++) {
        uint32_t i = app->order[n];
        assert(i < app->stages_count && (placed >> i & 1) == 0);
        assert((app->stages[i].before & ~placed) == 0);
        placed |= UINT64_C(1) << i;
    }
    assert(placed == app->all);
    for (uint32_t i = 0; i < app->stages_count; i++) {
        const gpulet_app_stage_t *s = &app->stages[i];
        assert(gpulet_app_find_stage(app, s->name) == i && s->model[0] != '\0');
        assert(s->requests >= 1 && s->requests <= GPULET_APP_REQUESTS_MAX);
        assert((app->first >> i & 1) == (s->before == 0) &&
               (app->last >> i & 1) == (s->after == 0));
        for (uint32_t j = 0; j < app->stages_count; j++)
            assert((s->after >> j & 1) == (app->stages[j].before >> i & 1));
    }
}

static void round_trip(const gpulet_apps_t *apps)
{
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    gpulet_apps_t *again = NULL;
    assert(gpulet_apps_format_yaml(&first, apps) == GPULET_OK);
    assert(gpulet_apps_parse(&again, first.data, first.size, "again", NULL) == GPULET_OK);
    assert(gpulet_apps_format_yaml(&second, again) == GPULET_OK);
    assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    gpulet_apps_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {"a.yaml", "a.csv"};
    for (size_t i = 0; i < 2; i++) {
        gpulet_error_t err = {""};
        gpulet_apps_t *apps = NULL;
        if (gpulet_apps_parse(&apps, (const char *)data, size, files[i], &err) != GPULET_OK) {
            assert(apps == NULL && strncmp(err.text, files[i], strlen(files[i])) == 0);
            continue;
        }
        assert(apps->count >= 1);
        for (size_t a = 0; a < apps->count; a++) {
            check_app(apps->items[a]);
            assert(gpulet_apps_find(apps, apps->items[a]->name) == apps->items[a]);
        }
        round_trip(apps);
        gpulet_apps_destroy(apps);
    }
    return 0;
}
