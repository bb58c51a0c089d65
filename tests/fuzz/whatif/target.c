/* "What if": what is accepted reads the same again, and changes only what it may. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "study/whatif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gpulet_whatif_t whatif;
    static gpulet_whatif_t again;
    gpulet_error_t err = {""};
    gpulet_demand_t demands[2] = {{.model = "a", .rate_rps = 10, .slo_ms = 5},
                                  {.model = "b.rate", .rate_rps = 1, .slo_ms = 50}};
    gpulet_workload_t workload = {.count = 2, .demands = demands};
    gpulet_device_type_t types[2] = {{.name = "t4"}, {.name = "h-100"}};
    int32_t counts[2] = {3, -1};
    gpulet_device_set_t devices = {.types_count = 1 + size % 2, .types = types, .counts = counts};
    if (gpulet_whatif_parse(&whatif, (const char *)data, size, &err) != GPULET_OK) {
        assert(err.text[0] != '\0');
        return 0;
    }
    assert(gpulet_whatif_parse(&again, whatif.text, size, &err) == GPULET_OK);
    assert(again.changes_count == whatif.changes_count && whatif.changes_count > 0);
    if (gpulet_whatif_apply(&workload, &devices, &whatif, &err) != GPULET_OK) {
        assert(err.text[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < 2; i++) {
        assert(isfinite(demands[i].rate_rps) && demands[i].rate_rps >= 0);
        assert(isfinite(demands[i].slo_ms) && demands[i].slo_ms > 0);
        assert(counts[i] == -1 || (counts[i] >= 1 && counts[i] <= GPULET_DEVICE_COUNT_MAX));
    }
    return 0;
}
