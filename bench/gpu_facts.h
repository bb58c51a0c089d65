/* The experiments of gpu_facts: each runs in a process of its own, without a context at first. */
#ifndef GPULET_BENCH_GPU_FACTS_H
#define GPULET_BENCH_GPU_FACTS_H

#include <sys/types.h>

typedef struct facts_settings {
    const char *models; /* repository, or NULL */
} facts_settings_t;

extern facts_settings_t facts;

/* gpu_green.c */
void facts_green_split(void);
void facts_green_confined(void);
void facts_green_isolation(void);
void facts_green_engine(void);
void facts_shapes(void);

/* gpu_mps.c */
void facts_context(void);
void facts_context_mps(void);
void facts_mps_share(void);
void facts_mps_start(void);
void facts_mps_isolation(void);

/* gpu_facts.c */
/* Runs body in a child and waits, at most so long; false when it failed or was too slow. */
int facts_child(void (*body)(const void *), const void *argument, double limit_s);
double facts_used_mb(void); /* memory in use on the first GPU, by NVML; -1: not known */

#endif
