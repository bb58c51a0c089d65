#include "proto/pbtxt_lexer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

gpulet_status_t gpulet_pbtxt_fail(const gpulet_pbtxt_lexer_t *lexer, gpulet_pbtxt_place_t place,
                                  const char *fmt, ...)
{
    char text[GPULET_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return gpulet_fail(lexer->err, GPULET_E_INVALID, "%s:%u:%u: %s", lexer->file, place.line,
                       place.column, text);
}

static gpulet_pbtxt_place_t place_of(const gpulet_pbtxt_lexer_t *l, const char *p)
{
    return (gpulet_pbtxt_place_t){l->line, (uint32_t)(p - l->line_begin) + 1};
}

static void skip_blanks(gpulet_pbtxt_lexer_t *l)
{
    for (; l->at < l->end; l->at++) {
        char c = *l->at;
        if (c == '\n') {
            l->line++;
            l->line_begin = l->at + 1;
        } else if (c == '#') {
            const char *newline = memchr(l->at, '\n', (size_t)(l->end - l->at));
            l->at = newline != NULL ? newline - 1 : l->end - 1;
        } else if (c != ' ' && c != '\t' && c != '\r' && c != '\f' && c != '\v') {
            return;
        }
    }
}

/* To the closing quote, over escapes, within the line. */
static gpulet_status_t scan_string(gpulet_pbtxt_lexer_t *l)
{
    const char *p = l->text + 1;
    for (; p < l->end && *p != *l->text && *p != '\n'; p++) {
        if (*p == '\\' && p + 1 < l->end && p[1] != '\n')
            p++;
    }
    if (p == l->end || *p == '\n')
        return gpulet_pbtxt_fail(l, l->place, "the string is not closed on its line");
    l->token = GPULET_PBTXT_STRING;
    l->at = p + 1;
    return GPULET_OK;
}

static void scan_number(gpulet_pbtxt_lexer_t *l)
{
    const char *p = l->text;
    bool hexadecimal = l->end - p > 1 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
    for (; p < l->end; p++) {
        bool sign = (*p == '+' || *p == '-') && !hexadecimal && p > l->text &&
                    (p[-1] == 'e' || p[-1] == 'E');
        if (!is_digit(*p) && !is_letter(*p) && *p != '.' && !sign)
            break;
    }
    l->token = GPULET_PBTXT_NUMBER;
    l->at = p;
}

gpulet_status_t gpulet_pbtxt_advance(gpulet_pbtxt_lexer_t *lexer)
{
    gpulet_pbtxt_lexer_t *l = lexer;
    gpulet_status_t st = GPULET_OK;
    skip_blanks(l);
    l->text = l->at;
    l->size = 0;
    l->place = place_of(l, l->at);
    l->token = GPULET_PBTXT_END;
    if (l->at == l->end)
        return GPULET_OK;
    char c = *l->at;
    if (is_letter(c)) {
        while (l->at < l->end && (is_letter(*l->at) || is_digit(*l->at)))
            l->at++;
        l->token = GPULET_PBTXT_WORD;
    } else if (is_digit(c) || (c == '.' && l->end - l->at > 1 && is_digit(l->at[1]))) {
        scan_number(l);
    } else if (c == '"' || c == '\'') {
        st = scan_string(l);
    } else if (c < 0x20 || c == 0x7f || (unsigned char)c >= 0x80) {
        st = gpulet_pbtxt_fail(l, l->place, "unexpected byte 0x%02x", (unsigned)(unsigned char)c);
    } else {
        l->at++;
        l->token = GPULET_PBTXT_MARK;
    }
    l->size = (size_t)(l->at - l->text);
    return st;
}

gpulet_status_t gpulet_pbtxt_lexer_init(gpulet_pbtxt_lexer_t *lexer, const char *text, size_t size,
                                        const char *file, gpulet_error_t *err)
{
    memset(lexer, 0, sizeof(*lexer));
    lexer->at = text;
    lexer->end = text + size;
    lexer->line_begin = text;
    lexer->line = 1;
    lexer->file = file;
    lexer->err = err;
    return gpulet_pbtxt_advance(lexer);
}

bool gpulet_pbtxt_is_mark(const gpulet_pbtxt_lexer_t *lexer, char mark)
{
    return lexer->token == GPULET_PBTXT_MARK && *lexer->text == mark;
}

bool gpulet_pbtxt_is_word(const gpulet_pbtxt_lexer_t *lexer, const char *word)
{
    return lexer->token == GPULET_PBTXT_WORD && strlen(word) == lexer->size &&
           memcmp(word, lexer->text, lexer->size) == 0;
}

static int digit_of(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

/* Up to digits_max digits of the base at *p. Returns how many there were. */
static int read_digits(uint32_t *out, const char **p, const char *end, int base, int digits_max)
{
    uint32_t value = 0;
    int count = 0;
    for (; count < digits_max && *p < end && digit_of(**p) < base; count++)
        value = value * (uint32_t)base + (uint32_t)digit_of(*(*p)++);
    *out = value;
    return count;
}

/* After the backslash at *p; appends what it stands for. False when it stands for nothing. */
static bool read_escape(gpulet_buf_t *out, const char **p, const char *end)
{
    static const char names[] = "ntrabfv\\'\"?";
    static const char values[] = "\n\t\r\a\b\f\v\\'\"?";
    char utf8[4];
    uint32_t value = 0;
    if (*p == end)
        return false;
    char c = **p;
    if (c >= '0' && c <= '7') {
        (void)read_digits(&value, p, end, 8, 3);
        gpulet_buf_append_char(out, (char)value);
        return value <= 0xff;
    }
    (*p)++;
    const char *name = c != '\0' ? strchr(names, c) : NULL;
    if (name != NULL) {
        gpulet_buf_append_char(out, values[name - names]);
        return true;
    }
    if (c == 'x' || c == 'X') {
        int count = read_digits(&value, p, end, 16, 2);
        gpulet_buf_append_char(out, (char)value);
        return count > 0;
    }
    int digits = c == 'u' ? 4 : 8;
    if ((c != 'u' && c != 'U') || read_digits(&value, p, end, 16, digits) != digits)
        return false;
    size_t length = gpulet_utf8_put(utf8, value);
    gpulet_buf_append(out, utf8, length);
    return length > 0;
}

gpulet_status_t gpulet_pbtxt_read_string(gpulet_pbtxt_lexer_t *lexer, gpulet_buf_t *out)
{
    const char *p = lexer->text + 1;
    const char *end = lexer->text + lexer->size - 1;
    while (p < end) {
        if (*p != '\\') {
            gpulet_buf_append_char(out, *p++);
            continue;
        }
        const char *escape = p++;
        if (!read_escape(out, &p, end))
            return gpulet_pbtxt_fail(lexer, place_of(lexer, escape),
                                     "invalid escape in the string");
    }
    return gpulet_pbtxt_advance(lexer);
}
