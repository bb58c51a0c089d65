/* Which seeds a property test runs. By default those that it names, the same for everybody; with
 * GPULET_LONG=1 four times as many, from a first one that the time of day gives, so that each long
 * run sees others. Both are printed: a failure is repeated by giving them without GPULET_LONG. */
#ifndef TESTS_PROP_SEEDS_H
#define TESTS_PROP_SEEDS_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEEDS_LONG_FACTOR = 4, SEEDS_PER_S = 1000000 };

static inline void seeds_choose(uint64_t *first, uint64_t *count)
{
    const char *text = getenv("GPULET_LONG");
    if (text == NULL || strcmp(text, "1") != 0)
        return;
    *count *= SEEDS_LONG_FACTOR;
    *first = (uint64_t)time(NULL) * SEEDS_PER_S;
    printf("GPULET_LONG=1: %" PRIu64 " seeds, first seed %" PRIu64 "\n", *count, *first);
    (void)fflush(stdout);
}

#endif
