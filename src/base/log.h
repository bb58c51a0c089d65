/* Log lines for the programs, key=value, one line a call, written whole to standard error. Library
 * code below the runtimes returns errors and never logs. Thread-safe: one write(2) a line.
 *
 *   GPULET_LOG(INFO, "event=worker_start worker=%u pid=%d", index, pid);
 */
#ifndef GPULET_BASE_LOG_H
#define GPULET_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef enum gpulet_log_level {
    GPULET_LOG_DEBUG,
    GPULET_LOG_INFO,
    GPULET_LOG_WARNING,
    GPULET_LOG_ERROR
} gpulet_log_level_t;

/* "debug" | "info" | "warning" | "error". E_INVALID otherwise. */
gpulet_status_t gpulet_log_level_parse(gpulet_log_level_t *out, const char *text) GPULET_MUST_USE;
/* Set once at start, before threads. The name stands in every line as who=…. */
void gpulet_log_setup(gpulet_log_level_t least, const char *who);
bool gpulet_log_enabled(gpulet_log_level_t level);
void gpulet_log_write(gpulet_log_level_t level, const char *fmt, ...) GPULET_PRINTF(2, 3);
/* Copies text so that it is one key=value value: quoted, quotes and control bytes escaped. Returns
 * out. */
const char *gpulet_log_quote(char *out, int out_size, const char *text);
/* Likewise for what a peer sent: of at most size_max bytes, all but printable ASCII become \xNN, so
 * that the line stays text and different values stay different. What is longer than that or than
 * the room ends in "...". out_size ≥ 8. */
const char *gpulet_log_quote_peer(char *out, size_t out_size, const char *text, size_t size_max);

#define GPULET_LOG(level, ...)                                                                     \
    do {                                                                                           \
        if (gpulet_log_enabled(GPULET_LOG_##level))                                                \
            gpulet_log_write(GPULET_LOG_##level, __VA_ARGS__);                                     \
    } while (0)

#endif
