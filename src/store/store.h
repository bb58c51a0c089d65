/* The store: what was measured on this machine and which plans were served, in one SQLite file, so
 * that a restart needs no measuring.
 *
 * Measured points are kept by device type, engine and the model file's key (store/content.h): a
 * changed file has no points, and one whose content was told has those of all files of that
 * content: its own, else the newest. Used by one thread at a time. */
#ifndef GPULET_STORE_STORE_H
#define GPULET_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/status.h"
#include "core/pairs.h"
#include "core/profile.h"

typedef struct gpulet_store gpulet_store_t;

/* Opens or creates the file and its folders; path NULL: $XDG_STATE_HOME/gpulet/gpulet.db, or
 * ~/.local/state/gpulet/gpulet.db. A file that is no store, or of a newer version, is E_INVALID and
 * left alone. Several processes may have it open. */
gpulet_status_t gpulet_store_open(gpulet_store_t **out, const char *path,
                                  gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_store_close(gpulet_store_t *store); /* NULL is fine */
const char *gpulet_store_path(const gpulet_store_t *store);

gpulet_status_t gpulet_store_put_point(gpulet_store_t *store, const char *device,
                                       const char *engine, const char *file_key, const char *model,
                                       uint32_t units, uint32_t instances,
                                       const gpulet_profile_point_t *point,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* Adds all points of the file to the profile under the name `model`; *points_out says how many. */
gpulet_status_t gpulet_store_get_points(gpulet_store_t *store, const char *device,
                                        const char *engine, const char *file_key, const char *model,
                                        gpulet_profile_t *profile, size_t *points_out,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* All that there is to measure of the file has been, in gpu-lets of up to so many units and batches
 * of up to so many items: points of these that it does not have are not to be had. get: of it or of
 * another file of its content, for as many at least. */
gpulet_status_t gpulet_store_put_whole(gpulet_store_t *store, const char *device,
                                       const char *engine, const char *file_key, uint32_t units,
                                       uint32_t batch, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_store_get_whole(bool *out, gpulet_store_t *store, const char *device,
                                       const char *engine, const char *file_key, uint32_t units,
                                       uint32_t batch, gpulet_error_t *err) GPULET_MUST_USE;
/* What is in a file, as its digest. get: E_NOT_FOUND when that was not told. */
gpulet_status_t gpulet_store_put_content(gpulet_store_t *store, const char *file_key,
                                         const char *digest, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_store_get_content(char out[GPULET_DIGEST_TEXT_MAX + 1],
                                         gpulet_store_t *store, const char *file_key,
                                         gpulet_error_t *err) GPULET_MUST_USE;
/* A measured pair, by the keys of both files; what is no model's file (a traffic generator) has its
 * name for a key. The pair replaces the one measured before. */
gpulet_status_t gpulet_store_put_pair(gpulet_store_t *store, const char *engine,
                                      const char *self_key, const char *other_key,
                                      const gpulet_pair_t *pair,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* Adds all pairs of the two files; names->device, self.model and other.model say under which names,
 * the rest of it is ignored. *count_out says how many. */
gpulet_status_t gpulet_store_get_pairs(gpulet_store_t *store, const char *engine,
                                       const char *self_key, const char *other_key,
                                       const gpulet_pair_t *names, gpulet_pairs_t *pairs,
                                       size_t *count_out, gpulet_error_t *err) GPULET_MUST_USE;
/* What is put between begin and commit is kept as a whole, and much quicker than by itself; undo
 * forgets it. */
gpulet_status_t gpulet_store_begin(gpulet_store_t *store, gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_store_commit(gpulet_store_t *store, gpulet_error_t *err) GPULET_MUST_USE;
void gpulet_store_undo(gpulet_store_t *store);

/* Appends to the history of plans: why and the plan's JSON. Only the newest 1,000 are kept. */
gpulet_status_t gpulet_store_put_plan(gpulet_store_t *store, const char *why, const char *json,
                                      gpulet_error_t *err) GPULET_MUST_USE;
/* The newest plan's JSON, caller frees; E_NOT_FOUND when there is none. */
gpulet_status_t gpulet_store_last_plan(char **json_out, gpulet_store_t *store,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* What a server was told of a model's rate (0: nothing) when it kept its last plan: a plan made for
 * other rates is not the one to begin with. get: E_NOT_FOUND. */
gpulet_status_t gpulet_store_put_told(gpulet_store_t *store, const char *model, double rate_rps,
                                      gpulet_error_t *err) GPULET_MUST_USE;
gpulet_status_t gpulet_store_get_told(double *rate_rps_out, gpulet_store_t *store,
                                      const char *model, gpulet_error_t *err) GPULET_MUST_USE;

#endif
