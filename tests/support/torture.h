/* Fail the Nth: runs a piece of code again and again and lets its 1st, 2nd, 3rd … allocation or
 * system call fail, until it runs through without one having failed. Once with that single call
 * failing, once with every call from it on. Under the sanitizers this executes each way out of a
 * half-built thing; descriptors are counted besides, since nothing else would miss them.
 *
 * The calls are those that the linker redirects (--wrap, tests/torture/CMakeLists.txt), so those of
 * our own code, and the allocations of libevent, which has hooks for it. jansson is made to fail as
 * a whole, since version 2.14 does not survive every failing allocation of its own. Only the thread
 * that runs the body is concerned. */
#ifndef GPULET_TESTS_SUPPORT_TORTURE_H
#define GPULET_TESTS_SUPPORT_TORTURE_H

#include <stdbool.h>

#include "base/status.h"

/* Does the whole thing, frees what it got and says how it ended; checks itself that outputs are
 * untouched where it failed. What it prepares for itself belongs between pause and resume. */
typedef gpulet_status_t (*torture_body_t)(void *context);

typedef enum torture_kind {
    TORTURE_MEMORY = 1,
    TORTURE_SYSTEM = 2,
    TORTURE_BOTH = TORTURE_MEMORY | TORTURE_SYSTEM
} torture_kind_t;

/* Fails the test when the body does not end well with nothing failing, or leaves a descriptor or
 * (where the leak sanitizer runs) memory behind. least: so many calls the body is known to make at
 * least, so that a test that has lost its hooks is noticed. */
void torture_run(const char *name, torture_body_t body, void *context, torture_kind_t kind,
                 unsigned least);

/* Nothing fails and nothing is counted in between; they nest. */
void torture_pause(void);
void torture_resume(void);

/* Whether a call has failed since the body began. */
bool torture_has_failed(void);

#endif
