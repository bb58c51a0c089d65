/* What an NVIDIA GPU and its driver really do where gpulet builds on it: JSON lines on stdout.
 *
 * gpu_facts [--models REPOSITORY] [EXPERIMENT...]; without experiments all. Each has a process and
 * a time limit of its own; one that fails prints a line with "error" and the next begins. The
 * process that runs them never makes a context. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "device/nvidia/nvml.h"
#include "gpu_cuda.h"
#include "gpu_facts.h"

facts_settings_t facts;

/* The management library does not promise to work in a forked child of who opened it: a fresh
 * process is asked. */
double facts_used_mb(void)
{
    double mb = -1;
    FILE *f = popen("/proc/$PPID/exe --used", "re");
    if (f == NULL || fscanf(f, "%lf", &mb) != 1)
        mb = -1;
    if (f != NULL)
        (void)pclose(f);
    return mb;
}

static int print_used(void)
{
    gpulet_nvml_gpu_t gpu;
    gpulet_error_t err = {""};
    uint32_t count = 0;
    if (gpulet_nvml_list(&gpu, 1, &count, &err) != GPULET_OK)
        return 1;
    (void)printf("%.1f\n", (double)gpu.used_bytes / 1048576.0);
    return 0;
}

int facts_child(void (*body)(const void *), const void *argument, double limit_s)
{
    int status = 0;
    (void)fflush(NULL);
    uint64_t until_ns = gpulet_clock_ns() + (uint64_t)(limit_s * 1e9);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        body(argument);
        (void)fflush(NULL);
        _exit(0);
    }
    if (child < 0) {
        cu_emit("\"error\": \"fork: %s\"", strerror(errno));
        return 0;
    }
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (gpulet_clock_ns() > until_ns) {
            (void)kill(child, SIGKILL);
            (void)waitpid(child, &status, 0);
            cu_emit("\"error\": \"it took over %.0f s\"", limit_s);
            return 0;
        }
        (void)poll(NULL, 0, 1);
    }
    if (WIFSIGNALED(status))
        cu_emit("\"error\": \"killed by signal %d\"", WTERMSIG(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void device(void)
{
    char name[128] = "";
    char driver[96] = "?";
    gpulet_error_t err = {""};
    uint32_t cuda = 0;
    int sms = 0;
    int major = 0;
    int minor = 0;
    int version = 0;
    cu_resource_t resource = {0};
    cu_device_t gpu = cu_open();
    if (gpulet_nvml_driver(driver, sizeof(driver), &cuda, &err) != GPULET_OK)
        cu_emit("\"error\": \"%s\"", err.text);
    CU(driver_version(&version));
    CU(device_name(name, sizeof(name), gpu));
    CU(attribute(&sms, CU_ATTRIBUTE_SM_COUNT, gpu));
    CU(attribute(&major, CU_ATTRIBUTE_MAJOR, gpu));
    CU(attribute(&minor, CU_ATTRIBUTE_MINOR, gpu));
    cu_emit("\"name\": \"%s\", \"driver\": \"%s\", \"cuda\": %d, \"sms\": %d, \"capability\": "
            "\"%d.%d\", \"used_mb\": %.0f",
            name, driver, version, sms, major, minor, facts_used_mb());
    if (!cu_has_green())
        cu_die("this driver has no green contexts");
    CU(device_resource(gpu, &resource, CU_RESOURCE_SM));
    cu_emit("\"resource_sms\": %u, \"sm_partition_min\": %u, \"sm_alignment\": %u",
            resource.sm_count, resource.sm_partition_min, resource.sm_alignment);
}

static const struct {
    const char *name;
    void (*run)(void);
    double limit_s;
    bool isolated; /* in a child; the others make children of their own */
} experiments[] = {
    {"device", device, 30, true},
    {"context", facts_context, 60, false},
    {"green_split", facts_green_split, 60, true},
    {"green_confined", facts_green_confined, 60, true},
    {"green_isolation", facts_green_isolation, 60, true},
    {"green_engine", facts_green_engine, 120, true},
    {"shapes", facts_shapes, 120, true},
    {"context_mps", facts_context_mps, 60, false},
    {"mps_share", facts_mps_share, 60, false},
    {"mps_start", facts_mps_start, 60, false},
    {"mps_isolation", facts_mps_isolation, 90, false},
};

enum { EXPERIMENTS = sizeof(experiments) / sizeof(experiments[0]) };

static void call(const void *argument)
{
    experiments[*(const size_t *)argument].run();
}

static int run(const char *name)
{
    for (size_t i = 0; i < EXPERIMENTS; i++) {
        if (name != NULL && strcmp(name, experiments[i].name) != 0)
            continue;
        cu_experiment = experiments[i].name;
        uint64_t begun_ns = gpulet_clock_ns();
        if (experiments[i].isolated)
            (void)facts_child(call, &i, experiments[i].limit_s);
        else
            experiments[i].run();
        cu_emit("\"took_s\": %.2f", (double)(gpulet_clock_ns() - begun_ns) / 1e9);
        if (name != NULL)
            return 0;
    }
    if (name == NULL)
        return 0;
    (void)fprintf(stderr, "gpu_facts: no experiment is called '%s'; there are", name);
    for (size_t i = 0; i < EXPERIMENTS; i++)
        (void)fprintf(stderr, " %s", experiments[i].name);
    (void)fprintf(stderr, "\n");
    return 2;
}

int main(int argc, char **argv)
{
    int first = 1;
    facts.models = getenv("GPULET_MODELS");
    if (argc == 2 && strcmp(argv[1], "--used") == 0)
        return print_used();
    if (argc > 2 && strcmp(argv[1], "--models") == 0) {
        facts.models = argv[2];
        first = 3;
    }
    if (first == argc)
        return run(NULL);
    for (int i = first; i < argc; i++) {
        int code = run(argv[i]);
        if (code != 0)
            return code;
    }
    return 0;
}
