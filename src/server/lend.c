/* Lending: a gpu-let has the use of units that a neighbour leaves idle, and loses it the moment the
 * neighbour wants them (the idea of LithOS, SOSP'25, at the grain of threads).
 *
 * The borrower's worker holds a second copy of its heavy models whose pool threads run at idle
 * priority (engine.h, yielding). They are put on the lender's cores: whatever the lender runs there
 * preempts them at once, by the kernel, so a lender need not be asked and hardly notices. What can
 * suffer is the borrower, whose batch waits for a thread that is kept off: therefore only units of
 * a neighbour that is mostly idle and whose runs are short beside the borrower's objective are
 * used, and when the neighbour gets busy further batches run without. A loan stands as long as the
 * lender is idle, whether it is used or not: begun only when the borrower is busy it would come
 * after the first run of every burst. Whoever gets busy and finds no lender takes over the loan of
 * one that is not.
 * Copies share the weights of a prepared model (prepared.c) and are loaded from there only. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/gpulets.h"

enum {
    HEAVY_MS = 3,     /* a model whose single item takes less gains nothing by more threads */
    LENDERS_MAX = 64, /* of one borrower */
    WIDEN_TICKS = 10, /* every second */
    TRIAL_MS = 3000,  /* after which lent units must have shown that they are of use, */
    TRIAL_RUNS = 8,   /* in so many runs at least */
    KEEP_MS = 10000,  /* for which a loan is kept although there would be more */
    PAUSE_S = 10,     /* else they are not asked for again so soon; doubled each time */
    PAUSE_DOUBLINGS_MAX = 6,
    SPEED_SHIFT = 16 /* of the lent units in the brain's name for a speed */
};
static const double load_window_ns = 3e8;
static const double busy_from = 0.5; /* from this load on the loans of others are taken over, … */
static const double busy_until = 0.1;  /* … if their load is below this */
static const double idle_below = 0.25; /* below this load they are lent */
static const double idle_until = 0.5;
static const double run_share = 0.1; /* of the borrower's objective that a lender's run may take */
static const double useful_below = 0.9; /* of the time without */

static void load_update(server_gpulet_t *g, uint64_t now_ns)
{
    double passed_ns = (double)(now_ns - g->load_at_ns);
    if (g->load_at_ns == 0 || passed_ns <= 0) {
        g->load_at_ns = now_ns;
        return;
    }
    double busy = (double)(g->busy_ns - g->load_busy_ns) / passed_ns;
    g->load += (busy - g->load) * (1 - exp(-passed_ns / load_window_ns));
    g->load_busy_ns = g->busy_ns;
    g->load_at_ns = now_ns;
}

static bool is_serving(const server_gpulet_t *g)
{
    return g->state == SERVER_GPULET_SERVING && g->lane != SERVER_LANE_NONE && !g->lost &&
           !g->retired && g->worker != NULL && !g->overlaps;
}

/* The longest that a planned batch of the gpu-let is believed to take. */
static uint64_t longest_run_ns(const server_gpulet_t *g)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < g->services_count; i++) {
        uint64_t ns = gpulet_sched_estimate_ns(g->server->sched, g->lane, g->services[i].model,
                                               g->services[i].batch);
        most = ns > most ? ns : most;
    }
    return most;
}

/* The nearest objective among its models; models without one do not count. */
static double objective_ms(const server_gpulet_t *g)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < g->services_count; i++) {
        double slo_ms = g->server->models[g->services[i].model].slo_ms;
        if (slo_ms > 0 && slo_ms < least)
            least = slo_ms;
    }
    return least;
}

static bool is_heavy(const server_gpulet_t *g, const server_service_t *service)
{
    return service->loaded && gpulet_sched_estimate_ns(g->server->sched, g->lane, service->model,
                                                       1) >= HEAVY_MS * GPULET_NS_PER_MS;
}

static void back_off(server_gpulet_t *g)
{
    uint32_t doublings =
        g->lend_failures < PAUSE_DOUBLINGS_MAX ? g->lend_failures : PAUSE_DOUBLINGS_MAX;
    g->lend_after_ns = gpulet_clock_ns() + ((uint64_t)PAUSE_S * GPULET_NS_PER_S << doublings);
    g->lend_failures++;
}

/* ---- giving and taking ---- */

/* What the profile lets one expect of lent units: its lender may have them for as much of the time
 * as a lender's load goes, and a batch then has the speed of the borrower's own units. */
static uint64_t lent_ns(uint64_t narrow_ns, uint64_t wide_ns)
{
    if (wide_ns == 0 || wide_ns >= narrow_ns)
        return narrow_ns;
    return (uint64_t)(1 / ((1 - idle_below) / (double)wide_ns + idle_below / (double)narrow_ns));
}

/* The times of a service's batches. Those of a model without a copy are as on its own units, and so
 * are all until runs have shown better when nothing is known of so many units. Caller frees. */
static uint64_t *exec_table(const server_gpulet_t *g, const server_service_t *service,
                            uint32_t *count)
{
    const server_model_t *model = &g->server->models[service->model];
    const char *device = g->server->devices[g->device].desc.type;
    uint64_t *table = server_planning_exec_table(g->server, model, device, g->units, count);
    if (g->borrowed_units == 0 || !service->widened || table == NULL)
        return table;
    uint32_t wide_count = 0;
    uint64_t *wide = server_planning_exec_table(g->server, model, device,
                                                g->units + g->borrowed_units, &wide_count);
    for (uint32_t i = 0; i < *count && i < wide_count; i++)
        table[i] = lent_ns(table[i], wide[i]);
    free(wide);
    return table;
}

/* The brain keeps what it learns at each speed apart. */
static void tell_brain(server_gpulet_t *g, uint64_t now_ns)
{
    gpulet_server_t *server = g->server;
    gpulet_sched_service_t services[GPULET_WIRE_REQUESTS_MAX];
    uint32_t count = 0;
    gpulet_actions_t actions = {NULL, 0};
    for (uint32_t i = 0; i < g->services_count && count < GPULET_WIRE_REQUESTS_MAX; i++) {
        gpulet_sched_service_t *s = &services[count];
        if (!g->services[i].loaded)
            continue;
        *s = (gpulet_sched_service_t){.model = g->services[i].model};
        s->exec_ns = exec_table(g, &g->services[i], &s->exec_count);
        count++;
    }
    const gpulet_sched_lane_t value = {.units = g->units | g->borrowed_units << SPEED_SHIFT,
                                       .services_count = count,
                                       .services = services};
    gpulet_status_t st = gpulet_sched_lane_resize(server->sched, now_ns, g->lane, &value, &actions);
    for (uint32_t i = 0; i < count; i++)
        free((void *)(uintptr_t)services[i].exec_ns);
    if (st == GPULET_OK)
        server_brain_apply(server, actions);
}

/* No further batch uses lent cores. One that runs keeps its threads where they are: on the
 * borrower's own core they would yield to the very thread that waits for them. */
static void take_back(server_gpulet_t *g, uint64_t now_ns, const char *why)
{
    if (g->borrowed_units == 0)
        return;
    g->borrowed_units = 0;
    for (server_gpulet_t *other = g->server->gpulets; other != NULL; other = other->next) {
        if (other->borrower == g)
            other->borrower = NULL;
    }
    if (g->lane != SERVER_LANE_NONE) /* also of one that is to go: it may be kept after all */
        tell_brain(g, now_ns);
    if (g->worker == NULL || g->lost)
        return;
    gpulet_worker_set_wide(g->worker, false);
    GPULET_LOG(INFO, "event=taken_back gpulet=%s reason=%s", g->name, why);
}

void server_lend_end(server_gpulet_t *g, uint64_t now_ns)
{
    if (g->borrower != NULL)
        take_back(g->borrower, now_ns, "lender_gone");
    take_back(g, now_ns, "gone");
}

/* Its units are idle, and what it runs does not keep b's batches waiting for long. */
static bool may_lend(const server_gpulet_t *g, const server_gpulet_t *b)
{
    return g != b && g->device == b->device && is_serving(g) && g->load < idle_below &&
           (double)longest_run_ns(g) <= run_share * objective_ms(b) * 1e6;
}

/* Those who may lend to b and lend to nobody else; *units gets the sum. */
static size_t find_lenders(server_gpulet_t *lenders[LENDERS_MAX], uint32_t *units,
                           const server_gpulet_t *b)
{
    size_t count = 0;
    *units = 0;
    for (server_gpulet_t *g = b->server->gpulets; g != NULL && count < LENDERS_MAX; g = g->next) {
        if (!may_lend(g, b) || g->borrowed_units > 0 || (g->borrower != NULL && g->borrower != b))
            continue;
        lenders[count++] = g;
        *units += g->units;
    }
    return count;
}

/* Keeps as many of the lenders, in their order, as have just so many units; 0 when none do. */
static size_t fit(server_gpulet_t *lenders[LENDERS_MAX], size_t count, uint32_t wanted)
{
    size_t kept = 0;
    uint32_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (sum + lenders[i]->units > wanted)
            continue;
        sum += lenders[i]->units;
        lenders[kept++] = lenders[i];
    }
    return sum == wanted ? kept : 0;
}

/* What a copy of the service's model is loaded from; false when there is to be none: it is light,
 * or not prepared yet. `prepared` is what value->prepared may point to. */
static bool copy_of(gpulet_worker_model_t *value, char prepared[GPULET_ENGINE_PREPARED_PATH_MAX],
                    const server_gpulet_t *g, const server_service_t *service)
{
    gpulet_server_t *server = g->server;
    const gpulet_engine_ops_t *ops = gpulet_engine_find(server->settings.engine);
    server_model_t *model = &server->models[service->model];
    if (!is_heavy(g, service))
        return false;
    *value = (gpulet_worker_model_t){
        .model = model->id,
        .name = model->entry->key,
        .path = model->entry->path,
        .prepared = server_prepared_find(prepared, GPULET_ENGINE_PREPARED_PATH_MAX, server, model)};
    return value->prepared != NULL || ops->prepare == NULL;
}

/* It has, or could have, copies that run on lent units. */
static bool can_use_a_loan(const server_gpulet_t *g)
{
    gpulet_worker_model_t value;
    char prepared[GPULET_ENGINE_PREPARED_PATH_MAX];
    for (uint32_t i = 0; i < g->services_count; i++) {
        if (copy_of(&value, prepared, g, &g->services[i]))
            return true;
    }
    return false;
}

/* Copies of the heavy models for so many units; false when none is asked for. */
static bool widen(server_gpulet_t *g, uint32_t units)
{
    g->wide_units = units;
    for (uint32_t i = 0; i < g->services_count; i++) {
        gpulet_worker_model_t value;
        char prepared[GPULET_ENGINE_PREPARED_PATH_MAX];
        if (!copy_of(&value, prepared, g, &g->services[i]))
            continue;
        if (gpulet_worker_widen(g->worker, &value, units, units) != GPULET_OK)
            continue;
        g->services[i].widen_asked = true;
        g->widen_pending++;
    }
    return g->widen_pending > 0;
}

void server_lend_widened(server_gpulet_t *g, uint32_t model, gpulet_status_t status,
                         const char *text)
{
    if (g->widen_pending > 0)
        g->widen_pending--;
    server_service_t *service = server_gpulet_service(g, model);
    if (service != NULL) {
        service->widened = status == GPULET_OK;
        service->widen_asked = false;
    }
    if (status == GPULET_OK)
        return;
    g->wide_units = 0;
    GPULET_LOG(WARNING, "event=widen_failed gpulet=%s model=%s reason=\"%s\"", g->name,
               g->server->models[model].entry->key, text);
    back_off(g);
}

static void begin_trial(server_gpulet_t *g, uint64_t now_ns)
{
    g->trial_since_ns = now_ns;
    g->trial_runs = 0;
    g->trial_ns = g->trial_narrow_ns = 0;
}

/* Heavy models gain little by larger batches on a CPU: so many items, so many times as long. */
void server_lend_ran(server_gpulet_t *g, const gpulet_worker_result_t *result)
{
    const server_service_t *service = server_gpulet_service(g, result->model);
    if (g->borrowed_units == 0 || service == NULL || !service->widened)
        return;
    g->trial_runs++;
    g->trial_ns += (double)result->exec_ns;
    g->trial_narrow_ns += (double)result->items * (double)service->narrow_ns;
}

static void borrow(server_gpulet_t *g, server_gpulet_t *const *lenders, size_t count,
                   uint64_t now_ns)
{
    gpulet_server_t *server = g->server;
    const gpulet_partition_t *partitions[LENDERS_MAX];
    gpulet_error_t err = {""};
    uint32_t units = 0;
    for (size_t i = 0; i < count; i++) {
        partitions[i] = lenders[i]->partition;
        units += lenders[i]->units;
    }
    if (server->backend->lend(gpulet_worker_pid(g->worker), g->partition, partitions, count,
                              &err) != GPULET_OK) {
        GPULET_LOG(WARNING, "event=lend_failed gpulet=%s reason=\"%s\"", g->name, err.text);
        back_off(g);
        return;
    }
    for (size_t i = 0; i < count; i++)
        lenders[i]->borrower = g;
    for (uint32_t i = 0; i < g->services_count; i++)
        g->services[i].narrow_ns =
            gpulet_sched_estimate_ns(server->sched, g->lane, g->services[i].model, 1);
    g->borrowed_units = units;
    g->borrowed_since_ns = now_ns;
    begin_trial(g, now_ns);
    gpulet_worker_set_wide(g->worker, true);
    GPULET_LOG(INFO, "event=lent gpulet=%s units=%u lenders=%zu", g->name, units, count);
    tell_brain(g, now_ns);
}

/* ---- every tick ---- */

static void check_loan(server_gpulet_t *g, uint64_t now_ns)
{
    if (!is_serving(g) || g->server->switching) {
        take_back(g, now_ns, "plan");
        return;
    }
    for (const server_gpulet_t *other = g->server->gpulets; other != NULL; other = other->next) {
        if (other->borrower == g && (!is_serving(other) || other->load >= idle_until)) {
            take_back(g, now_ns, "lender_busy");
            return;
        }
    }
    if (now_ns - g->trial_since_ns <= TRIAL_MS * GPULET_NS_PER_MS || g->trial_runs < TRIAL_RUNS)
        return;
    if (g->trial_ns > useful_below * g->trial_narrow_ns) {
        back_off(g);
        take_back(g, now_ns, "no_use");
        return;
    }
    g->lend_failures = 0;
    begin_trial(g, now_ns);
}

static bool may_borrow(const server_gpulet_t *g, uint64_t now_ns)
{
    return is_serving(g) && g->borrowed_units == 0 && g->borrower == NULL &&
           g->widen_pending == 0 && now_ns >= g->lend_after_ns;
}

static server_gpulet_t *busiest(gpulet_server_t *server, uint64_t now_ns)
{
    server_gpulet_t *found = NULL;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (may_borrow(g, now_ns) && g->load >= busy_from &&
            (found == NULL || g->load > found->load) && can_use_a_loan(g))
            found = g;
    }
    return found;
}

/* With the copies that are there. */
static bool borrow_as_loaded(server_gpulet_t *g, uint64_t now_ns)
{
    server_gpulet_t *lenders[LENDERS_MAX];
    uint32_t units = 0;
    if (g->wide_units <= g->units)
        return false;
    size_t count = find_lenders(lenders, &units, g);
    count = fit(lenders, count, g->wide_units - g->units);
    if (count > 0)
        borrow(g, lenders, count, now_ns);
    return count > 0;
}

/* Who hardly uses a loan gives it up when b could have it, or could have the borrower's units. */
static void take_over(const server_gpulet_t *b, uint64_t now_ns)
{
    for (server_gpulet_t *g = b->server->gpulets; g != NULL; g = g->next) {
        if (g->borrower != NULL && g->borrower->load < busy_until &&
            (may_lend(g, b) || may_lend(g->borrower, b)))
            take_back(g->borrower, now_ns, "wanted");
    }
}

/* Copies for all that may be lent to g, unless it has them. */
static void widen_to_lenders(server_gpulet_t *g)
{
    server_gpulet_t *lenders[LENDERS_MAX];
    uint32_t units = 0;
    if (find_lenders(lenders, &units, g) > 0 && g->wide_units != g->units + units &&
        !widen(g, g->units + units))
        g->wide_units = 0; /* Perhaps its models are prepared later. */
}

/* It has had the loan for a while, and there is more to be had. */
static bool outgrown(const server_gpulet_t *g, uint64_t now_ns)
{
    server_gpulet_t *lenders[LENDERS_MAX];
    uint32_t units = 0;
    return g->borrowed_units > 0 && now_ns - g->borrowed_since_ns > KEEP_MS * GPULET_NS_PER_MS &&
           find_lenders(lenders, &units, g) > 0 && units > g->borrowed_units;
}

/* Its copies are for the units it had: others are loaded. */
static void give_up_for_more(server_gpulet_t *g, uint64_t now_ns)
{
    take_back(g, now_ns, "more");
    g->wide_units = 0;
}

/* Copies are loaded for what may be lent, whoever is busy meanwhile: a prepared model is loaded in
 * a moment, and its worker goes on with batches beside it. */
static void widen_ahead(gpulet_server_t *server, uint64_t now_ns)
{
    bool measures = server->calibration != NULL && !server_calibrate_waits(server);
    if (measures || server_prepared_pending(server) > 0)
        return;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (outgrown(g, now_ns))
            give_up_for_more(g, now_ns);
        if (may_borrow(g, now_ns))
            widen_to_lenders(g);
    }
}

void server_lend_step(gpulet_server_t *server, uint64_t now_ns)
{
    if (!server->settings.lend || server->backend->lend == NULL)
        return;
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        load_update(g, now_ns);
        if (g->borrowed_units > 0)
            check_loan(g, now_ns);
    }
    if (!server->ready || server->switching || server->draining)
        return;
    server_gpulet_t *busy = busiest(server, now_ns);
    if (busy != NULL && !borrow_as_loaded(busy, now_ns)) {
        take_over(busy, now_ns);
        if (!borrow_as_loaded(busy, now_ns))
            widen_to_lenders(busy);
    }
    for (server_gpulet_t *g = server->gpulets; g != NULL; g = g->next) {
        if (may_borrow(g, now_ns))
            (void)borrow_as_loaded(g, now_ns);
    }
    if (server->ticks % WIDEN_TICKS == 0)
        widen_ahead(server, now_ns);
}
