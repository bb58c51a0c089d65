#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/plan_movement.h"

static gpulet_plan_t *new_plan(void)
{
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    return plan;
}

static gpulet_plan_device_t *add_device(gpulet_plan_t *plan, uint32_t index)
{
    gpulet_plan_device_t *d = gpulet_plan_add_device(plan);
    assert_non_null(d);
    (void)snprintf(d->type, sizeof(d->type), "gpu");
    d->index = index;
    return d;
}

static gpulet_plan_gpulet_t *add_gpulet(gpulet_plan_device_t *d, uint32_t units, int32_t slot)
{
    gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(d);
    assert_non_null(g);
    g->units = units;
    g->slot = slot;
    return g;
}

static void add_model(gpulet_plan_gpulet_t *g, const char *model)
{
    gpulet_plan_share_t *s = gpulet_plan_add_share(g);
    assert_non_null(s);
    (void)snprintf(s->model, sizeof(s->model), "%s", model);
}

/* Device 0: [2: a b] [3: c]. */
static gpulet_plan_t *running(void)
{
    gpulet_plan_t *plan = new_plan();
    gpulet_plan_device_t *d = add_device(plan, 0);
    gpulet_plan_gpulet_t *g = add_gpulet(d, 2, -1);
    add_model(g, "a");
    add_model(g, "b");
    add_model(add_gpulet(d, 3, -1), "c");
    return plan;
}

static void the_same_plan_moves_nothing(void **state)
{
    (void)state;
    gpulet_plan_t *plan = running();
    gpulet_plan_movement_t m = gpulet_plan_movement(plan, plan);
    assert_int_equal(m.gpulets_started + m.gpulets_stopped + m.models_loaded + m.devices_added +
                         m.devices_removed,
                     0);
    gpulet_plan_destroy(plan);
}

static void from_nothing_everything_starts(void **state)
{
    (void)state;
    gpulet_plan_t *plan = running();
    gpulet_plan_movement_t m = gpulet_plan_movement(NULL, plan);
    assert_int_equal(m.gpulets_started, 2);
    assert_int_equal(m.gpulets_stopped, 0);
    assert_int_equal(m.models_loaded, 3);
    assert_int_equal(m.devices_added, 1);
    assert_true(gpulet_plan_movement_weight(&m) == 3.0 * GPULET_MOVEMENT_WEIGHT_MODEL +
                                                       2.0 * GPULET_MOVEMENT_WEIGHT_GPULET +
                                                       GPULET_MOVEMENT_WEIGHT_DEVICE);
    gpulet_plan_destroy(plan);
}

static void a_model_more_is_loaded_and_another_size_starts(void **state)
{
    (void)state;
    gpulet_plan_t *from = running();
    gpulet_plan_t *to = new_plan();
    gpulet_plan_device_t *d = add_device(to, 0);
    gpulet_plan_gpulet_t *g = add_gpulet(d, 2, -1);
    add_model(g, "b");
    add_model(g, "d");
    add_model(add_gpulet(d, 4, -1), "c");
    add_model(add_gpulet(add_device(to, 1), 3, -1), "c");
    gpulet_plan_movement_t m = gpulet_plan_movement(from, to);
    assert_int_equal(m.gpulets_started, 2); /* of 4 units, and the one on device 1 */
    assert_int_equal(m.gpulets_stopped, 1);
    assert_int_equal(m.models_loaded, 3); /* d, and c twice */
    assert_int_equal(m.devices_added, 1);
    assert_int_equal(m.devices_removed, 0);
    gpulet_plan_destroy(from);
    gpulet_plan_destroy(to);
}

static void a_gpulet_goes_on_once_and_at_its_slot(void **state)
{
    (void)state;
    gpulet_plan_t *from = new_plan();
    add_model(add_gpulet(add_device(from, 0), 1, 3), "a");
    gpulet_plan_t *to = new_plan();
    gpulet_plan_device_t *d = add_device(to, 0);
    add_model(add_gpulet(d, 1, 3), "a");
    add_model(add_gpulet(d, 1, 4), "a");
    gpulet_plan_movement_t m = gpulet_plan_movement(from, to);
    assert_int_equal(m.gpulets_started, 1);
    to->devices[0].gpulets[0].slot = 5;
    m = gpulet_plan_movement(from, to);
    assert_int_equal(m.gpulets_started, 2);
    assert_int_equal(m.gpulets_stopped, 1);
    gpulet_plan_destroy(from);
    gpulet_plan_destroy(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_plan_moves_nothing),
        cmocka_unit_test(from_nothing_everything_starts),
        cmocka_unit_test(a_model_more_is_loaded_and_another_size_starts),
        cmocka_unit_test(a_gpulet_goes_on_once_and_at_its_slot),
    };
    return cmocka_run_group_tests_name("core.plan_movement", tests, NULL, NULL);
}
