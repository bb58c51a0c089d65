/* The calls that can be made to fail. The linker sends every call of NAME in this program to
 * __wrap_NAME; __real_NAME is what it was. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <jansson.h>

#include "torture_calls.h"

/* Names with two underscores are the linker's choice, not ours. */
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)

/* PARAMETERS and ARGUMENTS in parentheses. */
#define CALL(kind, error, bad, type, name, parameters, arguments)                                  \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        if (!torture_fails(kind, #name))                                                           \
            return __real_##name arguments;                                                        \
        errno = (error);                                                                           \
        return (bad);                                                                              \
    }
#define MEMORY(type, name, parameters, arguments)                                                  \
    CALL(TORTURE_MEMORY, ENOMEM, NULL, type, name, parameters, arguments)
#define SYSTEM(error, name, parameters, arguments)                                                 \
    CALL(TORTURE_SYSTEM, error, -1, int, name, parameters, arguments)
#define BYTES(error, name, parameters, arguments)                                                  \
    CALL(TORTURE_SYSTEM, error, -1, ssize_t, name, parameters, arguments)

MEMORY(void *, malloc, (size_t size), (size))
MEMORY(void *, calloc, (size_t count, size_t size), (count, size))
MEMORY(void *, realloc, (void *memory, size_t size), (memory, size))
MEMORY(void *, reallocarray, (void *memory, size_t count, size_t size), (memory, count, size))
MEMORY(char *, strdup, (const char *text), (text))

SYSTEM(EMFILE, memfd_create, (const char *name, unsigned flags), (name, flags))
SYSTEM(ENOSPC, ftruncate, (int fd, off_t size), (fd, size))
SYSTEM(ENOSPC, fallocate, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))
CALL(TORTURE_SYSTEM, ENOMEM, MAP_FAILED, void *, mmap,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
SYSTEM(EMFILE, socketpair, (int domain, int type, int protocol, int pair[2]),
       (domain, type, protocol, pair))
SYSTEM(EMFILE, socket, (int domain, int type, int protocol), (domain, type, protocol))
SYSTEM(EADDRINUSE, bind, (int fd, const struct sockaddr *address, socklen_t size),
       (fd, address, size))
SYSTEM(EADDRINUSE, listen, (int fd, int backlog), (fd, backlog))
SYSTEM(EMFILE, accept4, (int fd, struct sockaddr *address, socklen_t *size, int flags),
       (fd, address, size, flags))
SYSTEM(ECONNREFUSED, connect, (int fd, const struct sockaddr *address, socklen_t size),
       (fd, address, size))
SYSTEM(EINVAL, setsockopt, (int fd, int level, int name, const void *value, socklen_t size),
       (fd, level, name, value, size))
SYSTEM(ENOBUFS, getsockname, (int fd, struct sockaddr *address, socklen_t *size),
       (fd, address, size))
SYSTEM(EMFILE, epoll_create1, (int flags), (flags))
SYSTEM(ENOSPC, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),
       (epoll, operation, fd, event))
SYSTEM(EMFILE, eventfd, (unsigned value, int flags), (value, flags))
SYSTEM(EMFILE, timerfd_create, (int clock, int flags), (clock, flags))
SYSTEM(EIO, fstat, (int fd, struct stat *out), (fd, out))
SYSTEM(EACCES, stat, (const char *path, struct stat *out), (path, out))
SYSTEM(EACCES, access, (const char *path, int mode), (path, mode))
SYSTEM(EACCES, mkdir, (const char *path, mode_t mode), (path, mode))
SYSTEM(EIO, rename, (const char *from, const char *to), (from, to))
SYSTEM(EPERM, sched_getaffinity, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))
BYTES(EACCES, readlink, (const char *path, char *out, size_t size), (path, out, size))
BYTES(EIO, read, (int fd, void *out, size_t size), (fd, out, size))
BYTES(ENOSPC, write, (int fd, const void *data, size_t size), (fd, data, size))
BYTES(ECONNRESET, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
BYTES(EPIPE, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))
BYTES(ECONNRESET, recv, (int fd, void *out, size_t size, int flags), (fd, out, size, flags))
BYTES(ECONNRESET, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))
BYTES(ECONNRESET, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
BYTES(ECONNRESET, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
CALL(TORTURE_SYSTEM, EMFILE, NULL, FILE *, fopen, (const char *path, const char *mode),
     (path, mode))
SYSTEM(ENOSPC, fflush, (FILE * file), (file))
CALL(TORTURE_SYSTEM, ENOSPC, 0, size_t, fwrite,
     (const void *data, size_t size, size_t count, FILE *file), (data, size, count, file))
CALL(TORTURE_SYSTEM, EMFILE, NULL, DIR *, opendir, (const char *path), (path))
SYSTEM(ENOMEM, scandir,
       (const char *path, struct dirent ***out, int (*wanted)(const struct dirent *),
        int (*compare)(const struct dirent **, const struct dirent **)),
       (path, out, wanted, compare))
CALL(TORTURE_SYSTEM, EACCES, NULL, char *, realpath, (const char *path, char *out), (path, out))
/* These say their error by what they return. */
CALL(TORTURE_SYSTEM, EAGAIN, EAGAIN, int, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
      const posix_spawnattr_t *attributes, char *const argv[], char *const environment[]),
     (pid, path, actions, attributes, argv, environment))
CALL(TORTURE_SYSTEM, ENOMEM, ENOMEM, int, posix_spawn_file_actions_init,
     (posix_spawn_file_actions_t * actions), (actions))
CALL(TORTURE_SYSTEM, ENOMEM, ENOMEM, int, posix_spawnattr_init, (posix_spawnattr_t * attributes),
     (attributes))

json_t *__real_json_loadb(const char *text, size_t size, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t size, size_t flags, json_error_t *error);
json_t *__wrap_json_loadb(const char *text, size_t size, size_t flags, json_error_t *error)
{
    if (!torture_fails(TORTURE_MEMORY, "json_loadb"))
        return __real_json_loadb(text, size, flags, error);
    if (error != NULL) {
        memset(error, 0, sizeof(*error));
        (void)snprintf(error->text, sizeof(error->text), "out of memory");
        error->text[sizeof(error->text) - 1] = json_error_out_of_memory;
    }
    return NULL;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!torture_fails(TORTURE_SYSTEM, "open"))
        return __real_open(path, flags, mode);
    errno = EMFILE;
    return -1;
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    long argument = va_arg(rest, long);
    va_end(rest);
    if (!torture_fails(TORTURE_SYSTEM, "fcntl"))
        return __real_fcntl(fd, command, argument);
    errno = EPERM;
    return -1;
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list rest;
    long a[6];
    va_start(rest, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (!torture_fails(TORTURE_SYSTEM, "syscall"))
        return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    errno = EMFILE;
    return -1;
}
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)

void *torture_malloc(size_t size)
{
    return malloc(size);
}

void *torture_realloc(void *memory, size_t size)
{
    return realloc(memory, size);
}
