#include <stdlib.h>
#include <string.h>

#include "core/workload.h"

typedef struct name {
    const char *text;
    size_t demand;
} name_t;

struct gpulet_workload_index {
    size_t count;
    name_t names[]; /* sorted */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const name_t *)a)->text, ((const name_t *)b)->text);
}

gpulet_status_t gpulet_workload_index_create(gpulet_workload_index_t **out,
                                             const gpulet_workload_t *workload)
{
    gpulet_workload_index_t *index =
        malloc(sizeof(*index) + workload->count * sizeof(index->names[0]));
    if (index == NULL)
        return GPULET_E_NOMEM;
    index->count = workload->count;
    for (size_t i = 0; i < index->count; i++)
        index->names[i] = (name_t){workload->demands[i].model, i};
    if (index->count > 1)
        qsort(index->names, index->count, sizeof(index->names[0]), compare_names);
    *out = index;
    return GPULET_OK;
}

void gpulet_workload_index_destroy(gpulet_workload_index_t *index)
{
    free(index);
}

size_t gpulet_workload_index_find(const gpulet_workload_index_t *index, const char *model)
{
    name_t key = {model, 0};
    const name_t *found = index->count > 0 ? bsearch(&key, index->names, index->count,
                                                     sizeof(index->names[0]), compare_names)
                                           : NULL;
    return found != NULL ? found->demand : SIZE_MAX;
}
