#include "server/traffic.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/parse.h"

enum {
    CHUNK_BYTES = 1 << 18, /* between two looks at the clock: some ten microseconds */
    IDLE_NS = 1000000,
    START_LIMIT_S = 10,
    NAP_LEAST_NS = 50000, /* a shorter sleep takes longer than it says */
    CACHES_MAX = 8,
    CACHE_TEXT_MAX = 4096
};

static const uint64_t CACHE_DEFAULT = UINT64_C(32) << 20;
static const uint64_t MEMORY_LEAST = UINT64_C(64) << 20;
static const uint64_t MEMORY_MOST = UINT64_C(512) << 20;

/* Shared with the process. Every field is written by one side; relaxed order is enough, for nothing
 * else is read by what they say. */
typedef struct shared {
    _Atomic uint64_t footprint;
    _Atomic uint64_t bytes_per_s;
    _Atomic uint64_t orders; /* goes up with every order */
    _Atomic uint64_t bytes;
    _Atomic uint32_t threads; /* 0: not known yet */
    _Atomic uint32_t ready;   /* threads whose block is in memory */
    _Atomic int failed;
    char problem[256]; /* written before failed is set */
} shared_t;

struct gpulet_traffic {
    pid_t pid;
    shared_t *shared;
};

typedef struct streamer {
    shared_t *shared;
    uint64_t *block;
    uint64_t block_bytes;
    uint32_t threads;
} streamer_t;

static void nap(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / GPULET_NS_PER_S), (long)(ns % GPULET_NS_PER_S)};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
}

/* Reads and writes each word once. The barrier keeps the compiler from seeing that nobody asks for
 * them. */
static void touch(uint64_t *words, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        words[i] += 1;
    __asm__ volatile("" : : "r"(words) : "memory");
}

/* Until due_ns after the beginning, or another order. */
static void wait_due(const streamer_t *s, uint64_t order, uint64_t begun_ns, double due_ns)
{
    while (atomic_load_explicit(&s->shared->orders, memory_order_relaxed) == order) {
        double left_ns = due_ns - (double)(gpulet_clock_ns() - begun_ns);
        if (left_ns <= NAP_LEAST_NS)
            return; /* less than a sleep takes: made up for at the next chunk */
        nap(left_ns < IDLE_NS ? (uint64_t)left_ns : IDLE_NS);
    }
}

static void obey(const streamer_t *s, uint64_t footprint, uint64_t order)
{
    uint64_t rate = atomic_load_explicit(&s->shared->bytes_per_s, memory_order_relaxed);
    uint64_t part = footprint / s->threads & ~(uint64_t)(CHUNK_BYTES - 1);
    uint64_t begun_ns = gpulet_clock_ns();
    uint64_t done = 0;
    uint64_t at = 0;
    if (rate != UINT64_MAX)
        rate /= s->threads;
    part = part < CHUNK_BYTES ? CHUNK_BYTES : part > s->block_bytes ? s->block_bytes : part;
    while (atomic_load_explicit(&s->shared->orders, memory_order_relaxed) == order) {
        touch(s->block + at / sizeof(uint64_t), CHUNK_BYTES / sizeof(uint64_t));
        at = at + 2 * (uint64_t)CHUNK_BYTES > part ? 0 : at + CHUNK_BYTES;
        done += 2 * (uint64_t)CHUNK_BYTES; /* read, and written back */
        atomic_fetch_add_explicit(&s->shared->bytes, 2 * (uint64_t)CHUNK_BYTES,
                                  memory_order_relaxed);
        if (rate != UINT64_MAX)
            wait_due(s, order, begun_ns, (double)done / (double)(rate > 0 ? rate : 1) * 1e9);
    }
}

static void *stream(void *context)
{
    const streamer_t *s = context;
    /* By the thread that streams over it, so that it lies near its cores; and all of it before
     * anything is calibrated, for a page's first touch takes far longer than the next. */
    touch(s->block, s->block_bytes / sizeof(uint64_t));
    (void)atomic_fetch_add_explicit(&s->shared->ready, 1, memory_order_release);
    for (;;) {
        uint64_t order = atomic_load_explicit(&s->shared->orders, memory_order_acquire);
        uint64_t footprint = atomic_load_explicit(&s->shared->footprint, memory_order_relaxed);
        if (footprint == 0)
            nap(IDLE_NS);
        else
            obey(s, footprint, order);
    }
    return NULL;
}

static void fail_child(shared_t *shared, const char *text)
{
    (void)snprintf(shared->problem, sizeof(shared->problem), "%s", text);
    atomic_store_explicit(&shared->failed, 1, memory_order_release);
    _exit(1);
}

/* Each thread a block of its own. */
static streamer_t *make_streamer(shared_t *shared, uint32_t threads, uint64_t footprint_max)
{
    streamer_t *s = calloc(1, sizeof(*s));
    uint64_t bytes = (footprint_max / threads + CHUNK_BYTES) & ~(uint64_t)(CHUNK_BYTES - 1);
    if (s == NULL)
        fail_child(shared, "out of memory");
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        fail_child(shared, "no memory to stream over");
    *s = (streamer_t){shared, block, bytes, threads};
    return s;
}

static void run_child(shared_t *shared, const gpulet_device_backend_t *backend, const char *grant,
                      uint64_t footprint_max, pid_t parent)
{
    gpulet_error_t err = {""};
    gpulet_device_entry_t entry = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it died before it could be watched */
    if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
        fail_child(shared, "cannot close what it inherited");
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    if (backend->enter(grant, &entry, &err) != GPULET_OK)
        fail_child(shared, err.text);
    uint32_t threads = entry.threads;
    for (uint32_t i = 1; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, stream, make_streamer(shared, threads, footprint_max)) !=
            0)
            fail_child(shared, "cannot start a thread");
    }
    atomic_store_explicit(&shared->threads, threads, memory_order_release);
    (void)stream(make_streamer(shared, threads, footprint_max));
    _exit(0);
}

static gpulet_status_t wait_ready(gpulet_traffic_t *traffic, gpulet_error_t *err)
{
    uint64_t limit_ns = gpulet_clock_ns() + START_LIMIT_S * GPULET_NS_PER_S;
    for (;;) {
        gpulet_status_t st = gpulet_traffic_check(traffic, err);
        if (st != GPULET_OK)
            return st;
        uint32_t threads = atomic_load_explicit(&traffic->shared->threads, memory_order_acquire);
        if (threads > 0 &&
            atomic_load_explicit(&traffic->shared->ready, memory_order_acquire) == threads)
            return GPULET_OK;
        if (gpulet_clock_ns() > limit_ns)
            return gpulet_fail(err, GPULET_E_UNAVAILABLE,
                               "the traffic generator did not start within %d s", START_LIMIT_S);
        nap(IDLE_NS);
    }
}

gpulet_status_t gpulet_traffic_start(gpulet_traffic_t **out, const gpulet_device_backend_t *backend,
                                     const char *grant, uint64_t footprint_max, gpulet_error_t *err)
{
    pid_t parent = getpid();
    gpulet_traffic_t *traffic = calloc(1, sizeof(*traffic));
    if (traffic == NULL)
        return gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
    void *shared = mmap(NULL, sizeof(*traffic->shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        free(traffic);
        return gpulet_fail(err, GPULET_E_NOMEM, "no shared memory: %s", strerror(errno));
    }
    traffic->shared = shared;
    (void)fflush(NULL); /* or what is buffered would be written twice */
    traffic->pid = fork();
    if (traffic->pid == 0)
        run_child(shared, backend, grant, footprint_max, parent);
    gpulet_status_t st = traffic->pid < 0
                             ? gpulet_fail(err, GPULET_E_IO, "fork: %s", strerror(errno))
                             : wait_ready(traffic, err);
    if (st == GPULET_OK)
        *out = traffic;
    else
        gpulet_traffic_stop(traffic);
    return st;
}

void gpulet_traffic_set(gpulet_traffic_t *traffic, uint64_t footprint, uint64_t bytes_per_s)
{
    atomic_store_explicit(&traffic->shared->footprint, footprint, memory_order_relaxed);
    atomic_store_explicit(&traffic->shared->bytes_per_s, bytes_per_s, memory_order_relaxed);
    atomic_fetch_add_explicit(&traffic->shared->orders, 1, memory_order_release);
}

uint64_t gpulet_traffic_bytes(const gpulet_traffic_t *traffic)
{
    return atomic_load_explicit(&traffic->shared->bytes, memory_order_relaxed);
}

gpulet_status_t gpulet_traffic_check(gpulet_traffic_t *traffic, gpulet_error_t *err)
{
    if (traffic->pid > 0 && waitpid(traffic->pid, NULL, WNOHANG) == traffic->pid)
        traffic->pid = -1;
    if (traffic->pid > 0)
        return GPULET_OK;
    bool said = atomic_load_explicit(&traffic->shared->failed, memory_order_acquire) != 0;
    return gpulet_fail(err, GPULET_E_UNAVAILABLE, "the traffic generator ended: %.200s",
                       said ? traffic->shared->problem : "it was killed");
}

void gpulet_traffic_stop(gpulet_traffic_t *traffic)
{
    if (traffic == NULL)
        return;
    if (traffic->pid > 0) {
        (void)kill(traffic->pid, SIGKILL);
        while (waitpid(traffic->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    (void)munmap(traffic->shared, sizeof(*traffic->shared));
    free(traffic);
}

/* Of one cache of the first core, "32768K"; 0 when there is no such cache. */
static uint64_t cache_of(int index)
{
    char path[80];
    char *text = NULL;
    size_t size = 0;
    uint64_t value = 0;
    (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
    if (gpulet_file_read(&text, &size, path, CACHE_TEXT_MAX, NULL) != GPULET_OK)
        return 0;
    size_t digits = strspn(text, "0123456789");
    if (gpulet_parse_u64(&value, text, digits) != GPULET_OK)
        value = 0;
    value <<= text[digits] == 'K' ? 10 : text[digits] == 'M' ? 20 : 0;
    free(text);
    return value;
}

/* The largest there is. sysconf() asks the processor, which in a virtual machine may speak of the
 * host's; the kernel knows better. */
static uint64_t cache_size(void)
{
    uint64_t most = 0;
    for (int i = 0; i < CACHES_MAX; i++) {
        uint64_t size = cache_of(i);
        most = size > most ? size : most;
    }
    return most > 0 ? most : CACHE_DEFAULT; /* machines that do not say */
}

uint64_t gpulet_traffic_cache_bytes(void)
{
    return cache_size() / 2;
}

uint64_t gpulet_traffic_memory_bytes(void)
{
    uint64_t wanted = 4 * cache_size();
    return wanted < MEMORY_LEAST ? MEMORY_LEAST : wanted > MEMORY_MOST ? MEMORY_MOST : wanted;
}
