#include "device/partition.h"

#include <assert.h>
#include <stdlib.h>

gpulet_status_t gpulet_device_create(gpulet_device_t **out, const gpulet_device_desc_t *desc,
                                     const uint32_t *groups,
                                     void (*describe)(gpulet_partition_t *partition),
                                     gpulet_error_t *err)
{
    gpulet_device_t *device = calloc(1, sizeof(*device));
    if (device == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    device->desc = *desc;
    device->describe = describe;
    if (gpulet_cut_init(&device->cut, desc->units, groups) != GPULET_OK) {
        free(device);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    *out = device;
    return GPULET_OK;
}

void gpulet_device_destroy(gpulet_device_t *device)
{
    if (device == NULL)
        return;
    assert(device->partitions == 0);
    gpulet_cut_deinit(&device->cut);
    free(device);
}

gpulet_status_t gpulet_partition_carve(gpulet_partition_t **out, gpulet_device_t *device,
                                       uint32_t units, int overlap, gpulet_error_t *err)
{
    if (units == 0 || units > device->cut.units)
        return gpulet_fail(err, GPULET_E_INVALID, "a gpu-let of %u units on %s %u, which has %u",
                           units, device->desc.type, device->desc.index, device->cut.units);
    gpulet_partition_t *partition =
        calloc(1, sizeof(*partition) + units * sizeof(partition->units[0]));
    if (partition == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    partition->device = device;
    partition->count = units;
    gpulet_status_t st = gpulet_cut_take(&device->cut, partition->units, units, overlap != 0);
    if (st != GPULET_OK) {
        free(partition);
        return gpulet_fail(err, st, "%u units wanted on %s %u, %u are free", units,
                           device->desc.type, device->desc.index,
                           gpulet_cut_free_units(&device->cut));
    }
    device->partitions++;
    device->describe(partition);
    *out = partition;
    return GPULET_OK;
}

gpulet_status_t gpulet_partition_settle(gpulet_partition_t *partition, gpulet_error_t *err)
{
    gpulet_device_t *device = partition->device;
    gpulet_status_t st = gpulet_cut_settle(&device->cut, partition->units, partition->count);
    if (st != GPULET_OK)
        return gpulet_fail(err, st,
                           "%u units wanted on %s %u for what shares some, too few are free",
                           partition->count, device->desc.type, device->desc.index);
    device->describe(partition);
    return GPULET_OK;
}

void gpulet_partition_release(gpulet_partition_t *partition)
{
    if (partition == NULL)
        return;
    gpulet_cut_give(&partition->device->cut, partition->units, partition->count);
    partition->device->partitions--;
    free(partition);
}

uint32_t gpulet_partition_units(const gpulet_partition_t *partition)
{
    return partition->count;
}

const char *gpulet_partition_describe(const gpulet_partition_t *partition)
{
    return partition->text;
}
