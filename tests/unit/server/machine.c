#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "server/machine.h"

static void reads_the_time_of_all_cpus(void **state)
{
    server_cpu_ticks_t t = {0};
    (void)state;
    assert_int_equal(
        server_machine_parse_stat(&t, "cpu  100 20 30 4000 500 6 7 8 900 90\ncpu0 1 2 3 4\n"),
        GPULET_OK);
    assert_int_equal(t.busy, 100 + 20 + 30 + 6 + 7 + 8); /* what guests have is counted in it */
    assert_int_equal(t.idle, 4000 + 500);
    assert_int_equal(server_machine_parse_stat(&t, "cpu 1 2 3 4"), GPULET_OK);
    assert_int_equal(t.busy, 6);
    assert_int_equal(t.idle, 4);
}

static void refuses_what_is_no_time(void **state)
{
    static const char *const wrong[] = {"",
                                        "cpu",
                                        "cpu ",
                                        "cpu 1 2 3",
                                        "cpu0 1 2 3 4",
                                        "cpu 1 2 x 4",
                                        "cpu 1 2 3 99999999999999999999",
                                        "intr 1 2 3 4"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        server_cpu_ticks_t t = {7, 7};
        assert_int_equal(server_machine_parse_stat(&t, wrong[i]), GPULET_E_INVALID);
        assert_true(t.busy == 7 && t.idle == 7);
    }
}

static void utilization_is_of_the_time_between(void **state)
{
    const server_cpu_ticks_t from = {1000, 5000};
    const struct {
        server_cpu_ticks_t to;
        double expected;
    } rows[] = {
        {{1000, 5000}, 0}, /* no time has passed */
        {{1030, 5010}, 0.75}, {{1000, 5010}, 0},
        {{1010, 5000}, 1},    {{1010, 4990}, 1}, /* idle time went back */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_true(server_machine_utilization(&from, &rows[i].to) == rows[i].expected);
}

static void used_memory_is_what_is_not_available(void **state)
{
    uint64_t total = 0;
    uint64_t used = 0;
    (void)state;
    assert_int_equal(server_machine_parse_meminfo(&total, &used,
                                                  "MemTotal:       1000 kB\nMemFree: 10 kB\n"
                                                  "MemAvailable:    400 kB\nBuffers: 1 kB\n"),
                     GPULET_OK);
    assert_int_equal(total, 1000 * 1024);
    assert_int_equal(used, 600 * 1024);
}

static void refuses_memory_that_cannot_be(void **state)
{
    static const char *const wrong[] = {"",
                                        "MemTotal: 1000 kB\n",
                                        "MemAvailable: 1000 kB\n",
                                        "MemTotal: 10 kB\nMemAvailable: 11 kB\n",
                                        "MemTotal: 10 kB\nMemAvailable: 1\n",
                                        "MemTotal: x kB\nMemAvailable: 1 kB\n",
                                        "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n",
                                        "xMemTotal: 10 kB\nMemAvailable: 1 kB\n"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint64_t total = 7;
        uint64_t used = 7;
        assert_int_equal(server_machine_parse_meminfo(&total, &used, wrong[i]), GPULET_E_INVALID);
        assert_true(total == 7 && used == 7);
    }
}

static void samples_at_most_once_a_second(void **state)
{
    server_machine_t machine = {0};
    uint64_t total = 0;
    uint64_t used = 0;
    (void)state;
    assert_int_equal(server_machine_memory(&total, &used), GPULET_OK);
    assert_in_range(used, 1, total);
    server_machine_sample(&machine, GPULET_NS_PER_S);
    assert_int_equal(machine.sampled_ns, GPULET_NS_PER_S);
    assert_false(machine.utilization_known);
    server_machine_sample(&machine, 2 * GPULET_NS_PER_S - 1);
    assert_int_equal(machine.sampled_ns, GPULET_NS_PER_S);
    assert_false(machine.utilization_known);
    server_machine_sample(&machine, 2 * GPULET_NS_PER_S);
    assert_int_equal(machine.sampled_ns, 2 * GPULET_NS_PER_S);
    assert_true(machine.utilization_known);
    assert_true(machine.utilization >= 0 && machine.utilization <= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_time_of_all_cpus),
        cmocka_unit_test(refuses_what_is_no_time),
        cmocka_unit_test(utilization_is_of_the_time_between),
        cmocka_unit_test(used_memory_is_what_is_not_available),
        cmocka_unit_test(refuses_memory_that_cannot_be),
        cmocka_unit_test(samples_at_most_once_a_second),
    };
    return cmocka_run_group_tests_name("server.machine", tests, NULL, NULL);
}
