/* What a decision of the brain costs: 200 models, 100 lanes of four models each, queues kept deep,
 * virtual time. Prints one line of JSON: nanoseconds of on_request and on_batch_done (p50, p99) and
 * actions a second. Argument: how many requests (default 400,000). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hist.h"
#include "base/rng.h"
#include "sched/sched.h"

enum { MODELS = 200, LANES = 100, PER_LANE = 4, PENDING_MAX = 2 * LANES };

typedef struct pending {
    uint64_t batch, done_ns, exec_ns;
    uint32_t lane;
} pending_t;

typedef struct bench {
    gpulet_sched_t *sched;
    pending_t pending[PENDING_MAX];
    uint32_t pending_count;
    uint64_t lane_end[LANES];
    uint64_t now_ns, actions, replies;
    gpulet_hist_t request, done;
} bench_t;

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void apply(bench_t *b, gpulet_actions_t actions)
{
    for (size_t i = 0; i < actions.count; i++) {
        const gpulet_action_t *a = &actions.items[i];
        b->actions++;
        b->replies += a->kind == GPULET_ACTION_REPLY;
        if (a->kind != GPULET_ACTION_RUN)
            continue;
        uint64_t start =
            b->lane_end[a->u.run.lane] > b->now_ns ? b->lane_end[a->u.run.lane] : b->now_ns;
        uint64_t exec = 1000000 + 400000ULL * a->u.run.items;
        b->lane_end[a->u.run.lane] = start + exec;
        b->pending[b->pending_count++] =
            (pending_t){a->u.run.batch, start + exec, exec, a->u.run.lane};
    }
}

/* Ends every batch that is due. */
static void advance(bench_t *b, uint64_t now_ns)
{
    for (;;) {
        uint32_t first = 0;
        for (uint32_t i = 1; i < b->pending_count; i++)
            first = b->pending[i].done_ns < b->pending[first].done_ns ? i : first;
        if (b->pending_count == 0 || b->pending[first].done_ns > now_ns)
            break;
        pending_t p = b->pending[first];
        b->pending[first] = b->pending[--b->pending_count];
        b->now_ns = p.done_ns;
        uint64_t before = clock_ns();
        gpulet_actions_t actions =
            gpulet_sched_on_batch_done(b->sched, p.done_ns, p.batch, p.exec_ns, GPULET_OK);
        gpulet_hist_record(&b->done, clock_ns() - before);
        apply(b, actions);
    }
    b->now_ns = now_ns;
}

static void set_up(bench_t *b)
{
    static uint64_t exec[32];
    for (uint32_t i = 0; i < 32; i++)
        exec[i] = 1000000 + 400000ULL * (i + 1);
    if (gpulet_sched_create(&b->sched, NULL) != GPULET_OK)
        abort();
    for (uint32_t m = 0; m < MODELS; m++) {
        gpulet_sched_model_t value = {.slo_ns = 200000000, .batch_max = 32};
        if (gpulet_sched_model_set(b->sched, m, &value) != GPULET_OK)
            abort();
    }
    for (uint32_t l = 0; l < LANES; l++) {
        gpulet_sched_service_t services[PER_LANE];
        for (uint32_t i = 0; i < PER_LANE; i++)
            services[i] = (gpulet_sched_service_t){(l * 2 + i) % MODELS, 8, 100, exec, 32};
        gpulet_sched_lane_t lane = {50, PER_LANE, services};
        gpulet_actions_t actions;
        if (gpulet_sched_lane_add(b->sched, 1, l, &lane, &actions) != GPULET_OK)
            abort();
    }
}

int main(int argc, char **argv)
{
    static bench_t b;
    uint64_t requests = argc > 1 ? strtoull(argv[1], NULL, 0) : 400000;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 1);
    set_up(&b);
    double now = 2, gap = 1e9 / 300000.0; /* About one and a half times what the lanes can do. */
    uint64_t begin = clock_ns();
    for (uint64_t i = 0; i < requests; i++) {
        now += gpulet_rng_exponential(&rng, gap);
        advance(&b, (uint64_t)now);
        gpulet_sched_request_t r = {.id = i,
                                    .model = (uint32_t)gpulet_rng_below(&rng, MODELS),
                                    .items = 1,
                                    .arrival_ns = (uint64_t)now};
        gpulet_ticket_t ticket;
        uint64_t before = clock_ns();
        gpulet_actions_t actions = gpulet_sched_on_request(b.sched, (uint64_t)now, &r, &ticket);
        gpulet_hist_record(&b.request, clock_ns() - before);
        apply(&b, actions);
    }
    double seconds = (double)(clock_ns() - begin) / 1e9;
    printf("{\"bench\":\"sched\",\"requests\":%llu,\"replies\":%llu,\"request_p50_ns\":%llu,"
           "\"request_p99_ns\":%llu,\"done_p50_ns\":%llu,"
           "\"done_p99_ns\":%llu,\"requests_per_s\":%.0f}\n",
           (unsigned long long)requests, (unsigned long long)b.replies,
           (unsigned long long)gpulet_hist_quantile(&b.request, 0.5),
           (unsigned long long)gpulet_hist_quantile(&b.request, 0.99),
           (unsigned long long)gpulet_hist_quantile(&b.done, 0.5),
           (unsigned long long)gpulet_hist_quantile(&b.done, 0.99), (double)requests / seconds);
    gpulet_sched_destroy(b.sched);
    return 0;
}
