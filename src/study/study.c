#include "study/study.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

static const uint64_t PROGRESS_NS = 200 * GPULET_NS_PER_MS;

/* What the threads share. Cases are handed out in order, so that every case before one that fails
 * is planned as well, and the first failure is the same whatever the threads do. */
typedef struct job {
    const gpulet_study_spec_t *spec;
    const gpulet_plan_input_t *input;
    uint8_t *verdicts;   /* each case is written by one thread */
    atomic_size_t next;  /* relaxed: the case to take next */
    atomic_size_t done;  /* relaxed: for the progress line */
    atomic_bool stopped; /* relaxed: something failed */
    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t running;     /* under the lock */
    size_t failed_case; /* under the lock, as what follows */
    gpulet_status_t status;
    gpulet_error_t err;
    gpulet_study_planner_t planners[GPULET_STUDY_PLANNERS_MAX]; /* times alone */
} job_t;

/* Of one thread. */
typedef struct worker {
    job_t *job;
    gpulet_workload_t *workload; /* owned */
    gpulet_study_planner_t planners[GPULET_STUDY_PLANNERS_MAX];
    gpulet_error_t err;
} worker_t;

static double now_ms(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- verdicts ---- */

gpulet_study_verdict_t gpulet_study_judge(const gpulet_plan_t *plan,
                                          const gpulet_device_set_t *devices,
                                          const gpulet_planner_t *planner)
{
    if (plan->feasible)
        return GPULET_STUDY_VERDICT_YES;
    /* `exhaustive` looks at every cut, not at every way to fill it: its no is no proof. */
    if (gpulet_plan_excluded(plan, devices))
        return GPULET_STUDY_VERDICT_NO;
    return planner->proves ? GPULET_STUDY_VERDICT_OPEN : GPULET_STUDY_VERDICT_MISSED;
}

const char *gpulet_study_verdict_text(gpulet_study_verdict_t verdict)
{
    static const char *const texts[GPULET_STUDY_VERDICTS_COUNT] = {"yes", "no", "missed", "open"};
    assert(verdict < GPULET_STUDY_VERDICTS_COUNT);
    return texts[verdict];
}

/* ---- one case ---- */

static void describe_case(const gpulet_study_spec_t *spec, size_t index, gpulet_error_t *err)
{
    double rates_rps[GPULET_STUDY_MODELS_MAX];
    char text[256];
    size_t length = 0;
    gpulet_study_case_rates(rates_rps, spec, index);
    for (size_t i = 0; i < spec->models_count && length < sizeof(text) - 1; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%g", i == 0 ? "" : ",",
                                   rates_rps[i]);
    gpulet_error_prefix(err, "rates %.200s", text);
}

static gpulet_status_t run_case(worker_t *w, size_t index)
{
    const job_t *job = w->job;
    const gpulet_study_spec_t *spec = job->spec;
    gpulet_plan_input_t input = *job->input;
    double rates_rps[GPULET_STUDY_MODELS_MAX];
    const gpulet_planner_t *has_plan = NULL;
    const gpulet_planner_t *has_proof = NULL;
    gpulet_study_case_rates(rates_rps, spec, index);
    for (size_t i = 0; i < spec->models_count; i++)
        w->workload->demands[i].rate_rps = rates_rps[i];
    input.workload = w->workload;
    for (size_t i = 0; i < spec->planners_count; i++) {
        gpulet_plan_t *plan = NULL;
        double begin_ms = now_ms(CLOCK_MONOTONIC);
        double begin_cpu_ms = now_ms(CLOCK_THREAD_CPUTIME_ID);
        gpulet_status_t st = gpulet_planner_run(&plan, spec->planners[i], &input, &w->err);
        if (st != GPULET_OK)
            return st;
        w->planners[i].elapsed_ms += now_ms(CLOCK_MONOTONIC) - begin_ms;
        w->planners[i].cpu_ms += now_ms(CLOCK_THREAD_CPUTIME_ID) - begin_cpu_ms;
        gpulet_study_verdict_t verdict = gpulet_study_judge(plan, input.devices, spec->planners[i]);
        if (verdict == GPULET_STUDY_VERDICT_YES)
            has_plan = plan->by_prototype_rule ? has_plan : spec->planners[i];
        else if (gpulet_plan_excluded(plan, input.devices))
            has_proof = spec->planners[i];
        job->verdicts[index * spec->planners_count + i] = (uint8_t)verdict;
        gpulet_plan_destroy(plan);
    }
    if (has_plan != NULL && has_proof != NULL)
        return gpulet_fail(&w->err, GPULET_E_INTERNAL,
                           "%s has a plan where the bound of %s says that there is none",
                           has_plan->name, has_proof->name);
    return GPULET_OK;
}

/* ---- threads ---- */

static void note_failure(worker_t *w, size_t index, gpulet_status_t st)
{
    job_t *job = w->job;
    describe_case(job->spec, index, &w->err);
    (void)pthread_mutex_lock(&job->lock);
    if (index < job->failed_case) {
        job->failed_case = index;
        job->status = st;
        job->err = w->err;
    }
    (void)pthread_mutex_unlock(&job->lock);
    atomic_store_explicit(&job->stopped, true, memory_order_relaxed);
}

static void *work(void *arg)
{
    worker_t *w = arg;
    job_t *job = w->job;
    while (!atomic_load_explicit(&job->stopped, memory_order_relaxed)) {
        size_t index = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed);
        if (index >= job->spec->cases_count)
            break;
        gpulet_status_t st = run_case(w, index);
        if (st != GPULET_OK)
            note_failure(w, index, st);
        (void)atomic_fetch_add_explicit(&job->done, 1, memory_order_relaxed);
    }
    (void)pthread_mutex_lock(&job->lock);
    for (size_t i = 0; i < job->spec->planners_count; i++) {
        job->planners[i].elapsed_ms += w->planners[i].elapsed_ms;
        job->planners[i].cpu_ms += w->planners[i].cpu_ms;
    }
    job->running--;
    (void)pthread_cond_signal(&job->ended);
    (void)pthread_mutex_unlock(&job->lock);
    return NULL;
}

static gpulet_status_t new_workload(gpulet_workload_t **out, const gpulet_study_spec_t *spec)
{
    gpulet_workload_t *workload = NULL;
    gpulet_status_t st = gpulet_workload_create(&workload);
    for (size_t i = 0; st == GPULET_OK && i < spec->models_count; i++) {
        gpulet_demand_t demand = {.slo_ms = spec->models[i].slo_ms, .weight = 1.0};
        memcpy(demand.model, spec->models[i].name, sizeof(demand.model));
        st = gpulet_workload_add(workload, &demand, NULL);
    }
    if (st == GPULET_OK)
        *out = workload;
    else
        gpulet_workload_destroy(workload);
    return st;
}

static void wait_for_all(job_t *job, const gpulet_study_options_t *options)
{
    (void)pthread_mutex_lock(&job->lock);
    while (job->running > 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        uint64_t ns = (uint64_t)until.tv_nsec + PROGRESS_NS;
        until.tv_sec += (time_t)(ns / GPULET_NS_PER_S);
        until.tv_nsec = (long)(ns % GPULET_NS_PER_S);
        (void)pthread_cond_timedwait(&job->ended, &job->lock, &until);
        if (options->progress == NULL)
            continue;
        (void)pthread_mutex_unlock(&job->lock);
        options->progress(options->progress_arg,
                          atomic_load_explicit(&job->done, memory_order_relaxed),
                          job->spec->cases_count);
        (void)pthread_mutex_lock(&job->lock);
    }
    (void)pthread_mutex_unlock(&job->lock);
}

/* Starts a thread for each worker, or does all the work here when not even one starts. */
static size_t run_workers(job_t *job, worker_t *workers, size_t count,
                          const gpulet_study_options_t *options)
{
    pthread_t threads[GPULET_STUDY_THREADS_MAX];
    size_t started = 0;
    while (started < count) {
        (void)pthread_mutex_lock(&job->lock);
        job->running++;
        (void)pthread_mutex_unlock(&job->lock);
        if (pthread_create(&threads[started], NULL, work, &workers[started]) != 0) {
            (void)pthread_mutex_lock(&job->lock);
            job->running--;
            (void)pthread_mutex_unlock(&job->lock);
            break;
        }
        started++;
    }
    if (started == 0) {
        job->running = 1;
        (void)work(&workers[0]);
        return 1;
    }
    wait_for_all(job, options);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
    return started;
}

static void count_verdicts(gpulet_study_result_t *result)
{
    for (size_t i = 0; i < result->cases_count * result->planners_count; i++)
        result->planners[i % result->planners_count].counts[result->verdicts[i]]++;
}

static gpulet_status_t prepare(worker_t *workers, size_t count, job_t *job)
{
    for (size_t i = 0; i < count; i++) {
        workers[i].job = job;
        gpulet_status_t st = new_workload(&workers[i].workload, job->spec);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_study_run(gpulet_study_result_t *out, const gpulet_study_spec_t *spec,
                                 const gpulet_plan_input_t *input,
                                 const gpulet_study_options_t *options, gpulet_error_t *err)
{
    size_t count = options->threads == 0 ? 1 : options->threads;
    size_t started = 0;
    double begin_ms = now_ms(CLOCK_MONOTONIC);
    count = count > GPULET_STUDY_THREADS_MAX ? GPULET_STUDY_THREADS_MAX : count;
    count = count > spec->cases_count ? spec->cases_count : count;
    assert(count > 0);
    job_t job = {.spec = spec, .input = input, .failed_case = SIZE_MAX, .status = GPULET_OK};
    worker_t *workers = calloc(count + 1, sizeof(*workers));
    gpulet_status_t st = GPULET_E_NOMEM;
    (void)pthread_mutex_init(&job.lock, NULL);
    (void)pthread_cond_init(&job.ended, NULL);
    job.verdicts = calloc(spec->cases_count + 1, spec->planners_count + 1);
    if (workers != NULL && job.verdicts != NULL)
        st = prepare(workers, count, &job);
    if (st == GPULET_OK) {
        started = run_workers(&job, workers, count, options);
        if ((st = job.status) != GPULET_OK)
            (void)gpulet_fail(err, st, "%s", job.err.text);
    } else {
        st = gpulet_fail(err, st, "%s", gpulet_status_text(st));
    }
    for (size_t i = 0; workers != NULL && i < count; i++)
        gpulet_workload_destroy(workers[i].workload);
    free(workers);
    (void)pthread_cond_destroy(&job.ended);
    (void)pthread_mutex_destroy(&job.lock);
    if (st != GPULET_OK) {
        free(job.verdicts);
        return st;
    }
    *out = (gpulet_study_result_t){.cases_count = spec->cases_count,
                                   .planners_count = spec->planners_count,
                                   .threads_count = started,
                                   .verdicts = job.verdicts};
    memcpy(out->planners, job.planners, sizeof(out->planners));
    count_verdicts(out);
    out->wall_ms = now_ms(CLOCK_MONOTONIC) - begin_ms;
    return GPULET_OK;
}

void gpulet_study_result_deinit(gpulet_study_result_t *result)
{
    free(result->verdicts);
    *result = (gpulet_study_result_t){0};
}
