/* gpulet-worker: one process a gpu-let, started by gpuletd and of no use by hand. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "worker/main_loop.h"

enum { CONTROL_FD = 3 };

/* "--parent PID --name NAME", in this order: the server writes it, and it reads well in a list of
 * processes. */
static int usage(FILE *to, int rc)
{
    (void)fputs("gpulet-worker is started by gpuletd, one for each gpu-let: "
                "gpulet-worker --parent PID --name NAME\n",
                to);
    return rc;
}

int main(int argc, char **argv)
{
    uint64_t parent = 0;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, 0);
    if (argc != 5 || strcmp(argv[1], "--parent") != 0 || strcmp(argv[3], "--name") != 0 ||
        gpulet_parse_u64(&parent, argv[2], strlen(argv[2])) != GPULET_OK ||
        fcntl(CONTROL_FD, F_GETFD) < 0)
        return usage(stderr, 2);
    /* Nothing of the server's may live on here: a listening socket or a client's connection would
     * outlast it. */
    (void)close_range(CONTROL_FD + 1, ~0U, 0);
    (void)fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
    return gpulet_work_main(CONTROL_FD, (pid_t)parent, argv[4]);
}
