#include "core/kept.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void gpulet_kept_deinit(gpulet_kept_t *kept)
{
    while (kept->first != NULL) {
        gpulet_kept_t *child = kept->first;
        kept->first = child->next;
        gpulet_kept_destroy(child);
    }
    gpulet_buf_deinit(&kept->text);
}

/* As deep as messages of the schema are in one another. */
void gpulet_kept_destroy(gpulet_kept_t *kept)
{
    if (kept == NULL)
        return;
    gpulet_kept_deinit(kept);
    free(kept);
}

gpulet_kept_t *gpulet_kept_add(gpulet_kept_t *parent, gpulet_kept_form_t form, const char *name)
{
    gpulet_kept_t *kept = calloc(1, sizeof(*kept));
    if (kept == NULL)
        return NULL;
    kept->form = form;
    kept->name = name;
    if (parent->last != NULL)
        parent->last->next = kept;
    else
        parent->first = kept;
    parent->last = kept;
    parent->count++;
    return kept;
}

gpulet_kept_t *gpulet_kept_field(gpulet_kept_t *message, gpulet_kept_form_t form, const char *name)
{
    for (gpulet_kept_t *child = message->first; child != NULL; child = child->next) {
        if (strcmp(child->name, name) == 0)
            return child;
    }
    return gpulet_kept_add(message, form, name);
}

static gpulet_kept_t *find_entry(const gpulet_kept_t *map, const char *key, size_t key_size)
{
    for (gpulet_kept_t *entry = map->first; entry != NULL; entry = entry->next) {
        if (entry->key_size == key_size && memcmp(entry->text.data, key, key_size) == 0)
            return entry;
    }
    return NULL;
}

gpulet_status_t gpulet_kept_put(gpulet_kept_t *map, const char *key, const char *value,
                                size_t value_size)
{
    const size_t key_size = strlen(key);
    assert(map->form == GPULET_KEPT_MAP);
    gpulet_kept_t *entry = find_entry(map, key, key_size);
    if (entry == NULL && map->count == GPULET_KEPT_ENTRIES_MAX)
        return GPULET_E_FULL;
    if (entry == NULL && (entry = gpulet_kept_add(map, GPULET_KEPT_VALUE, NULL)) == NULL)
        return GPULET_E_NOMEM;
    gpulet_buf_clear(&entry->text);
    gpulet_buf_append(&entry->text, key, key_size);
    gpulet_buf_append_char(&entry->text, ':');
    gpulet_buf_append(&entry->text, value, value_size);
    if (gpulet_buf_status(&entry->text) != GPULET_OK) {
        entry->key_size = 0; /* Its text is not what it says, and nobody is to find it. */
        return GPULET_E_NOMEM;
    }
    entry->key_size = key_size;
    return GPULET_OK;
}

const gpulet_kept_t *gpulet_kept_find(const gpulet_kept_t *message, const char *name, size_t index)
{
    if (message == NULL)
        return NULL;
    for (const gpulet_kept_t *child = message->first; child != NULL; child = child->next) {
        if (strcmp(child->name, name) == 0 && index-- == 0)
            return child;
    }
    return NULL;
}

void gpulet_kept_write(gpulet_buf_t *out, const gpulet_kept_t *kept)
{
    if (kept->form == GPULET_KEPT_LIST)
        gpulet_buf_append_char(out, '[');
    else if (kept->form != GPULET_KEPT_VALUE)
        gpulet_buf_append_char(out, '{');
    if (kept->text.size > 0)
        gpulet_buf_append(out, kept->text.data, kept->text.size);
    for (const gpulet_kept_t *child = kept->first; child != NULL; child = child->next) {
        if (child != kept->first)
            gpulet_buf_append_char(out, ',');
        if (child->name != NULL)
            gpulet_buf_printf(out, "\"%s\":", child->name);
        gpulet_kept_write(out, child);
    }
    if (kept->form == GPULET_KEPT_LIST)
        gpulet_buf_append_char(out, ']');
    else if (kept->form != GPULET_KEPT_VALUE)
        gpulet_buf_append_char(out, '}');
}
