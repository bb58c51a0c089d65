#include "torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <unistd.h>

#include "torture_calls.h"

enum { CALLS_MAX = 20000 };

static _Thread_local struct torture_state {
    int kinds;      /* what is counted; 0: not armed */
    int paused;     /* depth */
    bool all;       /* every call from the Nth on */
    unsigned calls; /* so far */
    unsigned fail;  /* the Nth */
    const char *failed;
} torture;

/* From libraries that may not be there; the leak sanitizer's, when it is compiled in. */
#pragma GCC diagnostic ignored "-Wredundant-decls"
extern void event_set_mem_functions(void *(*get)(size_t), void *(*again)(void *, size_t),
                                    void (*give)(void *)) __attribute__((weak));
extern int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

bool torture_fails(torture_kind_t kind, const char *name)
{
    if ((torture.kinds & (int)kind) == 0 || torture.paused > 0)
        return false;
    torture.calls++;
    if (torture.all ? torture.calls < torture.fail : torture.calls != torture.fail)
        return false;
    if (torture.failed == NULL)
        torture.failed = name;
    return true;
}

void torture_pause(void)
{
    torture.paused++;
}

void torture_resume(void)
{
    torture.paused--;
}

bool torture_has_failed(void)
{
    return torture.failed != NULL;
}

static int descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        count++;
    (void)closedir(d);
    return count;
}

/* True when the body ran through with nothing having failed. */
static bool fail_one(const char *name, torture_body_t body, void *context, torture_kind_t kind,
                     unsigned nth, bool all)
{
    int before = descriptors();
    torture.all = all;
    torture.calls = 0;
    torture.fail = nth;
    torture.failed = NULL;
    torture.kinds = (int)kind;
    gpulet_status_t st = body(context);
    torture.kinds = 0;
    if (torture.paused != 0)
        fail_msg("%s: a pause without its resume", name);
    if (descriptors() != before)
        fail_msg("%s: call %u (%s) failing%s leaves %d descriptors of %d", name, nth,
                 torture.failed != NULL ? torture.failed : "none", all ? ", and all after it," : "",
                 descriptors(), before);
    if (torture.failed == NULL && st != GPULET_OK)
        fail_msg("%s: %s with nothing failing", name, gpulet_status_name(st));
    return torture.failed == NULL;
}

static void fail_each(const char *name, torture_body_t body, void *context, torture_kind_t kind,
                      unsigned least, bool all)
{
    unsigned nth = 1;
    while (!fail_one(name, body, context, kind, nth, all)) {
        if (++nth > CALLS_MAX)
            fail_msg("%s: still failing after %d calls", name, CALLS_MAX);
    }
    if (nth - 1 < least)
        fail_msg("%s: only %u calls could fail, %u are expected", name, nth - 1, least);
    (void)printf("torture %s: %u %s calls%s\n", name, nth - 1,
                 kind == TORTURE_MEMORY   ? "memory"
                 : kind == TORTURE_SYSTEM ? "system"
                                          : "memory and system",
                 all ? ", and all after" : "");
}

void torture_run(const char *name, torture_body_t body, void *context, torture_kind_t kind,
                 unsigned least)
{
    if (event_set_mem_functions != NULL)
        event_set_mem_functions(torture_malloc, torture_realloc, free);
    (void)body(context); /* once in peace: what libraries keep for ever is made now */
    fail_each(name, body, context, kind, least, false);
    fail_each(name, body, context, kind, least, true);
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0)
        fail_msg("%s: memory is lost", name);
}
