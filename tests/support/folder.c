#include "folder.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { OPEN_MAX_TREE = 8 };

int folder_setup(void **state)
{
    folder_t *folder = calloc(1, sizeof(*folder));
    if (folder == NULL)
        return -1;
    (void)snprintf(folder->root, sizeof(folder->root), "/tmp/gpulet-test-XXXXXX");
    if (mkdtemp(folder->root) == NULL) {
        free(folder);
        return -1;
    }
    *state = folder;
    return 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

int folder_teardown(void **state)
{
    folder_t *folder = *state;
    int failed = nftw(folder->root, remove_entry, OPEN_MAX_TREE, FTW_DEPTH | FTW_PHYS);
    free(folder);
    return failed;
}

const char *folder_at(folder_t *folder, const char *name)
{
    (void)snprintf(folder->path, sizeof(folder->path), "%s/%s", folder->root, name);
    return folder->path;
}

const char *folder_write(folder_t *folder, const char *name, const char *text, size_t size)
{
    gpulet_error_t err = {""};
    char *path = folder->path;
    (void)folder_at(folder, name);
    for (char *c = path + strlen(folder->root) + 1; *c != '\0'; c++) {
        if (*c != '/')
            continue;
        *c = '\0';
        (void)mkdir(path, 0755);
        *c = '/';
    }
    if (gpulet_file_write(path, text, size, &err) != GPULET_OK)
        fail_msg("%s", err.text);
    return path;
}

const char *folder_write_text(folder_t *folder, const char *name, const char *text)
{
    return folder_write(folder, name, text, strlen(text));
}
