/* Plans of small inputs, kept beside them:
 * NAME/{profiles.csv,devices.yaml,workload.csv,plan.PLANNER.json} and, where there is one,
 * interference.csv. plan.incremental.json goes on from plan.elastic.json's plan with the first
 * model's rate up and the last one's down. GPULET_UPDATE_GOLDEN=1 writes the plans anew. Numbers
 * are compared to 1e-6, everything else to the letter. */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "plan/planner.h"

#define GOLDEN GPULET_SOURCE_DIR "/tests/golden/"

static const char *const cases[] = {"cpu-two-cores", "mps-pairs", "mig-slices"};
static const char *const planners[] = {"temporal", "even",    "selftune",
                                       "greedy",   "elastic", "exhaustive"};

static const char *path_of(const char *name, const char *file)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s%s/%s", GOLDEN, name, file);
    return path;
}

static void expect_ok(gpulet_status_t st, const gpulet_error_t *err)
{
    if (st != GPULET_OK)
        fail_msg("%s: %s", gpulet_status_name(st), err->text);
}

static bool starts_number(const char *p)
{
    return isdigit((unsigned char)*p) || (*p == '-' && isdigit((unsigned char)p[1]));
}

/* Position of the first difference in `found`, or NULL. */
static const char *first_difference(const char *expected, const char *found)
{
    while (*expected != '\0' || *found != '\0') {
        if (starts_number(expected) && starts_number(found)) {
            char *expected_end;
            char *found_end;
            double x = strtod(expected, &expected_end);
            double y = strtod(found, &found_end);
            if (fabs(x - y) > 1e-6 * fabs(x) + 1e-9)
                return found;
            expected = expected_end;
            found = found_end;
        } else if (*expected++ != *found++) {
            return found - 1;
        }
    }
    return NULL;
}

static void compare(const char *name, const char *planner, const gpulet_plan_t *plan)
{
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {{0}};
    char file[64];
    snprintf(file, sizeof(file), "plan.%s.json", planner);
    expect_ok(gpulet_plan_format_json(&buf, plan), &err);
    if (getenv("GPULET_UPDATE_GOLDEN") != NULL) {
        expect_ok(gpulet_file_write(path_of(name, file), buf.data, buf.size, &err), &err);
    } else {
        char *expected = NULL;
        size_t size = 0;
        expect_ok(gpulet_file_read(&expected, &size, path_of(name, file), 1 << 20, &err), &err);
        const char *where = first_difference(expected, buf.data);
        if (where != NULL)
            fail_msg("%s/%s differs at: %.60s\n%s", name, file, where, buf.data);
        free(expected);
    }
    gpulet_buf_deinit(&buf);
}

static void move_on(const char *name, gpulet_plan_input_t *input, gpulet_workload_t *workload)
{
    gpulet_error_t err = {{0}};
    gpulet_plan_t *running = NULL;
    gpulet_plan_t *plan = NULL;
    expect_ok(gpulet_planner_run(&running, gpulet_planner_find("elastic"), input, &err), &err);
    workload->demands[0].rate_rps *= 1.3;
    workload->demands[workload->count - 1].rate_rps *= 0.5;
    input->from = running;
    expect_ok(gpulet_planner_run(&plan, gpulet_planner_find("incremental"), input, &err), &err);
    compare(name, "incremental", plan);
    gpulet_plan_destroy(plan);
    gpulet_plan_destroy(running);
}

static void run_case(const char *name)
{
    gpulet_error_t err = {{0}};
    gpulet_profile_t *profile = NULL;
    gpulet_device_set_t *devices = NULL;
    gpulet_workload_t *workload = NULL;
    gpulet_interference_t *interference = NULL;
    expect_ok(gpulet_profile_load(&profile, path_of(name, "profiles.csv"),
                                  GPULET_PROFILE_FORMAT_CSV, NULL, &err),
              &err);
    expect_ok(gpulet_device_set_load(&devices, path_of(name, "devices.yaml"), &err), &err);
    expect_ok(gpulet_workload_load(&workload, path_of(name, "workload.csv"), NULL, &err), &err);
    gpulet_status_t st =
        gpulet_interference_load(&interference, path_of(name, "interference.csv"), &err);
    if (st != GPULET_E_NOT_FOUND)
        expect_ok(st, &err);
    gpulet_plan_input_t input = {
        .profile = profile, .devices = devices, .workload = workload, .interference = interference};
    for (size_t i = 0; i < sizeof(planners) / sizeof(planners[0]); i++) {
        gpulet_plan_t *plan = NULL;
        expect_ok(gpulet_planner_run(&plan, gpulet_planner_find(planners[i]), &input, &err), &err);
        compare(name, planners[i], plan);
        gpulet_plan_destroy(plan);
    }
    move_on(name, &input, workload);
    gpulet_profile_destroy(profile);
    gpulet_device_set_destroy(devices);
    gpulet_workload_destroy(workload);
    gpulet_interference_destroy(interference);
}

static void plans_are_what_they_were(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        run_case(cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plans_are_what_they_were)};
    return cmocka_run_group_tests_name("golden.plan", tests, NULL, NULL);
}
