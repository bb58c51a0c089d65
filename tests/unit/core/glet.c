#include "core/glet.h"

#include <math.h>

#include "check.h"

static gpulet_device_set_t *new_devices(void)
{
    static const char text[] =
        "types:\n  g:\n    units: 100\n    sizes: [20, 40, 50, 60, 80, 100]\n"
        "    gpulets_max: 2\n";
    gpulet_device_set_t *set = NULL;
    assert_int_equal(gpulet_device_set_parse(&set, text, strlen(text), "d", NULL), GPULET_OK);
    return set;
}

static void tasks_are_models_by_number_or_name(void **state)
{
    (void)state;
    static const char text[] = "3\n0,50,5,\n 7, 100.5,108,\nmine,1,20\n";
    gpulet_workload_t *w = NULL;
    assert_int_equal(gpulet_glet_tasks_parse(&w, text, strlen(text), "t", NULL), GPULET_OK);
    assert_int_equal(w->count, 3);
    assert_string_equal(w->demands[0].model, "lenet1");
    assert_string_equal(w->demands[1].model, "resnet50");
    assert_true(w->demands[1].rate_rps == 100.5 && w->demands[1].slo_ms == 108);
    assert_string_equal(w->demands[2].model, "mine");
    gpulet_workload_destroy(w);
}

static void wrong_tasks_say_where(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"", "t:1: N: expected the number of tasks, found nothing"},
        {"\nx\n0,1,1\n", "t:2: N: expected the number of tasks, found 'x'"},
        {"2\n0,1,1,\n", "t:1: N: expected 1, as many as there are, found 2"},
        {"1\n14,1,1,\n",
         "t:2: id: expected a model's number from 0 to 13, or its name, found '14'"},
        {"1\n0,-1,1,\n", "t:2: rate: expected"},
        {"1\n\n0,1,0,\n", "t:3: SLO: expected"},
        {"1\n0,1\n", "t:2: row: expected 3 fields, found 2"},
        {"2\n0,1,1,\n0,1,1,\n", "t:3"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_workload_t *w = NULL;
        gpulet_error_t err = {""};
        check_error(gpulet_glet_tasks_parse(&w, wrongs[i].text, strlen(wrongs[i].text), "t", &err),
                    &err, &wrongs[i]);
    }
}

static void constants_stand_with_or_without_a_header(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "l2_util_m1,l2_util_m2,dram_util_m1,dram_util_m2,constant\n0.1,0.7,0.3,0.2,0.9\n",
        "0.1,0.7,0.3,0.2,0.9,\n"};
    for (size_t i = 0; i < 2; i++) {
        gpulet_interference_t *in = NULL;
        assert_int_equal(
            gpulet_glet_constants_parse(&in, "g", texts[i], strlen(texts[i]), "c", NULL),
            GPULET_OK);
        const gpulet_interference_row_t *row = gpulet_interference_find(in, "g");
        assert_non_null(row);
        assert_true(row->l2_self == 0.1 && row->l2_other == 0.7 && row->dram_self == 0.3);
        assert_true(row->dram_other == 0.2 && row->constant == 0.9);
        gpulet_interference_destroy(in);
    }
    static const wrong_t wrongs[] = {
        {"", "c:"},
        {"0.1,0.7,x,0.2,0.9\n", "c:1: dram_util_m1: expected a number, found 'x'"},
        {"1,2,3,4,5\n1,2,3,4,5\n", "c:2: row: expected one row"},
        {"l2_util_m1,l2_util_m2,dram_util_m1,constant\n1,2,3,4\n",
         "c:1: dram_util_m2: expected such a column"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_interference_t *in = NULL;
        gpulet_error_t err = {""};
        check_error(gpulet_glet_constants_parse(&in, "g", wrongs[i].text, strlen(wrongs[i].text),
                                                "c", &err),
                    &err, &wrongs[i]);
    }
}

static void utilisations_are_scaled_by_the_part_of_the_device(void **state)
{
    (void)state;
    static const char rows[] = "a1,50,1,1\na1,50,8,4\na1,100,4,2\nb,20,1,1\n";
    static const char util[] =
        "bench,batch,avg_duration(ms),SM_util(%),l2_util(%),mem_util(%),x,y\n"
        "a,4,0,0,30,60,0,0,\na,2,0,0,10,20,0,0,\n";
    gpulet_device_set_t *set = new_devices();
    gpulet_profile_t *profile = NULL;
    gpulet_profile_t *used = NULL;
    assert_int_equal(gpulet_profile_parse(&profile, rows, strlen(rows), "p",
                                          GPULET_PROFILE_FORMAT_GLET, "g", NULL),
                     GPULET_OK);
    assert_int_equal(
        gpulet_glet_utilisation_apply(&used, profile, set, util, strlen(util), "u", NULL),
        GPULET_OK);
    const gpulet_curve_t *half = gpulet_profile_curve(used, "g", "a1", 50, 1);
    assert_true(fabs(gpulet_curve_l2_util(half, 1) - 0.05) < 1e-12);  /* as at batch 2 */
    assert_true(fabs(gpulet_curve_dram_util(half, 8) - 0.3) < 1e-12); /* as at batch 4 */
    const gpulet_curve_t *whole = gpulet_profile_curve(used, "g", "a1", 100, 1);
    assert_true(fabs(gpulet_curve_l2_util(whole, 4) - 0.3) < 1e-12);
    assert_true(isnan(gpulet_curve_l2_util(gpulet_profile_curve(used, "g", "b", 20, 1), 1)));
    static const wrong_t wrongs[] = {
        {"bench,batch,l2\n", "u:1: mem: expected such a column"},
        {"bench,batch,l2,mem\na,1,101,1\n", "u:2: l2: expected a percentage"},
        {"bench,batch,l2,mem\na,0,1,1\n", "u:2: batch: expected"},
        {"bench,batch,l2,mem\na,1,1,1\na,1,1,1\n", "u:3: batch: expected each batch of a once"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_profile_t *none = NULL;
        gpulet_error_t err = {""};
        check_error(gpulet_glet_utilisation_apply(&none, profile, set, wrongs[i].text,
                                                  strlen(wrongs[i].text), "u", &err),
                    &err, &wrongs[i]);
    }
    gpulet_profile_destroy(used);
    gpulet_profile_destroy(profile);
    gpulet_device_set_destroy(set);
}

static void device_config_gives_the_prototypes_limits(void **state)
{
    (void)state;
    static const char text[] = "{\"device_specs\": [{\"type\": \"2080ti\", \"mem_mb\": 11000}]}";
    gpulet_device_set_t *set = NULL;
    assert_int_equal(gpulet_glet_devices_parse(&set, text, strlen(text), "d", NULL), GPULET_OK);
    const gpulet_device_type_t *type = &set->types[0];
    assert_string_equal(type->name, "2080ti");
    assert_true(fabs(type->memory_mb - 9900) < 1e-9 && type->memory_mb_process == 1230);
    assert_true(type->network_gbps == 3 && type->gpulets_max == 2 && type->models_max == 3);
    gpulet_device_set_destroy(set);
    static const wrong_t wrongs[] = {
        {"{", "d:1: expected JSON"},
        {"{}", "d: device_specs: expected a list"},
        {"{\"device_specs\": [{}]}", "d: device_specs[0].type: expected a name, found nothing"},
        {"{\"device_specs\": [{\"type\": \"a\", \"mem_mb\": 0}]}", "d: device_specs[0].mem_mb"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        check_error(
            gpulet_glet_devices_parse(&set, wrongs[i].text, strlen(wrongs[i].text), "d", &err),
            &err, &wrongs[i]);
    }
}

static void a_model_list_goes_round(void **state)
{
    (void)state;
    static const char text[] = "0,40,0,vgg16,6,88.235291\n0,60,0,reserved,32,0.000000\n"
                               "1,50,0,a,5,73.500000\n1,50,0,b,1,73.500000\n1,50,1,a,2,9.000000\n";
    gpulet_device_set_t *set = new_devices();
    gpulet_plan_t *plan = NULL;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    assert_int_equal(gpulet_glet_plan_parse(&plan, set, text, strlen(text), "m", NULL), GPULET_OK);
    assert_int_equal(plan->devices_count, 2);
    assert_int_equal(plan->devices[1].gpulets_count, 2);
    assert_int_equal(plan->devices[1].gpulets[0].shares_count, 2);
    assert_int_equal(gpulet_glet_plan_format(&buf, plan, set, NULL), GPULET_OK);
    assert_string_equal(buf.data, text);
    plan->devices[0].gpulets[0].shares[0].instances = 2;
    gpulet_buf_clear(&buf);
    assert_int_equal(gpulet_glet_plan_format(&buf, plan, set, NULL), GPULET_E_INVALID);
    gpulet_buf_deinit(&buf);
    gpulet_plan_destroy(plan);
    static const wrong_t wrongs[] = {
        {"0,30,0,a,1,1\n", "m:1: part: expected a size of the device type"},
        {"0,40,0,a,0,1\n", "m:1: batch: expected"},
        {"0,40,0,a,1,0\n", "m:1: duty_ms: expected"},
        {"0,40,0,a,1,1\n0,40,0,b,1,2\n", "m:2: duty_ms: expected one duty cycle"},
        {"0,40,0,a,1,1\n0,40,0,a,1,1\n", "m:2: model: expected each model once"},
        {"0,40,0,a,1\n", "m:1: row: expected 6 fields"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        check_error(
            gpulet_glet_plan_parse(&plan, set, wrongs[i].text, strlen(wrongs[i].text), "m", &err),
            &err, &wrongs[i]);
    }
    gpulet_device_set_destroy(set);
}

static void numbered_models_share_the_first_ones_curves(void **state)
{
    (void)state;
    static const char rows[] = "net1,50,1,1\nnet1,50,8,4\n";
    static const char tasks[] = "2\nnet3,1,10\nother2,1,10\n";
    gpulet_profile_t *profile = NULL;
    gpulet_profile_t *more = NULL;
    gpulet_workload_t *w = NULL;
    assert_int_equal(gpulet_profile_parse(&profile, rows, strlen(rows), "p",
                                          GPULET_PROFILE_FORMAT_GLET, "g", NULL),
                     GPULET_OK);
    assert_int_equal(gpulet_glet_tasks_parse(&w, tasks, strlen(tasks), "t", NULL), GPULET_OK);
    assert_int_equal(gpulet_glet_alias(&more, profile, w, NULL), GPULET_OK);
    assert_int_equal(gpulet_profile_curves_count(more), 2);
    assert_true(gpulet_profile_has_model(more, "g", "net3"));
    assert_false(gpulet_profile_has_model(more, NULL, "other2"));
    gpulet_profile_destroy(profile);
    gpulet_profile_destroy(more);
    gpulet_workload_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_are_models_by_number_or_name),
        cmocka_unit_test(wrong_tasks_say_where),
        cmocka_unit_test(constants_stand_with_or_without_a_header),
        cmocka_unit_test(utilisations_are_scaled_by_the_part_of_the_device),
        cmocka_unit_test(device_config_gives_the_prototypes_limits),
        cmocka_unit_test(a_model_list_goes_round),
        cmocka_unit_test(numbered_models_share_the_first_ones_curves),
    };
    return cmocka_run_group_tests_name("core.glet", tests, NULL, NULL);
}
