/* Inputs of the prototype; glet_plan.c has its output. */
#include "core/glet.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "core/csv.h"
#include "core/glet_text.h"

/* The models' numbers in the prototype's task files. */
static const char *const model_names[] = {"lenet1",          "lenet2", "lenet3",     "lenet4",
                                          "lenet5",          "lenet6", "googlenet",  "resnet50",
                                          "ssd-mobilenetv1", "vgg16",  "mnasnet1_0", "mobilenet_v2",
                                          "densenet161",     "bert"};
enum { CONSTANTS_COUNT = 5, MODELS_COUNT = sizeof(model_names) / sizeof(model_names[0]) };

gpulet_status_t gpulet_glet_text_trim(gpulet_buf_t *out, const char *text, size_t size,
                                      const char *file, gpulet_error_t *err)
{
    const char *end = text + size;
    for (const char *at = text; at < end;) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        const char *next = line_end != NULL ? line_end + 1 : end;
        const char *last = line_end != NULL ? line_end : end;
        while (last > at && (last[-1] == ' ' || last[-1] == '\t' || last[-1] == '\r'))
            last--;
        if (last > at && last[-1] == ',')
            last--;
        gpulet_buf_append(out, at, (size_t)(last - at));
        gpulet_buf_append_char(out, '\n');
        at = next;
    }
    gpulet_buf_append(out, "", 0);
    return gpulet_buf_status(out) == GPULET_OK
               ? GPULET_OK
               : gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
}

/* ---- tasks ---- */

/* The first line that is not blank is the number of tasks; it is blanked, so that the rows keep
 * their line numbers. */
static gpulet_status_t take_count(gpulet_buf_t *text, const char *file, uint64_t *count,
                                  gpulet_error_t *err)
{
    size_t at = 0;
    size_t line = 1;
    while (at < text->size && (text->data[at] == '\n' || text->data[at] == ' ')) {
        line += text->data[at] == '\n' ? 1 : 0;
        at++;
    }
    size_t len = at < text->size ? strcspn(text->data + at, "\n") : 0;
    char found[GPULET_TEXT_EXCERPT_SIZE];
    if (len == 0 || gpulet_parse_u64(count, text->data + at, len) != GPULET_OK ||
        *count > GPULET_WORKLOAD_ROWS_MAX)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: N: expected the number of tasks, found %s", file, line,
                           len == 0 ? "nothing" : gpulet_text_excerpt(found, text->data + at, len));
    memset(text->data + at, ' ', len);
    return GPULET_OK;
}

static gpulet_status_t read_model(const gpulet_csv_t *csv, gpulet_demand_t *demand,
                                  gpulet_error_t *err)
{
    uint64_t id = 0;
    const gpulet_csv_field_t *field = &csv->fields[0];
    if (gpulet_parse_u64(&id, field->text, field->len) == GPULET_OK) {
        if (id >= MODELS_COUNT)
            return gpulet_csv_fail(csv, 0, "a model's number from 0 to 13, or its name", err);
        memcpy(demand->model, model_names[id], strlen(model_names[id]) + 1);
        return GPULET_OK;
    }
    gpulet_status_t st = gpulet_csv_name(csv, 0, GPULET_WORKLOAD_NAME_MAX, err);
    if (st == GPULET_OK)
        memcpy(demand->model, field->text, field->len + 1);
    return st;
}

static gpulet_status_t read_task(gpulet_workload_t *workload, const gpulet_csv_t *csv,
                                 gpulet_error_t *err)
{
    gpulet_demand_t demand = {.weight = 1.0};
    gpulet_status_t st = read_model(csv, &demand, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, 1, &demand.rate_rps, &gpulet_text_natural, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, 2, &demand.slo_ms, &gpulet_text_positive, err);
    if (st != GPULET_OK)
        return st;
    st = gpulet_workload_add(workload, &demand, err);
    if (st != GPULET_OK)
        gpulet_error_prefix(err, "%s:%zu", csv->file, csv->line);
    return st;
}

static gpulet_status_t read_tasks(gpulet_workload_t *workload, const gpulet_buf_t *text,
                                  const char *file, uint64_t count, gpulet_error_t *err)
{
    static const char *const names[] = {"id", "rate", "SLO", NULL};
    gpulet_csv_t csv;
    bool more = false;
    gpulet_status_t st = gpulet_csv_open_bare(&csv, text->data, text->size, file, names, err);
    if (st != GPULET_OK)
        return st;
    while ((st = gpulet_csv_next(&csv, &more, err)) == GPULET_OK && more) {
        if ((st = read_task(workload, &csv, err)) != GPULET_OK)
            break;
    }
    if (st == GPULET_OK && workload->count != count)
        st = gpulet_fail(err, GPULET_E_INVALID,
                         "%s:1: N: expected %zu, as many as there are, found %llu", file,
                         workload->count, (unsigned long long)count);
    gpulet_csv_close(&csv);
    return st;
}

gpulet_status_t gpulet_glet_tasks_parse(gpulet_workload_t **out, const char *text, size_t size,
                                        const char *file, gpulet_error_t *err)
{
    gpulet_buf_t trimmed = GPULET_BUF_INIT;
    gpulet_workload_t *workload = NULL;
    uint64_t count = 0;
    gpulet_status_t st = gpulet_glet_text_trim(&trimmed, text, size, file, err);
    if (st == GPULET_OK)
        st = take_count(&trimmed, file, &count, err);
    if (st == GPULET_OK && (st = gpulet_workload_create(&workload)) != GPULET_OK)
        st = gpulet_fail(err, st, "%s: out of memory", file);
    if (st == GPULET_OK)
        st = read_tasks(workload, &trimmed, file, count, err);
    gpulet_buf_deinit(&trimmed);
    if (st == GPULET_OK)
        *out = workload;
    else
        gpulet_workload_destroy(workload);
    return st;
}

/* ---- interference ---- */

static const char *const constant_names[CONSTANTS_COUNT] = {
    "l2_util_m1", "l2_util_m2", "dram_util_m1", "dram_util_m2", "constant"};

/* The one row, as a row of our own format behind the device's name. */
static gpulet_status_t read_constants(gpulet_buf_t *ours, gpulet_csv_t *csv, gpulet_error_t *err)
{
    int columns[CONSTANTS_COUNT];
    bool more = false;
    gpulet_status_t st = GPULET_OK;
    for (size_t i = 0; i < CONSTANTS_COUNT && st == GPULET_OK; i++)
        st = gpulet_csv_require(csv, &columns[i], constant_names[i], err);
    if (st != GPULET_OK || (st = gpulet_csv_next(csv, &more, err)) != GPULET_OK)
        return st;
    if (!more)
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s:%zu: row: expected five numbers, found nothing", csv->file,
                           csv->line);
    for (size_t i = 0; i < CONSTANTS_COUNT; i++) {
        double value = 0;
        if ((st = gpulet_csv_f64(csv, columns[i], &value, &gpulet_text_any, err)) != GPULET_OK)
            return st;
        gpulet_buf_append_char(ours, ',');
        gpulet_csv_append_f64(ours, value);
    }
    gpulet_buf_append_char(ours, '\n');
    if ((st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more)
        st = gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: row: expected one row, found another",
                         csv->file, csv->line);
    return st;
}

static gpulet_status_t open_constants(gpulet_csv_t *csv, const gpulet_buf_t *text, const char *file,
                                      gpulet_error_t *err)
{
    const char *names[CONSTANTS_COUNT + 1] = {NULL};
    size_t first = 0;
    while (first < text->size && isspace((unsigned char)text->data[first]))
        first++;
    if (first < text->size && isalpha((unsigned char)text->data[first]))
        return gpulet_csv_open(csv, text->data, text->size, file, err);
    memcpy(names, constant_names, sizeof(constant_names));
    return gpulet_csv_open_bare(csv, text->data, text->size, file, names, err);
}

gpulet_status_t gpulet_glet_constants_parse(gpulet_interference_t **out, const char *device,
                                            const char *text, size_t size, const char *file,
                                            gpulet_error_t *err)
{
    gpulet_buf_t trimmed = GPULET_BUF_INIT;
    gpulet_buf_t ours = GPULET_BUF_INIT;
    gpulet_csv_t csv;
    gpulet_status_t st = gpulet_glet_text_trim(&trimmed, text, size, file, err);
    gpulet_buf_append_str(&ours, "device,l2_self,l2_other,dram_self,dram_other,constant\n");
    gpulet_csv_append(&ours, device);
    if (st == GPULET_OK && (st = open_constants(&csv, &trimmed, file, err)) == GPULET_OK) {
        st = read_constants(&ours, &csv, err);
        gpulet_csv_close(&csv);
    }
    if (st == GPULET_OK && (st = gpulet_buf_status(&ours)) == GPULET_OK)
        st = gpulet_interference_parse(out, ours.data, ours.size, file, err);
    gpulet_buf_deinit(&trimmed);
    gpulet_buf_deinit(&ours);
    return st;
}

/* ---- device types ---- */

/* The prototype's limits are constants of its source. */
static const char type_limits[] = "    units: 100\n    sizes: [20, 40, 50, 60, 80, 100]\n"
                                  "    gpulets_max: 2\n    models_max: 3\n"
                                  "    memory_headroom: 0.9\n    memory_mb_process: 1230\n"
                                  "    network_gbps: 3.0\n";

static gpulet_status_t write_type(gpulet_buf_t *yaml, const json_t *spec, size_t index,
                                  const char *file, gpulet_error_t *err)
{
    const json_t *name = json_object_get(spec, "type");
    const json_t *memory = json_object_get(spec, "mem_mb");
    gpulet_error_t why;
    if (!json_is_string(name))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s: device_specs[%zu].type: expected a name, found %s", file, index,
                           name == NULL ? "nothing" : "something else");
    if (gpulet_text_check_name(json_string_value(name), json_string_length(name),
                               GPULET_DEVICE_NAME_MAX, &why) != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INVALID, "%s: device_specs[%zu].type: %s", file, index,
                           why.text);
    if (!json_is_number(memory) || !(json_number_value(memory) > 0))
        return gpulet_fail(err, GPULET_E_INVALID,
                           "%s: device_specs[%zu].mem_mb: expected a number above 0, found %s",
                           file, index, memory == NULL ? "nothing" : "something else");
    gpulet_buf_append_str(yaml, "  \"");
    for (const char *p = json_string_value(name); *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            gpulet_buf_append_char(yaml, '\\');
        gpulet_buf_append_char(yaml, *p);
    }
    gpulet_buf_printf(yaml, "\":\n%s    memory_mb: %.17g\n", type_limits,
                      json_number_value(memory));
    return GPULET_OK;
}

gpulet_status_t gpulet_glet_devices_parse(gpulet_device_set_t **out, const char *text, size_t size,
                                          const char *file, gpulet_error_t *err)
{
    json_error_t why;
    gpulet_buf_t yaml = GPULET_BUF_INIT;
    gpulet_status_t st = GPULET_OK;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "%s:%d: expected JSON, found: %s", file, why.line,
                           why.text);
    const json_t *specs = json_object_get(root, "device_specs");
    if (!json_is_array(specs) || json_array_size(specs) == 0 ||
        json_array_size(specs) > GPULET_DEVICE_TYPES_MAX)
        st = gpulet_fail(err, GPULET_E_INVALID,
                         "%s: device_specs: expected a list of 1 to %d device types", file,
                         GPULET_DEVICE_TYPES_MAX);
    gpulet_buf_append_str(&yaml, "types:\n");
    for (size_t i = 0; st == GPULET_OK && i < json_array_size(specs); i++)
        st = write_type(&yaml, json_array_get(specs, i), i, file, err);
    json_decref(root);
    if (st == GPULET_OK && (st = gpulet_buf_status(&yaml)) == GPULET_OK)
        st = gpulet_device_set_parse(out, yaml.data, yaml.size, file, err);
    gpulet_buf_deinit(&yaml);
    return st;
}

/* ---- names ---- */

/* Length of a name without the number at its end. */
static size_t stem(const char *name)
{
    size_t len = strlen(name);
    while (len > 0 && isdigit((unsigned char)name[len - 1]))
        len--;
    return len;
}

static gpulet_status_t copy_curve(gpulet_profile_t *into, const gpulet_curve_t *curve,
                                  const char *name, gpulet_error_t *err)
{
    gpulet_status_t st = GPULET_OK;
    for (uint32_t i = 0; i < curve->points_count && st == GPULET_OK; i++)
        st = gpulet_profile_add(into, curve->device, name, curve->units, curve->instances,
                                &curve->points[i], true, err);
    return st;
}

/* Gives `name` the curves of the model whose name is the same but for a 1 at its end. */
static gpulet_status_t copy_alias(gpulet_profile_t *into, const gpulet_profile_t *profile,
                                  const char *name, gpulet_error_t *err)
{
    size_t len = stem(name);
    gpulet_status_t st = GPULET_OK;
    if (name[len] == '\0' || gpulet_profile_has_model(profile, NULL, name))
        return GPULET_OK;
    for (size_t i = 0; i < gpulet_profile_curves_count(profile) && st == GPULET_OK; i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, i);
        if (strncmp(curve->model, name, len) == 0 && strcmp(curve->model + len, "1") == 0)
            st = copy_curve(into, curve, name, err);
    }
    return st;
}

gpulet_status_t gpulet_glet_alias(gpulet_profile_t **out, const gpulet_profile_t *profile,
                                  const gpulet_workload_t *workload, gpulet_error_t *err)
{
    gpulet_profile_t *into = NULL;
    gpulet_status_t st = gpulet_profile_create(&into);
    if (st != GPULET_OK)
        return gpulet_fail(err, st, "out of memory");
    for (size_t i = 0; i < gpulet_profile_curves_count(profile) && st == GPULET_OK; i++) {
        const gpulet_curve_t *curve = gpulet_profile_curve_at(profile, i);
        st = copy_curve(into, curve, curve->model, err);
    }
    for (size_t i = 0; i < workload->count && st == GPULET_OK; i++)
        st = copy_alias(into, profile, workload->demands[i].model, err);
    if (st == GPULET_OK)
        *out = into;
    else
        gpulet_profile_destroy(into);
    return st;
}
