/* Whether a plan is reached without a gap. */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <stdio.h>

#include "plan/reach.h"

static const char profile[] = "device,model,units,batch,latency_ms,memory_mb\n"
                              "gpu,a,40,1,10,400\ngpu,a,60,1,8,400\n"
                              "gpu,b,40,1,10,400\ngpu,b,60,1,8,400\n";
static const char workload[] = "model,rate_rps,slo_ms\na,10,100\nb,3,100\n";

/* "GPULET GPULET ..." a device, "|" between devices; a gpu-let is its units and a letter a model.
 */
static gpulet_plan_t *plan_of(const char *text)
{
    gpulet_plan_t *plan = NULL;
    char copy[128];
    char *rest = copy;
    char *part = NULL;
    uint32_t index = 0;
    assert_int_equal(gpulet_plan_create(&plan), GPULET_OK);
    (void)snprintf(copy, sizeof(copy), "%s", text);
    while ((part = strsep(&rest, "|")) != NULL) {
        gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
        char *let = NULL;
        (void)snprintf(device->type, sizeof(device->type), "gpu");
        device->index = index++;
        while ((let = strsep(&part, " ")) != NULL) {
            gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(device);
            g->units = (uint32_t)(let[0] - '0') * 10;
            g->slot = -1;
            for (const char *model = let + 1; *model != '\0'; model++) {
                gpulet_plan_share_t *share = gpulet_plan_add_share(g);
                (void)snprintf(share->model, sizeof(share->model), "%c", *model);
                share->batch = share->instances = 1;
            }
        }
    }
    return plan;
}

static double gap(const char *devices, const char *from, const char *to)
{
    fixture_t f;
    double rps = -1;
    fixture_init(&f, profile, devices, workload, NULL);
    gpulet_plan_t *before = plan_of(from);
    gpulet_plan_t *after = plan_of(to);
    assert_int_equal(gpulet_plan_reach_gap(&rps, before, after, &f.input), GPULET_OK);
    gpulet_plan_destroy(before);
    gpulet_plan_destroy(after);
    fixture_deinit(&f);
    return rps;
}

static void assert_gap(const char *devices, const char *from, const char *to, double rps)
{
    double found = gap(devices, from, to);
    if (found < rps || found > rps)
        fail_msg("%s -> %s: expected %g, found %g", from, to, rps, found);
}

static void memory_for_both_leaves_no_gap(void **state)
{
    static const char roomy[] = "types: {gpu: {units: 100, sizes: [40, 60], memory_mb: 2000}}\n"
                                "devices: {gpu: 2}\n";
    static const char tight[] = "types: {gpu: {units: 100, sizes: [40, 60], memory_mb: 1000}}\n"
                                "devices: {gpu: 2}\n";
    (void)state;
    assert_gap(roomy, "4a 6b", "6a 4b", 0);
    assert_gap(tight, "4a 6b", "6a 4b", 13); /* four times 400 do not fit at once */
    assert_gap(tight, "4a 6b", "4a 6b", 0);  /* as it was */
    assert_gap(tight, "4a 6b", "4ab 6b", 0); /* 1,200, yet both go on where they are */
    assert_gap(tight, "4a 6b", "4a 4b", 3);  /* 1,200: b must go before it can come */
}

static void another_device_may_serve_meanwhile(void **state)
{
    static const char tight[] = "types: {gpu: {units: 100, sizes: [40, 60], memory_mb: 1000}}\n"
                                "devices: {gpu: 2}\n";
    (void)state;
    assert_gap(tight, "4a 6b|4a", "6a 4b|4a", 3); /* a goes on over there */
    assert_gap(tight, "4a 6b", "6a 4b|6b", 10);   /* b is started over there first */
}

static void what_is_cut_in_hardware_cannot_overlap(void **state)
{
    static const char isolated[] =
        "types: {gpu: {units: 100, sizes: [40, 60], isolated: true}}\ndevices: {gpu: 1}\n";
    static const char soft[] = "types: {gpu: {units: 100, sizes: [40, 60]}}\ndevices: {gpu: 1}\n";
    (void)state;
    assert_gap(isolated, "4a 6b", "6a 4b", 13);
    assert_gap(soft, "4a 6b", "6a 4b", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_for_both_leaves_no_gap),
        cmocka_unit_test(another_device_may_serve_meanwhile),
        cmocka_unit_test(what_is_cut_in_hardware_cannot_overlap),
    };
    return cmocka_run_group_tests_name("plan.reach", tests, NULL, NULL);
}
