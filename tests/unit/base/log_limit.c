#include "base/log_limit.h"

#include "base/clock.h"
#include "check.h"

static void lets_ten_lines_a_second_through_and_counts_the_rest(void **state)
{
    (void)state;
    gpulet_log_limit_t limit = {0};
    uint64_t now_ns = 5;
    uint64_t suppressed = 99;
    for (int i = 0; i < GPULET_LOG_LIMIT_PER_S; i++) {
        assert_true(gpulet_log_limit_pass(&limit, now_ns, &suppressed));
        assert_int_equal(suppressed, 0);
    }
    suppressed = 99;
    for (int i = 0; i < 3; i++)
        assert_false(gpulet_log_limit_pass(&limit, now_ns + GPULET_NS_PER_S - 1, &suppressed));
    assert_int_equal(suppressed, 99);
    assert_true(gpulet_log_limit_pass(&limit, now_ns + GPULET_NS_PER_S, &suppressed));
    assert_int_equal(suppressed, 3);
    assert_true(gpulet_log_limit_pass(&limit, now_ns + GPULET_NS_PER_S, &suppressed));
    assert_int_equal(suppressed, 0);
}

/* Not merely in a second that begins somewhere: bursts at its end and after it count together. */
static void no_second_has_more_wherever_it_begins(void **state)
{
    (void)state;
    enum { STEPS = 3000, STEP_MS = 1 };
    static uint64_t passed_ns[STEPS];
    gpulet_log_limit_t limit = {0};
    uint64_t suppressed = 0;
    uint64_t left_out = 0;
    int count = 0;
    for (int i = 0; i < STEPS; i++) {
        const uint64_t now_ns =
            (uint64_t)(1 + i * STEP_MS + (i > 700 ? 250 : 0)) * GPULET_NS_PER_MS;
        if (!gpulet_log_limit_pass(&limit, now_ns, &suppressed))
            continue;
        left_out += suppressed;
        passed_ns[count++] = now_ns;
    }
    for (int i = GPULET_LOG_LIMIT_PER_S; i < count; i++)
        assert_true(passed_ns[i] - passed_ns[i - GPULET_LOG_LIMIT_PER_S] >= GPULET_NS_PER_S);
    assert_in_range(count, 30, 40);
    assert_int_equal(left_out + (uint64_t)count + limit.suppressed, STEPS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_ten_lines_a_second_through_and_counts_the_rest),
        cmocka_unit_test(no_second_has_more_wherever_it_begins),
    };
    return cmocka_run_group_tests_name("base.log_limit", tests, NULL, NULL);
}
