set(GPULET_SERVER_WORKER_SOURCES worker.c worker_end.c worker_launch.c worker_send.c worker_receive.c)
