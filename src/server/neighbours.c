#include "server/neighbours.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/clock.h"
#include "server/traffic.h"

enum {
    TICK_MS = 20,
    LEAD_MS = 5, /* a neighbour that was told to run does so by then */
    CALIBRATE_MS = 150,
    END_MS = 10000,
    RUNS_MIN = 3,
    RUNS_MAX = 20000,
    NEIGHBOUR_RUNS_MAX = 100000,
    TRIES_MAX = 5, /* of a round whose neighbour ended too early */
    BATCH_SECOND = 8,
    BATCHES_MAX = 64,
    LEVELS = 3
};

static const uint32_t levels_percent[LEVELS] = {25, 50, 100};

typedef struct run run_t;

/* One of the two gpu-lets and the worker in it. */
typedef struct party {
    run_t *run;
    gpulet_measurer_t measurer;
    size_t model; /* loaded; SIZE_MAX: none */
} party_t;

typedef struct traffic_kind {
    const char *name;
    uint64_t footprint;
    double bytes_per_s; /* at full speed */
} traffic_kind_t;

enum { TRAFFIC_KINDS = 2 };

struct run {
    const gpulet_neighbours_options_t *options;
    struct event *tick;
    struct event *alarm;
    bool alarmed;
    gpulet_slab_t *slab; /* a worker wants an input segment; made-up inputs do not use it */
    party_t self;
    party_t other;
    gpulet_traffic_t *traffic; /* in other's gpu-let; NULL: none */
    traffic_kind_t kinds[TRAFFIC_KINDS];
    double *ratios; /* of the rounds of a pair */
    bool *broken;   /* by model: could not be loaded in a gpu-let of this split */
    size_t index;
    size_t total;
    size_t done;
};

/* ---- the loop ---- */

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    run_t *run = context;
    (void)fd;
    (void)what;
    gpulet_measurer_check(&run->self.measurer);
    gpulet_measurer_check(&run->other.measurer);
}

static void on_alarm(evutil_socket_t fd, short what, void *context)
{
    (void)fd;
    (void)what;
    ((run_t *)context)->alarmed = true;
}

static void turn(run_t *run)
{
    (void)event_base_loop(run->options->workers.base, EVLOOP_ONCE);
}

static void wait_ms(run_t *run, int ms)
{
    struct timeval after = {0, ms * 1000L};
    run->alarmed = false;
    (void)event_add(run->alarm, &after);
    while (!run->alarmed)
        turn(run);
}

/* ---- workers ---- */

/* Has the worker end by itself where its device minds being left in a hurry: what is measured next
 * would feel it. */
static void end_worker(party_t *p)
{
    gpulet_measurer_t *m = &p->measurer;
    if (m->worker == NULL || m->lost || m->options.backend->detach == NULL)
        return;
    m->stopped = false;
    gpulet_worker_stop(m->worker, END_MS * GPULET_NS_PER_MS);
    while (!m->stopped && !m->lost)
        turn(p->run);
}

static void drop_worker(party_t *p)
{
    end_worker(p);
    gpulet_measurer_drop(&p->measurer);
    p->model = SIZE_MAX;
}

/* What the worker gave as its reason. */
static gpulet_status_t worker_failed(const party_t *p, gpulet_error_t *err)
{
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, "%s", p->measurer.text);
}

static gpulet_status_t start_worker(party_t *p, gpulet_error_t *err)
{
    const gpulet_measurer_t *m = &p->measurer;
    gpulet_status_t st = gpulet_measurer_start(&p->measurer, 0, err);
    while (st == GPULET_OK && !m->ready && !m->lost)
        turn(p->run);
    return st == GPULET_OK && m->lost ? worker_failed(p, err) : st;
}

static gpulet_status_t load(party_t *p, size_t index, gpulet_error_t *err)
{
    const gpulet_measurer_t *m = &p->measurer;
    gpulet_status_t st = gpulet_measurer_load(&p->measurer, (uint32_t)index,
                                              p->run->options->models[index], p->run->slab, err);
    while (st == GPULET_OK && !m->loaded && !m->failed && !m->lost)
        turn(p->run);
    if (st == GPULET_OK && !m->loaded)
        st = worker_failed(p, err);
    if (st == GPULET_OK)
        p->model = index;
    return st;
}

/* A worker that lives and has that model and no other. */
static gpulet_status_t prepare(party_t *p, size_t model, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    gpulet_measurer_t *m = &p->measurer;
    if (m->worker != NULL && m->lost)
        drop_worker(p);
    if (m->worker != NULL && p->model == model)
        return GPULET_OK;
    if (m->worker != NULL && p->model != SIZE_MAX &&
        gpulet_worker_unload(m->worker, (uint32_t)p->model) != GPULET_OK)
        drop_worker(p); /* it takes no orders */
    p->model = SIZE_MAX;
    if (m->worker == NULL)
        st = start_worker(p, err);
    if (st == GPULET_OK)
        st = load(p, model, err);
    if (st != GPULET_OK)
        drop_worker(p);
    return st;
}

static gpulet_status_t begin(party_t *p, uint32_t batch, uint32_t runs_min, uint32_t runs_max,
                             double ms, gpulet_error_t *err)
{
    const gpulet_worker_order_t order = {.model = (uint32_t)p->model,
                                         .batch = batch,
                                         .runs_min = runs_min,
                                         .runs_max = runs_max,
                                         .budget_ns = (uint64_t)(ms * 1e6)};
    return p->measurer.lost ? worker_failed(p, err)
                            : gpulet_measurer_measure(&p->measurer, &order, err);
}

static gpulet_status_t finish(party_t *p, gpulet_error_t *err)
{
    const gpulet_measurer_t *m = &p->measurer;
    while (!m->measured && !m->lost)
        turn(p->run);
    return m->lost || m->failed ? worker_failed(p, err) : GPULET_OK;
}

/* ---- rounds ---- */

/* What stands beside in a pair. */
typedef struct neighbour {
    size_t model;               /* SIZE_MAX: traffic */
    const traffic_kind_t *kind; /* of the traffic */
    uint32_t batch;             /* of the model; or percent of full speed */
} neighbour_t;

typedef struct slices {
    uint32_t batch;
    double wall_ms;  /* how long the last slice of self took in all */
    double moved_mb; /* by the traffic, in the slices beside it … */
    double moved_s;  /* … that took so long together */
} slices_t;

/* The median latency of self's model in one go. */
static gpulet_status_t slice(double *p50_ms, run_t *run, slices_t *s, gpulet_error_t *err)
{
    uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st =
        begin(&run->self, s->batch, RUNS_MIN, RUNS_MAX, run->options->slice_ms, err);
    if (st == GPULET_OK)
        st = finish(&run->self, err);
    if (st != GPULET_OK)
        return st;
    s->wall_ms = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    *p50_ms = (double)run->self.measurer.figures.p50_ns / 1e6;
    return GPULET_OK;
}

static gpulet_status_t beside_traffic(double *p50_ms, run_t *run, slices_t *s, const neighbour_t *n,
                                      gpulet_error_t *err)
{
    double rate = n->kind->bytes_per_s * n->batch / 100.0;
    gpulet_traffic_set(run->traffic, n->kind->footprint,
                       n->batch >= 100 ? UINT64_MAX : (uint64_t)rate);
    wait_ms(run, LEAD_MS);
    uint64_t bytes = gpulet_traffic_bytes(run->traffic);
    uint64_t begun_ns = gpulet_clock_ns();
    gpulet_status_t st = slice(p50_ms, run, s, err);
    s->moved_mb += (double)(gpulet_traffic_bytes(run->traffic) - bytes) / 1e6;
    s->moved_s += (double)(gpulet_clock_ns() - begun_ns) / 1e9;
    gpulet_traffic_set(run->traffic, 0, 0);
    return st == GPULET_OK ? gpulet_traffic_check(run->traffic, err) : st;
}

/* A neighbour of another batch than before first chooses its kernels, on some devices, for longer
 * than a slice: not while it is listened to. */
static gpulet_status_t bring_to_batch(party_t *p, uint32_t batch, gpulet_error_t *err)
{
    gpulet_status_t st = begin(p, batch, 1, 1, 0.0, err);
    return st == GPULET_OK ? finish(p, err) : st;
}

/* Again with more time where the neighbour was through before the slice was. */
static gpulet_status_t beside_model(double *p50_ms, run_t *run, slices_t *s, const neighbour_t *n,
                                    gpulet_error_t *err)
{
    double ms = 1.5 * s->wall_ms + 2.0 * LEAD_MS;
    for (int i = 0; i < TRIES_MAX; i++) {
        gpulet_status_t st = begin(&run->other, n->batch, 1, NEIGHBOUR_RUNS_MAX, ms, err);
        if (st != GPULET_OK)
            return st;
        wait_ms(run, LEAD_MS);
        st = slice(p50_ms, run, s, err);
        bool whole = !run->other.measurer.measured;
        gpulet_status_t ended = finish(&run->other, err);
        if (st != GPULET_OK || ended != GPULET_OK)
            return st != GPULET_OK ? st : ended;
        if (whole)
            return GPULET_OK;
        ms *= 2.0;
    }
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, "the neighbour never ran as long as it did");
}

static int compare_f64(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static gpulet_status_t measure_rounds(gpulet_pair_t *pair, run_t *run, const neighbour_t *n,
                                      gpulet_error_t *err)
{
    uint32_t rounds = run->options->rounds;
    slices_t s = {.batch = pair->self.batch};
    double before_ms = 0.0;
    gpulet_status_t st = n->kind == NULL ? bring_to_batch(&run->other, n->batch, err) : GPULET_OK;
    if (st == GPULET_OK)
        st = slice(&before_ms, run, &s, err); /* the caches fill */
    if (st == GPULET_OK)
        st = slice(&before_ms, run, &s, err);
    for (uint32_t i = 0; st == GPULET_OK && i < rounds; i++) {
        double beside_ms = 0.0;
        double after_ms = 0.0;
        st = n->kind != NULL ? beside_traffic(&beside_ms, run, &s, n, err)
                             : beside_model(&beside_ms, run, &s, n, err);
        if (st == GPULET_OK)
            st = slice(&after_ms, run, &s, err);
        if (st == GPULET_OK && !(before_ms + after_ms > 0.0 && beside_ms > 0.0))
            st = gpulet_fail(err, GPULET_E_UNAVAILABLE, "its latency is too short for the clock");
        run->ratios[i] = beside_ms / (0.5 * (before_ms + after_ms));
        before_ms = after_ms;
    }
    if (st != GPULET_OK)
        return st;
    qsort(run->ratios, rounds, sizeof(*run->ratios), compare_f64);
    pair->slowdown = 0.5 * (run->ratios[(rounds - 1) / 2] + run->ratios[rounds / 2]);
    pair->slowdown_p10 = run->ratios[(rounds - 1) / 10];
    pair->slowdown_p90 = run->ratios[rounds - 1 - (rounds - 1) / 10];
    pair->traffic_mb_s = s.moved_s > 0.0 ? s.moved_mb / s.moved_s : NAN;
    return GPULET_OK;
}

/* ---- pairs ---- */

static void problem(const run_t *run, const char *model, uint32_t units, const char *text)
{
    run->options->on_problem(run->options->context, model, units, text);
}

/* What cannot be loaded is told once and left out of all other pairs. */
static bool ready(run_t *run, party_t *party, size_t model)
{
    gpulet_error_t err = {""};
    if (run->broken[model])
        return false;
    if (prepare(party, model, &err) == GPULET_OK)
        return true;
    run->broken[model] = true;
    problem(run, run->options->models[model]->key, party->measurer.units, err.text);
    return false;
}

/* What is known is skipped, and so is what fails. */
static void do_pair(run_t *run, size_t model, uint32_t batch, const neighbour_t *n)
{
    const gpulet_neighbours_options_t *o = run->options;
    const gpulet_repository_model_t *self = o->models[model];
    const gpulet_repository_model_t *other = n->kind == NULL ? o->models[n->model] : NULL;
    const char *other_name = other != NULL ? other->key : n->kind->name;
    gpulet_error_t err = {""};
    gpulet_pair_t pair = {.self = {.units = run->self.measurer.units, .batch = batch},
                          .other = {.units = run->other.measurer.units, .batch = n->batch},
                          .traffic_mb_s = NAN};
    (void)snprintf(pair.device, sizeof(pair.device), "%s", o->device_type);
    (void)snprintf(pair.self.model, sizeof(pair.self.model), "%s", self->key);
    (void)snprintf(pair.other.model, sizeof(pair.other.model), "%s", other_name);
    run->index++;
    if (o->is_known != NULL && o->is_known(o->context, &pair)) {
        run->done++;
        return;
    }
    if (!ready(run, &run->self, model) || (other != NULL && !ready(run, &run->other, n->model)))
        return;
    if (measure_rounds(&pair, run, n, &err) != GPULET_OK) {
        gpulet_error_prefix(&err, "beside %s", other_name);
        problem(run, self->key, run->self.measurer.units, err.text);
        return;
    }
    run->done++;
    const gpulet_neighbours_row_t row = {&pair, self, other, run->index, run->total};
    o->on_pair(o->context, &row);
}

/* The batches to measure of a model; out has room for BATCHES_MAX. */
static size_t batches_of(uint32_t *out, const run_t *run, size_t model)
{
    const gpulet_neighbours_options_t *o = run->options;
    const gpulet_model_config_t *config = &o->models[model]->config;
    uint32_t limit = config->max_batch_size > 0 ? (uint32_t)config->max_batch_size : 1;
    size_t count = 0;
    for (size_t i = 0; i < o->batches_count && count < BATCHES_MAX; i++) {
        if (o->batches[i] <= limit)
            out[count++] = o->batches[i];
    }
    if (o->batches_count > 0)
        return count;
    out[count++] = 1;
    if (limit > 1)
        out[count++] = limit < BATCH_SECOND ? limit : BATCH_SECOND;
    return count;
}

static void beside_all_traffic(run_t *run, size_t model, const uint32_t *batches, size_t count)
{
    for (size_t b = 0; run->traffic != NULL && b < count; b++) {
        for (int k = 0; k < TRAFFIC_KINDS; k++) {
            for (int l = 0; l < LEVELS; l++) {
                const neighbour_t n = {SIZE_MAX, &run->kinds[k], levels_percent[l]};
                do_pair(run, model, batches[b], &n);
            }
        }
    }
}

static void beside_all(run_t *run, size_t model)
{
    uint32_t own[BATCHES_MAX];
    size_t own_count = batches_of(own, run, model);
    beside_all_traffic(run, model, own, own_count);
    for (size_t j = 0; j < run->options->models_count; j++) {
        uint32_t theirs[BATCHES_MAX];
        size_t theirs_count = batches_of(theirs, run, j);
        for (size_t b = 0; b < own_count; b++) {
            for (size_t c = 0; c < theirs_count; c++) {
                const neighbour_t n = {j, NULL, theirs[c]};
                do_pair(run, model, own[b], &n);
            }
        }
    }
}

/* ---- sizes ---- */

static void add_split(gpulet_neighbours_split_t *out, size_t *count, uint32_t self, uint32_t other)
{
    for (size_t i = 0; i < *count; i++) {
        if (out[i].self == self && out[i].other == other)
            return;
    }
    out[(*count)++] = (gpulet_neighbours_split_t){self, other};
}

size_t gpulet_neighbours_splits(gpulet_neighbours_split_t *out, const uint32_t *sizes,
                                size_t sizes_count, uint32_t units_total)
{
    size_t count = 0;
    for (size_t i = 0; i < sizes_count; i++) {
        for (size_t k = sizes_count; k > 0; k--) {
            if ((uint64_t)sizes[i] + sizes[k - 1] > units_total)
                continue;
            add_split(out, &count, sizes[i], sizes[k - 1]);
            add_split(out, &count, sizes[k - 1], sizes[i]);
            break;
        }
    }
    return count;
}

static void calibrate(run_t *run, traffic_kind_t *kind, const char *name, uint64_t footprint)
{
    const gpulet_neighbours_options_t *o = run->options;
    *kind = (traffic_kind_t){name, footprint, 0.0};
    gpulet_traffic_set(run->traffic, footprint, UINT64_MAX);
    wait_ms(run, CALIBRATE_MS); /* the block's pages come into being */
    uint64_t bytes = gpulet_traffic_bytes(run->traffic);
    uint64_t begun_ns = gpulet_clock_ns();
    wait_ms(run, CALIBRATE_MS);
    kind->bytes_per_s = (double)(gpulet_traffic_bytes(run->traffic) - bytes) /
                        ((double)(gpulet_clock_ns() - begun_ns) / 1e9);
    gpulet_traffic_set(run->traffic, 0, 0);
    if (o->on_traffic != NULL)
        o->on_traffic(o->context, name, run->other.measurer.units, footprint,
                      kind->bytes_per_s / 1e6);
}

/* Without it models are still measured beside one another. */
static void start_traffic(run_t *run)
{
    const gpulet_neighbours_options_t *o = run->options;
    char grant[GPULET_GRANT_MAX + 1];
    gpulet_error_t err = {"the gpu-let has too many units for a text"};
    gpulet_status_t st =
        o->workers.backend->grant(grant, sizeof(grant), run->other.measurer.partition);
    if (st == GPULET_OK)
        st = gpulet_traffic_start(&run->traffic, o->workers.backend, grant,
                                  gpulet_traffic_memory_bytes(), &err);
    if (st != GPULET_OK) {
        problem(run, "@traffic", run->other.measurer.units, err.text);
        return;
    }
    calibrate(run, &run->kinds[0], GPULET_TRAFFIC_CACHE, gpulet_traffic_cache_bytes());
    calibrate(run, &run->kinds[1], GPULET_TRAFFIC_MEMORY, gpulet_traffic_memory_bytes());
}

static void close_split(run_t *run)
{
    gpulet_traffic_stop(run->traffic);
    run->traffic = NULL;
    drop_worker(&run->self);
    drop_worker(&run->other);
    gpulet_measurer_release(&run->self.measurer);
    gpulet_measurer_release(&run->other.measurer);
}

static gpulet_status_t do_split(run_t *run, const gpulet_neighbours_split_t *split,
                                gpulet_error_t *err)
{
    memset(run->broken, 0, run->options->models_count * sizeof(*run->broken));
    gpulet_status_t st = gpulet_measurer_carve(&run->self.measurer, split->self, false, err);
    if (st == GPULET_OK)
        st = gpulet_measurer_carve(&run->other.measurer, split->other, false, err);
    if (st == GPULET_OK && run->options->traffic)
        start_traffic(run);
    for (size_t i = 0; st == GPULET_OK && i < run->options->models_count; i++)
        beside_all(run, i);
    close_split(run);
    return st;
}

static size_t count_pairs(const run_t *run, size_t splits)
{
    uint32_t batches[BATCHES_MAX];
    size_t sides = 0;
    for (size_t i = 0; i < run->options->models_count; i++)
        sides += batches_of(batches, run, i);
    return splits * sides * (sides + (run->options->traffic ? TRAFFIC_KINDS * LEVELS : 0));
}

static gpulet_status_t run_init(run_t *run, gpulet_error_t *err)
{
    const gpulet_neighbours_options_t *o = run->options;
    struct timeval period = {0, TICK_MS * 1000L};
    run->self = (party_t){.run = run, .model = SIZE_MAX};
    run->other = (party_t){.run = run, .model = SIZE_MAX};
    gpulet_measurer_init(&run->self.measurer, &o->workers, "self");
    gpulet_measurer_init(&run->other.measurer, &o->workers, "neighbour");
    run->tick = event_new(o->workers.base, -1, EV_PERSIST, on_tick, run);
    run->alarm = event_new(o->workers.base, -1, 0, on_alarm, run);
    run->ratios = calloc(o->rounds, sizeof(*run->ratios));
    run->broken = calloc(o->models_count, sizeof(*run->broken));
    if (run->tick == NULL || run->alarm == NULL || run->ratios == NULL || run->broken == NULL ||
        event_add(run->tick, &period) != 0)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    return gpulet_measurer_slab(&run->slab, "neighbours", err);
}

gpulet_status_t gpulet_neighbours_check(const uint32_t *sizes, size_t sizes_count,
                                        uint32_t units_total, const char *device_type,
                                        gpulet_error_t *err)
{
    /* The smallest beside itself fits, or nothing does. */
    if (sizes_count > 0 && (uint64_t)2 * sizes[0] <= units_total)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                       "interference needs two gpu-lets at once: the device %s has %u unit%s, and "
                       "no two of the sizes to measure fit",
                       device_type, units_total, units_total == 1 ? "" : "s");
}

gpulet_status_t gpulet_neighbours_run(const gpulet_neighbours_options_t *options,
                                      gpulet_error_t *err)
{
    run_t run = {.options = options};
    assert(options->rounds > 0 && options->models_count > 0);
    gpulet_status_t st = gpulet_neighbours_check(options->sizes, options->sizes_count,
                                                 options->units_total, options->device_type, err);
    if (st != GPULET_OK)
        return st;
    gpulet_neighbours_split_t *splits = calloc(2 * options->sizes_count, sizeof(*splits));
    if (splits == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    size_t count = gpulet_neighbours_splits(splits, options->sizes, options->sizes_count,
                                            options->units_total);
    st = run_init(&run, err);
    run.total = count_pairs(&run, count);
    for (size_t i = 0; st == GPULET_OK && i < count; i++)
        st = do_split(&run, &splits[i], err);
    if (st == GPULET_OK && run.done == 0)
        st = gpulet_fail(err, GPULET_E_UNAVAILABLE, "no pair could be measured");
    if (run.tick != NULL)
        event_free(run.tick);
    if (run.alarm != NULL)
        event_free(run.alarm);
    gpulet_slab_destroy(run.slab);
    free(run.ratios);
    free(run.broken);
    free(splits);
    return st;
}
