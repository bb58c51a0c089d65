/* Rates: what is accepted ascends by time, and every stream of it moves forward. */
#include <assert.h>
#include <math.h>
#include <stdint.h>

#include "core/arrivals.h"
#include "sim/load.h"

enum { DRAWS = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void follow(const gpulet_sim_model_rates_t *rates)
{
    gpulet_arrivals_t stream = {.multiple = 1, .steps = rates->steps, .steps_count = rates->count};
    double before = -1;
    gpulet_arrivals_init(&stream, 1, "a", before);
    for (int i = 0; i < DRAWS; i++) {
        double next = gpulet_arrivals_next_s(&stream);
        assert(next >= before);
        if (isinf(next))
            return;
        before = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gpulet_demand_t demands[] = {{.model = "a", .slo_ms = 1}, {.model = "b", .slo_ms = 1}};
    const gpulet_workload_t workload = {2, demands};
    gpulet_error_t err = {""};
    gpulet_sim_rates_t *rates = NULL;
    if (gpulet_sim_rates_parse(&rates, (const char *)data, size, "r", &workload, &err) !=
        GPULET_OK) {
        assert(rates == NULL && err.text[0] != '\0');
        return 0;
    }
    assert(rates->models_count == 2);
    for (size_t m = 0; m < 2; m++) {
        const gpulet_sim_model_rates_t *r = &rates->models[m];
        for (size_t i = 0; i < r->count; i++) {
            assert(r->steps[i].rate_rps >= 0 && r->steps[i].begin_s <= rates->end_s);
            assert(i == 0 || r->steps[i].begin_s > r->steps[i - 1].begin_s);
        }
        if (r->count > 0)
            follow(r);
    }
    gpulet_sim_rates_destroy(rates);
    return 0;
}
