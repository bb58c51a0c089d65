/* Backends: probed, opened, carved, settled, released. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "device/backend.h"
#include "torture.h"

static gpulet_status_t carve(const gpulet_device_backend_t *backend, gpulet_device_t *device)
{
    gpulet_partition_t *parts[2] = {NULL, NULL};
    char grant[GPULET_GRANT_MAX + 1];
    gpulet_error_t err;
    gpulet_status_t st = backend->carve(&parts[0], device, 1, 0, &err);
    if (st == GPULET_OK)
        st = backend->carve(&parts[1], device, 1, 1, &err);
    if (st == GPULET_OK)
        st = backend->grant(grant, sizeof(grant), parts[1]);
    backend->release(parts[0]);
    if (st == GPULET_OK && backend->settle != NULL)
        st = backend->settle(parts[1], &err);
    backend->release(parts[1]);
    return st;
}

static gpulet_status_t device(void *context)
{
    const gpulet_device_backend_t *backend = context;
    const gpulet_device_options_t options = {.fake_spec = "big:10:2"};
    gpulet_device_desc_t descs[4];
    gpulet_device_t *out = NULL;
    gpulet_error_t err;
    uint32_t count = 0;
    gpulet_status_t st = backend->probe(descs, 4, &count, &options, &err);
    if (st != GPULET_OK)
        return st;
    if ((st = backend->open(&out, 0, &options, &err)) != GPULET_OK) {
        assert_null(out);
        return st;
    }
    st = carve(backend, out);
    backend->close(out);
    return st;
}

static void every_backend(void **state)
{
    (void)state;
    for (const gpulet_device_backend_t *const *b = gpulet_device_backends(); *b != NULL; b++) {
        gpulet_device_desc_t desc;
        uint32_t count = 0;
        if ((*b)->probe(&desc, 1, &count, NULL, NULL) != GPULET_E_UNAVAILABLE)
            torture_run((*b)->name, device, (void *)(uintptr_t)*b, TORTURE_BOTH, 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_backend)};
    return cmocka_run_group_tests_name("torture.device", tests, NULL, NULL);
}
