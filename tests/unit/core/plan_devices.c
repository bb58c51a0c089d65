#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/plan_devices.h"

static gpulet_plan_t *plan_of(const char *type, uint32_t count)
{
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    for (uint32_t i = 0; i < count; i++) {
        gpulet_plan_device_t *d = gpulet_plan_add_device(plan);
        assert_non_null(d);
        (void)snprintf(d->type, sizeof(d->type), "%s", type);
        d->index = i;
        gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(d);
        assert_non_null(g);
        g->units = i + 1;
        assert_non_null(gpulet_plan_add_share(g));
    }
    plan->devices_used = count;
    return plan;
}

static void devices_are_numbered_anew(void **state)
{
    const uint32_t to[] = {0, 2, 3};
    gpulet_plan_t *plan = plan_of("gpu", 3);
    (void)state;
    gpulet_plan_renumber(plan, "other", to, 3);
    assert_int_equal(plan->devices[1].index, 1);
    gpulet_plan_renumber(plan, "gpu", to, 3);
    assert_int_equal(plan->devices_count, 3);
    assert_int_equal(plan->devices[1].index, 2);
    assert_int_equal(plan->devices[2].index, 3);
    assert_int_equal(plan->devices[2].gpulets[0].units, 3);
    gpulet_plan_destroy(plan);
}

static void devices_that_are_gone_are_taken_out(void **state)
{
    const uint32_t to[] = {0, UINT32_MAX, 1};
    gpulet_plan_t *plan = plan_of("gpu", 4);
    (void)state;
    gpulet_plan_renumber(plan, "gpu", to, 3);
    assert_int_equal(plan->devices_count, 2);
    assert_int_equal(plan->devices_used, 2);
    assert_int_equal(plan->devices[1].index, 1);
    assert_int_equal(plan->devices[1].gpulets[0].units, 3);
    gpulet_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_numbered_anew),
        cmocka_unit_test(devices_that_are_gone_are_taken_out),
    };
    return cmocka_run_group_tests_name("core.plan_devices", tests, NULL, NULL);
}
