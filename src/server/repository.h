/* The model repository on disk, laid out as Triton does:
 * <repo>/<model>/[config.pbtxt]<version>/model.onnx. Reading it yields one entry a served version
 * of a model, with its complete configuration; nothing is loaded. Not thread-safe. */
#ifndef GPULET_SERVER_REPOSITORY_H
#define GPULET_SERVER_REPOSITORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "core/model_config.h"

typedef struct gpulet_repository_model {
    char name[GPULET_MODEL_NAME_MAX + 1];
    char key[GPULET_MODEL_NAME_MAX +
             1];    /* in plans and profiles: the name; of an older version "name:version" */
    bool newest;    /* of the versions served: what a request without a version gets */
    char *path;     /* of the model file, "" for an ensemble and where there is none; owned */
    char *file_key; /* of the file (store/content.h), of its folder where there is none, "" for an
                       ensemble; owned */
    int64_t version;
    gpulet_model_config_t config;
    gpulet_model_io_t io;
    gpulet_model_io_t warmup; /* gpulet_model_config_warmup */
    bool rehearsed;           /* the engine stands in for the model: it is told io */
    char *config_text; /* what its configuration was read from: config.pbtxt or what replaced it;
                          owned; NULL when it could not be read */
    char *problem;     /* why it cannot be served, NULL when it can; owned */
} gpulet_repository_model_t;

typedef struct gpulet_repository {
    size_t count;
    gpulet_repository_model_t *models; /* owned; sorted by name, newest version first */
} gpulet_repository_t;

/* Reads every folder of `root`. A model that is wrong is listed with its `problem`; only a root
 * that cannot be read is an error. With the engine "fake" the file may be a script of that engine,
 * an ONNX model, which is not run, or blank or absent; where it says nothing of tensors
 * config.pbtxt does, and where that does not either the model takes and gives 16 floats
 * (engine/fake/fake.h). */
gpulet_status_t gpulet_repository_read(gpulet_repository_t *out, const char *root,
                                       const char *engine, uint32_t batch_max_default,
                                       gpulet_error_t *err) GPULET_MUST_USE;
/* Reads one folder of `root` anew: the versions served of that name. config: the text of a
 * config.pbtxt to be taken in place of the file; NULL: the file. E_NOT_FOUND: there is no such
 * folder. */
gpulet_status_t gpulet_repository_read_one(gpulet_repository_t *out, const char *root,
                                           const char *name, const char *config, const char *engine,
                                           uint32_t batch_max_default,
                                           gpulet_error_t *err) GPULET_MUST_USE;
/* What the engine must be told of the model; NULL: it reads it from the file. Borrowed. */
const gpulet_model_io_t *gpulet_repository_told(const gpulet_repository_model_t *model);
/* Moves model `index` out of the repository, which keeps an empty one in its place. The caller
 * deinits it. */
void gpulet_repository_take(gpulet_repository_model_t *out, gpulet_repository_t *repository,
                            size_t index);
void gpulet_repository_model_deinit(gpulet_repository_model_t *model);
void gpulet_repository_deinit(gpulet_repository_t *repository);

#endif
