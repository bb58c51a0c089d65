/* --min-attainment of `gpulet bench` and `gpulet sim`: whether enough was answered in time. */
#ifndef GPULET_CMD_CMD_ATTAINMENT_H
#define GPULET_CMD_CMD_ATTAINMENT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/options.h"

/* A row for the field `min_attainment`, a double, of the settings. */
#define CMD_MIN_ATTAINMENT(settings)                                                               \
    {                                                                                              \
        "min-attainment", GPULET_OPTION_F64, offsetof(settings, min_attainment), NULL, 1e-6, 1,    \
            "P",                                                                                   \
            "exit code 3 when less than this part of what a model was asked is answered in time",  \
            NULL                                                                                   \
    }

typedef struct cmd_attainment {
    double least;       /* 0: nothing is asked for */
    gpulet_buf_t below; /* those who have less; owned, freed by the end */
} cmd_attainment_t;

void cmd_attainment_begin(cmd_attainment_t *attainment, double least);
void cmd_attainment_add(cmd_attainment_t *attainment, const char *name, uint64_t in_time,
                        uint64_t asked);
/* CMD_DONE; CMD_NO with one line on stderr that names those who have less; CMD_FAILED. */
int cmd_attainment_end(cmd_attainment_t *attainment, const char *command, gpulet_error_t *err);

#endif
