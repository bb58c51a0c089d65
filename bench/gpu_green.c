/* Green contexts: what a split gives, whether work stays inside, what neighbours feel, and whether
 * the engine's work follows the stream it is given. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gpu_cuda.h"
#include "gpu_facts.h"
#include "gpu_model.h"

enum { GROUPS_MAX = 64, TIMES = 20 };

typedef struct group {
    cu_green_t green;
    cu_stream_t stream;
    unsigned sms;
} group_t;

static void all_sms(cu_resource_t *out, cu_device_t device)
{
    if (!cu_has_green())
        cu_die("this driver has no green contexts");
    CU(device_resource(device, out, CU_RESOURCE_SM));
}

static void group_open(group_t *g, cu_device_t device, cu_resource_t *resource)
{
    cu_resource_desc_t desc = NULL;
    CU(resource_desc(&desc, resource, 1));
    CU(green_create(&g->green, desc, device, CU_GREEN_DEFAULT_STREAM));
    CU(green_stream(&g->stream, g->green, CU_STREAM_NON_BLOCKING, 0));
    g->sms = resource->sm_count;
}

static void group_close(group_t *g)
{
    CU(stream_destroy(g->stream));
    CU(green_destroy(g->green));
}

/* Two groups of one split, as large as may be. */
static void halves(group_t out[2], cu_device_t device)
{
    cu_resource_t all;
    cu_resource_t parts[2];
    cu_resource_t left;
    unsigned count = 2;
    all_sms(&all, device);
    unsigned step = all.sm_alignment > 0 ? all.sm_alignment : 8;
    CU(split(parts, &count, &all, &left, 0, all.sm_count / 2 / step * step));
    if (count != 2)
        cu_die("a split in halves gave %u groups", count);
    group_open(&out[0], device, &parts[0]);
    group_open(&out[1], device, &parts[1]);
}

static double ms_since(uint64_t begun_ns)
{
    return (double)(gpulet_clock_ns() - begun_ns) / 1e6;
}

void facts_green_split(void)
{
    cu_device_t device = cu_open();
    cu_resource_t all;
    cu_primary(device);
    all_sms(&all, device);
    for (unsigned wanted = 1; wanted <= all.sm_count; wanted *= 2) {
        cu_resource_t parts[GROUPS_MAX];
        cu_resource_t left = {0};
        unsigned count = GROUPS_MAX;
        double create_ms = 0;
        double destroy_ms = 0;
        CU(split(parts, &count, &all, &left, 0, wanted));
        if (count == 0) {
            cu_emit("\"wanted_sms\": %u, \"groups\": 0", wanted);
            continue;
        }
        for (int i = 0; i < TIMES; i++) {
            group_t g;
            uint64_t begun_ns = gpulet_clock_ns();
            group_open(&g, device, &parts[0]);
            create_ms += ms_since(begun_ns) / TIMES;
            begun_ns = gpulet_clock_ns();
            group_close(&g);
            destroy_ms += ms_since(begun_ns) / TIMES;
        }
        cu_emit("\"wanted_sms\": %u, \"groups\": %u, \"sms_each\": %u, \"left\": %u, "
                "\"create_ms\": %.4f, \"destroy_ms\": %.4f",
                wanted, count, parts[0].sm_count, left.sm_count, create_ms, destroy_ms);
    }
}

void facts_green_confined(void)
{
    cu_device_t device = cu_open();
    cu_kernels_t kernels;
    group_t g[2];
    cu_sms_t a;
    cu_sms_t b;
    cu_sms_t whole;
    cu_stream_t plain = NULL;
    unsigned both = 0;
    cu_primary(device);
    cu_load_kernels(&kernels);
    halves(g, device);
    CU(stream_create(&plain, CU_STREAM_NON_BLOCKING));
    cu_find_sms(&a, &kernels, g[0].stream);
    cu_find_sms(&b, &kernels, g[1].stream);
    cu_find_sms(&whole, &kernels, plain);
    for (unsigned i = 0; i < CU_SMS_MAX; i++)
        both += a.seen[i] && b.seen[i] ? 1 : 0;
    cu_emit("\"group_sms\": [%u, %u], \"seen\": [%u, %u], \"seen_in_both\": %u, "
            "\"seen_by_primary\": %u",
            g[0].sms, g[1].sms, a.count, b.count, both, whole.count);
}

/* ---- neighbours ---- */

typedef struct neighbour {
    pthread_t thread;
    cu_device_t device;
    const cu_work_t *work;
    cu_stream_t stream;
    atomic_bool stop;
    atomic_uint done;
} neighbour_t;

static void *neighbour_main(void *argument)
{
    neighbour_t *n = argument;
    cu_primary(n->device);
    while (!atomic_load(&n->stop)) {
        for (int i = 0; i < 4; i++)
            cu_work_launch(n->work, n->stream);
        CU(stream_synchronize(n->stream));
        atomic_fetch_add(&n->done, 4);
    }
    return NULL;
}

static double beside(cu_device_t device, const cu_work_t *mine, cu_stream_t stream,
                     const cu_work_t *other, cu_stream_t other_stream)
{
    neighbour_t n = {.device = device, .work = other, .stream = other_stream};
    if (pthread_create(&n.thread, NULL, neighbour_main, &n) != 0)
        cu_die("no thread");
    while (atomic_load(&n.done) == 0)
        continue;
    double ms = cu_work_measure(mine, stream, 0.4);
    atomic_store(&n.stop, true);
    (void)pthread_join(n.thread, NULL);
    return ms;
}

static void isolation_of(cu_device_t device, cu_work_t works[2][2], const char *how, cu_stream_t a,
                         cu_stream_t b)
{
    for (int mine = 0; mine < 2; mine++) {
        double alone_ms = cu_work_measure(&works[0][mine], a, 0.4);
        for (int other = 0; other < 2; other++) {
            double ms = beside(device, &works[0][mine], a, &works[1][other], b);
            cu_emit("\"streams\": \"%s\", \"work\": \"%s\", \"beside\": \"%s\", \"alone_ms\": "
                    "%.4f, \"ms\": %.4f, \"slowdown\": %.3f",
                    how, mine ? "memory" : "compute", other ? "memory" : "compute", alone_ms, ms,
                    ms / alone_ms);
        }
    }
}

void facts_green_isolation(void)
{
    cu_device_t device = cu_open();
    cu_kernels_t kernels;
    cu_work_t works[2][2];
    group_t g[2];
    cu_stream_t plain[2] = {NULL, NULL};
    cu_primary(device);
    cu_load_kernels(&kernels);
    halves(g, device);
    for (int i = 0; i < 2; i++) {
        CU(stream_create(&plain[i], CU_STREAM_NON_BLOCKING));
        cu_work_open(&works[i][0], &kernels, false);
        cu_work_open(&works[i][1], &kernels, true);
    }
    isolation_of(device, works, "green halves", g[0].stream, g[1].stream);
    isolation_of(device, works, "plain", plain[0], plain[1]);
    isolation_of(device, works, "green half beside plain", g[0].stream, plain[0]);
}

/* ---- the engine ---- */

void facts_green_engine(void)
{
    static const char *const names[] = {"lenet", "resnet50"};
    cu_device_t device = cu_open();
    cu_resource_t all;
    gpu_model_t m;
    if (facts.models == NULL)
        cu_die("no models: --models REPOSITORY");
    cu_primary(device);
    all_sms(&all, device);
    gpu_engine_open(&m);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        double load_ms = gpu_model_load(&m, facts.models, names[i], NULL);
        double one_ms = gpu_model_measure(&m, 1, 0.5);
        double many_ms = gpu_model_measure(&m, 16, 0.5);
        cu_emit("\"model\": \"%s\", \"sms\": %u, \"stream\": \"its own\", \"load_ms\": %.1f, "
                "\"batch_1_ms\": %.3f, \"batch_16_ms\": %.3f",
                names[i], all.sm_count, load_ms, one_ms, many_ms);
        gpu_model_unload(&m);
        for (unsigned sms = 8; sms <= all.sm_count; sms *= 2) {
            cu_resource_t part;
            cu_resource_t left;
            unsigned count = 1;
            group_t g;
            CU(split(&part, &count, &all, &left, 0, sms));
            group_open(&g, device, &part);
            load_ms = gpu_model_load(&m, facts.models, names[i], g.stream);
            one_ms = gpu_model_measure(&m, 1, 0.5);
            many_ms = gpu_model_measure(&m, 16, 0.5);
            cu_emit("\"model\": \"%s\", \"sms\": %u, \"stream\": \"green\", \"load_ms\": %.1f, "
                    "\"batch_1_ms\": %.3f, \"batch_16_ms\": %.3f",
                    names[i], g.sms, load_ms, one_ms, many_ms);
            gpu_model_unload(&m);
            group_close(&g);
        }
    }
}
