/* Contexts and clients of the Multi-Process Service: what they cost and how far apart they are. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "device/backend.h"
#include "gpu_cuda.h"
#include "gpu_facts.h"
#include "gpu_model.h"

enum { CHANGES = 20 };

static const gpulet_device_backend_t *mps;
static gpulet_device_t *opened;

/* Starts the daemon; false, with a line that says why, when there is none to be had. */
static bool begin(void)
{
    gpulet_error_t err = {""};
    uint64_t begun_ns = gpulet_clock_ns();
    mps = gpulet_device_backend_find("mps");
    if (mps->open(&opened, 0, NULL, &err) != GPULET_OK) {
        for (char *c = err.text; *c != '\0'; c++)
            *c = *c == '"' || *c == '\\' ? '\'' : *c;
        cu_emit("\"error\": \"%s\"", err.text);
        return false;
    }
    cu_emit("\"daemon_ms\": %.1f", (double)(gpulet_clock_ns() - begun_ns) / 1e6);
    return true;
}

static void end(void)
{
    uint64_t begun_ns = gpulet_clock_ns();
    mps->close(opened);
    cu_emit("\"quit_ms\": %.1f", (double)(gpulet_clock_ns() - begun_ns) / 1e6);
}

/* In a child: lives in so many percent. */
static void enter(unsigned percent)
{
    gpulet_partition_t *part = NULL;
    gpulet_device_entry_t entry;
    gpulet_error_t err = {""};
    char grant[GPULET_GRANT_MAX + 1];
    if (mps->carve(&part, opened, percent, 1, &err) != GPULET_OK ||
        mps->grant(grant, sizeof(grant), part) != GPULET_OK ||
        mps->enter(grant, &entry, &err) != GPULET_OK)
        cu_die("%s", err.text);
}

/* ---- contexts ---- */

static void context_body(const void *argument)
{
    const unsigned *percent = argument;
    cu_context_t second = NULL;
    cu_kernels_t kernels;
    if (*percent > 0)
        enter(*percent);
    double before_mb = facts_used_mb();
    uint64_t begun_ns = gpulet_clock_ns();
    cu_device_t device = cu_open();
    double init_ms = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    begun_ns = gpulet_clock_ns();
    cu_primary(device);
    double primary_ms = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    double after_mb = facts_used_mb();
    begun_ns = gpulet_clock_ns();
    cu_load_kernels(&kernels);
    double module_ms = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    begun_ns = gpulet_clock_ns();
    CU(context_create(&second, 0, device));
    double create_ms = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    double second_mb = facts_used_mb();
    cu_emit("\"mps\": %s, \"init_ms\": %.1f, \"primary_ms\": %.1f, \"module_ms\": %.1f, "
            "\"memory_mb\": %.0f, \"second_create_ms\": %.1f, \"second_memory_mb\": %.0f",
            *percent > 0 ? "true" : "false", init_ms, primary_ms, module_ms, after_mb - before_mb,
            create_ms, second_mb - after_mb);
}

void facts_context(void)
{
    const unsigned none = 0;
    for (int i = 0; i < 2; i++)
        (void)facts_child(context_body, &none, 30);
}

void facts_context_mps(void)
{
    const unsigned whole = 100;
    if (!begin())
        return;
    double before_mb = facts_used_mb();
    for (int i = 0; i < 3; i++)
        (void)facts_child(context_body, &whole, 40);
    cu_emit("\"server_memory_mb\": %.0f", facts_used_mb() - before_mb);
    end();
}

/* ---- shares ---- */

static void share_body(const void *argument)
{
    const unsigned *percent = argument;
    cu_kernels_t kernels;
    cu_work_t compute;
    cu_work_t memory;
    cu_sms_t sms;
    int count = 0;
    enter(*percent);
    cu_device_t device = cu_open();
    cu_primary(device);
    cu_load_kernels(&kernels);
    CU(attribute(&count, CU_ATTRIBUTE_SM_COUNT, device));
    cu_find_sms(&sms, &kernels, NULL);
    cu_work_open(&compute, &kernels, false);
    cu_work_open(&memory, &kernels, true);
    cu_emit("\"percent\": %u, \"sms_said\": %d, \"sms_seen\": %u, \"compute_ms\": %.4f, "
            "\"memory_ms\": %.4f",
            *percent, count, sms.count, cu_work_measure(&compute, NULL, 0.3),
            cu_work_measure(&memory, NULL, 0.3));
}

void facts_mps_share(void)
{
    static const unsigned percents[] = {1, 5, 10, 15, 20, 25, 33, 40, 50, 60, 75, 80, 100};
    if (!begin())
        return;
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
        (void)facts_child(share_body, &percents[i], 20);
    end();
}

/* ---- start ---- */

static void start_body(const void *argument)
{
    const uint64_t *begun_ns = argument;
    cu_kernels_t kernels;
    cu_sms_t sms;
    gpu_model_t m;
    enter(50);
    cu_primary(cu_open());
    cu_load_kernels(&kernels);
    cu_find_sms(&sms, &kernels, NULL);
    double kernel_ms = (double)(gpulet_clock_ns() - *begun_ns) / 1e6;
    cu_emit("\"first_kernel_ms\": %.1f", kernel_ms);
    if (facts.models == NULL)
        cu_die("no models: --models REPOSITORY");
    double before_mb = facts_used_mb();
    gpu_engine_open(&m);
    double engine_ms = (double)(gpulet_clock_ns() - *begun_ns) / 1e6 - kernel_ms;
    double load_ms = gpu_model_load(&m, facts.models, "resnet50", NULL);
    double loaded_mb = facts_used_mb();
    double first_ms = gpu_model_run(&m, 1);
    double second_ms = gpu_model_run(&m, 1);
    double eight_ms = gpu_model_run(&m, 8);
    double eight_again_ms = gpu_model_run(&m, 8);
    /* A change of shape may cost each time. */
    double steady_ms = gpu_model_measure(&m, 8, 0.3);
    double changing_ms = 0;
    double new_ms = 0;
    (void)gpu_model_run(&m, 16);
    for (int i = 0; i < CHANGES; i++) {
        changing_ms += gpu_model_run(&m, 8) / CHANGES;
        (void)gpu_model_run(&m, 16);
    }
    for (int i = 0; i < 3; i++)
        new_ms += gpu_model_run(&m, 3 + 2 * i) / 3;
    cu_emit("\"model\": \"resnet50\", \"steady_of_8_ms\": %.3f, \"of_8_after_16_ms\": %.3f, "
            "\"first_of_3_5_7_ms\": %.3f",
            steady_ms, changing_ms, new_ms);
    cu_emit("\"model\": \"resnet50\", \"engine_open_ms\": %.1f, \"load_ms\": %.1f, "
            "\"first_run_ms\": %.2f, \"second_run_ms\": %.2f, \"first_of_8_ms\": %.2f, "
            "\"second_of_8_ms\": %.2f, \"load_memory_mb\": %.0f, \"run_memory_mb\": %.0f",
            engine_ms, load_ms, first_ms, second_ms, eight_ms, eight_again_ms,
            loaded_mb - before_mb, facts_used_mb() - loaded_mb);
}

void facts_mps_start(void)
{
    if (!begin())
        return;
    for (int i = 0; i < 2; i++) {
        uint64_t begun_ns = gpulet_clock_ns();
        (void)facts_child(start_body, &begun_ns, 60);
    }
    end();
}

/* ---- two clients ---- */

typedef struct pair {
    unsigned percent; /* of each; 0: no service, the driver shares time */
    bool memory;
    bool other_memory;
    int ready[2]; /* the neighbour writes when it is at work */
    int go_on[2]; /* its end tells the neighbour to stop */
} pair_t;

static void work_in(cu_work_t *work, cu_kernels_t *kernels, const pair_t *pair, bool memory)
{
    if (pair->percent > 0)
        enter(pair->percent);
    cu_primary(cu_open());
    cu_load_kernels(kernels);
    cu_work_open(work, kernels, memory);
}

static void neighbour_body(const pair_t *pair)
{
    cu_work_t work;
    cu_kernels_t kernels;
    struct pollfd stop = {.fd = pair->go_on[0], .events = POLLIN};
    char byte = 1;
    (void)close(pair->go_on[1]);
    work_in(&work, &kernels, pair, pair->other_memory);
    for (uint64_t round = 0; poll(&stop, 1, 0) == 0; round++) {
        for (int i = 0; i < 4; i++)
            cu_work_launch(&work, NULL);
        CU(synchronize());
        if (round == 0 && write(pair->ready[1], &byte, 1) != 1)
            return;
    }
}

static void measure_body(const void *argument)
{
    const pair_t *pair = argument;
    cu_work_t work;
    cu_kernels_t kernels;
    char byte = 0;
    work_in(&work, &kernels, pair, pair->memory);
    double alone_ms = cu_work_measure(&work, NULL, 0.4);
    /* The neighbour waits for a byte to begin: it comes by the descriptor it later watches. */
    if (write(pair->go_on[1], &byte, 1) != 1 || read(pair->ready[0], &byte, 1) != 1)
        cu_die("the neighbour does not start");
    double ms = cu_work_measure(&work, NULL, 0.8);
    cu_emit("\"percent_each\": %u, \"work\": \"%s\", \"beside\": \"%s\", \"alone_ms\": %.4f, "
            "\"ms\": %.4f, \"slowdown\": %.3f",
            pair->percent, pair->memory ? "memory" : "compute",
            pair->other_memory ? "memory" : "compute", alone_ms, ms, ms / alone_ms);
}

static void pair_run(pair_t *pair)
{
    char byte = 0;
    if (pipe2(pair->ready, O_CLOEXEC) != 0 || pipe2(pair->go_on, O_CLOEXEC) != 0) {
        cu_emit("\"error\": \"pipe: %s\"", strerror(errno));
        return;
    }
    (void)fflush(NULL);
    pid_t other = fork();
    if (other == 0) {
        (void)close(pair->go_on[1]);
        pair->go_on[1] = -1;
        if (read(pair->go_on[0], &byte, 1) == 1)
            neighbour_body(pair);
        _exit(0);
    }
    (void)close(pair->ready[1]); /* so that a neighbour that dies is noticed */
    (void)facts_child(measure_body, pair, 30);
    (void)close(pair->go_on[1]);
    for (int waited = 0; waited < 5000 && waitpid(other, NULL, WNOHANG) == 0; waited += 10) {
        (void)poll(NULL, 0, 10);
        if (waited >= 4980) {
            (void)kill(other, SIGKILL);
            (void)waitpid(other, NULL, 0);
            cu_emit("\"error\": \"the neighbour did not end\"");
            break;
        }
    }
    (void)close(pair->ready[0]);
    (void)close(pair->go_on[0]);
}

void facts_mps_isolation(void)
{
    static const unsigned percents[] = {50, 100, 0};
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        if (i == 0 && !begin())
            return;
        if (percents[i] == 0)
            end(); /* from here on without the service */
        for (int kind = 0; kind < 4; kind++) {
            pair_t pair = {
                .percent = percents[i], .memory = (kind & 1) != 0, .other_memory = (kind & 2) != 0};
            pair_run(&pair);
        }
    }
}
