#include "engine/fake/script.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/parse.h"

/* Times beyond a day are mistakes, and stay far from any overflow. */
#define TIME_MS_MAX   86400000.0
#define MEMORY_MB_MAX 1048576

typedef struct span {
    const char *text;
    size_t len;
} span_t;

/* ---- input=NAME:DATATYPE:DIMS ---- */

static gpulet_status_t parse_dims(gpulet_shape_t *shape, span_t text)
{
    shape->rank = 0;
    while (text.len > 0) {
        const char *cross = memchr(text.text, 'x', text.len);
        size_t len = cross != NULL ? (size_t)(cross - text.text) : text.len;
        int64_t dim;
        if (shape->rank == GPULET_RANK_MAX || gpulet_parse_i64(&dim, text.text, len) != GPULET_OK ||
            dim < -1 || dim > INT32_MAX)
            return GPULET_E_INVALID;
        shape->dims[shape->rank++] = dim;
        if (cross == NULL)
            return GPULET_OK;
        text = (span_t){cross + 1, text.len - len - 1};
        if (text.len == 0)
            return GPULET_E_INVALID; /* nothing behind the last x */
    }
    return GPULET_OK;
}

/* The bytes before the next separator; the rest behind it. */
static bool cut(span_t *head, span_t *rest, span_t text, char separator)
{
    const char *at = memchr(text.text, separator, text.len);
    if (at == NULL)
        return false;
    *head = (span_t){text.text, (size_t)(at - text.text)};
    *rest = (span_t){at + 1, text.len - head->len - 1};
    return true;
}

static gpulet_status_t parse_spec(gpulet_tensor_spec_t *spec, span_t value)
{
    span_t name;
    span_t type;
    span_t rest;
    span_t dims;
    if (!cut(&name, &rest, value, ':') || !cut(&type, &dims, rest, ':'))
        return GPULET_E_INVALID;
    if (name.len == 0 || name.len > GPULET_TENSOR_NAME_MAX)
        return GPULET_E_INVALID;
    memcpy(spec->name, name.text, name.len);
    spec->name[name.len] = '\0';
    spec->type = gpulet_datatype_parse(type.text, type.len);
    if (spec->type == GPULET_DATATYPE_INVALID)
        return GPULET_E_INVALID;
    return parse_dims(&spec->shape, dims);
}

static gpulet_status_t add_spec(gpulet_tensor_spec_t **specs, uint32_t *count, span_t value)
{
    gpulet_tensor_spec_t spec = {.type = GPULET_DATATYPE_INVALID};
    if (*count == GPULET_MODEL_IO_MAX)
        return GPULET_E_TOO_LARGE;
    gpulet_status_t st = parse_spec(&spec, value);
    if (st != GPULET_OK)
        return st;
    gpulet_tensor_spec_t *grown = realloc(*specs, (*count + 1) * sizeof(*grown));
    if (grown == NULL)
        return GPULET_E_NOMEM;
    grown[(*count)++] = spec;
    *specs = grown;
    return GPULET_OK;
}

/* ---- lines ---- */

static gpulet_status_t parse_number(double *out, span_t value, double max)
{
    double number;
    if (gpulet_parse_f64(&number, value.text, value.len) != GPULET_OK || !(number >= 0) ||
        number > max)
        return GPULET_E_INVALID;
    *out = number;
    return GPULET_OK;
}

static gpulet_status_t parse_text(char out[GPULET_FAKE_TEXT_MAX], span_t value)
{
    if (value.len == 0 || value.len >= GPULET_FAKE_TEXT_MAX)
        return GPULET_E_INVALID;
    memcpy(out, value.text, value.len);
    out[value.len] = '\0';
    return GPULET_OK;
}

static bool is_key(span_t key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.text, name, key.len) == 0;
}

static gpulet_status_t set_memory(uint64_t *out, span_t value)
{
    uint64_t mb;
    if (gpulet_parse_u64(&mb, value.text, value.len) != GPULET_OK || mb > MEMORY_MB_MAX)
        return GPULET_E_INVALID;
    *out = mb;
    return GPULET_OK;
}

/* E_NOT_FOUND for a key that does not exist. */
static gpulet_status_t set(gpulet_fake_script_t *script, span_t key, span_t value)
{
    const struct {
        const char *name;
        double *out;
        double max;
    } numbers[] = {{"latency_ms", &script->latency_ms, TIME_MS_MAX},
                   {"latency_ms_per_item", &script->latency_ms_per_item, TIME_MS_MAX},
                   {"cold_ms", &script->cold_ms, TIME_MS_MAX},
                   {"load_ms", &script->load_ms, TIME_MS_MAX},
                   {"jitter", &script->jitter, 1.0}};
    const struct {
        const char *name;
        uint64_t *out;
    } counts[] = {{"seed", &script->seed},
                  {"fail_run_every", &script->fail_run_every},
                  {"hang_run_every", &script->hang_run_every},
                  {"crash_run_every", &script->crash_run_every},
                  {"hang_load", &script->hang_load},
                  {"crash_load", &script->crash_load},
                  {"load_units", &script->load_units},
                  {"whole_outputs", &script->whole_outputs}};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (is_key(key, numbers[i].name))
            return parse_number(numbers[i].out, value, numbers[i].max);
    }
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (is_key(key, counts[i].name))
            return gpulet_parse_u64(counts[i].out, value.text, value.len);
    }
    if (is_key(key, "memory_mb"))
        return set_memory(&script->memory_mb, value);
    if (is_key(key, "fail_load"))
        return parse_text(script->fail_load, value);
    if (is_key(key, "input"))
        return add_spec(&script->io.inputs, &script->io.inputs_count, value);
    if (is_key(key, "output"))
        return add_spec(&script->io.outputs, &script->io.outputs_count, value);
    return GPULET_E_NOT_FOUND;
}

static span_t trim(span_t text)
{
    while (text.len > 0 && strchr(" \t\r", text.text[text.len - 1]) != NULL)
        text.len--;
    while (text.len > 0 && strchr(" \t", text.text[0]) != NULL) {
        text.text++;
        text.len--;
    }
    return text;
}

/* The next line that says something; false at the end. */
static bool next_line(span_t *line, unsigned *number, span_t *rest)
{
    while (rest->len > 0) {
        span_t all = *rest;
        if (!cut(line, rest, all, '\n')) {
            *line = all;
            *rest = (span_t){all.text + all.len, 0};
        }
        (*number)++;
        *line = trim(*line);
        if (line->len > 0 && line->text[0] != '#')
            return true;
    }
    return false;
}

/* A script is text whose first line has the form key=value; no ONNX file is, for it holds control
 * characters. */
static gpulet_fake_file_t kind_of(span_t text)
{
    span_t line;
    unsigned number = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.text[i];
        if ((c < ' ' && c != '\n' && c != '\r' && c != '\t') || c > '~')
            return GPULET_FAKE_FILE_OTHER;
    }
    if (!next_line(&line, &number, &text))
        return GPULET_FAKE_FILE_BLANK;
    return memchr(line.text, '=', line.len) != NULL ? GPULET_FAKE_FILE_SCRIPT
                                                    : GPULET_FAKE_FILE_OTHER;
}

static gpulet_status_t parse_lines(gpulet_fake_script_t *script, span_t text, gpulet_error_t *err)
{
    span_t line;
    span_t key;
    span_t value;
    unsigned number = 0;
    while (next_line(&line, &number, &text)) {
        if (!cut(&key, &value, line, '='))
            return gpulet_fail(err, GPULET_E_INVALID, "line %u: no key=value", number);
        key = trim(key);
        value = trim(value);
        gpulet_status_t st = set(script, key, value);
        if (st == GPULET_E_NOMEM)
            return gpulet_fail(err, st, "out of memory");
        if (st == GPULET_E_NOT_FOUND)
            return gpulet_fail(err, GPULET_E_INVALID, "line %u: no key \"%.*s\"", number,
                               (int)(key.len < 64 ? key.len : 64), key.text);
        if (st != GPULET_OK)
            return gpulet_fail(err, GPULET_E_INVALID, "line %u: %.*s: bad value \"%.*s\"", number,
                               (int)key.len, key.text, (int)(value.len < 64 ? value.len : 64),
                               value.text);
    }
    return GPULET_OK;
}

/* ---- what was left out ---- */

static gpulet_status_t complete(gpulet_fake_script_t *script, gpulet_error_t *err)
{
    gpulet_model_io_t *io = &script->io;
    static const char input[] = "INPUT0:FP32:-1x16";
    gpulet_status_t st = GPULET_OK;
    if (io->inputs_count == 0)
        st = add_spec(&io->inputs, &io->inputs_count, (span_t){input, sizeof(input) - 1});
    if (st == GPULET_OK && io->outputs_count == 0) {
        io->outputs = malloc(sizeof(*io->outputs));
        if (io->outputs == NULL)
            return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        io->outputs[0] = io->inputs[0];
        memcpy(io->outputs[0].name, "OUTPUT0", sizeof("OUTPUT0"));
        io->outputs_count = 1;
    }
    return st == GPULET_OK ? st : gpulet_fail(err, st, "out of memory");
}

gpulet_status_t gpulet_fake_script_parse(gpulet_fake_script_t *out, const char *text, size_t size,
                                         gpulet_error_t *err)
{
    span_t all = {text, size};
    gpulet_fake_script_t script = {.file = kind_of(all), .seed = 1};
    gpulet_status_t st = GPULET_OK;
    if (script.file == GPULET_FAKE_FILE_SCRIPT)
        st = parse_lines(&script, all, err);
    script.names_tensors = script.io.inputs_count + script.io.outputs_count > 0;
    if (st == GPULET_OK)
        st = complete(&script, err);
    if (st != GPULET_OK) {
        gpulet_fake_script_deinit(&script);
        return st;
    }
    *out = script;
    return GPULET_OK;
}

gpulet_status_t gpulet_fake_script_load(gpulet_fake_script_t *out, const char *path,
                                        gpulet_error_t *err)
{
    struct stat info;
    char *text = NULL;
    size_t size = 0;
    if (stat(path, &info) != 0)
        return gpulet_fail(err, errno == ENOENT ? GPULET_E_NOT_FOUND : GPULET_E_IO, "%s: %s", path,
                           strerror(errno));
    if (!S_ISREG(info.st_mode))
        return gpulet_fail(err, GPULET_E_INVALID, "%s is no regular file", path);
    if (info.st_size > GPULET_FAKE_SCRIPT_MAX) {
        gpulet_status_t st = gpulet_fake_script_parse(out, "", 0, err);
        if (st == GPULET_OK)
            out->file = GPULET_FAKE_FILE_OTHER;
        return st;
    }
    gpulet_status_t st = gpulet_file_read(&text, &size, path, GPULET_FAKE_SCRIPT_MAX, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_fake_script_parse(out, text, size, err);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "%s", path);
    free(text);
    return st;
}

void gpulet_fake_script_deinit(gpulet_fake_script_t *script)
{
    gpulet_model_io_deinit(&script->io);
    memset(script, 0, sizeof(*script));
}
