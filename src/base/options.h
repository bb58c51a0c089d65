/* Settings and command lines from one table (name, kind, range, default, help): parsing, --help,
 * the configuration file's keys and the reference documentation all come from the same rows.
 *
 * A row names a field of the caller's settings struct by offset: bool, uint64_t, double or char *
 * (owned; freed by deinit). Not thread-safe. */
#ifndef GPULET_BASE_OPTIONS_H
#define GPULET_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

typedef enum gpulet_option_kind {
    GPULET_OPTION_BOOL,   /* bool; --name, --no-name, --name=true|false */
    GPULET_OPTION_U64,    /* uint64_t */
    GPULET_OPTION_F64,    /* double */
    GPULET_OPTION_STRING, /* char *, NULL when the default is NULL */
    GPULET_OPTION_STRINGS /* char *; may be given several times: the values, a newline in between */
} gpulet_option_kind_t;

typedef struct gpulet_option {
    const char *name; /* "http-port", without dashes in front */
    gpulet_option_kind_t kind;
    size_t offset;             /* of the field in the settings struct */
    const char *default_value; /* as it would be written; NULL: false, 0 or no string */
    double min;                /* numbers only; min > max means any */
    double max;
    const char *value_name; /* "PORT" in --help; NULL for a bool */
    const char *help;       /* one line */
    const char *group;      /* heading in --help and the reference; NULL: as the row before */
} gpulet_option_t;

/* A table ends with a row whose name is NULL. */
gpulet_status_t gpulet_options_defaults(const gpulet_option_t *table,
                                        void *settings) GPULET_MUST_USE;
/* NULL when there is none. */
const gpulet_option_t *gpulet_options_find(const gpulet_option_t *table, const char *name,
                                           size_t name_len);
/* Sets one option from its text; errors name the option, what was expected and what was found. */
gpulet_status_t gpulet_options_set(const gpulet_option_t *table, void *settings, const char *name,
                                   const char *value, gpulet_error_t *err) GPULET_MUST_USE;
/* Reads --name value, --name=value, --flag, --no-flag; "--" ends options. Other words are moved to
 * the front of argv[0..*words_count) (argv[0] itself is not looked at when first is 1). `seen`,
 * when not NULL, has one bool a row: was given. */
gpulet_status_t gpulet_options_parse(const gpulet_option_t *table, void *settings, int first,
                                     int argc, char **argv, int *words_count, bool *seen,
                                     gpulet_error_t *err) GPULET_MUST_USE;
/* The options part of --help. */
void gpulet_options_help(gpulet_buf_t *out, const gpulet_option_t *table);
/* A Markdown table of the same rows, for the generated reference. */
void gpulet_options_markdown(gpulet_buf_t *out, const gpulet_option_t *table);
void gpulet_options_deinit(const gpulet_option_t *table, void *settings);

#endif
