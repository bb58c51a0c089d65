/* `gpulet doctor`: what this machine can do, and what stands in the way. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/version.h"
#include "cmd/cmd.h"
#include "device/backend.h"
#include "engine/engine.h"
#include "proto/oip.h"

enum { DEVICES_MAX = 64, PATH_SIZE = 4096, FILES_WANTED = 1024 };

typedef struct doctor_settings {
    bool json;
    char *ort_library;
    bool help;
} doctor_settings_t;

#define AT(field) offsetof(doctor_settings_t, field)
#define ANY       1, 0

const gpulet_option_t cmd_doctor_options[] = {
    {"ort-library", GPULET_OPTION_STRING, AT(ort_library), NULL, ANY, "PATH",
     "ONNX Runtime's shared library", "Options"},
    {"json", GPULET_OPTION_BOOL, AT(json), NULL, ANY, NULL, "one JSON document on stdout", NULL},
    {"help", GPULET_OPTION_BOOL, AT(help), NULL, ANY, NULL, "print this", NULL},
    {NULL, GPULET_OPTION_BOOL, 0, NULL, ANY, NULL, NULL, NULL},
};

typedef struct doctor {
    gpulet_buf_t json;
    bool as_json;
    bool first;
    uint32_t problems;
} doctor_t;

static void say(doctor_t *d, const char *what, bool ok, const char *text)
{
    d->problems += ok ? 0 : 1;
    if (!d->as_json) {
        (void)printf("%-4s %-16s %s\n", ok ? "ok" : "NO", what, text);
        return;
    }
    gpulet_buf_append_str(&d->json, d->first ? "{\"check\":" : ",{\"check\":");
    gpulet_json_string(&d->json, what, strlen(what));
    gpulet_buf_printf(&d->json, ",\"ok\":%s,\"text\":", ok ? "true" : "false");
    gpulet_json_string(&d->json, text, strlen(text));
    gpulet_buf_append_char(&d->json, '}');
    d->first = false;
}

static void check_backend(doctor_t *d, const gpulet_device_backend_t *backend)
{
    gpulet_device_desc_t descs[DEVICES_MAX];
    gpulet_device_options_t options = {0};
    gpulet_error_t err = {""};
    uint32_t count = 0;
    char what[48];
    char text[512];
    (void)snprintf(what, sizeof(what), "device %s", backend->name);
    if (backend->probe(descs, DEVICES_MAX, &count, &options, &err) != GPULET_OK) {
        say(d, what, false, err.text);
        return;
    }
    for (uint32_t i = 0; i < count && i < DEVICES_MAX; i++) {
        (void)snprintf(text, sizeof(text), "%u units, %.0f MiB: %s", descs[i].units,
                       descs[i].memory_mb, descs[i].text);
        say(d, what, true, text);
    }
}

static void check_engine(doctor_t *d, const gpulet_engine_ops_t *ops, const char *ort_library)
{
    gpulet_engine_options_t options = {.ort_library = ort_library};
    gpulet_engine_t *engine = NULL;
    gpulet_error_t err = {""};
    char what[48];
    char text[PATH_SIZE + 64];
    char path[PATH_SIZE] = "";
    (void)snprintf(what, sizeof(what), "engine %s", ops->name);
    if (ops->open(&engine, &options, &err) != GPULET_OK) {
        say(d, what, false, err.text);
        return;
    }
    if (strcmp(ops->name, "ort") == 0 &&
        gpulet_engine_ort_locate(path, sizeof(path), ort_library, &err) != GPULET_OK)
        path[0] = '\0';
    (void)snprintf(text, sizeof(text), "version %s%s%s", ops->version(engine),
                   path[0] != '\0' ? ", " : "", path);
    say(d, what, true, text);
    ops->close(engine);
}

static void check_limits(doctor_t *d)
{
    struct rlimit files = {0, 0};
    char text[128];
    (void)getrlimit(RLIMIT_NOFILE, &files);
    (void)snprintf(text, sizeof(text), "%llu (connections, models and workers need one each)",
                   (unsigned long long)files.rlim_cur);
    say(d, "open files", files.rlim_cur >= FILES_WANTED, text);
}

int cmd_doctor(int argc, char **argv)
{
    doctor_settings_t s = {0};
    doctor_t d = {GPULET_BUF_INIT, false, true, 0};
    gpulet_error_t err = {""};
    char worker[PATH_SIZE];
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("doctor"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    d.as_json = s.json;
    gpulet_status_t st = cmd_beside(worker, sizeof(worker), "gpulet-worker", &err);
    say(&d, "gpulet-worker", st == GPULET_OK, st == GPULET_OK ? worker : err.text);
    for (const gpulet_device_backend_t *const *b = gpulet_device_backends(); *b != NULL; b++)
        check_backend(&d, *b);
    for (const gpulet_engine_ops_t *const *e = gpulet_engine_all(); *e != NULL; e++)
        check_engine(&d, *e, s.ort_library);
    check_limits(&d);
    if (s.json)
        (void)printf("{\"version\":\"%s\",\"problems\":%u,\"checks\":[%s]}\n", GPULET_VERSION,
                     d.problems, d.json.data != NULL ? d.json.data : "");
    gpulet_buf_deinit(&d.json);
    gpulet_options_deinit(cmd_doctor_options, &s);
    return d.problems == 0 ? CMD_DONE : CMD_NO;
}
