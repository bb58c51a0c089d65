/* Fields of config.pbtxt that gpulet does not act on: kept as JSON while they are read, and shown.
 * Private to proto/. */
#ifndef GPULET_PROTO_PBTXT_UNUSED_H
#define GPULET_PROTO_PBTXT_UNUSED_H

#include "base/buf.h"
#include "core/kept.h"
#include "proto/pbtxt_parse.h"

/* Keep a field of the message: a value, or a message of which nothing is used. Those that are
 * repeated come one at a time. E_FULL: a map of GPULET_KEPT_ENTRIES_MAX; E_NOMEM. */
gpulet_status_t gpulet_pbtxt_keep_scalar(gpulet_kept_t *message, const gpulet_pbtxt_field_t *field,
                                         const gpulet_pbtxt_value_t *value) GPULET_MUST_USE;
gpulet_status_t gpulet_pbtxt_keep_message(gpulet_kept_t *message, const gpulet_pbtxt_field_t *field,
                                          const gpulet_kept_t *inner) GPULET_MUST_USE;

/* The message of a field of that name, which is one. */
const gpulet_pbtxt_message_t *gpulet_pbtxt_message_of(const gpulet_pbtxt_message_t *message,
                                                      const char *name);
/* Appends `,"name":JSON` for every field of the message that is not used, as kept or as what holds
 * anyway; kept may be NULL. */
void gpulet_pbtxt_unused_show(gpulet_buf_t *out, const gpulet_pbtxt_message_t *message,
                              const gpulet_kept_t *kept);

#endif
