/* Host costs: what is accepted is a number at every batch of its range and none outside of it. */
#include <assert.h>
#include <math.h>
#include <stdint.h>

#include "core/host_cost.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char rows[] = "m,20,1,1\nm,20,8,2\n";
    gpulet_error_t err = {""};
    gpulet_host_cost_t *cost = NULL;
    gpulet_profile_t *profile = NULL;
    gpulet_profile_t *sum = NULL;
    if (gpulet_host_cost_parse(&cost, (const char *)data, size, "h", &err) != GPULET_OK) {
        assert(cost == NULL && err.text[0] != '\0');
        return 0;
    }
    assert(gpulet_profile_parse(&profile, rows, sizeof(rows) - 1, "p", GPULET_PROFILE_FORMAT_GLET,
                                "gpu", NULL) == GPULET_OK);
    if (gpulet_host_cost_apply(&sum, profile, cost, &err) == GPULET_OK) {
        for (uint32_t batch = 1; batch <= 8; batch++) {
            double ms = gpulet_host_cost_ms(cost, "m", batch);
            double alone =
                gpulet_curve_latency_ms(gpulet_profile_curve_at(profile, 0), batch, false);
            double found = gpulet_curve_latency_ms(gpulet_profile_curve_at(sum, 0), batch, false);
            assert(ms >= 0 && fabs(found - alone - ms) <= 1e-9 * (found + 1));
        }
        assert(isnan(gpulet_curve_latency_ms(gpulet_profile_curve_at(sum, 0), 9, false)));
    } else {
        assert(sum == NULL && err.text[0] != '\0');
    }
    gpulet_profile_destroy(sum);
    gpulet_profile_destroy(profile);
    gpulet_host_cost_destroy(cost);
    return 0;
}
