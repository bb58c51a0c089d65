/* A temporary folder that goes with the test, and cmocka with the headers it needs in front of it.
 * Failures abort the test. */
#ifndef GPULET_TESTS_SUPPORT_FOLDER_H
#define GPULET_TESTS_SUPPORT_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct folder {
    char root[64];
    char path[1024]; /* of the last call of folder_at */
} folder_t;

/* For cmocka's setup and teardown: *state is a folder_t. */
int folder_setup(void **state);
int folder_teardown(void **state);
/* root/name; valid until the next call. */
const char *folder_at(folder_t *folder, const char *name);
/* Makes the folders on the way to root/name and writes the file; its path, as folder_at. */
const char *folder_write(folder_t *folder, const char *name, const char *text, size_t size);
const char *folder_write_text(folder_t *folder, const char *name, const char *text);

#endif
