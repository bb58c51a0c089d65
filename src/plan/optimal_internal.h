/* What the files of planner `optimal` share. */
#ifndef GPULET_PLAN_OPTIMAL_INTERNAL_H
#define GPULET_PLAN_OPTIMAL_INTERNAL_H

#include "core/solver.h"
#include "plan/elastic.h"
#include "plan/fill.h"
#include "plan/optimal.h"
#include "plan/price.h"

/* Worth of a device of cost 1 when prices become integers. */
#define GPULET_OPTIMAL_SCALE 268435456.0

/* One model in one gpu-let of a column. */
typedef struct gpulet_column_part {
    uint32_t gpulet; /* parts of one gpu-let stand together, in order */
    uint32_t size;
    uint32_t model;
    uint32_t choice;
    double rate_rps; /* what it serves at most, whatever the demand */
} gpulet_column_part_t;

typedef struct gpulet_column {
    uint32_t type;
    uint32_t count;
    gpulet_column_part_t *parts; /* owned */
    uint64_t hash;
} gpulet_column_t;

/* All columns found so far. They hold for any rates. */
typedef struct gpulet_columns {
    const gpulet_workspace_t *ws;
    size_t count;
    size_t capacity;
    gpulet_column_t *items; /* owned */
} gpulet_columns_t;

void gpulet_columns_deinit(gpulet_columns_t *columns);
/* Adds the priced device unless it is there. Its index in *index; *added says whether it is new. */
gpulet_status_t gpulet_columns_add(gpulet_columns_t *columns, size_t type,
                                   const gpulet_price_device_t *device, size_t *index, bool *added);

/* The linear program over the columns for some rates: how many devices of each column, at least
 * cost, so that every model's demand is served. Row m: Σ part of the demand of model m ≥ 1. */
typedef struct gpulet_master {
    gpulet_columns_t *columns; /* borrowed */
    gpulet_pricer_t *pricer;   /* borrowed */
    const gpulet_solver_t *solver;
    gpulet_program_t *program;
    double *rates_rps;   /* owned; by model; 0: left out */
    uint64_t *prices;    /* owned; of the last iteration, of the whole demand */
    double scale;        /* … in this unit */
    size_t loaded;       /* columns in the program (after one artificial a model) */
    double artificial;   /* cost of those */
    double value;        /* of the last relaxation */
    double bound;        /* the best Lagrangian bound seen, in this workspace's arithmetic */
    bool improved_bound; /* by the last iteration */
    bool done;           /* nothing prices out any more */
    uint64_t work_max;   /* of the search of one gpu-let */
    uint64_t work_most;  /* … when nothing else prices out */
    int companions;      /* further columns of an iteration, at most */
    uint64_t work;       /* steps done */
    gpulet_price_device_t device; /* scratch */
} gpulet_master_t;

/* rates_rps[] by model. */
gpulet_status_t gpulet_master_init(gpulet_master_t *master, gpulet_columns_t *columns,
                                   gpulet_pricer_t *pricer, const gpulet_solver_t *solver,
                                   const double *rates_rps);
void gpulet_master_deinit(gpulet_master_t *master);
/* A device full of one model, for each model and type: with these the program has a solution. */
gpulet_status_t gpulet_master_seed(gpulet_master_t *master);
/* One relaxation and the columns that price out against it. */
gpulet_status_t gpulet_master_iterate(gpulet_master_t *master);
/* How many devices of column j the last relaxation has. */
double gpulet_master_count(const gpulet_master_t *master, size_t column);

/* ---- proved bounds ---- */

/* The input with every tolerance of the verifier granted in full, so that what holds for it holds
 * for every plan that verifies. */
typedef struct gpulet_certifier {
    gpulet_plan_input_t input;
    gpulet_workload_t workload;
    gpulet_device_set_t devices;
    gpulet_workspace_t *ws;
    gpulet_pricer_t *pricer;
    gpulet_price_device_t device;
} gpulet_certifier_t;

gpulet_status_t gpulet_certifier_init(gpulet_certifier_t *certifier,
                                      const gpulet_plan_input_t *input);
void gpulet_certifier_deinit(gpulet_certifier_t *certifier);
/* The bound that the prices prove, in cost, not rounded up; 0 when they prove nothing. */
gpulet_status_t gpulet_certifier_prove(double *bound, gpulet_certifier_t *certifier,
                                       const uint64_t *prices, uint64_t work_max, uint64_t *work);
/* All costs of plans are multiples of it; 0 when there is no such number. */
double gpulet_certifier_step(const gpulet_device_set_t *devices);
/* Up to the next cost that a plan can have. */
double gpulet_certifier_round(const gpulet_device_set_t *devices, double bound);

/* ---- the search ---- */

typedef enum gpulet_optimal_phase {
    GPULET_OPTIMAL_ROOT, /* column generation for the whole demand */
    GPULET_OPTIMAL_INTEGER,
    GPULET_OPTIMAL_PROVE,
    GPULET_OPTIMAL_DIVE,
    GPULET_OPTIMAL_IMPROVE,
    GPULET_OPTIMAL_DONE
} gpulet_optimal_phase_t;

struct gpulet_optimal {
    const gpulet_plan_input_t *input;
    gpulet_workspace_t *ws;
    gpulet_fill_t *fill;
    gpulet_pack_t best;
    gpulet_pack_t trial;
    gpulet_pack_t scratch;
    gpulet_pricer_t *pricer;
    gpulet_certifier_t certifier;
    gpulet_columns_t columns;
    gpulet_master_t root;
    gpulet_optimal_phase_t phase;
    double bound;         /* proved, rounded up; cost */
    double bound_devices; /* proved, devices */
    double certified;     /* the highest that the certifier was asked about */
    bool fine;            /* the levels of pressure of both pricers */
    uint32_t iterations;
    uint32_t dives;
    double *rates; /* owned; scratch by model */
};

/* Whether nothing better can be found, or nothing at all. */
bool gpulet_optimal_settled(const gpulet_optimal_t *o);
/* Takes the trial as best when it is better. */
void gpulet_optimal_offer(gpulet_optimal_t *o);
/* One more device of the column, as far as rates_rps[] (by model) still ask for it; what it serves
 * is taken off. False when nothing of it could be placed. */
bool gpulet_optimal_place(gpulet_pack_t *pack, const gpulet_column_t *column, double *rates_rps);
/* One dive: which of the candidates is taken at the first step that offers a choice differs from
 * one dive to the next. */
gpulet_status_t gpulet_optimal_dive(gpulet_optimal_t *o, uint32_t variant);
/* Whether there is a plan that costs less than the best: finds it or proves that there is none, for
 * plans of few devices and within work_max. *more: it has found one, and may be asked again. */
gpulet_status_t gpulet_optimal_prove(gpulet_optimal_t *o, uint64_t work_max, bool *more);
/* Takes the best of the trial and what a greedy fill makes of it with rates_rps[] more; the trial
 * is as before. */
void gpulet_optimal_fill_up(gpulet_optimal_t *o, const double *rates_rps);
/* The integer program over gpu-lets of one model and cuts. */
gpulet_status_t gpulet_optimal_compact(gpulet_optimal_t *o);
/* The integer program over all columns. */
gpulet_status_t gpulet_optimal_integer(gpulet_optimal_t *o);

#endif
