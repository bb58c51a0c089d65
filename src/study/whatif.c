#include "study/whatif.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "core/text.h"

static const char operators[] = "=*/+-";

/* What one change looks like: [name]FIELD OP NUMBER. */
typedef struct split {
    const char *name;
    size_t name_len;
    char op;
    double value;
} split_t;

static bool is_operator(char c)
{
    return c != '\0' && strchr(operators, c) != NULL;
}

/* OP NUMBER to the end of the text. */
static bool read_operation(split_t *out, const char *text, size_t len)
{
    if (len < 2 || !is_operator(text[0]) ||
        gpulet_parse_f64(&out->value, text + 1, len - 1) != GPULET_OK)
        return false;
    out->op = text[0];
    return true;
}

/* NAME.field OP NUMBER: at the last ".field" that an operation follows, since names may hold dots
 * and operators. */
static bool split_model(split_t *out, const char *text, size_t len, const char *field)
{
    size_t field_len = strlen(field);
    for (size_t at = len; at-- > 1;) {
        if (len - at > field_len && memcmp(text + at, field, field_len) == 0 &&
            read_operation(out, text + at + field_len, len - at - field_len)) {
            out->name = text;
            out->name_len = at;
            return true;
        }
    }
    return false;
}

/* devices OP NUMBER, or devices.TYPE OP NUMBER: at the first operator that a number follows. */
static bool split_devices(split_t *out, const char *text, size_t len)
{
    static const char word[] = "devices";
    size_t at = sizeof(word) - 1;
    if (len <= at || memcmp(text, word, at) != 0)
        return false;
    if (text[at] != '.') {
        out->name = "";
        out->name_len = 0;
        return read_operation(out, text + at, len - at);
    }
    out->name = text + at + 1;
    for (at += 2; at < len; at++) {
        if (read_operation(out, text + at, len - at)) {
            out->name_len = (size_t)(text + at - out->name);
            return true;
        }
    }
    return false;
}

static gpulet_status_t parse_change(gpulet_whatif_change_t *out, const char *text, size_t len,
                                    gpulet_error_t *err)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    split_t split = {0};
    gpulet_whatif_change_t change = {0};
    if (split_model(&split, text, len, ".rate"))
        change.field = GPULET_WHATIF_FIELD_RATE;
    else if (split_model(&split, text, len, ".slo"))
        change.field = GPULET_WHATIF_FIELD_SLO;
    else if (split_devices(&split, text, len))
        change.field = GPULET_WHATIF_FIELD_DEVICES;
    else
        return gpulet_fail(err, GPULET_E_INVALID,
                           "expected MODEL.rate, MODEL.slo, all.rate, all.slo, devices or "
                           "devices.TYPE, then one of = * / + - and a number, found %s",
                           gpulet_text_excerpt(found, text, len));
    size_t most = change.field == GPULET_WHATIF_FIELD_DEVICES ? GPULET_DEVICE_NAME_MAX
                                                              : GPULET_WORKLOAD_NAME_MAX;
    if (split.name_len > 0) {
        gpulet_status_t st = gpulet_text_check_name(split.name, split.name_len, most, err);
        if (st != GPULET_OK)
            return st;
    }
    if (split.op == '/' && split.value == 0.0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "expected a number other than 0 behind /, found %s",
                           gpulet_text_excerpt(found, text, len));
    bool all = change.field != GPULET_WHATIF_FIELD_DEVICES && split.name_len == 3 &&
               memcmp(split.name, "all", 3) == 0;
    if (!all)
        memcpy(change.name, split.name, split.name_len);
    change.op = split.op;
    change.value = split.value;
    *out = change;
    return GPULET_OK;
}

gpulet_status_t gpulet_whatif_parse(gpulet_whatif_t *out, const char *text, size_t len,
                                    gpulet_error_t *err)
{
    gpulet_whatif_t *whatif = NULL;
    gpulet_status_t st = GPULET_OK;
    if (len > GPULET_WHATIF_TEXT_MAX)
        return gpulet_fail(err, GPULET_E_INVALID, "expected at most %d bytes, found %zu",
                           GPULET_WHATIF_TEXT_MAX, len);
    if ((whatif = calloc(1, sizeof(*whatif))) == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    memcpy(whatif->text, text, len);
    for (size_t at = 0; st == GPULET_OK;) {
        const char *comma = memchr(text + at, ',', len - at);
        size_t length = comma != NULL ? (size_t)(comma - text) - at : len - at;
        if (whatif->changes_count == GPULET_WHATIF_CHANGES_MAX)
            st = gpulet_fail(err, GPULET_E_INVALID, "expected at most %d changes, found more",
                             GPULET_WHATIF_CHANGES_MAX);
        else
            st = parse_change(&whatif->changes[whatif->changes_count++], text + at, length, err);
        if (comma == NULL)
            break;
        at += length + 1;
    }
    if (st == GPULET_OK)
        *out = *whatif;
    free(whatif);
    return st;
}

/* ---- to an input ---- */

static double changed(double before, const gpulet_whatif_change_t *change)
{
    switch (change->op) {
    case '*':
        return before * change->value;
    case '/':
        return before / change->value;
    case '+':
        return before + change->value;
    case '-':
        return before - change->value;
    default:
        return change->value;
    }
}

static gpulet_status_t apply_demand(gpulet_workload_t *workload,
                                    const gpulet_whatif_change_t *change, gpulet_error_t *err)
{
    bool rate = change->field == GPULET_WHATIF_FIELD_RATE;
    size_t matched = 0;
    for (size_t i = 0; i < workload->count; i++) {
        gpulet_demand_t *demand = &workload->demands[i];
        if (change->name[0] != '\0' && strcmp(demand->model, change->name) != 0)
            continue;
        double value = changed(rate ? demand->rate_rps : demand->slo_ms, change);
        if (!isfinite(value) || value < 0.0 || (!rate && value == 0.0))
            return gpulet_fail(err, GPULET_E_INVALID, "%s: expected %s, found %g", demand->model,
                               rate ? "a rate of 0 or above" : "an SLO above 0", value);
        *(rate ? &demand->rate_rps : &demand->slo_ms) = value;
        matched++;
    }
    if (matched == 0 && change->name[0] != '\0')
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "expected a model of the workload, found '%s'",
                           change->name);
    return GPULET_OK;
}

static gpulet_status_t apply_devices(gpulet_device_set_t *devices,
                                     const gpulet_whatif_change_t *change, gpulet_error_t *err)
{
    int type = change->name[0] != '\0' ? gpulet_device_set_find(devices, change->name) : 0;
    if (type < 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "expected a device type, found '%s'",
                           change->name);
    if (change->name[0] == '\0' && devices->types_count > 1)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "expected devices.TYPE, since there are several types");
    int32_t *count = &devices->counts[type];
    if (*count < 0 && change->op != '=')
        return gpulet_fail(err, GPULET_E_INVALID,
                           "expected devices=N, since there are as many %s as needed",
                           devices->types[type].name);
    double value = changed((double)*count, change);
    bool whole = value == floor(value) && value >= 1.0 && value <= GPULET_DEVICE_COUNT_MAX;
    if (!whole && value != -1.0)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "devices: expected a whole number from 1 to %d, or -1, found %g",
                           GPULET_DEVICE_COUNT_MAX, value);
    if (value == -1.0 && change->op != '=')
        return gpulet_fail(err, GPULET_E_INVALID,
                           "devices: expected a whole number from 1 to %d, found %g",
                           GPULET_DEVICE_COUNT_MAX, value);
    *count = (int32_t)value;
    return GPULET_OK;
}

gpulet_status_t gpulet_whatif_apply(gpulet_workload_t *workload, gpulet_device_set_t *devices,
                                    const gpulet_whatif_t *whatif, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; st == GPULET_OK && i < whatif->changes_count; i++) {
        const gpulet_whatif_change_t *change = &whatif->changes[i];
        st = change->field == GPULET_WHATIF_FIELD_DEVICES ? apply_devices(devices, change, err)
                                                          : apply_demand(workload, change, err);
    }
    return st;
}
