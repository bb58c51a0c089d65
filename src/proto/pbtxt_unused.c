#include "proto/pbtxt_unused.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "proto/oip.h"
#include "proto/pbtxt.h"

enum { PATH_SIZE = 256 };

/* ---- keeping ---- */

/* Where the field's JSON goes; NULL: out of memory. */
static gpulet_kept_t *open_field(gpulet_kept_t *message, const gpulet_pbtxt_field_t *field)
{
    gpulet_kept_form_t form = GPULET_KEPT_VALUE;
    if (gpulet_pbtxt_field_is_map(field))
        form = GPULET_KEPT_MAP;
    else if (field->repeated)
        form = GPULET_KEPT_LIST;
    gpulet_kept_t *kept = gpulet_kept_field(message, form, field->name);
    if (kept == NULL)
        return NULL;
    kept->grave = kept->grave || field->loss == GPULET_PBTXT_LOSS_GRAVE;
    if (form == GPULET_KEPT_LIST && kept->text.size > 0)
        gpulet_buf_append_char(&kept->text, ',');
    return kept;
}

static void append_scalar(gpulet_buf_t *out, const gpulet_pbtxt_field_t *field,
                          const gpulet_pbtxt_value_t *value)
{
    switch (field->kind) {
    case GPULET_PBTXT_KIND_STRING:
        gpulet_json_string(out, value->text, value->text_size);
        break;
    case GPULET_PBTXT_KIND_BOOL:
        gpulet_buf_append_str(out, value->boolean ? "true" : "false");
        break;
    case GPULET_PBTXT_KIND_FLOAT:
        gpulet_buf_append(out, value->text, value->text_size);
        break;
    case GPULET_PBTXT_KIND_ENUM:
        gpulet_buf_printf(out, "\"%s\"", field->enumeration->values[value->number]);
        break;
    case GPULET_PBTXT_KIND_INT32:
    case GPULET_PBTXT_KIND_INT64:
        gpulet_buf_printf(out, "%lld", (long long)value->number);
        break;
    default:
        gpulet_buf_printf(out, "%llu", (unsigned long long)value->natural);
    }
}

gpulet_status_t gpulet_pbtxt_keep_scalar(gpulet_kept_t *message, const gpulet_pbtxt_field_t *field,
                                         const gpulet_pbtxt_value_t *value)
{
    gpulet_kept_t *kept = open_field(message, field);
    if (kept == NULL)
        return GPULET_E_NOMEM;
    kept->grave = kept->grave || (field->loss == GPULET_PBTXT_LOSS_GRAVE_IF_TRUE && value->boolean);
    append_scalar(&kept->text, field, value);
    return gpulet_buf_status(&kept->text);
}

/* The JSON of a part of a map's entry, or its default: of the types that parts of maps have. */
static void append_part(gpulet_buf_t *out, const gpulet_pbtxt_message_t *entry,
                        const gpulet_kept_t *inner, const char *name)
{
    const gpulet_kept_t *part = gpulet_kept_find(inner, name, 0);
    const gpulet_pbtxt_field_t *field = gpulet_pbtxt_field_find(entry, name, strlen(name));
    if (part != NULL)
        gpulet_kept_write(out, part);
    else if (field->kind == GPULET_PBTXT_KIND_MESSAGE)
        gpulet_buf_append_str(out, "{}");
    else
        gpulet_buf_append_str(out, field->kind == GPULET_PBTXT_KIND_STRING ? "\"\"" : "0");
}

static gpulet_status_t keep_entry(gpulet_kept_t *map, const gpulet_pbtxt_message_t *entry,
                                  const gpulet_kept_t *inner)
{
    gpulet_buf_t key = GPULET_BUF_INIT;
    gpulet_buf_t value = GPULET_BUF_INIT;
    const bool quoted =
        gpulet_pbtxt_field_find(entry, "key", strlen("key"))->kind == GPULET_PBTXT_KIND_STRING;
    gpulet_buf_append_str(&key, quoted ? "" : "\"");
    append_part(&key, entry, inner, "key");
    gpulet_buf_append_str(&key, quoted ? "" : "\"");
    append_part(&value, entry, inner, "value");
    gpulet_status_t st = gpulet_buf_status(&key);
    if (st == GPULET_OK)
        st = gpulet_buf_status(&value);
    if (st == GPULET_OK)
        st = gpulet_kept_put(map, key.data, value.data, value.size);
    gpulet_buf_deinit(&key);
    gpulet_buf_deinit(&value);
    return st;
}

gpulet_status_t gpulet_pbtxt_keep_message(gpulet_kept_t *message, const gpulet_pbtxt_field_t *field,
                                          const gpulet_kept_t *inner)
{
    gpulet_kept_t *kept = open_field(message, field);
    if (kept == NULL)
        return GPULET_E_NOMEM;
    for (const gpulet_kept_t *child = inner->first; child != NULL; child = child->next)
        kept->grave = kept->grave || child->grave;
    if (kept->form == GPULET_KEPT_MAP)
        return keep_entry(kept, field->message, inner);
    gpulet_kept_write(&kept->text, inner);
    return gpulet_buf_status(&kept->text);
}

/* ---- showing ---- */

const gpulet_pbtxt_message_t *gpulet_pbtxt_message_of(const gpulet_pbtxt_message_t *message,
                                                      const char *name)
{
    const gpulet_pbtxt_field_t *field = gpulet_pbtxt_field_find(message, name, strlen(name));
    assert(field != NULL && field->message != NULL);
    return field->message;
}

/* Whether the field says only what holds without it: its default, or nothing at all. A list or a
 * map that is kept is not empty. */
static bool says_nothing(const gpulet_pbtxt_field_t *field, const gpulet_kept_t *kept)
{
    return field->otherwise != NULL && kept->form == GPULET_KEPT_VALUE &&
           (strcmp(kept->text.data, field->otherwise) == 0 || strcmp(kept->text.data, "{}") == 0);
}

void gpulet_pbtxt_unused_show(gpulet_buf_t *out, const gpulet_pbtxt_message_t *message,
                              const gpulet_kept_t *kept)
{
    for (size_t i = 0; i < message->fields_count; i++) {
        const gpulet_pbtxt_field_t *field = &message->fields[i];
        if (!gpulet_pbtxt_field_is_kept(field))
            continue;
        const gpulet_kept_t *given = gpulet_kept_find(kept, field->name, 0);
        if (given != NULL && says_nothing(field, given))
            given = NULL;
        if (given == NULL && field->otherwise == NULL)
            continue;
        gpulet_buf_printf(out, ",\"%s\":", field->name);
        if (given != NULL)
            gpulet_kept_write(out, given);
        else
            gpulet_buf_append_str(out, field->otherwise);
    }
}

/* ---- telling ---- */

/* Each once: "input.format" may be given for many inputs. */
static void add_name(gpulet_buf_t *out, const char *path)
{
    const size_t size = strlen(path);
    const char *at = out->size > 0 ? out->data : "";
    while ((at = strstr(at, path)) != NULL) {
        if ((at == out->data || at[-1] == ',') && (at[size] == ',' || at[size] == '\0'))
            return;
        at += size;
    }
    if (out->size > 0)
        gpulet_buf_append_char(out, ',');
    gpulet_buf_append_str(out, path);
}

static void tell(gpulet_buf_t *out, bool *grave, const gpulet_pbtxt_message_t *message,
                 const gpulet_kept_t *kept, const char *prefix)
{
    char path[PATH_SIZE];
    for (const gpulet_kept_t *child = kept->first; child != NULL; child = child->next) {
        const gpulet_pbtxt_field_t *field =
            gpulet_pbtxt_field_find(message, child->name, strlen(child->name));
        assert(field != NULL);
        (void)snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] != '\0' ? "." : "",
                       child->name);
        if (child->form == GPULET_KEPT_MESSAGE) {
            tell(out, grave, field->message, child, path);
        } else if (field->use == GPULET_PBTXT_USE_NONE && !says_nothing(field, child)) {
            add_name(out, path);
            *grave = *grave || child->grave;
        }
    }
}

gpulet_status_t gpulet_pbtxt_without_effect(gpulet_buf_t *out, bool *grave,
                                            const gpulet_model_config_t *config)
{
    *grave = false;
    if (config->kept != NULL)
        tell(out, grave, &gpulet_pbtxt_model_config, config->kept, "");
    return gpulet_buf_status(out);
}
