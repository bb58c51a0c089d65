#include "study/spec.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "core/text.h"

/* A list "a,b,c" that is taken item by item. */
typedef struct list {
    const char *option;
    const char *next; /* NULL at the end */
} list_t;

static bool take_item(list_t *list, const char **text, size_t *len)
{
    if (list->next == NULL)
        return false;
    *text = list->next;
    *len = strcspn(list->next, ",");
    list->next = list->next[*len] == ',' ? list->next + *len + 1 : NULL;
    return true;
}

static gpulet_status_t fail_item(const list_t *list, const char *expected, const char *text,
                                 size_t len, gpulet_error_t *err)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    return gpulet_fail(err, GPULET_E_INVALID, "--%s: expected %s, found %s", list->option, expected,
                       gpulet_text_excerpt(found, text, len));
}

static gpulet_study_model_t *find_model(gpulet_study_spec_t *spec, const char *name, size_t len)
{
    for (size_t i = 0; i < spec->models_count; i++) {
        if (strlen(spec->models[i].name) == len && memcmp(spec->models[i].name, name, len) == 0)
            return &spec->models[i];
    }
    return NULL;
}

static gpulet_status_t parse_models(gpulet_study_spec_t *spec, const char *models,
                                    gpulet_error_t *err)
{
    list_t list = {"models", models};
    const char *text = NULL;
    size_t len = 0;
    while (take_item(&list, &text, &len)) {
        gpulet_status_t st = gpulet_text_check_name(text, len, GPULET_WORKLOAD_NAME_MAX, err);
        if (st != GPULET_OK) {
            gpulet_error_prefix(err, "--models");
            return st;
        }
        if (find_model(spec, text, len) != NULL)
            return fail_item(&list, "each model once", text, len, err);
        if (spec->models_count == GPULET_STUDY_MODELS_MAX)
            return gpulet_fail(err, GPULET_E_INVALID, "--models: expected at most %d, found more",
                               GPULET_STUDY_MODELS_MAX);
        memcpy(spec->models[spec->models_count++].name, text, len);
    }
    return GPULET_OK;
}

static gpulet_status_t parse_slos(gpulet_study_spec_t *spec, const char *slo_ms,
                                  gpulet_error_t *err)
{
    list_t list = {"slo-ms", slo_ms};
    const char *text = NULL;
    size_t len = 0;
    while (take_item(&list, &text, &len)) {
        const char *equals = memrchr(text, '=', len);
        double value = 0.0;
        if (equals == NULL)
            return fail_item(&list, "model=milliseconds", text, len, err);
        size_t name_len = (size_t)(equals - text);
        gpulet_study_model_t *model = find_model(spec, text, name_len);
        if (model == NULL)
            return fail_item(&list, "a model of --models", text, name_len, err);
        if (model->slo_ms > 0.0)
            return fail_item(&list, "each model once", text, name_len, err);
        if (gpulet_parse_f64(&value, equals + 1, len - name_len - 1) != GPULET_OK || !(value > 0.0))
            return fail_item(&list, "milliseconds above 0", equals + 1, len - name_len - 1, err);
        model->slo_ms = value;
    }
    for (size_t i = 0; i < spec->models_count; i++) {
        if (spec->models[i].slo_ms == 0.0)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "--slo-ms: expected an SLO for %s, found none",
                               spec->models[i].name);
    }
    return GPULET_OK;
}

static gpulet_status_t parse_rates(gpulet_study_spec_t *spec, const char *rates,
                                   gpulet_error_t *err)
{
    list_t list = {"rates", rates};
    const char *text = NULL;
    size_t len = 0;
    while (take_item(&list, &text, &len)) {
        double value = 0.0;
        if (gpulet_parse_f64(&value, text, len) != GPULET_OK || !(value >= 0.0))
            return fail_item(&list, "requests a second, 0 or above", text, len, err);
        for (size_t i = 0; i < spec->rates_count; i++) {
            if (spec->rates_rps[i] == value)
                return fail_item(&list, "each rate once", text, len, err);
        }
        if (spec->rates_count == GPULET_STUDY_RATES_MAX)
            return gpulet_fail(err, GPULET_E_INVALID, "--rates: expected at most %d, found more",
                               GPULET_STUDY_RATES_MAX);
        spec->rates_rps[spec->rates_count++] = fabs(value); /* no -0 */
    }
    return GPULET_OK;
}

static gpulet_status_t fail_planner(const list_t *list, const char *text, size_t len,
                                    gpulet_error_t *err)
{
    gpulet_buf_t names = GPULET_BUF_INIT;
    gpulet_buf_append_str(&names, "one of ");
    for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++) {
        if (!p->from_plan)
            gpulet_buf_printf(&names, "%s%s", p == gpulet_planners() ? "" : ", ", p->name);
    }
    gpulet_status_t st = fail_item(list, names.failed ? "a planner" : names.data, text, len, err);
    gpulet_buf_deinit(&names);
    return st;
}

static gpulet_status_t parse_planners(gpulet_study_spec_t *spec, const char *planners,
                                      gpulet_error_t *err)
{
    list_t list = {"planners", planners};
    const char *text = NULL;
    size_t len = 0;
    for (const gpulet_planner_t *p = gpulet_planners();
         planners == NULL && p->name != NULL && spec->planners_count < GPULET_STUDY_PLANNERS_MAX;
         p++) {
        if (!p->from_plan) /* a case has no running plan */
            spec->planners[spec->planners_count++] = p;
    }
    while (take_item(&list, &text, &len)) {
        const gpulet_planner_t *found = NULL;
        for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++) {
            if (!p->from_plan && strlen(p->name) == len && memcmp(p->name, text, len) == 0)
                found = p;
        }
        if (found == NULL)
            return fail_planner(&list, text, len, err);
        for (size_t i = 0; i < spec->planners_count; i++) {
            if (spec->planners[i] == found)
                return fail_item(&list, "each planner once", text, len, err);
        }
        assert(spec->planners_count < GPULET_STUDY_PLANNERS_MAX);
        spec->planners[spec->planners_count++] = found;
    }
    return GPULET_OK;
}

/* Index of the rate 0, or rates_count. */
static size_t zero_rate(const gpulet_study_spec_t *spec)
{
    size_t i = 0;
    while (i < spec->rates_count && spec->rates_rps[i] > 0.0)
        i++;
    return i;
}

static gpulet_status_t count_cases(gpulet_study_spec_t *spec, gpulet_error_t *err)
{
    size_t count = 1;
    for (size_t i = 0; i < spec->models_count; i++) {
        count *= spec->rates_count;
        if (count > GPULET_STUDY_CASES_MAX)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "--rates: expected at most %d combinations, found %zu rates for "
                               "each of %zu models",
                               GPULET_STUDY_CASES_MAX, spec->rates_count, spec->models_count);
    }
    spec->cases_count = count - (zero_rate(spec) < spec->rates_count ? 1 : 0);
    if (spec->cases_count == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "--rates: expected a rate above 0, found only 0");
    return GPULET_OK;
}

gpulet_status_t gpulet_study_spec_parse(gpulet_study_spec_t *out, const char *models,
                                        const char *slo_ms, const char *rates, const char *planners,
                                        gpulet_error_t *err)
{
    gpulet_study_spec_t *spec = calloc(1, sizeof(*spec));
    if (spec == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    gpulet_status_t st = parse_models(spec, models, err);
    if (st == GPULET_OK)
        st = parse_slos(spec, slo_ms, err);
    if (st == GPULET_OK)
        st = parse_rates(spec, rates, err);
    if (st == GPULET_OK)
        st = parse_planners(spec, planners, err);
    if (st == GPULET_OK)
        st = count_cases(spec, err);
    if (st == GPULET_OK)
        *out = *spec;
    free(spec);
    return st;
}

size_t gpulet_study_case_number(const gpulet_study_spec_t *spec, size_t index)
{
    /* The combination without requests has the digit `zero` everywhere; those behind it move up. */
    size_t zero = zero_rate(spec);
    size_t nothing = 0;
    assert(index < spec->cases_count);
    if (zero == spec->rates_count)
        return index;
    for (size_t i = 0; i < spec->models_count; i++)
        nothing = nothing * spec->rates_count + zero;
    return index + (index >= nothing ? 1 : 0);
}

void gpulet_study_case_rates(double *rates_rps, const gpulet_study_spec_t *spec, size_t index)
{
    size_t number = gpulet_study_case_number(spec, index);
    for (size_t i = spec->models_count; i > 0; i--) {
        rates_rps[i - 1] = spec->rates_rps[number % spec->rates_count];
        number /= spec->rates_count;
    }
}
