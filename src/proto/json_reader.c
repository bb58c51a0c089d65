#include "proto/json_reader.h"

#include <assert.h>
#include <string.h>

#include "proto/utf8.h"

enum {
    STATE_VALUE,         /* a value must come */
    STATE_FIRST_ELEMENT, /* a value or ']' */
    STATE_FIRST_KEY,     /* a key or '}' */
    STATE_AFTER_VALUE,   /* ',' or the container's end */
    STATE_DONE           /* only white space */
};

static gpulet_json_token_t refuse(gpulet_json_reader_t *r, const char *why, const char *where)
{
    r->error = why;
    r->error_offset = (size_t)(where - r->begin);
    r->token = GPULET_JSON_ERROR;
    return GPULET_JSON_ERROR;
}

void gpulet_json_init(gpulet_json_reader_t *reader, const char *text, size_t size,
                      uint32_t depth_max)
{
    /* Keys and depths are written before they are read. */
    reader->token = GPULET_JSON_END;
    reader->error = NULL;
    reader->error_offset = 0;
    reader->text = text;
    reader->size = 0;
    reader->escaped = false;
    reader->unescaped_size = 0;
    reader->begin = text;
    reader->at = text;
    reader->end = text + size;
    reader->depth = 0;
    reader->depth_max =
        depth_max < GPULET_JSON_DEPTH_LIMIT ? depth_max : GPULET_JSON_DEPTH_LIMIT - 1;
    reader->state = STATE_VALUE;
    reader->keys_count = 0;
    memset(reader->objects, 0, sizeof(reader->objects));
}

static bool in_object(const gpulet_json_reader_t *r)
{
    return r->depth > 0 && (r->objects[r->depth / 64] >> (r->depth % 64) & 1U) != 0;
}

static void skip_blanks(gpulet_json_reader_t *r)
{
    const char *p = r->at;
    while (p < r->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    r->at = p;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits at p; -1 when they are not there. */
static int32_t read_hex(const char *p, const char *end)
{
    int32_t value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Reads the escape at p, which points at the backslash: its character, and the bytes it takes as
 * written. 0 bytes when it is none. */
static size_t read_escape(uint32_t *code, const char *p, const char *end)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    if (end - p < 2)
        return 0;
    const char *name = p[1] == '\0' ? NULL : strchr(names, p[1]);
    if (name != NULL) {
        *code = (uint32_t)values[name - names];
        return 2;
    }
    int32_t high = p[1] == 'u' ? read_hex(p + 2, end) : -1;
    if (high < 0 || (high >= 0xdc00 && high < 0xe000))
        return 0;
    *code = (uint32_t)high;
    if (high < 0xd800 || high >= 0xe000)
        return 6;
    if (end - p < 12 || p[6] != '\\' || p[7] != 'u')
        return 0;
    int32_t low = read_hex(p + 8, end);
    if (low < 0xdc00 || low >= 0xe000)
        return 0;
    *code = 0x10000U + (((uint32_t)high - 0xd800U) << 10) + ((uint32_t)low - 0xdc00U);
    return 12;
}

/* Steps over plain ASCII, eight bytes at a time: stops at or before a quote, a backslash, a control
 * byte or a byte above 0x7f. */
static const char *skip_plain(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = UINT64_C(0x8080808080808080);
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        uint64_t quote = word ^ (ones * '"');
        uint64_t slash = word ^ (ones * '\\');
        uint64_t found =
            ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | (word - ones * 0x20) | word;
        if ((found & highs) != 0)
            break;
        p += 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' &&
           *p != '\\')
        p++;
    return p;
}

/* At the opening quote. */
static bool read_string(gpulet_json_reader_t *r)
{
    const char *p = r->at + 1;
    size_t saved = 0; /* bytes that unescaping saves */
    r->text = p;
    r->escaped = false;
    for (;;) {
        p = skip_plain(p, r->end);
        if (p == r->end) {
            (void)refuse(r, "Missing a closing quotation mark in string.", r->at);
            return false;
        }
        if (*p == '"')
            break;
        if ((unsigned char)*p < 0x20) {
            (void)refuse(r, "Control character in string.", p);
            return false;
        }
        size_t length;
        if (*p == '\\') {
            uint32_t code = 0;
            char utf8[4];
            length = read_escape(&code, p, r->end);
            saved += length - (length > 0 ? gpulet_utf8_put(utf8, code) : 0);
            r->escaped = true;
        } else {
            length = gpulet_utf8_length(p, (size_t)(r->end - p));
        }
        if (length == 0) {
            (void)refuse(r, *p == '\\' ? "Invalid escape in string." : "Invalid UTF-8 in string.",
                         p);
            return false;
        }
        p += length;
    }
    r->size = (size_t)(p - r->text);
    r->unescaped_size = r->size - saved;
    r->at = p + 1;
    return true;
}

/* Of text that read_string has accepted. Returns the bytes written. */
static size_t unescape(char *out, const char *text, size_t size)
{
    const char *end = text + size;
    char *begin = out;
    for (const char *p = text; p < end;) {
        if (*p != '\\') {
            const char *next = memchr(p, '\\', (size_t)(end - p));
            size_t run = (size_t)((next != NULL ? next : end) - p);
            memcpy(out, p, run);
            out += run;
            p += run;
        } else {
            uint32_t code = 0;
            size_t length = read_escape(&code, p, end);
            assert(length > 0);
            out += gpulet_utf8_put(out, code);
            p += length;
        }
    }
    return (size_t)(out - begin);
}

/* The key's bytes after unescaping: in place, or in buffer, which holds GPULET_JSON_KEY_SIZE_MAX.
 */
static const char *key_bytes(char *buffer, size_t *size, const char *text, size_t text_size)
{
    *size = text_size;
    if (memchr(text, '\\', text_size) == NULL)
        return text;
    *size = unescape(buffer, text, text_size);
    return buffer;
}

static bool same_key(const gpulet_json_key_t *a, const gpulet_json_key_t *b)
{
    char buffer_a[GPULET_JSON_KEY_SIZE_MAX];
    char buffer_b[GPULET_JSON_KEY_SIZE_MAX];
    size_t size_a = 0;
    size_t size_b = 0;
    const char *bytes_a = key_bytes(buffer_a, &size_a, a->text, a->size);
    const char *bytes_b = key_bytes(buffer_b, &size_b, b->text, b->size);
    return size_a == size_b && memcmp(bytes_a, bytes_b, size_a) == 0;
}

/* Notes the key just read among those of its object. */
static bool note_key(gpulet_json_reader_t *r)
{
    char buffer[GPULET_JSON_KEY_SIZE_MAX];
    size_t size = 0;
    if (r->size > GPULET_JSON_KEY_SIZE_MAX) {
        (void)refuse(r, "The key is too long.", r->text);
        return false;
    }
    if (r->keys_count == GPULET_JSON_KEYS_MAX) {
        (void)refuse(r, "Too many keys.", r->text);
        return false;
    }
    gpulet_json_key_t key = {r->text, (uint32_t)r->size, 2166136261U};
    const char *bytes = key_bytes(buffer, &size, r->text, r->size);
    for (size_t i = 0; i < size; i++)
        key.hash = (key.hash ^ (unsigned char)bytes[i]) * 16777619U;
    for (uint32_t i = r->keys_begin[r->depth]; i < r->keys_count; i++) {
        if (r->keys[i].hash == key.hash && same_key(&r->keys[i], &key)) {
            (void)refuse(r, "Duplicate key in object.", r->text);
            return false;
        }
    }
    r->keys[r->keys_count++] = key;
    return true;
}

/* At the first byte of what must be a key. */
static gpulet_json_token_t read_key(gpulet_json_reader_t *r)
{
    if (r->at == r->end || *r->at != '"')
        return refuse(r, "Missing a name for object member.", r->at);
    if (!read_string(r) || !note_key(r))
        return GPULET_JSON_ERROR;
    skip_blanks(r);
    if (r->at == r->end || *r->at != ':')
        return refuse(r, "Missing a colon after a name of object member.", r->at);
    r->at++;
    r->state = STATE_VALUE;
    r->token = GPULET_JSON_KEY;
    return GPULET_JSON_KEY;
}

static gpulet_json_token_t open_container(gpulet_json_reader_t *r, bool object)
{
    if (r->depth >= r->depth_max)
        return refuse(r, "Nested too deeply.", r->at);
    r->at++;
    r->depth++;
    uint64_t bit = UINT64_C(1) << (r->depth % 64);
    r->objects[r->depth / 64] &= ~bit;
    if (object)
        r->objects[r->depth / 64] |= bit;
    r->keys_begin[r->depth] = (uint16_t)r->keys_count;
    r->state = object ? STATE_FIRST_KEY : STATE_FIRST_ELEMENT;
    r->token = object ? GPULET_JSON_OBJECT_BEGIN : GPULET_JSON_ARRAY_BEGIN;
    return r->token;
}

static gpulet_json_token_t close_container(gpulet_json_reader_t *r, bool object)
{
    r->at++;
    r->keys_count = r->keys_begin[r->depth];
    r->depth--;
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER_VALUE;
    r->token = object ? GPULET_JSON_OBJECT_END : GPULET_JSON_ARRAY_END;
    return r->token;
}

static gpulet_json_token_t read_word(gpulet_json_reader_t *r, const char *word,
                                     gpulet_json_token_t token)
{
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0)
        return refuse(r, "Invalid value.", r->at);
    r->text = r->at;
    r->size = length;
    r->at += length;
    r->token = token;
    return token;
}

/* At the first byte of a scalar; state is already what comes after it. */
static gpulet_json_token_t read_scalar(gpulet_json_reader_t *r)
{
    switch (*r->at) {
    case '"':
        if (!read_string(r))
            return GPULET_JSON_ERROR;
        r->token = GPULET_JSON_STRING;
        return r->token;
    case 't':
        return read_word(r, "true", GPULET_JSON_TRUE);
    case 'f':
        return read_word(r, "false", GPULET_JSON_FALSE);
    case 'n':
        return read_word(r, "null", GPULET_JSON_NULL);
    default:
        break;
    }
    r->size = gpulet_decimal_scan(&r->number, r->at, (size_t)(r->end - r->at));
    if (r->size == 0)
        return refuse(r, "Invalid value.", r->at);
    r->text = r->at;
    r->at += r->size;
    r->token = GPULET_JSON_NUMBER;
    return r->token;
}

static gpulet_json_token_t read_value(gpulet_json_reader_t *r)
{
    if (r->at == r->end)
        return refuse(r, r->depth == 0 ? "The document is empty." : "Missing a value.", r->at);
    if (*r->at == '{' || *r->at == '[')
        return open_container(r, *r->at == '{');
    r->state = r->depth == 0 ? STATE_DONE : STATE_AFTER_VALUE;
    return read_scalar(r);
}

/* After a value inside a container. */
static gpulet_json_token_t read_separator(gpulet_json_reader_t *r)
{
    bool object = in_object(r);
    char c = '\0';
    if (r->at < r->end)
        c = *r->at;
    if (object ? c == '}' : c == ']')
        return close_container(r, object);
    if (c != ',')
        return refuse(r,
                      object ? "Missing a comma or } after an object member."
                             : "Missing a comma or ] after an array element.",
                      r->at);
    r->at++;
    skip_blanks(r);
    return object ? read_key(r) : read_value(r);
}

gpulet_json_token_t gpulet_json_next(gpulet_json_reader_t *reader)
{
    if (reader->error != NULL)
        return GPULET_JSON_ERROR;
    skip_blanks(reader);
    switch (reader->state) {
    case STATE_AFTER_VALUE:
        return read_separator(reader);
    case STATE_FIRST_ELEMENT:
        if (reader->at < reader->end && *reader->at == ']')
            return close_container(reader, false);
        return read_value(reader);
    case STATE_FIRST_KEY:
        if (reader->at < reader->end && *reader->at == '}')
            return close_container(reader, true);
        return read_key(reader);
    case STATE_VALUE:
        return read_value(reader);
    default:
        if (reader->at != reader->end)
            return refuse(reader, "The document root must not be followed by other values.",
                          reader->at);
        reader->token = GPULET_JSON_END;
        return GPULET_JSON_END;
    }
}

bool gpulet_json_skip(gpulet_json_reader_t *reader)
{
    if (reader->token == GPULET_JSON_ERROR)
        return false;
    if (reader->token != GPULET_JSON_OBJECT_BEGIN && reader->token != GPULET_JSON_ARRAY_BEGIN)
        return true;
    uint32_t depth = reader->depth - 1;
    while (reader->depth > depth) {
        if (gpulet_json_next(reader) == GPULET_JSON_ERROR)
            return false;
    }
    return true;
}

bool gpulet_json_equals(const gpulet_json_reader_t *reader, const char *word)
{
    char buffer[GPULET_JSON_KEY_SIZE_MAX];
    size_t length = strlen(word);
    if (reader->unescaped_size != length)
        return false;
    if (!reader->escaped)
        return memcmp(reader->text, word, length) == 0;
    assert(length <= sizeof(buffer));
    (void)unescape(buffer, reader->text, reader->size);
    return memcmp(buffer, word, length) == 0;
}

void gpulet_json_unescape(char *out, const gpulet_json_reader_t *reader)
{
    if (reader->escaped)
        (void)unescape(out, reader->text, reader->size);
    else
        memcpy(out, reader->text, reader->size);
}

bool gpulet_json_copy(char *out, size_t out_size, const gpulet_json_reader_t *reader)
{
    if (reader->unescaped_size >= out_size)
        return false;
    gpulet_json_unescape(out, reader);
    out[reader->unescaped_size] = '\0';
    return memchr(out, '\0', reader->unescaped_size) == NULL;
}

gpulet_status_t gpulet_json_fail(const gpulet_json_reader_t *reader, const char *what,
                                 gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_INVALID, "%s: %s at %zu", what,
                       reader->error != NULL ? reader->error : "unexpected value",
                       reader->error_offset);
}
