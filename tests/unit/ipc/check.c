#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ipc/check.h"

enum { SPAN = 1024, TABLE = 192 /* 8 + 2 tables of 88, rounded up */ };

typedef struct span {
    uint8_t *bytes;
    gpulet_wire_tensors_t *table;
    gpulet_tensor_spec_t specs[2];
    gpulet_tensor_view_t views[2];
} span_t;

static int setup(void **state)
{
    span_t *s = calloc(1, sizeof(*s));
    const uint64_t sizes[2] = {24, 20};
    uint64_t offsets[2];
    assert_non_null(s);
    s->bytes = aligned_alloc(64, SPAN);
    assert_non_null(s->bytes);
    memset(s->bytes, 0, SPAN);
    s->table = (gpulet_wire_tensors_t *)(void *)s->bytes;
    s->specs[0].type = GPULET_DATATYPE_FP32;
    s->specs[1].type = GPULET_DATATYPE_BYTES;
    assert_int_equal(gpulet_tensors_layout(offsets, sizes, 2), TABLE + 128);
    s->table->count = 2;
    for (int i = 0; i < 2; i++)
        s->table->tensors[i] = (gpulet_wire_tensor_t){.type = (uint32_t)s->specs[i].type,
                                                      .rank = 2,
                                                      .dims = {2, 3 - i},
                                                      .offset = offsets[i],
                                                      .size = sizes[i]};
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    span_t *s = *state;
    free(s->bytes);
    free(s);
    return 0;
}

static gpulet_status_t read_span(span_t *s, uint64_t size)
{
    gpulet_error_t err;
    const gpulet_tensors_expected_t expected = {s->specs, 2, false};
    return gpulet_tensors_read(s->views, &expected, s->bytes, size, &err);
}

static void a_good_table_becomes_views(void **state)
{
    span_t *s = *state;
    assert_int_equal(read_span(s, SPAN), GPULET_OK);
    assert_ptr_equal(s->views[0].data, s->bytes + TABLE);
    assert_int_equal(s->views[0].size, 24);
    assert_int_equal(s->views[1].shape.dims[1], 2);
    assert_int_equal(s->views[1].size, 20);
}

static void an_absent_tensor_is_an_empty_view_where_allowed(void **state)
{
    span_t *s = *state;
    gpulet_error_t err;
    s->table->tensors[0].type = GPULET_DATATYPE_INVALID;
    assert_int_equal(read_span(s, SPAN), GPULET_E_INVALID);
    const gpulet_tensors_expected_t expected = {s->specs, 2, true};
    assert_int_equal(gpulet_tensors_read(s->views, &expected, s->bytes, SPAN, &err), GPULET_OK);
    assert_null(s->views[0].data);
}

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        gpulet_wire_tensor_t saved = s->table->tensors[0];                                         \
        gpulet_wire_tensor_t *t = &s->table->tensors[0];                                           \
        change;                                                                                    \
        assert_int_equal(read_span(s, SPAN), GPULET_E_INVALID);                                    \
        s->table->tensors[0] = saved;                                                              \
        assert_int_equal(read_span(s, SPAN), GPULET_OK);                                           \
    } while (0)

static void every_wrong_field_is_refused(void **state)
{
    span_t *s = *state;
    REFUSED(t->type = GPULET_DATATYPE_INT32);
    REFUSED(t->type = 77);
    REFUSED(t->rank = 9);
    REFUSED(t->rank = UINT32_MAX);
    REFUSED(t->dims[0] = -1);
    REFUSED(t->dims[0] = 3);
    REFUSED(t->dims[0] = INT64_MAX);
    REFUSED((t->dims[0] = INT64_C(1) << 62, t->dims[1] = 4));
    REFUSED(t->size = 23);
    REFUSED(t->size = UINT64_MAX);
    REFUSED(t->offset = 0);
    REFUSED(t->offset = TABLE + 4);
    REFUSED(t->offset = SPAN);
    REFUSED(t->offset = UINT64_MAX - 63);
    REFUSED((t->dims[0] = 1 << 20, t->size = 12 << 20));
    s->table->count = 3;
    assert_int_equal(read_span(s, SPAN), GPULET_E_INVALID);
    s->table->count = 2;
    s->table->tensors[1].dims[0] = 3; /* six strings need 24 bytes for their lengths alone */
    assert_int_equal(read_span(s, SPAN), GPULET_E_INVALID);
    assert_int_equal(read_span(s, 100), GPULET_E_INVALID);
}

static void spans_stay_in_their_segment(void **state)
{
    (void)state;
    gpulet_error_t err;
    const gpulet_wire_span_t good = {.offset = 64, .size = 64};
    const gpulet_wire_span_t bad[] = {
        {.offset = 64, .size = 65},         {.offset = 128, .size = 64},
        {.offset = 1, .size = 8},           {.offset = UINT64_MAX - 63, .size = 128},
        {.offset = 64, .size = UINT64_MAX}, {.offset = 0, .size = 4},
    };
    assert_int_equal(gpulet_span_check(&good, 128, &err), GPULET_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(gpulet_span_check(&bad[i], 128, &err), GPULET_E_INVALID);
}

static void done_records_are_checked(void **state)
{
    (void)state;
    gpulet_error_t err;
    gpulet_record_done_t done = {.kind = GPULET_RECORD_DONE, .batch = 4, .output = {.size = 64}};
    gpulet_record_done_t out;
    const size_t least = offsetof(gpulet_record_done_t, error);
    assert_int_equal(gpulet_done_read(&out, &done, least + 1, &err), GPULET_OK);
    assert_int_equal(gpulet_done_read(&out, &done, least - 1, &err), GPULET_E_INVALID);
    assert_int_equal(gpulet_done_read(&out, &done, sizeof(done) + 1, &err), GPULET_E_INVALID);
    done.status = 12;
    assert_int_equal(gpulet_done_read(&out, &done, sizeof(done), &err), GPULET_E_INVALID);
    done.status = GPULET_E_INVALID;
    assert_int_equal(gpulet_done_read(&out, &done, sizeof(done), &err), GPULET_E_INVALID);
    done.output.size = 0;
    memset(done.error, 'x', sizeof(done.error));
    assert_int_equal(gpulet_done_read(&out, &done, sizeof(done), &err), GPULET_OK);
    assert_int_equal(strlen(out.error), GPULET_WIRE_ERROR_MAX);
    done.kind = GPULET_RECORD_RUN;
    assert_int_equal(gpulet_done_read(&out, &done, sizeof(done), &err), GPULET_E_INVALID);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_table_becomes_views),   TEST(an_absent_tensor_is_an_empty_view_where_allowed),
        TEST(every_wrong_field_is_refused), TEST(spans_stay_in_their_segment),
        TEST(done_records_are_checked),
    };
    return cmocka_run_group_tests_name("ipc.check", tests, NULL, NULL);
}
