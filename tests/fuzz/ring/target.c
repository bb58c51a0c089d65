/* What a hostile worker may write: the ring and its indices, control messages, done records with
 * their tables of tensors. The first byte says which. Bounds are watched by the sanitizers; what is
 * promised beyond them is asserted here. */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/check.h"
#include "ipc/control.h"
#include "ipc/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RING_SIZE = GPULET_RING_SIZE_MIN };

static uint64_t take_u64(const uint8_t **data, size_t *size)
{
    uint64_t value = 0;
    size_t n = *size < sizeof(value) ? *size : sizeof(value);
    memcpy(&value, *data, n);
    *data += n;
    *size -= n;
    return value;
}

static void fuzz_ring(const uint8_t *data, size_t size)
{
    static _Alignas(8) uint8_t record[GPULET_RING_RECORD_MAX];
    gpulet_ring_t consumer, producer;
    uint8_t *memory = aligned_alloc(64, gpulet_ring_bytes(RING_SIZE));
    if (memory == NULL)
        return;
    memset(memory, 0, gpulet_ring_bytes(RING_SIZE));
    gpulet_ring_init(&consumer, memory, RING_SIZE, -1);
    uint64_t own = take_u64(&data, &size) % RING_SIZE & ~UINT64_C(7);
    uint64_t head = take_u64(&data, &size);
    consumer.own = consumer.peer = own;
    atomic_store(&consumer.shared->head, head);
    for (size_t at = 0; size > 0 && at < RING_SIZE; at++)
        consumer.data[(own + at) % RING_SIZE] = data[at % size];
    for (size_t got = 0, records = 0;; records++) {
        assert(records <= RING_SIZE / GPULET_RING_HEADER_SIZE);
        gpulet_status_t st = gpulet_ring_pop(&consumer, record, sizeof(record), &got);
        assert(st == GPULET_OK || st == GPULET_E_AGAIN || st == GPULET_E_INVALID);
        if (st != GPULET_OK)
            break;
        assert(got > 0 && got <= sizeof(record));
    }
    /* The same memory from the other end: whatever the consumer published, no record is written out
     * of bounds. */
    gpulet_ring_init(&producer, memory, RING_SIZE, -1);
    producer.own = producer.peer = own;
    for (int i = 0; i < 16; i++) {
        atomic_store(&producer.shared->tail, i % 2 == 0 ? head : own + (head & 0xfff8));
        if (gpulet_ring_push(&producer, record, 1 + (size_t)(head % 9000), NULL, 0) ==
            GPULET_E_INVALID)
            break;
    }
    free(memory);
}

static void fuzz_control(const uint8_t *data, size_t size)
{
    gpulet_control_t message;
    if (gpulet_control_decode(&message, data, size) != GPULET_OK)
        return;
    uint8_t *again = malloc(size);
    size_t again_size = 0;
    if (again != NULL && size <= GPULET_CONTROL_MESSAGE_MAX) {
        gpulet_status_t st = gpulet_control_encode(again, size, &again_size, &message);
        assert(st == GPULET_OK && again_size == size);
        assert(memcmp(again, data, size) == 0);
    }
    free(again);
    gpulet_control_deinit(&message);
}

static void fuzz_done(const uint8_t *data, size_t size)
{
    enum { COUNT = 3 };
    static const gpulet_datatype_t types[COUNT] = {GPULET_DATATYPE_FP32, GPULET_DATATYPE_BYTES,
                                                   GPULET_DATATYPE_BOOL};
    static gpulet_tensor_spec_t specs[COUNT];
    gpulet_tensor_view_t views[COUNT];
    gpulet_record_done_t done;
    gpulet_error_t err;
    size_t record = size < sizeof(done) ? size : sizeof(done);
    if (gpulet_done_read(&done, data, record, &err) == GPULET_OK)
        assert(memchr(done.error, '\0', sizeof(done.error)) != NULL);
    uint8_t *segment = aligned_alloc(64, (size + 63) / 64 * 64 + 64);
    if (segment == NULL)
        return;
    memcpy(segment, data, size);
    for (int i = 0; i < COUNT; i++)
        specs[i].type = types[i];
    uint32_t count = size > 0 ? data[0] % (COUNT + 1U) : 0;
    const gpulet_wire_span_t span = {.size = size};
    const gpulet_tensors_expected_t expected = {specs, count, (size & 1) != 0};
    if (gpulet_span_check(&span, size, &err) == GPULET_OK &&
        gpulet_tensors_read(views, &expected, segment, size, &err) == GPULET_OK) {
        for (uint32_t i = 0; i < count; i++) {
            const uint8_t *at = views[i].data;
            assert(at == NULL || (at >= segment && at + views[i].size <= segment + size));
            for (size_t b = 0; at != NULL && b < views[i].size; b++)
                assert(at[b] == data[(size_t)(at - segment) + b]);
        }
    }
    free(segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        fuzz_ring(data + 1, size - 1);
        break;
    case 1:
        fuzz_control(data + 1, size - 1);
        break;
    default:
        fuzz_done(data + 1, size - 1);
    }
    return 0;
}
