/* A thread beside a loop takes no signal, and its starter keeps its own. */
#include "base/thread.h"

#include <signal.h>

#include "check.h"

static void *look(void *context)
{
    sigset_t *mask = context;
    (void)pthread_sigmask(SIG_SETMASK, NULL, mask);
    return mask;
}

static void a_thread_takes_no_signal_and_the_mask_stays(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGCHLD, SIGUSR1, SIGHUP};
    sigset_t mine;
    sigset_t its;
    pthread_t thread;
    void *result = NULL;
    (void)state;
    (void)sigemptyset(&its);
    assert_int_equal(gpulet_thread_start(&thread, look, &its), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &its);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mine);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        assert_true(sigismember(&its, signals[i]));
        assert_false(sigismember(&mine, signals[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_takes_no_signal_and_the_mask_stays),
    };
    return cmocka_run_group_tests_name("base.thread", tests, NULL, NULL);
}
