#include "sched/rates.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { WINDOWS_KEPT = 3 };

/* Rates are looked at again and again, so what is to count as a change must be rarer than what one
 * look allows for: so many times z; and a few items more, since small counts have longer tails than
 * the normal distribution. */
static const double CHANGE_Z = 1.5;
static const double CHANGE_ITEMS = 3;

double sched_normal_quantile(double probability)
{
    double low = 0;
    double high = 40;
    for (int i = 0; i < 64; i++) {
        double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < probability)
            low = middle;
        else
            high = middle;
    }
    return high;
}

gpulet_status_t sched_rates_init(sched_rates_t *r, uint32_t models_max, uint32_t window,
                                 uint64_t sample_ns, double confidence)
{
    *r = (sched_rates_t){.models_max = models_max,
                         .window = window,
                         .memory = WINDOWS_KEPT * window,
                         .sample_ns = sample_ns,
                         .z = sched_normal_quantile(confidence)};
    r->models = calloc(models_max + 1U, sizeof(*r->models));
    r->followed = calloc(models_max + 1U, sizeof(*r->followed));
    r->samples = calloc((size_t)(models_max + 1U) * r->memory, sizeof(*r->samples));
    if (r->models != NULL && r->followed != NULL && r->samples != NULL)
        return GPULET_OK;
    sched_rates_deinit(r);
    return GPULET_E_NOMEM;
}

void sched_rates_deinit(sched_rates_t *r)
{
    free(r->models);
    free(r->followed);
    free(r->samples);
    *r = (sched_rates_t){0};
}

static double sample_s(const sched_rates_t *r)
{
    return (double)r->sample_ns / 1e9;
}

bool sched_rates_add(sched_rates_t *r, uint32_t model, double rate_rps)
{
    sched_rate_t *m = &r->models[model];
    if (m->followed)
        return false;
    double *samples = &r->samples[(size_t)model * r->memory];
    for (uint32_t i = 0; i < r->memory; i++)
        samples[i] = rate_rps * sample_s(r);
    *m = (sched_rate_t){.followed = true,
                        .place = r->followed_count,
                        .average = rate_rps,
                        .now = rate_rps,
                        .steady_s = r->memory * sample_s(r),
                        .dispersion = 1};
    r->followed[r->followed_count++] = model;
    return true;
}

void sched_rates_raise(sched_rates_t *r, uint32_t model, double rate_rps)
{
    sched_rate_t *m = &r->models[model];
    if (!m->followed)
        return;
    double *samples = &r->samples[(size_t)model * r->memory];
    for (uint32_t i = 0; i < r->memory; i++)
        samples[i] += rate_rps * sample_s(r);
    m->average += rate_rps;
    m->now += rate_rps;
    m->line_rps += rate_rps;
}

void sched_rates_remove(sched_rates_t *r, uint32_t model)
{
    sched_rate_t *m = &r->models[model];
    if (!m->followed)
        return;
    uint32_t last = r->followed[--r->followed_count];
    r->followed[m->place] = last;
    r->models[last].place = m->place;
    *m = (sched_rate_t){0};
}

/* Items in the samples from `from` to before `to` samples ago; 0 is the newest. */
static double sum(const sched_rates_t *r, uint32_t model, uint32_t from, uint32_t to)
{
    const double *samples = &r->samples[(size_t)model * r->memory];
    double total = 0;
    for (uint32_t i = from; i < to; i++)
        total += samples[(r->next + r->memory - 1 - i) % r->memory];
    return total;
}

/* From differences of neighbours, so that a rate that moves does not count as noise; the largest
 * one is left out, so that a jump does not either. */
static double dispersion(const sched_rates_t *r, uint32_t model)
{
    double total = sum(r, model, 0, r->memory);
    double squares = 0;
    double largest = 0;
    for (uint32_t i = 0; i + 1 < r->memory; i++) {
        double d = sum(r, model, i, i + 1) - sum(r, model, i + 1, i + 2);
        squares += d * d;
        largest = d * d > largest ? d * d : largest;
    }
    double mean = total / r->memory;
    double variance = (squares - largest) / (2.0 * (r->memory - 2));
    return mean > 0 && variance > mean ? variance / mean : 1;
}

/* The newest k of so many samples hold more or less than their share, and not by chance. */
static bool contradicts(const sched_rates_t *r, double noise, uint32_t k, uint32_t count,
                        double newest, double total)
{
    double part = (double)k / count;
    double spread = sqrt(noise * total * part * (1 - part));
    return fabs(newest - part * total) > CHANGE_Z * r->z * spread + CHANGE_ITEMS;
}

static bool is_steady(const sched_rates_t *r, uint32_t model, double noise, uint32_t count)
{
    double total = sum(r, model, 0, count);
    for (uint32_t k = 1; k < count; k *= 2) {
        if (contradicts(r, noise, k, count, sum(r, model, 0, k), total))
            return false;
    }
    return true;
}

/* A straight line through all samples, by least squares. It counts where it rises, not by chance,
 * and fits: a single jump does not. */
static void fit_line(sched_rate_t *m, const sched_rates_t *r, uint32_t model)
{
    const double fits = 1.5; /* times the variance that noise alone has */
    double n = r->memory;
    double mean = sum(r, model, 0, r->memory) / n;
    double sxx = n * (n * n - 1) / 12;
    double sxy = 0;
    double syy = 0;
    m->trend_rps_s = m->line_rps = 0;
    if (mean <= 0)
        return;
    for (uint32_t i = 0; i < r->memory; i++) {
        double y = sum(r, model, i, i + 1) - mean;
        sxy += ((n - 1) / 2 - i) * y;
        syy += y * y;
    }
    double slope = sxy / sxx; /* items a sample, each sample */
    double noise = m->dispersion * mean;
    if (slope < CHANGE_Z * r->z * sqrt(noise / sxx) || (syy - slope * sxy) / (n - 2) > fits * noise)
        return;
    m->trend_rps_s = slope / sample_s(r) / sample_s(r);
    m->line_rps = (mean + slope * n / 2) / sample_s(r);
}

static void end_sample(sched_rates_t *r, uint32_t model, double items)
{
    sched_rate_t *m = &r->models[model];
    double alpha = 2.0 / (r->window + 1);
    uint32_t count = r->memory;
    r->samples[(size_t)model * r->memory + (r->next + r->memory - 1) % r->memory] = items;
    m->average += alpha * (items / sample_s(r) - m->average);
    m->dispersion = dispersion(r, model);
    while (count > 1 && !is_steady(r, model, m->dispersion, count))
        count /= 2;
    m->steady_s = count * sample_s(r);
    m->now = sum(r, model, 0, count) / m->steady_s;
    fit_line(m, r, model);
}

void sched_rates_tick(sched_rates_t *r, uint64_t now_ns)
{
    assert(r->memory > 0);
    if (r->sample_end_ns == 0)
        r->sample_end_ns = now_ns + r->sample_ns;
    if (now_ns < r->sample_end_ns)
        return;
    uint64_t ended = (now_ns - r->sample_end_ns) / r->sample_ns + 1;
    r->sample_end_ns += ended * r->sample_ns;
    uint32_t kept = ended < r->memory ? (uint32_t)ended : r->memory;
    for (uint32_t i = 0; i < kept; i++) {
        r->next = (r->next + 1) % r->memory;
        for (uint32_t k = 0; k < r->followed_count; k++) {
            sched_rate_t *m = &r->models[r->followed[k]];
            end_sample(r, r->followed[k], (double)m->counted / (double)ended);
        }
    }
    for (uint32_t k = 0; k < r->followed_count; k++)
        r->models[r->followed[k]].counted = 0;
}

/* Half a width of the confidence interval of a rate that was seen for so long. */
static double uncertainty(const sched_rates_t *r, const sched_rate_t *m, double rate_rps)
{
    return r->z * sqrt(m->dispersion * rate_rps / m->steady_s);
}

double sched_rates_expected(const sched_rates_t *r, uint32_t model, double ahead_s)
{
    const double rise_max = 2;
    const sched_rate_t *m = &r->models[model];
    double later = m->trend_rps_s > 0 ? m->line_rps + m->trend_rps_s * ahead_s : m->now;
    double most = rise_max * m->now;
    later = later > m->now ? later : m->now;
    return later < most ? later : most;
}

/* Plans hold a percentile of Poisson arrivals. What comes in bursts has a wider one: by as much as
 * samples spread more than those would. */
static double bursts(const sched_rates_t *r, const sched_rate_t *m, double rate_rps)
{
    const double percentile_z = 2.326; /* 99 %, as plans hold */
    return percentile_z * (sqrt(m->dispersion) - 1) * sqrt(rate_rps / sample_s(r));
}

double sched_rates_upper(const sched_rates_t *r, uint32_t model, double ahead_s)
{
    const sched_rate_t *m = &r->models[model];
    double expected = sched_rates_expected(r, model, ahead_s);
    return expected + uncertainty(r, m, expected) + bursts(r, m, expected);
}

bool sched_rates_exceeds(const sched_rates_t *r, uint32_t model, double rate_rps)
{
    const sched_rate_t *m = &r->models[model];
    return m->followed &&
           m->now - rate_rps > CHANGE_Z * uncertainty(r, m, rate_rps) + CHANGE_ITEMS / m->steady_s;
}
