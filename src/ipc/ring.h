/* A single-producer, single-consumer ring of variable-length records in memory shared by two
 * processes that do not trust each other.
 *
 * Each side owns a gpulet_ring_t (its private view) over the same shared bytes. An index counts
 * bytes ever written or read; it is kept privately by its owner and only published in shared
 * memory. What the peer publishes, and every length in the ring, is checked before use: a peer that
 * writes nonsense gets E_INVALID and never makes this side read out of bounds or loop for ever.
 * Records are copied out before they are looked at.
 *
 * A record is an 8-byte header (its length; or a mark: skip to the end of the ring) and its bytes,
 * padded to 8, never wrapping.
 *
 * Waking up. Each ring has a word `sleeping` that the consumer writes and the producer may clear,
 * and an eventfd:
 *
 *   consumer                                   producer
 *   sleeping := how deep        (seq_cst)      head := new index              (seq_cst)
 *   head == own index?          (seq_cst)      sleeping deep enough?          (seq_cst)
 *     no:  sleeping := 0, go on                  exchange it with 0; it was set: write the eventfd
 *     yes: wait for the eventfd
 *
 * The four accesses are sequentially consistent, so one side always sees the other's write
 * (Dekker): either the consumer finds the record or the producer finds the sleeper. The exchange
 * makes it at most one write a sleep; a busy consumer costs the producer no system call.
 *
 * Threads: one thread an end. Owner of the memory and of the eventfd: the caller. */
#ifndef GPULET_IPC_RING_H
#define GPULET_IPC_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    GPULET_RING_RECORD_MAX = 16384, /* bytes of one record */
    GPULET_RING_SIZE_MIN = 4 * GPULET_RING_RECORD_MAX,
    GPULET_RING_HEADER_SIZE = 8
};

/* How deep the consumer sleeps: what is worth waking it for. */
typedef enum gpulet_ring_sleep {
    GPULET_RING_AWAKE = 0,
    GPULET_RING_ASLEEP = 1, /* wake me for work */
    GPULET_RING_STARVED = 2 /* wake me for anything */
} gpulet_ring_sleep_t;

/* The head of a ring in shared memory. Each word has a cache line of its own; all are zero at
 * first. */
typedef struct gpulet_ring_shared {
    _Alignas(64) _Atomic uint64_t head;     /* bytes ever written; by the producer */
    _Alignas(64) _Atomic uint64_t tail;     /* bytes ever read; by the consumer */
    _Alignas(64) _Atomic uint32_t sleeping; /* gpulet_ring_sleep_t */
    _Alignas(
        64) _Atomic uint32_t messages; /* control messages sent beside this ring; by the producer */
} gpulet_ring_shared_t;

/* One end. Initialise it with gpulet_ring_init; nothing to free. */
typedef struct gpulet_ring {
    gpulet_ring_shared_t *shared;
    uint8_t *data;
    uint64_t size; /* a power of two, ≥ GPULET_RING_SIZE_MIN */
    uint64_t own;  /* our index: the truth */
    uint64_t peer; /* the peer's index as last seen and found good */
    int eventfd;   /* written by the producer, waited for by the consumer */
} gpulet_ring_t;

/* Bytes of shared memory for a ring of size data bytes. */
size_t gpulet_ring_bytes(uint64_t size);
/* memory is gpulet_ring_bytes(size) bytes, aligned to 64, zero at first. The same call for both
 * ends. */
void gpulet_ring_init(gpulet_ring_t *ring, void *memory, uint64_t size, int eventfd);

/* Producer: appends head and body (body_size may be 0) as one record of at most
 * GPULET_RING_RECORD_MAX bytes. E_FULL when there is no room now; E_INVALID when the consumer
 * published nonsense. Does not wake. */
gpulet_status_t gpulet_ring_push(gpulet_ring_t *ring, const void *head, size_t head_size,
                                 const void *body, size_t body_size) GPULET_MUST_USE;
/* Producer: wakes a consumer that sleeps at least as deep as least. */
void gpulet_ring_wake(gpulet_ring_t *ring, gpulet_ring_sleep_t least);
/* Producer: bytes not yet read by the consumer. */
uint64_t gpulet_ring_backlog(gpulet_ring_t *ring);

/* Consumer: copies the next record to out. E_AGAIN when there is none, E_INVALID when the producer
 * wrote nonsense (or a record over cap): the ring is of no use after that. */
gpulet_status_t gpulet_ring_pop(gpulet_ring_t *ring, void *out, size_t cap,
                                size_t *size_out) GPULET_MUST_USE;
/* Consumer: whether the producer's index has moved past ours (not checked further). */
bool gpulet_ring_pending(const gpulet_ring_t *ring);
/* Consumer: the producer's index now: all records sent before this call end at or before it. */
uint64_t gpulet_ring_horizon(const gpulet_ring_t *ring);
/* Consumer: says that it is about to wait. False: something is there, do not wait (the word is
 * cleared again). */
bool gpulet_ring_sleep(gpulet_ring_t *ring, gpulet_ring_sleep_t depth);
/* Consumer: says that it is awake. */
void gpulet_ring_awake(gpulet_ring_t *ring);

#endif
