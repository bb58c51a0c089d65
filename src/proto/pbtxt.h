/* config.pbtxt: the text format of protobuf, as far as Triton's ModelConfig needs it, without I/O
 * (docs/protocol.md).
 *
 * Every field of ModelConfig is known by name and kind, so that a misspelt field, a wrong kind of
 * value or a repeated singular field is an error with line and column; fields that gpulet does not
 * use are checked and ignored. Thread-safe: no state. */
#ifndef GPULET_PROTO_PBTXT_H
#define GPULET_PROTO_PBTXT_H

#include <stddef.h>

#include "base/status.h"
#include "core/model_config.h"

/* Parses text[0..size) into *out (caller deinits; untouched on failure). `file` names the source in
 * errors: "file:line:column: …". */
gpulet_status_t gpulet_pbtxt_parse(gpulet_model_config_t *out, const char *text, size_t size,
                                   const char *file, gpulet_error_t *err) GPULET_MUST_USE;

#endif
