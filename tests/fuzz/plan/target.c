/* Plans: what is accepted is written, read again and written the same; a clone is written the same
 * too. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "core/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const gpulet_buf_t *text, const gpulet_plan_t *plan)
{
    gpulet_buf_t other = GPULET_BUF_INIT;
    assert(gpulet_plan_format_json(&other, plan) == GPULET_OK);
    assert(text->size == other.size && memcmp(text->data, other.data, other.size) == 0);
    gpulet_buf_deinit(&other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_error_t err = {""};
    gpulet_plan_t *plan = NULL;
    gpulet_plan_t *again = NULL;
    gpulet_plan_t *copy = NULL;
    gpulet_buf_t text = GPULET_BUF_INIT;
    if (gpulet_plan_parse_json(&plan, (const char *)data, size, "p", &err) != GPULET_OK) {
        assert(plan == NULL && err.text[0] != '\0');
        return 0;
    }
    assert(gpulet_plan_format_json(&text, plan) == GPULET_OK);
    assert(gpulet_plan_parse_json(&again, text.data, text.size, "p", NULL) == GPULET_OK);
    check_same(&text, again);
    assert(gpulet_plan_clone(&copy, plan) == GPULET_OK);
    gpulet_plan_destroy(plan);
    check_same(&text, copy);
    gpulet_plan_destroy(again);
    gpulet_plan_destroy(copy);
    gpulet_buf_deinit(&text);
    return 0;
}
