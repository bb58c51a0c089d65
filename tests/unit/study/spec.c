#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "study/spec.h"

static gpulet_study_spec_t spec;

static void parse_ok(const char *models, const char *slos, const char *rates, const char *planners)
{
    gpulet_error_t err = {""};
    if (gpulet_study_spec_parse(&spec, models, slos, rates, planners, &err) != GPULET_OK)
        fail_msg("%s", err.text);
}

static void cases_are_every_combination_but_nothing_in_lexicographic_order(void **state)
{
    (void)state;
    static const double expected[][2] = {{0, 10},  {0, 20}, {10, 0},  {10, 10},
                                         {10, 20}, {20, 0}, {20, 10}, {20, 20}};
    parse_ok("a,b", "b=5,a=2.5", "0,10,20", "temporal");
    assert_int_equal(spec.cases_count, 8);
    assert_true(spec.models[0].slo_ms == 2.5 && spec.models[1].slo_ms == 5);
    for (size_t i = 0; i < 8; i++) {
        double rates[GPULET_STUDY_MODELS_MAX];
        gpulet_study_case_rates(rates, &spec, i);
        assert_true(rates[0] == expected[i][0] && rates[1] == expected[i][1]);
    }
}

static void the_case_without_requests_is_left_out_wherever_zero_stands(void **state)
{
    (void)state;
    static const char *const orders[] = {"0,1,2", "1,0,2", "1,2,0"};
    for (size_t k = 0; k < 3; k++) {
        double before[3] = {0};
        parse_ok("a,b,c", "a=1,b=1,c=1", orders[k], NULL);
        assert_int_equal(spec.cases_count, 26);
        for (size_t i = 0; i < spec.cases_count; i++) {
            double rates[GPULET_STUDY_MODELS_MAX];
            gpulet_study_case_rates(rates, &spec, i);
            assert_true(rates[0] + rates[1] + rates[2] > 0);
            assert_true(i == 0 || memcmp(rates, before, sizeof(before)) != 0);
            memcpy(before, rates, sizeof(before));
        }
    }
    parse_ok("a,b,c", "a=1,b=1,c=1", "1,2,3", NULL);
    assert_int_equal(spec.cases_count, 27);
}

static void the_grid_of_the_paper_has_1023_cases(void **state)
{
    (void)state;
    parse_ok("a,b,c,d,e", "a=5,b=44,c=95,d=136,e=130", "0,200,400,600", "temporal,elastic");
    assert_int_equal(spec.cases_count, 1023);
    assert_int_equal(spec.planners_count, 2);
    assert_string_equal(spec.planners[1]->name, "elastic");
}

static void every_planner_is_compared_when_none_is_named(void **state)
{
    (void)state;
    size_t count = 0;
    for (const gpulet_planner_t *p = gpulet_planners(); p->name != NULL; p++)
        count += p->from_plan ? 0 : 1; /* a case has no running plan to start from */
    parse_ok("a", "a=1", "1", NULL);
    assert_int_equal(spec.planners_count, count);
}

static void names_may_hold_an_equals_sign(void **state)
{
    (void)state;
    parse_ok("a=b", "a=b=7", "1", NULL);
    assert_true(spec.models[0].slo_ms == 7);
}

static void errors_name_the_option_and_what_was_found(void **state)
{
    (void)state;
    static const struct {
        const char *texts[4];
        const char *expected;
    } cases[] = {
        {{"", "", "1", NULL}, "--models: expected"},
        {{"a,,b", "a=1", "1", NULL}, "--models: expected"},
        {{"a,b,a", "a=1", "1", NULL}, "--models: expected each model once, found 'a'"},
        {{"a,b", "a=1", "1", NULL}, "--slo-ms: expected an SLO for b, found none"},
        {{"a", "a", "1", NULL}, "--slo-ms: expected model=milliseconds, found 'a'"},
        {{"a", "b=1", "1", NULL}, "--slo-ms: expected a model of --models, found 'b'"},
        {{"a", "a=1,a=2", "1", NULL}, "--slo-ms: expected each model once, found 'a'"},
        {{"a", "a=0", "1", NULL}, "--slo-ms: expected milliseconds above 0, found '0'"},
        {{"a", "a=nan", "1", NULL}, "--slo-ms: expected milliseconds above 0, found 'nan'"},
        {{"a", "a=1", "", NULL}, "--rates: expected requests a second, 0 or above, found ''"},
        {{"a", "a=1", "1,-2", NULL}, "--rates: expected requests a second, 0 or above, found '-2'"},
        {{"a", "a=1", "1,2,1.0", NULL}, "--rates: expected each rate once, found '1.0'"},
        {{"a", "a=1", "0", NULL}, "--rates: expected a rate above 0, found only 0"},
        {{"a", "a=1", "1", "nobody"}, "found 'nobody'"},
        {{"a", "a=1", "1", "incremental"}, "optimal, found 'incremental'"},
        {{"a", "a=1", "1", "elastic,elastic"}, "--planners: expected each planner once"},
        {{"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w",
          "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1,p=1,q=1,r=1,s=1,t=1,u=1,v=1,"
          "w=1",
          "0,1", NULL},
         "--rates: expected at most 4194304 combinations, found 2 rates for each of 23 models"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gpulet_error_t err = {""};
        const char *const *t = cases[i].texts;
        assert_int_equal(gpulet_study_spec_parse(&spec, t[0], t[1], t[2], t[3], &err),
                         GPULET_E_INVALID);
        if (strstr(err.text, cases[i].expected) == NULL)
            fail_msg("expected '%s' in '%s'", cases[i].expected, err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_are_every_combination_but_nothing_in_lexicographic_order),
        cmocka_unit_test(the_case_without_requests_is_left_out_wherever_zero_stands),
        cmocka_unit_test(the_grid_of_the_paper_has_1023_cases),
        cmocka_unit_test(every_planner_is_compared_when_none_is_named),
        cmocka_unit_test(names_may_hold_an_equals_sign),
        cmocka_unit_test(errors_name_the_option_and_what_was_found),
    };
    return cmocka_run_group_tests_name("study.spec", tests, NULL, NULL);
}
