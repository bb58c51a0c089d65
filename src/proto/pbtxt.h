/* config.pbtxt: the text format of protobuf, as far as Triton's ModelConfig needs it, without I/O
 * (docs/protocol.md).
 *
 * Every field of ModelConfig is known by name and kind, so that a misspelt field, a wrong kind of
 * value or a repeated singular field is an error with line and column; fields that gpulet does not
 * use are checked and kept, so that they can be shown and told of. Thread-safe: no state. */
#ifndef GPULET_PROTO_PBTXT_H
#define GPULET_PROTO_PBTXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/model_config.h"

/* Parses text[0..size) into *out (caller deinits; untouched on failure). `file` names the source in
 * errors: "file:line:column: …". */
gpulet_status_t gpulet_pbtxt_parse(gpulet_model_config_t *out, const char *text, size_t size,
                                   const char *file, gpulet_error_t *err) GPULET_MUST_USE;

/* Appends the names of what the configuration says without effect, "a,b.c": nothing is appended
 * when there is no such thing. *grave: one of them changes answers or how clients have to talk. */
gpulet_status_t gpulet_pbtxt_without_effect(gpulet_buf_t *out, bool *grave,
                                            const gpulet_model_config_t *config) GPULET_MUST_USE;

#endif
