#include "core/yaml_reader.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "core/text.h"

enum { WORD_SIZE = 8 };

gpulet_status_t(gpulet_yaml_fail_memory)(const gpulet_yaml_t *r)
{
    return gpulet_fail(r->err, GPULET_E_NOMEM, "%s: out of memory", r->file);
}

gpulet_status_t(gpulet_yaml_fail)(const gpulet_yaml_t *r, const yaml_node_t *node,
                                  const char *field, const char *expected)
{
    char found[GPULET_TEXT_EXCERPT_SIZE];
    const char *what = "a mapping";
    if (node->type == YAML_SCALAR_NODE)
        what = gpulet_text_excerpt(found, (const char *)node->data.scalar.value,
                                   node->data.scalar.length);
    else if (node->type == YAML_SEQUENCE_NODE)
        what = "a list";
    return gpulet_fail(r->err, GPULET_E_INVALID, "%s:%zu: %s: expected %s, found %s", r->file,
                       node->start_mark.line + 1, field, expected, what);
}

gpulet_status_t(gpulet_yaml_fail_missing)(const gpulet_yaml_t *r, const yaml_node_t *node,
                                          const char *field, const char *expected)
{
    return gpulet_fail(r->err, GPULET_E_INVALID, "%s:%zu: %s: expected %s, found nothing", r->file,
                       node->start_mark.line + 1, field, expected);
}

yaml_node_t *gpulet_yaml_node(const gpulet_yaml_t *r, int id)
{
    return yaml_document_get_node(r->document, id);
}

static bool scalar_equals(const yaml_node_t *a, const yaml_node_t *b)
{
    return a->data.scalar.length == b->data.scalar.length &&
           memcmp(a->data.scalar.value, b->data.scalar.value, a->data.scalar.length) == 0;
}

size_t gpulet_yaml_pairs(const yaml_node_t *mapping)
{
    return (size_t)(mapping->data.mapping.pairs.top - mapping->data.mapping.pairs.start);
}

gpulet_status_t gpulet_yaml_check_mapping(const gpulet_yaml_t *r, const yaml_node_t *node,
                                          const char *field, size_t count_max)
{
    if (node->type != YAML_MAPPING_NODE)
        return gpulet_yaml_fail(r, node, field, "a mapping");
    const yaml_node_pair_t *start = node->data.mapping.pairs.start;
    if (gpulet_yaml_pairs(node) > count_max)
        return gpulet_fail(r->err, GPULET_E_TOO_LARGE,
                           "%s:%zu: %s: expected at most %zu keys, found %zu", r->file,
                           node->start_mark.line + 1, field, count_max, gpulet_yaml_pairs(node));
    for (const yaml_node_pair_t *pair = start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
        if (key->type != YAML_SCALAR_NODE)
            return gpulet_yaml_fail(r, key, field, "a plain key");
        for (const yaml_node_pair_t *other = start; other < pair; other++) {
            if (scalar_equals(key, gpulet_yaml_node(r, other->key)))
                return gpulet_yaml_fail(r, key, field, "each key once");
        }
    }
    return GPULET_OK;
}

int gpulet_yaml_key_index(const yaml_node_t *key, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strlen(names[i]) == key->data.scalar.length &&
            memcmp(names[i], key->data.scalar.value, key->data.scalar.length) == 0)
            return i;
    }
    return -1;
}

gpulet_status_t gpulet_yaml_map(const gpulet_yaml_t *r, const yaml_node_t *mapping,
                                const char *const *names, bool others, const yaml_node_t **values)
{
    for (int i = 0; names[i] != NULL; i++)
        values[i] = NULL;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = gpulet_yaml_node(r, pair->key);
        int index = gpulet_yaml_key_index(key, names);
        if (index < 0 && !others)
            return gpulet_yaml_fail(r, key, "key", "a known key");
        if (index >= 0)
            values[index] = gpulet_yaml_node(r, pair->value);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_yaml_u32(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                uint32_t *out, uint32_t min, uint32_t max)
{
    uint64_t value = 0;
    char expected[64];
    if (node->type == YAML_SCALAR_NODE &&
        gpulet_parse_u64(&value, (const char *)node->data.scalar.value, node->data.scalar.length) ==
            GPULET_OK &&
        value >= min && value <= max) {
        *out = (uint32_t)value;
        return GPULET_OK;
    }
    (void)snprintf(expected, sizeof(expected), "a whole number from %u to %u", min, max);
    return gpulet_yaml_fail(r, node, field, expected);
}

gpulet_status_t gpulet_yaml_positive(const gpulet_yaml_t *r, const yaml_node_t *node,
                                     const char *field, double *out)
{
    double value = 0;
    if (node->type != YAML_SCALAR_NODE ||
        gpulet_parse_f64(&value, (const char *)node->data.scalar.value, node->data.scalar.length) !=
            GPULET_OK ||
        !gpulet_text_in_range(&gpulet_text_positive, value))
        return gpulet_yaml_fail(r, node, field, gpulet_text_positive.expected);
    *out = value;
    return GPULET_OK;
}

gpulet_status_t gpulet_yaml_bool(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 bool *out)
{
    char word[WORD_SIZE];
    size_t len = node->type == YAML_SCALAR_NODE ? node->data.scalar.length : sizeof(word);
    if (len >= sizeof(word))
        return gpulet_yaml_fail(r, node, field, "true or false");
    for (size_t i = 0; i < len; i++)
        word[i] = (char)tolower(node->data.scalar.value[i]);
    return gpulet_parse_bool(out, word, len) == GPULET_OK
               ? GPULET_OK
               : gpulet_yaml_fail(r, node, field, "true or false");
}

gpulet_status_t gpulet_yaml_name(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 char *out, size_t len_max)
{
    gpulet_error_t why;
    if (node->type != YAML_SCALAR_NODE)
        return gpulet_yaml_fail(r, node, field, "a name");
    const char *text = (const char *)node->data.scalar.value;
    gpulet_status_t st = gpulet_text_check_name(text, node->data.scalar.length, len_max, &why);
    if (st != GPULET_OK)
        return gpulet_fail(r->err, st, "%s:%zu: %s: %s", r->file, node->start_mark.line + 1, field,
                           why.text);
    memcpy(out, text, node->data.scalar.length);
    out[node->data.scalar.length] = '\0';
    return GPULET_OK;
}

static gpulet_status_t fail_yaml(const yaml_parser_t *parser, const char *file, gpulet_error_t *err)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    return gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: expected YAML, found: %s", file,
                       parser->problem_mark.line + 1,
                       parser->problem != NULL ? parser->problem : "an error");
}

/* One document and no more. */
static gpulet_status_t read_documents(yaml_parser_t *parser, const char *file,
                                      gpulet_yaml_read_fn read, void *context, gpulet_error_t *err)
{
    yaml_document_t document;
    yaml_document_t next;
    if (!yaml_parser_load(parser, &document))
        return fail_yaml(parser, file, err);
    gpulet_yaml_t r = {&document, file, err};
    gpulet_status_t st = read(&r, context);
    yaml_document_delete(&document);
    if (st != GPULET_OK)
        return st;
    if (!yaml_parser_load(parser, &next))
        return fail_yaml(parser, file, err);
    if (yaml_document_get_root_node(&next) != NULL)
        st = gpulet_fail(err, GPULET_E_INVALID, "%s:%zu: expected one document, found another",
                         file, next.start_mark.line + 1);
    yaml_document_delete(&next);
    return st;
}

gpulet_status_t gpulet_yaml_read(const char *text, size_t size, const char *file,
                                 gpulet_yaml_read_fn read, void *context, gpulet_error_t *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", file);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    gpulet_status_t st = read_documents(&parser, file, read, context, err);
    yaml_parser_delete(&parser);
    return st;
}
