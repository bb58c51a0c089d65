/* The mps backend against a management library and a control daemon that are made for this test. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "device/mps/daemon.h"
#include "device/mps/mps.h"
#include "device/nvidia/nvml.h"

enum { DEADLINE_MS = 10000 };

static const gpulet_device_backend_t *mps = &gpulet_device_mps;

/* A child's life is its own: the library is opened once in a process, with the variables of then.
 */
static void in_child(void (*body)(void))
{
    int status = 0;
    (void)fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                  \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void describes_body(void)
{
    gpulet_device_desc_t descs[3];
    gpulet_error_t err = {""};
    uint32_t count = 0;
    CHECK(mps->probe(descs, 3, &count, NULL, &err) == GPULET_OK);
    CHECK(count == 2);
    CHECK(strcmp(descs[0].type, "nvidia-fake-80gb") == 0);
    CHECK(descs[0].index == 0 && descs[1].index == 1);
    CHECK(descs[0].units == 100 && descs[0].step == 10 && descs[0].gpulets_max == 10);
    CHECK(descs[0].memory_mb == 81920.0);
    CHECK(strstr(descs[1].text, "GPU-fake-1") != NULL && strstr(descs[1].text, "132") != NULL);
    const gpulet_device_options_t fine = {.mps_step = 1};
    CHECK(mps->probe(descs, 1, &count, &fine, &err) == GPULET_OK);
    CHECK(descs[0].gpulets_max == GPULET_MPS_GPULETS_MAX);
}

static void describes_the_gpus(void **state)
{
    (void)state;
    in_child(describes_body);
}

static void expect_unavailable(const char *words)
{
    gpulet_device_desc_t desc;
    gpulet_device_t *device = NULL;
    gpulet_error_t err = {""};
    uint32_t count = 0;
    CHECK(mps->probe(&desc, 1, &count, NULL, &err) == GPULET_E_UNAVAILABLE);
    CHECK(strstr(err.text, words) != NULL);
    CHECK(mps->open(&device, 0, NULL, &err) == GPULET_E_UNAVAILABLE);
    CHECK(device == NULL && count == 0);
}

static void no_driver(void)
{
    (void)setenv("GPULET_NVML_LIBRARY", "/nowhere/libnvidia-ml.so.1", 1);
    expect_unavailable("no NVIDIA driver");
}

static void broken_driver(void)
{
    (void)setenv("GPULET_FAKE_NVML_FAILS", "1", 1);
    expect_unavailable("Driver Not Loaded");
}

static void no_gpu(void)
{
    (void)setenv("GPULET_FAKE_GPUS", "0", 1);
    expect_unavailable("no GPU");
}

static void mig(void)
{
    (void)setenv("GPULET_FAKE_MIG", "1", 1);
    expect_unavailable("MIG mode");
}

static void old_gpu(void)
{
    (void)setenv("GPULET_FAKE_CAPABILITY", "6", 1);
    expect_unavailable("compute capability 6.0");
}

static void no_programs(void)
{
    (void)setenv("PATH", "/nowhere", 1);
    expect_unavailable("nvidia-cuda-mps-control is not on the PATH");
}

static void says_why_it_cannot_be_used(void **state)
{
    (void)state;
    in_child(no_driver);
    in_child(broken_driver);
    in_child(no_gpu);
    in_child(mig);
    in_child(old_gpu);
    in_child(no_programs);
}

static void failing_daemon(void)
{
    gpulet_device_t *device = NULL;
    gpulet_error_t err = {""};
    (void)setenv("GPULET_FAKE_MPS_FAILS", "1", 1);
    CHECK(mps->open(&device, 0, NULL, &err) == GPULET_E_UNAVAILABLE);
    CHECK(strstr(err.text, "no device will do") != NULL);
}

static void foreign_daemon_gone(void)
{
    gpulet_device_t *device = NULL;
    gpulet_error_t err = {""};
    (void)setenv("CUDA_MPS_PIPE_DIRECTORY", "/nowhere", 1);
    CHECK(mps->open(&device, 0, NULL, &err) == GPULET_E_UNAVAILABLE);
    CHECK(strstr(err.text, "/nowhere") != NULL && strstr(err.text, "Cannot find") != NULL);
}

static void says_why_the_daemon_does_not_start(void **state)
{
    (void)state;
    in_child(failing_daemon);
    in_child(foreign_daemon_gone);
}

static long number_in(const char *folder, const char *name)
{
    char path[PATH_MAX];
    long number = 0;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%ld", &number) != 1)
        number = 0;
    (void)fclose(f);
    return number;
}

/* Within the deadline; zombies that nobody reaps count as gone. */
static bool is_gone(long pid)
{
    char path[64];
    char state = 'Z';
    for (int waited = 0; waited < DEADLINE_MS; waited += 20) {
        (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
        FILE *f = fopen(path, "re");
        if (f == NULL)
            return true;
        if (fscanf(f, "%*d %*s %c", &state) != 1)
            state = 'Z';
        (void)fclose(f);
        if (state == 'Z')
            return true;
        (void)poll(NULL, 0, 20);
    }
    return false;
}

static void life_body(void)
{
    gpulet_device_t *devices[2] = {NULL};
    gpulet_error_t err = {""};
    char pipe[PATH_MAX];
    CHECK(mps->open(&devices[0], 0, NULL, &err) == GPULET_OK);
    CHECK(mps->open(&devices[1], 1, NULL, &err) == GPULET_OK);
    (void)snprintf(pipe, sizeof(pipe), "%s", gpulet_mps_pipe());
    long control = number_in(pipe, "control");
    long server = number_in(pipe, "server");
    CHECK(control > 0 && server > 0 && kill((pid_t)control, 0) == 0);
    mps->close(devices[0]);
    CHECK(kill((pid_t)control, 0) == 0); /* the other one needs it */
    mps->close(devices[1]);
    CHECK(is_gone(control) && is_gone(server));
    CHECK(access(pipe, F_OK) != 0);
}

static void runs_one_daemon_and_takes_it_down(void **state)
{
    (void)state;
    in_child(life_body);
}

/* After a kill -9 of whoever opened it, nothing of it may stay. */
static void leaves_nothing_behind_when_killed(void **state)
{
    int ends[2];
    char pipe_folder[256] = "";
    (void)state;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        gpulet_device_t *device = NULL;
        gpulet_error_t err = {""};
        (void)setenv("GPULET_FAKE_MPS_SERVER_STAYS", "1", 1);
        CHECK(mps->open(&device, 0, NULL, &err) == GPULET_OK);
        const char *own = gpulet_mps_pipe();
        CHECK(write(ends[1], own, strlen(own) + 1) > 0);
        for (;;)
            (void)pause();
    }
    assert_true(read(ends[0], pipe_folder, sizeof(pipe_folder) - 1) > 0);
    long control = number_in(pipe_folder, "control");
    long server = number_in(pipe_folder, "server");
    assert_true(control > 0 && server > 0);
    (void)kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(is_gone(control));
    assert_true(is_gone(server));
    for (int waited = 0; waited < DEADLINE_MS && access(pipe_folder, F_OK) == 0; waited += 20)
        (void)poll(NULL, 0, 20);
    assert_int_not_equal(access(pipe_folder, F_OK), 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void enter_body(void)
{
    gpulet_device_t *device = NULL;
    gpulet_partition_t *part = NULL;
    gpulet_device_entry_t entry = {0};
    gpulet_error_t err = {""};
    char grant[GPULET_GRANT_MAX + 1];
    uint64_t used = 0;
    CHECK(mps->open(&device, 1, NULL, &err) == GPULET_OK);
    CHECK(mps->carve(&part, device, 30, 0, &err) == GPULET_OK);
    CHECK(mps->grant(grant, sizeof(grant), part) == GPULET_OK);
    CHECK(mps->enter(grant, &entry, &err) == GPULET_OK);
    CHECK(strcmp(getenv("CUDA_VISIBLE_DEVICES"), "GPU-fake-1") == 0);
    CHECK(strcmp(getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"), "30") == 0);
    CHECK(strcmp(getenv("CUDA_MPS_PIPE_DIRECTORY"), gpulet_mps_pipe()) == 0);
    CHECK(strcmp(entry.provider, "cuda") == 0 && entry.ordinal == 0 && entry.threads == 1);
    CHECK(mps->memory_used(&used, &err) == GPULET_OK && used == UINT64_C(2) << 30);
    CHECK(mps->health(device, NULL, &err) == GPULET_OK);
    (void)setenv("GPULET_FAKE_LOST", "1", 1);
    CHECK(mps->health(device, NULL, &err) == GPULET_E_UNAVAILABLE);
    (void)unsetenv("GPULET_FAKE_LOST");
    mps->release(part);
    mps->close(device);
    /* A daemon that is gone must not go unnoticed: CUDA would run without a limit. */
    CHECK(mps->enter(grant, &entry, &err) == GPULET_E_UNAVAILABLE);
    CHECK(strstr(err.text, "MPS is gone") != NULL);
}

static void telemetry_body(void)
{
    gpulet_device_t *devices[2] = {NULL};
    gpulet_device_telemetry_t t;
    gpulet_error_t err = {""};
    CHECK(mps->open(&devices[0], 0, NULL, &err) == GPULET_OK);
    CHECK(mps->open(&devices[1], 1, NULL, &err) == GPULET_OK);
    CHECK(mps->telemetry(&t, devices[0], &err) == GPULET_OK);
    CHECK(strcmp(t.uuid, "GPU-fake-0") == 0);
    CHECK(t.memory_total_bytes == UINT64_C(80) << 30 && t.memory_used_bytes == UINT64_C(1) << 30);
    CHECK(t.utilization == 0.42 && t.power_watts == 123.456 && t.power_limit_watts == 700.0);
    CHECK(mps->telemetry(&t, devices[1], &err) == GPULET_OK); /* It has no sensors. */
    CHECK(t.memory_used_bytes == UINT64_C(2) << 30);
    CHECK(t.utilization < 0 && t.power_watts < 0 && t.power_limit_watts < 0);
    (void)setenv("GPULET_FAKE_LOST", "0", 1);
    CHECK(mps->telemetry(&t, devices[0], &err) == GPULET_E_UNAVAILABLE && err.text[0] != '\0');
    mps->close(devices[0]);
    mps->close(devices[1]);
}

static void tells_what_sensors_say(void **state)
{
    (void)state;
    in_child(telemetry_body);
}

static void enters_by_its_environment(void **state)
{
    (void)state;
    in_child(enter_body);
}

static void refuses_wrong_grants(void **state)
{
    static const char *const wrong[] = {"mps:",
                                        "mps:GPU-1",
                                        "mps:GPU-1;percent=0;pipe=/a;id=1",
                                        "mps:GPU-1;percent=101;pipe=/a;id=1",
                                        "mps:GPU-1;percent=5;pipe=a;id=1",
                                        "mps:GPU-1;percent=5;pipe=/a;id=x",
                                        "mps:GPU-1;percent=5;pipe=/a;id=1;more=1",
                                        "percent=5;pipe=/a;id=1"};
    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        gpulet_device_entry_t entry = {0};
        gpulet_error_t err = {""};
        assert_int_equal(mps->enter(wrong[i], &entry, &err), GPULET_E_INVALID);
        assert_non_null(strstr(err.text, "grant"));
        assert_int_equal(entry.threads, 0);
    }
}

static void detach_body(void)
{
    gpulet_device_t *device = NULL;
    gpulet_partition_t *part = NULL;
    gpulet_error_t err = {""};
    char grant[GPULET_GRANT_MAX + 1];
    char asked[] = "/tmp/gpulet-asked-XXXXXX";
    char line[64] = "";
    int fd = mkstemp(asked);
    CHECK(fd >= 0);
    (void)setenv("GPULET_FAKE_MPS_ASKED", asked, 1);
    CHECK(mps->open(&device, 0, NULL, &err) == GPULET_OK);
    CHECK(mps->carve(&part, device, 30, 0, &err) == GPULET_OK);
    CHECK(mps->grant(grant, sizeof(grant), part) == GPULET_OK);
    mps->detach(grant, 77);
    CHECK(read(fd, line, sizeof(line) - 1) > 0);
    CHECK(strcmp(line, "terminate_client 4321 77\nterminate_client 4322 77\n") == 0);
    uint64_t begun_ns = gpulet_clock_ns();
    CHECK(gpulet_mps_command(gpulet_mps_pipe(), "slow", NULL, 0, 200, &err) == GPULET_E_TIMEOUT);
    CHECK(gpulet_clock_ns() - begun_ns < 3 * GPULET_NS_PER_S);
    CHECK(gpulet_mps_command(gpulet_mps_pipe(), "what", NULL, 0, 2000, &err) ==
          GPULET_E_UNAVAILABLE);
    CHECK(strstr(err.text, "unknown command") != NULL);
    (void)close(fd);
    (void)unlink(asked);
    mps->release(part);
    mps->close(device);
}

static void takes_clients_off_before_they_are_killed(void **state)
{
    (void)state;
    in_child(detach_body);
}

static void names_types(void **state)
{
    char name[GPULET_DEVICE_NAME_MAX + 1];
    (void)state;
    gpulet_mps_type_name(name, "NVIDIA H100 80GB HBM3");
    assert_string_equal(name, "nvidia-h100-80gb-hbm3");
    gpulet_mps_type_name(name, " (Tesla)  V100--");
    assert_string_equal(name, "tesla-v100");
    gpulet_mps_type_name(name, "");
    assert_string_equal(name, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_the_gpus),
        cmocka_unit_test(says_why_it_cannot_be_used),
        cmocka_unit_test(says_why_the_daemon_does_not_start),
        cmocka_unit_test(runs_one_daemon_and_takes_it_down),
        cmocka_unit_test(leaves_nothing_behind_when_killed),
        cmocka_unit_test(tells_what_sensors_say),
        cmocka_unit_test(enters_by_its_environment),
        cmocka_unit_test(refuses_wrong_grants),
        cmocka_unit_test(takes_clients_off_before_they_are_killed),
        cmocka_unit_test(names_types),
    };
    return cmocka_run_group_tests_name("device.mps", tests, NULL, NULL);
}
