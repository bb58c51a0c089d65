#include <math.h>

#include "sim/sim.h"

/* The grid, in steps of half a percent up and down from 1. */
static const double grid = 1.005;
enum { STEP_FIRST = 64, STEP_MOST = 2048 };

typedef struct search {
    const gpulet_sim_options_t *options;
    double miss_max;
    gpulet_error_t *err;
    gpulet_sim_peak_t *peak;
} search_t;

static gpulet_status_t try_step(bool *keeps, const search_t *search, int at)
{
    gpulet_sim_options_t options = *search->options;
    gpulet_sim_result_t result = {0};
    options.multiple *= pow(grid, at);
    options.series_s = 0;
    gpulet_status_t st = gpulet_sim_run(&result, &options, search->err);
    if (st == GPULET_OK) {
        /* Where nothing is asked nothing is shown. */
        *keeps = result.requests > 0 && 1 - gpulet_sim_attainment(&result) < search->miss_max;
        search->peak->runs++;
    }
    gpulet_sim_result_deinit(&result);
    return st;
}

/* Doubles the distance from 1 until it is too much or, downwards, little enough. */
static gpulet_status_t bracket(int *low, int *high, const search_t *search)
{
    bool keeps = false;
    gpulet_status_t st = try_step(&keeps, search, 0);
    int direction = keeps ? 1 : -1;
    *low = *high = 0;
    for (int step = STEP_FIRST; st == GPULET_OK && step <= STEP_MOST; step *= 2) {
        bool found = false;
        st = try_step(&found, search, direction * step);
        if (found)
            *low = direction * step;
        else
            *high = direction * step;
        if (found != keeps)
            return st;
    }
    if (keeps)
        *high = *low; /* it is beyond what is searched */
    else
        *low = *high;
    return st;
}

gpulet_status_t gpulet_sim_find_peak(gpulet_sim_peak_t *out, const gpulet_sim_options_t *options,
                                     double miss_max, gpulet_error_t *err)
{
    gpulet_sim_peak_t peak = {0};
    search_t search = {options, miss_max, err, &peak};
    int low = 0;
    int high = 0;
    gpulet_status_t st = bracket(&low, &high, &search);
    bool any = high != low || low > 0;
    while (st == GPULET_OK && high - low > 1) {
        int middle = low + (high - low) / 2;
        bool keeps = false;
        st = try_step(&keeps, &search, middle);
        *(keeps ? &low : &high) = middle;
    }
    if (st != GPULET_OK)
        return st;
    peak.multiple = any ? options->multiple * pow(grid, low) : 0;
    for (size_t i = 0; i < options->planning.workload->count; i++)
        peak.rate_rps += options->planning.workload->demands[i].rate_rps * peak.multiple;
    for (size_t i = 0; options->apps != NULL && i < options->apps->count; i++)
        peak.rate_rps += options->apps->items[i]->rate_rps * peak.multiple;
    *out = peak;
    return GPULET_OK;
}
