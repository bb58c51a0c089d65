#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 4096 };

static _Atomic int least_level = GPULET_LOG_INFO;
static char who_text[32] = "gpulet";
static const char *const level_names[] = {"debug", "info", "warning", "error"};

gpulet_status_t gpulet_log_level_parse(gpulet_log_level_t *out, const char *text)
{
    for (int i = 0; i <= GPULET_LOG_ERROR; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (gpulet_log_level_t)i;
            return GPULET_OK;
        }
    }
    return GPULET_E_INVALID;
}

void gpulet_log_setup(gpulet_log_level_t least, const char *who)
{
    atomic_store(&least_level, (int)least);
    (void)snprintf(who_text, sizeof(who_text), "%s", who);
}

bool gpulet_log_enabled(gpulet_log_level_t level)
{
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

void gpulet_log_write(gpulet_log_level_t level, const char *fmt, ...)
{
    char line[LINE_SIZE];
    struct timespec now;
    struct tm utc;
    va_list args;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof(line), "time=%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof(line) - used, ".%03ldZ level=%s who=%s ",
                             now.tv_nsec / 1000000L, level_names[level], who_text);
    va_start(args, fmt);
    int length = vsnprintf(line + used, sizeof(line) - used - 1, fmt, args);
    va_end(args);
    if (length > 0)
        used += (size_t)length < sizeof(line) - used - 1 ? (size_t)length : sizeof(line) - used - 2;
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0)
        return; /* Nowhere to say it. */
}

const char *gpulet_log_quote(char *out, int out_size, const char *text)
{
    int used = 0;
    out[used++] = '"';
    for (; *text != '\0' && used < out_size - 4; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            out[used++] = '\\';
        out[used++] = (char)(c < 0x20 || c == 0x7f ? ' ' : c);
    }
    out[used++] = '"';
    out[used] = '\0';
    return out;
}

const char *gpulet_log_quote_peer(char *out, size_t out_size, const char *text, size_t size_max)
{
    static const char digits[] = "0123456789abcdef";
    static const char rest[] = "...\"";
    size_t used = 0;
    size_t at = 0;
    out[used++] = '"';
    for (; text[at] != '\0' && at < size_max && used + 4 + sizeof(rest) <= out_size; at++) {
        unsigned char c = (unsigned char)text[at];
        if (c < 0x20 || c >= 0x7f) {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = digits[c >> 4];
            out[used++] = digits[c & 15];
            continue;
        }
        if (c == '"' || c == '\\')
            out[used++] = '\\';
        out[used++] = (char)c;
    }
    (void)snprintf(out + used, out_size - used, "%s", text[at] != '\0' ? rest : rest + 3);
    return out;
}
