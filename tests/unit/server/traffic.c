#include "server/traffic.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

static const uint64_t BLOCK = UINT64_C(4) << 20;

static void pass_ms(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

static gpulet_traffic_t *start(void)
{
    gpulet_traffic_t *traffic = NULL;
    gpulet_error_t err = {""};
    if (gpulet_traffic_start(&traffic, gpulet_device_backend_find("fake"), "fake:fake/0:0", BLOCK,
                             &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return traffic;
}

/* In bytes a second. */
static double rate(const gpulet_traffic_t *traffic, uint64_t ms)
{
    uint64_t bytes = gpulet_traffic_bytes(traffic);
    uint64_t begun_ns = gpulet_clock_ns();
    pass_ms(ms);
    return (double)(gpulet_traffic_bytes(traffic) - bytes) /
           ((double)(gpulet_clock_ns() - begun_ns) / 1e9);
}

/* A busy machine may take its time. */
static bool comes_to(gpulet_traffic_t *traffic, bool moving)
{
    for (int i = 0; i < 200; i++) {
        if ((rate(traffic, 50) > 0.0) == moving)
            return true;
    }
    return false;
}

static void it_is_idle_until_told(void **state)
{
    (void)state;
    gpulet_traffic_t *traffic = start();
    assert_true(rate(traffic, 30) == 0.0);
    gpulet_traffic_set(traffic, BLOCK, UINT64_MAX);
    assert_true(comes_to(traffic, true));
    gpulet_traffic_set(traffic, 0, 0);
    assert_true(comes_to(traffic, false));
    gpulet_traffic_stop(traffic);
    gpulet_traffic_stop(NULL);
}

/* A machine that is busy with other things may give it less, never more. One chunk is on its way
 * when time is taken. */
static void it_streams_no_faster_than_told(void **state)
{
    (void)state;
    const uint64_t told[] = {20000000, 200000000};
    const double chunk = 1 << 19;
    gpulet_traffic_t *traffic = start();
    for (int i = 0; i < 2; i++) {
        gpulet_traffic_set(traffic, 0, 0);
        assert_true(comes_to(traffic, false));
        uint64_t bytes = gpulet_traffic_bytes(traffic);
        uint64_t begun_ns = gpulet_clock_ns();
        gpulet_traffic_set(traffic, BLOCK, told[i]);
        pass_ms(300);
        for (int j = 0; gpulet_traffic_bytes(traffic) == bytes && j < 200; j++)
            pass_ms(50);
        double moved = (double)(gpulet_traffic_bytes(traffic) - bytes);
        double seconds = (double)(gpulet_clock_ns() - begun_ns) / 1e9;
        assert_true(moved > 0.0);
        assert_true(moved <= (double)told[i] * seconds * 1.02 + 2 * chunk);
    }
    gpulet_traffic_stop(traffic);
}

static void a_grant_that_cannot_be_entered_is_told(void **state)
{
    (void)state;
    gpulet_traffic_t *traffic = NULL;
    gpulet_error_t err = {""};
    assert_int_equal(
        gpulet_traffic_start(&traffic, gpulet_device_backend_find("fake"), "nonsense", BLOCK, &err),
        GPULET_E_UNAVAILABLE);
    assert_non_null(strstr(err.text, "the traffic generator ended: grant 'nonsense'"));
    assert_null(traffic);
}

static void blocks_are_of_this_machine(void **state)
{
    (void)state;
    assert_true(gpulet_traffic_cache_bytes() >= 16 << 10);
    assert_true(gpulet_traffic_memory_bytes() >= UINT64_C(64) << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_idle_until_told),
        cmocka_unit_test(it_streams_no_faster_than_told),
        cmocka_unit_test(a_grant_that_cannot_be_entered_is_told),
        cmocka_unit_test(blocks_are_of_this_machine),
    };
    return cmocka_run_group_tests_name("server.traffic", tests, NULL, NULL);
}
