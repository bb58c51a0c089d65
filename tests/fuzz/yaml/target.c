/* Settings in YAML: whatever the text, it is refused with a text that names the file, or every
 * value lies in its range; what the command line gave stays. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "server/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS_MAX = 256 };

static void check_ranges(gpulet_settings_t *settings)
{
    for (const gpulet_option_t *o = gpulet_settings_table; o->name != NULL; o++) {
        const void *field = (const char *)settings + o->offset;
        double number = 0;
        if (o->kind == GPULET_OPTION_U64)
            number = (double)*(const uint64_t *)field;
        else if (o->kind == GPULET_OPTION_F64)
            number = *(const double *)field;
        else
            continue;
        assert(o->min > o->max || (number >= o->min && number <= o->max));
    }
}

static void run(const char *text, size_t size, const bool *seen)
{
    gpulet_settings_t settings;
    gpulet_error_t err = {""};
    memset(&settings, 0, sizeof(settings));
    assert(gpulet_options_defaults(gpulet_settings_table, &settings) == GPULET_OK);
    gpulet_status_t st = gpulet_settings_parse_yaml(&settings, text, size, "f.yaml", seen, &err);
    if (st != GPULET_OK)
        assert(strncmp(err.text, "f.yaml:", 7) == 0);
    if (seen != NULL)
        assert(settings.http_port == 8000 && strcmp(settings.address, "127.0.0.1") == 0);
    check_ranges(&settings);
    gpulet_settings_deinit(&settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool seen[ROWS_MAX];
    memset(seen, true, sizeof(seen));
    run((const char *)data, size, NULL);
    run((const char *)data, size, seen);
    return 0;
}
