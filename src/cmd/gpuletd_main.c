/* gpuletd: the server. Exit codes: 0 done, 1 failed, 2 wrong usage. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/process.h"
#include "cmd/cmd_version.h"
#include "server/server.h"

static int print_help(void)
{
    gpulet_buf_t out = GPULET_BUF_INIT;
    gpulet_buf_append_str(
        &out,
        "Usage: gpuletd --model-repository DIR [options]\n\n"
        "Serves a folder of ONNX models within their latency objectives. When it is ready it "
        "prints one line,\n"
        "'ready http=ADDRESS:PORT grpc=... metrics=ADDRESS:PORT'. SIGTERM drains and ends it.\n"
        "Every option is also a key of the file that --config names; the command line wins. A "
        "switch is written\n"
        "--NAME, --no-NAME or --NAME=true|false.\n\n");
    gpulet_options_help(&out, gpulet_settings_table);
    (void)fputs(out.data != NULL ? out.data : "", stdout);
    gpulet_buf_deinit(&out);
    return 0;
}

int main(int argc, char **argv)
{
    gpulet_settings_t settings;
    gpulet_server_t *server = NULL;
    gpulet_error_t err = {""};
    gpulet_process_open_streams();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)gpulet_process_raise_descriptors(); /* a connection each, and some ten a worker */
    if (gpulet_settings_read(&settings, argc, argv, &err) != GPULET_OK) {
        (void)fprintf(stderr, "gpuletd: %s\n", err.text);
        gpulet_settings_deinit(&settings);
        return 2;
    }
    if (settings.help || settings.version) {
        if (settings.help)
            (void)print_help();
        else
            cmd_version_print("gpuletd");
        gpulet_settings_deinit(&settings);
        return 0;
    }
    bool usage = settings.model_repository == NULL;
    gpulet_process_short_slices();
    gpulet_status_t st = gpulet_server_create(&server, &settings, &err);
    if (st == GPULET_OK)
        st = gpulet_server_run(server, &err);
    gpulet_server_destroy(server);
    gpulet_settings_deinit(&settings);
    if (st != GPULET_OK)
        (void)fprintf(stderr, "gpuletd: %s\n", err.text);
    return st == GPULET_OK ? 0 : usage ? 2 : 1;
}
