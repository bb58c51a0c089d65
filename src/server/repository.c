#include "server/repository.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/parse.h"
#include "engine/fake/script.h"
#include "proto/onnx_file.h"
#include "proto/pbtxt.h"
#include "store/content.h"

enum { CONFIG_SIZE_MAX = 1 << 20, PATH_SIZE = 4096, VERSIONS_MAX = 1024, MODELS_MAX = 10000 };

typedef struct version_list {
    size_t count;
    int64_t versions[VERSIONS_MAX]; /* descending */
} version_list_t;

static gpulet_repository_model_t *append(gpulet_repository_t *repository)
{
    if (repository->count >= MODELS_MAX)
        return NULL;
    gpulet_repository_model_t *grown =
        realloc(repository->models, (repository->count + 1) * sizeof(*repository->models));
    if (grown == NULL)
        return NULL;
    repository->models = grown;
    gpulet_repository_model_t *model = &grown[repository->count++];
    memset(model, 0, sizeof(*model));
    return model;
}

/* Without its problem a model would pass for a good one. */
static gpulet_status_t set_problem(gpulet_repository_model_t *model, const char *text)
{
    free(model->problem);
    model->problem = strdup(text);
    return model->problem != NULL ? GPULET_OK : GPULET_E_NOMEM;
}

static int descending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Version folders are numbers without a leading zero; anything else is ignored. */
static void list_versions(version_list_t *out, const char *folder)
{
    DIR *d = opendir(folder);
    out->count = 0;
    if (d == NULL)
        return;
    for (struct dirent *e = readdir(d); e != NULL && out->count < VERSIONS_MAX; e = readdir(d)) {
        int64_t version = 0;
        if (e->d_name[0] != '0' &&
            gpulet_parse_i64(&version, e->d_name, strlen(e->d_name)) == GPULET_OK && version > 0)
            out->versions[out->count++] = version;
    }
    (void)closedir(d);
    qsort(out->versions, out->count, sizeof(out->versions[0]), descending);
}

static bool policy_serves(const gpulet_model_config_t *config, const version_list_t *list,
                          size_t index)
{
    switch (config->version_policy) {
    case GPULET_VERSIONS_ALL:
        return true;
    case GPULET_VERSIONS_LATEST:
        return index < (config->versions_latest == 0 ? 1 : config->versions_latest);
    case GPULET_VERSIONS_SPECIFIC:
        break;
    }
    for (size_t i = 0; i < config->versions_count; i++) {
        if (config->versions[i] == list->versions[index])
            return true;
    }
    return false;
}

/* What one read of a folder works with. */
typedef struct source {
    const char *root;
    const char *name;
    const char *folder; /* root/name */
    const char *config; /* in place of config.pbtxt; NULL: the file */
    const char *engine;
    uint32_t batch_max_default;
} source_t;

/* The text of the configuration, "" when there is none; the caller frees it. */
static gpulet_status_t read_config_text(char **out, const source_t *source, gpulet_error_t *err)
{
    char path[PATH_SIZE];
    size_t size = 0;
    (void)snprintf(path, sizeof(path), "%s/config.pbtxt", source->folder);
    gpulet_status_t st = source->config != NULL
                             ? GPULET_E_NOT_FOUND
                             : gpulet_file_read(out, &size, path, CONFIG_SIZE_MAX, err);
    if (st == GPULET_OK && strlen(*out) != size) {
        free(*out);
        *out = NULL;
        return gpulet_fail(err, GPULET_E_INVALID, "%s: a zero byte in it", path);
    }
    if (st != GPULET_E_NOT_FOUND)
        return st;
    *out = strdup(source->config != NULL ? source->config : "");
    return *out != NULL ? GPULET_OK : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

static gpulet_status_t read_config(gpulet_model_config_t *out, const source_t *source,
                                   const char *text, gpulet_error_t *err)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s/config.pbtxt", source->folder);
    return gpulet_pbtxt_parse(out, text, strlen(text),
                              source->config != NULL ? "the configuration given" : path, err);
}

static bool is_fake(const source_t *source)
{
    return strcmp(source->engine, "fake") == 0;
}

static bool needs_no_file(const gpulet_model_config_t *config, const source_t *source)
{
    return config->app != NULL || (is_fake(source) && gpulet_model_config_lists_tensors(config));
}

/* What the file itself declares: mapped, so that only the framing of a large file is read. */
static gpulet_status_t describe_onnx(gpulet_model_io_t *out, const char *path, gpulet_error_t *err)
{
    gpulet_onnx_info_t info;
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return gpulet_fail(err, GPULET_E_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &status) != 0 || status.st_size == 0) {
        (void)close(fd);
        return gpulet_fail(err, GPULET_E_INVALID, "%s: the file is empty", path);
    }
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (data == MAP_FAILED)
        return gpulet_fail(err, GPULET_E_IO, "%s: %s", path, strerror(errno));
    gpulet_status_t st = gpulet_onnx_read(&info, data, (size_t)status.st_size, err);
    (void)munmap(data, (size_t)status.st_size);
    if (st != GPULET_OK) {
        gpulet_error_prefix(err, "%s", path);
        return st;
    }
    *out = info.io;
    return GPULET_OK;
}

/* What the engine that only sleeps cannot read by itself. */
static gpulet_status_t describe_rehearsed(gpulet_repository_model_t *model, gpulet_fake_file_t file,
                                          gpulet_error_t *err)
{
    const bool listed = gpulet_model_config_lists_tensors(&model->config);
    gpulet_status_t st = GPULET_E_INVALID;
    if (file == GPULET_FAKE_FILE_OTHER)
        st = describe_onnx(&model->io, model->path, err);
    for (uint32_t i = 0; st == GPULET_OK && i < model->io.outputs_count; i++) {
        if (model->io.outputs[i].type == GPULET_DATATYPE_INVALID)
            st = gpulet_fail(err, GPULET_E_UNSUPPORTED, "%s: output '%s': no datatype is declared",
                             model->path, model->io.outputs[i].name);
    }
    if (st == GPULET_E_INVALID && listed)
        st = gpulet_model_config_describe(&model->io, &model->config, err);
    else if (st == GPULET_E_INVALID)
        gpulet_error_prefix(err, "config.pbtxt lists no input and the file is no script");
    model->rehearsed = st == GPULET_OK;
    return st;
}

static gpulet_status_t describe_fake(gpulet_repository_model_t *model, gpulet_error_t *err)
{
    gpulet_fake_script_t script;
    gpulet_status_t st = model->path[0] == '\0'
                             ? gpulet_fake_script_parse(&script, "", 0, err)
                             : gpulet_fake_script_load(&script, model->path, err);
    if (st != GPULET_OK)
        return st;
    if (script.file == GPULET_FAKE_FILE_OTHER ||
        (!script.names_tensors && gpulet_model_config_lists_tensors(&model->config))) {
        st = describe_rehearsed(model, script.file, err);
    } else {
        model->io = script.io;
        memset(&script.io, 0, sizeof(script.io));
    }
    gpulet_fake_script_deinit(&script);
    return st;
}

static gpulet_status_t note_file(gpulet_repository_model_t *model, const char *path,
                                 const struct stat *status, gpulet_error_t *err)
{
    char file_key[GPULET_FILE_KEY_MAX + 1];
    gpulet_file_key(file_key, status);
    model->path = strdup(path);
    model->file_key = strdup(file_key);
    return model->path != NULL && model->file_key != NULL
               ? GPULET_OK
               : gpulet_fail(err, GPULET_E_NOMEM, "%s: out of memory", path);
}

/* The folder stands for the file that is not in it: it changes when one comes. */
static gpulet_status_t note_no_file(gpulet_repository_model_t *model, const char *folder,
                                    gpulet_error_t *err)
{
    char path[PATH_SIZE];
    struct stat status;
    (void)snprintf(path, sizeof(path), "%s/%lld", folder, (long long)model->version);
    if (stat(path, &status) != 0 && stat(folder, &status) != 0)
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", folder, strerror(errno));
    return note_file(model, "", &status, err);
}

/* A model whose data lies outside is a folder model.onnx/ with model.onnx in it. */
static gpulet_status_t locate_file(gpulet_repository_model_t *model, const char *folder,
                                   bool may_be_absent, gpulet_error_t *err)
{
    char path[PATH_SIZE];
    struct stat status;
    const char *file = model->config.default_model_filename[0] != '\0'
                           ? model->config.default_model_filename
                           : "model.onnx";
    (void)snprintf(path, sizeof(path), "%s/%lld/%s", folder, (long long)model->version, file);
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        size_t used = strlen(path);
        (void)snprintf(path + used, sizeof(path) - used, "/model.onnx");
    }
    if (stat(path, &status) != 0) {
        if (errno == ENOENT && may_be_absent)
            return note_no_file(model, folder, err);
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) /* opening a pipe would wait for ever */
        return gpulet_fail(err, GPULET_E_INVALID, "%s: not a file", path);
    return note_file(model, path, &status, err);
}

static gpulet_status_t complete_model(gpulet_repository_model_t *model, const source_t *source,
                                      gpulet_error_t *err)
{
    gpulet_status_t st =
        locate_file(model, source->folder, needs_no_file(&model->config, source), err);
    if (st != GPULET_OK)
        return st;
    st = is_fake(source) ? describe_fake(model, err) : describe_onnx(&model->io, model->path, err);
    if (st == GPULET_OK)
        st = gpulet_model_config_complete(&model->config, &model->io, source->batch_max_default,
                                          err);
    if (st == GPULET_OK && model->rehearsed)
        gpulet_model_config_narrow(&model->io, &model->config);
    return st;
}

/* An ensemble has no file. */
static gpulet_status_t complete_ensemble(gpulet_repository_model_t *model, gpulet_error_t *err)
{
    gpulet_status_t st = gpulet_model_config_describe(&model->io, &model->config, err);
    if (st != GPULET_OK)
        return st;
    (void)snprintf(model->config.app->name, sizeof(model->config.app->name), "%s", model->name);
    model->path = strdup("");
    model->file_key = strdup("");
    return model->path != NULL && model->file_key != NULL
               ? gpulet_model_config_complete(&model->config, &model->io, 0, err)
               : gpulet_fail(err, GPULET_E_NOMEM, "out of memory");
}

static gpulet_status_t check_backend(const gpulet_model_config_t *config, gpulet_error_t *err)
{
    bool backend_ok = config->backend[0] == '\0' || strcmp(config->backend, "onnxruntime") == 0;
    bool platform_ok = config->platform[0] == '\0' || config->app != NULL ||
                       strcmp(config->platform, "onnxruntime_onnx") == 0;
    if (backend_ok && platform_ok)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_UNSUPPORTED, "%s '%s' is not supported: only onnxruntime is",
                       backend_ok ? "platform" : "backend",
                       backend_ok ? config->platform : config->backend);
}

/* Configurations come with requests as well: no file outside of the model's folder is named. */
static gpulet_status_t check_path(const char *field, const char *path, gpulet_error_t *err)
{
    bool outside = path[0] == '/';
    for (const char *at = path; at != NULL && !outside; at = strchr(at, '/')) {
        at += *at == '/';
        outside = strncmp(at, "..", 2) == 0 && (at[2] == '\0' || at[2] == '/');
    }
    if (!outside)
        return GPULET_OK;
    return gpulet_fail(err, GPULET_E_INVALID, "%s: expected a path inside the folder, found '%s'",
                       field, path);
}

static gpulet_status_t check_paths(const gpulet_model_config_t *config, gpulet_error_t *err)
{
    gpulet_status_t st = check_path("default_model_filename", config->default_model_filename, err);
    for (size_t i = 0; i < config->outputs_count && st == GPULET_OK; i++)
        st = check_path("output.label_filename", config->outputs[i].label_filename, err);
    return st;
}

static gpulet_status_t read_version(gpulet_repository_model_t *model, const source_t *source,
                                    int64_t version)
{
    gpulet_error_t err = {""};
    (void)snprintf(model->name, sizeof(model->name), "%s", source->name);
    model->version = version;
    gpulet_status_t st = read_config_text(&model->config_text, source, &err);
    if (st == GPULET_OK)
        st = read_config(&model->config, source, model->config_text, &err);
    if (st == GPULET_OK && model->config.name[0] != '\0' &&
        strcmp(model->config.name, source->name) != 0)
        st = gpulet_fail(&err, GPULET_E_INVALID,
                         "%s/config.pbtxt: name: expected '%s' as the folder, found '%s'",
                         source->folder, source->name, model->config.name);
    if (st == GPULET_OK)
        st = check_backend(&model->config, &err);
    if (st == GPULET_OK)
        st = check_paths(&model->config, &err);
    if (st == GPULET_OK) {
        (void)snprintf(model->config.name, sizeof(model->config.name), "%s", source->name);
        st = model->config.app != NULL ? complete_ensemble(model, &err)
                                       : complete_model(model, source, &err);
    }
    if (st == GPULET_OK &&
        (st = gpulet_model_config_warmup(&model->warmup, &model->config, &model->io)) != GPULET_OK)
        (void)gpulet_fail(&err, st, "out of memory");
    return st == GPULET_OK ? st : set_problem(model, err.text);
}

/* Which of the versions that are there are served; all are looked at when that cannot be told. */
static void read_policy(gpulet_model_config_t *out, bool *known, const source_t *source,
                        gpulet_error_t *err)
{
    char *text = NULL;
    *known = read_config_text(&text, source, err) == GPULET_OK &&
             read_config(out, source, text, err) == GPULET_OK;
    free(text);
}

static gpulet_status_t read_versions(gpulet_repository_t *repository, const source_t *source,
                                     version_list_t *list, bool *none, gpulet_error_t *why)
{
    gpulet_model_config_t policy;
    bool policy_known = false;
    gpulet_status_t st = GPULET_OK;
    read_policy(&policy, &policy_known, source, why);
    if (policy_known)
        why->text[0] = '\0'; /* that there is no file is no mistake */
    /* An empty version folder may not be kept by what keeps repositories. */
    if (policy_known && needs_no_file(&policy, source) && list->count == 0)
        list->versions[list->count++] = 1;
    for (size_t i = 0; i < list->count && st == GPULET_OK; i++) {
        if (policy_known ? !policy_serves(&policy, list, i) : i > 0)
            continue;
        gpulet_repository_model_t *model = append(repository);
        if (model == NULL) {
            st = GPULET_E_NOMEM;
            break;
        }
        st = read_version(model, source, list->versions[i]);
        model->newest = *none;
        if (model->newest)
            (void)snprintf(model->key, sizeof(model->key), "%s", source->name);
        else
            (void)snprintf(model->key, sizeof(model->key), "%.200s:%lld", source->name,
                           (long long)model->version);
        *none = false;
    }
    if (policy_known)
        gpulet_model_config_deinit(&policy);
    return st;
}

static gpulet_status_t read_model(gpulet_repository_t *repository, source_t source)
{
    char folder[PATH_SIZE];
    version_list_t list;
    bool none = true;
    gpulet_error_t why = {""}; /* the configuration cannot be read */
    (void)snprintf(folder, sizeof(folder), "%s/%s", source.root, source.name);
    source.folder = folder;
    list_versions(&list, folder);
    gpulet_status_t st = read_versions(repository, &source, &list, &none, &why);
    if (st != GPULET_OK || !none)
        return st;
    gpulet_repository_model_t *model = append(repository);
    if (model == NULL)
        return GPULET_E_NOMEM;
    (void)snprintf(model->name, sizeof(model->name), "%s", source.name);
    (void)snprintf(model->key, sizeof(model->key), "%s", source.name);
    model->newest = true;
    if (list.count == 0 && why.text[0] != '\0')
        return set_problem(model, why.text);
    return set_problem(model, list.count == 0
                                  ? "no version folder (a number, as in <model>/1/model.onnx)"
                                  : "version_policy names no version that is there");
}

static bool is_model_folder(const char *root, const char *name)
{
    char path[PATH_SIZE];
    struct stat status;
    if (name[0] == '.' || strchr(name, '/') != NULL || strlen(name) > GPULET_MODEL_NAME_MAX)
        return false;
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

gpulet_status_t gpulet_repository_read(gpulet_repository_t *out, const char *root,
                                       const char *engine, uint32_t batch_max_default,
                                       gpulet_error_t *err)
{
    struct dirent **entries = NULL;
    gpulet_status_t st = GPULET_OK;
    memset(out, 0, sizeof(*out));
    int count = scandir(root, &entries, NULL, by_name);
    if (count < 0)
        return gpulet_fail(err, GPULET_E_IO, "model repository %s: %s", root, strerror(errno));
    for (int i = 0; i < count; i++) {
        if (st == GPULET_OK && is_model_folder(root, entries[i]->d_name))
            st = read_model(out, (source_t){.root = root,
                                            .name = entries[i]->d_name,
                                            .engine = engine,
                                            .batch_max_default = batch_max_default});
        free(entries[i]);
    }
    free(entries);
    if (st != GPULET_OK) {
        gpulet_repository_deinit(out);
        return gpulet_fail(err, st, "model repository %s: too many models or out of memory", root);
    }
    return GPULET_OK;
}

gpulet_status_t gpulet_repository_read_one(gpulet_repository_t *out, const char *root,
                                           const char *name, const char *config, const char *engine,
                                           uint32_t batch_max_default, gpulet_error_t *err)
{
    memset(out, 0, sizeof(*out));
    if (!is_model_folder(root, name))
        return gpulet_fail(err, GPULET_E_NOT_FOUND, "no folder of that name in the repository");
    gpulet_status_t st = read_model(out, (source_t){.root = root,
                                                    .name = name,
                                                    .config = config,
                                                    .engine = engine,
                                                    .batch_max_default = batch_max_default});
    if (st == GPULET_OK)
        return st;
    gpulet_repository_deinit(out);
    return gpulet_fail(err, st, "too many versions or out of memory");
}

const gpulet_model_io_t *gpulet_repository_told(const gpulet_repository_model_t *model)
{
    return model->rehearsed ? &model->io : NULL;
}

void gpulet_repository_take(gpulet_repository_model_t *out, gpulet_repository_t *repository,
                            size_t index)
{
    *out = repository->models[index];
    memset(&repository->models[index], 0, sizeof(repository->models[index]));
}

void gpulet_repository_model_deinit(gpulet_repository_model_t *model)
{
    gpulet_model_config_deinit(&model->config);
    gpulet_model_io_deinit(&model->io);
    gpulet_model_io_deinit(&model->warmup);
    free(model->path);
    free(model->file_key);
    free(model->config_text);
    free(model->problem);
    memset(model, 0, sizeof(*model));
}

void gpulet_repository_deinit(gpulet_repository_t *repository)
{
    for (size_t i = 0; i < repository->count; i++)
        gpulet_repository_model_deinit(&repository->models[i]);
    free(repository->models);
    memset(repository, 0, sizeof(*repository));
}
