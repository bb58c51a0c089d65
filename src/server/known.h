/* How well the latencies of models are known, and the profile that plans are made from.
 *
 * What was measured of a model's own file is kept with the model, as it was measured. In the
 * server's profile, under its name, stands the best that there is: what its user says, else that if
 * it is all, else what was known of the file that it had before, else a part. All functions belong
 * to the loop's thread. */
#ifndef GPULET_SERVER_KNOWN_H
#define GPULET_SERVER_KNOWN_H

#include "server/internal.h"

/* The models that the profile has already, from a file, are known from there for ever. */
gpulet_status_t server_known_open(gpulet_server_t *server, gpulet_error_t *err) GPULET_MUST_USE;
void server_known_close(gpulet_server_t *server);

/* A model that comes at run time; old: the one whose place it takes, or NULL. */
void server_known_begin(gpulet_server_t *server, server_model_t *model, const server_model_t *old);
/* It is not to come after all: the profile is to be of the one that serves under its name, if any.
 */
void server_known_abandon(gpulet_server_t *server, const server_model_t *coming);

/* A plan is made for the model, and there is more of it to be measured. */
bool server_model_unmeasured(const server_model_t *model);
/* What was measured of its file; NAN: this point was not. */
double server_known_ms(const server_model_t *model, const char *device, uint32_t units,
                       uint32_t batch);
/* One more point, for server_known_finish. E_NOMEM, E_INVALID. */
gpulet_status_t server_known_point(server_model_t *model, const char *device, uint32_t units,
                                   const gpulet_profile_point_t *point,
                                   gpulet_error_t *err) GPULET_MUST_USE;
/* All has been measured that can be. */
void server_known_finish(gpulet_server_t *server, server_model_t *model);
/* What the store has of its file; whole: there is no more to measure. True when the profile is
 * another now. */
bool server_known_stored(gpulet_server_t *server, server_model_t *model,
                         const gpulet_profile_t *points, bool whole);

#endif
