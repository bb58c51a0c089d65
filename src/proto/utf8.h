/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Thread-safe:
 * no state. */
#ifndef GPULET_PROTO_UTF8_H
#define GPULET_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes (1 … 4) of the character that text[0..size) begins with; 0 when it begins with none. */
size_t gpulet_utf8_length(const char *text, size_t size);
bool gpulet_utf8_valid(const char *text, size_t size);
/* Writes one character to out[0..4) and returns its bytes; 0 for a surrogate or a value above
 * U+10FFFF. */
size_t gpulet_utf8_put(char *out, uint32_t code);

#endif
