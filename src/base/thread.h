/* Threads beside a loop: signals are the loop's business, so a thread, and those that it starts,
 * take none. */
#ifndef GPULET_BASE_THREAD_H
#define GPULET_BASE_THREAD_H

#include <pthread.h>

/* Starts one with every signal blocked, and leaves the caller's mask as it is. 0, or an error
 * number as of pthread_create. */
int gpulet_thread_start(pthread_t *out, void *(*main)(void *context), void *context);

#endif
