/* When a new plan is wanted, and whether it is worth going over to. The rates are in rates.c. */
#include "sched/follow.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "sched/rates.h"

#define NS_PER_S 1e9

struct gpulet_follow {
    gpulet_follow_options_t options;
    uint32_t models_max;
    sched_rates_t rates;
    double *covered;               /* by the running plan, by model */
    double *looked;                /* what was planned for when a plan was last asked for */
    double *pinned;                /* NAN: it is not */
    double cost;                   /* of the running plan */
    gpulet_follow_reason_t asked;  /* by the caller, not answered yet */
    gpulet_follow_reason_t wanted; /* by the last tick, not answered yet; NONE */
    bool changing;                 /* a plan was adopted and is not reached yet */
    bool look_again;               /* something was found once and is to be found once more */
    uint64_t look_ns;              /* of the next look */
    uint64_t rest_until_ns;        /* nothing is wanted for the rates' sake before */
    uint64_t rest_ns;
    uint64_t spread_after_ns; /* no plan is adopted for more to spare alone before */
    uint64_t took_ns;         /* what reaching a plan takes, by a moving average */
};

const char *gpulet_follow_reason_text(gpulet_follow_reason_t reason)
{
    static const char *const texts[] = {
#define FOLLOW_TEXT(name, text) text,
        GPULET_FOLLOW_MAP(FOLLOW_TEXT)
#undef FOLLOW_TEXT
    };
    return reason < GPULET_FOLLOW_COUNT ? texts[reason] : "?";
}

static void fill_defaults(gpulet_follow_options_t *o)
{
    o->sample_ns = o->sample_ns != 0 ? o->sample_ns : UINT64_C(500000000);
    o->window = o->window != 0 ? o->window : 40;
    o->window = o->window < GPULET_FOLLOW_WINDOW_MIN ? GPULET_FOLLOW_WINDOW_MIN : o->window;
    o->window = o->window > GPULET_FOLLOW_WINDOW_MAX ? GPULET_FOLLOW_WINDOW_MAX : o->window;
    o->period_ns = o->period_ns != 0 ? o->period_ns : UINT64_C(20000000000);
    o->hold_ns = o->hold_ns != 0 ? o->hold_ns : UINT64_C(2000000000);
    o->confidence = o->confidence > 0.5 ? o->confidence : 0.999;
    o->better = o->better >= 1 ? o->better : 1.25;
    o->enough = o->enough > 0 ? o->enough : 1.5;
    o->floor_rps = o->floor_rps > 0 ? o->floor_rps : 0.1;
}

gpulet_status_t gpulet_follow_create(gpulet_follow_t **out, const gpulet_follow_options_t *options,
                                     uint32_t models_max)
{
    gpulet_follow_t *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return GPULET_E_NOMEM;
    if (options != NULL)
        f->options = *options;
    fill_defaults(&f->options);
    f->models_max = models_max;
    f->rest_ns = f->options.hold_ns;
    f->covered = calloc(models_max + 1U, sizeof(*f->covered));
    f->looked = calloc(models_max + 1U, sizeof(*f->looked));
    f->pinned = calloc(models_max + 1U, sizeof(*f->pinned));
    gpulet_status_t st = sched_rates_init(&f->rates, models_max, f->options.window,
                                          f->options.sample_ns, f->options.confidence);
    if (st != GPULET_OK || f->covered == NULL || f->looked == NULL || f->pinned == NULL) {
        gpulet_follow_destroy(f);
        return GPULET_E_NOMEM;
    }
    *out = f;
    return GPULET_OK;
}

void gpulet_follow_destroy(gpulet_follow_t *f)
{
    if (f == NULL)
        return;
    sched_rates_deinit(&f->rates);
    free(f->covered);
    free(f->looked);
    free(f->pinned);
    free(f);
}

void gpulet_follow_model_add(gpulet_follow_t *f, uint32_t model, double rate_rps)
{
    assert(model < f->models_max && rate_rps >= 0);
    if (!sched_rates_add(&f->rates, model, rate_rps))
        return;
    f->pinned[model] = NAN;
    f->covered[model] = 0;
    f->looked[model] = 0;
}

void gpulet_follow_model_raise(gpulet_follow_t *f, uint32_t model, double rate_rps)
{
    assert(model < f->models_max && rate_rps >= 0);
    sched_rates_raise(&f->rates, model, rate_rps);
}

void gpulet_follow_model_remove(gpulet_follow_t *f, uint32_t model)
{
    assert(model < f->models_max);
    sched_rates_remove(&f->rates, model);
}

void gpulet_follow_pin(gpulet_follow_t *f, uint32_t model, double rate_rps)
{
    assert(model < f->models_max);
    f->pinned[model] = rate_rps >= 0 ? rate_rps : NAN;
}

void gpulet_follow_arrived(gpulet_follow_t *f, uint32_t model, uint32_t items)
{
    sched_rates_count(&f->rates, model, items);
}

void gpulet_follow_ask(gpulet_follow_t *f, gpulet_follow_reason_t reason)
{
    assert(reason < GPULET_FOLLOW_COUNT);
    if (reason > f->asked)
        f->asked = reason;
}

uint64_t gpulet_follow_next_ns(const gpulet_follow_t *f)
{
    return f->rates.sample_end_ns;
}

/* ---- what is planned for ---- */

/* Until a plan made now could be replaced by the next. */
static double ahead_s(const gpulet_follow_t *f)
{
    return (double)(f->options.period_ns + f->took_ns) / NS_PER_S;
}

static double planned_rps(const gpulet_follow_t *f, uint32_t model)
{
    if (!isnan(f->pinned[model]))
        return f->pinned[model];
    double planned = sched_rates_upper(&f->rates, model, ahead_s(f));
    return planned > f->options.floor_rps ? planned : f->options.floor_rps;
}

/* Without what is planned for to be sure. */
static double expected_rps(const gpulet_follow_t *f, uint32_t model)
{
    if (!isnan(f->pinned[model]))
        return f->pinned[model];
    double expected = sched_rates_expected(&f->rates, model, ahead_s(f));
    return expected > f->options.floor_rps ? expected : f->options.floor_rps;
}

void gpulet_follow_rate(const gpulet_follow_t *f, uint32_t model, gpulet_follow_rate_t *out)
{
    *out = (gpulet_follow_rate_t){.pinned_rps = NAN};
    if (model >= f->models_max || !f->rates.models[model].followed)
        return;
    const sched_rate_t *rate = &f->rates.models[model];
    *out = (gpulet_follow_rate_t){rate->average, rate->now, planned_rps(f, model),
                                  f->covered[model], f->pinned[model]};
}

typedef struct outlook {
    double shortfall; /* of what is planned for */
    double missing_rps;
    double headroom;
} outlook_t;

static double covers(const double *covers_rps, uint32_t count, uint32_t model)
{
    return model < count ? covers_rps[model] : 0;
}

typedef double (*demand_fn)(const gpulet_follow_t *f, uint32_t model);

static outlook_t look_at(const gpulet_follow_t *f, demand_fn demand, const double *covers_rps,
                         uint32_t count)
{
    double wanted = 0;
    double missing = 0;
    outlook_t o = {.headroom = HUGE_VAL};
    for (uint32_t i = 0; i < f->rates.followed_count; i++) {
        uint32_t model = f->rates.followed[i];
        double rate = demand(f, model);
        double covered = covers(covers_rps, count, model);
        if (rate <= 0)
            continue;
        wanted += rate;
        missing += covered < rate ? rate - covered : 0;
        o.headroom = covered / rate < o.headroom ? covered / rate : o.headroom;
    }
    o.shortfall = wanted > 0 ? missing / wanted : 0;
    o.missing_rps = missing;
    return o;
}

double gpulet_follow_shortfall(const gpulet_follow_t *f)
{
    return look_at(f, expected_rps, f->covered, f->models_max).shortfall;
}

double gpulet_follow_headroom(const gpulet_follow_t *f)
{
    return look_at(f, expected_rps, f->covered, f->models_max).headroom;
}

/* ---- when ---- */

/* More is asked of a model than the plan covers, and not by chance. */
static bool is_burst(const gpulet_follow_t *f)
{
    for (uint32_t i = 0; i < f->rates.followed_count; i++) {
        uint32_t model = f->rates.followed[i];
        if (isnan(f->pinned[model]) && sched_rates_exceeds(&f->rates, model, f->covered[model]))
            return true;
    }
    return false;
}

/* What is planned for is not what it was at the last look. */
static bool has_changed(const gpulet_follow_t *f)
{
    const double part = 0.05;
    for (uint32_t i = 0; i < f->rates.followed_count; i++) {
        uint32_t model = f->rates.followed[i];
        double planned = planned_rps(f, model);
        double before = f->looked[model];
        if (fabs(planned - before) > part * (planned > before ? planned : before))
            return true;
    }
    return false;
}

static gpulet_follow_reason_t want(gpulet_follow_t *f, uint64_t now_ns)
{
    if (f->asked != GPULET_FOLLOW_NONE)
        return f->asked;
    if (f->changing)
        return GPULET_FOLLOW_NONE;
    if (now_ns >= f->rest_until_ns && is_burst(f))
        return GPULET_FOLLOW_BURST;
    if (now_ns < f->look_ns)
        return GPULET_FOLLOW_NONE;
    f->look_ns = now_ns + f->options.period_ns;
    return f->look_again || has_changed(f) ? GPULET_FOLLOW_PERIOD : GPULET_FOLLOW_NONE;
}

gpulet_follow_reason_t gpulet_follow_tick(gpulet_follow_t *f, uint64_t now_ns)
{
    if (f->look_ns == 0)
        f->look_ns = now_ns + f->options.period_ns;
    sched_rates_tick(&f->rates, now_ns);
    if (f->wanted != GPULET_FOLLOW_NONE)
        return GPULET_FOLLOW_NONE;
    f->wanted = want(f, now_ns);
    if (f->wanted == GPULET_FOLLOW_NONE)
        return f->wanted;
    f->asked = GPULET_FOLLOW_NONE;
    for (uint32_t i = 0; i < f->rates.followed_count; i++)
        f->looked[f->rates.followed[i]] = planned_rps(f, f->rates.followed[i]);
    return f->wanted;
}

/* ---- whether ---- */

static bool by_rates(gpulet_follow_reason_t reason)
{
    return reason == GPULET_FOLLOW_PERIOD || reason == GPULET_FOLLOW_BURST;
}

/* What nobody serves until the plan is reached is less than what it serves more until the next
 * look.
 */
static bool pays(const gpulet_follow_t *f, const gpulet_follow_plan_t *plan, double gained_rps)
{
    const double took_unknown_s = 1;
    double took_s = f->took_ns > 0 ? (double)f->took_ns / NS_PER_S : took_unknown_s;
    return plan->gap_rps * took_s < gained_rps * (double)f->options.period_ns / NS_PER_S;
}

/* What runs is held against what is expected, what would take its place against what is planned for
 * to be sure: so noise in the rates speaks for what runs. Sets look_again where the answer is to be
 * found a second time. */
static bool is_better(gpulet_follow_t *f, uint64_t now_ns, const gpulet_follow_plan_t *plan)
{
    const double least = 0.01, part = 0.1;
    outlook_t running = look_at(f, expected_rps, f->covered, f->models_max);
    outlook_t next = look_at(f, expected_rps, plan->covers_rps, plan->count);
    outlook_t sure = look_at(f, planned_rps, plan->covers_rps, plan->count);
    double margin = part * running.shortfall > least ? part * running.shortfall : least;
    bool again = f->look_again;
    f->look_again = false;
    if (next.shortfall < running.shortfall - margin)
        return pays(f, plan, running.missing_rps - next.missing_rps);
    if (plan->gap_rps > 0 || next.shortfall > running.shortfall + least || plan->cost > f->cost)
        return false;
    if (plan->cost < f->cost && sure.shortfall <= least) {
        f->look_again = !again;
        return again;
    }
    if (running.headroom >= f->options.enough ||
        sure.headroom < f->options.better * running.headroom || now_ns < f->spread_after_ns)
        return false;
    f->spread_after_ns = now_ns + 2 * f->options.period_ns;
    return true;
}

/* What could not be helped now is not tried again at once. */
static void rest(gpulet_follow_t *f, uint64_t now_ns)
{
    f->rest_until_ns = now_ns + f->rest_ns;
    f->rest_ns = 2 * f->rest_ns < f->options.period_ns ? 2 * f->rest_ns : f->options.period_ns;
}

bool gpulet_follow_answered(gpulet_follow_t *f, uint64_t now_ns, const gpulet_follow_plan_t *plan)
{
    gpulet_follow_reason_t reason = f->wanted;
    f->wanted = GPULET_FOLLOW_NONE;
    bool adopted = plan != NULL && (!by_rates(reason) || is_better(f, now_ns, plan));
    if (adopted)
        f->changing = true;
    else
        rest(f, now_ns);
    return adopted;
}

void gpulet_follow_reached(gpulet_follow_t *f, uint64_t now_ns, uint64_t took_ns,
                           const gpulet_follow_plan_t *plan)
{
    f->changing = false;
    if (plan == NULL) {
        rest(f, now_ns);
        return;
    }
    for (uint32_t i = 0; i < f->rates.followed_count; i++)
        f->covered[f->rates.followed[i]] =
            covers(plan->covers_rps, plan->count, f->rates.followed[i]);
    f->cost = plan->cost;
    f->look_again = false;
    f->rest_ns = f->options.hold_ns;
    f->rest_until_ns = now_ns + f->options.hold_ns;
    f->look_ns = now_ns + f->options.period_ns;
    if (took_ns > 0)
        f->took_ns = f->took_ns == 0 ? took_ns : (3 * f->took_ns + took_ns) / 4;
}
