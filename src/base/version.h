/* The version of this build; GPULET_VERSION, GPULET_COMMIT and GPULET_BUILD come from the build
 * files. */
#ifndef GPULET_BASE_VERSION_H
#define GPULET_BASE_VERSION_H

#ifndef GPULET_VERSION
#define GPULET_VERSION "0.0.0"
#endif
#ifndef GPULET_COMMIT
#define GPULET_COMMIT "unknown"
#endif
#ifndef GPULET_BUILD
#define GPULET_BUILD "unknown"
#endif

#endif
