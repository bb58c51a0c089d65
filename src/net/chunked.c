#include "net/chunked.h"

#include <assert.h>
#include <string.h>

enum { DIGITS_MAX = 15 };

typedef enum chunked_state {
    STATE_SIZE,
    STATE_BLANK, /* blanks after the size: only an extension may follow */
    STATE_EXTENSION,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_BEGIN,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_LAST_LF,
    STATE_DONE,
    STATE_FAILED
} chunked_state_t;

void gpulet_chunked_begin(gpulet_chunked_t *chunked)
{
    memset(chunked, 0, sizeof(*chunked));
}

static chunked_state_t refuse(gpulet_chunked_t *chunked, const char *text)
{
    chunked->text = text;
    return STATE_FAILED;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static chunked_state_t in_size(gpulet_chunked_t *chunked, char c)
{
    int value = hex_value(c);
    if (value >= 0) {
        if (++chunked->digits > DIGITS_MAX)
            return refuse(chunked, "the chunk is too large");
        chunked->left = chunked->left << 4 | (uint64_t)value;
        return STATE_SIZE;
    }
    if (chunked->digits == 0)
        return refuse(chunked, "malformed chunk size");
    if (c == '\r')
        return STATE_SIZE_LF;
    if (c == ';')
        return STATE_EXTENSION;
    return c == ' ' || c == '\t' ? STATE_BLANK : refuse(chunked, "malformed chunk size");
}

static chunked_state_t in_blank(gpulet_chunked_t *chunked, char c)
{
    if (c == ';')
        return STATE_EXTENSION;
    return c == ' ' || c == '\t' ? STATE_BLANK : refuse(chunked, "malformed chunk size");
}

static chunked_state_t in_extension(gpulet_chunked_t *chunked, char c)
{
    if (c == '\r')
        return STATE_SIZE_LF;
    if (++chunked->extensions > GPULET_CHUNKED_EXTENSIONS_MAX)
        return refuse(chunked, "too many chunk extensions");
    return gpulet_http1_value_valid(&c, 1) ? STATE_EXTENSION
                                           : refuse(chunked, "malformed chunk extension");
}

static chunked_state_t after_size(gpulet_chunked_t *chunked, char c)
{
    if (c != '\n')
        return refuse(chunked, "malformed chunk size");
    chunked->digits = 0;
    chunked->line = 0;
    return chunked->left > 0 ? STATE_DATA : STATE_TRAILER_BEGIN;
}

static chunked_state_t in_trailer(gpulet_chunked_t *chunked, char c)
{
    if (++chunked->trailer > GPULET_CHUNKED_TRAILER_MAX)
        return refuse(chunked, "the trailer is too large");
    switch (chunked->state) {
    case STATE_TRAILER_BEGIN:
        chunked->line = 1;
        if (c == '\r')
            return STATE_LAST_LF;
        return gpulet_http1_token_valid(&c, 1) ? STATE_TRAILER_NAME
                                               : refuse(chunked, "malformed trailer");
    case STATE_TRAILER_NAME:
        if (c == ':')
            return STATE_TRAILER_VALUE;
        return gpulet_http1_token_valid(&c, 1) ? STATE_TRAILER_NAME
                                               : refuse(chunked, "malformed trailer");
    default:
        if (c == '\r')
            return STATE_TRAILER_LF;
        return gpulet_http1_value_valid(&c, 1) ? STATE_TRAILER_VALUE
                                               : refuse(chunked, "malformed trailer");
    }
}

static chunked_state_t next_state(gpulet_chunked_t *chunked, char c)
{
    if (++chunked->line > GPULET_CHUNKED_LINE_MAX)
        return refuse(chunked, "a line of the chunked body is too long");
    switch ((chunked_state_t)chunked->state) {
    case STATE_SIZE:
        return in_size(chunked, c);
    case STATE_BLANK:
        return in_blank(chunked, c);
    case STATE_EXTENSION:
        return in_extension(chunked, c);
    case STATE_SIZE_LF:
        return after_size(chunked, c);
    case STATE_DATA_CR:
        return c == '\r' ? STATE_DATA_LF : refuse(chunked, "a chunk does not end with CR LF");
    case STATE_DATA_LF:
        chunked->line = 0;
        return c == '\n' ? STATE_SIZE : refuse(chunked, "a chunk does not end with CR LF");
    case STATE_TRAILER_BEGIN:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
        return in_trailer(chunked, c);
    case STATE_TRAILER_LF:
        return c == '\n' ? STATE_TRAILER_BEGIN : refuse(chunked, "malformed trailer");
    case STATE_LAST_LF:
        return c == '\n' ? STATE_DONE : refuse(chunked, "malformed trailer");
    case STATE_DATA:
    case STATE_DONE:
    case STATE_FAILED:
        break;
    }
    assert(false && "a state that eats no single bytes");
    return STATE_FAILED;
}

gpulet_http1_step_t gpulet_chunked_next(gpulet_chunked_t *chunked, const char *data, size_t size,
                                        size_t *consumed, const char **body, size_t *body_size)
{
    size_t at = 0;
    *body_size = 0;
    while (at < size && chunked->state < STATE_DONE) {
        if (chunked->state == STATE_DATA) {
            size_t take = chunked->left < size - at ? (size_t)chunked->left : size - at;
            *body = data + at;
            *body_size = take;
            *consumed = at + take;
            chunked->left -= take;
            if (chunked->left == 0)
                chunked->state = STATE_DATA_CR;
            return GPULET_HTTP1_DATA;
        }
        chunked->state = (int)next_state(chunked, data[at]);
        at++;
    }
    *consumed = at;
    if (chunked->state == STATE_FAILED)
        return GPULET_HTTP1_FAILED;
    return chunked->state == STATE_DONE ? GPULET_HTTP1_DONE : GPULET_HTTP1_MORE;
}
