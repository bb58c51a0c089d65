#include "device/mps/keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "device/mps/daemon.h"

enum { LOOK_MS = 200, STEP_MS = 20, GRACE_MS = 1000, KEEPER_FD = 3 };

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    char name[PATH_MAX];
    if (dir == NULL)
        return;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct stat info;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            (size_t)snprintf(name, sizeof(name), "%s/%s", path, e->d_name) >= sizeof(name) ||
            lstat(name, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            remove_folder(name);
        else
            (void)unlink(name);
    }
    (void)closedir(dir);
    (void)rmdir(path);
}

static void reap(pid_t daemon, bool *daemon_gone)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        *daemon_gone = *daemon_gone || pid == daemon;
}

/* Signals every child there is: the daemon, and servers of a daemon that is gone. Returns how many.
 */
static unsigned signal_children(int signal_number)
{
    char path[64];
    char *line = NULL;
    size_t line_size = 0;
    unsigned count = 0;
    (void)snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)getpid());
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (getline(&line, &line_size, f) > 0) {
        char *at = line;
        for (long child = strtol(at, &at, 10); child > 0; child = strtol(at, &at, 10)) {
            (void)kill((pid_t)child, signal_number);
            count++;
        }
    }
    free(line);
    (void)fclose(f);
    return count;
}

static bool all_gone_within(int limit_ms)
{
    bool ignored = false;
    for (int waited = 0; waited < limit_ms; waited += STEP_MS) {
        reap(0, &ignored);
        if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
            return true;
        (void)poll(NULL, 0, STEP_MS);
    }
    return false;
}

static void take_down(const char *folder, bool daemon_gone)
{
    char pipe[PATH_MAX];
    gpulet_error_t err;
    (void)snprintf(pipe, sizeof(pipe), "%s/pipe", folder);
    if (!daemon_gone &&
        gpulet_mps_command(pipe, "quit -t 1", NULL, 0, GPULET_MPS_COMMAND_MS, &err) == GPULET_OK)
        (void)all_gone_within(GPULET_MPS_QUIT_MS);
    for (int i = 0; i < 10 && signal_children(i < 2 ? SIGTERM : SIGKILL) > 0; i++)
        (void)all_gone_within(GRACE_MS);
    remove_folder(folder);
}

static void exec_daemon(const char *folder)
{
    char value[PATH_MAX];
    (void)snprintf(value, sizeof(value), "%s/pipe", folder);
    (void)setenv("CUDA_MPS_PIPE_DIRECTORY", value, 1);
    (void)snprintf(value, sizeof(value), "%s/log", folder);
    (void)setenv("CUDA_MPS_LOG_DIRECTORY", value, 1);
    /* Clients name their GPU by its UUID; the daemon serves them all. */
    (void)unsetenv("CUDA_VISIBLE_DEVICES");
    (void)unsetenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
    (void)snprintf(value, sizeof(value), "%s/log/output", folder);
    int log = open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)dup2(nothing, 0);
    (void)dup2(log >= 0 ? log : nothing, 1);
    (void)dup2(log >= 0 ? log : nothing, 2);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)execlp(GPULET_MPS_CONTROL, GPULET_MPS_CONTROL, "-f", (char *)NULL);
    (void)fprintf(stderr, "cannot start " GPULET_MPS_CONTROL ": %s\n", strerror(errno));
    _exit(127);
}

static void signals_default(void)
{
    sigset_t none;
    for (int s = 1; s < NSIG; s++)
        (void)signal(s, SIG_DFL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void keeper_main(const char *folder, int watched)
{
    bool daemon_gone = false;
    (void)setpgid(0, 0); /* Ctrl-C in a terminal is the starter's affair */
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)prctl(PR_SET_NAME, "gpulet-mps");
    signals_default();
    if (watched != KEEPER_FD)
        (void)dup2(watched, KEEPER_FD);
    (void)syscall(SYS_close_range, KEEPER_FD + 1, ~0U, 0);
    pid_t daemon = fork();
    if (daemon == 0) {
        (void)close(KEEPER_FD);
        exec_daemon(folder);
    }
    (void)fcntl(KEEPER_FD, F_SETFD, FD_CLOEXEC);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGPIPE, SIG_IGN);
    while (daemon > 0 && !daemon_gone) {
        struct pollfd p = {.fd = KEEPER_FD, .events = POLLIN};
        if (poll(&p, 1, LOOK_MS) > 0) /* nothing is ever written: it is the end */
            break;
        reap(daemon, &daemon_gone);
    }
    if (daemon_gone || daemon < 0) {
        /* The starter reads the logs before it lets go. */
        char byte = 0;
        struct pollfd p = {.fd = KEEPER_FD, .events = POLLIN};
        (void)send(KEEPER_FD, &byte, 1, MSG_NOSIGNAL);
        while (poll(&p, 1, -1) < 0 && errno == EINTR)
            continue;
    }
    take_down(folder, daemon_gone || daemon < 0);
    _exit(0);
}

gpulet_status_t gpulet_mps_keeper_start(gpulet_mps_keeper_t *out, const char *folder,
                                        gpulet_error_t *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return gpulet_fail(err, GPULET_E_IO, "socketpair: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ends[1]);
        keeper_main(folder, ends[0]);
    }
    (void)close(ends[0]);
    if (pid < 0) {
        (void)close(ends[1]);
        return gpulet_fail(err, GPULET_E_IO, "fork: %s", strerror(errno));
    }
    out->pid = pid;
    out->socket = ends[1];
    return GPULET_OK;
}

bool gpulet_mps_keeper_has_daemon(const gpulet_mps_keeper_t *keeper)
{
    struct pollfd p = {.fd = keeper->socket, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

void gpulet_mps_keeper_stop(gpulet_mps_keeper_t *keeper)
{
    (void)close(keeper->socket);
    while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    keeper->pid = 0;
    keeper->socket = -1;
}
