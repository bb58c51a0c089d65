/* ensemble_scheduling of a config.pbtxt: its steps become an application (core/app.h). Private to
 * proto/: pbtxt.c hands on what it reads. */
#ifndef GPULET_PROTO_PBTXT_ENSEMBLE_H
#define GPULET_PROTO_PBTXT_ENSEMBLE_H

#include "core/app.h"
#include "core/model_config.h"
#include "proto/pbtxt_parse.h"

/* An entry of a step's input_map or output_map. */
typedef struct gpulet_pbtxt_entry {
    bool output;
    gpulet_pbtxt_place_t place;
    char *key;   /* owned; the model's tensor */
    char *value; /* owned; the ensemble's */
} gpulet_pbtxt_entry_t;

/* What has been read so far; zero-initialised. A step's fields may come in any order, so they are
 * kept until it ends. */
typedef struct gpulet_pbtxt_ensemble {
    bool given;
    gpulet_pbtxt_place_t place;
    gpulet_pbtxt_place_t platform_place;
    gpulet_pbtxt_place_t io_places[2][GPULET_MODEL_IO_MAX]; /* of inputs and of outputs */
    gpulet_app_t *app;                                      /* owned until finish */
    uint32_t steps_count;
    gpulet_pbtxt_place_t step_place; /* of the step at hand, as the rest */
    char *model;                     /* owned */
    int64_t version;
    size_t entries_count;
    gpulet_pbtxt_entry_t *entries; /* owned */
} gpulet_pbtxt_ensemble_t;

gpulet_status_t gpulet_pbtxt_ensemble_begin(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                            const gpulet_pbtxt_field_t *field,
                                            gpulet_pbtxt_place_t place) GPULET_MUST_USE;
gpulet_status_t gpulet_pbtxt_ensemble_scalar(gpulet_pbtxt_ensemble_t *e,
                                             gpulet_pbtxt_lexer_t *lexer,
                                             const gpulet_pbtxt_field_t *field,
                                             const gpulet_pbtxt_value_t *value) GPULET_MUST_USE;
gpulet_status_t gpulet_pbtxt_ensemble_end(gpulet_pbtxt_ensemble_t *e, gpulet_pbtxt_lexer_t *lexer,
                                          const gpulet_pbtxt_field_t *field,
                                          gpulet_pbtxt_place_t place) GPULET_MUST_USE;
/* Checks the ensemble with the rest of the configuration and hands it over to config->app; does
 * nothing for a configuration that is no ensemble's. */
gpulet_status_t gpulet_pbtxt_ensemble_finish(gpulet_pbtxt_ensemble_t *e,
                                             gpulet_pbtxt_lexer_t *lexer,
                                             gpulet_model_config_t *config) GPULET_MUST_USE;
void gpulet_pbtxt_ensemble_deinit(gpulet_pbtxt_ensemble_t *e);

#endif
