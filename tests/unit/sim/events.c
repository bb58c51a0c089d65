#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sim/events.h"

static void add(sim_events_t *events, uint64_t at_ns, uint32_t index)
{
    sim_event_t event = {.at_ns = at_ns, .index = index};
    assert_int_equal(sim_events_add(events, event), GPULET_OK);
}

static void events_come_by_time(void **state)
{
    (void)state;
    sim_events_t events = {0};
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 1);
    for (uint32_t i = 0; i < 1000; i++)
        add(&events, gpulet_rng_below(&rng, 100000), i);
    uint64_t before = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t next = sim_events_next_ns(&events);
        assert_int_equal(sim_events_take(&events).at_ns, next);
        assert_true(next >= before);
        before = next;
    }
    assert_int_equal(sim_events_next_ns(&events), UINT64_MAX);
    sim_events_deinit(&events);
}

static void equal_times_come_in_the_order_in_which_they_were_added(void **state)
{
    (void)state;
    sim_events_t events = {0};
    for (uint32_t i = 0; i < 300; i++) {
        add(&events, 5, i);
        add(&events, 3, 1000 + i);
        if (i % 3 == 0)
            add(&events, 4, 2000 + i);
    }
    uint64_t at_ns = 0;
    uint32_t index = 0;
    for (uint32_t i = 0; i < 700; i++) {
        sim_event_t event = sim_events_take(&events);
        assert_true(event.at_ns > at_ns || event.index > index);
        at_ns = event.at_ns;
        index = event.index;
    }
    assert_int_equal(events.count, 0);
    sim_events_deinit(&events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_by_time),
        cmocka_unit_test(equal_times_come_in_the_order_in_which_they_were_added),
    };
    return cmocka_run_group_tests_name("sim.events", tests, NULL, NULL);
}
