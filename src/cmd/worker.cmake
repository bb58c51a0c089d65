gpulet_program(gpulet-worker LINKS worker SOURCES worker_main.c)
