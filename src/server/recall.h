/* What the store knows of models' files, and of other files with the same in them: asked at the
 * start, and then on a thread of its own, which also reads the files that it has not seen before.
 *
 * A model that takes another file's place goes by what was measured of that one until it is known
 * itself. All functions belong to the loop's thread. */
#ifndef GPULET_SERVER_RECALL_H
#define GPULET_SERVER_RECALL_H

#include "server/internal.h"

/* Takes the profiles of all models that have none yet from the store, and starts the thread. Those
 * that the profile has already, which came from a file, are never measured. */
gpulet_status_t server_recall_open(gpulet_server_t *server, gpulet_error_t *err) GPULET_MUST_USE;
void server_recall_close(gpulet_server_t *server);

/* A model that is new, or has a new file. */
void server_recall_model(gpulet_server_t *server, server_model_t *model);
/* A plan that is made now would not know what the store does. */
bool server_recall_looking(const gpulet_server_t *server);
/* What is measured now may be known. */
bool server_recall_busy(const gpulet_server_t *server);

#endif
