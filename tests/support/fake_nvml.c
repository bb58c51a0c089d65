/* A management library of two GPUs that are not there, of which the second has no sensors.
 * GPULET_FAKE_GPUS: how many (2); a set GPULET_FAKE_MIG puts the first into MIG mode;
 * GPULET_FAKE_CAPABILITY is the major version (9); GPULET_FAKE_NVML_FAILS makes it not start;
 * GPULET_FAKE_LOST is a GPU that does not answer. With GPULET_FAKE_MEMORY_OWN what the asking
 * process holds of the machine's memory counts as in use on the GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NOT_SUPPORTED = 3, NOT_FOUND = 6, BROKEN = 9, LOST = 15 };

typedef struct memory {
    unsigned long long total, available, used;
} memory_t;

typedef struct utilization {
    unsigned gpu, memory;
} utilization_t;

typedef struct device {
    unsigned index;
} device_t;

static device_t devices[] = {{0}, {1}};

int nvmlInit_v2(void);
const char *nvmlErrorString(int code);
int nvmlSystemGetDriverVersion(char *out, unsigned size);
int nvmlSystemGetCudaDriverVersion_v2(int *out);
int nvmlDeviceGetCount_v2(unsigned *out);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **out);
int nvmlDeviceGetHandleByUUID(const char *uuid, device_t **out);
int nvmlDeviceGetName(device_t *device, char *out, unsigned size);
int nvmlDeviceGetUUID(device_t *device, char *out, unsigned size);
int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *out);
int nvmlDeviceGetMigMode(device_t *device, unsigned *now, unsigned *later);
int nvmlDeviceGetNumGpuCores(device_t *device, unsigned *out);
int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor);
int nvmlDeviceGetUtilizationRates(device_t *device, utilization_t *out);
int nvmlDeviceGetPowerUsage(device_t *device, unsigned *out);
int nvmlDeviceGetEnforcedPowerLimit(device_t *device, unsigned *out);

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtol(text, NULL, 10) : otherwise;
}

int nvmlInit_v2(void)
{
    return getenv("GPULET_FAKE_NVML_FAILS") != NULL ? BROKEN : 0;
}

const char *nvmlErrorString(int code)
{
    return code == BROKEN ? "Driver Not Loaded" : "some error";
}

int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    (void)snprintf(out, size, "999.1");
    return 0;
}

int nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    *out = 13000;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *out)
{
    *out = (unsigned)number("GPULET_FAKE_GPUS", 2);
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t **out)
{
    *out = &devices[index];
    return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device_t **out)
{
    for (unsigned i = 0; i < 2; i++) {
        char own[32];
        (void)nvmlDeviceGetUUID(&devices[i], own, sizeof(own));
        if (strcmp(own, uuid) == 0) {
            *out = &devices[i];
            return 0;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetName(device_t *device, char *out, unsigned size)
{
    (void)device;
    (void)snprintf(out, size, "NVIDIA Fake (80GB)");
    return 0;
}

int nvmlDeviceGetUUID(device_t *device, char *out, unsigned size)
{
    (void)snprintf(out, size, "GPU-fake-%u", device->index);
    return 0;
}

/* Bytes that are resident of this process. */
static unsigned long long own_memory(void)
{
    char text[128] = "";
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fgets(text, sizeof(text), file) != NULL && strchr(text, ' ') != NULL)
        pages = strtoull(strchr(text, ' '), NULL, 10);
    (void)fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

int nvmlDeviceGetMemoryInfo(device_t *device, memory_t *out)
{
    if (number("GPULET_FAKE_LOST", -1) == (long)device->index)
        return LOST;
    out->total = 80ULL << 30;
    out->used = (1ULL + device->index) << 30;
    if (getenv("GPULET_FAKE_MEMORY_OWN") != NULL)
        out->used += own_memory();
    out->available = out->total - out->used;
    return 0;
}

int nvmlDeviceGetMigMode(device_t *device, unsigned *now, unsigned *later)
{
    *now = *later = device->index == 0 && getenv("GPULET_FAKE_MIG") != NULL;
    return device->index == 1 ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetNumGpuCores(device_t *device, unsigned *out)
{
    (void)device;
    *out = 132 * 128;
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(device_t *device, int *major, int *minor)
{
    (void)device;
    *major = (int)number("GPULET_FAKE_CAPABILITY", 9);
    *minor = 0;
    return 0;
}

int nvmlDeviceGetUtilizationRates(device_t *device, utilization_t *out)
{
    out->gpu = 42;
    out->memory = 7;
    return device->index == 1 ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetPowerUsage(device_t *device, unsigned *out)
{
    *out = 123456;
    return device->index == 1 ? NOT_SUPPORTED : 0;
}

int nvmlDeviceGetEnforcedPowerLimit(device_t *device, unsigned *out)
{
    *out = 700000;
    return device->index == 1 ? NOT_SUPPORTED : 0;
}
