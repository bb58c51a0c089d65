/* Paths of requests held against patterns: {m} is a model name, percent-encoded, {v} a version
 * number, {r} any name. Pure. */
#ifndef GPULET_SERVER_ROUTE_H
#define GPULET_SERVER_ROUTE_H

#include <stdbool.h>

#include "core/model_config.h"

enum { SERVER_VERSION_MAX = 20 };

/* What stands in the path. */
typedef struct server_route {
    char name[GPULET_MODEL_NAME_MAX + 1];
    char version[SERVER_VERSION_MAX + 1]; /* "" when the path has none */
} server_route_t;

/* Whether the whole path fits the pattern. */
bool server_route_match(server_route_t *match, const char *pattern, const char *path);

#endif
