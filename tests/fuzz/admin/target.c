/* Requests for administration, and paths: what is accepted has sound values, what is not says why.
 * The first byte says which of them it is. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/admin_request.h"
#include "server/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void query(const char *text, size_t size)
{
    gpulet_error_t err = {""};
    uint64_t value = 7;
    char *copy = strndup(text, size);
    if (copy != NULL && server_admin_query_u64(&value, copy, "since", &err) != GPULET_OK)
        assert(strstr(err.text, "since") != NULL);
    free(copy);
}

static void path(const char *text, size_t size)
{
    server_route_t match;
    char *copy = strndup(text, size);
    if (copy != NULL && server_route_match(&match, "/v2/models/{m}/versions/{v}/infer", copy))
        assert(match.name[0] != '\0' &&
               strspn(match.version, "0123456789") == strlen(match.version));
    free(copy);
}

static void pins(const char *text, size_t size)
{
    gpulet_error_t err = {""};
    server_pin_t *found = NULL;
    size_t count = 0;
    if (server_admin_parse_pins(&found, &count, text, size, &err) != GPULET_OK) {
        assert(err.text[0] != '\0' && found == NULL);
        return;
    }
    for (size_t i = 0; i < count; i++)
        assert(found[i].model != NULL && (isnan(found[i].rate_rps) || found[i].rate_rps >= 0));
    server_admin_pins_free(found, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gpulet_error_t err = {""};
    server_replan_request_t request;
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    if (data[0] == 'q')
        query(text, size - 1);
    else if (data[0] == 'u')
        path(text, size - 1);
    else if (data[0] == 'p')
        pins(text, size - 1);
    else if (server_admin_parse_replan(&request, text, size - 1, &err) != GPULET_OK)
        assert(err.text[0] != '\0');
    return 0;
}
