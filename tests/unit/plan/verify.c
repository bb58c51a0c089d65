#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fixture.h"

static const char profile[] =
    "device,model,units,instances,batch,latency_ms,memory_mb,l2_util,dram_util\n"
    "gpu,a,3,1,1,10,100,0.2,0.2\ngpu,a,3,1,8,40,200,0.4,0.4\n"
    "gpu,a,3,2,1,15,200,0.2,0.2\ngpu,a,3,2,8,60,400,0.4,0.4\n"
    "gpu,b,3,1,1,5,100,0.2,0.2\ngpu,b,3,1,8,20,200,0.4,0.4\n"
    "gpu,b,4,1,1,5,100,0.2,0.2\ngpu,b,4,1,8,20,200,0.4,0.4\n";
static const char devices[] =
    "types:\n  gpu:\n    units: 7\n    sizes: [3, 4]\n    gpulets_max: 2\n    models_max: 2\n"
    "    memory_mb: 700\n"
    "    placement:\n      slots: 8\n      3: {length: 4, starts: [0, 4]}\n"
    "      4: {length: 4, starts: [0]}\n"
    "devices:\n  gpu: 2\n";
static const char workload[] = "model,rate_rps,slo_ms\na,100,100\nb,50,100\n";
static const char interference[] =
    "device,l2_self,l2_other,dram_self,dram_other,constant\ngpu,0,0.5,0,0.5,0.9\n";

/* One device: a (batch 8, two instances) in a 3 at slot 4 beside b (batch 8) in a 4 at slot 0; it
 * holds for the workload above. */
static gpulet_plan_t *new_plan(bool disturbed)
{
    gpulet_plan_t *plan = NULL;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    gpulet_plan_device_t *d = gpulet_plan_add_device(plan);
    snprintf(d->type, sizeof(d->type), "gpu");
    double factor = disturbed ? 1.3 : 1.0;
    for (int i = 0; i < 2; i++) {
        gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(d);
        g->units = i == 0 ? 3 : 4;
        g->slot = i == 0 ? 4 : 0;
        gpulet_plan_share_t *s = gpulet_plan_add_share(g);
        snprintf(s->model, sizeof(s->model), "%s", i == 0 ? "a" : "b");
        s->batch = i == 0 ? 4 : 8;
        s->instances = i == 0 ? 2 : 1;
        s->interference = factor;
        s->latency_ms = factor * (i == 0 ? 15.0 + 45.0 * 3.0 / 7.0 : 20.0);
        g->duty_ms = s->latency_ms;
        s->worst_ms = 2.0 * s->latency_ms;
        s->capacity_rps = 8.0 * 1000.0 / g->duty_ms;
        s->rate_rps = i == 0 ? 100.0 : 50.0;
    }
    return plan;
}

typedef struct context {
    fixture_t f;
    gpulet_plan_t *plan;
    gpulet_plan_gpulet_t *a;
    gpulet_plan_gpulet_t *b;
} context_t;

static int setup(void **state)
{
    static context_t c;
    memset(&c, 0, sizeof(c));
    fixture_init(&c.f, profile, devices, workload, NULL);
    c.plan = new_plan(false);
    c.a = &c.plan->devices[0].gpulets[0];
    c.b = &c.plan->devices[0].gpulets[1];
    *state = &c;
    return 0;
}

static int teardown(void **state)
{
    context_t *c = *state;
    gpulet_plan_destroy(c->plan);
    fixture_deinit(&c->f);
    return 0;
}

static void expect_broken(const context_t *c, const char *word)
{
    gpulet_error_t err = {{0}};
    assert_int_equal(gpulet_plan_verify(c->plan, &c->f.input, &err), GPULET_E_INFEASIBLE);
    if (strstr(err.text, word) == NULL)
        fail_msg("expected \"%s\" in: %s", word, err.text);
}

static void accepts_a_plan_that_holds(void **state)
{
    context_t *c = *state;
    gpulet_error_t err = {{0}};
    assert_int_equal(gpulet_plan_verify(c->plan, &c->f.input, &err), GPULET_OK);
    /* A cycle brings 3.4 on the average where 8 are held: nine cycles in ten fit. */
    c->f.input.rate_percentile = 0.9;
    assert_int_equal(gpulet_plan_verify(c->plan, &c->f.input, &err), GPULET_OK);
}

static void rejects_a_size_that_is_not_allowed(void **state)
{
    context_t *c = *state;
    c->a->units = 2;
    expect_broken(c, "not a size");
}

static void rejects_sizes_over_the_device(void **state)
{
    context_t *c = *state;
    c->a->units = 4;
    c->a->slot = 0;
    expect_broken(c, "slot 0 is taken");
    c->f.devices->types[0].slots = 0;
    expect_broken(c, "sum to 8");
    c->f.devices->types[0].slots = 8;
}

static void rejects_an_illegal_start(void **state)
{
    context_t *c = *state;
    c->a->slot = 3;
    expect_broken(c, "may not start");
    c->a->slot = -1;
    expect_broken(c, "may not start");
    c->a->slot = 0;
    expect_broken(c, "taken");
}

static void rejects_too_many_gpulets_and_models(void **state)
{
    context_t *c = *state;
    c->f.devices->types[0].gpulets_max = 1;
    expect_broken(c, "2 gpu-lets");
    c->f.devices->types[0].gpulets_max = 2;
    c->f.devices->types[0].models_max = 1;
    gpulet_plan_share_t *s = gpulet_plan_add_share(c->a);
    *s = c->b->shares[0];
    expect_broken(c, "2 models");
}

static void rejects_a_model_twice_in_a_gpulet(void **state)
{
    context_t *c = *state;
    gpulet_plan_share_t *s = gpulet_plan_add_share(c->a);
    *s = c->a->shares[0];
    expect_broken(c, "twice");
}

static void rejects_memory_that_does_not_fit(void **state)
{
    context_t *c = *state;
    c->f.devices->types[0].memory_mb = 599.0; /* a needs 400 at the next measured batch, b 200 */
    expect_broken(c, "600 MiB");
    double by_size[] = {399.0, 700.0};
    c->f.devices->types[0].memory_mb_by_size = by_size;
    expect_broken(c, "400 MiB of 399");
    c->f.devices->types[0].memory_mb_by_size = NULL;
}

static void rejects_a_batch_outside_of_the_profile(void **state)
{
    context_t *c = *state;
    c->a->shares[0].batch = 9;
    expect_broken(c, "outside of the profile");
    c->a->shares[0].batch = 4;
    c->a->shares[0].instances = 3;
    expect_broken(c, "3 instances");
}

static void rejects_a_cycle_shorter_than_its_batches(void **state)
{
    context_t *c = *state;
    c->a->duty_ms *= 0.99;
    c->a->shares[0].worst_ms = c->a->duty_ms + c->a->shares[0].latency_ms;
    c->a->shares[0].capacity_rps /= 0.99;
    expect_broken(c, "a cycle of");
}

static void rejects_a_worst_case_over_the_slo(void **state)
{
    context_t *c = *state;
    c->a->duty_ms = 80.0;
    c->a->shares[0].worst_ms = 80.0 + c->a->shares[0].latency_ms;
    c->a->shares[0].capacity_rps = 100.0;
    expect_broken(c, "its SLO");
}

static void rejects_a_rate_that_is_not_served(void **state)
{
    context_t *c = *state;
    c->a->shares[0].rate_rps = 99.0;
    expect_broken(c, "asked for 100");
    c->a->shares[0].rate_rps = 300.0;
    expect_broken(c, "the capacity is");
    c->a->shares[0].rate_rps = 100.0;
    c->f.input.rate_percentile = 0.999999;
    expect_broken(c, "percentile");
}

static void rejects_devices_twice_or_beyond_the_count(void **state)
{
    context_t *c = *state;
    c->plan->devices[0].index = 2;
    expect_broken(c, "only 2 devices");
    snprintf(c->plan->devices[0].type, sizeof(c->plan->devices[0].type), "tpu");
    expect_broken(c, "no such device type");
    snprintf(c->plan->devices[0].type, sizeof(c->plan->devices[0].type), "gpu");
    c->plan->devices[0].index = 0;
    gpulet_plan_device_t *more = gpulet_plan_add_device(c->plan);
    memcpy(more->type, "gpu", 4);
    expect_broken(c, "twice");
}

static void rejects_interference_that_was_left_out(void **state)
{
    context_t *c = *state;
    gpulet_error_t err = {{0}};
    assert_int_equal(gpulet_interference_parse(&c->f.interference, interference,
                                               strlen(interference), "i", &err),
                     GPULET_OK);
    c->f.input.interference = c->f.interference;
    expect_broken(c, "interference");
    gpulet_plan_destroy(c->plan);
    c->plan = new_plan(true);
    /* The pressures are 0.5·u + 0.5·u: 0.4 by b, 0.2 + 0.2·3/7 by a. */
    double of_b = 0.9 + 0.2 + 0.2 * 3.0 / 7.0;
    gpulet_plan_gpulet_t *b = &c->plan->devices[0].gpulets[1];
    b->shares[0].interference = of_b;
    b->shares[0].latency_ms = 20.0 * of_b;
    b->duty_ms = 20.0 * of_b;
    b->shares[0].worst_ms = 40.0 * of_b;
    b->shares[0].capacity_rps = 8000.0 / b->duty_ms;
    c->f.workload->demands[0].slo_ms = 89.0; /* a: 2·34.29·1.3 = 89.14 */
    expect_broken(c, "its SLO");
    c->f.workload->demands[0].slo_ms = 90.0;
    if (gpulet_plan_verify(c->plan, &c->f.input, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    c->f.devices->types[0].isolated = true;
    expect_broken(c, "interference");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepts_a_plan_that_holds),
        TEST(rejects_a_size_that_is_not_allowed),
        TEST(rejects_sizes_over_the_device),
        TEST(rejects_an_illegal_start),
        TEST(rejects_too_many_gpulets_and_models),
        TEST(rejects_a_model_twice_in_a_gpulet),
        TEST(rejects_memory_that_does_not_fit),
        TEST(rejects_a_batch_outside_of_the_profile),
        TEST(rejects_a_cycle_shorter_than_its_batches),
        TEST(rejects_a_worst_case_over_the_slo),
        TEST(rejects_a_rate_that_is_not_served),
        TEST(rejects_devices_twice_or_beyond_the_count),
        TEST(rejects_interference_that_was_left_out),
    };
    return cmocka_run_group_tests_name("plan.verify", tests, NULL, NULL);
}
