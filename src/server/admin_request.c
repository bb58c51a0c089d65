#include "server/admin_request.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/parse.h"

static const double rate_rps_max = 1e9;

gpulet_status_t server_admin_query_u64(uint64_t *out, const char *query, const char *name,
                                       gpulet_error_t *err)
{
    size_t name_size = strlen(name);
    for (const char *at = query; *at != '\0';) {
        size_t part = strcspn(at, "&");
        if (part > name_size && strncmp(at, name, name_size) == 0 && at[name_size] == '=') {
            if (gpulet_parse_u64(out, at + name_size + 1, part - name_size - 1) == GPULET_OK)
                return GPULET_OK;
            return gpulet_fail(err, GPULET_E_INVALID, "%s: expected a whole number", name);
        }
        at += part;
        at += *at == '&';
    }
    return GPULET_OK;
}

static gpulet_status_t replan_field(server_replan_request_t *out, const char *key,
                                    const json_t *value, gpulet_error_t *err)
{
    bool *field = strcmp(key, "force") == 0  ? &out->force
                  : strcmp(key, "wait") == 0 ? &out->wait
                                             : NULL;
    if (field == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%.60s: no such field", key);
    if (!json_is_boolean(value))
        return gpulet_fail(err, GPULET_E_INVALID, "%s: expected a boolean", key);
    *field = json_is_true(value);
    return GPULET_OK;
}

gpulet_status_t server_admin_parse_replan(server_replan_request_t *out, const char *body,
                                          size_t size, gpulet_error_t *err)
{
    server_replan_request_t found = {.wait = true};
    gpulet_status_t st = GPULET_OK;
    const char *key = NULL;
    json_t *value = NULL;
    json_t *root = size > 0 ? json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL) : json_object();
    if (!json_is_object(root))
        st = gpulet_fail(err, GPULET_E_INVALID,
                         "expected an object, perhaps with booleans \"force\" and \"wait\"");
    json_object_foreach(root, key, value)
    {
        if (st == GPULET_OK)
            st = replan_field(&found, key, value, err);
    }
    json_decref(root);
    if (st == GPULET_OK)
        *out = found;
    return st;
}

void server_admin_pins_free(server_pin_t *pins, size_t count)
{
    for (size_t i = 0; pins != NULL && i < count; i++)
        free(pins[i].model);
    free(pins);
}

static gpulet_status_t read_pin(server_pin_t *out, const char *key, const json_t *value,
                                gpulet_error_t *err)
{
    double rate = json_is_null(value) ? NAN : json_number_value(value);
    if (!json_is_null(value) && !json_is_number(value))
        return gpulet_fail(err, GPULET_E_INVALID, "%.200s: expected items a second, or null", key);
    if (rate < 0 || rate > rate_rps_max)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%.200s: expected items a second from 0 to %g, found %g", key,
                           rate_rps_max, rate);
    out->rate_rps = rate;
    out->model = strdup(key);
    return out->model != NULL ? GPULET_OK : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

gpulet_status_t server_admin_parse_pins(server_pin_t **out, size_t *count, const char *body,
                                        size_t size, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    const char *key = NULL;
    json_t *value = NULL;
    size_t used = 0;
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
    server_pin_t *pins = calloc(json_object_size(root) + 1, sizeof(*pins));
    if (!json_is_object(root))
        st = gpulet_fail(err, GPULET_E_INVALID, "expected an object of models and their rates");
    else if (pins == NULL)
        st = gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    json_object_foreach(root, key, value)
    {
        if (st == GPULET_OK)
            st = read_pin(&pins[used], key, value, err);
        used += st == GPULET_OK;
    }
    json_decref(root);
    if (st != GPULET_OK) {
        server_admin_pins_free(pins, used);
        return st;
    }
    *out = pins;
    *count = used;
    return GPULET_OK;
}
