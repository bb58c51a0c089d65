/* The brain: all its memory is taken when it, a model or a lane is made, none for a request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sched/sched.h"
#include "torture.h"

enum { LANES = 3, MODELS = 3, REQUESTS = 40, STEP_NS = 1000000 };

static gpulet_status_t set_up(gpulet_sched_t *sched)
{
    static const uint64_t exec_ns[4] = {STEP_NS, STEP_NS, 2 * STEP_NS, 2 * STEP_NS};
    gpulet_sched_service_t services[MODELS];
    gpulet_sched_lane_t lane = {10, MODELS, services};
    gpulet_actions_t actions;
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < MODELS && st == GPULET_OK; i++) {
        gpulet_sched_model_t model = {.slo_ns = 50 * STEP_NS, .batch_max = 4};
        services[i] = (gpulet_sched_service_t){i, 4, 1, exec_ns, 4};
        st = gpulet_sched_model_set(sched, i, &model);
    }
    for (uint32_t i = 0; i < LANES && st == GPULET_OK; i++)
        st = gpulet_sched_lane_add(sched, 0, i, &lane, &actions);
    return st;
}

/* Requests are offered, and lanes lost, whatever could not be set up before. */
static void use(gpulet_sched_t *sched)
{
    gpulet_actions_t actions;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        const gpulet_sched_request_t request = {
            .id = i + 1, .model = i % MODELS, .items = 1, .arrival_ns = i};
        gpulet_ticket_t ticket = 0;
        actions = gpulet_sched_on_request(sched, i, &request, &ticket);
        if (i % 5 == 0 && ticket != 0)
            actions = gpulet_sched_on_cancel(sched, i, ticket);
    }
    for (uint64_t batch = 1; batch < REQUESTS; batch++)
        actions = gpulet_sched_on_batch_done(sched, STEP_NS * batch, batch, STEP_NS, GPULET_OK);
    actions = gpulet_sched_lane_lost(sched, STEP_NS * REQUESTS, 0);
    actions = gpulet_sched_shutdown(sched, STEP_NS * REQUESTS, true);
    (void)actions;
}

static gpulet_status_t brain(void *context)
{
    static const gpulet_sched_options_t options = {
        .models_max = 8, .lanes_max = 4, .requests_max = 64};
    gpulet_sched_t *sched = NULL;
    (void)context;
    gpulet_status_t st = gpulet_sched_create(&sched, &options);
    if (st != GPULET_OK) {
        assert_null(sched);
        return st;
    }
    st = set_up(sched);
    use(sched);
    if (st != GPULET_OK) /* what failed may be tried again */
        assert_true(set_up(sched) != GPULET_E_INTERNAL);
    gpulet_sched_destroy(sched);
    return st;
}

static void life_of_a_brain(void **state)
{
    (void)state;
    torture_run("brain", brain, NULL, TORTURE_MEMORY, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(life_of_a_brain)};
    return cmocka_run_group_tests_name("torture.sched", tests, NULL, NULL);
}
