#include "server/route.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One path segment, percent-decoded. False when it is malformed, too long or holds a NUL. */
static bool decode_segment(char *out, size_t out_size, const char *text, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            if (size - i < 3)
                return false;
            int high = hex_value(text[i + 1]);
            int low = hex_value(text[i + 2]);
            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == 0 || used + 1 >= out_size)
            return false;
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return used > 0;
}

static bool match_segment(server_route_t *match, const char *pattern, size_t pattern_size,
                          const char *text, size_t size)
{
    if (pattern_size == 3 && memcmp(pattern, "{m}", 3) == 0)
        return decode_segment(match->name, sizeof(match->name), text, size);
    if (pattern_size == 3 && memcmp(pattern, "{r}", 3) == 0)
        return size > 0;
    if (pattern_size == 3 && memcmp(pattern, "{v}", 3) == 0)
        return size > 0 && strspn(text, "0123456789") >= size &&
               decode_segment(match->version, sizeof(match->version), text, size);
    return pattern_size == size && memcmp(pattern, text, size) == 0;
}

bool server_route_match(server_route_t *match, const char *pattern, const char *path)
{
    match->name[0] = '\0';
    match->version[0] = '\0';
    while (*pattern == '/' && *path == '/') {
        size_t pattern_size = strcspn(++pattern, "/");
        size_t size = strcspn(++path, "/");
        if (!match_segment(match, pattern, pattern_size, path, size))
            return false;
        pattern += pattern_size;
        path += size;
    }
    return *pattern == '\0' && *path == '\0';
}
