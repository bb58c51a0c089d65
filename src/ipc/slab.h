/* A memfd cut into slots of size classes, handed out to hold one request's (or one batch's)
 * tensors. The owner maps it for writing, the other side for reading. Bookkeeping is private to the
 * owner: nothing in shared memory is trusted. The file is sealed against shrinking and growing
 * before it is shared. Not thread-safe. */
#ifndef GPULET_IPC_SLAB_H
#define GPULET_IPC_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_slab gpulet_slab_t;

enum {
    GPULET_SLAB_SLOT_MIN = 512,
    GPULET_SLAB_SLOT_MAX = 1 << 20 /* larger data gets a memfd of its own */
};

/* size_max bytes of address space (rounded up to whole chunks); pages are taken only when touched.
 * name is for /proc. */
gpulet_status_t gpulet_slab_create(gpulet_slab_t **out, const char *name, uint64_t size_max,
                                   gpulet_error_t *err) GPULET_MUST_USE;
/* The descriptor is closed and the owner's mapping removed; other processes keep theirs. NULL is
 * fine. */
void gpulet_slab_destroy(gpulet_slab_t *slab);
int gpulet_slab_fd(const gpulet_slab_t *slab);
uint64_t gpulet_slab_size(const gpulet_slab_t *slab);
void *gpulet_slab_base(const gpulet_slab_t *slab);
/* A slot of at least size bytes (≤ GPULET_SLAB_SLOT_MAX), aligned to its power-of-two size (at
 * least 512). E_FULL when there is none. Slots freed last are handed out first, so that a quiet
 * server touches few pages. */
gpulet_status_t gpulet_slab_alloc(uint64_t *offset_out, gpulet_slab_t *slab,
                                  size_t size) GPULET_MUST_USE;
/* offset must be one that alloc gave and that was not freed since (asserted). */
void gpulet_slab_free(gpulet_slab_t *slab, uint64_t offset);
uint64_t gpulet_slab_used(const gpulet_slab_t *slab);
/* Gives the pages of wholly free chunks back to the system. */
void gpulet_slab_trim(gpulet_slab_t *slab);

/* A memfd of its own for data over GPULET_SLAB_SLOT_MAX: mapped for writing, sealed. */
gpulet_status_t gpulet_large_create(int *fd_out, void **base_out, const char *name, uint64_t size,
                                    gpulet_error_t *err) GPULET_MUST_USE;
/* Maps what the other side made: checks the seals (no shrink) and that the file has at least size
 * bytes. */
gpulet_status_t gpulet_shared_map(void **base_out, int fd, uint64_t size, bool writable,
                                  gpulet_error_t *err) GPULET_MUST_USE;

#endif
