/* gpulet: the command line. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/cmd_version.h"

const cmd_row_t cmd_rows[] = {
    {"plan", "", "how many devices a workload needs, and how to cut them", cmd_plan_options,
     cmd_plan},
    {"study", "", "how many of many workloads each planner can schedule", cmd_study_options,
     cmd_study},
    {"sim", "", "serve a workload in virtual time, with the server's own brain and planners",
     cmd_sim_options, cmd_sim},
    {"slo", "", "objectives by the rule of twice the latency of a large batch", cmd_slo_options,
     cmd_slo},
    {"fit", "", "how gpu-lets slow one another down, from measured pairs", cmd_fit_options,
     cmd_fit},
    {"profile", "", "measure a model repository on this machine", cmd_profile_options, cmd_profile},
    {"bench", "", "open-loop load on any server of the Open Inference Protocol", cmd_bench_options,
     cmd_bench},
    {"status", "", "what a running server does", cmd_status_options, cmd_status},
    {"top", "", "the same, live: gpu-lets to scale, models, rates, misses, events", cmd_top_options,
     cmd_top},
    {"models", "[list | load MODEL | unload MODEL]", "the models of a running server",
     cmd_models_options, cmd_models},
    {"doctor", "", "what this machine can do, and what stands in the way", cmd_doctor_options,
     cmd_doctor},
    {NULL, NULL, NULL, NULL, NULL},
};

const cmd_row_t *cmd_find(const char *name)
{
    for (const cmd_row_t *row = cmd_rows; row->name != NULL; row++) {
        if (strcmp(row->name, name) == 0)
            return row;
    }
    return NULL;
}

int cmd_complain(const char *name, int exit_code, const char *text)
{
    (void)fprintf(stderr, "gpulet %s: %s\n", name, text);
    return exit_code;
}

static void print_usage(FILE *out)
{
    (void)fprintf(out, "Usage: gpulet COMMAND [options]\n\nCommands:\n");
    for (const cmd_row_t *row = cmd_rows; row->name != NULL; row++)
        (void)fprintf(out, "  %-10s %s\n", row->name, row->help);
    (void)fprintf(
        out, "\n'gpulet COMMAND --help' lists the options of a command; 'gpulet --version' prints "
             "the version.\n"
             "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the question was answered with no.\n");
}

static void print_command_help(const cmd_row_t *row)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_buf_printf(&out, "Usage: gpulet %s%s%s [options]\n\n%s.\n\n", row->name,
                      row->words[0] != '\0' ? " " : "", row->words, row->help);
    gpulet_options_help(&out, row->options);
    (void)fputs(out.data != NULL ? out.data : "", stdout);
    gpulet_buf_deinit(&out);
}

bool cmd_parse(const cmd_row_t *row, void *settings, int argc, char **argv, int *words,
               int *exit_code)
{
    gpulet_error_t err = {"out of memory"};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_command_help(row);
            *exit_code = CMD_DONE;
            return false;
        }
    }
    if (gpulet_options_defaults(row->options, settings) != GPULET_OK ||
        gpulet_options_parse(row->options, settings, 0, argc, argv, words, NULL, &err) !=
            GPULET_OK) {
        *exit_code = cmd_complain(row->name, CMD_USAGE, err.text);
        gpulet_options_deinit(row->options, settings);
        return false;
    }
    if (*words > 0 && row->words[0] == '\0') {
        (void)gpulet_fail(&err, GPULET_E_INVALID, "unexpected word '%s' (see --help)", argv[0]);
        *exit_code = cmd_complain(row->name, CMD_USAGE, err.text);
        gpulet_options_deinit(row->options, settings);
        return false;
    }
    return true;
}

gpulet_status_t cmd_beside(char *out, size_t out_size, const char *program, gpulet_error_t *err)
{
    ssize_t length = readlink("/proc/self/exe", out, out_size - strlen(program) - 1);
    char *slash = NULL;
    if (length <= 0)
        return gpulet_fail(err, GPULET_E_IO, "cannot tell where this program lies");
    out[length] = '\0';
    slash = strrchr(out, '/');
    (void)snprintf(slash + 1, out_size - (size_t)(slash + 1 - out), "%s", program);
    return access(out, X_OK) == 0
               ? GPULET_OK
               : gpulet_fail(err, GPULET_E_NOT_FOUND, "%s is not there or cannot be run", out);
}

gpulet_status_t cmd_check_stdout(bool json, const char *option, const char *path,
                                 gpulet_error_t *err)
{
    if (!json || path == NULL || strcmp(path, "-") != 0)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "--%s -: stdout is for --json", option);
}

/* What did not come out was not done, whatever the command found. */
static int end_output(const char *name, int exit_code)
{
    errno = 0;
    bool lost = fflush(stdout) != 0;
    int why = errno;
    if ((!lost && !ferror(stdout)) || exit_code == CMD_FAILED || exit_code == CMD_USAGE)
        return exit_code;
    (void)fprintf(stderr, "gpulet%s%s: standard output: %s\n", name[0] != '\0' ? " " : "", name,
                  why != 0 ? strerror(why) : "not all could be written");
    return CMD_FAILED;
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        print_usage(stderr);
        return CMD_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
        return end_output("", CMD_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        cmd_version_print("gpulet");
        return end_output("", CMD_DONE);
    }
    const cmd_row_t *row = cmd_find(argv[1]);
    if (row == NULL) {
        (void)fprintf(stderr, "gpulet: no command is called '%s' (see gpulet --help)\n", argv[1]);
        return CMD_USAGE;
    }
    return end_output(row->name, row->run(argc - 2, argv + 2));
}
