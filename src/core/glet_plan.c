/* ModelList.txt: the plan of the prototype's offline scheduler. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/csv.h"
#include "core/glet.h"
#include "core/glet_text.h"

/* What the prototype writes for gpu-lets that hold nothing. */
enum { RESERVED_BATCH = 32, PERCENT = 100, DEDUP_MAX = 64, GPUS_MAX = 100000 };
static const char reserved[] = "reserved";

/* ---- writing ---- */

/* Which one of the gpu-lets of its size on the device it is. */
static size_t dedup_of(const gpulet_plan_device_t *device, size_t gpulet)
{
    size_t before = 0;
    for (size_t i = 0; i < gpulet; i++)
        before += device->gpulets[i].units == device->gpulets[gpulet].units ? 1 : 0;
    return before;
}

static gpulet_status_t write_device(gpulet_buf_t *out, const gpulet_plan_device_t *device,
                                    const gpulet_device_type_t *type, size_t gpu,
                                    gpulet_error_t *err)
{
    uint32_t free_units = type->units;
    for (size_t i = 0; i < device->gpulets_count; i++) {
        const gpulet_plan_gpulet_t *g = &device->gpulets[i];
        free_units -= g->units <= free_units ? g->units : free_units;
        for (size_t k = 0; k < g->shares_count; k++) {
            const gpulet_plan_share_t *s = &g->shares[k];
            if (s->instances != 1)
                return gpulet_fail(err, GPULET_E_INVALID,
                                   "model list: expected one instance of %s, found %u", s->model,
                                   s->instances);
            gpulet_buf_printf(out, "%zu,%g,%zu,", gpu,
                              (double)PERCENT * g->units / (double)type->units,
                              dedup_of(device, i));
            gpulet_csv_append(out, s->model);
            gpulet_buf_printf(out, ",%u,%.6f\n", s->batch, g->duty_ms);
        }
    }
    if (free_units > 0 && device->gpulets_count < type->gpulets_max &&
        gpulet_device_type_size_index(type, free_units) >= 0) {
        size_t dedup = 0;
        for (size_t i = 0; i < device->gpulets_count; i++)
            dedup += device->gpulets[i].units == free_units ? 1 : 0;
        gpulet_buf_printf(out, "%zu,%g,%zu,%s,%d,%.6f\n", gpu,
                          (double)PERCENT * free_units / (double)type->units, dedup, reserved,
                          RESERVED_BATCH, 0.0);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_glet_plan_format(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                        const gpulet_device_set_t *devices, gpulet_error_t *err)
{
    for (size_t i = 0; i < plan->devices_count; i++) {
        int type = gpulet_device_set_find(devices, plan->devices[i].type);
        if (type < 0)
            return gpulet_fail(err, GPULET_E_NOT_FOUND, "model list: there is no device type %s",
                               plan->devices[i].type);
        gpulet_status_t st = write_device(out, &plan->devices[i], &devices->types[type], i, err);
        if (st != GPULET_OK)
            return st;
    }
    return gpulet_buf_status(out);
}

/* ---- reading ---- */

enum { COLUMN_GPU, COLUMN_PART, COLUMN_DEDUP, COLUMN_MODEL, COLUMN_BATCH, COLUMN_DUTY };

typedef struct line {
    uint32_t gpu;
    uint32_t units;
    uint32_t dedup;
    uint32_t batch;
    double duty_ms;
    const char *model; /* NULL: reserved */
} line_t;

static gpulet_status_t read_line(line_t *out, const gpulet_csv_t *csv,
                                 const gpulet_device_type_t *type, gpulet_error_t *err)
{
    double part = 0;
    gpulet_status_t st = gpulet_csv_u32(csv, COLUMN_GPU, &out->gpu, 0, GPUS_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, COLUMN_PART, &part, &gpulet_text_positive, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, COLUMN_DEDUP, &out->dedup, 0, DEDUP_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_name(csv, COLUMN_MODEL, GPULET_WORKLOAD_NAME_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_u32(csv, COLUMN_BATCH, &out->batch, 1, GPULET_PROFILE_BATCH_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_csv_f64(csv, COLUMN_DUTY, &out->duty_ms, &gpulet_text_natural, err);
    if (st != GPULET_OK)
        return st;
    double units = part * (double)type->units / (double)PERCENT;
    if (!(units <= (double)type->units) ||
        gpulet_device_type_size_index(type, (uint32_t)lround(units)) < 0)
        return gpulet_csv_fail(csv, COLUMN_PART, "a size of the device type in percent", err);
    out->units = (uint32_t)lround(units);
    out->model = csv->fields[COLUMN_MODEL].text;
    if (strcmp(out->model, reserved) == 0)
        out->model = NULL;
    else if (!(out->duty_ms > 0.0))
        return gpulet_csv_fail(csv, COLUMN_DUTY, gpulet_text_positive.expected, err);
    return GPULET_OK;
}

static gpulet_plan_device_t *device_of(gpulet_plan_t *plan, const gpulet_device_type_t *type,
                                       uint32_t gpu)
{
    for (size_t i = 0; i < plan->devices_count; i++) {
        if (plan->devices[i].index == gpu)
            return &plan->devices[i];
    }
    gpulet_plan_device_t *device = gpulet_plan_add_device(plan);
    if (device != NULL) {
        memcpy(device->type, type->name, sizeof(device->type));
        device->index = gpu;
    }
    return device;
}

/* The gpu-let that the line names. While the file is read its slot is the line's dedup. */
static gpulet_plan_gpulet_t *gpulet_of(gpulet_plan_device_t *device, const line_t *line)
{
    for (size_t i = 0; i < device->gpulets_count; i++) {
        gpulet_plan_gpulet_t *g = &device->gpulets[i];
        if (g->units == line->units && g->slot == (int32_t)line->dedup)
            return g;
    }
    gpulet_plan_gpulet_t *g = gpulet_plan_add_gpulet(device);
    if (g != NULL) {
        g->units = line->units;
        g->slot = (int32_t)line->dedup;
        g->duty_ms = line->duty_ms;
    }
    return g;
}

static gpulet_status_t add_line(gpulet_plan_t *plan, const gpulet_csv_t *csv,
                                const gpulet_device_type_t *type, const line_t *line,
                                gpulet_error_t *err)
{
    gpulet_plan_device_t *device = device_of(plan, type, line->gpu);
    gpulet_plan_gpulet_t *g = device != NULL ? gpulet_of(device, line) : NULL;
    if (g == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    if (fabs(g->duty_ms - line->duty_ms) > 1e-3)
        return gpulet_csv_fail(csv, COLUMN_DUTY, "one duty cycle for a gpu-let", err);
    for (size_t i = 0; i < g->shares_count; i++) {
        if (strcmp(g->shares[i].model, line->model) == 0)
            return gpulet_csv_fail(csv, COLUMN_MODEL, "each model once in a gpu-let", err);
    }
    gpulet_plan_share_t *s = gpulet_plan_add_share(g);
    if (s == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", csv->file);
    memcpy(s->model, line->model, strlen(line->model) + 1);
    s->batch = line->batch;
    s->instances = 1;
    s->interference = 1.0;
    s->capacity_rps = (double)line->batch * 1000.0 / g->duty_ms;
    s->rate_rps = s->capacity_rps;
    return GPULET_OK;
}

static gpulet_status_t read_lines(gpulet_plan_t *plan, gpulet_csv_t *csv,
                                  const gpulet_device_type_t *type, gpulet_error_t *err)
{
    bool more = false;
    gpulet_status_t st = GPULET_OK;
    while ((st = gpulet_csv_next(csv, &more, err)) == GPULET_OK && more) {
        line_t line = {0};
        if ((st = read_line(&line, csv, type, err)) != GPULET_OK ||
            (line.model != NULL && (st = add_line(plan, csv, type, &line, err)) != GPULET_OK))
            return st;
    }
    for (size_t i = 0; i < plan->devices_count; i++) {
        for (size_t k = 0; k < plan->devices[i].gpulets_count; k++)
            plan->devices[i].gpulets[k].slot = -1;
    }
    plan->devices_used = (uint32_t)plan->devices_count;
    (void)snprintf(plan->planner, sizeof(plan->planner), "glet");
    return st;
}

gpulet_status_t gpulet_glet_plan_parse(gpulet_plan_t **out, const gpulet_device_set_t *devices,
                                       const char *text, size_t size, const char *file,
                                       gpulet_error_t *err)
{
    static const char *const names[] = {"gpu", "part", "dedup", "model", "batch", "duty_ms", NULL};
    gpulet_buf_t trimmed = GPULET_BUF_INIT;
    gpulet_plan_t *plan = NULL;
    gpulet_csv_t csv;
    gpulet_status_t st = gpulet_glet_text_trim(&trimmed, text, size, file, err);
    if (st == GPULET_OK && (st = gpulet_csv_open_bare(&csv, trimmed.data, trimmed.size, file, names,
                                                      err)) == GPULET_OK) {
        if ((st = gpulet_plan_create(&plan)) != GPULET_OK)
            st = gpulet_fail(err, st, "%s: out of memory", file);
        else
            st = read_lines(plan, &csv, &devices->types[0], err);
        gpulet_csv_close(&csv);
    }
    gpulet_buf_deinit(&trimmed);
    if (st == GPULET_OK)
        *out = plan;
    else
        gpulet_plan_destroy(plan);
    return st;
}
