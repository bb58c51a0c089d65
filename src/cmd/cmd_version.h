/* --version of the three programs. */
#ifndef GPULET_CMD_CMD_VERSION_H
#define GPULET_CMD_CMD_VERSION_H

/* On stdout: the version, what was built and how, and the back ends that are compiled in. */
void cmd_version_print(const char *program);

#endif
