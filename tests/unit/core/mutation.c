/* Files with random damage: each parser answers with an error that says something or with a valid
 * value. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/rng.h"
#include "check.h"
#include "core/device_type.h"
#include "core/interference.h"
#include "core/pairs.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/workload.h"

enum { MUTATIONS_COUNT = 200, EDITS_MAX = 6 };

static const char profile_text[] =
    "device,model,units,instances,batch,latency_ms,latency_ms_p99,memory_mb,l2_util,note\n"
    "# measured\ng,lenet,20,1,1,0.5,0.7,100,0.25,\"a, b\"\ng,lenet,20,1,32,3.25,,120,0.5,\n"
    "g,\"v\"\"gg\",100,2,4,1e1,12,,1,x\n";
static const char workload_text[] =
    "scenario,model,rate_rps,slo_ms,priority,weight\nA,lenet,100.5,5,0,1\nA,vgg,0,95,2,0.5\n"
    "A,\"res,net\",1e2,44,,\n";
static const char sensitivity_text[] =
    "device,model,units,batch,sensitivity,pressure,bound,residual_p50,residual_p95\n"
    "g,,,,,,1.5,0.01,0.125\ng,m,1,1,0.25,2,,,\ng,m,1,4,,1.5,,,\ng,n,1,8,0.5,,,,\n";

static const char pairs_text[] =
    "device,model,units,batch,other_model,other_units,other_batch,slowdown,traffic_mb_s\n"
    "g,m,1,1,n,1,8,1.25,\ng,n,1,8,m,1,1,0.99,1200.5\n";

static const char interference_text[] =
    "device,l2_self,l2_other,dram_self,dram_other,constant\ng,0.1,-0.2,3e-2,4,0.99\nh,0,0,0,0,1\n";
static const char devices_text[] =
    "# two types\ntypes:\n  mig:\n    units: 7\n    sizes: [1, 3]\n    gpulets_max: 7\n"
    "    memory_mb_by_size: {1: 9856, 3: 40192}\n    placement:\n      slots: 8\n"
    "      1: {length: 1, starts: [0, 1]}\n      3: &p {length: 4, starts: [0, 4]}\n"
    "    isolated: true\n  cpu: {units: 2, sizes: [1, 2], cost: 2.5}\ndevices: {mig: 8}\n";
static const char plan_text[] =
    "{\"planner\":\"even\",\"feasible\":true,\"devices_used\":1,\"lower_bound\":null,\n"
    "\"proved_optimal\":false,\"elapsed_ms\":1.5,\"models\":[{\"model\":\"m\",\"rate_rps\":1,\n"
    "\"slo_ms\":2,\"capacity_rps\":3}],\"devices\":[{\"type\":\"g\",\"index\":0,\"gpulets\":[\n"
    "{\"units\":1,\"slot\":null,\"duty_ms\":2,\"models\":[{\"model\":\"m\",\"batch\":1,\n"
    "\"instances\":1,\"rate_rps\":1,\"capacity_rps\":2,\"latency_ms\":3,\"interference\":1,\n"
    "\"worst_ms\":4}]}]}],\"reason\":null}\n";

/* Copies the text with one to EDITS_MAX bytes or pieces changed. */
static void mutate(gpulet_buf_t *buf, const char *text, gpulet_rng_t *rng)
{
    static const char bytes[] = "\n,\"#:-0129.e{}[]&*\t \r\x7f\xff\\ax";
    gpulet_buf_clear(buf);
    gpulet_buf_append_str(buf, text);
    for (uint64_t edits = 1 + gpulet_rng_below(rng, EDITS_MAX); edits > 0 && buf->size > 0;
         edits--) {
        size_t at = (size_t)gpulet_rng_below(rng, buf->size);
        size_t left = buf->size - at;
        size_t piece = 1 + (size_t)gpulet_rng_below(rng, left < 12 ? left : 12);
        switch (gpulet_rng_below(rng, 5)) {
        case 0:
            buf->data[at] = bytes[gpulet_rng_below(rng, sizeof(bytes) - 1)];
            break;
        case 1:
            buf->data[at] = (char)gpulet_rng_below(rng, 256);
            break;
        case 2: /* a piece less */
            memmove(buf->data + at, buf->data + at + piece, left - piece);
            buf->size -= piece;
            break;
        case 3: { /* a piece twice, at the end */
            char copy[12];
            memcpy(copy, buf->data + at, piece);
            gpulet_buf_append(buf, copy, piece);
            break;
        }
        default:
            buf->size = at;
            break;
        }
    }
}

typedef gpulet_status_t (*parse_fn)(const char *text, size_t size, gpulet_error_t *err);

static gpulet_status_t parse_profile(const char *text, size_t size, gpulet_error_t *err)
{
    gpulet_profile_t *profile = NULL;
    gpulet_profile_t *again = NULL;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_status_t st =
        gpulet_profile_parse(&profile, text, size, "p", GPULET_PROFILE_FORMAT_CSV, NULL, err);
    if (st != GPULET_OK)
        return st;
    for (size_t i = 0; i < gpulet_profile_curves_count(profile); i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, i);
        for (uint32_t batch = gpulet_curve_batch_min(curve); batch <= gpulet_curve_batch_max(curve);
             batch++)
            assert_true(gpulet_curve_latency_ms(curve, batch, true) > 0);
    }
    assert_int_equal(gpulet_profile_format_csv(&buf, profile), GPULET_OK);
    assert_int_equal(
        gpulet_profile_parse(&again, buf.data, buf.size, "p", GPULET_PROFILE_FORMAT_CSV, NULL, err),
        GPULET_OK);
    gpulet_buf_deinit(&buf);
    gpulet_profile_destroy(profile);
    gpulet_profile_destroy(again);
    return st;
}

static gpulet_status_t parse_workload(const char *text, size_t size, gpulet_error_t *err)
{
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_parse(&workload, text, size, "w", NULL, err);
    for (size_t i = 0; st == GPULET_OK && i < workload->count; i++)
        assert_true(workload->demands[i].rate_rps >= 0 && workload->demands[i].slo_ms > 0);
    if (st == GPULET_OK)
        gpulet_workload_destroy(workload);
    return st;
}

static gpulet_status_t parse_pairs(const char *text, size_t size, gpulet_error_t *err)
{
    gpulet_pairs_t *pairs = NULL;
    gpulet_status_t st = gpulet_pairs_parse(&pairs, text, size, "p", err);
    for (size_t i = 0; st == GPULET_OK && i < pairs->count; i++)
        assert_true(pairs->items[i].slowdown > 0 && pairs->items[i].self.units > 0);
    if (st == GPULET_OK)
        gpulet_pairs_destroy(pairs);
    return st;
}

static gpulet_status_t parse_interference(const char *text, size_t size, gpulet_error_t *err)
{
    static const gpulet_interference_side_t here = {"m", 1, 2, 0.5, 1, 0};
    static const gpulet_interference_side_t there = {"n", 1, 8, 0.5, 0.5, 0.25};
    gpulet_interference_t *interference = NULL;
    gpulet_status_t st = gpulet_interference_parse(&interference, text, size, "i", err);
    for (size_t i = 0; st == GPULET_OK && i < interference->count; i++)
        assert_true(gpulet_interference_between(&interference->rows[i], &here, &there) >= 1);
    if (st == GPULET_OK)
        gpulet_interference_destroy(interference);
    return st;
}

static gpulet_status_t parse_devices(const char *text, size_t size, gpulet_error_t *err)
{
    gpulet_device_set_t *set = NULL;
    gpulet_status_t st = gpulet_device_set_parse(&set, text, size, "d", err);
    for (uint32_t i = 0; st == GPULET_OK && i < set->types_count; i++) {
        const gpulet_device_type_t *type = &set->types[i];
        assert_true(type->units >= 1 && type->sizes_count >= 1 && type->gpulets_max >= 1);
        assert_true(type->sizes[type->sizes_count - 1] <= type->units);
    }
    if (st == GPULET_OK)
        gpulet_device_set_destroy(set);
    return st;
}

static gpulet_status_t parse_plan(const char *text, size_t size, gpulet_error_t *err)
{
    gpulet_plan_t *plan = NULL;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_status_t st = gpulet_plan_parse_json(&plan, text, size, "p", err);
    if (st != GPULET_OK)
        return st;
    assert_int_equal(gpulet_plan_format_json(&buf, plan), GPULET_OK);
    gpulet_buf_deinit(&buf);
    gpulet_plan_destroy(plan);
    return st;
}

static void damage(const char *text, parse_fn parse, uint64_t seed)
{
    gpulet_rng_t rng;
    gpulet_buf_t buf = GPULET_BUF_INIT;
    gpulet_error_t err = {""};
    int errors = 0;
    gpulet_rng_init(&rng, seed);
    if (parse(text, strlen(text), &err) != GPULET_OK)
        fail_msg("%s", err.text);
    for (int i = 0; i < MUTATIONS_COUNT; i++) {
        err.text[0] = '\0';
        mutate(&buf, text, &rng);
        /* An exact copy, so that a sanitizer sees a read past the end. */
        char *exact = malloc(buf.size + 1);
        assert_non_null(exact);
        memcpy(exact, buf.data, buf.size);
        char *fitted = realloc(exact, buf.size > 0 ? buf.size : 1);
        assert_non_null(fitted);
        if (parse(fitted, buf.size, &err) != GPULET_OK) {
            errors++;
            assert_true(strlen(err.text) > 3);
            assert_null(strchr(err.text, '\n'));
        }
        free(fitted);
    }
    print_message("%d of %d refused\n", errors, MUTATIONS_COUNT);
    assert_in_range(errors, MUTATIONS_COUNT / 4, MUTATIONS_COUNT);
    gpulet_buf_deinit(&buf);
}

static void damaged_profiles_are_refused_or_valid(void **state)
{
    (void)state;
    damage(profile_text, parse_profile, 1);
}

static void damaged_workloads_are_refused_or_valid(void **state)
{
    (void)state;
    damage(workload_text, parse_workload, 2);
}

static void damaged_interference_is_refused_or_valid(void **state)
{
    (void)state;
    damage(interference_text, parse_interference, 3);
    damage(sensitivity_text, parse_interference, 5);
    damage(pairs_text, parse_pairs, 6);
}

static void damaged_devices_are_refused_or_valid(void **state)
{
    (void)state;
    damage(devices_text, parse_devices, 4);
}

static void damaged_plans_are_refused_or_valid(void **state)
{
    (void)state;
    damage(plan_text, parse_plan, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_profiles_are_refused_or_valid),
        cmocka_unit_test(damaged_workloads_are_refused_or_valid),
        cmocka_unit_test(damaged_interference_is_refused_or_valid),
        cmocka_unit_test(damaged_devices_are_refused_or_valid),
        cmocka_unit_test(damaged_plans_are_refused_or_valid),
    };
    return cmocka_run_group_tests_name("core.mutation", tests, NULL, NULL);
}
