/* The load generator: open-loop arrivals (Poisson or uniform) of many models at once, those that
 * the simulator draws from the same seed, or a fixed number of requests in flight. Latency runs
 * from the moment a request was *due*, so a stalled server is not flattered. One thread, one epoll.
 */
#ifndef GPULET_CLIENT_LOAD_H
#define GPULET_CLIENT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hist.h"
#include "base/status.h"
#include "client/http_client.h"
#include "core/arrivals.h"

typedef struct gpulet_load_model {
    const char *name;
    double rate_rps;    /* items a second; a request of `batch` items counts as that many */
    double slo_ms;      /* 0: none: every answer is in time */
    const char *shapes; /* see gpulet_request_shape_t */
    const gpulet_rate_step_t *steps; /* in the place of rate_rps (core/arrivals.h), from the start
                                        of what is counted on; borrowed */
    size_t steps_count;              /* 0: rate_rps all the while */
} gpulet_load_model_t;

typedef struct gpulet_load_options {
    const char *url;
    const gpulet_load_model_t *models;
    size_t models_count;
    bool uniform;       /* else Poisson */
    uint32_t in_flight; /* > 0: closed loop with so many requests of the first model in flight;
                           rates are ignored */
    uint32_t connections_max; /* [256] */
    uint32_t batch;
    int64_t dim; /* for dynamic dimensions other than the batch */
    bool json;   /* tensors as JSON numbers instead of binary */
    double duration_s;
    double warmup_s; /* sent before, not counted */
    uint64_t seed;
    bool progress; /* a line on stderr every second */
} gpulet_load_options_t;

typedef struct gpulet_load_result {
    char name[256];
    double slo_ms;
    uint64_t offered; /* items */
    uint64_t in_time;
    uint64_t late;
    uint64_t rejected;               /* answered 503, or 429 for too many connections */
    uint64_t failed;                 /* any other answer, or none */
    char error[160];                 /* the first failure's text */
    gpulet_hist_t latency_ns;        /* of answered requests */
    gpulet_hist_t reject_latency_ns; /* of rejects */
} gpulet_load_result_t;

/* results: models_count entries of the caller's. seconds_out: what the counted part took. */
gpulet_status_t gpulet_load_run(gpulet_load_result_t *results, double *seconds_out,
                                const gpulet_load_options_t *options,
                                gpulet_error_t *err) GPULET_MUST_USE;

/* What a server said of itself; NAN: it did not. */
typedef struct gpulet_load_server {
    double devices_time_avg;
    double replans;
} gpulet_load_server_t;

/* The document of docs/formats.md, and a table for people. */
gpulet_status_t gpulet_load_report_json(gpulet_buf_t *out, const gpulet_load_result_t *results,
                                        size_t count, double seconds, uint64_t seed,
                                        const gpulet_load_server_t *server) GPULET_MUST_USE;
void gpulet_load_report_table(gpulet_buf_t *out, const char *kind,
                              const gpulet_load_result_t *results, size_t count, double seconds);

#endif
