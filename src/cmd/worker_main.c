/* gpulet-worker: one process a gpu-let, started by gpuletd and of no use by hand. */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "base/options.h"
#include "cmd/cmd_version.h"
#include "worker/main_loop.h"
#include "worker/prepare.h"

enum { CONTROL_FD = 3, EXIT_USAGE = 2 };

typedef struct worker_settings {
    uint64_t parent;
    char *name;
    char *prepare;
    char *into;
    char *engine;
    char *ort_library;
    double limit_s;
    bool help;
    bool version;
} worker_settings_t;

#define AT(field) offsetof(worker_settings_t, field)
#define ANY       1, 0

static const gpulet_option_t options[] = {
    {"parent", GPULET_OPTION_U64, AT(parent), "0", ANY, "PID", "the server, with which it ends",
     "Options"},
    {"name", GPULET_OPTION_STRING, AT(name), "worker", ANY, "NAME", "of the gpu-let, for logs",
     NULL},
    {"prepare", GPULET_OPTION_STRING, AT(prepare), NULL, ANY, "MODEL",
     "write what the engine makes of this model file, then end", "Preparing a model"},
    {"into", GPULET_OPTION_STRING, AT(into), NULL, ANY, "FOLDER", "an empty folder for it", NULL},
    {"engine", GPULET_OPTION_STRING, AT(engine), "ort", ANY, "NAME", "for --prepare", NULL},
    {"ort-library", GPULET_OPTION_STRING, AT(ort_library), NULL, ANY, "PATH", "for --prepare",
     NULL},
    {"limit-s", GPULET_OPTION_F64, AT(limit_s), "120", 0.1, 86400, "S", "for --prepare", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {"version", GPULET_OPTION_BOOL, AT(version), NULL, ANY, NULL, "print the version", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

static int print_help(void)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_buf_append_str(
        &out, "Usage: gpulet-worker --parent PID --name NAME\n\n"
              "Started by gpuletd, one for each gpu-let, with a socket to it as descriptor 3.\n\n");
    gpulet_options_help(&out, options);
    (void)fputs(out.data != NULL ? out.data : "", stdout);
    gpulet_buf_deinit(&out);
    return 0;
}

static int prepare(const worker_settings_t *settings)
{
    const gpulet_prepare_options_t job = {.engine = settings->engine,
                                          .ort_library = settings->ort_library,
                                          .path = settings->prepare,
                                          .folder = settings->into,
                                          .limit_ns = (uint64_t)(settings->limit_s * 1e9)};
    (void)close_range(CONTROL_FD, ~0U, 0);
    return gpulet_prepare_main(&job, (pid_t)settings->parent);
}

static int run(const worker_settings_t *settings, int words)
{
    if (settings->help)
        return print_help();
    if (settings->version) {
        cmd_version_print("gpulet-worker");
        return 0;
    }
    if (settings->parent != 0 && words == 0 && settings->prepare != NULL && settings->into != NULL)
        return prepare(settings);
    if (settings->parent == 0 || words > 0 || settings->prepare != NULL ||
        fcntl(CONTROL_FD, F_GETFD) < 0) {
        (void)fprintf(stderr, "gpulet-worker: started by gpuletd only (see --help)\n");
        return EXIT_USAGE;
    }
    /* Nothing of the server's may live on here: a listening socket or a client's connection would
     * outlast it. */
    (void)close_range(CONTROL_FD + 1, ~0U, 0);
    (void)fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC);
    return gpulet_work_main(CONTROL_FD, (pid_t)settings->parent, settings->name);
}

int main(int argc, char **argv)
{
    worker_settings_t settings = {0};
    gpulet_error_t err = {"out of memory"};
    int words = 0;
    int exit_code = EXIT_USAGE;
    if (gpulet_options_defaults(options, &settings) != GPULET_OK ||
        gpulet_options_parse(options, &settings, 1, argc, argv, &words, NULL, &err) != GPULET_OK)
        (void)fprintf(stderr, "gpulet-worker: %s\n", err.text);
    else
        exit_code = run(&settings, words);
    gpulet_options_deinit(options, &settings);
    return exit_code;
}
