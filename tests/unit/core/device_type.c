#include "core/device_type.h"

#include <math.h>

#include "check.h"

#define TYPE "types:\n  g:\n    units: 4\n    sizes: [1, 2, 4]\n"

static gpulet_status_t parse(gpulet_device_set_t **out, const char *text, gpulet_error_t *err)
{
    return gpulet_device_set_parse(out, text, strlen(text), "d.yaml", err);
}

static gpulet_device_set_t *parsed(const char *text)
{
    gpulet_error_t err = {""};
    gpulet_device_set_t *set = NULL;
    if (parse(&set, text, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return set;
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    gpulet_device_set_t *set = parsed("types:\n  g: {units: 4, sizes: [4, 1, 2]}\n");
    assert_int_equal(set->types_count, 1);
    assert_int_equal(set->counts[0], -1);
    const gpulet_device_type_t *type = &set->types[0];
    assert_string_equal(type->name, "g");
    assert_int_equal(type->units, 4);
    assert_int_equal(type->sizes_count, 3);
    assert_int_equal(type->sizes[0], 1);
    assert_int_equal(type->sizes[2], 4);
    assert_int_equal(type->gpulets_max, 4);
    assert_int_equal(type->models_max, 0);
    assert_true(isinf(type->memory_mb));
    assert_null(type->memory_mb_by_size);
    assert_int_equal(type->slots, 0);
    assert_null(type->placements);
    assert_false(type->isolated);
    assert_true(type->cost == 1);
    assert_false(type->cost_given);
    gpulet_device_set_destroy(set);
    gpulet_device_set_destroy(NULL);
}

static void headroom_process_and_network_limit_a_device(void **state)
{
    (void)state;
    gpulet_device_set_t *set =
        parsed(TYPE "    memory_headroom: 0.5\n    memory_mb: 100\n    memory_mb_process: 30\n"
                    "    network_gbps: 2.5\n    memory_mb_by_size: {1: 20, 2: 80, 4: 100}\n");
    const gpulet_device_type_t *type = &set->types[0];
    assert_true(type->memory_mb == 50 && type->memory_mb_process == 30);
    assert_true(type->network_gbps == 2.5);
    assert_true(gpulet_device_type_models_mb(type, 0) == -20);
    assert_true(gpulet_device_type_models_mb(type, 1) == 10);
    gpulet_device_set_destroy(set);
    set = parsed(TYPE);
    assert_true(isinf(gpulet_device_type_models_mb(&set->types[0], 0)));
    assert_true(set->types[0].network_gbps == 0 && set->types[0].memory_mb_process == 0);
    gpulet_device_set_destroy(set);
    static const wrong_t wrongs[] = {
        {TYPE "    memory_headroom: 1.5\n",
         "d.yaml:5: memory_headroom: expected a number above 0 and at most 1, found '1.5'"},
        {TYPE "    memory_headroom: [1]\n", "d.yaml:5: memory_headroom: expected"},
        {TYPE "    memory_mb_process: 0\n", "d.yaml:5: memory_mb_process: expected"},
        {TYPE "    network_gbps: fast\n", "d.yaml:5: network_gbps: expected"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        check_error(parse(&set, wrongs[i].text, &err), &err, &wrongs[i]);
    }
}

static void a_whole_description_is_read(void **state)
{
    (void)state;
    gpulet_device_set_t *set = parsed("types:\n"
                                      "  mig:\n"
                                      "    units: 7\n"
                                      "    sizes: [1, 3]\n"
                                      "    gpulets_max: 5\n"
                                      "    models_max: 1\n"
                                      "    memory_mb: 81920\n"
                                      "    memory_mb_by_size: {3: 40192, 1: 9856}\n"
                                      "    placement:\n"
                                      "      3: {starts: [4, 0], length: 4}\n"
                                      "      slots: 8\n"
                                      "      1: {length: 1, starts: [0, 1, 2]}\n"
                                      "    isolated: True\n"
                                      "    cost: 2.5\n"
                                      "  cpu: {units: 2, sizes: [1, 2], isolated: off}\n"
                                      "devices: {cpu: -1, mig: 8}\n");
    assert_int_equal(set->types_count, 2);
    assert_int_equal(gpulet_device_set_find(set, "cpu"), 1);
    assert_int_equal(gpulet_device_set_find(set, "tpu"), -1);
    assert_int_equal(set->counts[0], 8);
    assert_int_equal(set->counts[1], -1);
    const gpulet_device_type_t *type = &set->types[0];
    assert_int_equal(type->gpulets_max, 5);
    assert_int_equal(type->models_max, 1);
    assert_true(type->memory_mb == 81920);
    assert_true(type->memory_mb_by_size[0] == 9856 && type->memory_mb_by_size[1] == 40192);
    assert_int_equal(type->slots, 8);
    assert_int_equal(type->placements[1].length, 4);
    assert_int_equal(type->placements[1].starts_count, 2);
    assert_int_equal(type->placements[1].starts[0], 0);
    assert_int_equal(type->placements[1].starts[1], 4);
    assert_true(type->isolated);
    assert_true(type->cost == 2.5 && type->cost_given);
    assert_int_equal(gpulet_device_type_size_index(type, 3), 1);
    assert_int_equal(gpulet_device_type_size_index(type, 2), -1);
    assert_int_equal(gpulet_device_type_size_index(type, 4), -1);
    gpulet_device_set_destroy(set);
}

static const wrong_t wrongs[] = {
    {"", "d.yaml:1: types: expected device types, found an empty file"},
    {"[1]", "d.yaml:1: file: expected a mapping, found a list"},
    {"devices: {}\n", "d.yaml:1: types: expected device types, found nothing"},
    {"types: {}\n", "d.yaml:1: types: expected at least one device type"},
    {"types: 7\n", "d.yaml:1: types: expected a mapping, found '7'"},
    {"types:\n  g: 7\n", "d.yaml:2: g: expected a mapping, found '7'"},
    {"types: {g: {units: 1, sizes: [1]}}\nmore: 1\n",
     "d.yaml:2: key: expected a known key, found 'more'"},
    {"types:\n  g: {sizes: [1]}\n", "d.yaml:2: units: expected the size of the whole device"},
    {"types:\n  g: {units: 1}\n", "d.yaml:2: sizes: expected a list of gpu-let sizes"},
    {"types:\n  g:\n    units: 0\n    sizes: [1]\n",
     "d.yaml:3: units: expected a whole number from 1"},
    {"types:\n  g:\n    units: 1.5\n    sizes: [1]\n", "d.yaml:3: units: expected"},
    {"types:\n  g:\n    units: [1]\n    sizes: [1]\n", "found a list"},
    {"types:\n  g:\n    units: 1\n    units: 1\n    sizes: [1]\n",
     "d.yaml:4: g: expected each key once, found 'units'"},
    {"types:\n  g:\n    units: 4\n    sizes: []\n", "d.yaml:4: sizes: expected at least one entry"},
    {"types:\n  g:\n    units: 4\n    sizes: 4\n", "d.yaml:4: sizes: expected a list, found '4'"},
    {"types:\n  g:\n    units: 4\n    sizes: [5]\n",
     "sizes: expected a whole number from 1 to 4, found '5'"},
    {"types:\n  g:\n    units: 4\n    sizes: [0]\n",
     "sizes: expected a whole number from 1 to 4, found '0'"},
    {"types:\n  g:\n    units: 4\n    sizes: [2, 2]\n",
     "sizes: expected each number once, found 2 twice"},
    {TYPE "    gpulet_max: 2\n", "d.yaml:5: key: expected a known key, found 'gpulet_max'"},
    {TYPE "    gpulets_max: 0\n", "d.yaml:5: gpulets_max: expected"},
    {TYPE "    models_max: -1\n", "d.yaml:5: models_max: expected"},
    {TYPE "    memory_mb: 0\n", "d.yaml:5: memory_mb: expected a number above 0, found '0'"},
    {TYPE "    memory_mb: ~\n", "d.yaml:5: memory_mb: expected a number above 0"},
    {TYPE "    isolated: maybe\n", "d.yaml:5: isolated: expected true or false, found 'maybe'"},
    {TYPE "    cost: 0\n", "d.yaml:5: cost: expected a number above 0"},
    {TYPE "    memory_mb_by_size: {1: 5, 2: 6}\n",
     "d.yaml:5: memory_mb_by_size: expected an entry for every size, found none for 4"},
    {TYPE "    memory_mb_by_size: {1: 5, 2: 6, 3: 7}\n",
     "memory_mb_by_size: expected one of the sizes, found '3'"},
    {TYPE "    memory_mb_by_size: {1: 5, 01: 6, 2: 7, 4: 8}\n",
     "memory_mb_by_size: expected each size once"},
    {TYPE "    memory_mb_by_size: {1: 0, 2: 6, 4: 7}\n",
     "memory_mb_by_size: expected a number above 0"},
    {TYPE "    placement: {1: {length: 1, starts: [0]}}\n",
     "slots: expected the slots of the device"},
    {TYPE "    placement: {slots: 65}\n", "slots: expected a whole number from 1 to 64"},
    {TYPE "    placement: {slots: 4, 1: {length: 1, starts: [0]}}\n",
     "placement: expected an entry for every size, found none for 2"},
    {TYPE "    placement: {slots: 4, 3: {length: 1, starts: [0]}}\n",
     "placement: expected one of the sizes, found '3'"},
    {TYPE "    placement: {slots: 4, 1: {starts: [0]}}\n", "length: expected"},
    {TYPE "    placement: {slots: 4, 1: {length: 1}}\n", "starts: expected"},
    {TYPE "    placement: {slots: 4, 1: {length: 5, starts: [0]}}\n",
     "length: expected a whole number from 1 to 4"},
    {TYPE "    placement: {slots: 4, 1: {length: 2, starts: [3]}}\n",
     "starts: expected a whole number from 0 to 2, found '3'"},
    {TYPE "    placement: {slots: 4, 1: {length: 2, starts: [0], stop: 1}}\n",
     "expected a known key, found 'stop'"},
    {TYPE "devices: {g: 0}\n", "d.yaml:5: devices: expected a number of devices of at least 1"},
    {TYPE "devices: {g: -2}\n", "d.yaml:5: devices: expected a number of devices"},
    {TYPE "devices: {h: 1}\n", "d.yaml:5: devices: expected one of the types, found 'h'"},
    {TYPE "devices: [g]\n", "d.yaml:5: devices: expected a mapping"},
    {TYPE "---\ntypes: 1\n", "d.yaml:5: expected one document"},
    {"types: {g: {units: 1\n", "expected YAML, found:"},
    {"types:\n\t- x\n", "d.yaml:2: expected YAML, found:"},
    {"types: {? [a] : 1}\n", "types: expected a plain key"},
    {"types: {\"a\\nb\": 1}\n", "d.yaml:1: types: expected a name without control characters"},
    {"types: {\"\": 1}\n", "d.yaml:1: types: expected a name, found nothing"},
    {"types: {0123456789012345678901234567890123456789012345678901234567890123: 1}\n",
     "d.yaml:1: types: expected at most 63 bytes, found 64"},
};

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_device_set_t *set = NULL;
        check_error(parse(&set, wrongs[i].text, &err), &err, &wrongs[i]);
        assert_null(set);
    }
}

static void aliases_may_repeat_a_value(void **state)
{
    (void)state;
    gpulet_device_set_t *set = parsed(
        "types:\n  a: &a {units: 4, sizes: &s [1, 4]}\n  b: *a\n  c: {units: 8, sizes: *s}\n");
    assert_int_equal(set->types_count, 3);
    assert_int_equal(set->types[1].sizes[1], 4);
    assert_int_equal(set->types[2].units, 8);
    gpulet_device_set_destroy(set);
    /* A mapping that holds itself ends in an error. */
    gpulet_error_t err;
    assert_int_equal(parse(&set, "types: &t\n  a: *t\n", &err), GPULET_E_INVALID);
}

static void counts_are_overridden_all_or_none(void **state)
{
    (void)state;
    gpulet_error_t err = {""};
    gpulet_device_set_t *one = parsed(TYPE);
    gpulet_device_set_t *two =
        parsed("types: {a: {units: 1, sizes: [1]}, b: {units: 1, sizes: [1]}}");
    assert_int_equal(gpulet_device_set_override_counts(one, "12", &err), GPULET_OK);
    assert_int_equal(one->counts[0], 12);
    assert_int_equal(gpulet_device_set_override_counts(one, "g=3", &err), GPULET_OK);
    assert_int_equal(one->counts[0], 3);
    assert_int_equal(gpulet_device_set_override_counts(one, "-1", &err), GPULET_OK);
    assert_int_equal(one->counts[0], -1);
    assert_int_equal(gpulet_device_set_override_counts(two, "b=2,a=1", &err), GPULET_OK);
    assert_int_equal(two->counts[0], 1);
    assert_int_equal(two->counts[1], 2);
    assert_int_equal(gpulet_device_set_override_counts(two, "b=-1", &err), GPULET_OK);
    assert_int_equal(two->counts[0], 1);
    assert_int_equal(two->counts[1], -1);
    static const char *const wrong_one[] = {"0",       "",    "x",   "-2", "1.5",
                                            "1000001", "g=0", "h=1", "1,2"};
    for (size_t i = 0; i < sizeof(wrong_one) / sizeof(wrong_one[0]); i++) {
        assert_int_equal(gpulet_device_set_override_counts(one, wrong_one[i], &err),
                         GPULET_E_INVALID);
        assert_int_equal(one->counts[0], -1);
    }
    static const char *const wrong_two[] = {"3",       "a=3,",    "a=3,b", "a=3,a=4",
                                            "a=3,c=1", "a=3,b=0", ""};
    for (size_t i = 0; i < sizeof(wrong_two) / sizeof(wrong_two[0]); i++) {
        assert_int_equal(gpulet_device_set_override_counts(two, wrong_two[i], &err),
                         GPULET_E_INVALID);
        assert_int_equal(two->counts[0], 1);
    }
    gpulet_device_set_destroy(one);
    gpulet_device_set_destroy(two);
}

static void a_simple_set_has_every_size(void **state)
{
    (void)state;
    gpulet_device_set_t *set = NULL;
    assert_int_equal(gpulet_device_set_create_simple(&set, "cpu", 4, INFINITY, 1), GPULET_OK);
    assert_int_equal(set->types_count, 1);
    assert_int_equal(set->counts[0], 1);
    assert_int_equal(set->types[0].sizes_count, 4);
    for (uint32_t units = 1; units <= 4; units++)
        assert_int_equal(gpulet_device_type_size_index(&set->types[0], units), (int)units - 1);
    assert_int_equal(gpulet_device_type_size_index(&set->types[0], 5), -1);
    gpulet_device_set_destroy(set);
    assert_int_equal(gpulet_device_set_create_simple(&set, "cpu", 0, 1, 1), GPULET_E_INVALID);
    assert_int_equal(gpulet_device_set_create_simple(&set, "cpu", 5000, 1, 1), GPULET_E_INVALID);
    assert_int_equal(gpulet_device_set_create_simple(&set, "cpu", 1, NAN, 1), GPULET_E_INVALID);
    assert_int_equal(gpulet_device_set_create_simple(&set, "cpu", 1, 1, 0), GPULET_E_INVALID);
    assert_int_equal(gpulet_device_set_create_simple(&set, "", 1, 1, 1), GPULET_E_INVALID);
}

static void a_stepped_set_has_multiples_and_the_whole(void **state)
{
    static const uint32_t sizes[] = {30, 60, 90, 100};
    gpulet_device_set_t *set = NULL;
    (void)state;
    assert_int_equal(gpulet_device_set_create_stepped(&set, "gpu", 100, 30, 3, 1000, 2), GPULET_OK);
    assert_int_equal(set->types[0].units, 100);
    assert_int_equal(set->types[0].gpulets_max, 3);
    assert_int_equal(set->types[0].sizes_count, 4);
    assert_memory_equal(set->types[0].sizes, sizes, sizeof(sizes));
    assert_int_equal(set->counts[0], 2);
    gpulet_device_set_destroy(set);
    assert_int_equal(gpulet_device_set_create_stepped(&set, "gpu", 100, 100, 1, 1, 1), GPULET_OK);
    assert_int_equal(set->types[0].sizes_count, 1);
    gpulet_device_set_destroy(set);
    assert_int_equal(gpulet_device_set_create_stepped(&set, "gpu", 100, 0, 3, 1, 1),
                     GPULET_E_INVALID);
    assert_int_equal(gpulet_device_set_create_stepped(&set, "gpu", 100, 101, 3, 1, 1),
                     GPULET_E_INVALID);
    assert_int_equal(gpulet_device_set_create_stepped(&set, "gpu", 100, 10, 0, 1, 1),
                     GPULET_E_INVALID);
}

static void the_measured_devices_load(void **state)
{
    (void)state;
    char path[4096];
    gpulet_error_t err = {""};
    gpulet_device_set_t *set = NULL;
    if (gpulet_device_set_load(&set, shared_data(path, sizeof(path), "devices_a100_mig.yaml"),
                               &err) != GPULET_OK)
        fail_msg("%s", err.text);
    assert_int_equal(set->types[0].sizes_count, 5);
    assert_int_equal(set->types[0].slots, 8);
    assert_int_equal(set->counts[0], -1);
    assert_true(set->types[0].memory_mb_by_size[4] == 81152);
    gpulet_device_set_destroy(set);
    if (gpulet_device_set_load(&set, shared_data(path, sizeof(path), "devices_2080ti.yaml"),
                               &err) != GPULET_OK)
        fail_msg("%s", err.text);
    assert_int_equal(set->types[0].gpulets_max, 2);
    assert_int_equal(set->counts[0], 4);
    gpulet_device_set_destroy(set);
}

static void a_clone_has_other_counts_and_leaves_out_what_is_not_there(void **state)
{
    static const char text[] =
        "types:\n"
        "  a: {units: 7, sizes: [1, 2, 7], memory_mb: 100,\n"
        "      memory_mb_by_size: {1: 10, 2: 20, 7: 100},\n"
        "      placement: {slots: 8, 1: {length: 1, starts: [0]},\n"
        "        2: {length: 2, starts: [2]}, 7: {length: 8, starts: [0]}}}\n"
        "  b: {units: 4, sizes: [1, 4]}\n";
    const int32_t both[] = {2, -1};
    const int32_t second[] = {0, 3};
    const int32_t none[] = {0, 0};
    gpulet_device_set_t *set = NULL;
    gpulet_device_set_t *copy = NULL;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(gpulet_device_set_parse(&set, text, strlen(text), "d.yaml", &err), GPULET_OK);
    assert_int_equal(gpulet_device_set_clone(&copy, set, both), GPULET_OK);
    assert_int_equal(copy->types_count, 2);
    assert_int_equal(copy->counts[0], 2);
    assert_int_equal(copy->counts[1], -1);
    assert_ptr_not_equal(copy->types[0].sizes, set->types[0].sizes);
    assert_int_equal(copy->types[0].sizes[2], 7);
    assert_true(copy->types[0].memory_mb_by_size[1] == 20);
    assert_int_equal(copy->types[0].placements[1].starts[0], 2);
    gpulet_device_set_destroy(copy);
    assert_int_equal(gpulet_device_set_clone(&copy, set, second), GPULET_OK);
    assert_int_equal(copy->types_count, 1);
    assert_string_equal(copy->types[0].name, "b");
    assert_int_equal(copy->counts[0], 3);
    gpulet_device_set_destroy(copy);
    assert_int_equal(gpulet_device_set_clone(&copy, set, none), GPULET_E_NOT_FOUND);
    gpulet_device_set_destroy(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(headroom_process_and_network_limit_a_device),
        cmocka_unit_test(a_whole_description_is_read),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(aliases_may_repeat_a_value),
        cmocka_unit_test(counts_are_overridden_all_or_none),
        cmocka_unit_test(a_simple_set_has_every_size),
        cmocka_unit_test(a_stepped_set_has_multiples_and_the_whole),
        cmocka_unit_test(a_clone_has_other_counts_and_leaves_out_what_is_not_there),
        cmocka_unit_test(the_measured_devices_load),
    };
    return cmocka_run_group_tests_name("core.device_type", tests, NULL, NULL);
}
