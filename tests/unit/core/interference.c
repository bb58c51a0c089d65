#include "core/interference.h"

#include <math.h>

#include "check.h"

#define HEAD "device,l2_self,l2_other,dram_self,dram_other,constant\n"

static gpulet_status_t parse(gpulet_interference_t **out, const char *text, gpulet_error_t *err)
{
    return gpulet_interference_parse(out, text, strlen(text), "i.csv", err);
}

static void coefficients_belong_to_their_device(void **state)
{
    (void)state;
    gpulet_interference_t *interference = NULL;
    assert_int_equal(
        parse(&interference,
              "constant,device,l2_other,l2_self,dram_other,dram_self\n1,a,2,3,4,5\n-1,b,0,0,0,0\n",
              NULL),
        GPULET_OK);
    const gpulet_interference_row_t *row = gpulet_interference_find(interference, "a");
    assert_non_null(row);
    assert_true(row->constant == 1 && row->l2_other == 2 && row->l2_self == 3 &&
                row->dram_other == 4 && row->dram_self == 5);
    assert_non_null(gpulet_interference_find(interference, "b"));
    assert_null(gpulet_interference_find(interference, "c"));
    gpulet_interference_destroy(interference);
    gpulet_interference_destroy(NULL);
}

static void the_factor_is_linear_and_never_below_one(void **state)
{
    (void)state;
    gpulet_interference_row_t row = {"g", 0.1, 0.2, 0.3, 0.4, 0.9};
    double factor = gpulet_interference_factor(&row, 0.5, 0.25, 1.0, 0.75);
    assert_true(fabs(factor - (0.05 + 0.2 + 0.075 + 0.3 + 0.9)) < 1e-12);
    assert_true(gpulet_interference_factor(&row, 0, 0, 0, 0) == 1);
    assert_true(isnan(gpulet_interference_factor(&row, NAN, 0, 0, 0)));
    assert_true(isnan(gpulet_interference_factor(&row, 0, 0, 0, NAN)));
}

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"", "i.csv:1: header"},
        {"l2_self,l2_other,dram_self,dram_other,constant\n",
         "i.csv:1: device: expected such a column"},
        {"device,l2_other,dram_self,dram_other,constant\n",
         "i.csv:1: l2_self: expected such a column"},
        {"device,l2_self,dram_self,dram_other,constant\n", "i.csv:1: l2_other: expected"},
        {"device,l2_self,l2_other,dram_other,constant\n", "i.csv:1: dram_self: expected"},
        {"device,l2_self,l2_other,dram_self,constant\n", "i.csv:1: dram_other: expected"},
        {"device,l2_self,l2_other,dram_self,dram_other\n", "i.csv:1: constant: expected"},
        {HEAD ",1,1,1,1,1\n", "i.csv:2: device: expected a name"},
        {HEAD "g,1,1,,1,1\n", "i.csv:2: dram_self: expected a number, found nothing"},
        {HEAD "g,1,1,1,1,one\n", "i.csv:2: constant: expected a number, found 'one'"},
        {HEAD "g,1,1,1,1,1\ng,2,2,2,2,2\n",
         "i.csv:3: device: expected each device once, found 'g'"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_interference_t *interference = NULL;
        check_error(parse(&interference, wrongs[i].text, &err), &err, &wrongs[i]);
        assert_null(interference);
    }
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    const char *text = HEAD "b,0.1,-2,3e-07,4,0.98999999999999999\n\"a,b\",0,0,0,0,1\n";
    gpulet_interference_t *first = NULL;
    gpulet_interference_t *second = NULL;
    gpulet_buf_t a = GPULET_BUF_INIT;
    gpulet_buf_t b = GPULET_BUF_INIT;
    assert_int_equal(parse(&first, text, NULL), GPULET_OK);
    assert_int_equal(gpulet_interference_format_csv(&a, first), GPULET_OK);
    assert_string_equal(a.data, HEAD "b,0.1,-2,3e-07,4,0.99\n\"a,b\",0,0,0,0,1\n");
    assert_int_equal(parse(&second, a.data, NULL), GPULET_OK);
    assert_int_equal(gpulet_interference_format_csv(&b, second), GPULET_OK);
    assert_string_equal(a.data, b.data);
    gpulet_buf_deinit(&a);
    gpulet_buf_deinit(&b);
    gpulet_interference_destroy(first);
    gpulet_interference_destroy(second);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_interference_t *interference = NULL;
    assert_int_equal(gpulet_interference_load(&interference, "/nonexistent/i.csv", &err),
                     GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/i.csv"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coefficients_belong_to_their_device),
        cmocka_unit_test(the_factor_is_linear_and_never_below_one),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests_name("core.interference", tests, NULL, NULL);
}
