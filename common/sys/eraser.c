#include "common/sys/eraser.h"

#include "common/base/cleanup.h"
#include "common/sys/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LAST_TRIES = 3 /* of removing the empty folder itself, while somebody adds to it */
};

struct eraser {
    char *path;
    DIR *top;                /* NULL: there is nothing to delete */
    DIR *folder;             /* one of top's, being emptied; NULL: none */
    char name[NAME_MAX + 1]; /* its name */
    uint64_t moved;          /* how many were moved up: the number in the next one's name */
    unsigned tries;
    bool moved_some; /* in this walk through top: the next one sees it */
    bool went;       /* something did */
    bool stayed;     /* something did */
    int number;      /* why the first of them stayed */
};

enum outcome {
    GONE,
    FULL, /* a folder with something in it */
    STAYS /* errno says why */
};

static enum outcome remove_entry(int dir, const char *name)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) {
        return GONE;
    }
    int number = errno;
    if (number != EISDIR && number != EPERM) {
        return STAYS;
    }
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return GONE;
    }
    if (errno == ENOTEMPTY || errno == EEXIST) {
        return FULL;
    }
    errno = errno == ENOTDIR ? number : errno;
    return STAYS;
}

/* A folder of ours that its mode shuts us out of. Root is shut out of none. */
static bool let_us_in(int dir, const char *name)
{
    return fchmodat(dir, name, 0700, AT_SYMLINK_NOFOLLOW) == 0;
}

static int open_below(int dir, const char *name)
{
    struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
    return (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
}

/* NULL: errno says why. */
static DIR *open_folder(int dir, const char *name)
{
    struct stat info;
    AUTO_FD int fd = open_below(dir, name);
    if (fd < 0 && errno == EACCES && let_us_in(dir, name)) {
        fd = open_below(dir, name);
    }
    if (fd < 0) {
        return NULL;
    }
    if (fstat(fd, &info) == 0 && (info.st_mode & 0700) != 0700) {
        (void)fchmod(fd, 0700); /* if it matters, deleting says so */
    }
    DIR *folder = fdopendir(fd);
    if (folder != NULL) {
        (void)fd_steal(&fd);
    }
    return folder;
}

static void note(struct eraser *eraser, bool gone)
{
    int number = errno;
    if (gone) {
        eraser->went = true;
        return;
    }
    if (!eraser->stayed) {
        eraser->number = number;
    }
    eraser->stayed = true;
}

/* A name may be taken, by what an eraser before us left or by a stranger: then it is the next. */
static bool move_up(struct eraser *eraser, int dir, const char *name)
{
    char above[32];
    bool opened = false;
    while (true) {
        (void)snprintf(above, sizeof(above), ".erased-%llu", (unsigned long long)eraser->moved++);
        if (renameat(dir, name, dirfd(eraser->top), above) == 0) {
            return true;
        }
        bool taken = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR || errno == EISDIR;
        if (errno == EACCES && !opened) {
            opened = true; /* its ".." is about to change, so it must be writable */
            taken = let_us_in(dir, name);
        }
        if (!taken) {
            return false;
        }
    }
}

/* Of this folder the next name; NULL: there is no more (ret_bad: it could not be read). */
static const char *next_name(DIR *dir, bool *ret_bad)
{
    const struct dirent *entry = NULL;
    do {
        errno = 0;
        entry = readdir(dir);
    } while (entry != NULL
             && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    *ret_bad = entry == NULL && errno != 0;
    return entry == NULL ? NULL : entry->d_name;
}

static void close_dir(DIR **dir)
{
    int number = errno;
    if (*dir != NULL) {
        (void)closedir(*dir);
    }
    *dir = NULL;
    errno = number;
}

/* One entry of a folder in top. */
static void take_inner(struct eraser *eraser)
{
    bool bad = false;
    const char *name = next_name(eraser->folder, &bad);
    if (name == NULL) {
        if (bad) {
            note(eraser, false);
        }
        close_dir(&eraser->folder);
        /* Some file systems leave names out while others are deleted: the next walk has them. */
        enum outcome outcome = remove_entry(dirfd(eraser->top), eraser->name);
        note(eraser, outcome == GONE);
        return;
    }
    int dir = dirfd(eraser->folder);
    enum outcome outcome = remove_entry(dir, name);
    bool moved = outcome == FULL && move_up(eraser, dir, name);
    note(eraser, outcome == GONE || moved);
    eraser->moved_some = eraser->moved_some || moved;
}

/* One entry of top. false: there is no more. */
static bool take_outer(struct eraser *eraser)
{
    bool bad = false;
    const char *name = next_name(eraser->top, &bad);
    if (name == NULL) {
        if (bad) {
            note(eraser, false);
        }
        return false;
    }
    int dir = dirfd(eraser->top);
    enum outcome outcome = remove_entry(dir, name);
    if (outcome == FULL) {
        (void)snprintf(eraser->name, sizeof(eraser->name), "%s", name);
        eraser->folder = open_folder(dir, name);
    }
    if (outcome != FULL || eraser->folder == NULL) {
        note(eraser, outcome == GONE);
    }
    return true;
}

/* After a walk through all of top: once more, or done, or never. */
static enum err_code end_walk(struct eraser *eraser, bool *ret_done, struct err_info *err)
{
    bool empty = !eraser->stayed && !eraser->moved_some;
    if (empty && (rmdir(eraser->path) == 0 || errno == ENOENT)) {
        close_dir(&eraser->top);
        *ret_done = true;
        return ERR_OK;
    }
    if (empty && ++eraser->tries >= LAST_TRIES) {
        return ERR_SET_ERRNO(err, ERR_BUSY, errno, "%s: cannot be deleted", eraser->path);
    }
    if (eraser->stayed && !eraser->went) {
        return ERR_SET_ERRNO(
            err,
            ERR_UNAVAILABLE,
            eraser->number,
            "%s: something in it cannot be deleted",
            eraser->path);
    }
    eraser->moved_some = false;
    eraser->stayed = false;
    eraser->went = false;
    rewinddir(eraser->top);
    return ERR_OK;
}

enum err_code eraser_open(const char *path, struct eraser **ret_eraser, struct err_info *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool is_file = fd < 0 && (errno == ENOTDIR || errno == ELOOP);
    bool gone = fd < 0 && (errno == ENOENT || (is_file && unlink(path) == 0));
    DIR *top = fd < 0 ? NULL : fdopendir(fd);
    if (top == NULL && !gone) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s: cannot be deleted", path);
    }
    (void)fd_steal(&fd);
    struct eraser *eraser = mem_alloc(sizeof(*eraser));
    eraser->path = mem_strdup(path);
    eraser->top = top;
    *ret_eraser = eraser;
    return ERR_OK;
}

void eraser_close(struct eraser *eraser)
{
    if (eraser != NULL) {
        close_dir(&eraser->folder);
        close_dir(&eraser->top);
        mem_free(eraser->path);
        mem_free(eraser);
    }
}

enum err_code eraser_step(
    struct eraser *eraser, size_t *budget, bool *ret_done, struct err_info *err)
{
    *ret_done = eraser->top == NULL;
    for (; *budget > 0 && !*ret_done; (*budget)--) {
        if (eraser->folder != NULL) {
            take_inner(eraser);
        } else if (!take_outer(eraser)) {
            TRY(end_walk(eraser, ret_done, err));
        }
    }
    return ERR_OK;
}

enum err_code eraser_run(const char *path, struct err_info *err)
{
    struct eraser *eraser = NULL;
    bool done = false;
    enum err_code code = eraser_open(path, &eraser, err);
    while (eraser != NULL && code == ERR_OK && !done) {
        size_t budget = SIZE_MAX;
        code = eraser_step(eraser, &budget, &done, err);
    }
    eraser_close(eraser);
    return code;
}
