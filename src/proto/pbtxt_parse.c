#include "proto/pbtxt_parse.h"

#include <assert.h>
#include <string.h>

#include "proto/number.h"
#include "proto/pbtxt_unused.h"
#include "proto/utf8.h"

enum { SHOWN_MAX = 60, FLOAT_TEXT_MAX = 128 };

typedef struct parser {
    gpulet_pbtxt_lexer_t *lexer;
    const gpulet_pbtxt_sink_t *sink;
    gpulet_buf_t text; /* of the last string or floating-point number */
} parser_t;

/* What has been set in the message at hand. */
typedef struct seen {
    uint64_t fields;
    const char *oneof; /* name of the member that is set */
} seen_t;

/* What to do with the fields of a message: kept collects those that are not used. */
typedef struct target {
    bool used;
    bool told; /* all is kept, and what has a use is used beside that */
    gpulet_kept_t *kept;
} target_t;

static gpulet_status_t parse_body(parser_t *p, const gpulet_pbtxt_message_t *message, char close,
                                  target_t target);

/* expected "…", found "…" */
static gpulet_status_t fail_found(parser_t *p, const char *subject, const char *expected)
{
    const gpulet_pbtxt_lexer_t *l = p->lexer;
    int shown = l->size < SHOWN_MAX ? (int)l->size : SHOWN_MAX;
    if (l->token == GPULET_PBTXT_END)
        return gpulet_pbtxt_fail(l, l->place, "%s: expected %s, found the end of the file", subject,
                                 expected);
    return gpulet_pbtxt_fail(l, l->place, "%s: expected %s, found %.*s", subject, expected, shown,
                             l->text);
}

static gpulet_status_t fail_memory(parser_t *p)
{
    return gpulet_fail(p->lexer->err, GPULET_E_NOMEM, "out of memory");
}

static gpulet_status_t fail_kept(parser_t *p, gpulet_status_t status,
                                 const gpulet_pbtxt_field_t *field, gpulet_pbtxt_place_t place)
{
    if (status != GPULET_E_FULL)
        return fail_memory(p);
    return gpulet_pbtxt_fail(p->lexer, place, "%s: more than %d entries", field->name,
                             GPULET_KEPT_ENTRIES_MAX);
}

static gpulet_status_t advance(parser_t *p)
{
    return gpulet_pbtxt_advance(p->lexer);
}

/* A '-' before a number. */
static gpulet_status_t read_sign(parser_t *p, bool *negative)
{
    *negative = gpulet_pbtxt_is_mark(p->lexer, '-');
    return *negative ? advance(p) : GPULET_OK;
}

/* Decimal, 0x hexadecimal or 0 octal. */
static bool magnitude_of(uint64_t *out, const char *text, size_t size)
{
    unsigned base = 10;
    uint64_t value = 0;
    size_t at = 0;
    if (size > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        at = 2;
    } else if (size > 1 && text[0] == '0') {
        base = 8;
        at = 1;
    }
    for (; at < size; at++) {
        char c = text[at];
        unsigned digit = 99;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (unsigned)(c - 'A') + 10;
        if (digit >= base || __builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return false;
    }
    *out = value;
    return true;
}

static gpulet_status_t read_integer(parser_t *p, const gpulet_pbtxt_field_t *field,
                                    gpulet_pbtxt_value_t *value)
{
    static const char *const expected[] = {
        [GPULET_PBTXT_KIND_INT32] = "a 32-bit integer",
        [GPULET_PBTXT_KIND_INT64] = "a 64-bit integer",
        [GPULET_PBTXT_KIND_UINT32] = "an unsigned 32-bit integer",
        [GPULET_PBTXT_KIND_UINT64] = "an unsigned 64-bit integer",
    };
    bool is_signed =
        field->kind == GPULET_PBTXT_KIND_INT32 || field->kind == GPULET_PBTXT_KIND_INT64;
    bool narrow = field->kind == GPULET_PBTXT_KIND_INT32 || field->kind == GPULET_PBTXT_KIND_UINT32;
    bool negative = false;
    uint64_t magnitude = 0;
    uint64_t max =
        is_signed ? (narrow ? INT32_MAX : INT64_MAX) : (narrow ? UINT32_MAX : UINT64_MAX);
    if (is_signed) {
        gpulet_status_t st = read_sign(p, &negative);
        if (st != GPULET_OK)
            return st;
    }
    if (p->lexer->token != GPULET_PBTXT_NUMBER ||
        !magnitude_of(&magnitude, p->lexer->text, p->lexer->size) ||
        magnitude > max + (negative ? 1U : 0U))
        return fail_found(p, field->name, expected[field->kind]);
    value->natural = magnitude;
    value->number = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return advance(p);
}

/* protobuf also writes .5, 5. and 5f. Appends the number as JSON has it; what is too large for the
 * field is infinite, which JSON has not. */
static bool append_float(gpulet_buf_t *out, const char *text, size_t size, bool negative)
{
    char copy[FLOAT_TEXT_MAX];
    size_t used = 0;
    float value = 0;
    gpulet_decimal_t decimal;
    if (size > 0 && (text[size - 1] == 'f' || text[size - 1] == 'F'))
        size--;
    if (size == 0 || size > sizeof(copy) / 2)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '.' && i == 0)
            copy[used++] = '0';
        copy[used++] = text[i];
        if (text[i] == '.' && (i + 1 == size || text[i + 1] < '0' || text[i + 1] > '9'))
            copy[used++] = '0';
    }
    if (gpulet_decimal_scan(&decimal, copy, used) != used)
        return false;
    if (!gpulet_decimal_f32(&value, &decimal)) {
        gpulet_buf_append_str(out, "null");
        return true;
    }
    gpulet_buf_append_str(out, negative ? "-" : "");
    gpulet_buf_append(out, copy, used);
    return true;
}

static gpulet_status_t read_float(parser_t *p, const gpulet_pbtxt_field_t *field,
                                  gpulet_pbtxt_value_t *value)
{
    const gpulet_pbtxt_lexer_t *l = p->lexer;
    bool negative = false;
    gpulet_status_t st = read_sign(p, &negative);
    if (st != GPULET_OK)
        return st;
    bool word = gpulet_pbtxt_is_word(l, "inf") || gpulet_pbtxt_is_word(l, "infinity") ||
                gpulet_pbtxt_is_word(l, "nan");
    gpulet_buf_clear(&p->text);
    if (word)
        gpulet_buf_append_str(&p->text, "null");
    else if (l->token != GPULET_PBTXT_NUMBER || !append_float(&p->text, l->text, l->size, negative))
        return fail_found(p, field->name, "a number");
    if (gpulet_buf_status(&p->text) != GPULET_OK)
        return fail_memory(p);
    value->text = p->text.data;
    value->text_size = p->text.size;
    return advance(p);
}

static gpulet_status_t read_bool(parser_t *p, const gpulet_pbtxt_field_t *field,
                                 gpulet_pbtxt_value_t *value)
{
    const gpulet_pbtxt_lexer_t *l = p->lexer;
    bool digit = l->token == GPULET_PBTXT_NUMBER && l->size == 1;
    if (gpulet_pbtxt_is_word(l, "true") || gpulet_pbtxt_is_word(l, "True") ||
        gpulet_pbtxt_is_word(l, "t") || (digit && *l->text == '1'))
        value->boolean = true;
    else if (!gpulet_pbtxt_is_word(l, "false") && !gpulet_pbtxt_is_word(l, "False") &&
             !gpulet_pbtxt_is_word(l, "f") && !(digit && *l->text == '0'))
        return fail_found(p, field->name, "true or false");
    return advance(p);
}

static gpulet_status_t read_enum(parser_t *p, const gpulet_pbtxt_field_t *field,
                                 gpulet_pbtxt_value_t *value)
{
    const gpulet_pbtxt_enum_t *e = field->enumeration;
    const gpulet_pbtxt_lexer_t *l = p->lexer;
    uint64_t number = e->values_count;
    if (l->token == GPULET_PBTXT_NUMBER && !magnitude_of(&number, l->text, l->size))
        number = e->values_count;
    for (size_t i = 0; i < e->values_count && l->token == GPULET_PBTXT_WORD; i++) {
        if (gpulet_pbtxt_is_word(l, e->values[i]))
            number = i;
    }
    if (number >= e->values_count) {
        char expected[64] = "a value of ";
        strncat(expected, e->name, sizeof(expected) - strlen(expected) - 1);
        return fail_found(p, field->name, expected);
    }
    value->number = (int64_t)number;
    return advance(p);
}

/* One string or several side by side. */
static gpulet_status_t read_text(parser_t *p, const gpulet_pbtxt_field_t *field,
                                 gpulet_pbtxt_value_t *value)
{
    if (p->lexer->token != GPULET_PBTXT_STRING)
        return fail_found(p, field->name, "a string");
    gpulet_buf_clear(&p->text);
    while (p->lexer->token == GPULET_PBTXT_STRING) {
        gpulet_status_t st = gpulet_pbtxt_read_string(p->lexer, &p->text);
        if (st != GPULET_OK)
            return st;
    }
    gpulet_buf_append(&p->text, "", 0);
    if (gpulet_buf_status(&p->text) != GPULET_OK)
        return fail_memory(p);
    if (!gpulet_utf8_valid(p->text.data, p->text.size) ||
        memchr(p->text.data, '\0', p->text.size) != NULL)
        return gpulet_pbtxt_fail(p->lexer, value->place,
                                 "%s: the string is not UTF-8 or has a zero byte in it",
                                 field->name);
    value->text = p->text.data;
    value->text_size = p->text.size;
    return GPULET_OK;
}

static bool is_told(const gpulet_pbtxt_field_t *field, target_t target)
{
    return target.told && field->use != GPULET_PBTXT_USE_NONE;
}

static gpulet_status_t parse_scalar(parser_t *p, const gpulet_pbtxt_field_t *field, target_t target)
{
    gpulet_pbtxt_value_t value = {.place = p->lexer->place};
    gpulet_status_t st;
    switch (field->kind) {
    case GPULET_PBTXT_KIND_STRING:
        st = read_text(p, field, &value);
        break;
    case GPULET_PBTXT_KIND_BOOL:
        st = read_bool(p, field, &value);
        break;
    case GPULET_PBTXT_KIND_FLOAT:
        st = read_float(p, field, &value);
        break;
    case GPULET_PBTXT_KIND_ENUM:
        st = read_enum(p, field, &value);
        break;
    default:
        st = read_integer(p, field, &value);
        break;
    }
    if (st != GPULET_OK)
        return st;
    if (target.used)
        return p->sink->scalar(p->sink->context, field, &value);
    st = gpulet_pbtxt_keep_scalar(target.kept, field, &value);
    if (st != GPULET_OK)
        return fail_kept(p, st, field, value.place);
    return is_told(field, target) ? p->sink->scalar(p->sink->context, field, &value) : GPULET_OK;
}

/* What is in it is used, or at least some of it. */
static gpulet_status_t parse_used(parser_t *p, const gpulet_pbtxt_field_t *field, char close,
                                  gpulet_pbtxt_place_t place, target_t target)
{
    gpulet_kept_t *kept = gpulet_kept_add(target.kept, GPULET_KEPT_MESSAGE, field->name);
    if (kept == NULL)
        return fail_memory(p);
    gpulet_status_t st = p->sink->begin(p->sink->context, field, place);
    if (st == GPULET_OK)
        st = parse_body(p, field->message, close, (target_t){true, false, kept});
    if (st == GPULET_OK)
        st = p->sink->end(p->sink->context, field, place);
    return st;
}

static gpulet_status_t parse_unused(parser_t *p, const gpulet_pbtxt_field_t *field, char close,
                                    gpulet_pbtxt_place_t place, target_t target)
{
    gpulet_kept_t inner = {.form = GPULET_KEPT_MESSAGE};
    const bool told = is_told(field, target);
    gpulet_status_t st = told ? p->sink->begin(p->sink->context, field, place) : GPULET_OK;
    if (st == GPULET_OK)
        st = parse_body(p, field->message, close, (target_t){false, target.told, &inner});
    if (st == GPULET_OK &&
        (st = gpulet_pbtxt_keep_message(target.kept, field, &inner)) != GPULET_OK)
        st = fail_kept(p, st, field, place);
    if (st == GPULET_OK && told)
        st = p->sink->end(p->sink->context, field, place);
    gpulet_kept_deinit(&inner);
    return st;
}

static gpulet_status_t parse_submessage(parser_t *p, const gpulet_pbtxt_field_t *field,
                                        target_t target)
{
    gpulet_pbtxt_place_t place = p->lexer->place;
    bool braces = gpulet_pbtxt_is_mark(p->lexer, '{');
    if (!braces && !gpulet_pbtxt_is_mark(p->lexer, '<'))
        return fail_found(p, field->name, "{");
    gpulet_status_t st = advance(p);
    if (st != GPULET_OK)
        return st;
    return target.used ? parse_used(p, field, braces ? '}' : '>', place, target)
                       : parse_unused(p, field, braces ? '}' : '>', place, target);
}

static gpulet_status_t parse_value(parser_t *p, const gpulet_pbtxt_field_t *field, target_t target)
{
    return field->kind == GPULET_PBTXT_KIND_MESSAGE ? parse_submessage(p, field, target)
                                                    : parse_scalar(p, field, target);
}

/* [value, …], at the bracket. */
static gpulet_status_t parse_list(parser_t *p, const gpulet_pbtxt_field_t *field, target_t target)
{
    if (!field->repeated)
        return gpulet_pbtxt_fail(p->lexer, p->lexer->place, "%s: it takes one value, not a list",
                                 field->name);
    gpulet_status_t st = advance(p);
    if (st != GPULET_OK || gpulet_pbtxt_is_mark(p->lexer, ']'))
        return st != GPULET_OK ? st : advance(p);
    for (;;) {
        if ((st = parse_value(p, field, target)) != GPULET_OK)
            return st;
        if (gpulet_pbtxt_is_mark(p->lexer, ']'))
            return advance(p);
        if (!gpulet_pbtxt_is_mark(p->lexer, ','))
            return fail_found(p, field->name, ", or ]");
        if ((st = advance(p)) != GPULET_OK)
            return st;
    }
}

/* Finds the field at hand and notes it as seen. */
static gpulet_status_t find_field(parser_t *p, const gpulet_pbtxt_field_t **out, seen_t *seen,
                                  const gpulet_pbtxt_message_t *message)
{
    gpulet_pbtxt_lexer_t *l = p->lexer;
    int shown = l->size < SHOWN_MAX ? (int)l->size : SHOWN_MAX;
    if (l->token != GPULET_PBTXT_WORD)
        return fail_found(p, message->name, "the name of a field");
    const gpulet_pbtxt_field_t *field = gpulet_pbtxt_field_find(message, l->text, l->size);
    if (field == NULL)
        return gpulet_pbtxt_fail(l, l->place, "%s has no field '%.*s'", message->name, shown,
                                 l->text);
    uint64_t bit = UINT64_C(1) << (field - message->fields);
    if (!field->repeated && (seen->fields & bit) != 0)
        return gpulet_pbtxt_fail(l, l->place, "field '%s' is given twice", field->name);
    if (field->oneof && seen->oneof != NULL)
        return gpulet_pbtxt_fail(l, l->place, "field '%s' cannot stand beside '%s'", field->name,
                                 seen->oneof);
    seen->fields |= bit;
    if (field->oneof)
        seen->oneof = field->name;
    *out = field;
    return advance(p);
}

static gpulet_status_t parse_field(parser_t *p, const gpulet_pbtxt_message_t *message, seen_t *seen,
                                   target_t target)
{
    const gpulet_pbtxt_field_t *field = NULL;
    gpulet_status_t st = find_field(p, &field, seen, message);
    if (st != GPULET_OK)
        return st;
    assert(field != NULL);
    target.told = target.told || (target.used && field->use != GPULET_PBTXT_USE_NONE &&
                                  gpulet_pbtxt_field_is_kept(field));
    target.used = target.used && !gpulet_pbtxt_field_is_kept(field);
    if (gpulet_pbtxt_is_mark(p->lexer, ':')) {
        if ((st = advance(p)) != GPULET_OK)
            return st;
    } else if (field->kind != GPULET_PBTXT_KIND_MESSAGE) {
        return fail_found(p, field->name, ":");
    }
    st = gpulet_pbtxt_is_mark(p->lexer, '[') ? parse_list(p, field, target)
                                             : parse_value(p, field, target);
    if (st == GPULET_OK &&
        (gpulet_pbtxt_is_mark(p->lexer, ',') || gpulet_pbtxt_is_mark(p->lexer, ';')))
        st = advance(p);
    return st;
}

/* Fields up to the closing mark, which is eaten; close 0: up to the end of the text. */
static gpulet_status_t parse_body(parser_t *p, const gpulet_pbtxt_message_t *message, char close,
                                  target_t target)
{
    seen_t seen = {0, NULL};
    assert(message->fields_count <= 64);
    for (;;) {
        if (close == '\0' && p->lexer->token == GPULET_PBTXT_END)
            return GPULET_OK;
        if (close != '\0' && gpulet_pbtxt_is_mark(p->lexer, close))
            return advance(p);
        gpulet_status_t st = parse_field(p, message, &seen, target);
        if (st != GPULET_OK)
            return st;
    }
}

gpulet_status_t gpulet_pbtxt_parse_document(gpulet_pbtxt_lexer_t *lexer,
                                            const gpulet_pbtxt_message_t *message,
                                            const gpulet_pbtxt_sink_t *sink, gpulet_kept_t *kept)
{
    parser_t parser = {lexer, sink, GPULET_BUF_INIT};
    gpulet_status_t st = parse_body(&parser, message, '\0', (target_t){true, false, kept});
    gpulet_buf_deinit(&parser.text);
    return st;
}
