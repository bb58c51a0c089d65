/* Workloads: what is accepted is written, read again and written the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "core/workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROUND_TRIP_SIZE_MAX = 1 << 14 };

static void round_trip(const gpulet_workload_t *workload)
{
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    gpulet_workload_t *again = NULL;
    assert(gpulet_workload_format_csv(&first, workload) == GPULET_OK);
    assert(gpulet_workload_parse(&again, first.data, first.size, "w", NULL, NULL) == GPULET_OK);
    assert(again->count == workload->count);
    assert(gpulet_workload_format_csv(&second, again) == GPULET_OK);
    assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    gpulet_workload_destroy(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const scenarios[] = {NULL, "A"};
    for (size_t i = 0; i < 2; i++) {
        gpulet_error_t err = {""};
        gpulet_workload_t *workload = NULL;
        if (gpulet_workload_parse(&workload, (const char *)data, size, "w", scenarios[i], &err) !=
            GPULET_OK) {
            assert(workload == NULL && err.text[0] != '\0');
            continue;
        }
        for (size_t j = 0; j < workload->count; j++) {
            const gpulet_demand_t *demand = &workload->demands[j];
            assert(demand->rate_rps >= 0 && demand->slo_ms > 0 && demand->weight > 0);
            assert(size > ROUND_TRIP_SIZE_MAX ||
                   gpulet_workload_find(workload, demand->model) == demand);
        }
        if (size <= ROUND_TRIP_SIZE_MAX)
            round_trip(workload);
        gpulet_workload_destroy(workload);
    }
    return 0;
}
