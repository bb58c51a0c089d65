/* The fake engine: takes the time a profile or a script says, for tests and for rehearsing a
 * deployment without its models.
 *
 * A model's file may be anything that exists. When it is a small text of `key=value` lines it
 * shapes the model (engine/fake/script.h). When it names no tensors the model takes and gives what
 * the caller of load says (the server knows it from the ONNX file or the configuration) and answers
 * zeros and empty strings: a dynamic dimension of an output is that of the first input with a
 * dynamic one at the same place, else 1. When the caller says nothing either the model takes
 * "INPUT0", FP32 [-1,16], and gives it back as "OUTPUT0".
 *
 * Otherwise row i of every output (an item of the batch, where the first dimension is dynamic)
 * holds the bytes of row i of the *first* input, repeated to fill it, so that a test can tell which
 * request got which answer; BYTES outputs repeat its elements in the same way.
 *
 * How long a run takes: the profile's latency at the device type, the model's name, units (between
 * measured sizes as plans have it) and batch, of both the nearest measured outside of the measured
 * range; else, where the profile has no times of the model on that device type, the script's
 * latency keys; else no time. */
#ifndef GPULET_ENGINE_FAKE_FAKE_H
#define GPULET_ENGINE_FAKE_FAKE_H

#include "engine/engine.h"

extern const gpulet_engine_ops_t gpulet_engine_fake;

#endif
