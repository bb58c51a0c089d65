/* Profiles in both formats: what is accepted is written, read again and written the same, and every
 * reading between its points is a number. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Longer inputs could be lengthened over the limit of a line by writing them. */
enum { ROUND_TRIP_SIZE_MAX = 1 << 14, CURVES_READ_MAX = 64 };

static void read_curves(const gpulet_profile_t *profile)
{
    size_t count = gpulet_profile_curves_count(profile);
    for (size_t i = 0; i < count && i < CURVES_READ_MAX; i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, i);
        uint32_t min = gpulet_curve_batch_min(curve);
        uint32_t max = gpulet_curve_batch_max(curve);
        assert(min >= 1 && min <= max);
        assert(gpulet_profile_curve(profile, curve->device, curve->model, curve->units,
                                    curve->instances) == curve);
        assert(gpulet_profile_has_model(profile, NULL, curve->model));
        for (uint32_t batch = min; batch <= max; batch += 1 + (max - min) / 8) {
            double latency_ms = gpulet_curve_latency_ms(curve, batch, batch % 2 == 0);
            double memory_mb = gpulet_curve_memory_mb(curve, batch);
            double util = gpulet_curve_l2_util(curve, batch);
            assert(latency_ms > 0 && isfinite(latency_ms));
            assert(isnan(memory_mb) || memory_mb >= 0);
            assert(isnan(util) || (util >= 0 && util <= 1));
        }
        assert(isnan(gpulet_curve_latency_ms(curve, max + 1, false)));
        assert(isnan(gpulet_curve_latency_ms(curve, min - 1, false)));
    }
}

static void round_trip(const gpulet_profile_t *profile)
{
    gpulet_buf_t first = GPULET_BUF_INIT;
    gpulet_buf_t second = GPULET_BUF_INIT;
    gpulet_profile_t *again = NULL;
    assert(gpulet_profile_format_csv(&first, profile) == GPULET_OK);
    assert(gpulet_profile_parse(&again, first.data, first.size, "p", GPULET_PROFILE_FORMAT_CSV,
                                NULL, NULL) == GPULET_OK);
    assert(gpulet_profile_format_csv(&second, again) == GPULET_OK);
    assert(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    gpulet_buf_deinit(&first);
    gpulet_buf_deinit(&second);
    gpulet_profile_destroy(again);
}

static void interpolate(gpulet_profile_t *profile)
{
    static const uint32_t sizes[] = {1, 2, 10, 50, 75};
    if (gpulet_profile_curves_count(profile) == 0)
        return;
    const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, 0);
    assert(gpulet_profile_interpolate_units(profile, curve->device, sizes, 5, NULL) == GPULET_OK);
    read_curves(profile);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const gpulet_profile_format_t formats[] = {GPULET_PROFILE_FORMAT_CSV,
                                                      GPULET_PROFILE_FORMAT_GLET};
    for (size_t i = 0; i < 2; i++) {
        gpulet_error_t err = {""};
        gpulet_profile_t *profile = NULL;
        if (gpulet_profile_parse(&profile, (const char *)data, size, "p", formats[i], NULL, &err) !=
            GPULET_OK) {
            assert(profile == NULL && err.text[0] != '\0');
            continue;
        }
        read_curves(profile);
        if (size <= ROUND_TRIP_SIZE_MAX)
            round_trip(profile);
        interpolate(profile);
        gpulet_profile_destroy(profile);
    }
    return 0;
}
