/* Devices that are only numbers: for tests, and for planning without the hardware. Entering one
 * changes nothing but is remembered. */
#ifndef GPULET_DEVICE_FAKE_FAKE_H
#define GPULET_DEVICE_FAKE_FAKE_H

/* The grant that this process entered last, "" when none. */
const char *gpulet_device_fake_entered(void);

#endif
