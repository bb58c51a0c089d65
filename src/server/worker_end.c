#include "server/worker_end.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

typedef struct end_job {
    const gpulet_device_backend_t *backend;
    pid_t pid;
    int pid_fd; /* its own: the number of a process may be another's by then */
    char grant[GPULET_GRANT_MAX + 1];
} end_job_t;

static void *end_main(void *argument)
{
    end_job_t *job = argument;
    siginfo_t info;
    job->backend->detach(job->grant, job->pid);
    (void)syscall(SYS_pidfd_send_signal, job->pid_fd, SIGKILL, NULL, 0);
    /* The owner may have done it. */
    (void)waitid((idtype_t)P_PIDFD, (id_t)job->pid_fd, &info, WEXITED);
    (void)close(job->pid_fd);
    free(job);
    return NULL;
}

static bool start(end_job_t *job)
{
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, end_main, job) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        (void)pthread_detach(thread);
    return started;
}

bool gpulet_worker_end(pid_t pid, int pid_fd, const gpulet_device_backend_t *backend,
                       const char *grant)
{
    end_job_t *job = NULL;
    if (backend != NULL && backend->detach != NULL && pid_fd >= 0 &&
        (job = calloc(1, sizeof(*job))) != NULL) {
        job->backend = backend;
        job->pid = pid;
        job->pid_fd = fcntl(pid_fd, F_DUPFD_CLOEXEC, 3);
        (void)snprintf(job->grant, sizeof(job->grant), "%s", grant);
        if (job->pid_fd >= 0 && start(job))
            return true;
        if (job->pid_fd >= 0)
            (void)close(job->pid_fd);
        free(job);
    }
    (void)kill(pid, SIGKILL);
    return false;
}
