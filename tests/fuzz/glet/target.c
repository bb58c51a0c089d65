/* The prototype's files: every reader on the same bytes. What is accepted is well formed, and a
 * plan that is written is read again and written the same. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/glet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tasks(const char *text, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_workload_t *workload = NULL;
    if (gpulet_glet_tasks_parse(&workload, text, size, "t", &err) != GPULET_OK) {
        assert(workload == NULL && err.text[0] != '\0');
        return;
    }
    for (size_t i = 0; i < workload->count; i++)
        assert(workload->demands[i].slo_ms > 0 && workload->demands[i].rate_rps >= 0);
    gpulet_workload_destroy(workload);
}

static void check_constants(const char *text, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_interference_t *interference = NULL;
    if (gpulet_glet_constants_parse(&interference, "gpu", text, size, "c", &err) != GPULET_OK) {
        assert(interference == NULL && err.text[0] != '\0');
        return;
    }
    assert(gpulet_interference_find(interference, "gpu") != NULL);
    gpulet_interference_destroy(interference);
}

static gpulet_device_set_t *new_devices(void)
{
    static const char text[] = "types: {gpu: {units: 100, sizes: [20, 40, 50, 60, 80, 100]}}\n";
    gpulet_device_set_t *set = NULL;
    assert(gpulet_device_set_parse(&set, text, sizeof(text) - 1, "d", NULL) == GPULET_OK);
    return set;
}

static void check_devices(const char *text, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_device_set_t *set = NULL;
    if (gpulet_glet_devices_parse(&set, text, size, "d", &err) != GPULET_OK) {
        assert(set == NULL && err.text[0] != '\0');
        return;
    }
    assert(set->types_count >= 1 && set->types[0].memory_mb > 0);
    gpulet_device_set_destroy(set);
}

static void check_utilisation(const char *text, size_t size, const gpulet_device_set_t *set)
{
    static const char rows[] = "a,20,1,1\na,20,4,2\nb1,100,1,1\n";
    gpulet_error_t err = {""};
    gpulet_profile_t *profile = NULL;
    gpulet_profile_t *used = NULL;
    assert(gpulet_profile_parse(&profile, rows, sizeof(rows) - 1, "p", GPULET_PROFILE_FORMAT_GLET,
                                "gpu", NULL) == GPULET_OK);
    if (gpulet_glet_utilisation_apply(&used, profile, set, text, size, "u", &err) == GPULET_OK) {
        assert(gpulet_profile_curves_count(used) == 2);
        double l2 = gpulet_curve_l2_util(gpulet_profile_curve_at(used, 0), 2);
        assert(isnan(l2) || (l2 >= 0 && l2 <= 1));
    } else {
        assert(used == NULL && err.text[0] != '\0');
    }
    gpulet_profile_destroy(used);
    gpulet_profile_destroy(profile);
}

static void check_plan(const char *text, size_t size, const gpulet_device_set_t *set)
{
    gpulet_error_t err = {""};
    gpulet_plan_t *plan = NULL;
    gpulet_plan_t *again = NULL;
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    if (gpulet_glet_plan_parse(&plan, set, text, size, "m", &err) != GPULET_OK) {
        assert(plan == NULL && err.text[0] != '\0');
        return;
    }
    assert(gpulet_glet_plan_format(&first, plan, set, &err) == GPULET_OK);
    /* Cycles are written with six decimals: what rounds to 0 cannot be read again. */
    if (first.size > 0 &&
        gpulet_glet_plan_parse(&again, set, first.data, first.size, "m", &err) == GPULET_OK) {
        assert(again->devices_count <= plan->devices_count);
        assert(gpulet_glet_plan_format(&second, again, set, &err) == GPULET_OK);
    }
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    gpulet_device_set_t *set = new_devices();
    check_tasks(text, size);
    check_constants(text, size);
    check_devices(text, size);
    check_utilisation(text, size, set);
    check_plan(text, size, set);
    gpulet_device_set_destroy(set);
    return 0;
}
