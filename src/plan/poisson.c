#include "plan/poisson.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>

/* lgamma writes a global sign in some C libraries; the _r form does not. */
static double log_pmf(uint64_t count, double mean)
{
    int sign = 0;
    double n = (double)count;
    return n * log(mean) - mean - lgamma_r(n + 1.0, &sign);
}

/* P(X ≤ count) for count < mean: the terms shrink downwards, at worst geometrically by count/mean.
 */
static double sum_below(uint64_t count, double mean)
{
    double term = exp(log_pmf(count, mean));
    double sum = term;
    for (uint64_t k = count; k > 0 && term > sum * 1e-17; k--) {
        term *= (double)k / mean;
        sum += term;
    }
    return sum;
}

/* P(X > count) for count ≥ mean: the terms shrink upwards. */
static double sum_above(uint64_t count, double mean)
{
    double term = exp(log_pmf(count + 1, mean));
    double sum = term;
    for (uint64_t k = count + 2; term > sum * 1e-17; k++) {
        term *= mean / (double)k;
        sum += term;
    }
    return sum;
}

double gpulet_poisson_cdf(uint64_t count, double mean)
{
    assert(mean >= 0.0);
    if (mean <= 0.0)
        return 1.0;
    if ((double)count < mean)
        return fmin(1.0, sum_below(count, mean));
    return fmax(0.0, 1.0 - sum_above(count, mean));
}

uint64_t gpulet_poisson_quantile(double percentile, double mean)
{
    assert(percentile > 0.0 && percentile < 1.0);
    assert(mean >= 0.0 && mean < 1e15);
    uint64_t low = 0; /* the answer is in low … high */
    uint64_t high = (uint64_t)mean + 1;
    while (gpulet_poisson_cdf(high, mean) < percentile) {
        low = high + 1;
        high = high * 2;
    }
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (gpulet_poisson_cdf(mid, mean) >= percentile)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

double gpulet_poisson_mean_max(double percentile, uint64_t count)
{
    assert(percentile > 0.0 && percentile < 1.0);
    double low = 0.0;
    double high = (double)count + 1.0;
    while (gpulet_poisson_cdf(count, high) >= percentile)
        high *= 2.0;
    double mean = 0.5 * high;
    /* Newton on the CDF, whose derivative in the mean is −pmf(count); a step that leaves the
     * bracket is bisected. */
    for (int i = 0; i < 200 && high - low > 1e-13 * high; i++) {
        double excess = gpulet_poisson_cdf(count, mean) - percentile;
        if (excess >= 0.0)
            low = mean;
        else
            high = mean;
        double slope = exp(log_pmf(count, mean));
        double next = slope > 0.0 ? mean + excess / slope : low;
        bool inside = next > low && next < high;
        double step = inside ? fabs(next - mean) : high;
        mean = inside ? next : 0.5 * (low + high);
        if (step < 1e-14 * mean)
            break;
    }
    /* Newton may come from above: step down by rounding's worth until the promise holds. */
    double safe = mean;
    // NOLINTNEXTLINE(cert-flp30-c,clang-analyzer-security.FloatLoopCounter): doubling is exact
    for (double step = 1e-16; gpulet_poisson_cdf(count, safe) < percentile; step *= 2.0)
        safe = mean * (1.0 - step);
    return safe;
}

double gpulet_poisson_load_max(double percentile, uint64_t items)
{
    return fmin(gpulet_poisson_mean_max(percentile, items), (double)items);
}
