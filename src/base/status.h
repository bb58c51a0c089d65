/* Status codes and error texts.
 *
 * A fallible function returns a gpulet_status_t and may fill a gpulet_error_t that its caller owns.
 * The codes below are the single source of their names, HTTP statuses and texts. Thread-safe: no
 * state. */
#ifndef GPULET_BASE_STATUS_H
#define GPULET_BASE_STATUS_H

#include <stdarg.h>
#include <stddef.h>

#define GPULET_MUST_USE                      __attribute__((warn_unused_result))
#define GPULET_PRINTF(fmt_index, args_index) __attribute__((format(printf, fmt_index, args_index)))

/* X(name, value, http, text): the whole table of status codes. */
#define GPULET_STATUS_MAP(X)                                                                       \
    X(OK, 0, 200, "ok")                                                                            \
    X(E_NOMEM, -1, 503, "out of memory")                                                           \
    X(E_IO, -2, 500, "input or output failed")                                                     \
    X(E_INVALID, -3, 400, "invalid argument")                                                      \
    X(E_NOT_FOUND, -4, 404, "not found")                                                           \
    X(E_EXISTS, -5, 400, "already exists")                                                         \
    X(E_UNAVAILABLE, -6, 503, "unavailable")                                                       \
    X(E_UNSUPPORTED, -7, 501, "not supported")                                                     \
    X(E_INTERNAL, -8, 500, "internal error")                                                       \
    X(E_TIMEOUT, -9, 503, "deadline passed")                                                       \
    X(E_FULL, -10, 503, "full")                                                                    \
    X(E_TOO_LARGE, -11, 413, "too large")                                                          \
    X(E_CANCELLED, -12, 400, "cancelled")                                                          \
    X(E_INFEASIBLE, -13, 503, "no plan meets every objective")                                     \
    X(E_AGAIN, -14, 503, "nothing there yet")                                                      \
    X(E_CLOSED, -15, 500, "the peer is gone")

typedef enum gpulet_status {
#define GPULET_STATUS_ENUM(name, value, http, text) GPULET_##name = (value),
    GPULET_STATUS_MAP(GPULET_STATUS_ENUM)
#undef GPULET_STATUS_ENUM
} gpulet_status_t;

/* "E_INVALID"; "E_UNKNOWN" for a value outside the table. */
const char *gpulet_status_name(gpulet_status_t status);
/* One lower-case sentence. */
const char *gpulet_status_text(gpulet_status_t status);
/* The HTTP status a client is answered with. */
int gpulet_status_http(gpulet_status_t status);

enum { GPULET_ERROR_TEXT_MAX = 1024 };

/* The text of the first failure: one line, no trailing full stop or newline. Owned by the caller,
 * may live on the stack. */
typedef struct gpulet_error {
    char text[GPULET_ERROR_TEXT_MAX];
} gpulet_error_t;

/* Fills err (may be NULL) and returns status, so that `return gpulet_fail(err, GPULET_E_IO, …)`
 * reads well. */
gpulet_status_t gpulet_fail(gpulet_error_t *err, gpulet_status_t status, const char *fmt, ...)
    GPULET_PRINTF(3, 4);
#ifdef __clang_analyzer__
/* The static analyzer does not look into other files: without this it believes that gpulet_fail
 * may return GPULET_OK. */
// NOLINTNEXTLINE(readability-identifier-naming): it stands in for the function
#define gpulet_fail(err, status, ...) ((void)(gpulet_fail)((err), (status), __VA_ARGS__), (status))
#endif

/* Puts "prefix: " before the text that err already holds. err may be NULL. */
void gpulet_error_prefix(gpulet_error_t *err, const char *fmt, ...) GPULET_PRINTF(2, 3);

#endif
