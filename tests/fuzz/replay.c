/* Replays every file of the folders given on the command line through a libFuzzer target, so that
 * the corpus and all past crashes are an ordinary test that needs no fuzzing compiler. Ends with "N
 * passed, 0 failed". */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_SIZE_MAX = 4 << 20 };

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return -1;
    uint8_t *data = malloc(FILE_SIZE_MAX);
    size_t size = data == NULL ? 0 : fread(data, 1, FILE_SIZE_MAX, f);
    (void)fclose(f);
    /* An exact copy, so that a sanitizer sees a read past the end. */
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (exact != NULL && data != NULL) {
        memcpy(exact, data, size);
        (void)LLVMFuzzerTestOneInput(exact, size);
    }
    free(exact);
    free(data);
    return 0;
}

static int replay_folder(const char *folder)
{
    DIR *d = opendir(folder);
    int count = 0;
    if (d == NULL)
        return 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[4096];
        if (e->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (replay_file(path) == 0)
            count++;
    }
    (void)closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    int count = 0;
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        count += replay_folder(argv[i]);
    if (count == 0) {
        (void)fprintf(stderr, "no corpus found: the test would prove nothing\n");
        return 1;
    }
    (void)printf("%d passed, 0 failed\n", count);
    return 0;
}
