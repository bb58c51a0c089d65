/* What every device backend must do, whatever it is: device.c is run once a backend, named by the
 * first argument. */
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/backend.h"

enum { DEVICES_MAX = 16, PARTITIONS_MAX = 4096, EXIT_SKIP = 77 };

static const gpulet_device_backend_t *backend;
static gpulet_device_options_t options = {.fake_spec = "big:8:2,odd:7:1"};

typedef struct fixture {
    gpulet_device_t *device;
    uint32_t units;
} fixture_t;

static int open_device(void **state)
{
    static fixture_t fixture;
    gpulet_device_desc_t desc;
    uint32_t count = 0;
    if (backend->probe(&desc, 1, &count, &options, NULL) != GPULET_OK || count < 1)
        return -1;
    fixture.units = desc.units;
    *state = &fixture;
    return backend->open(&fixture.device, 0, &options, NULL) == GPULET_OK ? 0 : -1;
}

static int close_device(void **state)
{
    backend->close(((fixture_t *)*state)->device);
    return 0;
}

static void has_a_whole_table(void **state)
{
    (void)state;
    assert_int_equal(backend->abi_version, GPULET_DEVICE_ABI);
    assert_ptr_equal(gpulet_device_backend_find(backend->name), backend);
    assert_null(gpulet_device_backend_find("no such backend"));
    assert_true(backend->probe != NULL && backend->open != NULL && backend->close != NULL);
    assert_true(backend->carve != NULL && backend->grant != NULL && backend->enter != NULL);
    assert_true(backend->release != NULL && backend->units != NULL && backend->describe != NULL);
    backend->close(NULL);
    backend->release(NULL);
}

static void finds_devices_that_make_sense(void **state)
{
    gpulet_device_desc_t descs[DEVICES_MAX];
    uint32_t count = 0;
    (void)state;
    assert_int_equal(backend->probe(descs, DEVICES_MAX, &count, &options, NULL), GPULET_OK);
    assert_true(count >= 1);
    for (uint32_t i = 0; i < count && i < DEVICES_MAX; i++) {
        gpulet_device_t *device = NULL;
        assert_true(descs[i].type[0] != '\0' && descs[i].text[0] != '\0');
        assert_true(descs[i].units >= 1);
        assert_true(descs[i].memory_mb > 0);
        assert_int_equal(backend->open(&device, i, &options, NULL), GPULET_OK);
        backend->close(device);
    }
    uint32_t again = 0;
    assert_int_equal(backend->probe(NULL, 0, &again, &options, NULL), GPULET_OK);
    assert_int_equal(again, count);
    gpulet_device_t *none = NULL;
    gpulet_error_t err = {""};
    assert_int_equal(backend->open(&none, count, &options, &err), GPULET_E_NOT_FOUND);
    assert_true(err.text[0] != '\0');
}

static void tells_how_it_is_used_if_it_can(void **state)
{
    const fixture_t *f = *state;
    gpulet_device_telemetry_t t;
    gpulet_error_t err = {""};
    if (backend->telemetry == NULL)
        skip();
    assert_int_equal(backend->telemetry(&t, f->device, &err), GPULET_OK);
    assert_in_range(strlen(t.uuid), 1, GPULET_DEVICE_UUID_MAX);
    assert_true(t.memory_total_bytes > 0 && t.memory_used_bytes <= t.memory_total_bytes);
    assert_true(t.utilization <= 1.0);
}

static void carves_until_it_is_full_and_again_after_release(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *parts[PARTITIONS_MAX];
    gpulet_partition_t *more = NULL;
    gpulet_error_t err = {""};
    assert_true(f->units <= PARTITIONS_MAX);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < f->units; i++) {
            assert_int_equal(backend->carve(&parts[i], f->device, 1, 0, &err), GPULET_OK);
            assert_int_equal(backend->units(parts[i]), 1);
        }
        assert_int_equal(backend->carve(&more, f->device, 1, 0, &err), GPULET_E_FULL);
        assert_true(err.text[0] != '\0');
        for (uint32_t i = 0; i < f->units; i++)
            backend->release(parts[i]);
    }
    assert_int_equal(backend->carve(&more, f->device, f->units, 0, &err), GPULET_OK);
    backend->release(more);
    assert_int_equal(backend->carve(&parts[0], f->device, 1, 0, &err), GPULET_OK);
    assert_int_equal(backend->carve(&more, f->device, f->units, 0, &err), GPULET_E_FULL);
    backend->release(parts[0]);
}

static void refuses_sizes_that_can_never_be(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *part = NULL;
    gpulet_error_t err = {""};
    for (int overlap = 0; overlap < 2; overlap++) {
        assert_int_equal(backend->carve(&part, f->device, 0, overlap, &err), GPULET_E_INVALID);
        assert_int_equal(backend->carve(&part, f->device, f->units + 1, overlap, &err),
                         GPULET_E_INVALID);
        assert_true(err.text[0] != '\0');
    }
    assert_null(part);
}

static void gives_each_partition_units_of_its_own(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *parts[PARTITIONS_MAX];
    char grants[2][GPULET_GRANT_MAX + 1];
    for (uint32_t i = 0; i < f->units; i++)
        assert_int_equal(backend->carve(&parts[i], f->device, 1, 0, NULL), GPULET_OK);
    for (uint32_t i = 0; i < f->units; i++) {
        assert_int_equal(backend->grant(grants[0], sizeof(grants[0]), parts[i]), GPULET_OK);
        for (uint32_t j = 0; j < i; j++) {
            assert_int_equal(backend->grant(grants[1], sizeof(grants[1]), parts[j]), GPULET_OK);
            assert_string_not_equal(grants[0], grants[1]);
            assert_string_not_equal(backend->describe(parts[i]), backend->describe(parts[j]));
        }
    }
    for (uint32_t i = 0; i < f->units; i++)
        backend->release(parts[i]);
}

static void says_what_a_partition_is(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *part = NULL;
    char grant[GPULET_GRANT_MAX + 1];
    char tiny[4];
    assert_int_equal(backend->carve(&part, f->device, f->units, 0, NULL), GPULET_OK);
    assert_int_equal(backend->units(part), f->units);
    assert_true(strlen(backend->describe(part)) > 0);
    assert_int_equal(backend->grant(grant, sizeof(grant), part), GPULET_OK);
    assert_true(strlen(grant) > 0);
    assert_int_equal(backend->grant(tiny, sizeof(tiny), part), GPULET_E_TOO_LARGE);
    backend->release(part);
}

/* Entering changes the process for good, so a child does it. */
static void expect_enter(const gpulet_partition_t *part, uint32_t units)
{
    char grant[GPULET_GRANT_MAX + 1];
    int status = 0;
    assert_int_equal(backend->grant(grant, sizeof(grant), part), GPULET_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        gpulet_error_t err = {""};
        gpulet_device_entry_t entry = {0};
        gpulet_status_t st = backend->enter(grant, &entry, &err);
        const uint32_t threads = entry.threads;
        bool right = st == GPULET_OK && threads >= 1 && threads <= units && entry.provider != NULL;
        if (st == GPULET_OK && strcmp(backend->name, "cpu") == 0) {
            cpu_set_t cpus;
            right = right && threads == units && sched_getaffinity(0, sizeof(cpus), &cpus) == 0 &&
                    CPU_COUNT(&cpus) >= (int)units;
        }
        if (!right)
            (void)fprintf(stderr, "enter '%s': %s, %u threads\n", grant, err.text, threads);
        _exit(right ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void is_entered_by_its_grant(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *part = NULL;
    for (uint32_t units = 1; units <= f->units; units++) {
        assert_int_equal(backend->carve(&part, f->device, units, 0, NULL), GPULET_OK);
        expect_enter(part, units);
        backend->release(part);
    }
}

static void refuses_grants_that_are_none(void **state)
{
    static const char *const grants[] = {"",
                                         "x",
                                         "cpu:",
                                         "cpu:0",
                                         "cpu:0;cores=2",
                                         "cpu:x;cores=1",
                                         "cpu:4095;cores=1",
                                         "cpu:0;cores=0",
                                         "cpu:0;;cores=1",
                                         "fake:",
                                         "fake:a/0",
                                         "mps:50",
                                         ";;;",
                                         "cpu:0;mem=;cores=1"};
    (void)state;
    for (size_t i = 0; i < sizeof(grants) / sizeof(grants[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_device_entry_t entry = {0};
        if (backend->enter(grants[i], &entry, &err) == GPULET_OK)
            fail_msg("'%s' was entered", grants[i]);
        assert_true(err.text[0] != '\0');
        assert_int_equal(entry.threads, 0);
    }
}

static void overlaps_only_when_asked_and_settles_when_there_is_room(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *old = NULL;
    gpulet_partition_t *fresh = NULL;
    gpulet_partition_t *more = NULL;
    assert_int_equal(backend->carve(&old, f->device, f->units, 0, NULL), GPULET_OK);
    assert_int_equal(backend->carve(&fresh, f->device, 1, 0, NULL), GPULET_E_FULL);
    assert_int_equal(backend->carve(&fresh, f->device, 1, 1, NULL), GPULET_OK);
    expect_enter(fresh, 1);
    if (backend->settle != NULL) {
        gpulet_error_t err = {""};
        assert_int_equal(backend->settle(fresh, &err), GPULET_E_FULL);
        assert_true(err.text[0] != '\0');
        expect_enter(fresh, 1); /* as it was */
    }
    backend->release(old);
    if (backend->settle != NULL) {
        assert_int_equal(backend->settle(fresh, NULL), GPULET_OK);
        assert_int_equal(backend->units(fresh), 1);
        expect_enter(fresh, 1);
    }
    /* Whatever happened, what is free now is exactly the rest. */
    if (f->units > 1) {
        assert_int_equal(backend->carve(&more, f->device, f->units - 1, 0, NULL), GPULET_OK);
        backend->release(more);
    }
    assert_int_equal(backend->carve(&more, f->device, f->units, 0, NULL), GPULET_E_FULL);
    backend->release(fresh);
}

/* ---- lending ---- */

static pid_t yielding_thread(pid_t process)
{
    char path[64];
    pid_t found = 0;
    (void)snprintf(path, sizeof(path), "/proc/%ld/task", (long)process);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return 0;
    for (struct dirent *e = readdir(tasks); e != NULL; e = readdir(tasks)) {
        pid_t id = (pid_t)strtol(e->d_name, NULL, 10);
        if (id > 0 && sched_getscheduler(id) == SCHED_IDLE)
            found = id;
    }
    (void)closedir(tasks);
    return found;
}

static void *yield_and_wait(void *pipe_end)
{
    const struct sched_param none = {0};
    char byte = 0;
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0)
        return NULL;
    if (write(((int *)pipe_end)[1], "y", 1) == 1)
        (void)!read(((int *)pipe_end)[2], &byte, 1);
    return NULL;
}

/* The child lives in its partition with a thread that yields. */
static void lends_units_to_threads_that_yield(void **state)
{
    const fixture_t *fixture = *state;
    gpulet_partition_t *own = NULL, *other = NULL;
    gpulet_error_t err = {""};
    if (backend->lend == NULL || strcmp(backend->name, "cpu") != 0 || fixture->units < 2)
        skip();
    assert_int_equal(backend->carve(&own, fixture->device, 1, 0, NULL), GPULET_OK);
    assert_int_equal(backend->carve(&other, fixture->device, 1, 0, NULL), GPULET_OK);
    char grant[GPULET_GRANT_MAX + 1];
    assert_int_equal(backend->grant(grant, sizeof(grant), own), GPULET_OK);
    int up[2], down[2], again[2];
    assert_int_equal(pipe(up) | pipe(down) | pipe(again), 0);
    pid_t child = fork();
    if (child == 0) {
        int ends[3] = {up[0], up[1], down[0]};
        char go = 0;
        pthread_t thread;
        gpulet_device_entry_t entry;
        (void)close(down[1]);
        if (backend->enter(grant, &entry, NULL) != GPULET_OK ||
            pthread_create(&thread, NULL, yield_and_wait, ends) != 0 ||
            read(again[0], &go, 1) != 1 || backend->enter(grant, &entry, NULL) != GPULET_OK ||
            write(up[1], &go, 1) != 1)
            _exit(1);
        (void)pthread_join(thread, NULL);
        _exit(0);
    }
    char byte = 0;
    (void)close(up[1]);
    (void)close(down[0]);
    assert_int_equal(read(up[0], &byte, 1), 1);
    cpu_set_t main_before, main_now, yielding;
    pid_t thread = yielding_thread(child);
    assert_true(thread > 0);
    assert_int_equal(sched_getaffinity(child, sizeof(main_before), &main_before), 0);
    const gpulet_partition_t *lenders[1] = {other};
    assert_int_equal(backend->lend(child, own, lenders, 1, &err), GPULET_OK);
    assert_int_equal(sched_getaffinity(thread, sizeof(yielding), &yielding), 0);
    assert_int_equal(sched_getaffinity(child, sizeof(main_now), &main_now), 0);
    assert_true(CPU_EQUAL(&main_now, &main_before)); /* only what yields is moved */
    cpu_set_t both;
    CPU_AND(&both, &yielding, &main_before);
    assert_int_equal(CPU_COUNT(&both), 0);
    /* A new grant is for the others: they would be in its way. */
    assert_int_equal(write(again[1], &byte, 1), 1);
    assert_int_equal(read(up[0], &byte, 1), 1);
    assert_int_equal(sched_getaffinity(thread, sizeof(both), &both), 0);
    assert_true(CPU_EQUAL(&both, &yielding));
    (void)close(again[0]);
    (void)close(again[1]);
    (void)close(down[1]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_not_equal(backend->lend(child, own, lenders, 1, &err), GPULET_OK);
    (void)close(up[0]);
    backend->release(own);
    backend->release(other);
}

/* The child stands aside: it runs on what is reserved, and the device is still the whole. */
static void stands_aside_of_its_gpulets(void **state)
{
    gpulet_device_desc_t before = {.units = 0};
    gpulet_device_desc_t desc;
    cpu_set_t own;
    uint32_t count = 0;
    (void)state;
    if (backend->stand_aside == NULL || sched_getaffinity(0, sizeof(own), &own) != 0 ||
        CPU_COUNT(&own) < 2)
        skip();
    size_t reserved = 0;
    while (!CPU_ISSET(reserved, &own))
        reserved++;
    char text[16];
    (void)snprintf(text, sizeof(text), "%zu", reserved);
    gpulet_device_options_t aside = {.reserve_cores = text};
    if (backend->probe(&before, 1, &count, &aside, NULL) != GPULET_OK)
        skip(); /* both are threads of one core */
    pid_t child = fork();
    if (child == 0) {
        char cpus[GPULET_CPUS_TEXT_MAX + 1];
        gpulet_partition_t *partition = NULL;
        gpulet_device_t *device = NULL;
        gpulet_device_entry_t entry;
        char grant[GPULET_GRANT_MAX + 1];
        cpu_set_t now;
        if (backend->stand_aside(cpus, sizeof(cpus), &aside, NULL) != GPULET_OK ||
            sched_getaffinity(0, sizeof(now), &now) != 0 || !CPU_ISSET(reserved, &now) ||
            CPU_COUNT(&now) >= CPU_COUNT(&own))
            _exit(1);
        aside.cpus = cpus;
        if (backend->probe(&desc, 1, &count, &aside, NULL) != GPULET_OK ||
            desc.units != before.units || backend->open(&device, 0, &aside, NULL) != GPULET_OK ||
            backend->carve(&partition, device, desc.units, 0, NULL) != GPULET_OK ||
            backend->grant(grant, sizeof(grant), partition) != GPULET_OK ||
            backend->enter(grant, &entry, NULL) != GPULET_OK ||
            sched_getaffinity(0, sizeof(now), &now) != 0 || CPU_ISSET(reserved, &now))
            _exit(2);
        backend->release(partition);
        backend->close(device);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void keeps_partitions_apart_through_any_history(void **state)
{
    fixture_t *f = *state;
    gpulet_partition_t *held[8] = {NULL};
    uint32_t used = 0;
    uint64_t random = 1;
    for (int step = 0; step < 400; step++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        size_t slot = (size_t)(random >> 40) % 8;
        uint32_t units = 1 + (uint32_t)((random >> 50) % f->units);
        if (held[slot] != NULL) {
            used -= backend->units(held[slot]);
            backend->release(held[slot]);
            held[slot] = NULL;
            continue;
        }
        gpulet_status_t st = backend->carve(&held[slot], f->device, units, 0, NULL);
        assert_int_equal(st, used + units <= f->units ? GPULET_OK : GPULET_E_FULL);
        used += st == GPULET_OK ? units : 0;
    }
    for (size_t i = 0; i < 8; i++)
        backend->release(held[i]);
}

static void refuses_options_that_make_no_sense(void **state)
{
    gpulet_device_options_t wrong = {
        .reserve_cores = "no core", .fake_spec = "no device", .mps_step = 101};
    gpulet_device_desc_t desc;
    gpulet_device_t *device = NULL;
    gpulet_error_t err = {""};
    uint32_t count = 0;
    (void)state;
    assert_int_equal(backend->probe(&desc, 1, &count, &wrong, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "no "));
    assert_int_equal(backend->open(&device, 0, &wrong, &err), GPULET_E_INVALID);
    assert_null(device);
    /* None at all means the defaults. */
    assert_int_equal(backend->probe(&desc, 1, &count, NULL, NULL), GPULET_OK);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_a_whole_table),
        cmocka_unit_test(finds_devices_that_make_sense),
        cmocka_unit_test_setup_teardown(tells_how_it_is_used_if_it_can, open_device, close_device),
        cmocka_unit_test_setup_teardown(carves_until_it_is_full_and_again_after_release,
                                        open_device, close_device),
        cmocka_unit_test_setup_teardown(refuses_sizes_that_can_never_be, open_device, close_device),
        cmocka_unit_test_setup_teardown(gives_each_partition_units_of_its_own, open_device,
                                        close_device),
        cmocka_unit_test_setup_teardown(says_what_a_partition_is, open_device, close_device),
        cmocka_unit_test_setup_teardown(is_entered_by_its_grant, open_device, close_device),
        cmocka_unit_test(refuses_grants_that_are_none),
        cmocka_unit_test_setup_teardown(overlaps_only_when_asked_and_settles_when_there_is_room,
                                        open_device, close_device),
        cmocka_unit_test(stands_aside_of_its_gpulets),
        cmocka_unit_test_setup_teardown(lends_units_to_threads_that_yield, open_device,
                                        close_device),
        cmocka_unit_test_setup_teardown(keeps_partitions_apart_through_any_history, open_device,
                                        close_device),
        cmocka_unit_test(refuses_options_that_make_no_sense),
    };
    gpulet_device_desc_t desc;
    gpulet_error_t err = {""};
    uint32_t count = 0;
    backend = gpulet_device_backend_find(argc > 1 ? argv[1] : "fake");
    if (backend == NULL) {
        (void)fprintf(stderr, "no backend is called '%s'\n", argv[1]);
        return 1;
    }
    if (backend->probe(&desc, 1, &count, &options, &err) == GPULET_E_UNAVAILABLE) {
        (void)printf("not supported: %s\n", err.text);
        return EXIT_SKIP;
    }
    return cmocka_run_group_tests_name(backend->name, tests, NULL, NULL);
}
