/* gpulet plan --what-if: the same planner on changed inputs. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/cmd_plan.h"

gpulet_status_t cmd_plan_read_what_if(plan_answers_t *answers, const char *text,
                                      gpulet_error_t *err)
{
    while (text != NULL) {
        const char *newline = strchr(text, '\n');
        size_t len = newline != NULL ? (size_t)(newline - text) : strlen(text);
        if (answers->variants_count == CMD_PLAN_WHATIFS_MAX)
            return gpulet_fail(err, GPULET_E_INVALID, "--what-if: expected at most %d, found more",
                               CMD_PLAN_WHATIFS_MAX);
        gpulet_status_t st = gpulet_whatif_parse(
            &answers->variants[answers->variants_count++].asked, text, len, err);
        if (st != GPULET_OK) {
            gpulet_error_prefix(err, "--what-if");
            return st;
        }
        text = newline != NULL ? newline + 1 : NULL;
    }
    return GPULET_OK;
}

/* Copies what a question may change. */
static gpulet_status_t copy_input(gpulet_workload_t *workload, gpulet_device_set_t *devices,
                                  const gpulet_plan_input_t *input)
{
    *workload = *input->workload;
    *devices = *input->devices;
    workload->demands = calloc(workload->count + 1, sizeof(*workload->demands));
    devices->counts = calloc(devices->types_count + 1, sizeof(*devices->counts));
    if (workload->demands == NULL || devices->counts == NULL)
        return GPULET_E_NOMEM;
    if (workload->count > 0)
        memcpy(workload->demands, input->workload->demands,
               workload->count * sizeof(*workload->demands));
    memcpy(devices->counts, input->devices->counts,
           devices->types_count * sizeof(*devices->counts));
    return GPULET_OK;
}

/* A changed copy, to be freed by free_input in either case. */
static gpulet_status_t change_input(gpulet_workload_t *workload, gpulet_device_set_t *devices,
                                    const gpulet_whatif_t *asked, const gpulet_plan_input_t *input,
                                    gpulet_error_t *err)
{
    gpulet_status_t st = copy_input(workload, devices, input);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    st = gpulet_whatif_apply(workload, devices, asked, err);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "--what-if %s", asked->text);
    return st;
}

static void free_input(gpulet_workload_t *workload, gpulet_device_set_t *devices)
{
    free(workload->demands);
    free(devices->counts);
}

gpulet_status_t cmd_plan_check_what_if(const plan_answers_t *answers,
                                       const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; st == GPULET_OK && i < answers->variants_count; i++) {
        gpulet_workload_t workload;
        gpulet_device_set_t devices;
        st = change_input(&workload, &devices, &answers->variants[i].asked, input, err);
        free_input(&workload, &devices);
    }
    return st;
}

static gpulet_status_t answer(plan_variant_t *variant, const gpulet_plan_t *base,
                              const gpulet_study_runner_t *runner, const gpulet_plan_input_t *input,
                              gpulet_error_t *err)
{
    gpulet_workload_t workload;
    gpulet_device_set_t devices;
    gpulet_plan_input_t changed = *input;
    gpulet_status_t st = change_input(&workload, &devices, &variant->asked, input, err);
    changed.workload = &workload;
    changed.devices = &devices;
    /* What runs now is the plan as it is, for the planner that starts from there. */
    if (runner->planner->from_plan)
        changed.from = base;
    if (st == GPULET_OK) {
        uint64_t begin_ns = gpulet_clock_ns();
        st = gpulet_study_plan(&variant->plan, runner, &changed, err);
        if (st == GPULET_OK)
            variant->plan->elapsed_ms = (double)(gpulet_clock_ns() - begin_ns) / 1e6;
    }
    if (st == GPULET_OK &&
        (st = gpulet_compare_plans(&variant->compare, base, variant->plan)) != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    free_input(&workload, &devices);
    return st;
}

gpulet_status_t cmd_plan_what_if(plan_answers_t *answers, const gpulet_study_runner_t *runner,
                                 const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; st == GPULET_OK && i < answers->variants_count; i++)
        st = answer(&answers->variants[i], answers->plan, runner, input, err);
    return st;
}

void cmd_plan_answers_deinit(plan_answers_t *answers)
{
    for (size_t i = 0; i < answers->variants_count; i++) {
        gpulet_compare_deinit(&answers->variants[i].compare);
        gpulet_plan_destroy(answers->variants[i].plan);
    }
    gpulet_plan_destroy(answers->plan);
    gpulet_apps_plan_destroy(answers->split);
}
