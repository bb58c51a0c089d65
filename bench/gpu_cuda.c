#include "gpu_cuda.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { BLOCKS_SPIN = 2048, CYCLES_SPIN = 200000, BLOCKS = 2048, THREADS = 256, TIMES_MAX = 4096 };
enum { FMA_ROUNDS = 20000, STREAM_ROUNDS = 4, STREAM_BYTES = 256 << 20 };

cu_api_t cu;
const char *cu_experiment = "";
static bool has_green;

/* Kernels in the assembler of the virtual machine; any GPU from compute capability 7.0 on takes
 * them. */
static const char ptx[] =
    ".version 6.4\n.target sm_70\n.address_size 64\n"
    ".visible .entry spin(.param .u64 smids, .param .u64 cycles)\n"
    "{\n"
    "  .reg .pred %p<3>; .reg .b32 %r<4>; .reg .b64 %d<8>;\n"
    "  ld.param.u64 %d1, [smids];\n  cvta.to.global.u64 %d1, %d1;\n"
    "  ld.param.u64 %d2, [cycles];\n"
    "  mov.u64 %d3, %clock64;\n"
    "  mov.u32 %r1, %smid;\n  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %tid.x;\n"
    "  setp.ne.u32 %p1, %r3, 0;\n"
    "  @%p1 bra wait;\n"
    "  mul.wide.u32 %d4, %r2, 4;\n  add.u64 %d4, %d1, %d4;\n  st.global.u32 [%d4], %r1;\n"
    "wait:\n"
    "  mov.u64 %d5, %clock64;\n  sub.u64 %d6, %d5, %d3;\n"
    "  setp.lt.u64 %p2, %d6, %d2;\n"
    "  @%p2 bra wait;\n"
    "  ret;\n}\n"
    ".visible .entry fma(.param .u64 out, .param .u64 rounds)\n"
    "{\n"
    "  .reg .pred %p<2>; .reg .b32 %r<5>; .reg .f32 %f<8>; .reg .b64 %d<8>;\n"
    "  ld.param.u64 %d1, [out];\n  cvta.to.global.u64 %d1, %d1;\n"
    "  ld.param.u64 %d2, [rounds];\n"
    "  mov.u32 %r1, %tid.x;\n  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %ntid.x;\n"
    "  mad.lo.u32 %r4, %r2, %r3, %r1;\n"
    "  cvt.rn.f32.u32 %f1, %r4;\n  mov.f32 %f2, %f1;\n  mov.f32 %f3, %f1;\n  mov.f32 %f4, %f1;\n"
    "  mov.f32 %f5, 0f3F7FFF58;\n"
    "more:\n"
    "  fma.rn.f32 %f1, %f1, %f5, %f5;\n  fma.rn.f32 %f2, %f2, %f5, %f5;\n"
    "  fma.rn.f32 %f3, %f3, %f5, %f5;\n  fma.rn.f32 %f4, %f4, %f5, %f5;\n"
    "  sub.u64 %d2, %d2, 1;\n  setp.ne.u64 %p1, %d2, 0;\n"
    "  @%p1 bra more;\n"
    "  add.f32 %f1, %f1, %f2;\n  add.f32 %f3, %f3, %f4;\n  add.f32 %f1, %f1, %f3;\n"
    "  mul.wide.u32 %d3, %r4, 4;\n  add.u64 %d3, %d1, %d3;\n  st.global.f32 [%d3], %f1;\n"
    "  ret;\n}\n"
    ".visible .entry stream(.param .u64 data, .param .u64 vectors, .param .u64 rounds)\n"
    "{\n"
    "  .reg .pred %p<3>; .reg .b32 %r<10>; .reg .b64 %d<10>;\n"
    "  ld.param.u64 %d1, [data];\n  cvta.to.global.u64 %d1, %d1;\n"
    "  ld.param.u64 %d2, [vectors];\n  ld.param.u64 %d3, [rounds];\n"
    "  mov.u32 %r1, %tid.x;\n  mov.u32 %r2, %ctaid.x;\n  mov.u32 %r3, %ntid.x;\n"
    "  mov.u32 %r4, %nctaid.x;\n"
    "  mad.lo.u32 %r5, %r2, %r3, %r1;\n  cvt.u64.u32 %d4, %r5;\n"
    "  mul.wide.u32 %d5, %r3, %r4;\n"
    "round:\n"
    "  mov.u64 %d6, %d4;\n"
    "step:\n"
    "  setp.ge.u64 %p1, %d6, %d2;\n"
    "  @%p1 bra done;\n"
    "  shl.b64 %d7, %d6, 4;\n  add.u64 %d7, %d1, %d7;\n"
    "  ld.global.v4.u32 {%r6, %r7, %r8, %r9}, [%d7];\n"
    "  add.u32 %r6, %r6, 1;\n  add.u32 %r7, %r7, 1;\n  add.u32 %r8, %r8, 1;\n"
    "  add.u32 %r9, %r9, 1;\n"
    "  st.global.v4.u32 [%d7], {%r6, %r7, %r8, %r9};\n"
    "  add.u64 %d6, %d6, %d5;\n"
    "  bra step;\n"
    "done:\n"
    "  sub.u64 %d3, %d3, 1;\n  setp.ne.u64 %p2, %d3, 0;\n"
    "  @%p2 bra round;\n"
    "  ret;\n}\n";

void cu_emit(const char *fmt, ...)
{
    va_list args;
    (void)printf("{\"bench\": \"gpu_facts\", \"experiment\": \"%s\", ", cu_experiment);
    va_start(args, fmt);
    (void)vprintf(fmt, args);
    va_end(args);
    (void)printf("}\n");
    (void)fflush(stdout);
}

void cu_die(const char *fmt, ...)
{
    char text[600];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++)
        *c = *c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? '\'' : *c;
    cu_emit("\"error\": \"%s\"", text);
    _exit(1);
}

void cu_check(int code, const char *what)
{
    const char *name = NULL;
    if (code == 0)
        return;
    if (cu.error_name(code, &name) != 0 || name == NULL)
        name = "?";
    cu_die("%s: %s (%d)", what, name, code);
}

/* See engine/ort/api.c: POSIX promises that the bytes are the same. */
static bool take(void *function_out, void *library, const char *symbol)
{
    const void *object = dlsym(library, symbol);
    memcpy(function_out, &object, sizeof(object));
    return object != NULL;
}

cu_device_t cu_open(void)
{
    cu_device_t device = 0;
    if (cu.init == NULL) {
        void *library = dlopen("libcuda.so.1", RTLD_NOW);
        if (library == NULL)
            cu_die("%s", dlerror());
        if (!take(&cu.error_name, library, "cuGetErrorName"))
            cu_die("libcuda.so.1 has no cuGetErrorName");
#define BIND(symbol, name, parameters)                                                             \
    if (!take(&cu.name, library, symbol))                                                          \
        cu_die("libcuda.so.1 has no " symbol);
        CU_MAP(BIND)
#undef BIND
        has_green = true;
#define BIND(symbol, name, parameters) has_green = take(&cu.name, library, symbol) && has_green;
        CU_GREEN_MAP(BIND)
#undef BIND
    }
    CU(init(0));
    CU(device_get(&device, 0));
    return device;
}

bool cu_has_green(void)
{
    return has_green;
}

void cu_primary(cu_device_t device)
{
    cu_context_t context = NULL;
    CU(primary_retain(&context, device));
    CU(context_set(context));
}

void cu_load_kernels(cu_kernels_t *out)
{
    cu_module_t module = NULL;
    CU(module_load(&module, ptx));
    CU(module_function(&out->spin, module, "spin"));
    CU(module_function(&out->fma, module, "fma"));
    CU(module_function(&out->stream, module, "stream"));
}

void cu_find_sms(cu_sms_t *out, const cu_kernels_t *kernels, cu_stream_t stream)
{
    uint32_t smids[BLOCKS_SPIN];
    cu_pointer_t data = 0;
    uint64_t cycles = CYCLES_SPIN;
    void *parameters[] = {&data, &cycles};
    memset(out, 0, sizeof(*out));
    CU(allocate(&data, sizeof(smids)));
    CU(set_bytes(data, 0xff, sizeof(smids)));
    CU(synchronize());
    CU(launch(kernels->spin, BLOCKS_SPIN, 1, 1, 128, 1, 1, 0, stream, parameters, NULL));
    CU(stream_synchronize(stream));
    CU(copy_out(smids, data, sizeof(smids)));
    CU(release(data));
    for (unsigned i = 0; i < BLOCKS_SPIN; i++) {
        if (smids[i] >= CU_SMS_MAX)
            cu_die("block %u says it ran on multiprocessor %u", i, smids[i]);
        out->count += out->seen[smids[i]] ? 0 : 1;
        out->seen[smids[i]] = true;
    }
}

void cu_work_open(cu_work_t *work, const cu_kernels_t *kernels, bool memory)
{
    size_t size = memory ? (size_t)STREAM_BYTES : (size_t)BLOCKS * THREADS * sizeof(float);
    work->kernels = kernels;
    work->memory = memory;
    work->vectors = STREAM_BYTES / 16;
    CU(allocate(&work->data, size));
    CU(set_bytes(work->data, 0, size));
    CU(synchronize());
}

void cu_work_launch(const cu_work_t *work, cu_stream_t stream)
{
    cu_pointer_t data = work->data;
    uint64_t vectors = work->vectors;
    uint64_t rounds = work->memory ? STREAM_ROUNDS : FMA_ROUNDS;
    void *fma[] = {&data, &rounds};
    void *streaming[] = {&data, &vectors, &rounds};
    CU(launch(work->memory ? work->kernels->stream : work->kernels->fma, BLOCKS, 1, 1, THREADS, 1,
              1, 0, stream, work->memory ? streaming : fma, NULL));
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double cu_work_measure(const cu_work_t *work, cu_stream_t stream, double seconds)
{
    static double times[TIMES_MAX];
    unsigned count = 0;
    for (int i = 0; i < 3; i++)
        cu_work_launch(work, stream);
    CU(stream_synchronize(stream));
    uint64_t until_ns = gpulet_clock_ns() + (uint64_t)(seconds * 1e9);
    while (count < TIMES_MAX && (count < 5 || gpulet_clock_ns() < until_ns)) {
        uint64_t begun_ns = gpulet_clock_ns();
        cu_work_launch(work, stream);
        CU(stream_synchronize(stream));
        times[count++] = (double)(gpulet_clock_ns() - begun_ns) / 1e6;
    }
    qsort(times, count, sizeof(times[0]), by_size);
    return times[count / 2];
}
