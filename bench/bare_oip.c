#include "bare_oip.h"

#include <string.h>

#include "base/parse.h"

enum { DEPTH_MAX = 16 };

typedef struct scan {
    const char *at;
    const char *end;
    bool bad;
} scan_t;

typedef struct word {
    const char *text;
    size_t size;
} word_t;

static char peek(scan_t *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n'))
        s->at++;
    return s->at < s->end ? *s->at : '\0';
}

static bool take(scan_t *s, char wanted)
{
    if (!s->bad && peek(s) == wanted && s->at < s->end) {
        s->at++;
        return true;
    }
    s->bad = true;
    return false;
}

/* Steps to the next item of an object or array; false at its end, which is taken. */
static bool next_item(scan_t *s, char close, bool *first)
{
    if (s->bad)
        return false;
    if (peek(s) == close && s->at < s->end) {
        s->at++;
        return false;
    }
    if (!*first && !take(s, ','))
        return false;
    *first = false;
    return true;
}

/* The raw text between the quotes; escapes stay as they are. */
static word_t take_string(scan_t *s)
{
    word_t word = {"", 0};
    if (!take(s, '"'))
        return word;
    word.text = s->at;
    while (s->at < s->end && *s->at != '"')
        s->at += *s->at == '\\' ? 2 : 1;
    if (s->at >= s->end) {
        s->at = s->end;
        s->bad = true;
        return (word_t){"", 0};
    }
    word.size = (size_t)(s->at - word.text);
    s->at++;
    return word;
}

static word_t take_key(scan_t *s)
{
    word_t key = take_string(s);
    (void)take(s, ':');
    return key;
}

static bool is(word_t word, const char *text)
{
    return word.size == strlen(text) && memcmp(word.text, text, word.size) == 0;
}

static word_t take_plain(scan_t *s)
{
    (void)peek(s);
    word_t word = {s->at, 0};
    while (s->at < s->end && strchr(",]} \t\r\n", *s->at) == NULL)
        s->at++;
    word.size = (size_t)(s->at - word.text);
    s->bad = s->bad || word.size == 0;
    return word;
}

static int64_t take_integer(scan_t *s)
{
    int64_t value = 0;
    word_t word = take_plain(s);
    if (!s->bad && gpulet_parse_i64(&value, word.text, word.size) != GPULET_OK)
        s->bad = true;
    return value;
}

static void skip_value(scan_t *s)
{
    char open[DEPTH_MAX];
    unsigned depth = 0;
    do {
        char c = peek(s);
        if (c == '"') {
            (void)take_string(s);
        } else if ((c == '{' || c == '[') && depth < DEPTH_MAX) {
            open[depth++] = c;
            s->at++;
        } else if ((c == '}' || c == ']') && depth > 0 &&
                   open[depth - 1] == (c == '}' ? '{' : '[')) {
            depth--;
            s->at++;
        } else if ((c == ',' || c == ':') && depth > 0) {
            s->at++;
        } else {
            (void)take_plain(s);
        }
    } while (depth > 0 && !s->bad);
}

static void take_shape(gpulet_shape_t *out, scan_t *s)
{
    bool first = true;
    (void)take(s, '[');
    while (next_item(s, ']', &first)) {
        if (out->rank == GPULET_RANK_MAX) {
            s->bad = true;
            return;
        }
        out->dims[out->rank++] = take_integer(s);
    }
}

static void take_parameters(size_t *binary_size, scan_t *s)
{
    bool first = true;
    (void)take(s, '{');
    while (next_item(s, '}', &first)) {
        word_t key = take_key(s);
        if (!is(key, "binary_data_size")) {
            skip_value(s);
            continue;
        }
        int64_t size = take_integer(s);
        s->bad = s->bad || size < 0;
        *binary_size = (size_t)size;
    }
}

static void take_input(gpulet_bare_input_t *out, scan_t *s)
{
    bool first = true;
    memset(out, 0, sizeof(*out));
    (void)take(s, '{');
    while (next_item(s, '}', &first)) {
        word_t key = take_key(s);
        if (is(key, "name")) {
            word_t name = take_string(s);
            out->name = name.text;
            out->name_size = name.size;
        } else if (is(key, "datatype")) {
            word_t type = take_string(s);
            out->tensor.type = gpulet_datatype_parse(type.text, type.size);
        } else if (is(key, "shape")) {
            take_shape(&out->tensor.shape, s);
        } else if (is(key, "parameters")) {
            take_parameters(&out->tensor.size, s);
        } else {
            skip_value(s);
        }
    }
}

bool gpulet_bare_head_parse(gpulet_bare_head_t *out, const char *text, size_t size)
{
    scan_t s = {text, text + size, false};
    bool first = true;
    out->inputs_count = 0;
    (void)take(&s, '{');
    while (next_item(&s, '}', &first)) {
        word_t key = take_key(&s);
        bool first_input = true;
        if (!is(key, "inputs")) {
            skip_value(&s);
            continue;
        }
        (void)take(&s, '[');
        while (next_item(&s, ']', &first_input)) {
            if (out->inputs_count == GPULET_BARE_INPUTS_MAX)
                return false;
            take_input(&out->inputs[out->inputs_count++], &s);
        }
    }
    return !s.bad && out->inputs_count > 0;
}
