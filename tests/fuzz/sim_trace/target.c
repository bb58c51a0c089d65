/* Arrivals: what is accepted is in order, of models that are known, in sizes that are allowed. */
#include <assert.h>
#include <stdint.h>

#include "sim/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gpulet_demand_t demands[] = {{.model = "a", .slo_ms = 1}, {.model = "b", .slo_ms = 1}};
    const gpulet_workload_t workload = {2, demands};
    gpulet_error_t err = {""};
    gpulet_sim_trace_t *trace = NULL;
    if (gpulet_sim_trace_parse(&trace, (const char *)data, size, "t", &workload, &err) !=
        GPULET_OK) {
        assert(trace == NULL && err.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < trace->count; i++) {
        const gpulet_sim_arrival_t *a = &trace->arrivals[i];
        assert(a->model < 2 && a->items >= 1 && a->items <= GPULET_SIM_ITEMS_MAX);
        assert(a->time_s >= 0 && (i == 0 || a->time_s >= trace->arrivals[i - 1].time_s));
    }
    gpulet_sim_trace_destroy(trace);
    return 0;
}
