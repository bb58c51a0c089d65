/* The lists of a study: the input's lines are --models, --slo-ms, --rates and --planners. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "study/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gpulet_study_spec_t spec;
    gpulet_error_t err = {""};
    char *text = malloc(size + 1);
    const char *lines[4] = {"", "", "", NULL};
    assert(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    char *next = text;
    for (size_t i = 0; i < 4 && next != NULL; i++) {
        lines[i] = next;
        if ((next = strchr(next, '\n')) != NULL)
            *next++ = '\0';
    }
    if (gpulet_study_spec_parse(&spec, lines[0], lines[1], lines[2], lines[3], &err) != GPULET_OK) {
        assert(err.text[0] != '\0');
        free(text);
        return 0;
    }
    assert(spec.models_count > 0 && spec.planners_count > 0 && spec.cases_count > 0);
    const size_t cases[] = {0, spec.cases_count / 2, spec.cases_count - 1};
    for (size_t c = 0; c < 3; c++) {
        double rates[GPULET_STUDY_MODELS_MAX];
        double sum = 0;
        gpulet_study_case_rates(rates, &spec, cases[c]);
        for (size_t i = 0; i < spec.models_count; i++) {
            assert(rates[i] >= 0 && spec.models[i].slo_ms > 0);
            sum += rates[i];
        }
        assert(sum > 0);
    }
    free(text);
    return 0;
}
