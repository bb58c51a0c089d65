/* cmocka with the headers it needs in front of it, and what the tests of core/ share. */
#ifndef GPULET_TESTS_UNIT_CORE_CHECK_H
#define GPULET_TESTS_UNIT_CORE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"

/* One wrong text and a part of the error it has to give. */
typedef struct wrong {
    const char *text;
    const char *error;
} wrong_t;

static inline void check_error(gpulet_status_t status, const gpulet_error_t *err,
                               const wrong_t *wrong)
{
    if (status == GPULET_OK)
        fail_msg("accepted: %s", wrong->text);
    if (strstr(err->text, wrong->error) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", err->text, wrong->error);
}

/* The path of a measured file outside of the project; skips the test where it is not there. */
static inline const char *shared_data(char *path, size_t path_size, const char *name)
{
    (void)snprintf(path, path_size, "%s/../shared/data/%s", GPULET_SOURCE_DIR, name);
    if (access(path, R_OK) != 0)
        skip();
    return path;
}

#endif
