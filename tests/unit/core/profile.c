#include "core/profile.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "base/rng.h"
#include "check.h"

#define HEAD "device,model,units,batch,latency_ms\n"

static gpulet_profile_t *parsed(const char *text)
{
    gpulet_error_t err = {""};
    gpulet_profile_t *profile = NULL;
    if (gpulet_profile_parse(&profile, text, strlen(text), "p.csv", GPULET_PROFILE_FORMAT_CSV, NULL,
                             &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return profile;
}

static void check_format(const gpulet_profile_t *profile, const char *expected)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    assert_int_equal(gpulet_profile_format_csv(&buf, profile), GPULET_OK);
    assert_string_equal(buf.data, expected);
    gpulet_buf_deinit(&buf);
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b))))
        fail_msg("%.17g is not %.17g", a, b);
}

static void columns_may_stand_in_any_order(void **state)
{
    (void)state;
    gpulet_profile_t *profile =
        parsed("# measured\nlatency_ms,batch,note,units,instances,model,device\n"
               "2.5,1,first,20,,lenet,gpu\n\n7,8,\"a, b\",20,2,lenet,gpu\r\n");
    assert_int_equal(gpulet_profile_curves_count(profile), 2);
    const gpulet_curve_t *curve = gpulet_profile_curve(profile, "gpu", "lenet", 20, 1);
    assert_non_null(curve);
    assert_int_equal(curve->points_count, 1);
    assert_true(curve->points[0].latency_ms == 2.5);
    assert_true(isnan(curve->points[0].latency_ms_p99));
    assert_true(isnan(curve->points[0].memory_mb));
    assert_non_null(gpulet_profile_curve(profile, "gpu", "lenet", 20, 2));
    assert_null(gpulet_profile_curve(profile, "gpu", "lenet", 21, 1));
    assert_null(gpulet_profile_curve(profile, "gpu", "vgg", 20, 1));
    assert_null(gpulet_profile_curve(profile, "other", "lenet", 20, 1));
    check_format(profile, "device,model,units,instances,batch,latency_ms,note\n"
                          "gpu,lenet,20,1,1,2.5,first\ngpu,lenet,20,2,8,7,\"a, b\"\n");
    gpulet_profile_destroy(profile);
}

static void errors_name_file_line_and_field(void **state)
{
    (void)state;
    static const wrong_t wrongs[] = {
        {"", "p.csv:1: header: expected column names"},
        {"model,units,batch,latency_ms\n", "p.csv:1: device: expected such a column"},
        {"device,units,batch,latency_ms\n", "p.csv:1: model: expected such a column"},
        {"device,model,batch,latency_ms\n", "p.csv:1: units: expected such a column"},
        {"device,model,units,latency_ms\n", "p.csv:1: batch: expected such a column"},
        {"device,model,units,batch\n", "p.csv:1: latency_ms: expected such a column"},
        {"device,model,units,batch,latency_ms,units\n",
         "p.csv:1: units: expected each column once"},
        {HEAD ",m,1,1,1\n", "p.csv:2: device: expected a name, found nothing"},
        {HEAD "g,,1,1,1\n", "p.csv:2: model: expected a name, found nothing"},
        {HEAD "g,m,0,1,1\n", "p.csv:2: units: expected a whole number from 1 to"},
        {HEAD "g,m,,1,1\n",
         "p.csv:2: units: expected a whole number from 1 to 1000000, found nothing"},
        {HEAD "g,m,1.5,1,1\n", "found '1.5'"},
        {HEAD "g,m,1,0,1\n", "p.csv:2: batch: expected"},
        {HEAD "g,m,1,4097,1\n", "p.csv:2: batch: expected a whole number from 1 to 4096"},
        {HEAD "g,m,1,-1,1\n", "p.csv:2: batch: expected"},
        {HEAD "g,m,1,1,\n", "p.csv:2: latency_ms: expected a number above 0, found nothing"},
        {HEAD "g,m,1,1,0\n", "p.csv:2: latency_ms: expected a number above 0, found '0'"},
        {HEAD "g,m,1,1,-3\n", "p.csv:2: latency_ms: expected"},
        {HEAD "g,m,1,1,fast\n", "p.csv:2: latency_ms: expected a number above 0, found 'fast'"},
        {HEAD "g,m,1,1,nan\n", "p.csv:2: latency_ms: expected"},
        {HEAD "g,m,1,1,inf\n", "p.csv:2: latency_ms: expected"},
        {HEAD "g,m,1,1,1e999\n", "p.csv:2: latency_ms: expected"},
        {HEAD "g,m,1,1,2\n#\ng,m,1,1,3\n",
         "p.csv:4: row: expected each key once, found m on g, units "
         "1, instances 1, batch 1 again (first in line 2)"},
        {HEAD "g,m,1,1\n", "p.csv:2: row: expected 5 fields, found 4"},
        {"device,model,units,batch,latency_ms,instances\ng,m,1,1,1,0\n",
         "p.csv:2: instances: expected"},
        {"device,model,units,batch,latency_ms,latency_ms_p99\ng,m,1,1,1,0\n",
         "p.csv:2: latency_ms_p99: expected a number above 0"},
        {"device,model,units,batch,latency_ms,throughput_rps\ng,m,1,1,1,x\n",
         "p.csv:2: throughput_rps: expected"},
        {"device,model,units,batch,latency_ms,memory_mb\ng,m,1,1,1,-1\n",
         "p.csv:2: memory_mb: expected"},
        {"device,model,units,batch,latency_ms,l2_util\ng,m,1,1,1,1.01\n",
         "p.csv:2: l2_util: expected a number from 0 to 1, found '1.01'"},
        {"device,model,units,batch,latency_ms,dram_util\ng,m,1,1,1,-0.1\n",
         "p.csv:2: dram_util: expected a number from 0 to 1"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++) {
        gpulet_error_t err = {""};
        gpulet_profile_t *profile = NULL;
        check_error(gpulet_profile_parse(&profile, wrongs[i].text, strlen(wrongs[i].text), "p.csv",
                                         GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                    &err, &wrongs[i]);
        assert_null(profile);
    }
}

static void a_name_too_long_is_refused(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_profile_t *profile = NULL;
    char text[600];
    char name[300];
    memset(name, 'n', sizeof(name));
    (void)snprintf(text, sizeof(text), HEAD "g,%.*s,1,1,1\n", GPULET_PROFILE_NAME_MAX, name);
    profile = parsed(text);
    gpulet_profile_destroy(profile);
    profile = NULL;
    (void)snprintf(text, sizeof(text), HEAD "g,%.*s,1,1,1\n", GPULET_PROFILE_NAME_MAX + 1, name);
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p.csv",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                     GPULET_E_INVALID);
    assert_string_equal(err.text, "p.csv:2: model: expected at most 255 bytes, found 256");
}

static void latency_is_linear_between_batches_and_nowhere_else(void **state)
{
    (void)state;
    gpulet_profile_t *profile =
        parsed("device,model,units,batch,latency_ms,latency_ms_p99,memory_mb,l2_util,dram_util\n"
               "g,m,10,8,30,,300,0.8,0.4\ng,m,10,2,10,12,100,0.2,0.1\ng,m,10,4,20,22,,0.4,\n");
    const gpulet_curve_t *curve = gpulet_profile_curve(profile, "g", "m", 10, 1);
    assert_int_equal(gpulet_curve_batch_min(curve), 2);
    assert_int_equal(gpulet_curve_batch_max(curve), 8);
    assert_near(gpulet_curve_latency_ms(curve, 2, false), 10);
    assert_near(gpulet_curve_latency_ms(curve, 3, false), 15);
    assert_near(gpulet_curve_latency_ms(curve, 7, false), 27.5);
    assert_near(gpulet_curve_latency_ms(curve, 8, false), 30);
    assert_true(isnan(gpulet_curve_latency_ms(curve, 1, false)));
    assert_true(isnan(gpulet_curve_latency_ms(curve, 9, false)));
    assert_true(isnan(gpulet_curve_latency_ms(curve, 0, true)));
    assert_near(gpulet_curve_latency_ms(curve, 3, true), 17);
    assert_near(gpulet_curve_latency_ms(curve, 6, true), 25);
    assert_near(gpulet_curve_latency_ms(curve, 8, true), 30);
    assert_near(gpulet_curve_memory_mb(curve, 2), 100);
    assert_true(isnan(gpulet_curve_memory_mb(curve, 3)));
    assert_near(gpulet_curve_memory_mb(curve, 5), 300);
    assert_true(isnan(gpulet_curve_memory_mb(curve, 9)));
    assert_near(gpulet_curve_l2_util(curve, 3), 0.3);
    assert_true(isnan(gpulet_curve_dram_util(curve, 3)));
    assert_near(gpulet_curve_dram_util(curve, 2), 0.1);
    gpulet_profile_destroy(profile);
}

static void the_prototypes_files_are_read(void **state)
{
    (void)state;
    const char *text = "lenet,20,1,0.5\nlenet,100,32,3.25\r\n";
    gpulet_error_t err;
    gpulet_profile_t *profile = NULL;
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "latency.csv",
                                          GPULET_PROFILE_FORMAT_GLET, NULL, &err),
                     GPULET_OK);
    check_format(profile, HEAD "gpu,lenet,20,1,0.5\ngpu,lenet,100,32,3.25\n");
    gpulet_profile_destroy(profile);
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "latency.csv",
                                          GPULET_PROFILE_FORMAT_GLET, "2080ti", &err),
                     GPULET_OK);
    assert_non_null(gpulet_profile_curve(profile, "2080ti", "lenet", 20, 1));
    gpulet_profile_destroy(profile);
    static const wrong_t wrongs[] = {
        {HEAD, "latency.csv:1: row: expected 4 fields, found 5"},
        {"m,x,1,1\n", "latency.csv:1: partition: expected a whole number"},
        {"m,1,1,0\n", "latency.csv:1: latency_ms: expected a number above 0"},
    };
    for (size_t i = 0; i < sizeof(wrongs) / sizeof(wrongs[0]); i++)
        check_error(gpulet_profile_parse(&profile, wrongs[i].text, strlen(wrongs[i].text),
                                         "latency.csv", GPULET_PROFILE_FORMAT_GLET, NULL, &err),
                    &err, &wrongs[i]);
}

static gpulet_profile_point_t point_of(uint32_t batch, double latency_ms)
{
    return (gpulet_profile_point_t){batch, latency_ms, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
}

static void rows_are_added_once_unless_replaced(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_profile_t *profile = NULL;
    gpulet_profile_point_t point = point_of(4, 2);
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    check_format(profile, HEAD);
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, false, &err), GPULET_OK);
    point.latency_ms = 3;
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, false, &err),
                     GPULET_E_EXISTS);
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, true, &err), GPULET_OK);
    point = point_of(1, 1);
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, false, &err), GPULET_OK);
    assert_int_equal(gpulet_profile_add(profile, "f", "m", 9, 1, &point, true, &err), GPULET_OK);
    check_format(profile, HEAD "f,m,9,1,1\ng,m,1,1,1\ng,m,1,4,3\n");
    assert_true(gpulet_profile_has_model(profile, "f", "m"));
    assert_true(gpulet_profile_has_model(profile, NULL, "m"));
    assert_false(gpulet_profile_has_model(profile, NULL, "n"));
    assert_false(gpulet_profile_has_model(profile, "e", "m"));
    gpulet_profile_destroy(profile);
    gpulet_profile_destroy(NULL);
}

static void a_wrong_row_is_not_added(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_profile_t *profile = NULL;
    gpulet_profile_point_t point = point_of(1, 1);
    assert_int_equal(gpulet_profile_create(&profile), GPULET_OK);
    assert_int_equal(gpulet_profile_add(profile, "", "m", 1, 1, &point, false, &err),
                     GPULET_E_INVALID);
    assert_string_equal(err.text, "device: expected a name, found nothing");
    assert_int_equal(gpulet_profile_add(profile, "g", "a\nb", 1, 1, &point, false, &err),
                     GPULET_E_INVALID);
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 0, 1, &point, false, &err),
                     GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "units: expected"));
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 0, &point, false, &err),
                     GPULET_E_INVALID);
    point.latency_ms = NAN;
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, false, &err),
                     GPULET_E_INVALID);
    assert_string_equal(err.text, "latency_ms: expected a number above 0, found nan");
    point = point_of(0, 1);
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, false, &err),
                     GPULET_E_INVALID);
    point = point_of(1, 1);
    point.dram_util = 2;
    assert_int_equal(gpulet_profile_add(profile, "g", "m", 1, 1, &point, false, &err),
                     GPULET_E_INVALID);
    assert_int_equal(gpulet_profile_curves_count(profile), 0);
    gpulet_profile_destroy(profile);
}

static void sizes_between_measured_ones_are_interpolated(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {10, 20, 30, 40, 50, 60, 80, 90, 20};
    gpulet_error_t err;
    gpulet_profile_t *profile = parsed("device,model,units,instances,batch,latency_ms,memory_mb\n"
                                       "g,m,20,1,1,10,100\ng,m,20,1,4,40,100\n"
                                       "g,m,60,1,2,8,200\ng,m,60,1,8,20,200\n"
                                       "g,m,40,2,1,5,1\n"
                                       "h,m,20,1,1,1,1\nh,m,60,1,1,1,1\n");
    assert_int_equal(gpulet_profile_interpolate_units(profile, "g", sizes, 9, &err), GPULET_OK);
    const gpulet_curve_t *curve = gpulet_profile_curve(profile, "g", "m", 40, 1);
    assert_non_null(curve);
    assert_int_equal(curve->points_count, 2);
    assert_int_equal(gpulet_curve_batch_min(curve), 2);
    assert_int_equal(gpulet_curve_batch_max(curve), 4);
    assert_near(gpulet_curve_latency_ms(curve, 2, false), (20 + 8) / 2.0);
    assert_near(gpulet_curve_latency_ms(curve, 4, false), (40 + 12) / 2.0);
    assert_near(gpulet_curve_memory_mb(curve, 4), 200);
    assert_non_null(gpulet_profile_curve(profile, "g", "m", 30, 1));
    assert_null(gpulet_profile_curve(profile, "g", "m", 10, 1));
    assert_null(gpulet_profile_curve(profile, "g", "m", 80, 1));
    assert_null(gpulet_profile_curve(profile, "g", "m", 30, 2));
    assert_null(gpulet_profile_curve(profile, "h", "m", 40, 1));
    gpulet_profile_destroy(profile);
}

/* Adds the same rows in another order: the text is the same. */
static void the_order_of_rows_does_not_matter(void **state)
{
    (void)state;
    enum { ROWS = 400 };
    gpulet_profile_t *profiles[2] = {NULL, NULL};
    gpulet_buf_t texts[2] = {GPULET_BUF_INIT, GPULET_BUF_INIT};
    uint32_t order[ROWS];
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 11);
    for (uint32_t i = 0; i < ROWS; i++)
        order[i] = i;
    for (int p = 0; p < 2; p++) {
        assert_int_equal(gpulet_profile_create(&profiles[p]), GPULET_OK);
        for (uint32_t i = 0; i < ROWS; i++) {
            uint32_t row = order[i];
            char model[16];
            gpulet_profile_point_t point = point_of(1 + row % 10, 1 + row);
            (void)snprintf(model, sizeof(model), "m%u", row / 40);
            assert_int_equal(gpulet_profile_add(profiles[p], row % 3 == 0 ? "a" : "b", model,
                                                1 + row / 10 % 2, 1 + row / 20 % 2, &point, false,
                                                NULL),
                             GPULET_OK);
        }
        assert_int_equal(gpulet_profile_format_csv(&texts[p], profiles[p]), GPULET_OK);
        for (uint32_t i = ROWS - 1; i > 0; i--) {
            uint32_t j = (uint32_t)gpulet_rng_below(&rng, i + 1);
            uint32_t swapped = order[i];
            order[i] = order[j];
            order[j] = swapped;
        }
    }
    assert_string_equal(texts[0].data, texts[1].data);
    gpulet_profile_t *again = parsed(texts[0].data);
    check_format(again, texts[0].data);
    gpulet_profile_destroy(again);
    for (int p = 0; p < 2; p++) {
        gpulet_profile_destroy(profiles[p]);
        gpulet_buf_deinit(&texts[p]);
    }
}

static void a_large_profile_loads_quickly_in_any_order(void **state)
{
    (void)state;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_profile_t *profile = NULL;
    gpulet_buf_append_str(&buf, HEAD);
    for (int batch = 10; batch > 0; batch--) {
        for (int model = 999; model >= 0; model--) {
            for (int size = 1; size <= 10; size++)
                gpulet_buf_printf(&buf, "gpu,model-%d,%d,%d,%d.25\n", model, size * 10, batch * 4,
                                  batch);
        }
    }
    clock_t start = clock();
    profile = parsed(buf.data);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("100000 rows in %.3f s of CPU\n", seconds);
    assert_int_equal(gpulet_profile_curves_count(profile), 10000);
    assert_true(seconds < 5); /* far below one second without a sanitizer */
    gpulet_profile_destroy(profile);
    gpulet_buf_deinit(&buf);
}

static void measured_files_load_and_survive_a_round_trip(void **state)
{
    (void)state;
    static const char *const names[] = {"profile_a100_mig.csv", "profile_titanx.csv"};
    for (size_t i = 0; i < 2; i++) {
        char path[4096];
        gpulet_error_t err = {""};
        gpulet_profile_t *profile = NULL;
        gpulet_buf_t buf = GPULET_BUF_INIT;
        if (gpulet_profile_load(&profile, shared_data(path, sizeof(path), names[i]),
                                GPULET_PROFILE_FORMAT_CSV, NULL, &err) != GPULET_OK)
            fail_msg("%s", err.text);
        assert_int_equal(gpulet_profile_format_csv(&buf, profile), GPULET_OK);
        gpulet_profile_t *again = parsed(buf.data);
        check_format(again, buf.data);
        assert_int_equal(gpulet_profile_curves_count(profile), gpulet_profile_curves_count(again));
        gpulet_profile_destroy(again);
        gpulet_profile_destroy(profile);
        gpulet_buf_deinit(&buf);
    }
}

static void the_measured_bert_has_its_figures(void **state)
{
    (void)state;
    char path[4096];
    gpulet_profile_t *profile = NULL;
    assert_int_equal(gpulet_profile_load(&profile,
                                         shared_data(path, sizeof(path), "profile_a100_mig.csv"),
                                         GPULET_PROFILE_FORMAT_CSV, NULL, NULL),
                     GPULET_OK);
    const gpulet_curve_t *curve = gpulet_profile_curve(profile, "a100-mig", "bert", 1, 2);
    assert_non_null(curve);
    assert_near(gpulet_curve_latency_ms(curve, 1, false), 19.0767);
    assert_null(gpulet_profile_curve(profile, "a100-mig", "bert", 5, 1));
    gpulet_profile_destroy(profile);
}

static void bytes_of_an_input_are_kept(void **state)
{
    (void)state;
    static const char text[] = "device,model,units,batch,latency_ms,input_bytes\ng,a,1,1,2.5,"
                               "600\ng,a,1,2,3.5,\ng,b,1,1,1,\n";
    gpulet_profile_t *profile = NULL;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p.csv",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                     GPULET_OK);
    assert_true(gpulet_curve_input_bytes(gpulet_profile_curve_at(profile, 0)) == 600);
    assert_true(gpulet_curve_input_bytes(gpulet_profile_curve_at(profile, 1)) == 0);
    assert_int_equal(gpulet_profile_format_csv(&buf, profile), GPULET_OK);
    assert_string_equal(buf.data, text);
    gpulet_buf_deinit(&buf);
    gpulet_profile_destroy(profile);
    static const wrong_t wrong = {"device,model,units,batch,latency_ms,input_bytes\ng,a,1,1,2,-1\n",
                                  "p.csv:2: input_bytes: expected"};
    check_error(gpulet_profile_parse(&profile, wrong.text, strlen(wrong.text), "p.csv",
                                     GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                &err, &wrong);
}

static bool same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static void a_walk_meets_every_batch_with_the_figures_asked_for_alone(void **state)
{
    (void)state;
    static const char text[] =
        "device,model,units,batch,latency_ms,latency_ms_p99,memory_mb\n"
        "g,a,1,3,2.5,2.9,\ng,a,1,4,3.5,,600\ng,a,1,9,4.25,5,700\ng,a,1,17,9,9.5,650\n"
        "g,b,1,1,1,,\n";
    gpulet_profile_t *profile = NULL;
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p.csv",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, NULL),
                     GPULET_OK);
    for (size_t i = 0; i < gpulet_profile_curves_count(profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, i);
        for (int p99 = 0; p99 < 2; p99++) {
            gpulet_curve_walk_t walk = gpulet_curve_walk(curve, p99 == 1);
            for (uint32_t b = gpulet_curve_batch_min(curve); b <= gpulet_curve_batch_max(curve);
                 b++) {
                assert_true(gpulet_curve_walk_next(&walk));
                assert_int_equal(walk.batch, b);
                assert_true(
                    same_number(walk.latency_ms, gpulet_curve_latency_ms(curve, b, p99 == 1)));
                assert_true(same_number(walk.memory_mb, gpulet_curve_memory_mb(curve, b)));
            }
            assert_false(gpulet_curve_walk_next(&walk));
            assert_false(gpulet_curve_walk_next(&walk));
        }
    }
    gpulet_profile_destroy(profile);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_profile_t *profile = NULL;
    assert_int_equal(
        gpulet_profile_load(&profile, "/nonexistent/p.csv", GPULET_PROFILE_FORMAT_CSV, NULL, &err),
        GPULET_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/p.csv"));
}

static void cold_runs_take_longer_by_what_the_curve_says(void **state)
{
    (void)state;
    static const char text[] = "device,model,units,batch,latency_ms,cold_ms\ng,a,1,1,2.5,0.3\n"
                               "g,a,1,2,3.5,\ng,a,3,1,1.5,0.5\ng,a,3,2,2.5,\ng,b,1,1,1,\n";
    static const uint32_t sizes[] = {2};
    gpulet_profile_t *profile = NULL;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p.csv",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                     GPULET_OK);
    assert_true(gpulet_curve_cold_ms(gpulet_profile_curve(profile, "g", "a", 1, 1)) == 0.3);
    assert_true(gpulet_curve_cold_ms(gpulet_profile_curve(profile, "g", "b", 1, 1)) == 0);
    assert_int_equal(gpulet_profile_format_csv(&buf, profile), GPULET_OK);
    assert_string_equal(buf.data, text);
    assert_int_equal(gpulet_profile_interpolate_units(profile, "g", sizes, 1, &err), GPULET_OK);
    assert_true(gpulet_curve_cold_ms(gpulet_profile_curve(profile, "g", "a", 2, 1)) == 0.5);
    gpulet_buf_deinit(&buf);
    gpulet_profile_destroy(profile);
    static const wrong_t wrong = {"device,model,units,batch,latency_ms,cold_ms\ng,a,1,1,2,-1\n",
                                  "p.csv:2: cold_ms: expected"};
    check_error(gpulet_profile_parse(&profile, wrong.text, strlen(wrong.text), "p.csv",
                                     GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                &err, &wrong);
}

static void a_clone_has_every_curve(void **state)
{
    static const char text[] = "device,model,units,batch,latency_ms,latency_ms_p99,memory_mb\n"
                               "a,m,1,1,4,5,100\na,m,1,4,8,9,120\nb,n,3,1,2,3,100\n";
    gpulet_profile_t *profile = NULL;
    gpulet_profile_t *copy = NULL;
    gpulet_buf_t before = GPULET_BUF_INIT;
    gpulet_buf_t after = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p.csv",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                     GPULET_OK);
    assert_int_equal(gpulet_profile_clone(&copy, profile), GPULET_OK);
    assert_int_equal(gpulet_profile_format_csv(&before, profile), GPULET_OK);
    gpulet_profile_destroy(profile);
    assert_int_equal(gpulet_profile_format_csv(&after, copy), GPULET_OK);
    assert_string_equal(after.data, before.data);
    gpulet_buf_deinit(&before);
    gpulet_buf_deinit(&after);
    gpulet_profile_destroy(copy);
}

static void curves_of_several_instances_are_left_out(void **state)
{
    static const char text[] = "device,model,units,batch,instances,latency_ms\n"
                               "a,m,1,1,1,4\na,m,1,1,2,6\na,m,2,1,1,3\nb,n,3,1,3,2\n";
    static const char single[] = "device,model,units,batch,latency_ms\na,m,1,1,4\na,m,2,1,3\n";
    gpulet_profile_t *profile = NULL;
    gpulet_buf_t left = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    (void)state;
    assert_int_equal(gpulet_profile_parse(&profile, text, strlen(text), "p.csv",
                                          GPULET_PROFILE_FORMAT_CSV, NULL, &err),
                     GPULET_OK);
    assert_int_equal(gpulet_profile_keep_single(profile), 2);
    assert_int_equal(gpulet_profile_keep_single(profile), 0);
    assert_int_equal(gpulet_profile_format_csv(&left, profile), GPULET_OK);
    assert_string_equal(left.data, single);
    assert_false(gpulet_profile_has_model(profile, NULL, "n"));
    gpulet_buf_deinit(&left);
    gpulet_profile_destroy(profile);
}

static void a_model_is_forgotten_and_another_profile_taken_in(void **state)
{
    static const char mine[] = "device,model,units,batch,latency_ms\n"
                               "a,m,1,1,4\na,m,1,2,5\na,n,1,1,3\nb,m,3,1,2\n";
    static const char its[] = "device,model,units,batch,latency_ms\na,m,1,2,6\na,m,2,1,1\n";
    static const char both[] = "device,model,units,batch,latency_ms\n"
                               "a,m,1,1,4\na,m,1,2,6\na,m,2,1,1\na,n,1,1,3\nb,m,3,1,2\n";
    static const char rest[] = "device,model,units,batch,latency_ms\na,n,1,1,3\n";
    gpulet_profile_t *profile = parsed(mine), *other = parsed(its);
    (void)state;
    assert_int_equal(gpulet_profile_merge(profile, other), GPULET_OK);
    check_format(profile, both);
    assert_int_equal(gpulet_profile_remove_model(profile, "m"), 3);
    assert_int_equal(gpulet_profile_remove_model(profile, "m"), 0);
    check_format(profile, rest);
    gpulet_profile_destroy(other);
    gpulet_profile_destroy(profile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_may_stand_in_any_order),
        cmocka_unit_test(a_model_is_forgotten_and_another_profile_taken_in),
        cmocka_unit_test(errors_name_file_line_and_field),
        cmocka_unit_test(a_name_too_long_is_refused),
        cmocka_unit_test(latency_is_linear_between_batches_and_nowhere_else),
        cmocka_unit_test(the_prototypes_files_are_read),
        cmocka_unit_test(rows_are_added_once_unless_replaced),
        cmocka_unit_test(a_wrong_row_is_not_added),
        cmocka_unit_test(sizes_between_measured_ones_are_interpolated),
        cmocka_unit_test(the_order_of_rows_does_not_matter),
        cmocka_unit_test(a_large_profile_loads_quickly_in_any_order),
        cmocka_unit_test(measured_files_load_and_survive_a_round_trip),
        cmocka_unit_test(the_measured_bert_has_its_figures),
        cmocka_unit_test(bytes_of_an_input_are_kept),
        cmocka_unit_test(cold_runs_take_longer_by_what_the_curve_says),
        cmocka_unit_test(a_clone_has_every_curve),
        cmocka_unit_test(curves_of_several_instances_are_left_out),
        cmocka_unit_test(a_walk_meets_every_batch_with_the_figures_asked_for_alone),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests_name("core.profile", tests, NULL, NULL);
}
