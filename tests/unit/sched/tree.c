#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "sched/tree.h"

enum { NODES = 300 };

static void check_order(const sched_tree_t *tree, const sched_node_t *nodes)
{
    uint32_t count = 0, prev = SCHED_NONE;
    for (uint32_t i = tree->first; i != SCHED_NONE; prev = i, i = nodes[i].next, count++) {
        assert_int_equal(nodes[i].prev, prev);
        if (prev != SCHED_NONE)
            assert_true(sched_node_before(&nodes[prev], &nodes[i]));
        if (nodes[i].parent != SCHED_NONE)
            assert_true(nodes[nodes[i].parent].rank >= nodes[i].rank);
    }
    assert_int_equal(tree->last, prev);
    assert_int_equal(tree->count, count);
}

static void keeps_the_order_through_any_insertions_and_removals(void **state)
{
    (void)state;
    static sched_node_t nodes[NODES];
    static uint8_t in[NODES];
    sched_tree_t tree;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 3);
    sched_tree_init(&tree);
    for (uint64_t step = 1; step < 20000; step++) {
        uint32_t i = (uint32_t)gpulet_rng_below(&rng, NODES);
        if (in[i]) {
            sched_tree_remove(&tree, nodes, i);
        } else {
            nodes[i].major = gpulet_rng_below(&rng, 3);
            nodes[i].deadline_ns = gpulet_rng_below(&rng, 20);
            nodes[i].order = step;
            sched_tree_insert(&tree, nodes, i);
        }
        in[i] = !in[i];
        if (step % 16 == 0)
            check_order(&tree, nodes);
    }
    for (uint32_t i = 0; i < NODES; i++) {
        if (in[i])
            sched_tree_remove(&tree, nodes, i);
    }
    assert_int_equal(tree.count, 0);
    assert_int_equal(tree.root, SCHED_NONE);
}

static void orders_by_major_then_deadline_then_order(void **state)
{
    (void)state;
    sched_node_t a = {.major = 1, .deadline_ns = 5, .order = 9},
                 b = {.major = 2, .deadline_ns = 1, .order = 1};
    sched_node_t c = {.major = 1, .deadline_ns = 5, .order = 8},
                 d = {.major = 1, .deadline_ns = 4, .order = 99};
    assert_true(sched_node_before(&a, &b));
    assert_true(sched_node_before(&c, &a));
    assert_true(sched_node_before(&d, &c));
    assert_false(sched_node_before(&a, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_through_any_insertions_and_removals),
        cmocka_unit_test(orders_by_major_then_deadline_then_order),
    };
    return cmocka_run_group_tests_name("sched.tree", tests, NULL, NULL);
}
