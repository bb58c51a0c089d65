/* A model's configuration as JSON, as clients send it to load a model with
 * (docs/protocol.md), to the text of a config.pbtxt: the one parser then reads both. */
#ifndef GPULET_PROTO_CONFIG_JSON_H
#define GPULET_PROTO_CONFIG_JSON_H

#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

/* Appends the text of json[0..size), the JSON of Triton's ModelConfig: field names as in
 * config.pbtxt or in lowerCamelCase, 64-bit numbers also as strings, maps as objects. E_INVALID
 * names the field that is not known or of the wrong kind; what a value may be is left to the parser
 * of the text. out is to be thrown away after a failure. */
gpulet_status_t gpulet_config_json_to_pbtxt(gpulet_buf_t *out, const char *json, size_t size,
                                            gpulet_error_t *err) GPULET_MUST_USE;

#endif
