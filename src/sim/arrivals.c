#include "sim/arrivals.h"

#include <math.h>
#include <string.h>

/* FNV-1a, a byte at a time. */
static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3U;
    return (hash ^ 0xffU) * 0x100000001b3U; /* "ab" + "c" is not "a" + "bc" */
}

uint64_t sim_seed(uint64_t seed, const char *purpose, const char *name)
{
    uint64_t hash = mix_text(mix_text(0xcbf29ce484222325U, purpose), name);
    return hash ^ (seed * 0x9e3779b97f4a7c15U);
}

void sim_stream_init(sim_stream_t *stream, uint64_t seed, const char *model, double begin_s)
{
    gpulet_rng_init(&stream->rng, sim_seed(seed, "arrivals", model));
    stream->now_s = begin_s;
    stream->step = 0;
    stream->needed = stream->uniform ? gpulet_rng_f64(&stream->rng) : -1;
}

static double rate_of(const sim_stream_t *stream, size_t step)
{
    return stream->multiple *
           (stream->steps_count > 0 ? stream->steps[step].rate_rps : stream->rate_rps);
}

static double end_of(const sim_stream_t *stream, size_t step)
{
    return step + 1 < stream->steps_count ? stream->steps[step + 1].begin_s : INFINITY;
}

double sim_stream_next_s(sim_stream_t *stream)
{
    double needed = stream->uniform ? 1 : gpulet_rng_exponential(&stream->rng, 1);
    if (stream->needed >= 0) {
        needed = stream->needed;
        stream->needed = -1;
    }
    for (;;) {
        double rate = rate_of(stream, stream->step);
        double end = end_of(stream, stream->step);
        if (rate > 0 && stream->now_s + needed / rate <= end)
            return stream->now_s += needed / rate;
        if (isinf(end))
            return INFINITY;
        if (end > stream->now_s) {
            needed -= rate * (end - stream->now_s);
            stream->now_s = end;
        }
        needed = needed > 0 ? needed : 0;
        stream->step++;
    }
}

double sim_stream_rate_rps(const sim_stream_t *stream, double at_s)
{
    size_t step = 0;
    while (end_of(stream, step) <= at_s)
        step++;
    return rate_of(stream, step);
}
