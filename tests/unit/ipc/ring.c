#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/rng.h"
#include "ipc/ring.h"

enum { SIZE = GPULET_RING_SIZE_MIN };

typedef struct pair {
    void *memory;
    int eventfd;
    gpulet_ring_t producer;
    gpulet_ring_t consumer;
    uint8_t *data;
} pair_t;

static int setup(void **state)
{
    pair_t *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->memory = aligned_alloc(64, gpulet_ring_bytes(SIZE));
    assert_non_null(p->memory);
    memset(p->memory, 0, gpulet_ring_bytes(SIZE));
    p->eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(p->eventfd >= 0);
    gpulet_ring_init(&p->producer, p->memory, SIZE, p->eventfd);
    gpulet_ring_init(&p->consumer, p->memory, SIZE, p->eventfd);
    p->data = (uint8_t *)p->memory + sizeof(gpulet_ring_shared_t);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    pair_t *p = *state;
    (void)close(p->eventfd);
    free(p->memory);
    free(p);
    return 0;
}

static gpulet_status_t pop(pair_t *p, size_t *size)
{
    static _Alignas(8) uint8_t out[GPULET_RING_RECORD_MAX];
    return gpulet_ring_pop(&p->consumer, out, sizeof(out), size);
}

static void an_empty_ring_has_nothing(void **state)
{
    pair_t *p = *state;
    size_t size = 0;
    assert_int_equal(pop(p, &size), GPULET_E_AGAIN);
    assert_false(gpulet_ring_pending(&p->consumer));
}

static void records_come_out_as_they_went_in(void **state)
{
    pair_t *p = *state;
    gpulet_rng_t rng;
    _Alignas(8) uint8_t in[GPULET_RING_RECORD_MAX], out[GPULET_RING_RECORD_MAX];
    gpulet_rng_init(&rng, 7);
    for (int i = 0; i < 20000; i++) {
        size_t size = 1 + gpulet_rng_below(&rng, i % 50 == 0 ? sizeof(in) : 300);
        size_t head = 1 + gpulet_rng_below(&rng, size);
        size_t got = 0;
        memset(in, i, size);
        in[0] = (uint8_t)size;
        assert_int_equal(gpulet_ring_push(&p->producer, in, head, in + head, size - head),
                         GPULET_OK);
        assert_true(gpulet_ring_pending(&p->consumer));
        assert_int_equal(gpulet_ring_pop(&p->consumer, out, sizeof(out), &got), GPULET_OK);
        assert_int_equal(got, size);
        assert_memory_equal(in, out, size);
    }
}

static void says_full_and_goes_on_after_a_read(void **state)
{
    pair_t *p = *state;
    static const uint8_t record[GPULET_RING_RECORD_MAX];
    size_t size = 0;
    int count = 0;
    while (gpulet_ring_push(&p->producer, record, 5000, NULL, 0) == GPULET_OK)
        count++;
    assert_int_equal(count, SIZE / 5008);
    assert_int_equal(gpulet_ring_push(&p->producer, record, 5000, NULL, 0), GPULET_E_FULL);
    assert_int_equal(pop(p, &size), GPULET_OK);
    assert_int_equal(pop(p, &size), GPULET_OK);
    assert_int_equal(gpulet_ring_push(&p->producer, record, 5000, NULL, 0), GPULET_OK);
    while (count-- > 1)
        assert_int_equal(pop(p, &size), GPULET_OK);
    assert_int_equal(pop(p, &size), GPULET_E_AGAIN);
}

static void refuses_a_record_over_the_readers_room(void **state)
{
    pair_t *p = *state;
    uint8_t small[16];
    size_t size = 0;
    assert_int_equal(gpulet_ring_push(&p->producer, "0123456789abcdefg", 17, NULL, 0), GPULET_OK);
    assert_int_equal(gpulet_ring_pop(&p->consumer, small, sizeof(small), &size), GPULET_E_INVALID);
}

static void a_mad_producers_index_is_refused(void **state)
{
    pair_t *p = *state;
    static const uint64_t heads[] = {1, 7, SIZE + 8, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};
    size_t size = 0;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        atomic_store(&p->producer.shared->head, heads[i]);
        assert_int_equal(pop(p, &size), GPULET_E_INVALID);
    }
}

static void a_producers_index_that_goes_back_is_refused(void **state)
{
    pair_t *p = *state;
    size_t size = 0;
    assert_int_equal(gpulet_ring_push(&p->producer, "x", 1, NULL, 0), GPULET_OK);
    assert_int_equal(pop(p, &size), GPULET_OK);
    atomic_store(&p->producer.shared->head, 8);
    assert_int_equal(pop(p, &size), GPULET_E_INVALID);
}

static void mad_lengths_are_refused(void **state)
{
    pair_t *p = *state;
    static const uint32_t lengths[] = {0, GPULET_RING_RECORD_MAX + 1, UINT32_MAX - 1, UINT32_MAX,
                                       9};
    size_t size = 0;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memcpy(p->data, &lengths[i], sizeof(lengths[i]));
        atomic_store(&p->producer.shared->head, 16); /* room for a header and eight bytes */
        assert_int_equal(pop(p, &size), GPULET_E_INVALID);
    }
}

static void a_mad_consumers_index_is_refused(void **state)
{
    pair_t *p = *state;
    static const uint64_t tails[] = {1, 1 << 20, UINT64_MAX - 7};
    static const uint8_t record[GPULET_RING_RECORD_MAX];
    while (gpulet_ring_push(&p->producer, record, 5000, NULL, 0) == GPULET_OK)
        continue;
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        atomic_store(&p->producer.shared->tail, tails[i]);
        assert_int_equal(gpulet_ring_push(&p->producer, record, 5000, NULL, 0), GPULET_E_INVALID);
    }
}

/* Random nonsense all over the shared memory: the consumer ends each try in a bounded number of
 * steps, inside its bounds (ASan watches). */
static void survives_random_memory(void **state)
{
    pair_t *p = *state;
    gpulet_rng_t rng;
    gpulet_rng_init(&rng, 42);
    for (int i = 0; i < 2000; i++) {
        size_t size = 0;
        int records = 0;
        uint32_t *words = (uint32_t *)(void *)p->data;
        gpulet_ring_init(&p->consumer, p->memory, SIZE, p->eventfd);
        for (size_t w = 0; w < SIZE / 4; w += 1 + gpulet_rng_below(&rng, 64))
            words[w] = gpulet_rng_below(&rng, 8) == 0 ? UINT32_MAX
                                                      : (uint32_t)gpulet_rng_below(&rng, 20000);
        p->consumer.own = p->consumer.peer = gpulet_rng_below(&rng, SIZE / 8) * 8;
        atomic_store(&p->producer.shared->head,
                     p->consumer.own + gpulet_rng_below(&rng, SIZE / 8 + 1) * 8);
        while (pop(p, &size) == GPULET_OK)
            records++;
        assert_true(records <= SIZE / 16);
    }
}

static uint64_t wakeups(const pair_t *p)
{
    uint64_t count = 0;
    return read(p->eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void wakes_a_sleeper_once_and_a_waking_one_never(void **state)
{
    pair_t *p = *state;
    size_t size = 0;
    assert_int_equal(gpulet_ring_push(&p->producer, "a", 1, NULL, 0), GPULET_OK);
    gpulet_ring_wake(&p->producer, GPULET_RING_ASLEEP);
    assert_int_equal(wakeups(p), 0);
    assert_false(gpulet_ring_sleep(&p->consumer, GPULET_RING_ASLEEP));
    assert_int_equal(pop(p, &size), GPULET_OK);
    assert_true(gpulet_ring_sleep(&p->consumer, GPULET_RING_ASLEEP));
    gpulet_ring_wake(&p->producer, GPULET_RING_STARVED);
    assert_int_equal(wakeups(p), 0);
    gpulet_ring_wake(&p->producer, GPULET_RING_ASLEEP);
    gpulet_ring_wake(&p->producer, GPULET_RING_ASLEEP);
    assert_int_equal(wakeups(p), 1);
    assert_true(gpulet_ring_sleep(&p->consumer, GPULET_RING_STARVED));
    gpulet_ring_wake(&p->producer, GPULET_RING_STARVED);
    assert_int_equal(wakeups(p), 1);
}

enum { RECORDS = 1000000 };

static void *produce(void *arg)
{
    pair_t *p = arg;
    for (uint32_t i = 0; i < RECORDS; i++) {
        uint32_t record[16];
        uint32_t words = 1 + i % 16;
        for (uint32_t w = 0; w < words; w++)
            record[w] = i;
        while (gpulet_ring_push(&p->producer, record, sizeof(uint32_t), record + 1,
                                (words - 1) * sizeof(uint32_t)) != GPULET_OK)
            (void)sched_yield();
        gpulet_ring_wake(&p->producer, GPULET_RING_ASLEEP);
        /* Now and then the consumer gets to the end, and so to sleep. */
        while (i % 100 == 0 && gpulet_ring_backlog(&p->producer) > 0)
            (void)sched_yield();
    }
    return NULL;
}

static void two_threads_pass_a_million_records_and_sleep_between(void **state)
{
    pair_t *p = *state;
    pthread_t thread;
    uint32_t sleeps = 0;
    assert_int_equal(pthread_create(&thread, NULL, produce, p), 0);
    for (uint32_t i = 0; i < RECORDS;) {
        uint32_t record[16];
        size_t size = 0;
        gpulet_status_t st = gpulet_ring_pop(&p->consumer, record, sizeof(record), &size);
        if (st == GPULET_E_AGAIN) {
            struct pollfd wait = {.fd = p->eventfd, .events = POLLIN};
            if (gpulet_ring_sleep(&p->consumer, GPULET_RING_ASLEEP)) {
                assert_int_equal(poll(&wait, 1, 10000), 1); /* a lost wake-up would end here */
                (void)wakeups(p);
                sleeps++;
            }
            gpulet_ring_awake(&p->consumer);
            continue;
        }
        assert_int_equal(st, GPULET_OK);
        assert_int_equal(size, (1 + i % 16) * sizeof(uint32_t));
        for (size_t w = 0; w < size / sizeof(uint32_t); w++)
            assert_true(record[w] == i);
        i++;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%u sleeps for %d records\n", sleeps, (int)RECORDS);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_ring_has_nothing),
        TEST(records_come_out_as_they_went_in),
        TEST(says_full_and_goes_on_after_a_read),
        TEST(refuses_a_record_over_the_readers_room),
        TEST(a_mad_producers_index_is_refused),
        TEST(a_producers_index_that_goes_back_is_refused),
        TEST(mad_lengths_are_refused),
        TEST(a_mad_consumers_index_is_refused),
        TEST(survives_random_memory),
        TEST(wakes_a_sleeper_once_and_a_waking_one_never),
        TEST(two_threads_pass_a_million_records_and_sleep_between),
    };
    return cmocka_run_group_tests_name("ipc.ring", tests, NULL, NULL);
}
