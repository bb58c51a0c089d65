#include "device/mps/daemon.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "device/mps/keeper.h"

enum { LOG_MAX = 65536, LOG_TAIL = 300, LOOK_MS = 50 };

static struct {
    unsigned users;
    bool own; /* keeper and folder are ours */
    gpulet_mps_keeper_t keeper;
    char folder[PATH_MAX];
    char pipe[PATH_MAX];
} the_daemon;

static bool on_path(const char *name)
{
    char file[PATH_MAX];
    const char *path = getenv("PATH");
    for (const char *at = path; at != NULL && *at != '\0';) {
        size_t size = strcspn(at, ":");
        int length = snprintf(file, sizeof(file), "%.*s/%s", (int)size, at, name);
        if (length > 0 && (size_t)length < sizeof(file) && access(file, X_OK) == 0)
            return true;
        at += size + (at[size] == ':');
    }
    return false;
}

gpulet_status_t gpulet_mps_programs(gpulet_error_t *err)
{
    static const char *const names[] = {GPULET_MPS_CONTROL, GPULET_MPS_SERVER};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!on_path(names[i]))
            return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                               "%s is not on the PATH: it comes with the NVIDIA driver's "
                               "compute utilities",
                               names[i]);
    }
    return GPULET_OK;
}

/* The end of a log of the daemon's, on one line, to go into an error. */
static void log_tail(char *out, size_t out_size, const char *name)
{
    char path[PATH_MAX + 16];
    char *text = NULL;
    size_t size = 0;
    gpulet_error_t err;
    out[0] = '\0';
    (void)snprintf(path, sizeof(path), "%s/log/%s", the_daemon.folder, name);
    if (gpulet_file_read(&text, &size, path, LOG_MAX, &err) != GPULET_OK)
        return;
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' '))
        text[--size] = '\0';
    char *tail = size > LOG_TAIL ? text + size - LOG_TAIL : text;
    for (char *c = tail; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r' || *c == '\t')
            *c = ' ';
    }
    (void)snprintf(out, out_size, "; %s: %s", name, tail);
    free(text);
}

static gpulet_status_t explain(gpulet_error_t *err, const char *what)
{
    char output[LOG_TAIL + 32];
    char control[LOG_TAIL + 32];
    log_tail(output, sizeof(output), "output");
    log_tail(control, sizeof(control), "control.log");
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, GPULET_MPS_CONTROL " %s%s%s", what, output,
                       control);
}

static gpulet_status_t await(gpulet_error_t *err)
{
    const uint64_t until_ns = gpulet_clock_ns() + GPULET_MPS_START_MS * GPULET_NS_PER_MS;
    gpulet_error_t last = {""};
    while (gpulet_clock_ns() < until_ns) {
        if (!gpulet_mps_keeper_has_daemon(&the_daemon.keeper))
            return explain(err, "ended at once");
        if (gpulet_mps_answers(the_daemon.pipe, &last) == GPULET_OK)
            return GPULET_OK;
        (void)poll(NULL, 0, LOOK_MS);
    }
    gpulet_status_t st = explain(err, "does not answer");
    gpulet_error_prefix(err, "%s", last.text);
    return st;
}

static gpulet_status_t make_folder(gpulet_error_t *err)
{
    char log[PATH_MAX + 16];
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (base == NULL || base[0] != '/' || strchr(base, ';') != NULL ||
        strlen(base) + sizeof("/gpulet-mps-XXXXXX/pipe") > GPULET_MPS_PIPE_MAX ||
        access(base, W_OK) != 0)
        base = "/tmp";
    (void)snprintf(the_daemon.folder, sizeof(the_daemon.folder), "%s/gpulet-mps-XXXXXX", base);
    if (mkdtemp(the_daemon.folder) == NULL)
        return gpulet_fail(err, GPULET_E_IO, "cannot make %s: %s", the_daemon.folder,
                           strerror(errno));
    size_t length = strlen(the_daemon.folder);
    memcpy(the_daemon.pipe, the_daemon.folder, length);
    memcpy(the_daemon.pipe + length, "/pipe", sizeof("/pipe"));
    (void)snprintf(log, sizeof(log), "%s/log", the_daemon.folder);
    if (mkdir(the_daemon.pipe, 0700) != 0 || mkdir(log, 0700) != 0) {
        gpulet_status_t st = gpulet_fail(err, GPULET_E_IO, "cannot make folders in %s: %s",
                                         the_daemon.folder, strerror(errno));
        (void)rmdir(the_daemon.pipe);
        (void)rmdir(the_daemon.folder);
        return st;
    }
    return GPULET_OK;
}

static gpulet_status_t start_own(gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_mps_programs(err);
    if (st == GPULET_OK)
        st = make_folder(err);
    if (st == GPULET_OK)
        st = gpulet_mps_keeper_start(&the_daemon.keeper, the_daemon.folder, err);
    if (st != GPULET_OK)
        return st;
    if ((st = await(err)) != GPULET_OK) {
        gpulet_mps_keeper_stop(&the_daemon.keeper);
        return st;
    }
    the_daemon.own = true;
    return GPULET_OK;
}

static gpulet_status_t use_given(const char *pipe, gpulet_error_t *err)
{
    if (strlen(pipe) > GPULET_MPS_PIPE_MAX || strchr(pipe, ';') != NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "CUDA_MPS_PIPE_DIRECTORY '%s': at most %d bytes and no ';'", pipe,
                           GPULET_MPS_PIPE_MAX);
    gpulet_status_t st = gpulet_mps_answers(pipe, err);
    if (st != GPULET_OK) {
        gpulet_error_prefix(err, "no MPS control daemon answers at CUDA_MPS_PIPE_DIRECTORY '%s'",
                            pipe);
        return GPULET_E_UNAVAILABLE;
    }
    the_daemon.own = false;
    (void)snprintf(the_daemon.pipe, sizeof(the_daemon.pipe), "%s", pipe);
    return GPULET_OK;
}

gpulet_status_t gpulet_mps_acquire(gpulet_error_t *err)
{
    const char *given = getenv("CUDA_MPS_PIPE_DIRECTORY");
    if (the_daemon.users == 0) {
        gpulet_status_t st =
            given != NULL && given[0] != '\0' ? use_given(given, err) : start_own(err);
        if (st != GPULET_OK)
            return st;
    }
    the_daemon.users++;
    return GPULET_OK;
}

void gpulet_mps_release(void)
{
    assert(the_daemon.users > 0);
    if (--the_daemon.users > 0)
        return;
    if (the_daemon.own)
        gpulet_mps_keeper_stop(&the_daemon.keeper);
    the_daemon.own = false;
}

const char *gpulet_mps_pipe(void)
{
    assert(the_daemon.users > 0);
    return the_daemon.pipe;
}
