#include "ipc/ring.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(gpulet_ring_shared_t) == 256, "layout of the shared head");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "atomics in shared memory must not take a lock of one process");

/* In place of a length: the rest of the ring up to its end is empty. */
#define SKIP UINT32_MAX

static uint64_t frame_size(uint64_t record_size)
{
    return GPULET_RING_HEADER_SIZE + ((record_size + 7U) & ~UINT64_C(7));
}

static void header_write(uint8_t *at, uint32_t length)
{
    const uint32_t header[2] = {length, 0};
    memcpy(at, header, sizeof(header));
}

/* One read through a volatile pointer, so that a peer who rewrites it between a check and a use
 * gains nothing. */
static uint32_t header_read(const uint8_t *at)
{
    return *(const volatile uint32_t *)(const void *)at;
}

size_t gpulet_ring_bytes(uint64_t size)
{
    return sizeof(gpulet_ring_shared_t) + (size_t)size;
}

void gpulet_ring_init(gpulet_ring_t *ring, void *memory, uint64_t size, int eventfd)
{
    assert(memory != NULL && ((uintptr_t)memory & 63U) == 0);
    assert(size >= GPULET_RING_SIZE_MIN && (size & (size - 1)) == 0);
    memset(ring, 0, sizeof(*ring));
    ring->shared = memory;
    ring->data = (uint8_t *)memory + sizeof(gpulet_ring_shared_t);
    ring->size = size;
    ring->eventfd = eventfd;
}

/* The consumer's index must lie between what it said last and what was written. */
static gpulet_status_t tail_refresh(gpulet_ring_t *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->shared->tail, memory_order_acquire);
    if ((tail & 7U) != 0 || tail < ring->peer || tail > ring->own)
        return GPULET_E_INVALID;
    ring->peer = tail;
    return GPULET_OK;
}

gpulet_status_t gpulet_ring_push(gpulet_ring_t *ring, const void *head, size_t head_size,
                                 const void *body, size_t body_size)
{
    uint64_t record = (uint64_t)head_size + body_size;
    assert(head_size > 0 && head_size <= GPULET_RING_RECORD_MAX);
    assert(body_size <= GPULET_RING_RECORD_MAX - head_size);
    uint64_t frame = frame_size(record);
    uint64_t at = ring->own & (ring->size - 1);
    uint64_t skip = at + frame > ring->size ? ring->size - at : 0;
    if (ring->size - (ring->own - ring->peer) < skip + frame) {
        gpulet_status_t st = tail_refresh(ring);
        if (st != GPULET_OK)
            return st;
        if (ring->size - (ring->own - ring->peer) < skip + frame)
            return GPULET_E_FULL;
    }
    if (skip > 0) {
        header_write(ring->data + at, SKIP);
        at = 0;
    }
    header_write(ring->data + at, (uint32_t)record);
    memcpy(ring->data + at + GPULET_RING_HEADER_SIZE, head, head_size);
    if (body_size > 0)
        memcpy(ring->data + at + GPULET_RING_HEADER_SIZE + head_size, body, body_size);
    ring->own += skip + frame;
    atomic_store_explicit(&ring->shared->head, ring->own, memory_order_seq_cst);
    return GPULET_OK;
}

void gpulet_ring_wake(gpulet_ring_t *ring, gpulet_ring_sleep_t least)
{
    const uint64_t one = 1;
    uint32_t depth = atomic_load_explicit(&ring->shared->sleeping, memory_order_seq_cst);
    if (depth < (uint32_t)least || depth == GPULET_RING_AWAKE)
        return;
    if (atomic_exchange_explicit(&ring->shared->sleeping, GPULET_RING_AWAKE,
                                 memory_order_seq_cst) == GPULET_RING_AWAKE)
        return;
    if (write(ring->eventfd, &one, sizeof(one)) < 0)
        return; /* EAGAIN: the counter is at its end, so the consumer is being woken already. */
}

uint64_t gpulet_ring_backlog(gpulet_ring_t *ring)
{
    /* The next push will complain of an impossible index; here it only means that the old one
     * stands. */
    (void)(tail_refresh(ring) == GPULET_OK);
    return ring->own - ring->peer;
}

/* The producer's index must not go back nor promise more than the ring holds. */
static gpulet_status_t head_refresh(gpulet_ring_t *ring)
{
    uint64_t head = atomic_load_explicit(&ring->shared->head, memory_order_acquire);
    if ((head & 7U) != 0 || head < ring->peer || head < ring->own || head - ring->own > ring->size)
        return GPULET_E_INVALID;
    ring->peer = head;
    return GPULET_OK;
}

/* The length of the record at our index, stepping over one skip mark. */
static gpulet_status_t record_locate(uint64_t *at_out, uint32_t *length_out, gpulet_ring_t *ring)
{
    uint64_t at = ring->own & (ring->size - 1);
    uint32_t length = header_read(ring->data + at);
    if (length == SKIP) {
        uint64_t rest = ring->size - at;
        /* A skip comes before a record, in one publication, and never at the start. */
        if (at == 0 || ring->peer - ring->own < rest + GPULET_RING_HEADER_SIZE)
            return GPULET_E_INVALID;
        ring->own += rest;
        at = 0;
        length = header_read(ring->data);
    }
    if (length == 0 || length > GPULET_RING_RECORD_MAX)
        return GPULET_E_INVALID;
    uint64_t frame = frame_size(length);
    if (frame > ring->peer - ring->own || frame > ring->size - at)
        return GPULET_E_INVALID;
    *at_out = at;
    *length_out = length;
    return GPULET_OK;
}

gpulet_status_t gpulet_ring_pop(gpulet_ring_t *ring, void *out, size_t cap, size_t *size_out)
{
    uint64_t at = 0;
    uint32_t length = 0;
    gpulet_status_t st;
    if (ring->peer == ring->own) {
        if ((st = head_refresh(ring)) != GPULET_OK)
            return st;
        if (ring->peer == ring->own)
            return GPULET_E_AGAIN;
    }
    if ((st = record_locate(&at, &length, ring)) != GPULET_OK)
        return st;
    if (length > cap)
        return GPULET_E_INVALID;
    memcpy(out, ring->data + at + GPULET_RING_HEADER_SIZE, length);
    /* The copy is looked at from here on, never the shared bytes: the compiler must not read them
     * again. */
    __asm__ volatile("" ::: "memory");
    ring->own += frame_size(length);
    atomic_store_explicit(&ring->shared->tail, ring->own, memory_order_release);
    *size_out = length;
    return GPULET_OK;
}

bool gpulet_ring_pending(const gpulet_ring_t *ring)
{
    return ring->peer != ring->own ||
           atomic_load_explicit(&ring->shared->head, memory_order_acquire) != ring->own;
}

uint64_t gpulet_ring_horizon(const gpulet_ring_t *ring)
{
    return atomic_load_explicit(&ring->shared->head, memory_order_acquire);
}

bool gpulet_ring_sleep(gpulet_ring_t *ring, gpulet_ring_sleep_t depth)
{
    atomic_store_explicit(&ring->shared->sleeping, (uint32_t)depth, memory_order_seq_cst);
    if (ring->peer == ring->own &&
        atomic_load_explicit(&ring->shared->head, memory_order_seq_cst) == ring->own)
        return true;
    gpulet_ring_awake(ring);
    return false;
}

void gpulet_ring_awake(gpulet_ring_t *ring)
{
    atomic_store_explicit(&ring->shared->sleeping, GPULET_RING_AWAKE, memory_order_relaxed);
}
