/* For the files glet*.c alone. */
#ifndef GPULET_CORE_GLET_TEXT_H
#define GPULET_CORE_GLET_TEXT_H

#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"

/* The text without blanks and one comma at the end of each line; lines stay where they are. */
gpulet_status_t gpulet_glet_text_trim(gpulet_buf_t *out, const char *text, size_t size,
                                      const char *file, gpulet_error_t *err) GPULET_MUST_USE;

#endif
