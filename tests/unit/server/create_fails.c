/* A server that cannot be made, or cannot run, leaves nothing behind: no descriptor, no process. */
#include "server/server.h"

#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"

#define MODEL  "input=IN:FP32:-1x4\noutput=OUT:FP32:-1x4\n"
#define WORKER GPULET_BIN_DIR "/gpulet-worker"

enum { WORDS_MAX = 32, LABELS = 5000 };

/* Options of one try: each word may hold one "%s", the folder's root. */
typedef struct attempt {
    const char *words[8];
    const char *error; /* what the text has to say; NULL: it can be made */
    bool runs;         /* the error comes from running it */
} attempt_t;

static int descriptors(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        count++;
    (void)closedir(d);
    return count;
}

static void no_child_is_left(const char *what)
{
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
        fail_msg("%s: a process is left", what);
}

static gpulet_status_t make(gpulet_server_t **out, const folder_t *folder, const attempt_t *attempt,
                            gpulet_error_t *err)
{
    static const char *const always[] = {"gpuletd", "--engine",         "fake", "--device",
                                         "fake",    "--store",          "none", "--http-port",
                                         "0",       "--metrics-port",   "0",    "--log-level",
                                         "error",   "--worker-program", WORKER, "--no-calibrate"};
    static char words[WORDS_MAX][256];
    char *argv[WORDS_MAX + 1] = {NULL};
    gpulet_settings_t settings;
    int argc = 0;
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        (void)snprintf(words[argc++], sizeof(words[0]), "%s", always[i]);
    for (size_t i = 0; i < 8 && attempt->words[i] != NULL; i++) {
        const char *rest = strstr(attempt->words[i], "ROOT");
        int before = rest != NULL ? (int)(rest - attempt->words[i]) : 255;
        (void)snprintf(words[argc++], sizeof(words[0]), "%.*s%s%s", before, attempt->words[i],
                       rest != NULL ? folder->root : "", rest != NULL ? rest + 4 : "");
    }
    for (int i = 0; i < argc; i++)
        argv[i] = words[i];
    if (gpulet_settings_read(&settings, argc, argv, err) != GPULET_OK)
        fail_msg("%s", err->text);
    gpulet_status_t st = gpulet_server_create(out, &settings, err);
    gpulet_settings_deinit(&settings);
    return st;
}

static void try_it(const folder_t *folder, const attempt_t *attempt)
{
    gpulet_server_t *server = NULL;
    gpulet_error_t err = {""};
    int before = descriptors();
    gpulet_status_t st = make(&server, folder, attempt, &err);
    if (st == GPULET_OK && attempt->runs)
        st = gpulet_server_run(server, &err);
    gpulet_server_destroy(server);
    if (attempt->error == NULL && st != GPULET_OK)
        fail_msg("%s", err.text);
    if (attempt->error != NULL && (st == GPULET_OK || strstr(err.text, attempt->error) == NULL))
        fail_msg("\"%s\" (status %d) lacks \"%s\"", err.text, (int)st, attempt->error);
    if (descriptors() != before)
        fail_msg("\"%s\": %d descriptors before, %d after", err.text, before, descriptors());
    no_child_is_left(err.text);
}

static void try_all(const folder_t *folder, const attempt_t *attempts, size_t count)
{
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count; i++)
            try_it(folder, &attempts[i]);
    }
}

#define REPO "--model-repository", "ROOT/models"

static int setup(void **state)
{
    if (folder_setup(state) != 0)
        return -1;
    (void)folder_write_text(*state, "models/m/1/model.onnx", MODEL);
    (void)folder_write_text(*state, "broken/m/1/model.onnx", "input=nonsense\n");
    (void)folder_write_text(*state, "none/readme", "");
    return 0;
}

static void wrong_settings_leave_nothing_behind(void **state)
{
    static const attempt_t attempts[] = {
        {{REPO}, NULL, false},
        {{"--model-repository", "ROOT/models", "--log-level", "loud"}, "--log-level", false},
        {{NULL}, "--model-repository", false},
        {{"--model-repository", "ROOT/missing"}, "model repository", false},
        {{"--model-repository", "ROOT/none"}, "no model in it", false},
        {{"--model-repository", "ROOT/broken"}, "model m: ", false},
        {{"--model-repository", "ROOT/broken", "--skip-bad-models"}, NULL, false},
        {{REPO, "--engine", "steam"}, "no engine is called 'steam'", false},
        {{REPO, "--engine", "ort", "--ort-library", "ROOT/missing.so"}, "missing.so", false},
        {{REPO, "--worker-program", "ROOT/missing"}, "--worker-program", false},
        {{REPO, "--worker-program", "ROOT/none/readme"}, "cannot be run", false},
        {{REPO, "--device", "abacus"}, "no backend is called 'abacus'", false},
        {{REPO, "--fake-devices", "fake:lots:1"}, "fake:lots:1", false},
        {{REPO, "--device", "cpu", "--reserve-cores", "first"}, "first", false},
        {{REPO, "--planner", "crystal-ball"}, "--planner", false},
        {{REPO, "--workload", "ROOT/missing.csv"}, "missing.csv", false},
        {{REPO, "--profiles", "ROOT/missing.csv"}, "missing.csv", false},
        {{REPO, "--interference", "ROOT/missing.csv"}, "missing.csv", false},
        {{REPO, "--devices", "ROOT/missing.yaml"}, "missing.yaml", false},
        {{REPO, "--store", "ROOT/broken/m/1/model.onnx"}, "store ", false},
        {{REPO, "--address", "no address"}, "cannot listen on no address", false},
        {{REPO, "--address", "192.0.2.1"}, "cannot listen on 192.0.2.1", false},
    };
    try_all(*state, attempts, sizeof(attempts) / sizeof(attempts[0]));
}

static void files_that_name_unknown_models_are_refused(void **state)
{
    static const attempt_t attempts[] = {
        {{REPO, "--workload", "ROOT/w.csv"}, "model 'other' is not in the repository", false}};
    (void)folder_write_text(*state, "w.csv", "model,rate_rps,slo_ms\nm,1,100\nother,1,100\n");
    try_all(*state, attempts, 1);
}

static int listen_somewhere(unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void taken_ports_are_named(void **state)
{
    unsigned port = 0;
    char text[16];
    char error[64];
    int fd = listen_somewhere(&port);
    (void)snprintf(text, sizeof(text), "%u", port);
    (void)snprintf(error, sizeof(error), "cannot listen on 127.0.0.1:%u", port);
    const attempt_t attempts[] = {{{REPO, "--http-port", text}, error, false},
                                  {{REPO, "--metrics-port", text}, error, false}};
    try_all(*state, attempts, 2);
    (void)close(fd);
}

/* A model with a label file of the given bytes. */
static void write_labels(folder_t *folder, const char *text, size_t size)
{
    (void)folder_write_text(folder, "labelled/m/1/model.onnx", MODEL);
    (void)folder_write_text(folder, "labelled/m/config.pbtxt",
                            "output [ { name: \"OUT\" data_type: TYPE_FP32 dims: [ 4 ] "
                            "label_filename: \"labels.txt\" } ]");
    if (text != NULL)
        (void)folder_write(folder, "labelled/m/labels.txt", text, size);
}

static void label_files_are_read_whatever_is_in_them(void **state)
{
    static const attempt_t good = {{"--model-repository", "ROOT/labelled"}, NULL, false};
    static const attempt_t bad = {{"--model-repository", "ROOT/labelled"}, "labels.txt", false};
    static char text[LABELS];
    write_labels(*state, NULL, 0);
    try_it(*state, &bad);
    static const char *const texts[] = {"", "a", "a\n", "a\nb", "a\r\nb\r\n", "\n\n\n", "a\rb\rc"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        write_labels(*state, texts[i], strlen(texts[i]));
        try_it(*state, &good);
    }
    static const char fills[] = {'\0', '\r', '\n', 'x'};
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(text, fills[i], sizeof(text));
        write_labels(*state, text, sizeof(text));
        try_it(*state, &good);
    }
}

#define SHARE_OF(name, instances)                                                                  \
    "{\"model\":\"" name "\",\"batch\":1,\"instances\":" instances                                 \
    ",\"rate_rps\":1,\"capacity_rps\":1,\"latency_ms\":1,\"interference\":1,\"worst_ms\":1}"
#define SHARE(name) SHARE_OF(name, "1")
#define PLAN(device, units, shares)                                                                \
    "{\"planner\":\"elastic\",\"feasible\":true,\"devices_used\":1,\"lower_bound\":null,"          \
    "\"proved_optimal\":false,\"elapsed_ms\":0,\"reason\":null,\"models\":[],\"devices\":[{"       \
    "\"type\":\"" device "\",\"index\":0,\"gpulets\":[{\"units\":" units                           \
    ",\"duty_ms\":1,\"models\":[" shares "]}]}]}"

static void plans_that_cannot_be_served_end_the_run(void **state)
{
    static const struct {
        const char *plan;
        const char *error;
    } cases[] = {
        {"{", "plan.json"},
        {PLAN("fake", "10", SHARE("other")), "model 'other' is not in the repository"},
        {PLAN("fake", "10", SHARE("m") "," SHARE("m")), "model 'm' stands twice"},
        {PLAN("fake", "10", SHARE_OF("m", "2")),
         "model 'm': instances: gpuletd holds a model once"},
        {PLAN("gpu", "10", SHARE("m")), "device gpu 0 is not on this machine"},
        {PLAN("fake", "101", SHARE("m")), ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const attempt_t attempt = {{REPO, "--plan", "ROOT/plan.json"}, cases[i].error, true};
        (void)folder_write_text(*state, "plan.json", cases[i].plan);
        try_it(*state, &attempt);
        try_it(*state, &attempt);
    }
}

static void a_model_that_does_not_load_ends_the_run(void **state)
{
    static const attempt_t attempt = {
        {"--model-repository", "ROOT/unloadable"}, "weights are missing", true};
    (void)folder_write_text(*state, "unloadable/m/1/model.onnx",
                            MODEL "fail_load=weights are missing\n");
    try_it(*state, &attempt);
    try_it(*state, &attempt);
}

static void workers_that_never_start_end_the_run(void **state)
{
    static const attempt_t attempt = {
        {REPO, "--worker-program", "/bin/false"}, "cannot be started", true};
    try_it(*state, &attempt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_settings_leave_nothing_behind),
        cmocka_unit_test(files_that_name_unknown_models_are_refused),
        cmocka_unit_test(taken_ports_are_named),
        cmocka_unit_test(label_files_are_read_whatever_is_in_them),
        cmocka_unit_test(plans_that_cannot_be_served_end_the_run),
        cmocka_unit_test(a_model_that_does_not_load_ends_the_run),
        cmocka_unit_test(workers_that_never_start_end_the_run),
    };
    return cmocka_run_group_tests_name("server.create_fails", tests, setup, folder_teardown);
}
