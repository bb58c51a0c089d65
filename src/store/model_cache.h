/* A folder of prepared models (engine.h, prepare), one folder an entry, named by a key (a digest).
 * An entry appears whole or not at all, is never changed, and stays usable by whoever has it open
 * when it goes. Several servers may use one folder. One owner; not thread-safe. */
#ifndef GPULET_STORE_MODEL_CACHE_H
#define GPULET_STORE_MODEL_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_model_cache gpulet_model_cache_t;

/* Makes the folder when it is not there, and removes what processes that are gone left half made.
 * E_INVALID when others than its owner may write to it: what lies there is loaded. bytes_max: what
 * all entries may take together. Caller closes. */
gpulet_status_t gpulet_model_cache_open(gpulet_model_cache_t **out, const char *folder,
                                        uint64_t bytes_max, gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_model_cache_close(gpulet_model_cache_t *cache);

/* Writes the path of the entry's folder and marks it as used now. E_NOT_FOUND, E_TOO_LARGE. */
gpulet_status_t gpulet_model_cache_find(char *out, size_t out_size, gpulet_model_cache_t *cache,
                                        const char *key) GPULET_MUST_USE;
/* Makes an empty folder to write an entry to, and writes its path. Then commit or abandon. */
gpulet_status_t gpulet_model_cache_begin(char *out, size_t out_size, gpulet_model_cache_t *cache,
                                         const char *key, gpulet_error_t *err) GPULET_MUST_USE;
/* The entry is whole: from now on it is found. Entries that were not used for the longest time go
 * until all fit, this one last; E_TOO_LARGE when it does not fit alone, and then it is gone. */
gpulet_status_t gpulet_model_cache_commit(gpulet_model_cache_t *cache, const char *key,
                                          gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_model_cache_abandon(gpulet_model_cache_t *cache, const char *key);
/* An entry that turned out bad. */
void gpulet_model_cache_remove(gpulet_model_cache_t *cache, const char *key);

#endif
