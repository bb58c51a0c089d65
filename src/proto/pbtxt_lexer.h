/* Words of protobuf's text format, with line and column. Private to proto/. */
#ifndef GPULET_PROTO_PBTXT_LEXER_H
#define GPULET_PROTO_PBTXT_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

typedef struct gpulet_pbtxt_place {
    uint32_t line;   /* from 1 */
    uint32_t column; /* in bytes, from 1 */
} gpulet_pbtxt_place_t;

typedef enum gpulet_pbtxt_token {
    GPULET_PBTXT_END,
    GPULET_PBTXT_WORD,   /* an identifier */
    GPULET_PBTXT_NUMBER, /* what looks like one: its sign is a mark before it */
    GPULET_PBTXT_STRING, /* one quoted piece, quotes included */
    GPULET_PBTXT_MARK    /* one other character */
} gpulet_pbtxt_token_t;

typedef struct gpulet_pbtxt_lexer {
    /* The word that comes next. */
    gpulet_pbtxt_token_t token;
    const char *text;
    size_t size;
    gpulet_pbtxt_place_t place;

    const char *at;
    const char *end;
    const char *line_begin;
    uint32_t line;
    const char *file;
    gpulet_error_t *err;
} gpulet_pbtxt_lexer_t;

/* Moves to the first word. */
gpulet_status_t gpulet_pbtxt_lexer_init(gpulet_pbtxt_lexer_t *lexer, const char *text, size_t size,
                                        const char *file, gpulet_error_t *err) GPULET_MUST_USE;
/* Moves to the next word. */
gpulet_status_t gpulet_pbtxt_advance(gpulet_pbtxt_lexer_t *lexer) GPULET_MUST_USE;
bool gpulet_pbtxt_is_mark(const gpulet_pbtxt_lexer_t *lexer, char mark);
bool gpulet_pbtxt_is_word(const gpulet_pbtxt_lexer_t *lexer, const char *word);
/* Appends the string at hand, escapes resolved, and moves on. */
gpulet_status_t gpulet_pbtxt_read_string(gpulet_pbtxt_lexer_t *lexer,
                                         gpulet_buf_t *out) GPULET_MUST_USE;
/* E_INVALID with "file:line:column: …". */
gpulet_status_t gpulet_pbtxt_fail(const gpulet_pbtxt_lexer_t *lexer, gpulet_pbtxt_place_t place,
                                  const char *fmt, ...) GPULET_PRINTF(3, 4);

#endif
