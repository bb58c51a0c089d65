/* `gpulet profile --interference`: models beside one another and beside memory traffic. Like
 * points, pairs are in the store as soon as they are measured. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/cmd_profile.h"
#include "fit/fit.h"
#include "server/neighbours.h"

/* Rounds that differ by more, from the 10th to the 90th percentile, part of the median. */
static const double STEADY = 0.2;

static const char TRAFFIC_PREFIX[] = "@traffic-";
static const gpulet_fit_options_t fit_options = {0.7, 1, 0.95};

/* ---- what is known ---- */

/* Beside a model, of which warmup is, or beside traffic: NULL. */
static gpulet_status_t load_between(profile_run_t *run, const gpulet_repository_model_t *self,
                                    const char *other_key, const char *other_name,
                                    const gpulet_model_io_t *warmup, gpulet_error_t *err)
{
    char measured_by[GPULET_MEASURED_BY_MAX + 1];
    gpulet_pair_t names = {.slowdown = NAN};
    size_t count = 0;
    (void)snprintf(names.device, sizeof(names.device), "%s", run->desc.type);
    (void)snprintf(names.self.model, sizeof(names.self.model), "%s", self->key);
    (void)snprintf(names.other.model, sizeof(names.other.model), "%s", other_name);
    gpulet_measured_by_shapes(measured_by, run->measured_by, &self->warmup, warmup);
    gpulet_status_t st = gpulet_store_get_pairs(run->store, measured_by, self->file_key, other_key,
                                                &names, run->pairs, &count, err);
    run->pairs_known += st == GPULET_OK ? count : 0;
    return st;
}

static gpulet_status_t load_known(profile_run_t *run, gpulet_error_t *err)
{
    static const char *const traffic[] = {GPULET_TRAFFIC_CACHE, GPULET_TRAFFIC_MEMORY};
    gpulet_status_t st = GPULET_OK;
    if (run->store == NULL || run->settings->fresh)
        return GPULET_OK;
    for (size_t i = 0; i < run->models_count; i++) {
        for (size_t k = 0; st == GPULET_OK && k < 2; k++)
            st = load_between(run, run->models[i], traffic[k], traffic[k], NULL, err);
        for (size_t j = 0; st == GPULET_OK && j < run->models_count; j++)
            st = load_between(run, run->models[i], run->models[j]->file_key, run->models[j]->key,
                              &run->models[j]->warmup, err);
    }
    return st;
}

static bool is_known(void *context, const gpulet_pair_t *pair)
{
    const profile_run_t *run = context;
    for (size_t i = 0; i < run->pairs->count; i++) {
        if (gpulet_pair_compare(&run->pairs->items[i], pair) == 0)
            return true;
    }
    return false;
}

/* ---- progress ---- */

static void on_pair(void *context, const gpulet_neighbours_row_t *row)
{
    profile_run_t *run = context;
    const gpulet_pair_t *p = row->pair;
    gpulet_error_t err = {"out of memory"};
    char traffic[40] = "";
    if (!isnan(p->traffic_mb_s))
        (void)snprintf(traffic, sizeof(traffic), "  %9.0f MB/s", p->traffic_mb_s);
    (void)fprintf(stderr,
                  "%5zu/%zu  %-16s %3u units  batch %4u  beside  %-16s %3u units  %s %4u  "
                  "x%.3f (%.3f - %.3f)%s\n",
                  row->index, row->total, p->self.model, p->self.units, p->self.batch,
                  p->other.model, p->other.units, row->other != NULL ? "batch" : "speed",
                  p->other.batch, p->slowdown, p->slowdown_p10, p->slowdown_p90, traffic);
    run->pairs_measured++;
    run->pairs_unsteady += p->slowdown_p90 - p->slowdown_p10 > STEADY * p->slowdown ? 1 : 0;
    gpulet_status_t st = gpulet_pairs_add(run->pairs, p);
    if (st == GPULET_OK && run->store != NULL) {
        char measured_by[GPULET_MEASURED_BY_MAX + 1];
        gpulet_measured_by_shapes(measured_by, run->measured_by, &row->self->warmup,
                                  row->other != NULL ? &row->other->warmup : NULL);
        st = gpulet_store_put_pair(run->store, measured_by, row->self->file_key,
                                   row->other != NULL ? row->other->file_key : p->other.model, p,
                                   &err);
    }
    run->problems += st != GPULET_OK;
    if (st != GPULET_OK)
        (void)cmd_complain("profile", CMD_FAILED, err.text);
}

static void on_traffic(void *context, const char *name, uint32_t units, uint64_t footprint,
                       double mb_s)
{
    (void)context;
    (void)fprintf(stderr, "%-20s %4u units  %7.1f MiB streamed over at %.0f MB/s at full speed\n",
                  name, units, (double)footprint / 1048576.0, mb_s);
}

static void on_problem(void *context, const char *model, uint32_t units, const char *text)
{
    profile_run_t *run = context;
    run->problems++;
    (void)fprintf(stderr, "gpulet profile: interference on %s at %u units: %s\n", model, units,
                  text);
}

/* ---- files ---- */

/* "p.csv" and "pairs" make "p.pairs.csv". */
static void beside(char *path, size_t size, const char *out, const char *what)
{
    size_t stem = strlen(out);
    if (stem > 4 && strcmp(out + stem - 4, ".csv") == 0)
        stem -= 4;
    (void)snprintf(path, size, "%.*s.%s.csv", (int)stem, out, what);
}

static gpulet_status_t write_pairs(profile_run_t *run, gpulet_error_t *err)
{
    gpulet_buf_t csv = GPULET_BUF_INIT;
    char path[PROFILE_PATH_SIZE];
    beside(path, sizeof(path), run->settings->out, "pairs");
    qsort(run->pairs->items, run->pairs->count, sizeof(*run->pairs->items), gpulet_pair_compare);
    gpulet_status_t st = gpulet_pairs_format_csv(&csv, run->pairs);
    if (st == GPULET_OK)
        st = gpulet_file_write(run->settings->pairs_out != NULL ? run->settings->pairs_out : path,
                               csv.data, csv.size, err);
    gpulet_buf_deinit(&csv);
    return st;
}

static void tell(const gpulet_fit_t *fit)
{
    (void)fprintf(stderr, "%zu pairs, %zu held out; error on those, of the latency:\n",
                  fit->pairs_count, fit->held_out_count);
    for (int k = 0; k < GPULET_FIT_KINDS; k++) {
        const gpulet_fit_kind_t *kind = &fit->kinds[k];
        if (kind->fitted)
            (void)fprintf(stderr, "%c %-12s mean %.2f%%  p90 %.2f%%  p95 %.2f%%\n",
                          k == (int)fit->best ? '*' : ' ',
                          gpulet_interference_kind_name((gpulet_interference_kind_t)k),
                          kind->errors.mean * 100, kind->errors.p90 * 100, kind->errors.p95 * 100);
    }
}

static gpulet_status_t write_fit(const profile_run_t *run, gpulet_error_t *err)
{
    gpulet_buf_t csv = GPULET_BUF_INIT;
    gpulet_fit_t *fit = NULL;
    char path[PROFILE_PATH_SIZE];
    const char *out = run->settings->interference_out;
    beside(path, sizeof(path), run->settings->out, "interference");
    gpulet_status_t st = gpulet_fit_run(&fit, run->profile, run->pairs, &fit_options, err);
    if (st != GPULET_OK)
        return st;
    tell(fit);
    st = gpulet_interference_format_csv(&csv, fit->kinds[fit->best].interference);
    if (st == GPULET_OK)
        st = gpulet_file_write(out != NULL ? out : path, csv.data, csv.size, err);
    gpulet_buf_deinit(&csv);
    gpulet_fit_destroy(fit);
    return st;
}

/* ---- all of it ---- */

static gpulet_status_t check_names(const profile_run_t *run, gpulet_error_t *err)
{
    for (size_t i = 0; i < run->models_count; i++) {
        if (strncmp(run->models[i]->key, TRAFFIC_PREFIX, strlen(TRAFFIC_PREFIX)) == 0)
            return gpulet_fail(err, GPULET_E_INVALID,
                               "model %s: names that begin with %s are those of memory traffic",
                               run->models[i]->key, TRAFFIC_PREFIX);
    }
    return GPULET_OK;
}

gpulet_status_t cmd_profile_pairs_check(const profile_run_t *run, gpulet_error_t *err)
{
    gpulet_status_t st = check_names(run, err);
    return st == GPULET_OK ? gpulet_neighbours_check(run->sizes, run->sizes_count, run->desc.units,
                                                     run->desc.type, err)
                           : st;
}

static gpulet_status_t measure(profile_run_t *run, gpulet_error_t *err)
{
    const profile_settings_t *s = run->settings;
    const gpulet_neighbours_options_t options = {
        .workers = cmd_profile_workers(run),
        .device_type = run->desc.type,
        .units_total = run->desc.units,
        .sizes = run->sizes,
        .sizes_count = run->sizes_count,
        .models = run->models,
        .models_count = run->models_count,
        .batches = run->batches,
        .batches_count = run->batches_count,
        .rounds = (uint32_t)s->rounds,
        .slice_ms = s->slice_ms,
        /* It streams over memory of its own, which no device with other memory takes notice of. */
        .traffic = s->traffic && run->backend->memory_used == NULL,
        .context = run,
        .on_pair = on_pair,
        .on_traffic = on_traffic,
        .on_problem = on_problem,
        .is_known = is_known,
    };
    gpulet_status_t st = gpulet_neighbours_run(&options, err);
    if (run->pairs_unsteady > 0)
        (void)fprintf(
            stderr,
            "gpulet profile: of %llu pairs measured now the rounds of %llu differ by over "
            "%.0f %%: the machine does other things too, measure again (--fresh) when it "
            "is idle\n",
            (unsigned long long)run->pairs_measured, (unsigned long long)run->pairs_unsteady,
            STEADY * 100);
    return st;
}

gpulet_status_t cmd_profile_pairs(profile_run_t *run, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_pairs_create(&run->pairs);
    if (st != GPULET_OK)
        (void)gpulet_fail(err, st, "out of memory");
    if (st == GPULET_OK)
        st = load_known(run, err);
    if (st == GPULET_OK)
        st = measure(run, err);
    if (st == GPULET_OK)
        st = write_pairs(run, err);
    return st == GPULET_OK ? write_fit(run, err) : st;
}
