/* Documents as text, with figures that read back as they were (the JSON library's own writer gives
 * every figure the same number of digits). */
#ifndef GPULET_PROTO_JSON_WRITE_H
#define GPULET_PROTO_JSON_WRITE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/status.h"

struct json_t;

/* Takes the document over. root NULL: there was no memory to make it, which is what is answered.
 * lines: for people too, an element a line. */
gpulet_status_t gpulet_json_write(gpulet_buf_t *out, struct json_t *root,
                                  bool lines) GPULET_MUST_USE;

#endif
