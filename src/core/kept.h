/* What a configuration says and nothing here acts on: kept as JSON, so that it can be shown again.
 * A message that is acted on is a node with those of its fields that are not; such a field is one
 * node with its JSON, as long as what it was read from. Not thread-safe while it is built. */
#ifndef GPULET_CORE_KEPT_H
#define GPULET_CORE_KEPT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

typedef enum gpulet_kept_form {
    GPULET_KEPT_MESSAGE, /* `first` and what follows are its fields */
    GPULET_KEPT_VALUE,   /* text */
    GPULET_KEPT_LIST,    /* text without its brackets */
    GPULET_KEPT_MAP      /* `first` and what follows are its entries, each "key":value in text */
} gpulet_kept_form_t;

typedef struct gpulet_kept gpulet_kept_t;

struct gpulet_kept {
    gpulet_kept_form_t form;
    const char *name; /* of the field, borrowed: static; NULL for an entry and the outermost */
    bool grave;       /* without it answers are others, or clients have to talk in another way */
    gpulet_buf_t text;
    size_t key_size;      /* of an entry: the first bytes of its text */
    size_t count;         /* of what `first` begins */
    gpulet_kept_t *first; /* owned, as is what follows */
    gpulet_kept_t *last;
    gpulet_kept_t *next;
};

enum { GPULET_KEPT_ENTRIES_MAX = 4096 };

void gpulet_kept_deinit(gpulet_kept_t *kept);
/* NULL is fine. */
void gpulet_kept_destroy(gpulet_kept_t *kept);
/* A new node at the end of parent, which owns it; NULL: out of memory. */
gpulet_kept_t *gpulet_kept_add(gpulet_kept_t *parent, gpulet_kept_form_t form, const char *name);
/* The field of that name in the message; added when there is none. NULL: out of memory. */
gpulet_kept_t *gpulet_kept_field(gpulet_kept_t *message, gpulet_kept_form_t form, const char *name);
/* Puts the entry key:value, both JSON, the key a string, into a map, in place of one of the same
 * key. E_FULL at GPULET_KEPT_ENTRIES_MAX, E_NOMEM. */
gpulet_status_t gpulet_kept_put(gpulet_kept_t *map, const char *key, const char *value,
                                size_t value_size) GPULET_MUST_USE;
/* The field of a message; of a message that is repeated: the one at index. NULL when there is none;
 * message may be NULL. */
const gpulet_kept_t *gpulet_kept_find(const gpulet_kept_t *message, const char *name, size_t index);
/* Appends the JSON of a field, or of a message of which nothing is acted on. */
void gpulet_kept_write(gpulet_buf_t *out, const gpulet_kept_t *kept);

#endif
