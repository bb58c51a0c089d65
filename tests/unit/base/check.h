/* cmocka with the headers it needs in front of it. */
#ifndef GPULET_TESTS_UNIT_BASE_CHECK_H
#define GPULET_TESTS_UNIT_BASE_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#endif
