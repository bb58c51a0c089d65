/* Inside of torture: what its two files share. */
#ifndef GPULET_TESTS_SUPPORT_TORTURE_CALLS_H
#define GPULET_TESTS_SUPPORT_TORTURE_CALLS_H

#include <stddef.h>

#include "torture.h"

/* Counts the call; true: it has to fail. */
bool torture_fails(torture_kind_t kind, const char *name);
void *torture_malloc(size_t size);
void *torture_realloc(void *memory, size_t size);

#endif
