#include "worker/prepare.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "engine/engine.h"

enum { NICE = 19 };

static void step_back(void)
{
    const struct sched_param none = {0};
    (void)setpriority(PRIO_PROCESS, 0, NICE);
    (void)sched_setscheduler(0, SCHED_IDLE, &none);
}

static gpulet_status_t prepare(const gpulet_prepare_options_t *options, gpulet_error_t *err)
{
    const gpulet_engine_ops_t *ops = gpulet_engine_find(options->engine);
    if (ops == NULL || ops->prepare == NULL)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED, "engine '%s' prepares nothing",
                           options->engine);
    const gpulet_engine_options_t engine_options = {.ort_library = options->ort_library};
    const gpulet_engine_load_options_t load = {.name = "",
                                               .path = options->path,
                                               .threads = 1,
                                               .units = 1,
                                               .load_limit_ns = options->limit_ns};
    gpulet_engine_t *engine = NULL;
    gpulet_status_t st = ops->open(&engine, &engine_options, err);
    if (st != GPULET_OK)
        return st;
    st = ops->prepare(engine, &load, options->folder, err);
    if (st == GPULET_E_TIMEOUT)
        _exit(1); /* A thread of the library hangs. */
    ops->close(engine);
    return st;
}

int gpulet_prepare_main(const gpulet_prepare_options_t *options, pid_t parent)
{
    gpulet_error_t err = {""};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        return 1;
    gpulet_log_setup(GPULET_LOG_INFO, "prepare");
    step_back();
    if (prepare(options, &err) == GPULET_OK)
        return 0;
    char quoted[640];
    GPULET_LOG(WARNING, "event=prepare_failed file=%s reason=%s", options->path,
               gpulet_log_quote(quoted, sizeof(quoted), err.text));
    return 1;
}
