/* What a study found, for programs and for people. */
#include <stdio.h>

#include "core/csv.h"
#include "study/study.h"

/* {"temporal": 402, …}: one figure a planner; their names need no escapes. */
static void append_counts(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                          const gpulet_study_result_t *result, const char *key,
                          gpulet_study_verdict_t verdict)
{
    gpulet_buf_printf(out, ",\n \"%s\": {", key);
    for (size_t i = 0; i < spec->planners_count; i++)
        gpulet_buf_printf(out, "%s\"%s\": %zu", i == 0 ? "" : ", ", spec->planners[i]->name,
                          result->planners[i].counts[verdict]);
    gpulet_buf_append_char(out, '}');
}

gpulet_status_t gpulet_study_format_json(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                         const gpulet_study_result_t *result)
{
    gpulet_buf_printf(out, "{\"scenarios\": %zu", result->cases_count);
    append_counts(out, spec, result, "schedulable", GPULET_STUDY_VERDICT_YES);
    append_counts(out, spec, result, "proved_infeasible", GPULET_STUDY_VERDICT_NO);
    append_counts(out, spec, result, "missed", GPULET_STUDY_VERDICT_MISSED);
    append_counts(out, spec, result, "open", GPULET_STUDY_VERDICT_OPEN);
    gpulet_buf_append_str(out, ",\n \"elapsed_ms\": {");
    for (size_t i = 0; i < spec->planners_count; i++)
        gpulet_buf_printf(out, "%s\"%s\": %.4f", i == 0 ? "" : ", ", spec->planners[i]->name,
                          result->planners[i].elapsed_ms);
    gpulet_buf_append_str(out, "},\n \"cpu_ms\": {");
    for (size_t i = 0; i < spec->planners_count; i++)
        gpulet_buf_printf(out, "%s\"%s\": %.4f", i == 0 ? "" : ", ", spec->planners[i]->name,
                          result->planners[i].cpu_ms);
    gpulet_buf_printf(out, "},\n \"threads\": %zu, \"wall_ms\": %.4f}\n", result->threads_count,
                      result->wall_ms);
    return gpulet_buf_status(out);
}

gpulet_status_t gpulet_study_format_csv(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                        const gpulet_study_result_t *result)
{
    double rates_rps[GPULET_STUDY_MODELS_MAX];
    for (size_t i = 0; i < spec->models_count; i++) {
        gpulet_buf_append_str(out, i == 0 ? "" : ",");
        gpulet_csv_append(out, spec->models[i].name);
    }
    for (size_t i = 0; i < spec->planners_count; i++)
        gpulet_buf_printf(out, ",%s", spec->planners[i]->name);
    gpulet_buf_append_char(out, '\n');
    for (size_t c = 0; c < result->cases_count; c++) {
        gpulet_study_case_rates(rates_rps, spec, c);
        for (size_t i = 0; i < spec->models_count; i++) {
            gpulet_buf_append_str(out, i == 0 ? "" : ",");
            gpulet_csv_append_f64(out, rates_rps[i]);
        }
        for (size_t i = 0; i < spec->planners_count; i++) {
            uint8_t verdict = result->verdicts[c * result->planners_count + i];
            gpulet_buf_printf(out, ",%s",
                              gpulet_study_verdict_text((gpulet_study_verdict_t)verdict));
        }
        gpulet_buf_append_char(out, '\n');
    }
    return gpulet_buf_status(out);
}

gpulet_status_t gpulet_study_format_text(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                         const gpulet_study_result_t *result)
{
    gpulet_buf_printf(out, "%zu scenarios: %zu models, each at one of %zu rates\n\n",
                      result->cases_count, spec->models_count, spec->rates_count);
    gpulet_buf_printf(out, "%-12s %11s %7s %10s %9s %9s %12s\n", "planner", "schedulable", "%",
                      "proved not", "not found", "open", "CPU ms/case");
    for (size_t i = 0; i < spec->planners_count; i++) {
        const gpulet_study_planner_t *p = &result->planners[i];
        double cases = (double)result->cases_count;
        gpulet_buf_printf(out, "%-12s %11zu %7.2f %10zu %9zu %9zu %12.4f\n",
                          spec->planners[i]->name, p->counts[GPULET_STUDY_VERDICT_YES],
                          100.0 * (double)p->counts[GPULET_STUDY_VERDICT_YES] / cases,
                          p->counts[GPULET_STUDY_VERDICT_NO],
                          p->counts[GPULET_STUDY_VERDICT_MISSED],
                          p->counts[GPULET_STUDY_VERDICT_OPEN], p->cpu_ms / cases);
    }
    gpulet_buf_printf(out, "\n%.1f s on %zu %s\n", result->wall_ms / 1e3, result->threads_count,
                      result->threads_count == 1 ? "thread" : "threads");
    return gpulet_buf_status(out);
}
