/* What the store knows of models' files, and of other files with the same in them: asked at the
 * start, and then on a thread of its own, which also reads the files that it has not seen before.
 * What is found goes to known.h, and a plan is asked for. All functions belong to the loop's
 * thread. */
#ifndef GPULET_SERVER_RECALL_H
#define GPULET_SERVER_RECALL_H

#include "server/internal.h"

/* Takes what the store has of all models of which nothing is known yet, and starts the thread.
 * Without a store nothing. */
gpulet_status_t server_recall_open(gpulet_server_t *server, gpulet_error_t *err) GPULET_MUST_USE;
void server_recall_close(gpulet_server_t *server);

/* A model that is new, or has a new file, or is loaded again. What the store does not know of it is
 * measured. */
void server_recall_model(gpulet_server_t *server, const server_model_t *model);
/* A plan that is made now would not know what the store does. Not for long: a store may be held by
 * others. */
bool server_recall_looking(const gpulet_server_t *server);
/* What is measured now may be known. */
bool server_recall_wanted(const gpulet_server_t *server);

#endif
