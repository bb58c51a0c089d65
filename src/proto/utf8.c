#include "proto/utf8.h"

static bool continues(unsigned char c)
{
    return (c & 0xc0U) == 0x80U;
}

size_t gpulet_utf8_length(const char *text, size_t size)
{
    const unsigned char *p = (const unsigned char *)text;
    if (size == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    if (p[0] < 0xe0)
        return size >= 2 && continues(p[1]) ? 2 : 0;
    if (p[0] < 0xf0) {
        if (size < 3 || !continues(p[1]) || !continues(p[2]))
            return 0;
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))
            return 0;
        return 3;
    }
    if (size < 4 || !continues(p[1]) || !continues(p[2]) || !continues(p[3]))
        return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return 4;
}

bool gpulet_utf8_valid(const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t length = gpulet_utf8_length(text + at, size - at);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

size_t gpulet_utf8_put(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0U | (code >> 6));
        out[1] = (char)(0x80U | (code & 0x3fU));
        return 2;
    }
    if (code >= 0xd800 && code < 0xe000)
        return 0;
    if (code < 0x10000) {
        out[0] = (char)(0xe0U | (code >> 12));
        out[1] = (char)(0x80U | ((code >> 6) & 0x3fU));
        out[2] = (char)(0x80U | (code & 0x3fU));
        return 3;
    }
    if (code > 0x10ffff)
        return 0;
    out[0] = (char)(0xf0U | (code >> 18));
    out[1] = (char)(0x80U | ((code >> 12) & 0x3fU));
    out[2] = (char)(0x80U | ((code >> 6) & 0x3fU));
    out[3] = (char)(0x80U | (code & 0x3fU));
    return 4;
}
