"""The example models of gpulet: what tools/make-models runs."""
