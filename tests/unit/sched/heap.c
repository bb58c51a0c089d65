#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sched/heap.h"

enum { IDS = 100 };

static void the_first_is_always_the_soonest(void **state)
{
    (void)state;
    sched_heap_t heap;
    uint64_t at[IDS] = {0};
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 5);
    assert_int_equal(sched_heap_init(&heap, IDS), GPULET_OK);
    for (int step = 0; step < 20000; step++) {
        uint32_t id = (uint32_t)gpulet_rng_below(&rng, IDS);
        if (gpulet_rng_below(&rng, 3) == 0) {
            sched_heap_remove(&heap, id);
            at[id] = 0;
        } else {
            at[id] = 1 + gpulet_rng_below(&rng, 50);
            sched_heap_set(&heap, id, at[id]);
        }
        uint32_t soonest = IDS, count = 0;
        for (uint32_t i = 0; i < IDS; i++) {
            assert_int_equal(sched_heap_has(&heap, i), at[i] != 0);
            count += at[i] != 0;
            if (at[i] != 0 && (soonest == IDS || at[i] < at[soonest]))
                soonest = i;
        }
        assert_int_equal(heap.count, count);
        if (count > 0) {
            assert_int_equal(heap.items[0].id, soonest);
            assert_int_equal(heap.items[0].at_ns, at[soonest]);
        }
    }
    sched_heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_first_is_always_the_soonest)};
    return cmocka_run_group_tests_name("sched.heap", tests, NULL, NULL);
}
