#include "sched/heap.h"

#include <stdlib.h>

gpulet_status_t sched_heap_init(sched_heap_t *heap, uint32_t capacity)
{
    heap->items = calloc(capacity, sizeof(*heap->items));
    heap->positions = calloc(capacity, sizeof(*heap->positions));
    heap->count = 0;
    return heap->items == NULL || heap->positions == NULL ? GPULET_E_NOMEM : GPULET_OK;
}

void sched_heap_deinit(sched_heap_t *heap)
{
    free(heap->items);
    free(heap->positions);
    *heap = (sched_heap_t){0};
}

bool sched_heap_has(const sched_heap_t *heap, uint32_t id)
{
    return heap->positions[id] != 0;
}

static bool before(sched_heap_item_t a, sched_heap_item_t b)
{
    return a.at_ns != b.at_ns ? a.at_ns < b.at_ns : a.id < b.id;
}

static void place(sched_heap_t *heap, uint32_t at, sched_heap_item_t item)
{
    heap->items[at] = item;
    heap->positions[item.id] = at + 1;
}

static uint32_t sift_up(sched_heap_t *heap, uint32_t at)
{
    sched_heap_item_t item = heap->items[at];
    while (at > 0 && before(item, heap->items[(at - 1) / 2])) {
        place(heap, at, heap->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(heap, at, item);
    return at;
}

static void sift_down(sched_heap_t *heap, uint32_t at)
{
    sched_heap_item_t item = heap->items[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!before(heap->items[child], item))
            break;
        place(heap, at, heap->items[child]);
        at = child;
    }
    place(heap, at, item);
}

void sched_heap_set(sched_heap_t *heap, uint32_t id, uint64_t at_ns)
{
    uint32_t at = heap->positions[id] != 0 ? heap->positions[id] - 1 : heap->count++;
    heap->items[at] = (sched_heap_item_t){at_ns, id};
    sift_down(heap, sift_up(heap, at));
}

void sched_heap_remove(sched_heap_t *heap, uint32_t id)
{
    if (heap->positions[id] == 0)
        return;
    uint32_t at = heap->positions[id] - 1;
    heap->positions[id] = 0;
    heap->count--;
    if (at == heap->count)
        return;
    heap->items[at] = heap->items[heap->count];
    sift_down(heap, sift_up(heap, at));
}
