/* Whose CPU time it is: ticks from a /proc of the test's own, sums over looks, and the machine's.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "device/cpu/others.h"

static char root[64];
static gpulet_cpulist_t first_two;

static int open_tree(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof(root), "/tmp/gpulet-others-XXXXXX");
    first_two = (gpulet_cpulist_t){{3}};
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int close_tree(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

static void put(const char *path, const char *text)
{
    char full[512];
    int length = snprintf(full, sizeof(full), "%s/proc/%s", root, path);
    assert_true(length > 0 && (size_t)length < sizeof(full));
    for (char *slash = strchr(full + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    assert_int_equal(gpulet_file_write(full, text, strlen(text), NULL), GPULET_OK);
}

/* A process with these ticks, the last two of children that have ended. */
static void put_process(long pid, const char *name, const char *ticks, const char *children)
{
    char path[64];
    char text[256];
    (void)snprintf(path, sizeof(path), "%ld/stat", pid);
    (void)snprintf(text, sizeof(text),
                   "%ld (%s) S 1 1 1 0 -1 4194560 111 222 333 444 %s 20 0 1 0 55 1000 2\n", pid,
                   name, ticks);
    put(path, text);
    (void)snprintf(path, sizeof(path), "%ld/task/%ld/children", pid, pid);
    put(path, children);
}

static void ticks_are_those_of_our_cpus_and_of_our_family(void **state)
{
    gpulet_cpu_ticks_t ticks;
    gpulet_error_t err = {""};
    (void)state;
    put("stat", "cpu  1 1 1 1 1 1 1 1 0 0\n"
                "cpu0 100 20 30 1000 50 6 7 8 90 0\n"
                "cpu1 10 0 0 500 0 0 0 0 0 0\n"
                "cpu2 7777 0 0 0 0 0 0 0 0 0\n"
                "intr 5 5 5\nctxt 9\n");
    put_process((long)getpid(), "a name (of sorts) 1 2", "10 20 3 4", "7001 7002 ");
    put_process(7001, "gpulet-worker", "100 200 0 0", "7003");
    put_process(7002, ")", "1000 2000 0 0", "");
    put_process(7003, "helper", "10000 20000 0 0", "");
    assert_int_equal(gpulet_cpu_ticks_read(&ticks, root, &first_two, &err), GPULET_OK);
    assert_int_equal(ticks.all, 100 + 20 + 30 + 1000 + 50 + 6 + 7 + 8 + 510);
    assert_int_equal(ticks.busy, 100 + 20 + 30 + 6 + 7 + 8 + 10);
    assert_int_equal(ticks.own, 37 + 300 + 3000 + 30000);
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char *const cases[] = {"",           "cpu  1 2 3 4\n",   "cpu2 1 2 3 4\n",
                                        "cpu0 1 2\n", "cpu0 1 2 x 4 5\n", "cpux 1 2 3 4 5\n"};
    gpulet_cpu_ticks_t ticks = {.all = 42};
    gpulet_error_t err = {""};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put("stat", cases[i]);
        assert_int_equal(gpulet_cpu_ticks_read(&ticks, root, &first_two, &err), GPULET_E_INVALID);
        assert_non_null(strstr(err.text, "/proc/stat"));
    }
    assert_int_equal(ticks.all, 42);
    assert_int_equal(gpulet_cpu_ticks_read(&ticks, "/nowhere", &first_two, &err),
                     GPULET_E_NOT_FOUND);
}

static void others_are_what_is_not_ours(void **state)
{
    static const struct {
        gpulet_cpu_ticks_t to;
        double others;
        bool disturbed;
    } cases[] = {
        {{1000, 500, 500}, 0, false},    {{1000, 500, 400}, 0.1, false},
        {{1000, 500, 389}, 0.111, true}, {{1000, 1000, 0}, 1, true},
        {{1000, 90, 100}, 0, false}, /* counted by two clocks: never below nothing */
        {{19, 19, 0}, NAN, false},   /* too short to say */
        {{0, 0, 0}, NAN, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const gpulet_cpu_ticks_t from = {5000, 300, 20};
        const gpulet_cpu_ticks_t to = {from.all + cases[i].to.all, from.busy + cases[i].to.busy,
                                       from.own + cases[i].to.own};
        gpulet_cpu_meter_t meter = {0};
        gpulet_cpu_meter_add(&meter, &from, &to);
        double others = gpulet_cpu_meter_others(&meter);
        assert_true(isnan(cases[i].others) ? isnan(others) : fabs(others - cases[i].others) < 1e-9);
        assert_int_equal(gpulet_cpu_meter_disturbed(&meter), cases[i].disturbed);
    }
}

/* Many short looks count together; what lies between them does not. */
static void looks_add_up(void **state)
{
    gpulet_cpu_meter_t meter = {0};
    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        const gpulet_cpu_ticks_t from = {1000 * i, 900 * i, 0};
        const gpulet_cpu_ticks_t to = {from.all + 10, from.busy + 5, 3};
        gpulet_cpu_meter_add(&meter, &from, &to);
    }
    assert_true(fabs(gpulet_cpu_meter_others(&meter) - 0.2) < 1e-9);
}

static volatile unsigned long work;

/* What this process does itself is not others': it works until the kernel has counted some of it.
 */
static void our_own_work_is_ours(void **state)
{
    gpulet_cpu_meter_t meter = {0};
    (void)state;
    gpulet_cpu_meter_end(&meter); /* without a begin: nothing */
    assert_int_equal(meter.sum.all, 0);
    while (meter.sum.own < 5) {
        gpulet_cpu_meter_begin(&meter);
        if (!meter.begun)
            skip(); /* this machine does not tell */
        for (int i = 0; i < 50000000; i++)
            work++;
        gpulet_cpu_meter_end(&meter);
    }
    assert_true(meter.sum.all >= meter.sum.busy && meter.sum.busy > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ticks_are_those_of_our_cpus_and_of_our_family, open_tree,
                                        close_tree),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_is_refused, open_tree, close_tree),
        cmocka_unit_test(others_are_what_is_not_ours),
        cmocka_unit_test(looks_add_up),
        cmocka_unit_test(our_own_work_is_ours),
    };
    return cmocka_run_group_tests_name("device.others", tests, NULL, NULL);
}
