#include "core/app.h"

#include "check.h"

static gpulet_app_t *new_app(void)
{
    gpulet_app_t *app = NULL;
    assert_int_equal(gpulet_app_create(&app, "a", NULL), GPULET_OK);
    return app;
}

static uint32_t stage(gpulet_app_t *app, const char *name)
{
    uint32_t index = UINT32_MAX;
    assert_int_equal(gpulet_app_add_stage(app, &index, name, "m", NULL), GPULET_OK);
    return index;
}

static void ok(gpulet_status_t status)
{
    assert_int_equal(status, GPULET_OK);
}

/* camera → detect → crop → {car, person}; the crop reads the camera's image as well. */
static gpulet_app_t *traffic(void)
{
    gpulet_app_t *app = new_app();
    ok(gpulet_app_add_input(app, "image", NULL));
    ok(gpulet_app_add_output(app, "car", NULL));
    ok(gpulet_app_add_output(app, "person", NULL));
    uint32_t person = stage(app, "person");
    uint32_t detect = stage(app, "detect");
    uint32_t crop = stage(app, "crop");
    uint32_t car = stage(app, "car");
    ok(gpulet_app_map_input(app, person, "data", "crop", NULL));
    ok(gpulet_app_map_output(app, person, "prob", "person", NULL));
    ok(gpulet_app_map_input(app, detect, "image", "image", NULL));
    ok(gpulet_app_map_output(app, detect, "boxes", "boxes", NULL));
    ok(gpulet_app_map_output(app, detect, "scores", "scores", NULL));
    ok(gpulet_app_map_input(app, crop, "image", "image", NULL));
    ok(gpulet_app_map_input(app, crop, "boxes", "boxes", NULL));
    ok(gpulet_app_map_input(app, crop, "scores", "scores", NULL));
    ok(gpulet_app_map_output(app, crop, "crop", "crop", NULL));
    ok(gpulet_app_map_input(app, car, "data", "crop", NULL));
    ok(gpulet_app_map_output(app, car, "prob", "car", NULL));
    return app;
}

static void the_graph_follows_from_the_tensors(void **state)
{
    (void)state;
    gpulet_app_t *app = traffic();
    ok(gpulet_app_finish(app, NULL));
    assert_int_equal(app->stages[0].before, 1U << 2);
    assert_int_equal(app->stages[1].before, 0);
    assert_int_equal(app->stages[2].before, 1U << 1);
    assert_int_equal(app->stages[3].before, 1U << 2);
    assert_int_equal(app->stages[2].after, 1U << 0 | 1U << 3);
    assert_int_equal(app->all, 15);
    assert_int_equal(app->first, 1U << 1);
    assert_int_equal(app->last, 1U << 0 | 1U << 3);
    const uint32_t order[] = {1, 2, 0, 3};
    assert_memory_equal(app->order, order, sizeof(order));
    const gpulet_app_tensor_t *crop = &app->tensors[gpulet_app_find_tensor(app, "crop")];
    assert_int_equal(crop->producer, 2);
    assert_int_equal(crop->consumers, 1U << 0 | 1U << 3);
    assert_false(crop->wanted);
    const gpulet_app_tensor_t *image = &app->tensors[app->inputs[0]];
    assert_true(image->producer == GPULET_APP_CLIENT);
    assert_int_equal(image->consumers, 1U << 1 | 1U << 2);
    gpulet_app_destroy(app);
    gpulet_app_destroy(NULL);
}

static void stages_of_one_model_get_names_of_their_own(void **state)
{
    (void)state;
    gpulet_app_t *app = new_app();
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(stage(app, NULL), i);
    assert_string_equal(app->stages[0].name, "m");
    assert_string_equal(app->stages[1].name, "m#2");
    assert_string_equal(app->stages[2].name, "m#3");
    assert_int_equal(gpulet_app_find_stage(app, "m#3"), 2);
    assert_true(gpulet_app_find_stage(app, "m#4") == UINT32_MAX);
    ok(gpulet_app_finish(app, NULL));
    gpulet_app_destroy(app);
}

static void the_longest_way_is_found_behind_every_stage(void **state)
{
    (void)state;
    gpulet_app_t *app = traffic();
    uint64_t rest[4];
    double rest_ms[4];
    const uint64_t cost[] = {30, 90, 5, 20};
    const double cost_ms[] = {30, 90, 5, 20};
    ok(gpulet_app_finish(app, NULL));
    assert_int_equal(gpulet_app_rest_ns(rest, app, cost), 125);
    const uint64_t expected[] = {0, 35, 30, 0};
    assert_memory_equal(rest, expected, sizeof(expected));
    assert_true(gpulet_app_rest_ms(rest_ms, app, cost_ms) == 125);
    assert_true(rest_ms[1] == 35 && rest_ms[2] == 30 && rest_ms[3] == 0);
    const uint64_t endless[] = {UINT64_MAX, 1, 1, 1};
    assert_true(gpulet_app_rest_ns(NULL, app, endless) == UINT64_MAX);
    gpulet_app_destroy(app);
}

static void sixty_four_stages_fit_and_no_more(void **state)
{
    (void)state;
    gpulet_app_t *app = new_app();
    gpulet_error_t err = {""};
    uint32_t index = 0;
    for (uint32_t i = 0; i < GPULET_APP_STAGES_MAX; i++) {
        index = stage(app, NULL);
        if (i > 0)
            gpulet_app_add_after(app, index, i - 1);
    }
    assert_int_equal(gpulet_app_add_stage(app, &index, NULL, "m", &err), GPULET_E_TOO_LARGE);
    ok(gpulet_app_finish(app, NULL));
    assert_true(app->all == UINT64_MAX);
    assert_true(app->last == UINT64_C(1) << 63);
    gpulet_app_destroy(app);
}

/* Each breaks the good application in one way. */
static void unread_input(gpulet_app_t *app)
{
    ok(gpulet_app_add_input(app, "more", NULL));
}

static void unwritten_output(gpulet_app_t *app)
{
    ok(gpulet_app_add_output(app, "more", NULL));
}

static void input_as_output(gpulet_app_t *app)
{
    ok(gpulet_app_add_output(app, "image", NULL));
}

static void unread_tensor(gpulet_app_t *app)
{
    ok(gpulet_app_map_output(app, 1, "more", "more", NULL));
}

static void unknown_tensor(gpulet_app_t *app)
{
    ok(gpulet_app_map_input(app, 3, "more", "more", NULL));
}

static void stage_without_inputs(gpulet_app_t *app)
{
    uint32_t index = stage(app, "more");
    ok(gpulet_app_map_output(app, index, "o", "more", NULL));
    ok(gpulet_app_add_output(app, "more", NULL));
}

static void stage_without_outputs(gpulet_app_t *app)
{
    ok(gpulet_app_map_input(app, stage(app, "more"), "i", "image", NULL));
}

static void waits_in_a_circle(gpulet_app_t *app)
{
    ok(gpulet_app_map_input(app, 1, "back", "person", NULL));
}

static void waits_for_itself(gpulet_app_t *app)
{
    gpulet_app_add_after(app, 3, 3);
}

static void a_graph_that_cannot_run_is_refused_by_name(void **state)
{
    (void)state;
    const struct {
        void (*spoil)(gpulet_app_t *app);
        const char *error;
    } cases[] = {
        {unread_input, "input 'more': no stage reads it"},
        {unwritten_output, "output 'more': no stage writes it"},
        {input_as_output, "output 'image': no stage writes it"},
        {unread_tensor, "stage 'detect': output_map: tensor 'more' is neither read by a stage nor "
                        "an output"},
        {unknown_tensor,
         "stage 'car': input_map: tensor 'more' is neither an input nor written by a stage"},
        {stage_without_inputs, "stage 'more': input_map: expected at least one tensor"},
        {stage_without_outputs, "stage 'more': output_map: expected at least one tensor"},
        {waits_in_a_circle,
         "stages wait for one another: 'person' after 'crop' after 'detect' after 'person'"},
        {waits_for_itself, "stages wait for one another: 'car' after 'car'"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_app_t *app = traffic();
        gpulet_error_t err = {""};
        cases[i].spoil(app);
        assert_int_equal(gpulet_app_finish(app, &err), GPULET_E_INVALID);
        if (strstr(err.text, cases[i].error) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", err.text, cases[i].error);
        gpulet_app_destroy(app);
    }
    gpulet_app_t *empty = new_app();
    gpulet_error_t err = {""};
    assert_int_equal(gpulet_app_finish(empty, &err), GPULET_E_INVALID);
    assert_non_null(strstr(err.text, "at least one stage"));
    gpulet_app_destroy(empty);
}

static void what_is_given_twice_is_refused_by_name(void **state)
{
    (void)state;
    gpulet_app_t *app = traffic();
    gpulet_error_t err = {""};
    uint32_t index = 0;
    assert_int_equal(gpulet_app_add_input(app, "image", &err), GPULET_E_EXISTS);
    assert_string_equal(err.text, "input 'image' is given twice");
    assert_int_equal(gpulet_app_add_output(app, "car", &err), GPULET_E_EXISTS);
    assert_string_equal(err.text, "output 'car' is given twice");
    assert_int_equal(gpulet_app_add_stage(app, &index, "car", "m", &err), GPULET_E_EXISTS);
    assert_string_equal(err.text, "stage 'car' is given twice");
    assert_int_equal(gpulet_app_map_input(app, 3, "data", "boxes", &err), GPULET_E_EXISTS);
    assert_string_equal(err.text, "stage 'car': input_map: 'data' is mapped twice");
    assert_int_equal(gpulet_app_map_output(app, 3, "other", "boxes", &err), GPULET_E_EXISTS);
    assert_string_equal(
        err.text, "stage 'car': output_map: tensor 'boxes' is written by stage 'detect' already");
    assert_int_equal(gpulet_app_map_output(app, 3, "other", "image", &err), GPULET_E_EXISTS);
    assert_string_equal(
        err.text, "stage 'car': output_map: tensor 'image' is an input already, so no stage may "
                  "write it");
    assert_int_equal(gpulet_app_add_input(app, "", &err), GPULET_E_INVALID);
    gpulet_app_destroy(app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_graph_follows_from_the_tensors),
        cmocka_unit_test(stages_of_one_model_get_names_of_their_own),
        cmocka_unit_test(the_longest_way_is_found_behind_every_stage),
        cmocka_unit_test(sixty_four_stages_fit_and_no_more),
        cmocka_unit_test(a_graph_that_cannot_run_is_refused_by_name),
        cmocka_unit_test(what_is_given_twice_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("core.app", tests, NULL, NULL);
}
