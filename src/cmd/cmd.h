/* The commands of `gpulet`: one file each, one row each in the table of main.c. A command gets the
 * words after its name and returns the program's exit code. */
#ifndef GPULET_CMD_CMD_H
#define GPULET_CMD_CMD_H

#include <stdbool.h>

#include "base/options.h"
#include "base/status.h"

typedef enum cmd_exit {
    CMD_DONE = 0,
    CMD_FAILED = 1, /* file, network, device */
    CMD_USAGE = 2,
    CMD_NO = 3 /* the question was answered with no */
} cmd_exit_t;

typedef struct cmd_row {
    const char *name;
    const char *words; /* what follows the name, for the usage line */
    const char *help;  /* one line */
    const gpulet_option_t *options;
    int (*run)(int argc, char **argv);
} cmd_row_t;

/* NULL-name-terminated. */
extern const cmd_row_t cmd_rows[];

extern const gpulet_option_t cmd_plan_options[];
extern const gpulet_option_t cmd_study_options[];
extern const gpulet_option_t cmd_sim_options[];
extern const gpulet_option_t cmd_slo_options[];
extern const gpulet_option_t cmd_fit_options[];
extern const gpulet_option_t cmd_profile_options[];
extern const gpulet_option_t cmd_bench_options[];
extern const gpulet_option_t cmd_status_options[];
extern const gpulet_option_t cmd_top_options[];
extern const gpulet_option_t cmd_models_options[];
extern const gpulet_option_t cmd_doctor_options[];

int cmd_plan(int argc, char **argv);
int cmd_study(int argc, char **argv);
int cmd_sim(int argc, char **argv);
int cmd_slo(int argc, char **argv);
int cmd_fit(int argc, char **argv);
int cmd_profile(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_models(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

/* Reads the options of a command. False: *exit_code says how to end (help was printed, or usage was
 * wrong). Words that are not options are moved to argv[0..*words). */
bool cmd_parse(const cmd_row_t *row, void *settings, int argc, char **argv, int *words,
               int *exit_code);
const cmd_row_t *cmd_find(const char *name);
/* "gpulet NAME: text" on stderr; returns exit_code. */
int cmd_complain(const char *name, int exit_code, const char *text);
/* With --json stdout holds one document and nothing else: E_INVALID when the file that the option
 * names (NULL: none) is stdout too. */
gpulet_status_t cmd_check_stdout(bool json, const char *option, const char *path,
                                 gpulet_error_t *err) GPULET_MUST_USE;
/* The program that lies beside this one. */
gpulet_status_t cmd_beside(char *out, size_t out_size, const char *program,
                           gpulet_error_t *err) GPULET_MUST_USE;

#endif
