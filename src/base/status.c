#include "base/status.h"

#include <stdio.h>
#include <string.h>

const char *gpulet_status_name(gpulet_status_t status)
{
    switch (status) {
#define GPULET_STATUS_CASE(name, value, http, text)                                                \
    case GPULET_##name:                                                                            \
        return #name;
        GPULET_STATUS_MAP(GPULET_STATUS_CASE)
#undef GPULET_STATUS_CASE
    }
    return "E_UNKNOWN";
}

const char *gpulet_status_text(gpulet_status_t status)
{
    switch (status) {
#define GPULET_STATUS_CASE(name, value, http, text)                                                \
    case GPULET_##name:                                                                            \
        return text;
        GPULET_STATUS_MAP(GPULET_STATUS_CASE)
#undef GPULET_STATUS_CASE
    }
    return "unknown status";
}

int gpulet_status_http(gpulet_status_t status)
{
    switch (status) {
#define GPULET_STATUS_CASE(name, value, http, text)                                                \
    case GPULET_##name:                                                                            \
        return http;
        // NOLINTNEXTLINE(bugprone-branch-clone): neighbours in the table may share an answer
        GPULET_STATUS_MAP(GPULET_STATUS_CASE)
#undef GPULET_STATUS_CASE
    }
    return 500;
}

/* In parentheses because the header has a macro of that name for the static analyzer. */
gpulet_status_t(gpulet_fail)(gpulet_error_t *err, gpulet_status_t status, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(err->text, sizeof(err->text), fmt, args);
        va_end(args);
    }
    return status;
}

void gpulet_error_prefix(gpulet_error_t *err, const char *fmt, ...)
{
    char prefix[256];
    char text[GPULET_ERROR_TEXT_MAX];
    va_list args;
    if (err == NULL)
        return;
    va_start(args, fmt);
    (void)vsnprintf(prefix, sizeof(prefix), fmt, args);
    va_end(args);
    memcpy(text, err->text, sizeof(text));
    (void)snprintf(err->text, sizeof(err->text), "%s: %.*s", prefix,
                   (int)(sizeof(text) - sizeof(prefix) - 3), text);
}
