/* What the readers of YAML in core/ share. The document tree of libyaml is used, since mappings
 * have keys that are sizes or names. Aliases stay references in it, so nothing grows beyond the
 * file. Every error reads "file:line: field: expected …, found …".
 *
 * A reader lives while gpulet_yaml_read runs. Thread-safe: no state. */
#ifndef GPULET_CORE_YAML_READER_H
#define GPULET_CORE_YAML_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <yaml.h>

#include "base/status.h"

typedef struct gpulet_yaml {
    yaml_document_t *document;
    const char *file;
    gpulet_error_t *err;
} gpulet_yaml_t;

typedef gpulet_status_t (*gpulet_yaml_read_fn)(const gpulet_yaml_t *r, void *context);

/* Calls read once with the text's one document; a second document is an error. */
gpulet_status_t gpulet_yaml_read(const char *text, size_t size, const char *file,
                                 gpulet_yaml_read_fn read, void *context,
                                 gpulet_error_t *err) GPULET_MUST_USE;

gpulet_status_t gpulet_yaml_fail(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 const char *expected);
/* The same where nothing stands. */
gpulet_status_t gpulet_yaml_fail_missing(const gpulet_yaml_t *r, const yaml_node_t *node,
                                         const char *field, const char *expected);
gpulet_status_t gpulet_yaml_fail_memory(const gpulet_yaml_t *r);
#ifdef __clang_analyzer__
/* As with gpulet_fail: the static analyzer does not look into other files. */
// NOLINTBEGIN(readability-identifier-naming)
#define gpulet_yaml_fail(...) ((void)(gpulet_yaml_fail)(__VA_ARGS__), GPULET_E_INVALID)
#define gpulet_yaml_fail_missing(...)                                                              \
    ((void)(gpulet_yaml_fail_missing)(__VA_ARGS__), GPULET_E_INVALID)
#define gpulet_yaml_fail_memory(r) ((void)(gpulet_yaml_fail_memory)(r), GPULET_E_NOMEM)
// NOLINTEND(readability-identifier-naming)
#endif

yaml_node_t *gpulet_yaml_node(const gpulet_yaml_t *r, int id);
size_t gpulet_yaml_pairs(const yaml_node_t *mapping);
/* Checks that the node is a mapping whose keys are scalars, each there once and at most count_max
 * of them. */
gpulet_status_t gpulet_yaml_check_mapping(const gpulet_yaml_t *r, const yaml_node_t *node,
                                          const char *field, size_t count_max) GPULET_MUST_USE;
/* Index of the key in names (NULL-terminated), or -1. */
int gpulet_yaml_key_index(const yaml_node_t *key, const char *const *names);
/* The values of a mapping by the index of their keys in names; NULL where a key is absent. Unknown
 * keys are errors: a misspelt limit must not be no limit. With `others`, unknown keys are left to
 * the caller. */
gpulet_status_t gpulet_yaml_map(const gpulet_yaml_t *r, const yaml_node_t *mapping,
                                const char *const *names, bool others,
                                const yaml_node_t **values) GPULET_MUST_USE;

gpulet_status_t gpulet_yaml_u32(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                uint32_t *out, uint32_t min, uint32_t max) GPULET_MUST_USE;
gpulet_status_t gpulet_yaml_positive(const gpulet_yaml_t *r, const yaml_node_t *node,
                                     const char *field, double *out) GPULET_MUST_USE;
/* YAML's spellings, whatever their case. */
gpulet_status_t gpulet_yaml_bool(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 bool *out) GPULET_MUST_USE;
/* Copies a name (core/text.h) of at most len_max bytes into out, which has one more. */
gpulet_status_t gpulet_yaml_name(const gpulet_yaml_t *r, const yaml_node_t *node, const char *field,
                                 char *out, size_t len_max) GPULET_MUST_USE;

#endif
