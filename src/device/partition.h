/* What the backends whose units are counted one by one share: a device is a cut with names, a
 * partition some of its units. Owned by the server's thread. */
#ifndef GPULET_DEVICE_PARTITION_H
#define GPULET_DEVICE_PARTITION_H

#include "device/backend.h"
#include "device/cut.h"

enum { GPULET_PARTITION_TEXT_MAX = 255 };

struct gpulet_cpu_layout;

struct gpulet_device {
    gpulet_device_desc_t desc;
    gpulet_cut_t cut;
    uint32_t partitions;                             /* not released yet */
    struct gpulet_cpu_layout *layout;                /* cpu only; owned */
    void (*describe)(gpulet_partition_t *partition); /* writes its text */
};

struct gpulet_partition {
    gpulet_device_t *device;
    uint32_t count;
    char text[GPULET_PARTITION_TEXT_MAX + 1];
    uint32_t units[]; /* ascending indices into the cut */
};

extern const gpulet_device_backend_t gpulet_device_cpu;
extern const gpulet_device_backend_t gpulet_device_fake;

/* A device with desc->units units; groups as in cut.h. */
gpulet_status_t gpulet_device_create(gpulet_device_t **out, const gpulet_device_desc_t *desc,
                                     const uint32_t *groups,
                                     void (*describe)(gpulet_partition_t *partition),
                                     gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_device_destroy(gpulet_device_t *device);

/* The functions of the table that are the same for all such backends. */
gpulet_status_t gpulet_partition_carve(gpulet_partition_t **out, gpulet_device_t *device,
                                       uint32_t units, int overlap,
                                       gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_partition_settle(gpulet_partition_t *partition,
                                        gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_partition_release(gpulet_partition_t *partition);
uint32_t gpulet_partition_units(const gpulet_partition_t *partition);
const char *gpulet_partition_describe(const gpulet_partition_t *partition);

#endif
