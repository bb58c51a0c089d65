/* Faults that the simulator causes, from one line of text: `name=chance` or `name=chancexsize`,
 * commas in between, for instance "worker-death=0.001,slow=0.01x10". Plain values. */
#ifndef GPULET_SIM_FAULTS_H
#define GPULET_SIM_FAULTS_H

#include <stdbool.h>

#include "base/status.h"

typedef enum gpulet_fault_unit {
    GPULET_FAULT_PER_BATCH,   /* chance of each batch */
    GPULET_FAULT_PER_REQUEST, /* … of each request */
    GPULET_FAULT_PER_START,   /* … of each start of a gpu-let */
    GPULET_FAULT_PER_SECOND   /* so many a second of the whole system */
} gpulet_fault_unit_t;

/* X(NAME, name, unit, size, help): size is what `x` gives, or its default; 0: there is none. */
#define GPULET_FAULT_MAP(X)                                                                        \
    X(WORKER_DEATH, "worker-death", PER_BATCH, 0, "the worker dies in the middle of the batch")    \
    X(SLOW, "slow", PER_BATCH, 10, "the batch takes so many times as long")                        \
    X(LOST_DONE, "lost-done", PER_BATCH, 0,                                                        \
      "the batch's end is never heard of; the worker counts as lost after the run limit")          \
    X(RING_FULL, "ring-full", PER_BATCH, 0,                                                        \
      "the worker does not take the batch and counts as lost")                                     \
    X(CLIENT_GONE, "client-gone", PER_REQUEST, 0, "the client hangs up within the SLO")            \
    X(START_FAILS, "start-fails", PER_START, 0, "a gpu-let does not come up")                      \
    X(BURST, "burst", PER_SECOND, 50, "so many requests of one model or application at once")      \
    X(DEVICE_GONE, "device-gone", PER_SECOND, 30, "a device is gone for so many seconds")

typedef enum gpulet_fault {
#define GPULET_FAULT_ENUM(name, text, unit, size, help) GPULET_FAULT_##name,
    GPULET_FAULT_MAP(GPULET_FAULT_ENUM)
#undef GPULET_FAULT_ENUM
        GPULET_FAULT_COUNT
} gpulet_fault_t;

typedef struct gpulet_faults {
    double chance[GPULET_FAULT_COUNT]; /* 0: never; a chance up to 1, or a rate a second */
    double size[GPULET_FAULT_COUNT];   /* how much, where a size means something */
} gpulet_faults_t;

/* "" is no faults. E_INVALID says what was expected and what was found. */
gpulet_status_t gpulet_faults_parse(gpulet_faults_t *out, const char *text,
                                    gpulet_error_t *err) GPULET_MUST_USE;
bool gpulet_faults_any(const gpulet_faults_t *faults);
const char *gpulet_fault_name(gpulet_fault_t fault);

#endif
