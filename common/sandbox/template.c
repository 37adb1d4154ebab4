#include "common/sandbox/template.h"

#include "common/base/cleanup.h"
#include "common/base/str.h"
#include "common/sandbox/spec.h"
#include "common/sys/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NAME_BYTES = 64
};

#define SUFFIX       ".ext4"
#define SUFFIX_SPARE SUFFIX ".spare"
#define SUFFIX_NEW   ".new"

static int open_folder(int dir)
{
    return openat(dir, SANDBOX_DIR_TEMPLATES, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static void name_of(uint64_t bytes, const char *suffix, char ret_name[NAME_BYTES])
{
    (void)snprintf(ret_name, NAME_BYTES, "%" PRIu64 "%s", bytes, suffix);
}

static bool is_whole(const struct stat *info, uint64_t bytes)
{
    return S_ISREG(info->st_mode) && info->st_size == (off_t)bytes;
}

static bool copy_range(int from, int to, off_t begin, off_t end)
{
    off_t in = begin;
    off_t out = begin;
    while (in < end) {
        ssize_t copied = copy_file_range(from, &in, to, &out, (size_t)(end - in), 0);
        if (copied <= 0) {
            return false;
        }
    }
    return true;
}

/* What is data of one file to the same place of another; the rest of it stays a hole. */
static bool copy_data(int from, int to)
{
    off_t copied = 0;
    off_t begin = 0;
    off_t end = 0;
    while ((begin = lseek(from, end, SEEK_DATA)) >= 0) {
        end = lseek(from, begin, SEEK_HOLE);
        copied += end - begin;
        if (end < 0 || copied > TEMPLATE_DATA_BYTES_MAX || !copy_range(from, to, begin, end)) {
            return false;
        }
    }
    return errno == ENXIO; /* behind the last of it */
}

/* -1: there is none of that size, or no whole one. */
static int open_template(int folder, uint64_t bytes)
{
    char name[NAME_BYTES];
    struct stat info;
    name_of(bytes, SUFFIX, name);
    AUTO_FD int from = folder < 0 ? -1 : openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return from >= 0 && fstat(from, &info) == 0 && is_whole(&info, bytes) ? fd_steal(&from) : -1;
}

bool template_copy(int dir, uint64_t bytes, int image)
{
    AUTO_FD int folder = open_folder(dir);
    AUTO_FD int from = open_template(folder, bytes);
    if (from < 0) {
        return false;
    }
    if (copy_data(from, image)) {
        return true;
    }
    (void)(ftruncate(image, 0) == 0 && ftruncate(image, (off_t)bytes) == 0);
    return false;
}

static bool has_room(int folder)
{
    size_t count = 0;
    AUTO_FD int listed = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = listed < 0 ? NULL : fdopendir(listed);
    if (entries == NULL) {
        return false;
    }
    (void)fd_steal(&listed); /* closed with the stream */
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        count += str_has_suffix(str_of(entry->d_name), STR(SUFFIX)) ? 1 : 0;
    }
    (void)closedir(entries);
    return count < TEMPLATES_MAX;
}

/* A copy of `from`, which is synced before it has its name: one that a failure of the power cut
 * short is never used. temporary: in the folder, and gone afterwards. */
static void keep_as(int folder, const char *temporary, const char *name, int from, uint64_t bytes)
{
    (void)unlinkat(folder, temporary, 0); /* of a copy that was cut short */
    AUTO_FD int to =
        openat(folder, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) {
        return;
    }
    bool good = ftruncate(to, (off_t)bytes) == 0 && copy_data(from, to) && fsync(to) == 0
        && renameat(folder, temporary, folder, name) == 0;
    if (!good) {
        (void)unlinkat(folder, temporary, 0);
    }
}

void template_keep(int dir, uint64_t bytes, int image)
{
    char name[NAME_BYTES];
    char temporary[NAME_BYTES];
    AUTO_FD int folder = open_folder(dir);
    if (folder < 0 || !has_room(folder)) {
        return;
    }
    name_of(bytes, SUFFIX, name);
    (void)snprintf(temporary, sizeof(temporary), "%" PRIu64 ".%d" SUFFIX_NEW, bytes, (int)getpid());
    keep_as(folder, temporary, name, image, bytes);
}

static bool has_spare(int folder, const char *spare, uint64_t bytes)
{
    struct stat info;
    return fstatat(folder, spare, &info, AT_SYMLINK_NOFOLLOW) == 0 && is_whole(&info, bytes);
}

bool template_take(int dir, uint64_t bytes, const char *name)
{
    char spare[NAME_BYTES];
    AUTO_FD int folder = open_folder(dir);
    name_of(bytes, SUFFIX_SPARE, spare);
    return folder >= 0 && has_spare(folder, spare, bytes)
        && renameat(folder, spare, dir, name) == 0;
}

void template_spare(const char *folder, uint64_t bytes)
{
    char spare[NAME_BYTES];
    char temporary[NAME_BYTES];
    AUTO_FD int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_FD int from = open_template(opened, bytes);
    name_of(bytes, SUFFIX_SPARE, spare);
    name_of(bytes, SUFFIX_SPARE SUFFIX_NEW, temporary);
    if (from >= 0 && !has_spare(opened, spare, bytes)) {
        keep_as(opened, temporary, spare, from, bytes);
    }
}

void template_sweep(const char *folder)
{
    AUTO_FD int opened = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *entries = opened < 0 ? NULL : fdopendir(opened);
    if (entries == NULL) {
        return;
    }
    int held = fd_steal(&opened); /* closed with the stream */
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (str_has_suffix(str_of(entry->d_name), STR(SUFFIX_NEW))) {
            (void)unlinkat(held, entry->d_name, 0);
        }
    }
    (void)closedir(entries);
}
