#include "base/rng.h"

#include <assert.h>
#include <math.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

/* SplitMix64, as the authors of xoshiro advise for filling the state. */
static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

void gpulet_rng_init(gpulet_rng_t *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rng->state[i] = splitmix(&seed);
}

uint64_t gpulet_rng_u64(gpulet_rng_t *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t gpulet_rng_below(gpulet_rng_t *rng, uint64_t bound)
{
    assert(bound > 0);
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t value = gpulet_rng_u64(rng);
    while (value >= limit)
        value = gpulet_rng_u64(rng);
    return value % bound;
}

double gpulet_rng_f64(gpulet_rng_t *rng)
{
    return (double)(gpulet_rng_u64(rng) >> 11) * 0x1.0p-53;
}

double gpulet_rng_exponential(gpulet_rng_t *rng, double mean)
{
    return -mean * log1p(-gpulet_rng_f64(rng));
}

/* FNV-1a, a byte at a time. */
static uint64_t mix_text(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3U;
    return (hash ^ 0xffU) * 0x100000001b3U; /* "ab" + "c" is not "a" + "bc" */
}

uint64_t gpulet_rng_seed(uint64_t seed, const char *purpose, const char *name)
{
    uint64_t hash = mix_text(mix_text(0xcbf29ce484222325U, purpose), name);
    return hash ^ (seed * 0x9e3779b97f4a7c15U);
}
