#include "cmd/cmd_version.h"

#include <stdio.h>

#include "base/version.h"
#include "device/backend.h"
#include "engine/engine.h"

void cmd_version_print(const char *program)
{
    (void)printf("%s %s (%s, preset %s, %s, sanitizers: %s)\n", program, GPULET_VERSION,
                 GPULET_COMMIT, GPULET_PRESET, GPULET_BUILD, GPULET_SANITIZERS);
    (void)printf("devices:");
    for (const gpulet_device_backend_t *const *b = gpulet_device_backends(); *b != NULL; b++)
        (void)printf(" %s", (*b)->name);
    (void)printf("\nengines:");
    for (const gpulet_engine_ops_t *const *e = gpulet_engine_all(); *e != NULL; e++)
        (void)printf(" %s", (*e)->name);
    (void)printf("\n");
}
