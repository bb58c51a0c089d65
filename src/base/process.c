#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

void gpulet_process_open_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        /* The lowest free number is taken, and all below are open already. */
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0)
            return;
    }
}

uint64_t gpulet_process_raise_descriptors(void)
{
    struct rlimit limit = {0, 0};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    const struct rlimit raised = {limit.rlim_max, limit.rlim_max};
    if (limit.rlim_cur < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &raised) == 0)
        limit = raised;
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

/* As in linux/sched/types.h, up to where it has been since the beginning. */
typedef struct sched_attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime; /* for ordinary threads: the slice, in nanoseconds */
    uint64_t deadline;
    uint64_t period;
} sched_attributes_t;

void gpulet_process_short_slices(void)
{
    static const uint64_t slice_ns = 200000;
    static const uint64_t reset_on_fork = 1; /* workers have the slices of everybody */
    sched_attributes_t attributes = {.size = sizeof(attributes)};
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0)
        return;
    attributes.size = sizeof(attributes);
    attributes.flags = reset_on_fork;
    attributes.runtime = slice_ns;
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}
