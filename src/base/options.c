#include "base/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

static void *field_of(const gpulet_option_t *option, void *settings)
{
    return (char *)settings + option->offset;
}

static gpulet_status_t set_string(char **field, const char *value)
{
    char *copy = NULL;
    if (value != NULL && (copy = strdup(value)) == NULL)
        return GPULET_E_NOMEM;
    free(*field);
    *field = copy;
    return GPULET_OK;
}

static bool is_text(const gpulet_option_t *option)
{
    return option->kind == GPULET_OPTION_STRING || option->kind == GPULET_OPTION_STRINGS;
}

/* Puts one more value behind those that are there. */
static gpulet_status_t add_string(char **field, const char *value)
{
    if (*field == NULL)
        return set_string(field, value);
    size_t before = strlen(*field);
    char *longer = realloc(*field, before + strlen(value) + 2);
    if (longer == NULL)
        return GPULET_E_NOMEM;
    longer[before] = '\n';
    memcpy(longer + before + 1, value, strlen(value) + 1);
    *field = longer;
    return GPULET_OK;
}

static gpulet_status_t check_range(const gpulet_option_t *option, double number, const char *value,
                                   gpulet_error_t *err)
{
    if (option->min <= option->max && (number < option->min || number > option->max))
        return gpulet_fail(err, GPULET_E_INVALID, "--%s: expected %.15g to %.15g, found '%s'",
                           option->name, option->min, option->max, value);
    return GPULET_OK;
}

static gpulet_status_t set_number(const gpulet_option_t *option, void *settings, const char *value,
                                  gpulet_error_t *err)
{
    uint64_t whole = 0;
    double number = 0;
    bool is_whole = option->kind == GPULET_OPTION_U64;
    gpulet_status_t st = is_whole ? gpulet_parse_u64(&whole, value, strlen(value))
                                  : gpulet_parse_f64(&number, value, strlen(value));
    if (st != GPULET_OK)
        return gpulet_fail(err, GPULET_E_INVALID, "--%s: expected %s, found '%s'", option->name,
                           is_whole ? "a whole number" : "a number", value);
    if ((st = check_range(option, is_whole ? (double)whole : number, value, err)) != GPULET_OK)
        return st;
    if (is_whole)
        *(uint64_t *)field_of(option, settings) = whole;
    else
        *(double *)field_of(option, settings) = number;
    return GPULET_OK;
}

static gpulet_status_t set_value(const gpulet_option_t *option, void *settings, const char *value,
                                 gpulet_error_t *err)
{
    bool yes = false;
    switch (option->kind) {
    case GPULET_OPTION_BOOL:
        if (gpulet_parse_bool(&yes, value, strlen(value)) != GPULET_OK)
            return gpulet_fail(err, GPULET_E_INVALID, "--%s: expected true or false, found '%s'",
                               option->name, value);
        *(bool *)field_of(option, settings) = yes;
        return GPULET_OK;
    case GPULET_OPTION_STRING:
        if (set_string(field_of(option, settings), value) != GPULET_OK)
            return gpulet_fail(err, GPULET_E_NOMEM, "--%s: out of memory", option->name);
        return GPULET_OK;
    case GPULET_OPTION_STRINGS:
        if (strchr(value, '\n') != NULL)
            return gpulet_fail(err, GPULET_E_INVALID, "--%s: expected one line", option->name);
        if (add_string(field_of(option, settings), value) != GPULET_OK)
            return gpulet_fail(err, GPULET_E_NOMEM, "--%s: out of memory", option->name);
        return GPULET_OK;
    case GPULET_OPTION_U64:
    case GPULET_OPTION_F64:
        break;
    }
    return set_number(option, settings, value, err);
}

gpulet_status_t gpulet_options_defaults(const gpulet_option_t *table, void *settings)
{
    for (const gpulet_option_t *option = table; option->name != NULL; option++) {
        if (is_text(option))
            *(char **)field_of(option, settings) = NULL;
        if (option->default_value == NULL)
            continue;
        gpulet_status_t st = set_value(option, settings, option->default_value, NULL);
        if (st != GPULET_OK)
            return st;
    }
    return GPULET_OK;
}

const gpulet_option_t *gpulet_options_find(const gpulet_option_t *table, const char *name,
                                           size_t name_len)
{
    for (const gpulet_option_t *option = table; option->name != NULL; option++) {
        if (strlen(option->name) == name_len && memcmp(option->name, name, name_len) == 0)
            return option;
    }
    return NULL;
}

gpulet_status_t gpulet_options_set(const gpulet_option_t *table, void *settings, const char *name,
                                   const char *value, gpulet_error_t *err)
{
    const gpulet_option_t *option = gpulet_options_find(table, name, strlen(name));
    if (option == NULL)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "unknown setting '%s'", name);
    return set_value(option, settings, value, err);
}

/* One word that starts with "--". *used tells whether the next word was its value. */
static gpulet_status_t parse_word(const gpulet_option_t *table, void *settings, const char *word,
                                  const char *next, const gpulet_option_t **found, bool *used,
                                  gpulet_error_t *err)
{
    const char *name = word + 2;
    const char *equals = strchr(name, '=');
    size_t name_len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const gpulet_option_t *option = gpulet_options_find(table, name, name_len);
    *used = false;
    if (option == NULL && strncmp(name, "no-", 3) == 0 && equals == NULL) {
        option = gpulet_options_find(table, name + 3, name_len - 3);
        if (option != NULL && option->kind == GPULET_OPTION_BOOL) {
            *found = option;
            return set_value(option, settings, "false", err);
        }
        option = NULL;
    }
    if (option == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "unknown option '%.*s' (see --help)",
                           (int)name_len + 2, word);
    *found = option;
    if (equals != NULL)
        return set_value(option, settings, equals + 1, err);
    if (option->kind == GPULET_OPTION_BOOL)
        return set_value(option, settings, "true", err);
    if (next == NULL)
        return gpulet_fail(err, GPULET_E_INVALID, "--%s: expected a value (%s)", option->name,
                           option->value_name);
    *used = true;
    return set_value(option, settings, next, err);
}

gpulet_status_t gpulet_options_parse(const gpulet_option_t *table, void *settings, int first,
                                     int argc, char **argv, int *words_count, bool *seen,
                                     gpulet_error_t *err)
{
    int words = 0;
    for (int i = first; i < argc; i++) {
        const gpulet_option_t *option = NULL;
        bool used = false;
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                argv[words++] = argv[i];
            break;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            if (argv[i][0] == '-' && argv[i][1] != '\0')
                return gpulet_fail(
                    err, GPULET_E_INVALID,
                    "unknown option '%s' (options start with two dashes; see --help)", argv[i]);
            argv[words++] = argv[i];
            continue;
        }
        gpulet_status_t st = parse_word(table, settings, argv[i], i + 1 < argc ? argv[i + 1] : NULL,
                                        &option, &used, err);
        if (st != GPULET_OK)
            return st;
        if (seen != NULL)
            seen[option - table] = true;
        i += used;
    }
    *words_count = words;
    return GPULET_OK;
}

void gpulet_options_help(gpulet_buf_t *out, const gpulet_option_t *table)
{
    for (const gpulet_option_t *option = table; option->name != NULL; option++) {
        char left[64];
        if (option->group != NULL)
            gpulet_buf_printf(out, "%s%s:\n", option == table ? "" : "\n", option->group);
        (void)snprintf(left, sizeof(left), "--%s%s%s", option->name,
                       option->value_name != NULL ? " " : "",
                       option->value_name != NULL ? option->value_name : "");
        gpulet_buf_printf(out, "  %-30s %s", left, option->help);
        if (option->default_value != NULL)
            gpulet_buf_printf(out, " [%s]", option->default_value);
        gpulet_buf_append_char(out, '\n');
    }
}

void gpulet_options_markdown(gpulet_buf_t *out, const gpulet_option_t *table)
{
    for (const gpulet_option_t *option = table; option->name != NULL; option++) {
        if (option->group != NULL)
            gpulet_buf_printf(
                out, "%s### %s\n\n| option | value | default | meaning |\n|---|---|---|---|\n",
                option == table ? "" : "\n", option->group);
        gpulet_buf_printf(out, "| `--%s` | %s | %s | %s |\n", option->name,
                          option->value_name != NULL ? option->value_name : "true or false",
                          option->default_value != NULL ? option->default_value : "", option->help);
    }
}

void gpulet_options_deinit(const gpulet_option_t *table, void *settings)
{
    for (const gpulet_option_t *option = table; option->name != NULL; option++) {
        if (is_text(option)) {
            free(*(char **)field_of(option, settings));
            *(char **)field_of(option, settings) = NULL;
        }
    }
}
