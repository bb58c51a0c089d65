#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_ok(gpulet_status_t st, const gpulet_error_t *err)
{
    if (st != GPULET_OK)
        fail_msg("%s: %s", gpulet_status_name(st), err->text);
}

void fixture_set_workload(fixture_t *f, const char *workload)
{
    gpulet_error_t err = {{0}};
    gpulet_workload_destroy(f->workload);
    expect_ok(
        gpulet_workload_parse(&f->workload, workload, strlen(workload), "workload", NULL, &err),
        &err);
    f->input.workload = f->workload;
}

void fixture_init(fixture_t *f, const char *profile, const char *devices, const char *workload,
                  const char *interference)
{
    gpulet_error_t err = {{0}};
    memset(f, 0, sizeof(*f));
    expect_ok(gpulet_profile_parse(&f->profile, profile, strlen(profile), "profile",
                                   GPULET_PROFILE_FORMAT_CSV, NULL, &err),
              &err);
    expect_ok(gpulet_device_set_parse(&f->devices, devices, strlen(devices), "devices", &err),
              &err);
    fixture_set_workload(f, workload);
    if (interference != NULL)
        expect_ok(gpulet_interference_parse(&f->interference, interference, strlen(interference),
                                            "interference", &err),
                  &err);
    f->input.profile = f->profile;
    f->input.devices = f->devices;
    f->input.interference = f->interference;
}

void fixture_deinit(fixture_t *f)
{
    gpulet_profile_destroy(f->profile);
    gpulet_device_set_destroy(f->devices);
    gpulet_workload_destroy(f->workload);
    gpulet_interference_destroy(f->interference);
}

gpulet_plan_t *fixture_plan(const fixture_t *f, const char *planner)
{
    gpulet_plan_t *plan = NULL;
    gpulet_error_t err = {{0}};
    expect_ok(gpulet_planner_run(&plan, gpulet_planner_find(planner), &f->input, &err), &err);
    if (plan->feasible)
        expect_ok(gpulet_plan_verify(plan, &f->input, &err), &err);
    return plan;
}

const gpulet_plan_gpulet_t *fixture_gpulet_of(const gpulet_plan_t *plan, const char *model,
                                              const gpulet_plan_share_t **share)
{
    for (size_t d = 0; d < plan->devices_count; d++) {
        for (size_t g = 0; g < plan->devices[d].gpulets_count; g++) {
            const gpulet_plan_gpulet_t *gpulet = &plan->devices[d].gpulets[g];
            for (size_t s = 0; s < gpulet->shares_count; s++) {
                if (strcmp(gpulet->shares[s].model, model) != 0)
                    continue;
                if (share != NULL)
                    *share = &gpulet->shares[s];
                return gpulet;
            }
        }
    }
    fail_msg("%s is in no gpu-let", model);
    return NULL;
}
