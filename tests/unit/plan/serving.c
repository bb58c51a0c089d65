/* Plans for serving: spare units, safety, models that a plan leaves out, little movement. */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>

#include "core/plan_movement.h"
#include "plan/serving.h"

/* As it was measured on two cores that others were using too. */
static const char disturbed[] = "device,model,units,batch,latency_ms,latency_ms_p99\n"
                                "cpu,lenet,1,1,0.16,0.3\ncpu,lenet,1,4,0.4,0.7\n"
                                "cpu,lenet,2,1,0.15,0.3\ncpu,lenet,2,4,0.35,0.6\n"
                                "cpu,digits,1,1,0.1,0.2\ncpu,digits,1,4,0.2,0.3\n"
                                "cpu,digits,2,1,0.1,0.2\ncpu,digits,2,4,0.2,0.3\n"
                                "cpu,resnet50,1,1,77,85\ncpu,resnet50,1,2,150,165\n"
                                "cpu,resnet50,2,1,42,60\ncpu,resnet50,2,2,80,110\n"
                                "cpu,vgg16,1,1,403,421\ncpu,vgg16,1,2,780,830\n"
                                "cpu,vgg16,2,1,230,290\ncpu,vgg16,2,2,420,500\n";
static const char two_cores[] = "types: {cpu: {units: 2, sizes: [1, 2]}}\ndevices: {cpu: 1}\n";

static const char many[] = "device,model,units,batch,latency_ms,memory_mb\n"
                           "gpu,a,20,1,10,100\ngpu,a,20,8,40,100\n"
                           "gpu,a,50,1,5,100\ngpu,a,50,8,20,100\n"
                           "gpu,a,100,1,3,100\ngpu,a,100,8,12,100\n"
                           "gpu,b,20,1,20,100\ngpu,b,20,8,90,100\n"
                           "gpu,b,50,1,9,100\ngpu,b,50,8,38,100\n"
                           "gpu,b,100,1,5,100\ngpu,b,100,8,20,100\n";
static const char four_gpus[] =
    "types: {gpu: {units: 100, sizes: [20, 50, 100], gpulets_max: 4, memory_mb: 1000}}\n"
    "devices: {gpu: 4}\n";

static gpulet_plan_t *serve(const fixture_t *f, const gpulet_serving_options_t *options,
                            gpulet_serving_note_t *note)
{
    gpulet_plan_t *plan = NULL;
    gpulet_serving_note_t own;
    gpulet_error_t err = {{0}};
    gpulet_plan_input_t reached = f->input;
    note = note != NULL ? note : &own;
    gpulet_status_t st = gpulet_plan_serving(&plan, note, &f->input, options, &err);
    if (st != GPULET_OK)
        fail_msg("%s", err.text);
    reached.rate_percentile = note->percentile;
    if (plan->feasible)
        assert_int_equal(gpulet_plan_verify(plan, &reached, &err), GPULET_OK);
    return plan;
}

static void no_model_is_left_out_for_the_sake_of_another(void **state)
{
    fixture_t f;
    gpulet_serving_note_t note;
    const gpulet_serving_options_t options = {gpulet_planner_find("elastic"), true, false, 0, 0};
    (void)state;
    fixture_init(&f, disturbed, two_cores,
                 "model,rate_rps,slo_ms\nlenet,300,10\ndigits,100,10\nresnet50,2,700\n"
                 "vgg16,0.7,2000\n",
                 NULL);
    f.input.p99 = true;
    f.input.rate_percentile = 0.99;
    gpulet_plan_t *plan = serve(&f, &options, &note);
    assert_false(plan->feasible);
    assert_non_null(strstr(plan->reason, "vgg16"));
    assert_int_equal(note.orphans, 0);
    assert_true(note.multiple > 0.8 && note.multiple < 1);
    assert_ptr_not_equal(fixture_gpulet_of(plan, "vgg16", NULL),
                         fixture_gpulet_of(plan, "lenet", NULL));
    assert_true(gpulet_plan_covers_rps(plan, "lenet") > 299.9);
    assert_true(gpulet_plan_covers_rps(plan, "vgg16") > 0.5);
    gpulet_plan_destroy(plan);
    /* Far too much of a heavy model: the light ones are held whole beside what fits of it. */
    fixture_set_workload(&f, "model,rate_rps,slo_ms\nlenet,300,20\nvgg16,20,2000\n");
    plan = serve(&f, &options, &note);
    assert_false(plan->feasible);
    assert_true(gpulet_plan_covers_rps(plan, "lenet") > 299.9);
    assert_true(gpulet_plan_covers_rps(plan, "vgg16") > 1.5);
    assert_ptr_not_equal(fixture_gpulet_of(plan, "vgg16", NULL),
                         fixture_gpulet_of(plan, "lenet", NULL));
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_model_without_hope_goes_where_the_fewest_are_late(void **state)
{
    fixture_t f;
    gpulet_serving_note_t note;
    const gpulet_plan_share_t *share = NULL;
    const gpulet_serving_options_t options = {gpulet_planner_find("elastic"), true, false, 0, 0};
    (void)state;
    fixture_init(&f, disturbed, two_cores,
                 "model,rate_rps,slo_ms\nlenet,300,10\ndigits,100,10\nresnet50,2,900\n"
                 "vgg16,0.1,300\n",
                 NULL);
    gpulet_plan_t *plan = serve(&f, &options, &note);
    assert_false(plan->feasible);
    assert_int_equal(note.orphans, 1);
    assert_ptr_equal(fixture_gpulet_of(plan, "vgg16", &share),
                     fixture_gpulet_of(plan, "resnet50", NULL));
    assert_true(share->rate_rps > 0.09 && share->capacity_rps <= 0 && share->latency_ms > 200);
    assert_true(gpulet_plan_covers_rps(plan, "vgg16") <= 0);
    assert_true(gpulet_plan_covers_rps(plan, "lenet") >= 299.9);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void without_any_gpulet_one_over_a_whole_device_is_made(void **state)
{
    fixture_t f;
    gpulet_plan_t *plan = NULL;
    uint32_t orphans = 0;
    gpulet_error_t err;
    (void)state;
    fixture_init(&f, disturbed, two_cores, "model,rate_rps,slo_ms\nlenet,1,10\nvgg16,1,2000\n",
                 NULL);
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    assert_int_equal(gpulet_plan_adopt_orphans(plan, &orphans, &f.input, &err), GPULET_OK);
    assert_int_equal(orphans, 2);
    assert_int_equal(plan->devices_count, 1);
    assert_int_equal(plan->devices[0].gpulets[0].units, 2);
    assert_int_equal(plan->devices[0].gpulets[0].shares_count, 2);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void nothing_is_adopted_where_its_memory_does_not_fit(void **state)
{
    fixture_t f;
    gpulet_plan_t *plan = NULL;
    uint32_t orphans = 9;
    gpulet_error_t err;
    (void)state;
    fixture_init(&f, many,
                 "types: {gpu: {units: 100, sizes: [20, 50, 100], memory_mb: 150}}\n"
                 "devices: {gpu: 1}\n",
                 "model,rate_rps,slo_ms\na,1,100\nb,1,100\n", NULL);
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    assert_int_equal(gpulet_plan_adopt_orphans(plan, &orphans, &f.input, &err), GPULET_OK);
    assert_int_equal(orphans, 1);
    assert_int_equal(plan->devices[0].gpulets[0].shares_count, 1);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void spare_units_are_those_of_the_devices_that_are_needed(void **state)
{
    fixture_t f;
    gpulet_serving_note_t note;
    gpulet_serving_options_t options = {gpulet_planner_find("elastic"), true, false, 0, 0};
    (void)state;
    fixture_init(&f, many, four_gpus, "model,rate_rps,slo_ms\na,100,100\nb,20,200\n", NULL);
    gpulet_plan_t *plan = serve(&f, &options, &note);
    assert_int_equal(plan->devices_used, 1);
    assert_true(note.multiple > 1.2 && note.could_hold >= note.multiple);
    assert_true(fabs(gpulet_plan_covers_rps(plan, "a") - 100 * note.multiple) < 1e-6);
    gpulet_plan_destroy(plan);
    options.all_devices = true;
    gpulet_serving_note_t all;
    plan = serve(&f, &options, &all);
    assert_true(plan->devices_used > 1 && all.multiple > 2 * note.multiple);
    gpulet_plan_destroy(plan);
    options.use_spare = false;
    plan = serve(&f, &options, &note);
    assert_true(note.multiple <= 1 && gpulet_plan_covers_rps(plan, "a") <= 100);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

/* Beside a batch of 2.4 ms a run of 0.23 ms is in time within 3 ms on paper, and not once the way
 * of a request to the gpu-let and back is counted. */
static void the_way_there_and_back_is_not_planned_away(void **state)
{
    static const char quick[] = "device,model,units,batch,latency_ms\n"
                                "gpu,small,20,1,0.18\ngpu,small,20,32,0.23\n"
                                "gpu,small,100,1,0.1\ngpu,small,100,32,0.13\n"
                                "gpu,large,20,1,2.4\ngpu,large,100,1,2.4\n";
    fixture_t f;
    gpulet_serving_options_t options = {gpulet_planner_find("elastic"), false, false, 0, 0};
    (void)state;
    fixture_init(&f, quick, "types: {gpu: {units: 100, sizes: [20, 100]}}\ndevices: {gpu: 1}\n",
                 "model,rate_rps,slo_ms\nsmall,500,3\nlarge,1800,100\n", NULL);
    gpulet_plan_t *plan = serve(&f, &options, NULL);
    assert_true(plan->feasible); /* in five parts, the small one in turns with the large one */
    gpulet_plan_destroy(plan);
    options.overhead_ms = 0.3;
    plan = serve(&f, &options, NULL);
    assert_false(plan->feasible); /* with one of them to itself */
    assert_int_equal(fixture_gpulet_of(plan, "small", NULL)->shares_count, 1);
    assert_true(gpulet_plan_covers_rps(plan, "small") > 499.9);
    assert_true(gpulet_plan_covers_rps(plan, "large") > 1500);
    assert_true(plan->models[0].slo_ms >= 3 && plan->models[0].slo_ms <= 3); /* as it was set */
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_smaller_margin_is_better_than_a_model_left_out(void **state)
{
    fixture_t f;
    gpulet_serving_note_t note;
    const gpulet_serving_options_t options = {gpulet_planner_find("elastic"), true, false, 0, 0};
    (void)state;
    fixture_init(&f, many, "types: {gpu: {units: 100, sizes: [20, 50, 100]}}\ndevices: {gpu: 1}\n",
                 "model,rate_rps,slo_ms\na,600,100\n", NULL);
    f.input.rate_percentile = 0.9999;
    gpulet_plan_t *plan = serve(&f, &options, &note);
    assert_true(plan->feasible);
    assert_true(note.percentile < 0.9999 && note.orphans == 0);
    gpulet_plan_destroy(plan);
    fixture_deinit(&f);
}

static void a_running_plan_moves_as_little_as_it_must(void **state)
{
    fixture_t f;
    const gpulet_serving_options_t options = {gpulet_planner_find("elastic"), true, false, 0, 0};
    (void)state;
    fixture_init(&f, many, four_gpus, "model,rate_rps,slo_ms\na,900,100\nb,300,200\n", NULL);
    gpulet_plan_t *running = serve(&f, &options, NULL);
    assert_true(running->devices_used >= 2);
    fixture_set_workload(&f, "model,rate_rps,slo_ms\na,905,100\nb,300,200\n");
    f.input.from = running;
    gpulet_plan_t *next = serve(&f, &options, NULL);
    gpulet_plan_movement_t little = gpulet_plan_movement(running, next);
    assert_int_equal(little.gpulets_started, 0);
    gpulet_plan_destroy(next);
    /* Down to fewer devices, from a plan that names more. */
    fixture_set_workload(&f, "model,rate_rps,slo_ms\na,50,100\nb,10,200\n");
    next = serve(&f, &options, NULL);
    assert_int_equal(next->devices_used, 1);
    gpulet_plan_destroy(next);
    gpulet_plan_destroy(running);
    fixture_deinit(&f);
}

/* From one load to the next: gpu-lets started, by plans for serving and by the planner alone that
 * knows the running plan too. */
static void less_moves_than_the_planner_alone_would(void **state)
{
    static const char *const loads[] = {"a,900,100\nb,300,200\n", "a,300,100\nb,900,200\n",
                                        "a,700,100\nb,500,200\n", "a,1500,100\nb,100,200\n",
                                        "a,400,100\nb,400,200\n", "a,100,100\nb,1000,200\n",
                                        "a,1200,100\nb,600,200\n"};
    const gpulet_serving_options_t options = {gpulet_planner_find("elastic"), false, false, 0, 0};
    uint32_t served = 0;
    uint32_t planned = 0;
    gpulet_plan_t *running = NULL;
    fixture_t f;
    (void)state;
    fixture_init(&f, many, four_gpus, "model,rate_rps,slo_ms\na,1,100\nb,1,200\n", NULL);
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        char text[96];
        (void)snprintf(text, sizeof(text), "model,rate_rps,slo_ms\n%s", loads[i]);
        fixture_set_workload(&f, text);
        f.input.from = running;
        gpulet_plan_t *next = serve(&f, &options, NULL);
        gpulet_plan_t *alone = fixture_plan(&f, "elastic");
        if (running != NULL) {
            served += gpulet_plan_movement(running, next).gpulets_started;
            planned += gpulet_plan_movement(running, alone).gpulets_started;
        }
        assert_true(next->devices_used <= alone->devices_used);
        gpulet_plan_destroy(alone);
        gpulet_plan_destroy(running);
        running = next;
    }
    assert_true(served < planned);
    gpulet_plan_destroy(running);
    fixture_deinit(&f);
}

/* The load falls to what one device holds. It is the second one that goes on with what it has, and
 * under its own number. */
static void what_runs_on_a_later_device_stays_there(void **state)
{
    static const char parts[] = "device,model,units,batch,latency_ms\n"
                                "gpu,light,20,1,5\ngpu,light,20,4,10\n"
                                "gpu,heavy,80,1,20\ngpu,heavy,80,4,40\n";
    const gpulet_serving_options_t options = {gpulet_planner_find("elastic"), true, false, 0, 0};
    fixture_t f;
    (void)state;
    fixture_init(&f, parts,
                 "types: {gpu: {units: 100, sizes: [20, 80], gpulets_max: 5}}\ndevices: {gpu: 2}\n",
                 "model,rate_rps,slo_ms\nlight,1500,100\nheavy,60,200\n", NULL);
    gpulet_plan_t *running = serve(&f, &options, NULL);
    assert_int_equal(running->devices_count, 2);
    for (size_t d = 0; d < 2; d++) /* whatever the planner called them */
        running->devices[d].index = running->devices[d].gpulets[0].units == 80 ||
                                    running->devices[d].gpulets[1].units == 80;
    fixture_set_workload(&f, "model,rate_rps,slo_ms\nlight,100,100\nheavy,60,200\n");
    f.input.from = running;
    gpulet_plan_t *next = serve(&f, &options, NULL);
    assert_int_equal(next->devices_count, 1);
    assert_int_equal(next->devices[0].index, 1);
    assert_int_equal(gpulet_plan_movement(running, next).gpulets_started, 0);
    gpulet_plan_destroy(next);
    gpulet_plan_destroy(running);
    fixture_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_model_is_left_out_for_the_sake_of_another),
        cmocka_unit_test(a_model_without_hope_goes_where_the_fewest_are_late),
        cmocka_unit_test(without_any_gpulet_one_over_a_whole_device_is_made),
        cmocka_unit_test(nothing_is_adopted_where_its_memory_does_not_fit),
        cmocka_unit_test(spare_units_are_those_of_the_devices_that_are_needed),
        cmocka_unit_test(the_way_there_and_back_is_not_planned_away),
        cmocka_unit_test(a_smaller_margin_is_better_than_a_model_left_out),
        cmocka_unit_test(less_moves_than_the_planner_alone_would),
        cmocka_unit_test(a_running_plan_moves_as_little_as_it_must),
        cmocka_unit_test(what_runs_on_a_later_device_stays_there),
    };
    return cmocka_run_group_tests_name("plan.serving", tests, NULL, NULL);
}
