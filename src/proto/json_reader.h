/* A strict pull reader of JSON (RFC 8259) over bytes in memory, without allocation. Private to
 * proto/.
 *
 * UTF-8 is checked, lone surrogates are refused, nesting is limited, and so is the number of keys
 * in the objects that are open at one time, because two equal keys of one object are an error. Text
 * need not be zero-terminated. One reader, one owner. */
#ifndef GPULET_PROTO_JSON_READER_H
#define GPULET_PROTO_JSON_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "proto/number.h"

enum {
    GPULET_JSON_DEPTH_LIMIT = 1024, /* what depth_max is held to */
    GPULET_JSON_KEYS_MAX = 256,     /* in all open objects together */
    GPULET_JSON_KEY_SIZE_MAX = 1024 /* bytes of a key as written */
};

typedef enum gpulet_json_token {
    GPULET_JSON_ERROR,
    GPULET_JSON_END, /* of the document */
    GPULET_JSON_NULL,
    GPULET_JSON_TRUE,
    GPULET_JSON_FALSE,
    GPULET_JSON_NUMBER,
    GPULET_JSON_STRING,
    GPULET_JSON_KEY,
    GPULET_JSON_OBJECT_BEGIN,
    GPULET_JSON_OBJECT_END,
    GPULET_JSON_ARRAY_BEGIN,
    GPULET_JSON_ARRAY_END
} gpulet_json_token_t;

typedef struct gpulet_json_key {
    const char *text;
    uint32_t size;
    uint32_t hash; /* of the unescaped key */
} gpulet_json_key_t;

typedef struct gpulet_json_reader {
    /* Of the last token. Strings and keys: what stands between the quotes, escapes and all;
     * numbers: their text. */
    gpulet_json_token_t token;
    const char *text;
    size_t size;
    bool escaped;          /* strings and keys: there is an escape in it */
    size_t unescaped_size; /* strings and keys: bytes after unescaping */
    gpulet_decimal_t number;

    const char *error; /* set once a token is ERROR; a constant */
    size_t error_offset;

    /* The reader's own. */
    const char *begin;
    const char *at;
    const char *end;
    uint32_t depth;
    uint32_t depth_max;
    uint32_t state;
    uint32_t keys_count;
    uint64_t
        objects[GPULET_JSON_DEPTH_LIMIT / 64]; /* bit d: the container at depth d is an object */
    uint16_t
        keys_begin[GPULET_JSON_DEPTH_LIMIT]; /* where the keys of the object at depth d begin */
    gpulet_json_key_t keys[GPULET_JSON_KEYS_MAX];
} gpulet_json_reader_t;

void gpulet_json_init(gpulet_json_reader_t *reader, const char *text, size_t size,
                      uint32_t depth_max);
/* The next token; after ERROR or END the same again. */
gpulet_json_token_t gpulet_json_next(gpulet_json_reader_t *reader);
/* Reads to the end of the value whose first token was the last one. False on an error. */
bool gpulet_json_skip(gpulet_json_reader_t *reader);
/* Whether the last token, a string or key, is word. */
bool gpulet_json_equals(const gpulet_json_reader_t *reader, const char *word);
/* Unescapes the last token, a string or key, into out, which must hold unescaped_size bytes. */
void gpulet_json_unescape(char *out, const gpulet_json_reader_t *reader);
/* Copies it as a C string; false when it does not fit out_size with its zero, or holds a zero byte.
 */
bool gpulet_json_copy(char *out, size_t out_size, const gpulet_json_reader_t *reader);
/* E_INVALID with what is wrong and where. */
gpulet_status_t gpulet_json_fail(const gpulet_json_reader_t *reader, const char *what,
                                 gpulet_error_t *err);

#endif
