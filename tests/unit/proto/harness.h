/* What every test of this folder includes, in the order that cmocka wants. */
#ifndef TESTS_UNIT_PROTO_HARNESS_H
#define TESTS_UNIT_PROTO_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A copy of exactly size bytes on the heap, so that a sanitizer sees a read past the end. Caller
 * frees. */
static inline char *exact_copy(const void *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    assert_non_null(copy);
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

#define ASSERT_CONTAINS(text, part)                                                                \
    do {                                                                                           \
        if (strstr((text), (part)) == NULL)                                                        \
            fail_msg("\"%s\" has no \"%s\"", (text), (part));                                      \
    } while (0)

#endif
