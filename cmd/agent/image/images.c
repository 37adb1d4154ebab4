#include "cmd/agent/image/images.h"

#include "cmd/agent/image/extract.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/sandbox/record.h"
#include "common/sandbox/spec.h"
#include "common/sys/eraser.h"
#include "common/sys/fault.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    COPY_BYTES = 65536,
    STAGE_DIGITS = 17,
    SPEC_BYTES_MAX = MESSAGE_BYTES_MAX * 2
};

#define RECORDS ".record"
#define STAGING ".staging"

/* ---- Names and folders ---- */

static enum err_code check_name(const char *name, struct err_info *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes >= IMAGE_NAME_BYTES || name[0] == '.'
        || strspn(name, allowed) != bytes) {
        return ERR_SET(
            err, ERR_INVALID, "image name: 1 to 64 letters, digits, '-', '_', '.', not '.' first");
    }
    return ERR_OK;
}

enum err_code images_find(
    const char *store, const char *name, char *ret_path, size_t path_bytes, struct err_info *err)
{
    struct stat info;
    TRY(check_name(name, err));
    int written = snprintf(ret_path, path_bytes, "%s/%s", store, name);
    if (written < 0 || (size_t)written >= path_bytes) {
        return ERR_SET(err, ERR_LIMIT, "image %s: its path is too long", name);
    }
    if (lstat(ret_path, &info) != 0 || (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))) {
        return ERR_SET(
            err, ERR_NOT_FOUND, "no image %s: belay-agent image list tells which there are", name);
    }
    return ERR_OK;
}

static enum err_code make_store(const char *store, struct err_info *err)
{
    AUTO_FREE char *records = mem_printf("%s/" RECORDS, store);
    AUTO_FREE char *staging = mem_printf("%s/" STAGING, store);
    TRY(file_make_dir(store, 0700, err));
    TRY(file_make_dir(records, 0700, err));
    return file_make_dir(staging, 0700, err);
}

/* One at a time changes which names there are. */
static enum err_code lock_store(const char *store, int *ret_fd, struct err_info *err)
{
    AUTO_FREE char *path = mem_printf("%s/.lock", store);
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

enum err_code images_use(const char *path, int *ret_fd, struct err_info *err)
{
    struct stat held;
    struct stat named;
    AUTO_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_SH) != 0 || fstat(fd, &held) != 0 || lstat(path, &named) != 0
        || held.st_dev != named.st_dev || held.st_ino != named.st_ino) {
        return ERR_SET(err, ERR_NOT_FOUND, "image %s: it is gone", path);
    }
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

static enum err_code sync_folder(const char *path, struct err_info *err)
{
    AUTO_FD int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? ERR_OK
                                     : ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
}

/* ---- Staging: a folder per import, locked by who works in it ---- */

/* What cannot be deleted stays for the next sweep. */
static bool erase(const char *path)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = eraser_run(path, &err);
    if (code != ERR_OK) {
        log_warn("image_files_not_deleted", LOG_ERR(&err));
    }
    return code == ERR_OK;
}

/* What nobody holds is of an import that was killed. */
static void sweep(const char *staging)
{
    DIR *dir = opendir(staging);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        AUTO_FREE char *path = mem_printf("%s/%s", staging, entry->d_name);
        AUTO_FD int fd = entry->d_name[0] == '.'
            ? -1
            : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            (void)erase(path);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

void images_sweep(const char *store)
{
    struct stat info;
    AUTO_FREE char *staging = mem_printf("%s/" STAGING, store);
    AUTO_FD int lock = -1;
    if (lstat(staging, &info) == 0 && lock_store(store, &lock, NULL) == ERR_OK) {
        sweep(staging);
    }
}

struct stage {
    char *path;
    int fd;
};

/* false: something of it is left. */
static bool stage_close(struct stage *stage)
{
    bool gone = stage->path == NULL || erase(stage->path);
    mem_free(stage->path);
    fd_close(&stage->fd);
    return gone;
}

/* Under the store's lock, so that no sweep comes between its making and its own lock. */
static enum err_code stage_open(const char *store, struct stage *ret_stage, struct err_info *err)
{
    uint8_t random[(STAGE_DIGITS - 1) / 2];
    char digits[STAGE_DIGITS];
    AUTO_FREE char *staging = mem_printf("%s/" STAGING, store);
    AUTO_FD int lock = -1;
    TRY(lock_store(store, &lock, err));
    sweep(staging);
    id_random(random, sizeof(random));
    str_hex_encode(random, sizeof(random), digits);
    ret_stage->path = mem_printf("%s/%s", staging, digits);
    TRY(file_make_dir(ret_stage->path, 0700, err));
    ret_stage->fd = open(ret_stage->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ret_stage->fd < 0 || flock(ret_stage->fd, LOCK_EX | LOCK_NB) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", ret_stage->path);
    }
    return ERR_OK;
}

/* ---- List ---- */

static void read_record(const char *store, struct image *image)
{
    struct record record;
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    AUTO_FREE char *path = mem_printf("%s/" RECORDS "/%s", store, image->name);
    if (file_read(path, RECORD_BYTES_MAX, &text, NULL) != ERR_OK
        || record_parse(buf_view(&text), &record, NULL) != ERR_OK
        || str_copy(record_text(&record, "digest"), image->digest, sizeof(image->digest))
            != ERR_OK) {
        return;
    }
    image->bytes = record_number(&record, "bytes");
    image->entries = record_number(&record, "entries");
    image->skipped = record_number(&record, "skipped");
    image->imported.value = (int64_t)(record_number(&record, "imported_us") & INT64_MAX);
}

static int compare(const void *a, const void *b)
{
    const struct image *left = a;
    const struct image *right = b;
    return strcmp(left->name, right->name);
}

static bool look_at(const char *store, const char *name, struct image *ret_image)
{
    struct stat info;
    AUTO_FREE char *path = mem_printf("%s/%s", store, name);
    if (check_name(name, NULL) != ERR_OK || lstat(path, &info) != 0
        || (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))) {
        return false;
    }
    *ret_image = (struct image){ .is_folder = S_ISDIR(info.st_mode) };
    if (str_copy(str_of(name), ret_image->name, sizeof(ret_image->name)) != ERR_OK) {
        return false;
    }
    read_record(store, ret_image);
    return true;
}

void images_each(const char *store, void (*each)(void *context, const char *name), void *context)
{
    struct image image;
    DIR *dir = opendir(store);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        if (look_at(store, entry->d_name, &image)) {
            each(context, image.name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

static void count_one(void *context, const char *name)
{
    size_t *count = context;
    (void)name;
    (*count)++;
}

enum err_code images_list(
    const char *store,
    struct image *ret_images,
    size_t max,
    size_t *ret_count,
    struct err_info *err)
{
    size_t count = 0;
    DIR *dir = opendir(store);
    if (dir == NULL && errno != ENOENT) {
        return ERR_SET_ERRNO(err, ERR_DENIED, errno, "%s", store);
    }
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL && count < max;
         entry = readdir(dir)) {
        count += look_at(store, entry->d_name, &ret_images[count]) ? 1 : 0;
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    qsort(ret_images, count, sizeof(*ret_images), compare);
    *ret_count = count;
    return ERR_OK;
}

/* ---- Import ---- */

static enum err_code take_tar(
    struct source *source, const struct stage *stage, struct image *image, struct err_info *err)
{
    struct extract_sum sum = { 0 };
    if (mkdirat(stage->fd, "image", 0755) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s/image", stage->path);
    }
    AUTO_FD int root = openat(stage->fd, "image", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* The sandbox's user looks into it, whatever the umask was. */
    if (root < 0 || fchmod(root, 0755) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s/image", stage->path);
    }
    TRY(extract_tar(source, root, EXTRACT_ENTRIES_MAX, &sum, err));
    image->is_folder = true;
    image->bytes = sum.bytes;
    image->entries = sum.entries;
    image->skipped = sum.skipped;
    return ERR_OK;
}

static enum err_code take_squashfs(
    struct source *source, const struct stage *stage, struct image *image, struct err_info *err)
{
    AUTO_FREE char *data = mem_alloc(COPY_BYTES);
    size_t got = COPY_BYTES;
    AUTO_FD int fd = openat(stage->fd, "image", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s/image", stage->path);
    }
    while (got == COPY_BYTES) {
        TRY(source_read(source, data, COPY_BYTES, &got, err));
        TRY(fd_write_all(fd, data, got, err));
        image->bytes += got;
    }
    image->entries = 1;
    return ERR_OK;
}

static enum err_code take(
    const struct image_import *wanted,
    const struct stage *stage,
    struct image *image,
    struct err_info *err)
{
    struct source *source = NULL;
    TRY(source_open(wanted->fd, wanted->bytes_max, &source, err));
    enum err_code code = source_form(source) == SOURCE_SQUASHFS
        ? take_squashfs(source, stage, image, err)
        : take_tar(source, stage, image, err);
    if (code == ERR_OK) {
        code = source_digest(source, image->digest, err);
    }
    source_close(source);
    return code;
}

static enum err_code write_record(
    const char *store, const struct image *image, struct err_info *err)
{
    AUTO_BUF struct buf text = BUF_INIT(RECORD_BYTES_MAX);
    AUTO_FREE char *path = mem_printf("%s/" RECORDS "/%s", store, image->name);
    record_open(&text);
    record_put_text(&text, "digest", str_of(image->digest));
    record_put_number(&text, "bytes", image->bytes);
    record_put_number(&text, "entries", image->entries);
    record_put_number(&text, "skipped", image->skipped);
    record_put_number(&text, "imported_us", (uint64_t)image->imported.value);
    record_close(&text);
    return file_write_atomic(path, text.data, text.len, 0600, err);
}

/* All of it is on the disk before its name is. The record comes first: without an image it is
 * nothing, and the next import of the name replaces it. */
static enum err_code settle(
    const struct image_import *wanted,
    const struct stage *stage,
    const struct image *image,
    struct err_info *err)
{
    struct stat info;
    size_t count = 0;
    AUTO_FREE char *from = mem_printf("%s/image", stage->path);
    AUTO_FREE char *to = mem_printf("%s/%s", wanted->store, wanted->name);
    AUTO_FD int lock = -1;
    if (syncfs(stage->fd) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s: sync", wanted->store);
    }
    FAULT_POINT("agent.image.staged");
    TRY(lock_store(wanted->store, &lock, err));
    if (lstat(to, &info) == 0) {
        return ERR_SET(err, ERR_EXISTS, "there is an image %s; remove it first", wanted->name);
    }
    images_each(wanted->store, count_one, &count);
    if (count >= IMAGE_COUNT_MAX) {
        return ERR_SET(err, ERR_LIMIT, "the store has %d images; remove one", IMAGE_COUNT_MAX);
    }
    TRY(write_record(wanted->store, image, err));
    FAULT_POINT("agent.image.recorded");
    if (rename(from, to) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", to);
    }
    return sync_folder(wanted->store, err);
}

enum err_code images_import(
    const struct image_import *wanted, struct image *ret_image, struct err_info *err)
{
    char path[4096];
    struct stage stage = { .fd = -1 };
    struct image image = { .imported = clock_wall(wanted->clock) };
    TRY(check_name(wanted->name, err));
    TRY(make_store(wanted->store, err));
    if (images_find(wanted->store, wanted->name, path, sizeof(path), NULL) == ERR_OK) {
        return ERR_SET(err, ERR_EXISTS, "there is an image %s; remove it first", wanted->name);
    }
    TRY(str_copy(str_of(wanted->name), image.name, sizeof(image.name)));
    enum err_code code = stage_open(wanted->store, &stage, err);
    if (code == ERR_OK) {
        code = take(wanted, &stage, &image, err);
    }
    if (code == ERR_OK) {
        code = settle(wanted, &stage, &image, err);
    }
    (void)stage_close(&stage);
    if (code == ERR_OK) {
        *ret_image = image;
    }
    return code;
}

/* ---- Remove ---- */

/* Whether the sandbox of this folder was made from the image, stopped ones too: they can be started
 * again. */
static bool uses(const char *dir, const struct stat *image)
{
    struct message message;
    struct stat info;
    AUTO_BUF struct buf bytes = BUF_INIT(SPEC_BYTES_MAX);
    AUTO_FREE char *spec = mem_printf("%s/" SANDBOX_FILE_SPEC, dir);
    if (file_read(spec, SPEC_BYTES_MAX, &bytes, NULL) != ERR_OK
        || message_decode(buf_view(&bytes), &message, NULL) != ERR_OK
        || message.type != MESSAGE_SPEC || message.spec.image.len == 0) {
        return false;
    }
    AUTO_FREE char *path = mem_printf("%.*s", STR_ARG(message.spec.image));
    return lstat(path, &info) == 0 && info.st_dev == image->st_dev && info.st_ino == image->st_ino;
}

static enum err_code check_unused(
    const char *runs, const char *name, const struct stat *image, struct err_info *err)
{
    DIR *dir = opendir(runs);
    enum err_code code = ERR_OK;
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL && code == ERR_OK;
         entry = readdir(dir)) {
        AUTO_FREE char *path = mem_printf("%s/%s", runs, entry->d_name);
        if (entry->d_name[0] != '.' && uses(path, image)) {
            code = ERR_SET(
                err,
                ERR_PRECONDITION,
                "image %s is in use by sandbox %.63s; remove that first",
                name,
                entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return code;
}

static enum err_code take_away(
    const char *store,
    const char *const *runs,
    const char *name,
    const struct stage *stage,
    struct err_info *err)
{
    struct stat info;
    AUTO_FREE char *path = mem_printf("%s/%s", store, name);
    AUTO_FREE char *record = mem_printf("%s/" RECORDS "/%s", store, name);
    AUTO_FREE char *gone = mem_printf("%s/image", stage->path);
    AUTO_FD int lock = -1;
    TRY(lock_store(store, &lock, err));
    AUTO_FD int image = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (image < 0 || fstat(image, &info) != 0) {
        return ERR_SET_ERRNO(err, ERR_NOT_FOUND, errno, "image %s", name);
    }
    if (flock(image, LOCK_EX | LOCK_NB) != 0) {
        return ERR_SET(err, ERR_PRECONDITION, "image %s is in use; try again later", name);
    }
    for (size_t i = 0; runs[i] != NULL; i++) {
        TRY(check_unused(runs[i], name, &info, err));
    }
    if (rename(path, gone) != 0) {
        return ERR_SET_ERRNO(err, ERR_UNAVAILABLE, errno, "%s", path);
    }
    (void)unlink(record);
    return sync_folder(store, err);
}

enum err_code images_remove(
    const char *store, const char *const *runs, const char *name, struct err_info *err)
{
    char path[4096];
    struct stage stage = { .fd = -1 };
    TRY(images_find(store, name, path, sizeof(path), err));
    TRY(make_store(store, err));
    enum err_code code = stage_open(store, &stage, err);
    if (code == ERR_OK) {
        code = take_away(store, runs, name, &stage, err);
    }
    /* Deletes what was taken away, while nobody waits. */
    if (!stage_close(&stage) && code == ERR_OK) {
        return ERR_SET(
            err,
            ERR_UNAVAILABLE,
            "image %s is gone, but not all of its files could be deleted; the next import or "
            "removal tries again",
            name);
    }
    return code;
}
