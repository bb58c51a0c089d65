#include "server/machine.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"

enum { STAT_SIZE = 512, MEMINFO_SIZE = 8192, BYTES_PER_KIB = 1024, CPUINFO_SIZE_MAX = 1 << 24 };

/* The columns of /proc/stat; what follows is counted in `user` already. */
enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, COLUMNS, COLUMNS_LEAST = IDLE + 1 };

/* The number that text begins with after blanks; *text moves behind it. */
static bool take_number(uint64_t *out, const char **text)
{
    const char *digits = *text + strspn(*text, " ");
    size_t size = strspn(digits, "0123456789");
    if (gpulet_parse_u64(out, digits, size) != GPULET_OK)
        return false;
    *text = digits + size;
    return true;
}

gpulet_status_t server_machine_parse_stat(server_cpu_ticks_t *out, const char *text)
{
    uint64_t ticks[COLUMNS] = {0};
    int count = 0;
    if (strncmp(text, "cpu ", 4) != 0)
        return GPULET_E_INVALID;
    text += 4;
    while (count < COLUMNS && take_number(&ticks[count], &text))
        count++;
    if (count < COLUMNS_LEAST) /* as old kernels have it */
        return GPULET_E_INVALID;
    out->idle = ticks[IDLE] + ticks[IOWAIT];
    out->busy =
        ticks[USER] + ticks[NICE] + ticks[SYSTEM] + ticks[IRQ] + ticks[SOFTIRQ] + ticks[STEAL];
    return GPULET_OK;
}

static bool find_kib(uint64_t *bytes_out, const char *text, const char *key)
{
    const size_t size = strlen(key);
    uint64_t kib = 0;
    while (strncmp(text, key, size) != 0) {
        text = strchr(text, '\n');
        if (text == NULL)
            return false;
        text++;
    }
    text += size;
    return take_number(&kib, &text) && strncmp(text, " kB", 3) == 0 &&
           !__builtin_mul_overflow(kib, (uint64_t)BYTES_PER_KIB, bytes_out);
}

gpulet_status_t server_machine_parse_meminfo(uint64_t *total_bytes, uint64_t *used_bytes,
                                             const char *text)
{
    uint64_t total = 0;
    uint64_t available = 0;
    if (!find_kib(&total, text, "MemTotal:") || !find_kib(&available, text, "MemAvailable:") ||
        available > total)
        return GPULET_E_INVALID;
    *total_bytes = total;
    *used_bytes = total - available;
    return GPULET_OK;
}

double server_machine_utilization(const server_cpu_ticks_t *from, const server_cpu_ticks_t *to)
{
    /* The time that was waited for input and output may go back (proc(5)). */
    const uint64_t busy = to->busy > from->busy ? to->busy - from->busy : 0;
    const uint64_t idle = to->idle > from->idle ? to->idle - from->idle : 0;
    return busy + idle > 0 ? (double)busy / (double)(busy + idle) : 0.0;
}

/* The beginning of a file of /proc, as far as there is room. */
static gpulet_status_t read_start(char *out, size_t out_size, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return GPULET_E_IO;
    ssize_t size = read(fd, out, out_size - 1);
    (void)close(fd);
    if (size < 0)
        return GPULET_E_IO;
    out[size] = '\0';
    return GPULET_OK;
}

void server_machine_sample(server_machine_t *machine, uint64_t now_ns)
{
    char text[STAT_SIZE];
    server_cpu_ticks_t ticks;
    const bool first = machine->sampled_ns == 0;
    if (!first && now_ns - machine->sampled_ns < GPULET_NS_PER_S)
        return;
    if (read_start(text, sizeof(text), "/proc/stat") != GPULET_OK ||
        server_machine_parse_stat(&ticks, text) != GPULET_OK)
        return;
    if (!first)
        machine->utilization = server_machine_utilization(&machine->sampled, &ticks);
    machine->utilization_known = !first;
    machine->sampled = ticks;
    machine->sampled_ns = now_ns;
}

gpulet_status_t server_machine_memory(uint64_t *total_bytes, uint64_t *used_bytes)
{
    char text[MEMINFO_SIZE];
    gpulet_status_t st = read_start(text, sizeof(text), "/proc/meminfo");
    return st == GPULET_OK ? server_machine_parse_meminfo(total_bytes, used_bytes, text) : st;
}

void server_machine_cpu_line(gpulet_buf_t *out, const char *name)
{
    char *text = NULL;
    size_t size = 0;
    if (gpulet_file_read(&text, &size, "/proc/cpuinfo", CPUINFO_SIZE_MAX, NULL) != GPULET_OK)
        return;
    const char *line = strstr(text, name);
    if (line != NULL)
        gpulet_buf_append(out, line, strcspn(line, "\n"));
    free(text);
}
