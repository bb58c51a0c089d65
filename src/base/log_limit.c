#include "base/log_limit.h"

#include "base/clock.h"

bool gpulet_log_limit_pass(gpulet_log_limit_t *limit, uint64_t now_ns, uint64_t *suppressed_out)
{
    const uint64_t oldest_ns = limit->written_ns[limit->next];
    if (oldest_ns != 0 && now_ns - oldest_ns < GPULET_NS_PER_S) {
        limit->suppressed++;
        return false;
    }
    limit->written_ns[limit->next] = now_ns;
    limit->next = (limit->next + 1) % GPULET_LOG_LIMIT_PER_S;
    *suppressed_out = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
