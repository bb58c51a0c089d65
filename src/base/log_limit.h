/* How many lines of one kind are written a second: under overload what is to be said would cost
 * more than what is to be done. Pure; one owner at a time.
 *
 *   uint64_t suppressed;
 *   if (gpulet_log_limit_pass(&limit, now_ns, &suppressed))
 *       GPULET_LOG(INFO, "event=… suppressed=%llu", (unsigned long long)suppressed);
 */
#ifndef GPULET_BASE_LOG_LIMIT_H
#define GPULET_BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

enum { GPULET_LOG_LIMIT_PER_S = 10 };

/* All zeros: nothing was written yet. */
typedef struct gpulet_log_limit {
    uint64_t written_ns[GPULET_LOG_LIMIT_PER_S]; /* of the last lines, in a ring; 0: none yet */
    uint32_t next;                               /* the oldest of them */
    uint64_t suppressed;                         /* since the last line */
} gpulet_log_limit_t;

/* Whether a line may be written now: not when as many as GPULET_LOG_LIMIT_PER_S were within the
 * last second. *suppressed_out, written only then: how many were left out since the last one.
 * now_ns is never 0 and never goes back. */
bool gpulet_log_limit_pass(gpulet_log_limit_t *limit, uint64_t now_ns, uint64_t *suppressed_out);

#endif
