#include "server/measured_by.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "engine/engine.h"
#include "server/machine.h"

/* Not where the file lies nor when it was written: a copy of it measures the same. */
static void append_library(gpulet_buf_t *out, const char *ort_library)
{
    char path[PATH_MAX];
    char real[PATH_MAX];
    struct stat info;
    if (gpulet_engine_ort_locate(path, sizeof(path), ort_library, NULL) != GPULET_OK ||
        realpath(path, real) == NULL || stat(real, &info) != 0)
        return;
    const char *slash = strrchr(real, '/');
    gpulet_buf_printf(out, "%s %lld", slash != NULL ? slash + 1 : real, (long long)info.st_size);
}

void gpulet_measured_by(char out[GPULET_MEASURED_BY_MAX + 1], const char *engine,
                        const char *ort_library, const char *backend)
{
    char key[GPULET_DIGEST_TEXT_MAX + 1] = "";
    gpulet_buf_t text = GPULET_BUF_INIT;
    if (strcmp(engine, "ort") == 0) {
        append_library(&text, ort_library);
        if (strcmp(backend, "cpu") == 0)
            server_machine_cpu_line(&text, "model name");
        gpulet_digest_of(key, text.data != NULL ? text.data : "");
    }
    gpulet_buf_deinit(&text);
    (void)snprintf(out, GPULET_MEASURED_BY_MAX + 1, "%.30s%s%s", engine, key[0] != '\0' ? " " : "",
                   key);
}

static void add_text(gpulet_digest_t *digest, const char *text)
{
    gpulet_digest_add(digest, text, strlen(text) + 1);
}

static void add_shapes(gpulet_digest_t *digest, const gpulet_model_io_t *warmup)
{
    char shape[256];
    for (uint32_t i = 0; warmup != NULL && i < warmup->inputs_count; i++) {
        add_text(digest, warmup->inputs[i].name);
        add_text(digest, gpulet_shape_format(shape, sizeof(shape), &warmup->inputs[i].shape));
    }
}

void gpulet_measured_by_shapes(char out[GPULET_MEASURED_BY_MAX + 1], const char *measured_by,
                               const gpulet_model_io_t *warmup, const gpulet_model_io_t *other)
{
    char key[GPULET_DIGEST_TEXT_MAX + 1] = "";
    gpulet_digest_t digest;
    const bool own = warmup != NULL && warmup->inputs_count > 0;
    const bool others = other != NULL && other->inputs_count > 0;
    gpulet_digest_init(&digest);
    add_shapes(&digest, warmup);
    add_text(&digest, "");
    add_shapes(&digest, other);
    if (own || others)
        gpulet_digest_text(key, &digest);
    (void)snprintf(out, GPULET_MEASURED_BY_MAX + 1, "%.70s%s%.40s", measured_by,
                   key[0] != '\0' ? " " : "", key);
}
