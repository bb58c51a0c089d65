/* The main loop of a worker process: enters its partition, opens its engine, loads models and runs
 * batches until the server says stop or is gone. One thread does everything (the engine may have
 * more of its own). The process belongs to it: signals, descriptors from 3 up, name.
 */
#ifndef GPULET_WORKER_MAIN_LOOP_H
#define GPULET_WORKER_MAIN_LOOP_H

#include <sys/types.h>

/* control_fd is the worker's end of the SOCK_SEQPACKET pair, parent the process that started it,
 * name for logs and /proc. Returns the process's exit status: 0 after a stop, 1 when it could not
 * start or the server is gone. */
int gpulet_work_main(int control_fd, pid_t parent, const char *name);

#endif
