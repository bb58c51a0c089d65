/* A digest that tells contents apart: 128 bits, in hexadecimal. Against chance, not against
 * somebody who looks for two contents of one digest. */
#ifndef GPULET_BASE_DIGEST_H
#define GPULET_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

enum { GPULET_DIGEST_TEXT_MAX = 32 };

typedef struct gpulet_digest {
    uint64_t a, b;
} gpulet_digest_t;

void gpulet_digest_init(gpulet_digest_t *digest);
/* The same in one piece or in many. */
void gpulet_digest_add(gpulet_digest_t *digest, const void *data, size_t size);
/* Of a whole text. */
void gpulet_digest_of(char out[GPULET_DIGEST_TEXT_MAX + 1], const char *text);
void gpulet_digest_text(char out[GPULET_DIGEST_TEXT_MAX + 1], const gpulet_digest_t *digest);

#endif
