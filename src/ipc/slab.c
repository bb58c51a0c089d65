#include "ipc/slab.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file is cut into chunks of the largest slot size; a chunk serves one size class until it is
 * wholly free and wanted elsewhere. */
enum {
    CHUNK_SIZE = GPULET_SLAB_SLOT_MAX,
    CLASS_COUNT = 12, /* 512 << 0 … 512 << 11 */
    NO_CLASS = 255
};
_Static_assert(GPULET_SLAB_SLOT_MIN << (CLASS_COUNT - 1) == GPULET_SLAB_SLOT_MAX, "size classes");

#define NONE UINT32_MAX

typedef struct chunk {
    uint32_t prev,
        next;       /* in the class's list of chunks with room, or (next) the list of idle chunks */
    uint32_t used;  /* slots handed out */
    uint32_t fresh; /* slots from here on were never handed out */
    uint32_t free_head; /* slot freed last, NONE when there is none */
    uint8_t cls;
    bool listed;
    uint16_t *links;  /* of each free slot: the slot freed before it + 1; 0 ends */
    uint64_t *in_use; /* a bit a slot: catches a slot freed twice */
} chunk_t;

struct gpulet_slab {
    int fd;
    uint8_t *base;
    uint64_t size;
    uint64_t used;
    uint32_t chunk_count;
    uint32_t untouched; /* chunks from here on were never used */
    uint32_t idle;      /* head of the list of chunks given back by trim */
    uint32_t
        rooms[CLASS_COUNT]; /* head of each class's list of chunks with room; latest freed first */
    chunk_t *chunks;
};

/* A sealed memfd of size bytes, mapped for reading and writing. */
static gpulet_status_t memfd_map(int *fd_out, void **base_out, const char *name, uint64_t size,
                                 gpulet_error_t *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return gpulet_fail(err, GPULET_E_IO, "cannot create shared memory '%s': %s", name,
                           strerror(errno));
    if (ftruncate(fd, (off_t)size) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        gpulet_status_t st =
            gpulet_fail(err, errno == EFBIG || errno == ENOSPC ? GPULET_E_NOMEM : GPULET_E_IO,
                        "cannot size shared memory '%s' to %llu bytes: %s", name,
                        (unsigned long long)size, strerror(errno));
        (void)close(fd);
        return st;
    }
    void *base = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        gpulet_status_t st =
            gpulet_fail(err, GPULET_E_NOMEM, "cannot map %llu bytes of shared memory '%s': %s",
                        (unsigned long long)size, name, strerror(errno));
        (void)close(fd);
        return st;
    }
    *fd_out = fd;
    *base_out = base;
    return GPULET_OK;
}

gpulet_status_t gpulet_large_create(int *fd_out, void **base_out, const char *name, uint64_t size,
                                    gpulet_error_t *err)
{
    assert(size > 0);
    return memfd_map(fd_out, base_out, name, size, err);
}

gpulet_status_t gpulet_shared_map(void **base_out, int fd, uint64_t size, bool writable,
                                  gpulet_error_t *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    /* Without the seal the other side could cut the file and this process would die of SIGBUS. */
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "shared memory is not sealed against shrinking");
    if (fstat(fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size < size || size == 0)
        return gpulet_fail(err, GPULET_E_INVALID, "shared memory is smaller than announced");
    void *base =
        mmap(NULL, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return gpulet_fail(err, GPULET_E_NOMEM, "cannot map %llu bytes of shared memory: %s",
                           (unsigned long long)size, strerror(errno));
    *base_out = base;
    return GPULET_OK;
}

gpulet_status_t gpulet_slab_create(gpulet_slab_t **out, const char *name, uint64_t size_max,
                                   gpulet_error_t *err)
{
    uint64_t chunk_count = size_max / CHUNK_SIZE + (size_max % CHUNK_SIZE != 0 ? 1 : 0);
    gpulet_status_t st;
    void *base = NULL;
    assert(size_max > 0);
    if (chunk_count >= NONE)
        return gpulet_fail(err, GPULET_E_TOO_LARGE, "shared memory '%s' is too large", name);
    gpulet_slab_t *slab = calloc(1, sizeof(*slab));
    if (slab == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    slab->fd = -1;
    slab->idle = NONE;
    slab->chunk_count = (uint32_t)chunk_count;
    for (int i = 0; i < CLASS_COUNT; i++)
        slab->rooms[i] = NONE;
    slab->chunks = calloc(chunk_count, sizeof(*slab->chunks));
    if (slab->chunks == NULL) {
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        goto fail;
    }
    if ((st = memfd_map(&slab->fd, &base, name, chunk_count * CHUNK_SIZE, err)) != GPULET_OK)
        goto fail;
    slab->base = base;
    slab->size = chunk_count * CHUNK_SIZE;
    *out = slab;
    return GPULET_OK;
fail:
    gpulet_slab_destroy(slab);
    return st;
}

void gpulet_slab_destroy(gpulet_slab_t *slab)
{
    if (slab == NULL)
        return;
    if (slab->base != NULL)
        (void)munmap(slab->base, (size_t)slab->size);
    if (slab->fd >= 0)
        (void)close(slab->fd);
    for (uint32_t i = 0; slab->chunks != NULL && i < slab->untouched; i++) {
        free(slab->chunks[i].links);
        free(slab->chunks[i].in_use);
    }
    free(slab->chunks);
    free(slab);
}

int gpulet_slab_fd(const gpulet_slab_t *slab)
{
    return slab->fd;
}

uint64_t gpulet_slab_size(const gpulet_slab_t *slab)
{
    return slab->size;
}

void *gpulet_slab_base(const gpulet_slab_t *slab)
{
    return slab->base;
}

uint64_t gpulet_slab_used(const gpulet_slab_t *slab)
{
    return slab->used;
}

static uint32_t class_of(size_t size)
{
    uint32_t cls = 0;
    while ((size_t)GPULET_SLAB_SLOT_MIN << cls < size)
        cls++;
    return cls;
}

static uint32_t slot_size(uint32_t cls)
{
    return (uint32_t)GPULET_SLAB_SLOT_MIN << cls;
}

static uint32_t slot_count(uint32_t cls)
{
    return CHUNK_SIZE / slot_size(cls);
}

static void room_unlist(gpulet_slab_t *slab, uint32_t index)
{
    chunk_t *c = &slab->chunks[index];
    if (!c->listed)
        return;
    if (c->prev == NONE)
        slab->rooms[c->cls] = c->next;
    else
        slab->chunks[c->prev].next = c->next;
    if (c->next != NONE)
        slab->chunks[c->next].prev = c->prev;
    c->listed = false;
}

static void room_list_first(gpulet_slab_t *slab, uint32_t index)
{
    chunk_t *c = &slab->chunks[index];
    if (c->listed && c->prev == NONE)
        return;
    room_unlist(slab, index);
    c->prev = NONE;
    c->next = slab->rooms[c->cls];
    if (c->next != NONE)
        slab->chunks[c->next].prev = index;
    slab->rooms[c->cls] = index;
    c->listed = true;
}

static void chunk_unassign(gpulet_slab_t *slab, uint32_t index)
{
    chunk_t *c = &slab->chunks[index];
    assert(c->used == 0);
    room_unlist(slab, index);
    free(c->links);
    free(c->in_use);
    memset(c, 0, sizeof(*c));
    c->cls = NO_CLASS;
    c->next = slab->idle;
    slab->idle = index;
}

/* Takes the first wholly free chunk from another class. */
static bool chunk_steal(gpulet_slab_t *slab)
{
    for (uint32_t i = 0; i < slab->untouched; i++) {
        if (slab->chunks[i].cls != NO_CLASS && slab->chunks[i].used == 0) {
            chunk_unassign(slab, i);
            return true;
        }
    }
    return false;
}

static gpulet_status_t chunk_assign(gpulet_slab_t *slab, uint32_t cls)
{
    uint16_t *links = calloc(slot_count(cls), sizeof(*links));
    uint64_t *in_use = calloc((slot_count(cls) + 63) / 64, sizeof(*in_use));
    gpulet_status_t st = GPULET_E_NOMEM;
    uint32_t index;
    if (links == NULL || in_use == NULL)
        goto fail;
    st = GPULET_E_FULL;
    if (slab->idle == NONE && slab->untouched == slab->chunk_count && !chunk_steal(slab))
        goto fail;
    if (slab->idle != NONE) {
        index = slab->idle;
        slab->idle = slab->chunks[index].next;
    } else {
        index = slab->untouched++;
    }
    slab->chunks[index] =
        (chunk_t){.prev = NONE, .next = NONE, .free_head = NONE, .links = links, .in_use = in_use};
    slab->chunks[index].cls = (uint8_t)cls;
    room_list_first(slab, index);
    return GPULET_OK;
fail:
    free(links);
    free(in_use);
    return st;
}

gpulet_status_t gpulet_slab_alloc(uint64_t *offset_out, gpulet_slab_t *slab, size_t size)
{
    assert(size <= GPULET_SLAB_SLOT_MAX);
    uint32_t cls = class_of(size);
    if (slab->rooms[cls] == NONE) {
        gpulet_status_t st = chunk_assign(slab, cls);
        if (st != GPULET_OK)
            return st;
    }
    uint32_t index = slab->rooms[cls];
    chunk_t *c = &slab->chunks[index];
    uint32_t slot = c->free_head;
    if (slot != NONE)
        c->free_head = c->links[slot] == 0 ? NONE : c->links[slot] - 1U;
    else
        slot = c->fresh++;
    c->in_use[slot / 64] |= UINT64_C(1) << (slot % 64);
    c->used++;
    slab->used += slot_size(cls);
    if (c->used == slot_count(cls))
        room_unlist(slab, index);
    *offset_out = (uint64_t)index * CHUNK_SIZE + (uint64_t)slot * slot_size(cls);
    return GPULET_OK;
}

void gpulet_slab_free(gpulet_slab_t *slab, uint64_t offset)
{
    uint64_t index = offset / CHUNK_SIZE;
    assert(index < slab->untouched);
    chunk_t *c = &slab->chunks[index];
    assert(c->cls != NO_CLASS && offset % slot_size(c->cls) == 0);
    uint32_t slot = (uint32_t)(offset % CHUNK_SIZE / slot_size(c->cls));
    assert((c->in_use[slot / 64] >> (slot % 64) & 1U) != 0);
    c->in_use[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
    c->links[slot] = (uint16_t)(c->free_head == NONE ? 0 : c->free_head + 1);
    c->free_head = slot;
    c->used--;
    slab->used -= slot_size(c->cls);
    room_list_first(slab, (uint32_t)index);
}

void gpulet_slab_trim(gpulet_slab_t *slab)
{
    for (uint32_t i = 0; i < slab->untouched; i++) {
        if (slab->chunks[i].cls == NO_CLASS || slab->chunks[i].used != 0)
            continue;
        /* Failing leaves the pages where they are, which only costs memory. */
        (void)fallocate(slab->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)i * CHUNK_SIZE,
                        CHUNK_SIZE);
        chunk_unassign(slab, i);
    }
}
