#include "base/thread.h"

#include <signal.h>

int gpulet_thread_start(pthread_t *out, void *(*main)(void *context), void *context)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(out, NULL, main, context);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}
