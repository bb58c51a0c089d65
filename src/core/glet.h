/* The files of the authors' prototype (casys-kaist/glet), so that its inputs can be planned and its
 * outputs checked: the latency table is read by core/profile.h; here are the task file, the
 * utilisations, the interference constants, the device types and the plan (ModelList.txt). Lines
 * may end in a comma, as the prototype writes them. Errors name file, line and field. */
#ifndef GPULET_CORE_GLET_H
#define GPULET_CORE_GLET_H

#include <stddef.h>

#include "base/buf.h"
#include "base/status.h"
#include "core/device_type.h"
#include "core/interference.h"
#include "core/plan.h"
#include "core/profile.h"
#include "core/workload.h"

/* The task file: a line with the number of tasks, then `id,rate,SLO` for each. An id is the
 * prototype's number of a model (0 … 13) or a model's name. Caller destroys. */
gpulet_status_t gpulet_glet_tasks_parse(gpulet_workload_t **out, const char *text, size_t size,
                                        const char *file, gpulet_error_t *err) GPULET_MUST_USE;

/* UTIL.CSV: a header with bench, batch, l2_util(%) and mem_util(%). A new profile with the two
 * utilisations at every point, linear between the batches of the file and as at its last one
 * beyond; as in the prototype they are scaled by the gpu-let's part of the device. Models that the
 * file does not have keep none. Caller destroys *out. */
gpulet_status_t gpulet_glet_utilisation_apply(gpulet_profile_t **out,
                                              const gpulet_profile_t *profile,
                                              const gpulet_device_set_t *devices, const char *text,
                                              size_t size, const char *file,
                                              gpulet_error_t *err) GPULET_MUST_USE;

/* INT_MODEL_CONSTANT.CSV: five numbers, l2 of self and other, DRAM of self and other, constant,
 * with or without a header line. Caller destroys. */
gpulet_status_t gpulet_glet_constants_parse(gpulet_interference_t **out, const char *device,
                                            const char *text, size_t size, const char *file,
                                            gpulet_error_t *err) GPULET_MUST_USE;

/* device-config.json: type and mem_mb of each device type; the sizes and limits are the
 * prototype's, which are in its source: sizes 20 … 100, two gpu-lets, three models, a tenth of the
 * memory left free, 1230 MiB a process, 3 Gbit/s. Counts are "as many as needed". Caller destroys.
 */
gpulet_status_t gpulet_glet_devices_parse(gpulet_device_set_t **out, const char *text, size_t size,
                                          const char *file, gpulet_error_t *err) GPULET_MUST_USE;

/* A model of the workload that the profile does not have, whose name ends in a number, is given the
 * curves of the one that ends in 1 (the prototype profiles lenet1 for six LeNets). Caller destroys
 * *out, a new profile. */
gpulet_status_t gpulet_glet_alias(gpulet_profile_t **out, const gpulet_profile_t *profile,
                                  const gpulet_workload_t *workload,
                                  gpulet_error_t *err) GPULET_MUST_USE;

/* ModelList.txt: `gpu,part,dedup,model|reserved,batch,duty_ms`, a line a model, and a reserved line
 * for what is free of a device where that is a size. E_INVALID when a gpu-let holds several
 * instances, which the format cannot say. */
gpulet_status_t gpulet_glet_plan_format(gpulet_buf_t *out, const gpulet_plan_t *plan,
                                        const gpulet_device_set_t *devices,
                                        gpulet_error_t *err) GPULET_MUST_USE;
/* Reads such a file for the first device type. Only gpu-lets, models, batches and duty cycles are
 * in it: rates are what the batches hold, latencies are left 0 for gpulet_plan_rebase. Caller
 * destroys. */
gpulet_status_t gpulet_glet_plan_parse(gpulet_plan_t **out, const gpulet_device_set_t *devices,
                                       const char *text, size_t size, const char *file,
                                       gpulet_error_t *err) GPULET_MUST_USE;

#endif
