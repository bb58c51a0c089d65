#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "engine/ort/api.h"

enum { TEXT_MAX = 8192 };

/* The library's texts hold places of its source, anywhere in a line: `/path/file.cc:123 type
 * ns::function(parameters) words` or, short, `file.cc:123 function words`. Clients have no use for
 * the place; the words around it stay. */

static bool is_name(char c)
{
    return isalnum((unsigned char)c) != 0 || c == '_';
}

/* Behind the bracket that closes the one at text[0]; NULL when none does. */
static const char *skip_brackets(const char *text, char open, char close)
{
    int depth = 0;
    for (; *text != '\0'; text++) {
        if (*text == open)
            depth++;
        else if (*text == close && --depth == 0)
            return text + 1;
    }
    return NULL;
}

/* Length of `/path/file.cc:123` or `file.cc:123` at text, or 0. */
static size_t place_len(const char *text)
{
    static const char *const suffixes[] = {
        ".h:", ".cc:", ".cpp:", ".hpp:", ".inc:", ".cuh:", ".cu:", ".hh:"};
    /* A bare name has neither folders nor anything before it in its word. */
    size_t len = strcspn(text, text[0] == '/' ? " \t\r\n'\"()" : " \t\r\n'\"():/");
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        const char *at = strstr(text, suffixes[i]);
        if (at == NULL || (size_t)(at - text) >= len || at == text)
            continue;
        at += strlen(suffixes[i]);
        size_t digits = strspn(at, "0123456789");
        if (digits > 0)
            return (size_t)(at - text) + digits;
    }
    return 0;
}

/* Length of ` type ns::function(parameters) const [with T = int]` at text, or 0 when that is not
 * what follows. */
static size_t signature_len(const char *text)
{
    const char *c = text;
    while (*c != '\0' && *c != '(' && *c != '\n' && *c != '.' && *c != '"' && *c != '\'')
        c++;
    /* In a signature the bracket follows a name; in prose there is a blank before it. */
    if (*c != '(' || c == text)
        return 0;
    if (!is_name(c[-1]) && c[-1] != '>' && strncmp(c, "(anonymous namespace)", 21) != 0)
        return 0;
    for (;;) {
        const char *next = skip_brackets(c, '(', ')');
        if (next == NULL)
            return 0;
        c = next;
        while (*c == '>') /* of "<lambda(int)>" */
            c++;
        if (strncmp(c, "::", 2) != 0 && *c != '(')
            break;
        /* It was "(anonymous namespace)" or the name operator(): the parameters are still to come.
         */
        const char *bracket = strchr(c, '(');
        if (bracket == NULL)
            break;
        c = bracket;
    }
    if (strncmp(c, " const", 6) == 0 && !is_name(c[6]))
        c += 6;
    if (strncmp(c, " [with ", 7) == 0) {
        const char *next = skip_brackets(c + 1, '[', ']');
        c = next != NULL ? next : c;
    }
    return (size_t)(c - text);
}

/* Length of ` function` at text, or 0. */
static size_t word_len(const char *text)
{
    size_t len = text[0] == ' ' ? 1 : 0;
    while (len > 0 && (is_name(text[len]) || text[len] == ':' || text[len] == '~'))
        len++;
    return len > 1 && text[len] == ' ' ? len : 0;
}

/* Length of the UTF-8 character at text, or 0: names of nodes may be any bytes, and the text ends
 * up in JSON. */
static size_t utf8_len(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t len = c[0] < 0x80 ? 1 : c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
    if ((c[0] >= 0x80 && c[0] < 0xc2) || c[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((c[i] & 0xc0) != 0x80)
            return 0;
    }
    bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
    bool surrogate = c[0] == 0xed && c[1] >= 0xa0;
    bool beyond = c[0] == 0xf4 && c[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : len;
}

/* Copies one character (a question mark for what is none, one blank for any number of them); gives
 * the bytes taken. Needs room for one byte. */
static size_t copy_one(char *out, size_t *used, size_t out_size, const char *text)
{
    size_t len = utf8_len(text);
    if ((unsigned char)*text <= ' ' || *text == 0x7f) {
        if (*used > 0 && out[*used - 1] != ' ')
            out[(*used)++] = ' ';
        return 1;
    }
    if (len == 0) {
        out[(*used)++] = '?';
        return 1;
    }
    if (*used + len < out_size) {
        memcpy(out + *used, text, len);
        *used += len;
        return len;
    }
    return strlen(text); /* it does not fit: that was the end */
}

void gpulet_ort_text_clean(char *out, size_t out_size, const char *original)
{
    /* The names in a hostile model may be of any length; no text of the library's own is so long.
     */
    char copy[TEXT_MAX];
    const char *text = copy;
    size_t len = strnlen(original, sizeof(copy) - 1);
    memcpy(copy, original, len);
    copy[len] = '\0';
    size_t used = 0;
    bool at_word = true;
    while (*text != '\0' && used + 1 < out_size) {
        size_t place = *text == '/' || at_word ? place_len(text) : 0;
        if (place > 0) {
            size_t name = *text == '/' ? 0 : word_len(text + place);
            size_t signature = signature_len(text + place);
            text += place + (signature > 0 ? signature : name);
            at_word = true;
            continue;
        }
        at_word = !is_name(*text);
        text += copy_one(out, &used, out_size, text);
    }
    while (used > 0 && (out[used - 1] == ' ' || out[used - 1] == '.'))
        used--;
    if (out_size > 0)
        out[used] = '\0';
}
