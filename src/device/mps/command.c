/* Talking to the control daemon: its tool, run with no arguments, sends what it reads to the daemon
 * and prints the answer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/parse.h"
#include "device/mps/daemon.h"

enum { ANSWER_MAX = 4096, SERVERS_MAX = 16 };

/* The environment with another pipe folder; the caller frees it and *variable. */
static char **environment_with(const char *pipe, char **variable)
{
    static const char name[] = "CUDA_MPS_PIPE_DIRECTORY=";
    size_t count = 0;
    size_t kept = 0;
    while (environ[count] != NULL)
        count++;
    char **all = reallocarray(NULL, count + 2, sizeof(*all));
    *variable = NULL;
    if (all == NULL || asprintf(variable, "%s%s", name, pipe) < 0) {
        free(all);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environ[i], name, sizeof(name) - 1) != 0)
            all[kept++] = environ[i];
    }
    all[kept++] = *variable;
    all[kept] = NULL;
    return all;
}

static gpulet_status_t spawn_tool(pid_t *pid, const char *pipe, int input, int output,
                                  gpulet_error_t *err)
{
    char command[] = GPULET_MPS_CONTROL;
    char *const argv[] = {command, NULL};
    char *variable = NULL;
    char **env = environment_with(pipe, &variable);
    posix_spawn_file_actions_t actions;
    if (env == NULL || posix_spawn_file_actions_init(&actions) != 0) {
        free(env);
        free(variable);
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    }
    int rc = posix_spawn_file_actions_adddup2(&actions, input, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, output, 1);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, output, 2);
    if (rc == 0)
        rc = posix_spawnp(pid, command, &actions, NULL, argv, env);
    (void)posix_spawn_file_actions_destroy(&actions);
    free(env);
    free(variable);
    if (rc != 0)
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot start " GPULET_MPS_CONTROL ": %s",
                           strerror(rc));
    return GPULET_OK;
}

static int left_ms(uint64_t until_ns)
{
    uint64_t now_ns = gpulet_clock_ns();
    return now_ns >= until_ns ? 0 : (int)((until_ns - now_ns) / GPULET_NS_PER_MS) + 1;
}

/* Reads to the end; false when that does not come in time. */
static bool read_answer(char *out, size_t *size, int fd, uint64_t until_ns)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, left_ms(until_ns));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return false;
        ssize_t got = read(fd, out + *size, ANSWER_MAX - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || *size + (size_t)got >= ANSWER_MAX)
            return true;
        *size += (size_t)got;
    }
}

static bool wait_for(pid_t pid, int *status, uint64_t until_ns)
{
    for (;;) {
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return got == pid;
        if (left_ms(until_ns) == 0) {
            (void)kill(pid, SIGKILL);
            (void)waitpid(pid, status, 0);
            return false;
        }
        (void)poll(NULL, 0, 2);
    }
}

static void one_line(char *text)
{
    size_t size = strlen(text);
    while (size > 0 && strchr(" \t\r\n", text[size - 1]) != NULL)
        text[--size] = '\0';
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n' || text[i] == '\r')
            text[i] = ' ';
    }
}

static gpulet_status_t judge(char *answer, bool ended, int status, int limit_ms, const char *line,
                             gpulet_error_t *err)
{
    if (!ended)
        return gpulet_fail(err, GPULET_E_TIMEOUT,
                           GPULET_MPS_CONTROL " did not answer '%s' within %d ms", line, limit_ms);
    /* The tool has not always told by its status that there was no daemon. */
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && strstr(answer, "Cannot find") == NULL &&
        strstr(answer, "Failed to") == NULL)
        return GPULET_OK;
    one_line(answer);
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, GPULET_MPS_CONTROL " ('%s'): %s", line,
                       answer[0] != '\0' ? answer : "it failed without a word");
}

gpulet_status_t gpulet_mps_command(const char *pipe, const char *line, char *out, size_t out_size,
                                   int limit_ms, gpulet_error_t *err)
{
    const uint64_t until_ns = gpulet_clock_ns() + (uint64_t)limit_ms * GPULET_NS_PER_MS;
    char answer[ANSWER_MAX + 1];
    char input[256];
    int in[2] = {-1, -1};
    int from[2] = {-1, -1};
    int status = 0;
    size_t size = 0;
    pid_t pid = 0;
    if (pipe2(in, O_CLOEXEC) != 0)
        return gpulet_fail(err, GPULET_E_IO, "pipe: %s", strerror(errno));
    if (pipe2(from, O_CLOEXEC) != 0) {
        (void)close(in[0]);
        (void)close(in[1]);
        return gpulet_fail(err, GPULET_E_IO, "pipe: %s", strerror(errno));
    }
    /* All of it fits into the pipe before anybody reads: writing cannot block, and there is a
     * reader, ourselves. */
    int length = snprintf(input, sizeof(input), "%s\n", line);
    ssize_t written = write(in[1], input, (size_t)length);
    gpulet_status_t st = written == length ? spawn_tool(&pid, pipe, in[0], from[1], err)
                                           : gpulet_fail(err, GPULET_E_IO, "pipe: short write");
    (void)close(in[0]);
    (void)close(in[1]);
    (void)close(from[1]);
    if (st == GPULET_OK) {
        bool ended = read_answer(answer, &size, from[0], until_ns);
        ended = wait_for(pid, &status, until_ns) && ended;
        answer[size] = '\0';
        st = judge(answer, ended, status, limit_ms, line, err);
    }
    (void)close(from[0]);
    if (st == GPULET_OK && out != NULL)
        (void)snprintf(out, out_size, "%s", answer);
    return st;
}

/* The question is answered at once, without a GPU or a server. */
gpulet_status_t gpulet_mps_answers(const char *pipe, gpulet_error_t *err)
{
    return gpulet_mps_command(pipe, "get_default_active_thread_percentage", NULL, 0,
                              GPULET_MPS_COMMAND_MS, err);
}

void gpulet_mps_detach(const char *pipe, pid_t client)
{
    char servers[512];
    char line[64];
    gpulet_error_t err;
    if (gpulet_mps_command(pipe, "get_server_list", servers, sizeof(servers), GPULET_MPS_COMMAND_MS,
                           &err) != GPULET_OK)
        return;
    int tried = 0;
    for (const char *at = servers; *at != '\0' && tried < SERVERS_MAX; tried++) {
        uint64_t server = 0;
        size_t digits = strspn(at, "0123456789");
        if (digits > 0 && gpulet_parse_u64(&server, at, digits) == GPULET_OK) {
            (void)snprintf(line, sizeof(line), "terminate_client %llu %ld",
                           (unsigned long long)server, (long)client);
            /* It is none of that server's, or goes now. */
            if (gpulet_mps_command(pipe, line, NULL, 0, GPULET_MPS_COMMAND_MS, &err) != GPULET_OK)
                return;
        }
        at += digits;
        at += strcspn(at, "0123456789");
    }
}
