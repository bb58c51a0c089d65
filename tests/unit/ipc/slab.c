#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "ipc/slab.h"

static gpulet_slab_t *slab_of(uint64_t size)
{
    gpulet_slab_t *slab = NULL;
    gpulet_error_t err;
    assert_int_equal(gpulet_slab_create(&slab, "test", size, &err), GPULET_OK);
    return slab;
}

static void rounds_up_to_whole_chunks(void **state)
{
    (void)state;
    gpulet_slab_t *slab = slab_of(1);
    assert_int_equal(gpulet_slab_size(slab), GPULET_SLAB_SLOT_MAX);
    gpulet_slab_destroy(slab);
    gpulet_slab_destroy(NULL);
}

static void slots_freed_last_come_first(void **state)
{
    (void)state;
    gpulet_slab_t *slab = slab_of(4 << 20);
    uint64_t a = 0, b = 0, c = 0;
    assert_int_equal(gpulet_slab_alloc(&a, slab, 600), GPULET_OK);
    assert_int_equal(gpulet_slab_alloc(&b, slab, 1000), GPULET_OK);
    gpulet_slab_free(slab, a);
    gpulet_slab_free(slab, b);
    assert_int_equal(gpulet_slab_alloc(&c, slab, 1024), GPULET_OK);
    assert_int_equal(c, b);
    assert_int_equal(gpulet_slab_alloc(&c, slab, 513), GPULET_OK);
    assert_int_equal(c, a);
    gpulet_slab_destroy(slab);
}

static void says_full_and_takes_chunks_back_for_another_size(void **state)
{
    (void)state;
    gpulet_slab_t *slab = slab_of(2 << 20);
    uint64_t offsets[4096], one = 0;
    int count = 0;
    while (count < 4096 && gpulet_slab_alloc(&offsets[count], slab, 1) == GPULET_OK)
        count++;
    assert_int_equal(count, 4096);
    assert_int_equal(gpulet_slab_alloc(&one, slab, 1), GPULET_E_FULL);
    assert_int_equal(gpulet_slab_alloc(&one, slab, GPULET_SLAB_SLOT_MAX), GPULET_E_FULL);
    assert_int_equal(gpulet_slab_used(slab), 2 << 20);
    for (int i = 0; i < 2048; i++)
        gpulet_slab_free(slab, offsets[i]);
    assert_int_equal(gpulet_slab_alloc(&one, slab, GPULET_SLAB_SLOT_MAX), GPULET_OK);
    assert_int_equal(one % GPULET_SLAB_SLOT_MAX, 0);
    assert_int_equal(gpulet_slab_alloc(&one, slab, 1), GPULET_E_FULL);
    gpulet_slab_destroy(slab);
}

static void random_use_never_overlaps(void **state)
{
    (void)state;
    enum { LIVE = 300, STEPS = 40000 };
    struct {
        uint64_t offset;
        size_t size;
        uint8_t mark;
    } live[LIVE];
    gpulet_rng_t rng;
    gpulet_slab_t *slab = slab_of(64 << 20);
    uint8_t *base = gpulet_slab_base(slab);
    int count = 0;
    gpulet_rng_init(&rng, 3);
    for (int i = 0; i < STEPS; i++) {
        if (i % 5000 == 4999)
            gpulet_slab_trim(slab);
        if (count < LIVE && gpulet_rng_below(&rng, 2) == 0) {
            size_t size = gpulet_rng_below(&rng, (size_t)512 << gpulet_rng_below(&rng, 12));
            size_t slot = 512;
            while (slot < size)
                slot *= 2;
            if (gpulet_slab_alloc(&live[count].offset, slab, size) != GPULET_OK)
                continue;
            live[count].size = size;
            live[count].mark = (uint8_t)i;
            assert_int_equal(live[count].offset % slot, 0);
            assert_true(live[count].offset + slot <= gpulet_slab_size(slab));
            if (size > 0) {
                base[live[count].offset] = (uint8_t)i;
                base[live[count].offset + size - 1] = (uint8_t)i;
            }
            count++;
        } else if (count > 0) {
            int victim = (int)gpulet_rng_below(&rng, (uint64_t)count);
            if (live[victim].size > 0) {
                assert_int_equal(base[live[victim].offset], live[victim].mark);
                assert_int_equal(base[live[victim].offset + live[victim].size - 1],
                                 live[victim].mark);
            }
            gpulet_slab_free(slab, live[victim].offset);
            live[victim] = live[--count];
        }
    }
    while (count > 0)
        gpulet_slab_free(slab, live[--count].offset);
    assert_int_equal(gpulet_slab_used(slab), 0);
    gpulet_slab_destroy(slab);
}

static uint64_t blocks(const gpulet_slab_t *slab)
{
    struct stat st;
    assert_int_equal(fstat(gpulet_slab_fd(slab), &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void trim_gives_pages_back_but_keeps_what_is_used(void **state)
{
    (void)state;
    gpulet_slab_t *slab = slab_of(8 << 20);
    uint8_t *base = gpulet_slab_base(slab);
    uint64_t kept = 0, gone = 0;
    assert_int_equal(gpulet_slab_alloc(&kept, slab, 4096), GPULET_OK);
    assert_int_equal(gpulet_slab_alloc(&gone, slab, GPULET_SLAB_SLOT_MAX), GPULET_OK);
    base[kept] = 7;
    memset(base + gone, 1, GPULET_SLAB_SLOT_MAX);
    gpulet_slab_free(slab, gone);
    assert_true(blocks(slab) >= GPULET_SLAB_SLOT_MAX);
    gpulet_slab_trim(slab);
    assert_true(blocks(slab) < GPULET_SLAB_SLOT_MAX);
    assert_int_equal(base[kept], 7);
    gpulet_slab_destroy(slab);
}

static void the_file_is_sealed_and_maps_on_the_other_side(void **state)
{
    (void)state;
    gpulet_slab_t *slab = slab_of(1 << 20);
    gpulet_error_t err;
    void *other = NULL;
    int fd = gpulet_slab_fd(slab);
    assert_true(ftruncate(fd, 4096) != 0);
    assert_int_equal(gpulet_shared_map(&other, fd, gpulet_slab_size(slab), false, &err), GPULET_OK);
    *(uint8_t *)gpulet_slab_base(slab) = 9;
    assert_int_equal(*(uint8_t *)other, 9);
    assert_int_equal(munmap(other, gpulet_slab_size(slab)), 0);
    gpulet_slab_destroy(slab);
}

static void refuses_to_map_what_could_be_cut(void **state)
{
    (void)state;
    gpulet_error_t err;
    void *base = NULL;
    int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(gpulet_shared_map(&base, fd, 4096, false, &err), GPULET_E_INVALID);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_int_equal(gpulet_shared_map(&base, fd, 8192, false, &err), GPULET_E_INVALID);
    assert_int_equal(gpulet_shared_map(&base, fd, 0, false, &err), GPULET_E_INVALID);
    assert_int_equal(gpulet_shared_map(&base, -1, 4096, false, &err), GPULET_E_INVALID);
    assert_int_equal(close(fd), 0);
}

static void a_large_segment_has_its_own_file(void **state)
{
    (void)state;
    gpulet_error_t err;
    void *base = NULL, *other = NULL;
    int fd = -1;
    assert_int_equal(gpulet_large_create(&fd, &base, "large", 5000000, &err), GPULET_OK);
    memset(base, 3, 5000000);
    assert_int_equal(gpulet_shared_map(&other, fd, 5000000, true, &err), GPULET_OK);
    assert_int_equal(((uint8_t *)other)[4999999], 3);
    assert_int_equal(munmap(other, 5000000), 0);
    assert_int_equal(munmap(base, 5000000), 0);
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_up_to_whole_chunks),
        cmocka_unit_test(slots_freed_last_come_first),
        cmocka_unit_test(says_full_and_takes_chunks_back_for_another_size),
        cmocka_unit_test(random_use_never_overlaps),
        cmocka_unit_test(trim_gives_pages_back_but_keeps_what_is_used),
        cmocka_unit_test(the_file_is_sealed_and_maps_on_the_other_side),
        cmocka_unit_test(refuses_to_map_what_could_be_cut),
        cmocka_unit_test(a_large_segment_has_its_own_file),
    };
    return cmocka_run_group_tests_name("ipc.slab", tests, NULL, NULL);
}
