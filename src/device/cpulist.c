#include "device/cpulist.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

void gpulet_cpulist_set(gpulet_cpulist_t *list, uint32_t index)
{
    assert(index < GPULET_CPULIST_MAX);
    list->words[index / 64] |= UINT64_C(1) << (index % 64);
}

bool gpulet_cpulist_has(const gpulet_cpulist_t *list, uint32_t index)
{
    return index < GPULET_CPULIST_MAX && (list->words[index / 64] >> (index % 64) & 1) != 0;
}

uint32_t gpulet_cpulist_count(const gpulet_cpulist_t *list)
{
    uint32_t count = 0;
    for (size_t i = 0; i < GPULET_CPULIST_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(list->words[i]);
    return count;
}

static gpulet_status_t parse_range(gpulet_cpulist_t *out, const char *text, size_t size,
                                   gpulet_error_t *err)
{
    uint64_t first = 0;
    uint64_t last = 0;
    const char *dash = memchr(text, '-', size);
    size_t first_size = dash == NULL ? size : (size_t)(dash - text);
    gpulet_status_t st = gpulet_parse_u64(&first, text, first_size);
    last = first;
    if (st == GPULET_OK && dash != NULL)
        st = gpulet_parse_u64(&last, dash + 1, size - first_size - 1);
    if (st != GPULET_OK || last < first)
        return gpulet_fail(err, GPULET_E_INVALID, "'%.*s' is no number and no range a-b",
                           (int)(size < 64 ? size : 64), text);
    if (last >= GPULET_CPULIST_MAX)
        return gpulet_fail(err, GPULET_E_INVALID, "numbers end at %d", GPULET_CPULIST_MAX - 1);
    for (uint64_t i = first; i <= last; i++)
        gpulet_cpulist_set(out, (uint32_t)i);
    return GPULET_OK;
}

gpulet_status_t gpulet_cpulist_parse(gpulet_cpulist_t *out, const char *text, size_t size,
                                     gpulet_error_t *err)
{
    gpulet_cpulist_t list = {{0}};
    const char *end = text + size;
    for (const char *at = text;;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma == NULL ? end : comma;
        gpulet_status_t st = parse_range(&list, at, (size_t)(stop - at), err);
        if (st != GPULET_OK)
            return st;
        if (comma == NULL)
            break;
        at = comma + 1;
    }
    *out = list;
    return GPULET_OK;
}

size_t gpulet_cpulist_format(char *out, size_t out_size, const gpulet_cpulist_t *list)
{
    size_t used = 0;
    assert(out_size > 0);
    out[0] = '\0';
    for (uint32_t first = 0; first < GPULET_CPULIST_MAX; first++) {
        if (!gpulet_cpulist_has(list, first))
            continue;
        uint32_t last = first;
        while (gpulet_cpulist_has(list, last + 1))
            last++;
        const char *comma = used > 0 ? "," : "";
        int written = last == first
                          ? snprintf(out + used, out_size - used, "%s%u", comma, first)
                          : snprintf(out + used, out_size - used, "%s%u-%u", comma, first, last);
        if (written < 0 || (size_t)written >= out_size - used) {
            out[used] = '\0';
            return 0;
        }
        used += (size_t)written;
        first = last;
    }
    return used;
}
