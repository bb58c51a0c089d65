#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sim/faults.h"

static void faults_are_chances_and_sizes(void **state)
{
    (void)state;
    gpulet_faults_t faults;
    assert_int_equal(gpulet_faults_parse(&faults, "worker-death=0.001,slow=0.01x4,burst=2", NULL),
                     GPULET_OK);
    assert_true(faults.chance[GPULET_FAULT_WORKER_DEATH] == 0.001);
    assert_true(faults.chance[GPULET_FAULT_SLOW] == 0.01);
    assert_true(faults.size[GPULET_FAULT_SLOW] == 4);
    assert_true(faults.chance[GPULET_FAULT_BURST] == 2);
    assert_true(faults.size[GPULET_FAULT_BURST] == 50);
    assert_true(faults.chance[GPULET_FAULT_RING_FULL] == 0);
    assert_true(gpulet_faults_any(&faults));
    assert_int_equal(gpulet_faults_parse(&faults, "", NULL), GPULET_OK);
    assert_false(gpulet_faults_any(&faults));
}

static void bad_faults_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"worker-deth=1", "worker-deth"},
        {"slow", "name=chance"},
        {"slow=", "slow: expected"},
        {"slow=1.5", "slow: expected a chance from 0 to 1"},
        {"slow=-0.1", "slow: expected"},
        {"slow=0.1x0", "slow: expected a size"},
        {"slow=0.1x", "slow: expected a size"},
        {"worker-death=0.1x3", "worker-death: expected no size"},
        {"burst=1001", "burst: expected times a second"},
        {"slow=0.1,slow=0.2", "slow: expected once"},
        {"slow=0.1,", "last comma"},
        {",slow=0.1", "name=chance"},
        {"slow=nan", "slow: expected"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_faults_t faults = {.chance = {7}};
        gpulet_error_t err = {""};
        assert_int_equal(gpulet_faults_parse(&faults, cases[i][0], &err), GPULET_E_INVALID);
        if (strstr(err.text, cases[i][1]) == NULL)
            fail_msg("%s: expected %s, found %s", cases[i][0], cases[i][1], err.text);
        assert_true(faults.chance[0] == 7); /* outputs are written on success only */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_chances_and_sizes),
        cmocka_unit_test(bad_faults_are_named),
    };
    return cmocka_run_group_tests_name("sim.faults", tests, NULL, NULL);
}
