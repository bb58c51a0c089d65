#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/backend.h"
#include "device/fake/fake.h"

static void lists_what_the_specification_says(void **state)
{
    const gpulet_device_backend_t *fake = gpulet_device_backend_find("fake");
    gpulet_device_options_t options = {.fake_spec = "big:100:2,small-1:7:1"};
    gpulet_device_desc_t descs[4];
    gpulet_device_t *device = NULL;
    uint32_t count = 0;
    (void)state;
    assert_int_equal(fake->probe(descs, 4, &count, &options, NULL), GPULET_OK);
    assert_int_equal(count, 3);
    assert_string_equal(descs[1].type, "big");
    assert_int_equal(descs[1].index, 1);
    assert_int_equal(descs[1].units, 100);
    assert_string_equal(descs[2].type, "small-1");
    assert_int_equal(descs[2].index, 0);
    assert_int_equal(descs[2].units, 7);
    assert_int_equal(fake->probe(descs, 1, &count, &options, NULL), GPULET_OK);
    assert_int_equal(count, 3);
    assert_int_equal(fake->open(&device, 3, &options, NULL), GPULET_E_NOT_FOUND);
    assert_int_equal(fake->open(&device, 2, &options, NULL), GPULET_OK);
    fake->close(device);
}

static void says_what_is_wrong_with_a_specification(void **state)
{
    static const struct {
        const char *spec;
        const char *says;
    } rows[] = {
        {"", "type:units:count"},  {"a", "type:units:count"},        {"a:1", "type:units:count"},
        {"a:0:1", "units '0'"},    {"a:1:0", "count '0'"},           {"a:x:1", "units 'x'"},
        {"a:1:-1", "count '-1'"},  {"a:1:1:1:1", "memory_mb '1:1'"}, {":1:1", "type name"},
        {"a b:1:1", "'a b'"},      {"a:1:1,", "type:units:count"},   {"a:1:1,a:2:1", "twice"},
        {"a:1025:1", "1 to 1024"}, {"a:1:9999", "1 to 1024"},        {"a:1:1:0", "memory_mb '0'"},
    };
    const gpulet_device_backend_t *fake = gpulet_device_backend_find("fake");
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        gpulet_device_options_t options = {.fake_spec = rows[i].spec};
        gpulet_device_desc_t desc;
        gpulet_error_t err = {""};
        uint32_t count = 0;
        assert_int_equal(fake->probe(&desc, 1, &count, &options, &err), GPULET_E_INVALID);
        if (strstr(err.text, rows[i].says) == NULL)
            fail_msg("'%s': %s", rows[i].spec, err.text);
    }
}

static void has_the_memory_that_it_is_given(void **state)
{
    const gpulet_device_backend_t *fake = gpulet_device_backend_find("fake");
    gpulet_device_options_t options = {.fake_spec = "big:100:1:2048,other:7:1"};
    gpulet_device_desc_t descs[2];
    uint32_t count = 0;
    (void)state;
    assert_int_equal(fake->probe(descs, 2, &count, &options, NULL), GPULET_OK);
    assert_true(descs[0].memory_mb == 2048);
    assert_true(descs[1].memory_mb > 2048);
}

static void is_gone_while_the_file_says_so(void **state)
{
    const gpulet_device_backend_t *fake = gpulet_device_backend_find("fake");
    char path[] = "/tmp/gpulet-fake-gone-XXXXXX";
    const gpulet_device_options_t options = {.fake_spec = "big:100:12", .fake_gone = path};
    gpulet_device_t *first = NULL;
    gpulet_device_t *eleventh = NULL;
    gpulet_error_t err = {""};
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(fake->open(&first, 1, &options, NULL), GPULET_OK);
    assert_int_equal(fake->open(&eleventh, 11, &options, NULL), GPULET_OK);
    assert_int_equal(fake->health(first, &options, &err), GPULET_OK);
    assert_int_equal(write(fd, "other/1\nbig/11", 14), 14);
    assert_int_equal(fake->health(first, &options, &err), GPULET_OK);
    assert_int_equal(fake->health(eleventh, &options, &err), GPULET_E_UNAVAILABLE);
    assert_non_null(strstr(err.text, "big/11"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fake->health(eleventh, &options, &err), GPULET_OK);
    (void)close(fd);
    fake->close(first);
    fake->close(eleventh);
}

static void remembers_what_was_entered(void **state)
{
    static const char *const wrong[] = {
        "",          "fake:", "fake:a",    "fake:a/0",    "fake:a/x:1",
        "fake:a/0:", "cpu:0", "fake:/0:1", "fake:a b/0:1"};
    const gpulet_device_backend_t *fake = gpulet_device_backend_find("fake");
    gpulet_device_entry_t entry = {0};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(fake->enter(wrong[i], &entry, NULL), GPULET_E_INVALID);
    assert_string_equal(gpulet_device_fake_entered(), "");
    assert_int_equal(fake->enter("fake:gpu/1:0-49", &entry, NULL), GPULET_OK);
    assert_string_equal(gpulet_device_fake_entered(), "fake:gpu/1:0-49");
    assert_int_equal(entry.threads, 1);
    assert_string_equal(entry.provider, "cpu");
}

static void tells_devices_apart_by_their_uuid(void **state)
{
    const gpulet_device_backend_t *fake = gpulet_device_backend_find("fake");
    const gpulet_device_options_t options = {.fake_spec = "big:100:2:1600"};
    gpulet_device_t *device = NULL;
    gpulet_device_telemetry_t t;
    (void)state;
    assert_int_equal(fake->open(&device, 1, &options, NULL), GPULET_OK);
    assert_int_equal(fake->telemetry(&t, device, NULL), GPULET_OK);
    assert_string_equal(t.uuid, "FAKE-big-1");
    assert_int_equal(t.memory_total_bytes, 1600ULL << 20);
    assert_int_equal(t.memory_used_bytes, 100ULL << 20);
    assert_true(t.utilization == 0.5 && t.power_watts < 0 && t.power_limit_watts == 300.0);
    fake->close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_what_the_specification_says),
        cmocka_unit_test(says_what_is_wrong_with_a_specification),
        cmocka_unit_test(has_the_memory_that_it_is_given),
        cmocka_unit_test(is_gone_while_the_file_says_so),
        cmocka_unit_test(tells_devices_apart_by_their_uuid),
        cmocka_unit_test(remembers_what_was_entered),
    };
    return cmocka_run_group_tests_name("device.fake", tests, NULL, NULL);
}
