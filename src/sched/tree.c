#include "sched/tree.h"

#include <assert.h>

void sched_tree_init(sched_tree_t *tree)
{
    *tree = (sched_tree_t){SCHED_NONE, SCHED_NONE, SCHED_NONE, 0};
}

bool sched_node_before(const sched_node_t *a, const sched_node_t *b)
{
    if (a->major != b->major)
        return a->major < b->major;
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return a->order < b->order;
}

static uint32_t rank_of(uint64_t order)
{
    uint64_t z = order + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (uint32_t)(z >> 32);
}

/* Puts `child` where `old` hangs. */
static void replace_child(sched_tree_t *tree, sched_node_t *nodes, uint32_t old, uint32_t child)
{
    uint32_t parent = nodes[old].parent;
    if (parent == SCHED_NONE)
        tree->root = child;
    else if (nodes[parent].left == old)
        nodes[parent].left = child;
    else
        nodes[parent].right = child;
    if (child != SCHED_NONE)
        nodes[child].parent = parent;
}

/* Turns the edge between `index` and its parent. */
static void rotate_up(sched_tree_t *tree, sched_node_t *nodes, uint32_t index)
{
    uint32_t parent = nodes[index].parent;
    replace_child(tree, nodes, parent, index);
    if (nodes[parent].left == index) {
        uint32_t moved = nodes[index].right;
        nodes[parent].left = moved;
        if (moved != SCHED_NONE)
            nodes[moved].parent = parent;
        nodes[index].right = parent;
    } else {
        uint32_t moved = nodes[index].left;
        nodes[parent].right = moved;
        if (moved != SCHED_NONE)
            nodes[moved].parent = parent;
        nodes[index].left = parent;
    }
    nodes[parent].parent = index;
}

static void thread_between(sched_tree_t *tree, sched_node_t *nodes, uint32_t index, uint32_t prev,
                           uint32_t next)
{
    nodes[index].prev = prev;
    nodes[index].next = next;
    if (prev == SCHED_NONE)
        tree->first = index;
    else
        nodes[prev].next = index;
    if (next == SCHED_NONE)
        tree->last = index;
    else
        nodes[next].prev = index;
}

/* Hangs the node below the leaf where it belongs. */
static void attach(sched_tree_t *tree, sched_node_t *nodes, uint32_t index)
{
    sched_node_t *node = &nodes[index];
    if (tree->root == SCHED_NONE) {
        tree->root = index;
        thread_between(tree, nodes, index, SCHED_NONE, SCHED_NONE);
        return;
    }
    for (uint32_t at = tree->root;;) {
        bool left = sched_node_before(node, &nodes[at]);
        uint32_t *child = left ? &nodes[at].left : &nodes[at].right;
        if (*child != SCHED_NONE) {
            at = *child;
            continue;
        }
        *child = index;
        node->parent = at;
        if (left)
            thread_between(tree, nodes, index, nodes[at].prev, at);
        else
            thread_between(tree, nodes, index, at, nodes[at].next);
        return;
    }
}

void sched_tree_insert(sched_tree_t *tree, sched_node_t *nodes, uint32_t index)
{
    sched_node_t *node = &nodes[index];
    node->left = node->right = node->parent = SCHED_NONE;
    node->rank = rank_of(node->order);
    attach(tree, nodes, index);
    while (node->parent != SCHED_NONE && nodes[node->parent].rank < node->rank)
        rotate_up(tree, nodes, index);
    tree->count++;
}

void sched_tree_remove(sched_tree_t *tree, sched_node_t *nodes, uint32_t index)
{
    sched_node_t *node = &nodes[index];
    assert(tree->count > 0);
    while (node->left != SCHED_NONE && node->right != SCHED_NONE)
        rotate_up(tree, nodes,
                  nodes[node->left].rank > nodes[node->right].rank ? node->left : node->right);
    replace_child(tree, nodes, index, node->left != SCHED_NONE ? node->left : node->right);
    if (node->prev == SCHED_NONE)
        tree->first = node->next;
    else
        nodes[node->prev].next = node->next;
    if (node->next == SCHED_NONE)
        tree->last = node->prev;
    else
        nodes[node->next].prev = node->prev;
    tree->count--;
}
