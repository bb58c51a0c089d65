/* What a program settles about its own process before it does anything else. */
#ifndef GPULET_BASE_PROCESS_H
#define GPULET_BASE_PROCESS_H

#include <stdint.h>

/* Descriptors 0, 1 and 2 are open afterwards, on /dev/null if they were not: else the next socket
 * or shared memory would take their place, and the log would be written into it. */
void gpulet_process_open_streams(void);
/* Raises the soft limit of open descriptors to the hard one; returns what it is then. */
uint64_t gpulet_process_raise_descriptors(void);

/* Asks the scheduler for short slices for the calling thread, not for what it starts: one that
 * answers others within milliseconds should not wait out the slice of a busy neighbour on its
 * core, which is about 3 ms by default. Takes effect from Linux 6.12 on, elsewhere nothing
 * happens; it needs no rights and gives no larger share. */
void gpulet_process_short_slices(void);

#endif
