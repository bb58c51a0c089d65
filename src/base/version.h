/* The version of this build. All of this comes from the build files; GPULET_VERSION is known
 * everywhere, the rest in the file that prints it. */
#ifndef GPULET_BASE_VERSION_H
#define GPULET_BASE_VERSION_H

#ifndef GPULET_VERSION
#define GPULET_VERSION "0.0.0"
#endif
#ifndef GPULET_COMMIT
#define GPULET_COMMIT "unknown"
#endif
#ifndef GPULET_PRESET
#define GPULET_PRESET "unknown"
#endif
#ifndef GPULET_BUILD
#define GPULET_BUILD "unknown"
#endif
#ifndef GPULET_SANITIZERS
#define GPULET_SANITIZERS "unknown"
#endif

#endif
