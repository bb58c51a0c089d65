/* A whole server made and thrown away, with all it reads from files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "folder.h"
#include "server/server.h"
#include "torture.h"

#define MODEL "input=IN:FP32:-1x4\noutput=OUT:FP32:-1x4\n"

enum { WORDS = 32 };

static void write_files(folder_t *folder)
{
    (void)folder_write_text(folder, "models/a/1/model.onnx", MODEL);
    (void)folder_write_text(folder, "models/b/1/model.onnx", MODEL);
    (void)folder_write_text(folder, "models/b/3/model.onnx", MODEL);
    (void)folder_write_text(folder, "models/b/config.pbtxt",
                            "version_policy { all { } } output [ { name: \"OUT\" data_type: "
                            "TYPE_FP32 dims: [ 4 ] label_filename: \"l.txt\" } ]");
    (void)folder_write_text(folder, "models/b/l.txt", "one\ntwo\n");
    (void)folder_write_text(folder, "p.csv",
                            "device,model,units,batch,latency_ms\nfake,a,10,1,1\nfake,b,10,1,1\n"
                            "fake,b:1,10,1,1\n");
    (void)folder_write_text(folder, "w.csv", "model,rate_rps,slo_ms\na,10,100\nb,5,50\n");
}

static gpulet_status_t create(void *context)
{
    folder_t *folder = context;
    gpulet_settings_t settings;
    gpulet_server_t *server = NULL;
    gpulet_error_t err = {""};
    char words[4][128];
    static const char *const names[] = {"models", "p.csv", "w.csv"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(words[i], sizeof(words[i]), "%s/%s", folder->root, names[i]);
    const char *argv[WORDS] = {"gpuletd",
                               "--engine",
                               "fake",
                               "--device",
                               "fake",
                               "--store",
                               "none",
                               "--http-port",
                               "0",
                               "--metrics-port",
                               "0",
                               "--log-level",
                               "error",
                               "--no-calibrate",
                               "--worker-program",
                               GPULET_BIN_DIR "/gpulet-worker",
                               "--model-repository",
                               words[0],
                               "--profiles",
                               words[1],
                               "--workload",
                               words[2]};
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    gpulet_status_t st = gpulet_settings_read(&settings, argc, (char **)(uintptr_t)argv, &err);
    if (st == GPULET_OK)
        st = gpulet_server_create(&server, &settings, &err);
    gpulet_settings_deinit(&settings);
    if (st != GPULET_OK) {
        assert_null(server);
        assert_true(err.text[0] != '\0');
    }
    gpulet_server_destroy(server);
    return st;
}

static void making_a_server(void **state)
{
    write_files(*state);
    torture_run("server", create, *state, TORTURE_MEMORY, 50);
    torture_run("server", create, *state, TORTURE_SYSTEM, 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(making_a_server)};
    return cmocka_run_group_tests_name("torture.server", tests, folder_setup, folder_teardown);
}
