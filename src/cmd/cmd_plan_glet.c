/* The prototype's plan file, in and out. */
#include <stdlib.h>

#include "base/file.h"
#include "cmd/cmd_plan.h"
#include "core/glet.h"
#include "plan/elastic.h"

enum { MODEL_LIST_SIZE_MAX = 64 << 20 };

gpulet_status_t cmd_plan_load_model_list(gpulet_plan_t **out, const char *path,
                                         const gpulet_plan_input_t *input, gpulet_error_t *err)
{
    char *text = NULL;
    size_t size = 0;
    gpulet_plan_t *listed = NULL;
    gpulet_status_t st = gpulet_file_read(&text, &size, path, MODEL_LIST_SIZE_MAX, err);
    if (st == GPULET_OK)
        st = gpulet_glet_plan_parse(&listed, input->devices, text, size, path, err);
    free(text);
    if (st != GPULET_OK)
        return st;
    st = gpulet_plan_refresh(out, listed, input);
    gpulet_plan_destroy(listed);
    return st == GPULET_OK ? st : gpulet_fail(err, st, "%s: %s", path, gpulet_status_text(st));
}

gpulet_status_t cmd_plan_put_model_list(const char *path, const gpulet_plan_t *plan,
                                        const gpulet_device_set_t *devices, gpulet_error_t *err)
{
    gpulet_buf_t list = GPULET_BUF_INIT;
    gpulet_status_t st = gpulet_glet_plan_format(&list, plan, devices, err);
    if (st == GPULET_OK)
        st = gpulet_file_write(path, list.data != NULL ? list.data : "", list.size, err);
    gpulet_buf_deinit(&list);
    return st;
}
