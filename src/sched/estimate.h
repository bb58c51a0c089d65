/* What a run takes: the profile of one (model, units), corrected by what was measured. One owner.
 *
 * The curve is kept at knots (every batch up to 8, then four an octave) and read linearly between
 * them. A knot's time is profile × e^R, where R is what was learned for that batch; each size class
 * multiplies all of it by e^F. A measurement moves F and R by a part of its error in logarithms; a
 * lone outlier is clamped, a run of errors to the same side is not. The deviation is a mean
 * absolute error in logarithms: checks of deadlines add it to the mean. */
#ifndef GPULET_SCHED_ESTIMATE_H
#define GPULET_SCHED_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

enum { SCHED_KNOTS = 64, SCHED_CLASSES = 64 };

typedef struct sched_class {
    double scale;    /* e^F, once there are samples */
    float shift;     /* F */
    float deviation; /* mean |error|, in logarithms */
    uint32_t samples;
    int32_t
        streak; /* errors beyond the clamp, one after the other to one side: its sign is the side */
} sched_class_t;

typedef struct sched_estimate {
    struct sched_estimate *next; /* of the same model */
    uint32_t units;
    uint32_t class_last;         /* the one measured last */
    double raw_ns[SCHED_KNOTS];  /* profile × e^R */
    double knot_ns[SCHED_KNOTS]; /* the same made nondecreasing: more items never seem cheaper */
    double profile_ns[SCHED_KNOTS];
    float residual[SCHED_KNOTS]; /* R; of an unmeasured knot it is read from its measured neighbours
                                  */
    uint16_t samples[SCHED_KNOTS];
    sched_class_t classes[SCHED_CLASSES];
    bool profiled; /* any time was given */
    bool measured; /* any class has samples */
} sched_estimate_t;

/* A view for one size class. `fixed`: every run costs at least that many items. */
typedef struct sched_curve {
    const double *knot_ns;
    double mean_scale;
    double safe_scale; /* mean and deviation */
    uint32_t fixed;
} sched_curve_t;

/* Sets or replaces the profile; what was measured stays in force where it was measured.
 * exec_ns[b-1], 0: not known. */
void sched_estimate_profile(sched_estimate_t *estimate, const uint64_t *exec_ns, uint32_t count);
void sched_estimate_learn(sched_estimate_t *estimate, uint32_t size_class, uint32_t items,
                          uint64_t exec_ns);
/* Whether anything is known at all, by profile or measurement. */
bool sched_estimate_known(const sched_estimate_t *estimate);

sched_curve_t sched_curve(const sched_estimate_t *estimate, uint32_t size_class, uint32_t fixed);
uint64_t sched_curve_mean_ns(const sched_curve_t *curve, uint32_t items);
uint64_t sched_curve_safe_ns(const sched_curve_t *curve, uint32_t items);
/* The most items, at most items_max, that surely end within budget_ns; 0 when not even one does. */
uint32_t sched_curve_fit(const sched_curve_t *curve, uint64_t budget_ns, uint32_t items_max);
/* The size of most items a second among 1 … items_max; items_max when no smaller one is clearly
 * better. */
uint32_t sched_curve_best(const sched_curve_t *curve, uint32_t items_max);

#endif
