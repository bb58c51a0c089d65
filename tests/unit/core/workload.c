#include "core/workload.h"

#include <math.h>

#include "check.h"

#define HEAD "model,rate_rps,slo_ms\n"

static gpulet_status_t parse(gpulet_workload_t **out, const char *text, const char *scenario,
                             gpulet_error_t *err)
{
    return gpulet_workload_parse(out, text, strlen(text), "w.csv", scenario, err);
}

static void demands_keep_the_order_of_the_file(void **state)
{
    (void)state;
    gpulet_workload_t *workload = NULL;
    gpulet_error_t err = {""};
    assert_int_equal(parse(&workload,
                           "# mix\nslo_ms,model,weight,rate_rps,priority,owner\n"
                           "95,vgg,,0,,me\n5.5,lenet,2.5,100.25,3,you\n",
                           NULL, &err),
                     GPULET_OK);
    assert_int_equal(workload->count, 2);
    assert_string_equal(workload->demands[0].model, "vgg");
    assert_true(workload->demands[0].rate_rps == 0);
    assert_true(workload->demands[0].weight == 1);
    assert_int_equal(workload->demands[0].priority, 0);
    assert_false(workload->demands[0].priority_given);
    const gpulet_demand_t *lenet = gpulet_workload_find(workload, "lenet");
    assert_ptr_equal(lenet, &workload->demands[1]);
    assert_true(lenet->rate_rps == 100.25 && lenet->slo_ms == 5.5 && lenet->weight == 2.5);
    assert_int_equal(lenet->priority, 3);
    assert_true(lenet->priority_given);
    assert_null(gpulet_workload_find(workload, "resnet"));
    gpulet_workload_destroy(workload);
    gpulet_workload_destroy(NULL);
}

static void an_index_finds_each_model_where_it_stands(void **state)
{
    (void)state;
    gpulet_workload_t *workload = NULL;
    gpulet_workload_index_t *index = NULL;
    assert_int_equal(
        parse(&workload, HEAD "vgg,1,1\nlenet,2,1\nle,0,1\nz,1,1\na,1,1\n", NULL, NULL), GPULET_OK);
    assert_int_equal(gpulet_workload_index_create(&index, workload), GPULET_OK);
    for (size_t i = 0; i < workload->count; i++)
        assert_int_equal(gpulet_workload_index_find(index, workload->demands[i].model), i);
    assert_int_equal(gpulet_workload_index_find(index, "len"), SIZE_MAX);
    assert_int_equal(gpulet_workload_index_find(index, ""), SIZE_MAX);
    gpulet_workload_index_destroy(index);
    gpulet_workload_destroy(workload);
    assert_int_equal(gpulet_workload_create(&workload), GPULET_OK);
    assert_int_equal(gpulet_workload_index_create(&index, workload), GPULET_OK);
    assert_int_equal(gpulet_workload_index_find(index, "vgg"), SIZE_MAX);
    gpulet_workload_index_destroy(index);
    gpulet_workload_index_destroy(NULL);
    gpulet_workload_destroy(workload);
}

static void an_empty_workload_is_one(void **state)
{
    (void)state;
    gpulet_workload_t *workload = NULL;
    assert_int_equal(parse(&workload, HEAD, NULL, NULL), GPULET_OK);
    assert_int_equal(workload->count, 0);
    gpulet_workload_destroy(workload);
}

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"", "w.csv:1: header: expected column names"},
        {"rate_rps,slo_ms\n", "w.csv:1: model: expected such a column"},
        {"model,slo_ms\n", "w.csv:1: rate_rps: expected such a column"},
        {"model,rate_rps\n", "w.csv:1: slo_ms: expected such a column"},
        {"model,rate_rps,slo_ms,model\n", "w.csv:1: model: expected each column once"},
        {HEAD ",1,1\n", "w.csv:2: model: expected a name, found nothing"},
        {HEAD "m,,1\n", "w.csv:2: rate_rps: expected a number of at least 0, found nothing"},
        {HEAD "m,-1,1\n", "w.csv:2: rate_rps: expected a number of at least 0, found '-1'"},
        {HEAD "m,x,1\n", "w.csv:2: rate_rps: expected"},
        {HEAD "m,1,0\n", "w.csv:2: slo_ms: expected a number above 0, found '0'"},
        {HEAD "m,1,\n", "w.csv:2: slo_ms: expected a number above 0, found nothing"},
        {HEAD "m,1,1\n\nm,2,2\n",
         "w.csv:4: model: expected each model once, found m again (first in line 2)"},
        {"model,rate_rps,slo_ms,priority\nm,1,1,-1\n",
         "w.csv:2: priority: expected a whole number"},
        {"model,rate_rps,slo_ms,weight\nm,1,1,0\n", "w.csv:2: weight: expected a number above 0"},
        {"model,rate_rps,slo_ms,scenario\nm,1,1,\n", "w.csv:2: scenario: expected a name"},
        {"model,rate_rps,slo_ms,scenario\nm,1,1,A\nm,1,1,B\nm,1,1,A\n",
         "w.csv:4: model: expected each model once in scenario A, found m again (first in line 2)"},
        {"model,rate_rps,slo_ms,scenario\nm,1,1,A\nm,1,1,B\n",
         "w.csv: scenario: expected the choice of one, found none; the file has A, B"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_workload_t *workload = NULL;
        check_error(parse(&workload, wrongs[i].text, NULL, &err), &err, &wrongs[i]);
        assert_null(workload);
    }
}

static void a_scenario_is_chosen_by_name(void **state)
{
    (void)state;
    const char *text = "scenario,model,rate_rps,slo_ms\nA,m,1,1\nB,m,2,1\nA,n,3,1\n";
    gpulet_error_t err;
    gpulet_workload_t *workload = NULL;
    assert_int_equal(parse(&workload, text, "A", &err), GPULET_OK);
    assert_int_equal(workload->count, 2);
    assert_true(gpulet_workload_find(workload, "n")->rate_rps == 3);
    gpulet_workload_destroy(workload);
    assert_int_equal(parse(&workload, text, "B", &err), GPULET_OK);
    assert_int_equal(workload->count, 1);
    assert_true(workload->demands[0].rate_rps == 2);
    gpulet_workload_destroy(workload);
    assert_int_equal(parse(&workload, text, "C", &err), GPULET_E_NOT_FOUND);
    assert_string_equal(err.text, "w.csv: scenario: expected C, found A, B");
    assert_int_equal(parse(&workload, HEAD "m,1,1\n", "C", &err), GPULET_E_NOT_FOUND);
    assert_string_equal(err.text, "w.csv: scenario: expected C, found no scenarios");
    assert_int_equal(parse(&workload, "scenario,model,rate_rps,slo_ms\nA,m,1,1\n", NULL, &err),
                     GPULET_OK);
    assert_int_equal(workload->count, 1);
    gpulet_workload_destroy(workload);
}

static void demands_are_added_once(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_workload_t *workload = NULL;
    gpulet_demand_t demand = {.model = "m", .rate_rps = 1, .slo_ms = 2, .weight = 1};
    assert_int_equal(gpulet_workload_create(&workload), GPULET_OK);
    assert_int_equal(gpulet_workload_add(workload, &demand, &err), GPULET_OK);
    assert_int_equal(gpulet_workload_add(workload, &demand, &err), GPULET_E_EXISTS);
    demand.model[0] = '\0';
    assert_int_equal(gpulet_workload_add(workload, &demand, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "model: expected a name"));
    demand.model[0] = 'n';
    demand.rate_rps = NAN;
    assert_int_equal(gpulet_workload_add(workload, &demand, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "rate_rps: expected"));
    demand.rate_rps = 0;
    demand.slo_ms = 0;
    assert_int_equal(gpulet_workload_add(workload, &demand, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "slo_ms: expected"));
    demand.slo_ms = 1;
    demand.weight = INFINITY;
    assert_int_equal(gpulet_workload_add(workload, &demand, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "weight: expected"));
    assert_int_equal(workload->count, 1);
    gpulet_workload_destroy(workload);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        HEAD,
        HEAD "b,1.5,2\n\"a,\"\"x\"\"\",0,0.1\n",
        "model,rate_rps,slo_ms,priority\na,1,2,7\nb,1,2,0\n",
        "model,rate_rps,slo_ms,weight\na,1,2,1\nb,1,2,0.5\n",
        "model,rate_rps,slo_ms,priority,weight\na,1,2,1,3\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_workload_t *workload = NULL;
        gpulet_buf_t buf = GPULET_BUF_INIT;
        assert_int_equal(parse(&workload, texts[i], NULL, NULL), GPULET_OK);
        assert_int_equal(gpulet_workload_format_csv(&buf, workload), GPULET_OK);
        assert_string_equal(buf.data, texts[i]);
        gpulet_buf_deinit(&buf);
        gpulet_workload_destroy(workload);
    }
}

static void the_measured_scenarios_load(void **state)
{
    (void)state;
    static const char *const names[] = {"S1", "S2", "S3", "S4", "S5", "S6"};
    char path[4096];
    gpulet_error_t err;
    gpulet_workload_t *workload = NULL;
    (void)shared_data(path, sizeof(path), "workload_parvagpu.csv");
    assert_int_equal(gpulet_workload_load(&workload, path, NULL, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "S1, S2, S3, S4, S5, S6"));
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(gpulet_workload_load(&workload, path, names[i], &err), GPULET_OK);
        assert_in_range(workload->count, 5, 12);
        gpulet_workload_destroy(workload);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demands_keep_the_order_of_the_file),
        cmocka_unit_test(an_index_finds_each_model_where_it_stands),
        cmocka_unit_test(an_empty_workload_is_one),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(a_scenario_is_chosen_by_name),
        cmocka_unit_test(demands_are_added_once),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(the_measured_scenarios_load),
    };
    return cmocka_run_group_tests_name("core.workload", tests, NULL, NULL);
}
