/* The paper's ideal (arXiv 2109.01611, section on the schedulability study): every cut of every
 * device is tried, each filled by the same greedy allocation without cutting anew, and the first
 * that serves everything is taken. So it is the best over cuts, not over what goes where.
 *
 * A cut of one device is a multiset of sizes that fits on it and is used up: nothing can be added
 * and no gpu-let grown. For the paper's device that leaves its four: 100, 80+20, 60+40, 50+50. Cuts
 * of several devices are multisets of those, so 4 devices have 35 and not 256. They are tried with
 * as few devices as the bound allows, then with one more, until the count. The search ends after
 * CUTS_MAX cuts or WORK_MAX steps; the pass that cuts as it goes is what there is then. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan/elastic.h"
#include "plan/job.h"

enum { SHAPES_MAX = 512, SHAPE_GPULETS_MAX = 16, CUTS_MAX = 20000 };
static const uint64_t WORK_MAX = 10000000;

/* How each cut is filled: the same for all. */
static const gpulet_fill_policy_t fillings[] = {
    {.size = GPULET_FILL_SIZE_KNEE,
     .order = GPULET_FILL_ORDER_RATE,
     .merge = true,
     .merge_first = true,
     .precut = true},
    {.size = GPULET_FILL_SIZE_EFFICIENT,
     .order = GPULET_FILL_ORDER_PIECE,
     .merge = true,
     .merge_first = true,
     .precut = true},
    {.size = GPULET_FILL_SIZE_COVER,
     .order = GPULET_FILL_ORDER_PIECE,
     .merge = true,
     .precut = true},
    {.size = GPULET_FILL_SIZE_REQUIRED,
     .order = GPULET_FILL_ORDER_LOAD,
     .merge = true,
     .merge_first = true,
     .precut = true},
};
enum { FILLINGS_COUNT = sizeof(fillings) / sizeof(fillings[0]) };

typedef struct shape {
    size_t type;
    uint32_t count;
    uint32_t sizes[SHAPE_GPULETS_MAX]; /* indices, descending */
} shape_t;

typedef struct search {
    gpulet_job_t *job;
    size_t shapes_count;
    shape_t *shapes;    /* owned */
    uint32_t *chosen;   /* owned; shape of each device */
    uint32_t *by_type;  /* owned; devices chosen of each type */
    size_t devices;     /* of the cuts being tried */
    size_t cuts;        /* tried so far */
    double cost_enough; /* nothing cheaper is needed */
    bool truncated;     /* shapes were left out or the search ended early */
} search_t;

/* ---- the cuts of one device ---- */

/* Whether nothing can be added to the shape and no gpu-let of it grown. */
static bool used_up(const gpulet_device_type_t *type, const shape_t *shape)
{
    uint32_t sizes[SHAPE_GPULETS_MAX + 1];
    memcpy(sizes, shape->sizes, sizeof(shape->sizes));
    sizes[shape->count] = 0;
    if (gpulet_placement_find(type, sizes, shape->count + 1, NULL))
        return false;
    for (uint32_t i = 0; i < shape->count; i++) {
        if (sizes[i] + 1 >= type->sizes_count)
            continue;
        sizes[i]++;
        bool grows = gpulet_placement_find(type, sizes, shape->count, NULL);
        sizes[i]--;
        if (grows)
            return false;
    }
    return true;
}

/* Adds the used-up shapes that begin with `shape` and go on with sizes below `next`. */
static void add_shapes(search_t *s, shape_t *shape, uint32_t next)
{
    const gpulet_device_type_t *type = s->job->ws->types[shape->type].type;
    if (shape->count > 0 && used_up(type, shape)) {
        if (s->shapes_count == SHAPES_MAX) {
            s->truncated = true;
            return;
        }
        s->shapes[s->shapes_count++] = *shape;
        return; /* what is used up has no room for more */
    }
    if (shape->count == SHAPE_GPULETS_MAX) {
        s->truncated = true;
        return;
    }
    for (uint32_t size = next; size > 0 && s->shapes_count < SHAPES_MAX; size--) {
        shape->sizes[shape->count++] = size - 1;
        if (gpulet_placement_find(type, shape->sizes, shape->count, NULL))
            add_shapes(s, shape, size);
        shape->count--;
    }
}

/* ---- the cuts of all devices ---- */

static bool exhausted(search_t *s)
{
    const gpulet_job_t *job = s->job;
    if (s->cuts >= CUTS_MAX || job->best.work + job->scratch.work > WORK_MAX || job->best.failed ||
        job->scratch.failed)
        s->truncated = true;
    return s->truncated && s->cuts > 0;
}

static bool found(const search_t *s)
{
    const gpulet_pack_t *best = &s->job->best;
    return gpulet_job_complete(best) && gpulet_pack_cost(best) <= s->cost_enough;
}

static void keep_better(gpulet_job_t *job)
{
    if (gpulet_fill_compare(&job->scratch, &job->best) < 0) {
        gpulet_pack_t swap = job->best;
        job->best = job->scratch;
        job->scratch = swap;
    }
}

/* Closes the devices that stayed empty, so that they cost nothing. */
static void close_empty(gpulet_pack_t *pack)
{
    for (size_t i = pack->count; i > 0; i--) {
        const gpulet_pack_device_t *d = &pack->devices[i - 1];
        uint32_t held = 0;
        for (uint32_t k = 0; k < d->count; k++)
            held += d->gpulets[k].count;
        if (held == 0)
            gpulet_pack_close(pack, i - 1);
    }
}

static void try_cut(search_t *s)
{
    gpulet_job_t *job = s->job;
    s->cuts++;
    for (size_t f = 0; f < FILLINGS_COUNT && !found(s); f++) {
        gpulet_pack_clear(&job->scratch);
        for (size_t i = 0; i < s->devices; i++) {
            const shape_t *shape = &s->shapes[s->chosen[i]];
            size_t device = gpulet_pack_open(&job->scratch, shape->type);
            if (device == SIZE_MAX ||
                !gpulet_pack_cut(&job->scratch, device, shape->sizes, shape->count))
                return;
        }
        gpulet_fill_cut(job->fill, &job->scratch, &fillings[f]);
        close_empty(&job->scratch);
        keep_better(job);
    }
}

/* Chooses the shapes of devices[at …), none before `from`. */
static void try_cuts(search_t *s, size_t at, size_t from)
{
    if (at == s->devices) {
        try_cut(s);
        return;
    }
    for (size_t i = from; i < s->shapes_count && !found(s) && !exhausted(s); i++) {
        size_t type = s->shapes[i].type;
        int32_t most = s->job->ws->types[type].devices_max;
        if (most >= 0 && s->by_type[type] >= (uint32_t)most)
            continue;
        s->chosen[at] = (uint32_t)i;
        s->by_type[type]++;
        try_cuts(s, at + 1, i);
        s->by_type[type]--;
    }
}

/* How many devices may be used at most: the count, or what the best pass so far took. */
static size_t devices_most(const search_t *s)
{
    const gpulet_workspace_t *ws = s->job->ws;
    size_t most = 0;
    bool limited = true;
    for (size_t t = 0; t < ws->types_count; t++) {
        limited = limited && ws->types[t].devices_max >= 0;
        most += limited ? (size_t)ws->types[t].devices_max : 0;
    }
    const gpulet_pack_t *best = &s->job->best;
    if (gpulet_job_complete(best) && (!limited || best->count < most))
        most = best->count;
    else if (!limited)
        most = 0;
    return most < GPULET_PACK_GPULETS_MAX ? most : GPULET_PACK_GPULETS_MAX;
}

static gpulet_status_t search_all(search_t *s, const gpulet_plan_input_t *input)
{
    gpulet_job_t *job = s->job;
    size_t most = devices_most(s);
    double devices = 0.0;
    (void)gpulet_plan_bound_resource(input, &devices, NULL);
    size_t least = devices >= 1.0 && devices <= (double)most ? (size_t)devices : 1;
    if (devices > (double)most || isnan(devices))
        least = most; /* hopeless: only the best partial plan is asked for */
    s->shapes = calloc(SHAPES_MAX, sizeof(*s->shapes));
    s->chosen = calloc(most + 1, sizeof(*s->chosen));
    s->by_type = calloc(job->ws->types_count + 1, sizeof(*s->by_type));
    if (s->shapes == NULL || s->chosen == NULL || s->by_type == NULL)
        return GPULET_E_NOMEM;
    for (size_t t = 0; t < job->ws->types_count; t++) {
        shape_t shape = {.type = t};
        add_shapes(s, &shape, job->ws->types[t].type->sizes_count);
    }
    s->truncated = false;
    for (s->devices = least; s->devices <= most && s->devices > 0; s->devices++) {
        bool cheaper = !gpulet_job_complete(&job->best) || s->devices < job->best.count ||
                       job->ws->types_count > 1;
        if (!cheaper || found(s) || exhausted(s))
            break;
        try_cuts(s, 0, 0);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_plan_exhaustive(gpulet_plan_t **out, const gpulet_plan_input_t *input,
                                       gpulet_error_t *err)
{
    gpulet_job_t job;
    gpulet_status_t st = gpulet_job_init(&job, input, err);
    if (st != GPULET_OK)
        return st;
    search_t search = {.job = &job, .cost_enough = gpulet_job_cost_bound(input)};
    for (size_t f = 0; f < FILLINGS_COUNT; f++) {
        gpulet_fill_policy_t policy = fillings[f];
        policy.precut = false;
        gpulet_fill_all(job.fill, &job.scratch, &policy);
        if (f == 0 || gpulet_fill_compare(&job.scratch, &job.best) < 0) {
            gpulet_pack_t swap = job.best;
            job.best = job.scratch;
            job.scratch = swap;
        }
    }
    if (!found(&search) && search_all(&search, input) != GPULET_OK)
        job.scratch.failed = true;
    free(search.shapes);
    free(search.chosen);
    free(search.by_type);
    return gpulet_job_finish(out, &job, err);
}
