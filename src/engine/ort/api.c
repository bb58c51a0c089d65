#include "engine/ort/api.h"

#include <assert.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

/* What OrtGetApiBase gives. */
typedef struct ort_api_base {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
} ort_api_base_t;

typedef const ort_api_base_t *(*ort_entry_t)(void);

#define SLOT_IS_OFFERED(slot, result, name, parameters)                                            \
    _Static_assert((slot) < ORT_API_SLOTS, "slot is newer than the version asked for");
GPULET_ORT_API_MAP(SLOT_IS_OFFERED)
#undef SLOT_IS_OFFERED

uint32_t gpulet_ort_api_offered(const char *version)
{
    uint64_t offered;
    if (strncmp(version, "1.", 2) != 0)
        return 0;
    const char *minor = version + 2;
    size_t len = strspn(minor, "0123456789");
    if (gpulet_parse_u64(&offered, minor, len) != GPULET_OK || offered > UINT32_MAX)
        return 0;
    return (uint32_t)offered;
}

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises that the
 * bytes are the same. */
static void take_function(void *function_out, const void *object)
{
    memcpy(function_out, &object, sizeof(object));
}

static gpulet_status_t get_base(const ort_api_base_t **out, const char *path, gpulet_error_t *err)
{
    ort_entry_t entry = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        const char *why = dlerror();
        /* The loader's texts begin with the path they are about. */
        return gpulet_fail(err, GPULET_E_UNAVAILABLE, "cannot open ONNX Runtime: %s",
                           why != NULL ? why : path);
    }
    take_function(&entry, dlsym(library, "OrtGetApiBase"));
    const ort_api_base_t *base = entry != NULL ? entry() : NULL;
    if (base == NULL)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s is no ONNX Runtime library: it has no OrtGetApiBase", path);
    *out = base;
    return GPULET_OK;
}

gpulet_status_t gpulet_ort_api_open(gpulet_ort_api_t *api, char version[GPULET_ORT_VERSION_MAX],
                                    const char *path, gpulet_error_t *err)
{
    const ort_api_base_t *base = NULL;
    gpulet_status_t st = get_base(&base, path, err);
    if (st != GPULET_OK)
        return st;
    assert(base != NULL);
    const char *text = base->get_version();
    uint32_t offered = gpulet_ort_api_offered(text);
    /* Asking for more than is offered would make the library print to stderr. */
    if (offered < ORT_API_VERSION)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "%s is ONNX Runtime %s; gpulet needs 1.%d or newer (the onnxruntime "
                           "wheels from 1.20 on carry the shared library)",
                           path, text, ORT_API_VERSION);
    const void *const *slots = base->get_api(ORT_API_VERSION);
    if (slots == NULL)
        return gpulet_fail(err, GPULET_E_UNSUPPORTED,
                           "%s: ONNX Runtime %s does not offer API version %d", path, text,
                           ORT_API_VERSION);
#define BIND(slot, result, name, parameters) take_function(&api->name, slots[slot]);
    GPULET_ORT_API_MAP(BIND)
#undef BIND
    (void)snprintf(version, GPULET_ORT_VERSION_MAX, "%s", text);
    return GPULET_OK;
}

int gpulet_ort_take(const gpulet_ort_api_t *api, ort_status_t *status, gpulet_error_t *err)
{
    assert(status != NULL);
    int code = api->error_code(status);
    if (err != NULL) {
        gpulet_ort_text_clean(err->text, sizeof(err->text), api->error_message(status));
        if (err->text[0] == '\0')
            (void)gpulet_fail(err, GPULET_OK, "ONNX Runtime error %d without a text", code);
    }
    api->release_status(status);
    return code;
}

gpulet_status_t gpulet_ort_status(const gpulet_ort_api_t *api, ort_status_t *status,
                                  gpulet_status_t other, gpulet_error_t *err)
{
    gpulet_error_t local;
    local.text[0] = '\0';
    gpulet_error_t *text = err != NULL ? err : &local;
    if (status == NULL)
        return GPULET_OK;
    (void)gpulet_ort_take(api, status, text);
    if (strstr(text->text, "std::bad_alloc") != NULL ||
        strstr(text->text, "Failed to allocate memory") != NULL)
        return GPULET_E_NOMEM;
    return other;
}
