#include "core/arrivals.h"

#include <math.h>

void gpulet_arrivals_init(gpulet_arrivals_t *arrivals, uint64_t seed, const char *model,
                          double begin_s)
{
    gpulet_rng_init(&arrivals->rng, gpulet_rng_seed(seed, "arrivals", model));
    arrivals->now_s = begin_s;
    arrivals->step = 0;
    arrivals->needed = arrivals->uniform ? gpulet_rng_f64(&arrivals->rng) : -1;
}

static double rate_of(const gpulet_arrivals_t *arrivals, size_t step)
{
    return arrivals->multiple *
           (arrivals->steps_count > 0 ? arrivals->steps[step].rate_rps : arrivals->rate_rps);
}

static double end_of(const gpulet_arrivals_t *arrivals, size_t step)
{
    return step + 1 < arrivals->steps_count ? arrivals->steps[step + 1].begin_s : INFINITY;
}

double gpulet_arrivals_next_s(gpulet_arrivals_t *arrivals)
{
    double needed = arrivals->uniform ? 1 : gpulet_rng_exponential(&arrivals->rng, 1);
    if (arrivals->needed >= 0) {
        needed = arrivals->needed;
        arrivals->needed = -1;
    }
    for (;;) {
        double rate = rate_of(arrivals, arrivals->step);
        double end = end_of(arrivals, arrivals->step);
        if (rate > 0 && arrivals->now_s + needed / rate <= end)
            return arrivals->now_s += needed / rate;
        if (isinf(end))
            return INFINITY;
        if (end > arrivals->now_s) {
            needed -= rate * (end - arrivals->now_s);
            arrivals->now_s = end;
        }
        needed = needed > 0 ? needed : 0;
        arrivals->step++;
    }
}

double gpulet_arrivals_rate_rps(const gpulet_arrivals_t *arrivals, double at_s)
{
    size_t step = 0;
    while (end_of(arrivals, step) <= at_s)
        step++;
    return rate_of(arrivals, step);
}
