/* Device types: what is accepted keeps the promises of the header. */
#include <assert.h>
#include <math.h>
#include <stdint.h>

#include "core/device_type.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_placement(const gpulet_placement_t *placement, uint32_t slots)
{
    assert(placement->length >= 1 && placement->length <= slots);
    assert(placement->starts_count >= 1 && placement->starts_count <= GPULET_DEVICE_STARTS_MAX);
    for (uint32_t i = 0; i < placement->starts_count; i++) {
        assert(placement->starts[i] + placement->length <= slots);
        assert(i == 0 || placement->starts[i] > placement->starts[i - 1]);
    }
}

static void check_type(const gpulet_device_type_t *type)
{
    assert(type->name[0] != '\0' && type->units >= 1 && type->sizes_count >= 1);
    assert(type->gpulets_max >= 1 && type->memory_mb > 0 && type->cost > 0 && isfinite(type->cost));
    assert((type->slots > 0) == (type->placements != NULL));
    for (uint32_t i = 0; i < type->sizes_count; i++) {
        assert(type->sizes[i] >= 1 && type->sizes[i] <= type->units);
        assert(i == 0 || type->sizes[i] > type->sizes[i - 1]);
        assert(gpulet_device_type_size_index(type, type->sizes[i]) == (int)i);
        assert(type->memory_mb_by_size == NULL || type->memory_mb_by_size[i] > 0);
        if (type->slots > 0)
            check_placement(&type->placements[i], type->slots);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_device_set_t *set = NULL;
    if (gpulet_device_set_parse(&set, (const char *)data, size, "d", &err) != GPULET_OK) {
        assert(set == NULL && err.text[0] != '\0');
        return 0;
    }
    assert(set->types_count >= 1);
    for (uint32_t i = 0; i < set->types_count; i++) {
        assert(set->counts[i] == -1 || set->counts[i] >= 1);
        assert(gpulet_device_set_find(set, set->types[i].name) == (int)i);
        check_type(&set->types[i]);
    }
    gpulet_device_set_destroy(set);
    return 0;
}
