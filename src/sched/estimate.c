#include "sched/estimate.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const double unknown_ns = 1e6;  /* of one item, when nothing is known */
static const float clamp_least = 0.7F; /* a factor of two */
static const float residual_most = 4.0F;

/* Batches of the knots: 1 … 8, then 10 12 14 16, 20 24 28 32, … */
static uint32_t knot_items(uint32_t knot)
{
    if (knot < 8)
        return knot + 1;
    uint32_t octave = (knot - 8) / 4;
    return (8U << octave) + (((knot - 8) % 4 + 1) * 2U << octave);
}

/* The last knot at or below items ≥ 1. */
static uint32_t knot_below(uint32_t items)
{
    if (items <= 8)
        return items - 1;
    uint32_t octave = 28U - (uint32_t)__builtin_clz(items); /* 8 … 15 is octave 0 */
    uint32_t knot = 7 + octave * 4 + ((items >> (octave + 1)) - 4);
    return knot < SCHED_KNOTS - 2 ? knot : SCHED_KNOTS - 2;
}

static double read_knots(const double *knots, uint32_t items)
{
    assert(items > 0);
    uint32_t k = knot_below(items);
    uint32_t low = knot_items(k);
    if (items == low)
        return knots[k];
    double part = (double)(items - low) / (double)(knot_items(k + 1) - low);
    return knots[k] + (knots[k + 1] - knots[k]) * part;
}

/* The time of b items from the known ones: linear between two, along the last two beyond, in
 * proportion when there is one. */
static double profile_at(const uint64_t *exec_ns, uint32_t count, uint32_t b)
{
    uint32_t below = 0, before_below = 0, above = 0;
    for (uint32_t i = 1; i <= count; i++) {
        if (exec_ns[i - 1] == 0)
            continue;
        if (i <= b) {
            before_below = below;
            below = i;
        } else {
            above = i;
            break;
        }
    }
    if (below == b)
        return (double)exec_ns[b - 1];
    if (below == 0 && above == 0)
        return unknown_ns * b;
    if (below ==
        0) /* Below the smallest known size: never more than it, never less than its share. */
        return (double)exec_ns[above - 1] * (0.5 + 0.5 * b / above);
    double low = (double)exec_ns[below - 1];
    if (above == 0 && before_below == 0)
        return low * b / below;
    uint32_t other = above != 0 ? above : before_below;
    double slope = ((double)exec_ns[other - 1] - low) / ((double)other - (double)below);
    return low + (slope > 0 ? slope : 0) * ((double)b - (double)below);
}

/* Spreads R, linear between measured knots and flat outside, and recomputes the times. */
static void refresh(sched_estimate_t *e)
{
    uint32_t low = SCHED_KNOTS;
    for (uint32_t k = 0; k < SCHED_KNOTS; k++) {
        if (e->samples[k] == 0)
            continue;
        for (uint32_t j = low == SCHED_KNOTS ? 0 : low + 1; j < k; j++) {
            float part = low == SCHED_KNOTS ? 1.0F : (float)(j - low) / (float)(k - low);
            float from = low == SCHED_KNOTS ? e->residual[k] : e->residual[low];
            e->residual[j] = from + (e->residual[k] - from) * part;
        }
        low = k;
    }
    for (uint32_t j = low + 1; low != SCHED_KNOTS && j < SCHED_KNOTS; j++)
        e->residual[j] = e->residual[low];
    double most = 0;
    for (uint32_t k = 0; k < SCHED_KNOTS; k++) {
        double r = (double)e->residual[k];
        e->raw_ns[k] = r == 0.0 ? e->profile_ns[k] : e->profile_ns[k] * exp(r);
        most = e->raw_ns[k] > most ? e->raw_ns[k] : most;
        e->knot_ns[k] = most;
    }
}

void sched_estimate_profile(sched_estimate_t *e, const uint64_t *exec_ns, uint32_t count)
{
    double profile[SCHED_KNOTS];
    bool profiled = false;
    for (uint32_t i = 0; i < count; i++)
        profiled = profiled || exec_ns[i] != 0;
    if (!profiled && e->profiled)
        return; /* An older profile is better than none. */
    for (uint32_t k = 0; k < SCHED_KNOTS; k++)
        profile[k] = profile_at(exec_ns, count, knot_items(k));
    for (uint32_t k = 0; k < SCHED_KNOTS; k++) {
        if (e->samples[k] > 0)
            e->residual[k] += (float)log(e->profile_ns[k] / profile[k]);
    }
    memcpy(e->profile_ns, profile, sizeof(profile));
    e->profiled = profiled;
    refresh(e);
}

bool sched_estimate_known(const sched_estimate_t *e)
{
    return e->profiled || e->measured;
}

/* F of a class never measured: that of the nearest measured one; a larger one grows in proportion
 * to its elements. */
static sched_class_t class_of(const sched_estimate_t *e, uint32_t size_class)
{
    sched_class_t result = e->classes[size_class];
    for (uint32_t d = 1; e->measured && result.samples == 0 && d < SCHED_CLASSES; d++) {
        if (size_class >= d && e->classes[size_class - d].samples > 0) {
            result = e->classes[size_class - d];
            result.shift += (float)(0.6931471805599453 * d);
        } else if (size_class + d < SCHED_CLASSES && e->classes[size_class + d].samples > 0) {
            result = e->classes[size_class + d];
        }
    }
    return result;
}

/* The error, with a lone outlier held back. A run of large errors to one side is a change, not
 * noise: the clamp opens. */
static float clamp_error(sched_class_t *c, float error)
{
    float limit = 4 * c->deviation > clamp_least ? 4 * c->deviation : clamp_least;
    if (fabsf(error) < limit * 0.5F) {
        c->streak = 0;
        return error;
    }
    if ((c->streak > 0) != (error > 0))
        c->streak = 0;
    int32_t run = c->streak < 0 ? -c->streak : c->streak;
    c->streak += error > 0 ? 1 : -1;
    limit *= (float)(1U << (run < 4 ? run : 4));
    return error > limit ? limit : error < -limit ? -limit : error;
}

static void learn_knot(sched_estimate_t *e, uint32_t knot, float step)
{
    float r = e->residual[knot] + step;
    e->residual[knot] = r > residual_most ? residual_most : r < -residual_most ? -residual_most : r;
    if (e->samples[knot] < UINT16_MAX)
        e->samples[knot]++;
}

/* A knot that has not run for long may be too dear to be tried again: let it sink slowly towards
 * the one just measured. A smaller one must not seem dearer than that. */
static void forget_dear(sched_estimate_t *e, uint32_t knot)
{
    for (uint32_t k = 0; k < SCHED_KNOTS; k++) {
        bool dear = k > knot ? e->residual[k] > e->residual[knot] : e->raw_ns[k] > e->raw_ns[knot];
        if (e->samples[k] > 0 && k != knot && dear)
            e->residual[k] -= 0.01F * fabsf(e->residual[k] - e->residual[knot]);
    }
}

void sched_estimate_learn(sched_estimate_t *e, uint32_t size_class, uint32_t items,
                          uint64_t exec_ns)
{
    if (exec_ns == 0 || items == 0)
        return;
    size_class = size_class < SCHED_CLASSES ? size_class : SCHED_CLASSES - 1;
    sched_class_t *c = &e->classes[size_class];
    if (c->samples == 0)
        *c = (sched_class_t){.shift = class_of(e, size_class).shift};
    double expected = read_knots(e->raw_ns, items) * exp((double)c->shift);
    if (!e->profiled && !e->measured) { /* Any observation is better than the guess it replaces. */
        c->shift += (float)log((double)exec_ns / expected);
        c->scale = exp((double)c->shift);
        c->samples = 1;
        e->class_last = size_class;
        e->measured = true;
        return;
    }
    float error = clamp_error(c, (float)log((double)exec_ns / expected));
    uint32_t n = c->samples < 100 ? c->samples : 100;
    float gain = 1.0F / (float)(n + 2);
    int32_t run = c->streak < 0 ? -c->streak : c->streak;
    float least = run >= 2 ? 0.4F : 0.12F;
    gain = gain > least ? gain : least;
    float size = fabsf(error) < 0.3F ? fabsf(error) : 0.3F;
    c->deviation += (n < 8 ? 1.0F / (float)(n + 2) : 0.1F) * (size - c->deviation);
    if (c->samples < UINT32_MAX)
        c->samples++;
    e->measured = true;
    c->shift += 0.6F * gain * error;
    c->scale = exp((double)c->shift);
    e->class_last = size_class;
    uint32_t k = knot_below(items);
    uint32_t low = knot_items(k);
    float part = (float)(items - low) / (float)(knot_items(k + 1) - low);
    if (part < 0.75F)
        learn_knot(e, k, 0.4F * gain * error);
    if (part > 0.25F)
        learn_knot(e, k + 1, 0.4F * gain * error);
    forget_dear(e, part < 0.75F ? k : k + 1);
    refresh(e);
}

sched_curve_t sched_curve(const sched_estimate_t *e, uint32_t size_class, uint32_t fixed)
{
    size_class = size_class < SCHED_CLASSES ? size_class : SCHED_CLASSES - 1;
    const sched_class_t *c = &e->classes[size_class];
    if (c->samples > 0)
        return (sched_curve_t){e->knot_ns, c->scale, c->scale * (1.0 + (double)c->deviation),
                               fixed};
    sched_class_t like = class_of(e, size_class);
    double mean = like.shift == 0.0F ? 1.0 : exp((double)like.shift);
    return (sched_curve_t){e->knot_ns, mean, mean * (1.0 + (double)like.deviation), fixed};
}

static uint64_t to_ns(double ns)
{
    return ns >= 1e18 ? (uint64_t)1e18 : ns < 1 ? 1 : (uint64_t)ns;
}

uint64_t sched_curve_mean_ns(const sched_curve_t *curve, uint32_t items)
{
    uint32_t b = items > curve->fixed ? items : curve->fixed;
    return to_ns(read_knots(curve->knot_ns, b) * curve->mean_scale);
}

uint64_t sched_curve_safe_ns(const sched_curve_t *curve, uint32_t items)
{
    uint32_t b = items > curve->fixed ? items : curve->fixed;
    return to_ns(read_knots(curve->knot_ns, b) * curve->safe_scale);
}

uint32_t sched_curve_fit(const sched_curve_t *curve, uint64_t budget_ns, uint32_t items_max)
{
    if (items_max == 0 || sched_curve_safe_ns(curve, items_max) <= budget_ns)
        return items_max;
    if (items_max <= curve->fixed)
        return 0;
    uint32_t top = items_max;
    for (uint32_t k = knot_below(items_max) + 1; k-- > 0;) {
        uint32_t low = knot_items(k);
        if (low < top && sched_curve_safe_ns(curve, low) <= budget_ns) {
            uint32_t high = top;
            while (high - low > 1) { /* The curve is linear from a knot to the next. */
                uint32_t middle = low + (high - low) / 2;
                if (sched_curve_safe_ns(curve, middle) <= budget_ns)
                    low = middle;
                else
                    high = middle;
            }
            return low;
        }
        top = low < top ? low : top;
    }
    return 0;
}

uint32_t sched_curve_best(const sched_curve_t *curve, uint32_t items_max)
{
    uint32_t best = items_max;
    if (items_max <= 1 || curve->fixed >= items_max)
        return best;
    double rate = items_max / read_knots(curve->knot_ns, items_max) * 1.02;
    for (uint32_t k = knot_below(items_max) + 1; k-- > 0;) {
        uint32_t items = knot_items(k);
        if (items < curve->fixed)
            break;
        if (items < items_max && items / curve->knot_ns[k] > rate) {
            rate = items / curve->knot_ns[k];
            best = items;
        }
    }
    return best;
}
