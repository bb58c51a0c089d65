#include "core/pairs.h"

#include <math.h>
#include <stdlib.h>

#include "check.h"

#define HEAD "device,model,units,batch,other_model,other_units,other_batch,slowdown\n"

static gpulet_status_t parse(gpulet_pairs_t **out, const char *text, gpulet_error_t *err)
{
    return gpulet_pairs_parse(out, text, strlen(text), "p.csv", err);
}

static void columns_come_in_any_order(void **state)
{
    (void)state;
    gpulet_pairs_t *pairs = NULL;
    assert_int_equal(parse(&pairs,
                           "slowdown,other_batch,other_units,other_model,batch,units,model,device,"
                           "note,traffic_mb_s\n1.25,8,2,b,4,1,a,cpu,x,300\n",
                           NULL),
                     GPULET_OK);
    assert_int_equal(pairs->count, 1);
    const gpulet_pair_t *p = &pairs->items[0];
    assert_string_equal(p->device, "cpu");
    assert_string_equal(p->self.model, "a");
    assert_true(p->self.units == 1 && p->self.batch == 4);
    assert_string_equal(p->other.model, "b");
    assert_true(p->other.units == 2 && p->other.batch == 8);
    assert_true(p->slowdown == 1.25 && p->traffic_mb_s == 300 && isnan(p->slowdown_p10));
    gpulet_pairs_destroy(pairs);
    gpulet_pairs_destroy(NULL);
}

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"", "p.csv:1: header"},
        {"device,model,units,batch,other_model,other_units,other_batch\n",
         "p.csv:1: slowdown: expected such a column"},
        {"device,model,units,batch,other_units,other_batch,slowdown\n",
         "p.csv:1: other_model: expected such a column"},
        {HEAD ",a,1,1,b,1,1,1\n", "p.csv:2: device: expected a name"},
        {HEAD "g,,1,1,b,1,1,1\n", "p.csv:2: model: expected a name"},
        {HEAD "g,a,0,1,b,1,1,1\n", "p.csv:2: units: expected a whole number from 1"},
        {HEAD "g,a,1,1.5,b,1,1,1\n", "p.csv:2: batch: expected a whole number from 1"},
        {HEAD "g,a,1,1,b,-1,1,1\n", "p.csv:2: other_units: expected a whole number"},
        {HEAD "g,a,1,1,b,1,,1\n", "p.csv:2: other_batch: expected a whole number"},
        {HEAD "g,a,1,1,b,1,1,0\n", "p.csv:2: slowdown: expected a number above 0"},
        {HEAD "g,a,1,1,b,1,1,nan\n", "p.csv:2: slowdown: expected a number above 0"},
        {HEAD "g,a,1,1,b,1,1,1\ng,a,1,1,b,1,1\n", "p.csv:3: row: expected 8 fields, found 7"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_pairs_t *pairs = NULL;
        check_error(parse(&pairs, wrongs[i].text, &err), &err, &wrongs[i]);
        assert_null(pairs);
    }
}

static void what_is_written_reads_back_in_order(void **state)
{
    (void)state;
    gpulet_pairs_t *pairs = NULL;
    gpulet_buf_t out = GPULET_BUF_INIT;
    assert_int_equal(
        parse(&pairs, HEAD "h,a,1,1,b,1,1,1.5\ng,a,1,8,b,1,1,1.25\n\"g\",a,1,2,b,1,1,0.5\n", NULL),
        GPULET_OK);
    qsort(pairs->items, pairs->count, sizeof(*pairs->items), gpulet_pair_compare);
    assert_int_equal(gpulet_pairs_format_csv(&out, pairs), GPULET_OK);
    assert_string_equal(out.data, "device,model,units,batch,other_model,other_units,other_batch,"
                                  "slowdown,slowdown_p10,slowdown_p90,traffic_mb_s\n"
                                  "g,a,1,2,b,1,1,0.5,,,\ng,a,1,8,b,1,1,1.25,,,\n"
                                  "h,a,1,1,b,1,1,1.5,,,\n");
    gpulet_buf_deinit(&out);
    gpulet_pairs_destroy(pairs);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_pairs_t *pairs = NULL;
    assert_int_equal(gpulet_pairs_load(&pairs, "/nonexistent/p.csv", &err), GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/p.csv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_come_in_any_order),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(what_is_written_reads_back_in_order),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests_name("core.pairs", tests, NULL, NULL);
}
