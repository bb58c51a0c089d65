#include "base/digest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* FNV-1a, and beside it another from another offset that adds one at each step. */
void gpulet_digest_init(gpulet_digest_t *digest)
{
    *digest = (gpulet_digest_t){UINT64_C(14695981039346656037), UINT64_C(0x9e3779b97f4a7c15)};
}

void gpulet_digest_add(gpulet_digest_t *digest, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t a = digest->a, b = digest->b;
    for (size_t i = 0; i < size; i++) {
        a = (a ^ bytes[i]) * UINT64_C(1099511628211);
        b = (b ^ bytes[i]) * UINT64_C(1099511628211) + 1;
    }
    *digest = (gpulet_digest_t){a, b};
}

void gpulet_digest_text(char out[GPULET_DIGEST_TEXT_MAX + 1], const gpulet_digest_t *digest)
{
    (void)snprintf(out, GPULET_DIGEST_TEXT_MAX + 1, "%016" PRIx64 "%016" PRIx64, digest->a,
                   digest->b);
}

void gpulet_digest_of(char out[GPULET_DIGEST_TEXT_MAX + 1], const char *text)
{
    gpulet_digest_t digest;
    gpulet_digest_init(&digest);
    gpulet_digest_add(&digest, text, strlen(text));
    gpulet_digest_text(out, &digest);
}
