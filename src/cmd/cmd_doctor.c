/* `gpulet doctor`: what this machine can do, and what stands in the way. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/version.h"
#include "cmd/cmd.h"
#include "device/backend.h"
#include "device/mps/daemon.h"
#include "device/nvidia/nvml.h"
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
    bool gpus; /* there are some */
} doctor_t;

static void line(doctor_t *d, const char *mark, const char *what, bool ok, const char *text)
{
    if (!d->as_json) {
        (void)printf("%-4s %-16s %s\n", mark, what, text);
        return;
    }
    gpulet_buf_append_str(&d->json, d->first ? "{\"check\":" : ",{\"check\":");
    gpulet_json_string(&d->json, what, strlen(what));
    gpulet_buf_printf(&d->json, ",\"ok\":%s,\"text\":", ok ? "true" : "false");
    gpulet_json_string(&d->json, text, strlen(text));
    gpulet_buf_append_char(&d->json, '}');
    d->first = false;
}

static void say(doctor_t *d, const char *what, bool ok, const char *text)
{
    d->problems += ok ? 0 : 1;
    line(d, ok ? "ok" : "NO", what, ok, text);
}

/* Something this machine does without. */
static void note(doctor_t *d, const char *what, const char *text)
{
    line(d, "-", what, true, text);
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
        /* Without a GPU there is nothing wrong with it. */
        if (strcmp(backend->name, "mps") == 0 && !d->gpus)
            note(d, what, err.text);
        else
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

/* ---- NVIDIA GPUs: none is fine, and then nothing further is of interest ---- */

static bool loads(const char *name)
{
    return dlopen(name, RTLD_LAZY | RTLD_LOCAL) != NULL;
}

static void check_gpus(doctor_t *d)
{
    gpulet_nvml_gpu_t gpus[DEVICES_MAX];
    gpulet_error_t err = {""};
    uint32_t count = 0;
    uint32_t cuda = 0;
    char driver[64] = "";
    char text[512];
    gpulet_status_t st = gpulet_nvml_list(gpus, DEVICES_MAX, &count, &err);
    if (st == GPULET_OK)
        st = gpulet_nvml_driver(driver, sizeof(driver), &cuda, &err);
    d->gpus = st == GPULET_OK;
    if (st != GPULET_OK) {
        note(d, "gpu", err.text);
        return;
    }
    (void)snprintf(text, sizeof(text), "NVIDIA driver %s, for CUDA %u.%u", driver, cuda / 1000,
                   cuda % 1000 / 10);
    say(d, "gpu driver", true, text);
    for (uint32_t i = 0; i < count && i < DEVICES_MAX; i++) {
        const gpulet_nvml_gpu_t *g = &gpus[i];
        (void)snprintf(text, sizeof(text),
                       "%u: %s, %u multiprocessors, compute capability %u.%u, %.0f of %.0f MiB in "
                       "use, MIG %s",
                       i, g->name, g->sms, g->major, g->minor, (double)g->used_bytes / 1048576.0,
                       (double)g->memory_bytes / 1048576.0, g->mig ? "on" : "off");
        say(d, "gpu", true, text);
    }
    st = gpulet_mps_programs(&err);
    say(d, "gpu mps", st == GPULET_OK,
        st == GPULET_OK ? GPULET_MPS_CONTROL " and " GPULET_MPS_SERVER : err.text);
}

/* What ONNX Runtime's CUDA provider wants from the loader: any number of its names will do. */
static void check_gpu_libraries(doctor_t *d)
{
    static const char *const libraries[][4] = {
        {"CUDA driver", "libcuda.so.1", NULL, NULL},
        {"CUDA runtime", "libcudart.so.13", "libcudart.so.12", NULL},
        {"cuBLAS", "libcublas.so.13", "libcublas.so.12", NULL},
        {"cuRAND", "libcurand.so.10", NULL, NULL},
        {"cuDNN", "libcudnn.so.9", "libcudnn.so.8", NULL}};
    char text[256];
    if (!d->gpus)
        return;
    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++) {
        const char *found = NULL;
        for (int k = 1; libraries[i][k] != NULL && found == NULL; k++)
            found = loads(libraries[i][k]) ? libraries[i][k] : NULL;
        (void)snprintf(
            text, sizeof(text), "%s: %s", libraries[i][0],
            found != NULL ? found : "the loader finds none: put its folder into LD_LIBRARY_PATH");
        say(d, "gpu library", found != NULL, text);
    }
}

/* The provider is a file beside the library. */
static void check_gpu_provider(doctor_t *d, const char *ort_library)
{
    char path[PATH_SIZE];
    char text[PATH_SIZE + 128];
    gpulet_error_t err = {""};
    if (!d->gpus || gpulet_engine_ort_locate(path, sizeof(path), ort_library, &err) != GPULET_OK)
        return;
    char *slash = strrchr(path, '/');
    if (slash != NULL)
        slash[1] = '\0';
    (void)snprintf(text, sizeof(text), "%slibonnxruntime_providers_cuda.so",
                   slash != NULL ? path : "");
    bool there = slash != NULL && access(text, R_OK) == 0;
    if (!there)
        (void)snprintf(text, sizeof(text),
                       "ONNX Runtime in %s has no CUDA provider: use a build for GPUs (the package "
                       "onnxruntime-gpu has one)",
                       slash != NULL ? path : "?");
    say(d, "gpu provider", there, text);
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
    doctor_t d = {.json = GPULET_BUF_INIT, .first = true};
    gpulet_error_t err = {""};
    char worker[PATH_SIZE];
    int words = 0;
    int exit_code = CMD_DONE;
    if (!cmd_parse(cmd_find("doctor"), &s, argc, argv, &words, &exit_code))
        return exit_code;
    d.as_json = s.json;
    gpulet_status_t st = cmd_beside(worker, sizeof(worker), "gpulet-worker", &err);
    say(&d, "gpulet-worker", st == GPULET_OK, st == GPULET_OK ? worker : err.text);
    check_gpus(&d);
    for (const gpulet_device_backend_t *const *b = gpulet_device_backends(); *b != NULL; b++)
        check_backend(&d, *b);
    for (const gpulet_engine_ops_t *const *e = gpulet_engine_all(); *e != NULL; e++)
        check_engine(&d, *e, s.ort_library);
    check_gpu_provider(&d, s.ort_library);
    check_gpu_libraries(&d);
    check_limits(&d);
    if (s.json)
        (void)printf("{\"version\":\"%s\",\"problems\":%u,\"checks\":[%s]}\n", GPULET_VERSION,
                     d.problems, d.json.data != NULL ? d.json.data : "");
    gpulet_buf_deinit(&d.json);
    gpulet_options_deinit(cmd_doctor_options, &s);
    return d.problems == 0 ? CMD_DONE : CMD_NO;
}
