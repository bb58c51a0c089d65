/* Writes into the store on a thread of its own: a disk that is slow, or another process that has
 * the file locked, keeps no request waiting. */
#ifndef GPULET_SERVER_KEEPER_H
#define GPULET_SERVER_KEEPER_H

#include <stdint.h>

#include "core/profile.h"
#include "store/store.h"

typedef struct server_keeper server_keeper_t;

/* What a server was told of a model's rate. */
typedef struct server_told {
    char *model; /* owned */
    double rate_rps;
} server_told_t;

/* The store is the keeper's from the first write on; the caller closes it after destroy. */
gpulet_status_t server_keeper_create(server_keeper_t **out, gpulet_store_t *store,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* Writes what is left first. NULL is fine. */
void server_keeper_destroy(server_keeper_t *keeper);

/* The plan that is served from now on, and the rates that it was made for, in one transaction; one
 * that has not been written yet is left out. Takes json and told, told_count entries of it. On the
 * loop's thread; failures are logged. */
void server_keeper_plan(server_keeper_t *keeper, const char *why, char *json, server_told_t *told,
                        uint32_t told_count);
/* A measured point; the texts are copied. Likewise. */
void server_keeper_point(server_keeper_t *keeper, const char *device, const char *engine,
                         const char *file_key, const char *model, uint32_t units,
                         const gpulet_profile_point_t *point);
/* All of the file is measured (gpulet_store_put_whole); left out where a point could not be written
 * before. Likewise. */
void server_keeper_whole(server_keeper_t *keeper, const char *device, const char *engine,
                         const char *file_key, uint32_t units, uint32_t batch);

#endif
