/* The fake engine: takes the time a profile or a script says and copies its inputs, for tests and
 * trials without a real model.
 *
 * A model's file may be anything that exists. When it is a small text of `key=value` lines it
 * shapes the model (engine/fake/script.h); otherwise the model takes "INPUT0", FP32 [-1,16], and
 * gives it back as "OUTPUT0".
 *
 * Row i of every output (an item of the batch, where the first dimension is dynamic) holds the
 * bytes of row i of the *first* input, repeated to fill it, so that a test can tell which request
 * got which answer; BYTES outputs repeat its elements in the same way.
 *
 * How long a run takes: the profile's latency at the model's name, units and batch (the nearest
 * measured batch outside of the measured range); else the script's latency keys; else no time. */
#ifndef GPULET_ENGINE_FAKE_FAKE_H
#define GPULET_ENGINE_FAKE_FAKE_H

#include "engine/engine.h"

extern const gpulet_engine_ops_t gpulet_engine_fake;

#endif
