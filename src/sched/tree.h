/* An ordered set of indices: a treap threaded by a list in order, so that insertion and removal
 * cost O(log n) and a walk from the front costs nothing. Nodes live in an array of the caller, a
 * node in one tree at a time. No memory of its own; one owner. */
#ifndef GPULET_SCHED_TREE_H
#define GPULET_SCHED_TREE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHED_NONE UINT32_MAX

/* Ordered by (major, deadline, order); `order` is unique. */
typedef struct sched_node {
    uint64_t major;
    uint64_t deadline_ns;
    uint64_t order;
    uint32_t left, right, parent;
    uint32_t prev, next;
    uint32_t
        rank; /* of the heap order; a hash of `order`, so the shape depends on the events alone */
} sched_node_t;

typedef struct sched_tree {
    uint32_t root, first, last, count;
} sched_tree_t;

void sched_tree_init(sched_tree_t *tree);
bool sched_node_before(const sched_node_t *a, const sched_node_t *b);
/* The key fields of nodes[index] are set by the caller. */
void sched_tree_insert(sched_tree_t *tree, sched_node_t *nodes, uint32_t index);
void sched_tree_remove(sched_tree_t *tree, sched_node_t *nodes, uint32_t index);

#endif
