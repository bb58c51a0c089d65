#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/executions.h"

enum { MODELS = 7, SIZES = 9 };

static void keeps_one_entry_a_model_and_size_in_order(void **state)
{
    server_executions_t e = {0};
    (void)state;
    for (uint32_t i = 0; i < MODELS * SIZES * 10; i++) {
        const uint32_t which = i * 31 % (MODELS * SIZES);
        server_executions_add(&e, which / SIZES, 1 + which % SIZES, which + 1);
    }
    assert_int_equal(e.count, MODELS * SIZES);
    for (uint32_t i = 0; i < e.count; i++) {
        assert_int_equal(e.items[i].model, i / SIZES);
        assert_int_equal(e.items[i].batch, 1 + i % SIZES);
        assert_int_equal(e.items[i].count, 10);
        assert_int_equal(e.items[i].ns, 10 * (i + 1));
    }
    server_executions_deinit(&e);
    assert_int_equal(e.count, 0);
}

static void forgets_one_model(void **state)
{
    server_executions_t e = {0};
    (void)state;
    server_executions_forget(&e, 1);
    for (uint32_t i = 0; i < 3 * SIZES; i++)
        server_executions_add(&e, i / SIZES, 1 + i % SIZES, 5);
    server_executions_forget(&e, 1);
    server_executions_forget(&e, 99);
    assert_int_equal(e.count, 2 * SIZES);
    for (uint32_t i = 0; i < e.count; i++)
        assert_int_equal(e.items[i].model, i < SIZES ? 0 : 2);
    server_executions_add(&e, 1, 3, 8);
    assert_int_equal(e.items[SIZES].model, 1);
    assert_int_equal(e.items[SIZES].count, 1);
    assert_int_equal(e.items[SIZES].ns, 8);
    server_executions_deinit(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_one_entry_a_model_and_size_in_order),
        cmocka_unit_test(forgets_one_model),
    };
    return cmocka_run_group_tests_name("server.executions", tests, NULL, NULL);
}
