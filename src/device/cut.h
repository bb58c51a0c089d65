/* Which units of a device are taken, and which to take next. Units stand in the order of the
 * topology: neighbours share more than units far apart, and units of one group (a last-level cache)
 * share most. Pure; one owner. */
#ifndef GPULET_DEVICE_CUT_H
#define GPULET_DEVICE_CUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct gpulet_cut {
    uint32_t units;
    uint32_t *groups; /* owned; ascending in the order of the topology */
    uint32_t *users;  /* owned; partitions on each unit */
} gpulet_cut_t;

/* groups: one number a unit, or NULL when all are one group. */
gpulet_status_t gpulet_cut_init(gpulet_cut_t *cut, uint32_t units,
                                const uint32_t *groups) GPULET_MUST_USE;
void gpulet_cut_deinit(gpulet_cut_t *cut);
uint32_t gpulet_cut_free_units(const gpulet_cut_t *cut);
/* Takes count units (1 … units) and writes them ascending. The fewest group borders first, then the
 * smallest free run that fits; scattered units only when no run fits. With `overlap` units may be
 * shared when too few are free: those with the fewest users. E_FULL. */
gpulet_status_t gpulet_cut_take(gpulet_cut_t *cut, uint32_t *out, uint32_t count,
                                bool overlap) GPULET_MUST_USE;
void gpulet_cut_give(gpulet_cut_t *cut, const uint32_t *taken, uint32_t count);
/* Whether nobody else has any of them. */
bool gpulet_cut_exclusive(const gpulet_cut_t *cut, const uint32_t *taken, uint32_t count);
/* Exchanges shared units for free ones; exclusive ones stay where they are. E_FULL changes nothing.
 */
gpulet_status_t gpulet_cut_settle(gpulet_cut_t *cut, uint32_t *taken,
                                  uint32_t count) GPULET_MUST_USE;

#endif
