#include "core/interference.h"

#include <math.h>

#include "check.h"

#define HEAD   "device,l2_self,l2_other,dram_self,dram_other,constant\n"
#define POINTS "device,model,units,batch,sensitivity,pressure,bound\n"

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
    gpulet_interference_row_t row = {.device = "g",
                                     .l2_self = 0.1,
                                     .l2_other = 0.2,
                                     .dram_self = 0.3,
                                     .dram_other = 0.4,
                                     .constant = 0.9};
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
        {"device,constant,residual_p0\n", "i.csv:1: residual_p0: expected a percentage"},
        {"device,constant,residual_pmost\n", "i.csv:1: residual_pmost: expected a percentage"},
        {"device,constant,residual_p50,residual_p50.0\n",
         "i.csv:1: residual_p50.0: expected each quantile once"},
        {"device,constant,residual_p50,residual_p9\ng,1,0.1,0.2\n",
         "i.csv:2: residual_p50: expected no less than at the quantile below, found '0.1'"},
        {"device,constant,residual_p50\ng,1,-1\n", "i.csv:2: residual_p50: expected a number"},
        {"device,constant\ng,0.9\n", "i.csv:2: constant: expected a number from 1"},
        {"device,model,units,batch,sensitivity,bound\n", "i.csv:1: pressure: expected such"},
        {"device,model,units,batch,pressure,bound\n", "i.csv:1: sensitivity: expected such"},
        {POINTS "g,m,1,1,0.5,0.5,\n", "i.csv:2: device: expected a row of the device without"},
        {POINTS "g,,,,,,0.5\n", "i.csv:2: bound: expected a number from 1"},
        {POINTS "g,,,,,,\n", "i.csv:2: bound: expected a number from 1"},
        {POINTS "g,,1,,,,2\n", "i.csv:2: units: expected nothing in a row without a model"},
        {POINTS "g,,,,1,,2\n", "i.csv:2: sensitivity: expected nothing"},
        {POINTS "g,,,,,,2\ng,m,1,1,1,1,2\n", "i.csv:3: bound: expected nothing in a row of a"},
        {POINTS "g,,,,,,2\ng,m,0,1,1,1,\n", "i.csv:3: units: expected a whole number"},
        {POINTS "g,,,,,,2\ng,m,1,none,1,1,\n", "i.csv:3: batch: expected a whole number"},
        {POINTS "g,,,,,,2\ng,m,1,1,-1,1,\n", "i.csv:3: sensitivity: expected a number from 0"},
        {POINTS "g,,,,,,2\ng,m,1,1,1,-1,\n", "i.csv:3: pressure: expected a number from 0"},
        {POINTS "g,,,,,,2\ng,m,1,1,,,\n", "i.csv:3: sensitivity: expected it, or a pressure"},
        {POINTS "g,,,,,,2\ng,m,1,1,1,1,\ng,m,1,1,2,2,\n",
         "i.csv:4: batch: expected each model, units and batch once"},
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

static gpulet_interference_t *parsed(const char *text)
{
    gpulet_error_t err = {""};
    gpulet_interference_t *interference = NULL;
    if (parse(&interference, text, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return interference;
}

static double between(const gpulet_interference_row_t *row, const char *self, uint32_t self_batch,
                      const char *other, uint32_t other_batch)
{
    gpulet_interference_side_t a = {self, 1, self_batch, 0.5, NAN, NAN};
    gpulet_interference_side_t b = {other, 1, other_batch, 0.5, NAN, NAN};
    gpulet_interference_response_t r = gpulet_interference_response(row, &a);
    double factor = gpulet_interference_between(row, &a, &b);
    double apart = gpulet_interference_factor_at(&r, gpulet_interference_pressure(row, &b));
    assert_true(fabs(factor - apart) < 1e-12 * factor);
    return factor;
}

static bool is(double value, double expected)
{
    return fabs(value - expected) < 1e-12;
}

static const char points_text[] = POINTS "g,,,,,,1.5\n"
                                         "g,small,1,8,0.4,0.2,\n"
                                         "g,small,1,1,0.2,0.1,\n"
                                         "g,large,1,4,0.1,2,\n"
                                         "g,press,1,1,,0.5,\n";

static void a_slowdown_is_sensitivity_times_pressure(void **state)
{
    (void)state;
    gpulet_interference_t *interference = parsed(points_text);
    const gpulet_interference_row_t *row = &interference->rows[0];
    assert_int_equal(interference->kind, GPULET_INTERFERENCE_SENSITIVITY);
    assert_true(is(between(row, "small", 8, "large", 4), 1.8));
    assert_true(is(between(row, "large", 4, "small", 1), 1.01));
    /* Half way between the measured batches 1 and 8, and beyond them. */
    assert_true(is(between(row, "small", 2, "large", 4), 1.0 + 2.0 * (0.2 + 0.2 / 7)));
    assert_true(is(between(row, "small", 32, "large", 4), 1.8));
    assert_true(is(between(row, "large", 1, "small", 8), 1.02));
    gpulet_interference_destroy(interference);
}

static void what_is_not_in_the_file_meets_the_bound(void **state)
{
    (void)state;
    gpulet_interference_t *interference = parsed(points_text);
    const gpulet_interference_row_t *row = &interference->rows[0];
    assert_true(is(between(row, "new", 1, "large", 4), 1.5));
    assert_true(is(between(row, "new", 1, "other", 4), 1.5));
    assert_true(is(between(row, "press", 1, "large", 4), 1.5)); /* no sensitivity was measured */
    assert_true(is(between(row, "large", 4, "new", 1), 1.5));
    /* Never less than beside what presses hardest of all that is known. */
    assert_true(is(between(row, "small", 8, "new", 1), 1.8));
    gpulet_interference_side_t other_size = {"large", 2, 4, 0.5, NAN, NAN};
    assert_true(gpulet_interference_pressure(row, &other_size) >= row->pressure_most);
    gpulet_interference_destroy(interference);
}

static void one_constant_holds_beside_any_neighbour(void **state)
{
    (void)state;
    gpulet_interference_t *interference = parsed("device,constant\ng,1.25\n");
    assert_int_equal(interference->kind, GPULET_INTERFERENCE_CONSTANT);
    assert_true(is(between(&interference->rows[0], "a", 1, "b", 9), 1.25));
    gpulet_interference_destroy(interference);
}

static void a_quantile_adds_the_error_of_the_fit(void **state)
{
    (void)state;
    gpulet_error_t err = {""};
    gpulet_interference_t *interference =
        parsed("device,residual_p90,constant,residual_p50\ng,0.2,1.5,-0.1\n");
    const gpulet_interference_row_t *row = &interference->rows[0];
    const double expected[][2] = {{0.9, 1.8}, {0.8, 1.6875}, {0.5, 1.5}, {0.1, 1.5}, {0, 1.5}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(
            gpulet_interference_adjust(interference, expected[i][0], false, "i.csv", &err),
            GPULET_OK);
        assert_true(is(between(row, "a", 1, "b", 1), expected[i][1]));
    }
    assert_int_equal(gpulet_interference_adjust(interference, 0.95, false, "i.csv", &err),
                     GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "i.csv: interference-quantile: expected a column residual_p95 "
                                     "or above for device g, found quantiles up to 90"));
    assert_int_equal(gpulet_interference_adjust(interference, 0, true, "i.csv", &err),
                     GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "utilisation-scaled"));
    gpulet_interference_destroy(interference);
}

static void utilisations_can_be_scaled_by_the_part_of_the_device(void **state)
{
    (void)state;
    gpulet_interference_t *interference = parsed(HEAD "g,0.5,1,0.25,2,1\n");
    const gpulet_interference_row_t *row = &interference->rows[0];
    gpulet_interference_side_t a = {"a", 20, 1, 0.2, 0.5, 0.25};
    gpulet_interference_side_t b = {"b", 80, 1, 0.8, 0.5, 0.25};
    assert_true(is(gpulet_interference_between(row, &a, &b), 2.3125));
    assert_int_equal(gpulet_interference_adjust(interference, 0, true, "i", NULL), GPULET_OK);
    assert_true(is(gpulet_interference_between(row, &a, &b), 1.8625));
    gpulet_interference_response_t r = gpulet_interference_response(row, &a);
    assert_true(
        is(gpulet_interference_factor_at(&r, gpulet_interference_pressure(row, &b)), 1.8625));
    b.dram_util = NAN;
    assert_true(isnan(gpulet_interference_between(row, &a, &b)));
    assert_true(isnan(gpulet_interference_pressure(row, &b)));
    gpulet_interference_destroy(interference);
}

static void every_kind_reads_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "device,constant,residual_p50,residual_p99.9\ng,1.25,0,0.5\nh,1,,0.25\n",
        HEAD "g,1,2,3,4,5\n",
        "device,model,units,batch,sensitivity,pressure,bound,residual_p95\n"
        "g,,,,,,1.5,0.125\ng,large,1,4,0.1,2,,\ng,press,1,1,,0.5,,\n"
        "g,small,1,1,0.2,,,\ng,small,2,8,0.4,0.2,,\nh,,,,,,2,\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        gpulet_buf_t out = GPULET_BUF_INIT;
        gpulet_interference_t *interference = parsed(texts[i]);
        assert_int_equal(gpulet_interference_format_csv(&out, interference), GPULET_OK);
        assert_string_equal(out.data, texts[i]);
        gpulet_buf_deinit(&out);
        gpulet_interference_destroy(interference);
    }
}

static void kinds_have_names(void **state)
{
    (void)state;
    gpulet_interference_kind_t kind = GPULET_INTERFERENCE_LINEAR;
    assert_true(gpulet_interference_kind_find(&kind, "sensitivity"));
    assert_int_equal(kind, GPULET_INTERFERENCE_SENSITIVITY);
    assert_string_equal(gpulet_interference_kind_name(kind), "sensitivity");
    assert_false(gpulet_interference_kind_find(&kind, "best"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coefficients_belong_to_their_device),
        cmocka_unit_test(the_factor_is_linear_and_never_below_one),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_slowdown_is_sensitivity_times_pressure),
        cmocka_unit_test(what_is_not_in_the_file_meets_the_bound),
        cmocka_unit_test(one_constant_holds_beside_any_neighbour),
        cmocka_unit_test(a_quantile_adds_the_error_of_the_fit),
        cmocka_unit_test(utilisations_can_be_scaled_by_the_part_of_the_device),
        cmocka_unit_test(every_kind_reads_back),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests_name("core.interference", tests, NULL, NULL);
}
