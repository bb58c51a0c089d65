/* What a gpuletd says of itself before a load and after it. Servers of others say nothing. */
#ifndef GPULET_CMD_CMD_BENCH_LOOK_H
#define GPULET_CMD_CMD_BENCH_LOOK_H

#include "client/load.h"

/* NAN: not said. */
typedef struct cmd_bench_look {
    double at_s; /* when it was asked */
    double uptime_s;
    double replans;
    double devices_used;
    double events_next;
} cmd_bench_look_t;

void cmd_bench_look(cmd_bench_look_t *out, const char *url);
gpulet_load_server_t cmd_bench_between(const cmd_bench_look_t *before,
                                       const cmd_bench_look_t *after);

#endif
