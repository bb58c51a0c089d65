#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/cpu/layout.h"

/* Two packages with a NUMA node each, two last-level caches a package, two cores a cache, two
 * threads a core. */
#define BIG "node:2 package:1 l3:2 core:2 pu:2"

static void machine_open(gpulet_cpu_machine_t *machine, const char *synthetic, const char *allowed)
{
    memset(machine, 0, sizeof(*machine));
    machine->limits = (gpulet_cgroup_limits_t){INFINITY, UINT64_MAX};
    machine->memory_bytes = UINT64_C(8) << 30;
    assert_int_equal(hwloc_topology_init(&machine->topology), 0);
    assert_int_equal(hwloc_topology_set_synthetic(machine->topology, synthetic), 0);
    assert_int_equal(hwloc_topology_load(machine->topology), 0);
    assert_int_equal(gpulet_cpulist_parse(&machine->allowed, allowed, strlen(allowed), NULL),
                     GPULET_OK);
}

static void expect_core(const gpulet_cpu_layout_t *layout, uint32_t index, const char *cpus,
                        uint32_t group)
{
    char text[64];
    assert_true(index < layout->count);
    (void)gpulet_cpulist_format(text, sizeof(text), &layout->cores[index].cpus);
    assert_string_equal(text, cpus);
    assert_int_equal(layout->groups[index], group);
}

static void makes_a_unit_of_a_core_with_its_threads(void **state)
{
    gpulet_cpu_machine_t machine;
    gpulet_cpu_layout_t *layout = NULL;
    (void)state;
    machine_open(&machine, BIG, "0-15");
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, NULL, NULL), GPULET_OK);
    assert_int_equal(layout->count, 8);
    assert_int_equal(layout->nodes_count, 2);
    assert_true(layout->memory_mb == 8192);
    expect_core(layout, 0, "0-1", 0);
    expect_core(layout, 1, "2-3", 0);
    expect_core(layout, 2, "4-5", 1);
    expect_core(layout, 7, "14-15", 3);
    assert_true(gpulet_cpulist_has(&layout->cores[7].nodes, 1));
    gpulet_cpu_layout_destroy(layout);
    hwloc_topology_destroy(machine.topology);
}

static void leaves_out_what_the_process_may_not_use(void **state)
{
    gpulet_cpu_machine_t machine;
    gpulet_cpu_layout_t *layout = NULL;
    (void)state;
    machine_open(&machine, BIG, "1,6-9");
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, "", NULL), GPULET_OK);
    assert_int_equal(layout->count, 3);
    expect_core(layout, 0, "1", 0);
    expect_core(layout, 1, "6-7", 1);
    expect_core(layout, 2, "8-9", 2);
    gpulet_cpu_layout_destroy(layout);
    hwloc_topology_destroy(machine.topology);
}

static void keeps_to_the_quota_and_the_memory_limit(void **state)
{
    gpulet_cpu_machine_t machine;
    gpulet_cpu_layout_t *layout = NULL;
    (void)state;
    machine_open(&machine, BIG, "0-15");
    machine.limits = (gpulet_cgroup_limits_t){3.5, UINT64_C(1) << 30};
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, NULL, NULL), GPULET_OK);
    assert_int_equal(layout->count, 3);
    assert_true(layout->memory_mb == 1024);
    gpulet_cpu_layout_destroy(layout);
    /* What is set aside is used by someone: it comes out of the quota. */
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, "0", NULL), GPULET_OK);
    assert_int_equal(layout->count, 2);
    expect_core(layout, 0, "2-3", 0);
    gpulet_cpu_layout_destroy(layout);
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, "0,2,4,6,8", NULL), GPULET_OK);
    assert_int_equal(layout->count, 1);
    gpulet_cpu_layout_destroy(layout);
    hwloc_topology_destroy(machine.topology);
}

static void sets_reserved_cores_aside_whole(void **state)
{
    gpulet_cpu_machine_t machine;
    gpulet_cpu_layout_t *layout = NULL;
    (void)state;
    machine_open(&machine, BIG, "0-15");
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, "1,4-7", NULL), GPULET_OK);
    assert_int_equal(layout->count, 5);
    expect_core(layout, 0, "2-3", 0);
    expect_core(layout, 1, "8-9", 1);
    gpulet_cpu_layout_destroy(layout);
    hwloc_topology_destroy(machine.topology);
}

static void refuses_reserves_that_are_not_there_or_leave_nothing(void **state)
{
    static const struct {
        const char *reserve;
        const char *says;
    } rows[] = {{"16", "no core 16"}, {"0-3", "leaves no core"}, {"x", "'x'"}, {"1-0", "'1-0'"}};
    gpulet_cpu_machine_t machine;
    gpulet_cpu_layout_t *layout = NULL;
    (void)state;
    machine_open(&machine, BIG, "0-3");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        gpulet_error_t err = {""};
        assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, rows[i].reserve, &err),
                         GPULET_E_INVALID);
        assert_non_null(strstr(err.text, rows[i].says));
        assert_non_null(strstr(err.text, "reserve-cores"));
    }
    assert_null(layout);
    hwloc_topology_destroy(machine.topology);
}

static void takes_threads_where_no_cores_are_shown(void **state)
{
    gpulet_cpu_machine_t machine;
    gpulet_cpu_layout_t *layout = NULL;
    (void)state;
    machine_open(&machine, "pu:3", "0-2");
    assert_int_equal(gpulet_cpu_layout_build(&layout, &machine, NULL, NULL), GPULET_OK);
    assert_int_equal(layout->count, 3);
    expect_core(layout, 2, "2", 0);
    gpulet_cpu_layout_destroy(layout);
    hwloc_topology_destroy(machine.topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(makes_a_unit_of_a_core_with_its_threads),
        cmocka_unit_test(leaves_out_what_the_process_may_not_use),
        cmocka_unit_test(keeps_to_the_quota_and_the_memory_limit),
        cmocka_unit_test(sets_reserved_cores_aside_whole),
        cmocka_unit_test(refuses_reserves_that_are_not_there_or_leave_nothing),
        cmocka_unit_test(takes_threads_where_no_cores_are_shown),
    };
    return cmocka_run_group_tests_name("device.layout", tests, NULL, NULL);
}
