/* A study as a picture: for each planner its verdicts summed up, and a map with a field for every
 * case. Pure. */
#ifndef GPULET_VIEW_STUDY_SVG_H
#define GPULET_VIEW_STUDY_SVG_H

#include "base/buf.h"
#include "base/status.h"
#include "study/study.h"

gpulet_status_t gpulet_view_study_svg(gpulet_buf_t *out, const gpulet_study_spec_t *spec,
                                      const gpulet_study_result_t *result) GPULET_MUST_USE;

#endif
