/* Metrics of the machine and its devices, under the names that Triton has for them. What cannot be
 * known here is left out, not written as 0. */
#include "base/clock.h"
#include "server/metrics.h"

static void write_gauge(gpulet_buf_t *out, const char *name, const char *help, double value)
{
    server_metrics_head(out, name, "gauge", help);
    gpulet_buf_printf(out, "%s %.15g\n", name, value);
}

/* X(field, name, help). tools/metrics-table reads these too: no machine has all of them. */
#define HOST_METRIC_MAP(X)                                                                         \
    X(utilization, "nv_cpu_utilization", "CPU utilization rate [0.0 - 1.0]")                       \
    X(memory_total, "nv_cpu_memory_total_bytes", "CPU total memory (RAM), in bytes")               \
    X(memory_used, "nv_cpu_memory_used_bytes", "CPU used memory (RAM), in bytes")
#define DEVICE_METRIC_MAP(X)                                                                       \
    X(utilization, "nv_gpu_utilization", "GPU utilization rate [0.0 - 1.0]")                       \
    X(memory_total, "nv_gpu_memory_total_bytes", "GPU total memory, in bytes")                     \
    X(memory_used, "nv_gpu_memory_used_bytes", "GPU used memory, in bytes")                        \
    X(power_usage, "nv_gpu_power_usage", "GPU power usage in watts")                               \
    X(power_limit, "nv_gpu_power_limit", "GPU power management limit in watts")

typedef struct host_values {
    double utilization; /* negative, as all of them: not known */
    double memory_total;
    double memory_used;
} host_values_t;

static void write_host(gpulet_buf_t *out, gpulet_server_t *server)
{
    host_values_t host = {-1.0, -1.0, -1.0};
    uint64_t total = 0;
    uint64_t used = 0;
    server_machine_sample(&server->machine, gpulet_clock_ns());
    if (server->machine.utilization_known)
        host.utilization = server->machine.utilization;
    if (server_machine_memory(&total, &used) == GPULET_OK) {
        host.memory_total = (double)total;
        host.memory_used = (double)used;
    }
#define HOST_METRIC_WRITE(field, name, help)                                                       \
    if (host.field >= 0)                                                                           \
        write_gauge(out, name, help, host.field);
    HOST_METRIC_MAP(HOST_METRIC_WRITE)
#undef HOST_METRIC_WRITE
}

static double utilization(const gpulet_device_telemetry_t *t)
{
    return t->utilization;
}
static double memory_total(const gpulet_device_telemetry_t *t)
{
    return (double)t->memory_total_bytes;
}
static double memory_used(const gpulet_device_telemetry_t *t)
{
    return (double)t->memory_used_bytes;
}
static double power_usage(const gpulet_device_telemetry_t *t)
{
    return t->power_watts;
}
static double power_limit(const gpulet_device_telemetry_t *t)
{
    return t->power_limit_watts;
}

typedef struct device_metric {
    const char *name;
    const char *help;
    double (*value)(const gpulet_device_telemetry_t *t); /* negative: not known */
} device_metric_t;

static const device_metric_t device_metrics[] = {
#define DEVICE_METRIC_ROW(field, name, help) {name, help, field},
    DEVICE_METRIC_MAP(DEVICE_METRIC_ROW)
#undef DEVICE_METRIC_ROW
};

/* Drivers take their time: however often it is asked, they are asked once a second. */
static void refresh(gpulet_server_t *server, server_device_t *device, uint64_t now_ns)
{
    if (device->telemetry_at_ns != 0 && now_ns - device->telemetry_at_ns < GPULET_NS_PER_S)
        return;
    device->telemetry_at_ns = now_ns;
    device->telemetry_known =
        !device->gone &&
        server->backend->telemetry(&device->telemetry, device->device, NULL) == GPULET_OK;
}

static void write_device_metric(gpulet_buf_t *out, const gpulet_server_t *server,
                                const device_metric_t *metric)
{
    bool headed = false;
    for (uint32_t i = 0; i < server->devices_count; i++) {
        const server_device_t *device = &server->devices[i];
        const double value = device->telemetry_known ? metric->value(&device->telemetry) : -1.0;
        if (value < 0)
            continue;
        if (!headed)
            server_metrics_head(out, metric->name, "gauge", metric->help);
        headed = true;
        gpulet_buf_printf(out, "%s{gpu_uuid=\"%s\"} %.15g\n", metric->name, device->telemetry.uuid,
                          value);
    }
}

void server_metrics_machine(gpulet_buf_t *out, gpulet_server_t *server)
{
    const uint64_t now_ns = gpulet_clock_ns();
    write_host(out, server);
    if (server->backend->telemetry == NULL)
        return;
    for (uint32_t i = 0; i < server->devices_count; i++)
        refresh(server, &server->devices[i], now_ns);
    for (size_t m = 0; m < sizeof(device_metrics) / sizeof(device_metrics[0]); m++)
        write_device_metric(out, server, &device_metrics[m]);
}
