#include "cmd/cmd_attainment.h"

#include "cmd/cmd.h"

void cmd_attainment_begin(cmd_attainment_t *attainment, double least)
{
    *attainment = (cmd_attainment_t){least, GPULET_BUF_INIT};
}

void cmd_attainment_add(cmd_attainment_t *attainment, const char *name, uint64_t in_time,
                        uint64_t asked)
{
    gpulet_buf_t *below = &attainment->below;
    /* Who was asked nothing missed nothing. */
    double part = asked > 0 ? (double)in_time / (double)asked : 1;
    if (part >= attainment->least)
        return;
    if (below->size == 0)
        gpulet_buf_printf(below, "--min-attainment %g is missed by ", attainment->least);
    else
        gpulet_buf_append_str(below, ", ");
    gpulet_buf_printf(below, "%s: %.4f (%llu of %llu in time)", name, part,
                      (unsigned long long)in_time, (unsigned long long)asked);
}

int cmd_attainment_end(cmd_attainment_t *attainment, const char *command, gpulet_error_t *err)
{
    gpulet_buf_t *below = &attainment->below;
    int exit_code = CMD_DONE;
    if (below->failed) {
        (void)gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
        exit_code = CMD_FAILED;
    } else if (below->size > 0) {
        exit_code = cmd_complain(command, CMD_NO, below->data);
    }
    gpulet_buf_deinit(below);
    return exit_code;
}
