#include "server/worker_end.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

typedef struct end_job {
    const gpulet_device_backend_t *backend; /* NULL: it is killed already, and only reaped */
    pid_t pid;
    int pid_fd; /* its own: the number of a process may be another's by then */
    char grant[GPULET_GRANT_MAX + 1];
} end_job_t;

static void *end_main(void *argument)
{
    end_job_t *job = argument;
    siginfo_t info;
    if (job->backend != NULL) {
        job->backend->detach(job->grant, job->pid);
        (void)syscall(SYS_pidfd_send_signal, job->pid_fd, SIGKILL, NULL, 0);
    }
    /* The owner may have done it. */
    (void)waitid((idtype_t)P_PIDFD, (id_t)job->pid_fd, &info, WEXITED);
    (void)close(job->pid_fd);
    free(job);
    return NULL;
}

static bool start(end_job_t *job)
{
    pthread_t thread;
    bool started = gpulet_thread_start(&thread, end_main, job) == 0;
    if (started)
        (void)pthread_detach(thread);
    return started;
}

static bool hand_over(pid_t pid, int pid_fd, const gpulet_device_backend_t *backend,
                      const char *grant)
{
    end_job_t *job = calloc(1, sizeof(*job));
    if (job == NULL)
        return false;
    job->backend = backend;
    job->pid = pid;
    job->pid_fd = fcntl(pid_fd, F_DUPFD_CLOEXEC, 3);
    (void)snprintf(job->grant, sizeof(job->grant), "%s", grant);
    if (job->pid_fd >= 0 && start(job))
        return true;
    if (job->pid_fd >= 0)
        (void)close(job->pid_fd);
    free(job);
    return false;
}

bool gpulet_worker_end(pid_t pid, int pid_fd, const gpulet_device_backend_t *backend,
                       const char *grant)
{
    if (backend != NULL && backend->detach != NULL && pid_fd >= 0 &&
        hand_over(pid, pid_fd, backend, grant))
        return true;
    (void)kill(pid, SIGKILL);
    return false;
}

void gpulet_worker_reap(pid_t pid, int pid_fd, int wait_ms)
{
    struct pollfd ended = {.fd = pid_fd, .events = POLLIN};
    int rc = pid_fd >= 0 ? poll(&ended, 1, wait_ms) : 1;
    if (rc == 0 && hand_over(pid, pid_fd, NULL, ""))
        return;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}
