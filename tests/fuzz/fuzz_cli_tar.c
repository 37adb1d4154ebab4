/* links: cli_core */
/*
 * Archives as a hostile sandbox would send them, unpacked for real into a folder of their own. What
 * comes of it may be anything below the target; next to it nothing may be made, and a file outside
 * may neither be changed nor be reached through what was made.
 */
#include "cmd/cli/session/tar.h"
#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    ENTRIES_MAX = 64,
    BYTES_MAX = 1 << 20
};

#define CANARY "untouched"

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    (void)stat;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* A link that was made stays below its folder: what is above it is not ours. */
static int check_one(const char *path, const struct stat *stat, int kind, struct FTW *walk)
{
    char real[PATH_MAX];
    (void)walk;
    bool is_special =
        kind != FTW_SL && kind != FTW_SLN && !S_ISREG(stat->st_mode) && !S_ISDIR(stat->st_mode);
    if (is_special || (stat->st_mode & (S_ISUID | S_ISGID)) != 0) {
        abort();
    }
    if (kind == FTW_SL && realpath(path, real) != NULL && strstr(real, "belay-fuzz-tar") == NULL) {
        abort();
    }
    return 0;
}

static void check_alone(int folder)
{
    DIR *entries = fdopendir(dup(folder));
    const struct dirent *entry = entries == NULL ? NULL : readdir(entries);
    for (; entry != NULL; entry = readdir(entries)) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "target") != 0
            && strcmp(name, "canary") != 0) {
            abort();
        }
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
}

static void unpack(int folder, const uint8_t *data, size_t size)
{
    struct tar_counts counts = { .files = 0 };
    struct err_info err = ERR_INFO_INIT;
    const struct tar_target target = {
        .folder_fd = folder,
        .name = "target",
        .member = "m",
        .bytes_max = BYTES_MAX,
        .entries_max = ENTRIES_MAX,
        .names_max = BYTES_MAX,
    };
    AUTO_FD int in = memfd_create("archive", MFD_CLOEXEC);
    if (in < 0 || fd_write_all(in, data, size, &err) != ERR_OK || lseek(in, 0, SEEK_SET) != 0) {
        return;
    }
    enum err_code code = tar_unpack(in, &target, &counts, &err);
    if ((code != ERR_OK && err.text[0] == 0) || counts.bytes > BYTES_MAX) {
        abort();
    }
}

static void check_canary(int folder)
{
    char text[sizeof(CANARY)] = "";
    AUTO_FD int fd = openat(folder, "canary", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text)) != (ssize_t)strlen(CANARY)
        || strcmp(text, CANARY) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[] = "/tmp/belay-fuzz-tar.XXXXXX";
    struct err_info err = ERR_INFO_INIT;
    if (mkdtemp(path) == NULL) {
        return 0;
    }
    {
        AUTO_FD int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        AUTO_FD int canary = openat(folder, "canary", O_WRONLY | O_CREAT | O_CLOEXEC, S_IRUSR);
        if (folder >= 0 && canary >= 0
            && fd_write_all(canary, CANARY, strlen(CANARY), &err) == ERR_OK) {
            unpack(folder, data, size);
            check_alone(folder);
            check_canary(folder);
            (void)nftw(path, check_one, 8, FTW_PHYS);
        }
    }
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
