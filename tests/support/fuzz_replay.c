/*
 * Replays a corpus through a fuzzer without libFuzzer: every file of the folders (or every file)
 * named on the command line once. Fails when there was none, so that a lost corpus is noticed.
 */
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

enum {
    LARGEST_INPUT_BYTES = 4 * 1024 * 1024
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    struct err_info err = ERR_INFO_INIT;
    AUTO_BUF struct buf input = BUF_INIT(LARGEST_INPUT_BYTES);
    if (file_read(path, LARGEST_INPUT_BYTES, &input, &err) != ERR_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    /* A copy of exactly the input's size, so that the sanitizer sees a read past its end. */
    AUTO_FREE uint8_t *data = mem_dup(buf_view(&input).ptr, input.len);
    (void)LLVMFuzzerTestOneInput(data, input.len);
    return 1;
}

/* The number of inputs replayed, or -1. */
static int replay(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return replay_file(path);
    }
    int count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL && count >= 0; entry = readdir(dir)) {
        AUTO_FREE char *path_of_entry = mem_printf("%s/%s", path, entry->d_name);
        struct stat info;
        if (stat(path_of_entry, &info) == 0 && S_ISREG(info.st_mode)) {
            count = replay_file(path_of_entry) < 0 ? -1 : count + 1;
        }
    }
    (void)closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int count = replay(argv[i]);
        if (count < 0) {
            return 1;
        }
        total += count;
    }
    (void)printf("%d inputs replayed\n", total);
    return total > 0 ? 0 : 1;
}
