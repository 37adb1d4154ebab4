/*
 * Unpacking what a hostile sandbox says. Every path is taken apart and put together again from
 * plain components below the target; folders are opened with openat2 (beneath the target's folder,
 * no links of any kind followed), files are made anew and never opened if they exist, and links are
 * made only where they cannot lead out. So no order of members can reach another place.
 */
#include "cmd/cli/session/tar.h"
#include "cmd/cli/session/tar_header.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    COPY_BYTES = 256 * 1024,
    COMPONENT_MAX = 255,
    FOLDER_MODE = 0700, /* until everything below it is there */
    PERMISSIONS = 0777  /* what is kept of a mode */
};

/* A folder made here: its mode and time come last, when nothing is put into it any more. */
struct made_folder {
    struct list link;
    uint32_t mode;
    int64_t mtime;
    char path[]; /* below folder_fd */
};

/* What is too large for a stack. */
struct space {
    struct tar_header header;
    char path[TAR_PATH_MAX];
    char other[TAR_PATH_MAX]; /* what a hard link leads to */
    char bytes[COPY_BYTES];
};

struct unpacker {
    int in_fd;
    const struct tar_target *target;
    struct tar_counts *counts;
    struct err_info *err;
    struct map *made; /* files of this run, for hard links among them */
    struct list folders;
    uint64_t entries;
    uint64_t names; /* bytes of the paths that are kept */
    struct space *space;
};

static enum err_code corrupt(struct unpacker *unpacker, const char *path, const char *why)
{
    return ERR_SET(unpacker->err, ERR_CORRUPT, "the sandbox's archive: \"%.200s\" %s", path, why);
}

static void refuse(struct unpacker *unpacker, const char *path, const char *why)
{
    if (unpacker->counts->refused++ == 0) {
        (void)snprintf(
            unpacker->counts->first_refused,
            sizeof(unpacker->counts->first_refused),
            "%.150s %s",
            path,
            why);
    }
}

/* ---- paths ---- */

/* The next component that is not "." or empty; false: there is none. */
static bool next_component(struct str_view *rest, struct str_view *ret_component)
{
    while (rest->len > 0) {
        struct str_view head = *rest;
        struct str_view tail = STR_NONE;
        (void)str_cut(*rest, '/', &head, &tail);
        *rest = tail;
        if (head.len > 0 && !str_equal(head, STR("."))) {
            *ret_component = head;
            return true;
        }
    }
    return false;
}

/*
 * The member's place below folder_fd: the target's name, then the member's own components. An
 * absolute path, "..", another top-level member: the archive is not what was asked for.
 */
static enum err_code place(struct unpacker *unpacker, const char *path, char out[TAR_PATH_MAX])
{
    const struct tar_target *target = unpacker->target;
    struct str_view rest = str_of(path);
    struct str_view part = STR_NONE;
    if (path[0] == '/' || !next_component(&rest, &part)
        || !str_equal(part, str_of(target->member))) {
        return corrupt(unpacker, path, "is not what was asked for");
    }
    size_t length = strlen(target->name);
    memcpy(out, target->name, length);
    while (next_component(&rest, &part)) {
        if (str_equal(part, STR("..")) || part.len > COMPONENT_MAX) {
            return corrupt(unpacker, path, "leads out of the target");
        }
        if (length + part.len + 2 > TAR_PATH_MAX) {
            return corrupt(unpacker, path, "is too long");
        }
        out[length++] = '/';
        memcpy(out + length, part.ptr, part.len);
        length += part.len;
    }
    out[length] = 0;
    return ERR_OK;
}

static int open_beneath(const struct unpacker *unpacker, const char *path, uint64_t flags)
{
    const struct open_how how = {
        .flags = flags | O_DIRECTORY | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, unpacker->target->folder_fd, path, &how, sizeof(how));
}

/* The folder a placed path is in; ret_name: its last component, within path. */
static enum err_code open_parent(
    struct unpacker *unpacker, char *path, int *ret_fd, const char **ret_name)
{
    char *slash = strrchr(path, '/');
    *ret_name = slash == NULL ? path : slash + 1;
    if (slash != NULL) {
        *slash = 0;
    }
    *ret_fd = open_beneath(unpacker, slash == NULL ? "." : path, O_PATH);
    if (slash != NULL) {
        *slash = '/';
    }
    if (*ret_fd < 0) {
        return ERR_SET_ERRNO(
            unpacker->err, ERR_DENIED, errno, "%s: the folder it belongs into", path);
    }
    return ERR_OK;
}

static enum err_code failed(struct unpacker *unpacker, const char *path)
{
    return ERR_SET_ERRNO(unpacker->err, ERR_DENIED, errno, "%s cannot be made", path);
}

/* ---- content ---- */

static enum err_code read_exactly(struct unpacker *unpacker, void *data, size_t bytes)
{
    size_t got = 0;
    TRY(fd_read_full(unpacker->in_fd, data, bytes, &got, unpacker->err));
    return got == bytes
        ? ERR_OK
        : ERR_SET(unpacker->err, ERR_CORRUPT, "the sandbox's archive ends too early");
}

/* The member's bytes and what fills its last block; fd -1: nowhere. */
static enum err_code take_content(struct unpacker *unpacker, uint64_t size, int fd)
{
    char padding[TAR_BLOCK_BYTES];
    for (uint64_t left = size; left > 0;) {
        size_t bytes = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
        TRY(read_exactly(unpacker, unpacker->space->bytes, bytes));
        if (fd >= 0) {
            TRY(fd_write_all(fd, unpacker->space->bytes, bytes, unpacker->err));
        }
        left -= bytes;
    }
    return read_exactly(
        unpacker, padding, (size_t)((TAR_BLOCK_BYTES - size % TAR_BLOCK_BYTES) % TAR_BLOCK_BYTES));
}

/* The content of a head that describes the next one. */
static enum err_code take_records(struct unpacker *unpacker, uint64_t size)
{
    if (size > TAR_RECORDS_MAX) {
        return ERR_SET(unpacker->err, ERR_CORRUPT, "the sandbox's archive: a head is too large");
    }
    return take_content(unpacker, size, -1); /* fits into bytes, once: see the assertion below */
}

_Static_assert((int)TAR_RECORDS_MAX < (int)COPY_BYTES, "the records of a head are read at once");

/* ---- members ---- */

static enum err_code set_times(
    const struct unpacker *unpacker, int fd, uint32_t mode, int64_t mtime)
{
    const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = mtime } };
    uint32_t kept = mode & PERMISSIONS & ~unpacker->target->umask;
    return fchmod(fd, kept) == 0 && futimens(fd, times) == 0 ? ERR_OK : ERR_DENIED;
}

/* Before a path is kept: half a million of 4 KiB each would be memory. */
static enum err_code check_names(struct unpacker *unpacker, const char *path)
{
    const struct tar_target *target = unpacker->target;
    unpacker->names += strlen(path);
    return unpacker->names <= target->names_max
        ? ERR_OK
        : ERR_SET(
            unpacker->err,
            ERR_LIMIT,
            "paths of more than %llu bytes together: copy a part of it",
            (unsigned long long)target->names_max);
}

static enum err_code make_file(
    struct unpacker *unpacker, const struct tar_header *header, char *path)
{
    AUTO_FD int folder = -1;
    const char *name = path;
    TRY(open_parent(unpacker, path, &folder, &name));
    (void)unlinkat(folder, name, 0); /* never written through what is there */
    AUTO_FD int fd = openat(
        folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        return failed(unpacker, path);
    }
    TRY(take_content(unpacker, header->size, fd));
    if (set_times(unpacker, fd, header->mode, header->mtime) != ERR_OK) {
        return failed(unpacker, path);
    }
    TRY(check_names(unpacker, path));
    (void)map_put(unpacker->made, str_of(path), unpacker);
    unpacker->counts->files++;
    unpacker->counts->bytes += header->size;
    return ERR_OK;
}

static enum err_code make_folder(
    struct unpacker *unpacker, const struct tar_header *header, char *path)
{
    AUTO_FD int folder = -1;
    const char *name = path;
    size_t length = strlen(path);
    TRY(open_parent(unpacker, path, &folder, &name));
    unpacker->counts->folders++;
    if (mkdirat(folder, name, FOLDER_MODE) != 0) {
        int number = errno;
        AUTO_FD int there = open_beneath(unpacker, path, O_PATH);
        errno = number;
        return there >= 0 ? ERR_OK : failed(unpacker, path); /* one that is there stays as it is */
    }
    TRY(check_names(unpacker, path));
    struct made_folder *made = mem_alloc(sizeof(*made) + length + 1);
    made->mode = header->mode;
    made->mtime = header->mtime;
    memcpy(made->path, path, length + 1);
    list_append(&unpacker->folders, &made->link);
    return ERR_OK;
}

static size_t depth_of(const char *path)
{
    size_t depth = 0;
    for (; *path != 0; path++) {
        depth += *path == '/';
    }
    return depth;
}

/*
 * A link may go up, as long as it stays below the target, and then down, but never up again: the
 * folder it is in is a real one, and what it passes on its way down may be another link, from
 * which ".." would lead anywhere.
 */
static bool stays_inside(const char *path, const char *link)
{
    struct str_view rest = str_of(link);
    struct str_view part = STR_NONE;
    size_t up = 0;
    size_t down = 0;
    if (link[0] == '/' || link[0] == 0) {
        return false;
    }
    while (next_component(&rest, &part)) {
        bool is_up = str_equal(part, STR(".."));
        if (is_up && down > 0) {
            return false;
        }
        up += is_up;
        down += !is_up;
    }
    /* The target itself is at depth 0: what is in it may go up by one less than its depth. */
    return up < depth_of(path);
}

static enum err_code make_symlink(
    struct unpacker *unpacker, const struct tar_header *header, char *path)
{
    AUTO_FD int folder = -1;
    const char *name = path;
    bool is_sibling = strchr(header->link, '/') == NULL && strcmp(header->link, "..") != 0
        && header->link[0] != 0;
    bool is_inside = depth_of(path) == 0 ? false : is_sibling || stays_inside(path, header->link);
    if (!is_inside) {
        refuse(unpacker, header->path, "is a link that leads out");
        return ERR_OK;
    }
    TRY(open_parent(unpacker, path, &folder, &name));
    (void)unlinkat(folder, name, 0);
    if (symlinkat(header->link, folder, name) != 0) {
        return failed(unpacker, path);
    }
    (void)map_remove(unpacker->made, str_of(path));
    unpacker->counts->links++;
    return ERR_OK;
}

/* Only to a file that came in this archive. */
static enum err_code make_hard_link(
    struct unpacker *unpacker, const struct tar_header *header, char *path)
{
    AUTO_FD int folder = -1;
    AUTO_FD int other_folder = -1;
    const char *name = path;
    char *other = unpacker->space->other;
    const char *other_name = other;
    TRY(place(unpacker, header->link, other));
    if (map_find(unpacker->made, str_of(other)) == NULL || strcmp(other, path) == 0) {
        refuse(unpacker, header->path, "is a link to a file that did not come with it");
        return ERR_OK;
    }
    TRY(open_parent(unpacker, other, &other_folder, &other_name));
    TRY(open_parent(unpacker, path, &folder, &name));
    (void)unlinkat(folder, name, 0);
    if (linkat(other_folder, other_name, folder, name, 0) != 0) {
        return failed(unpacker, path);
    }
    TRY(check_names(unpacker, path));
    (void)map_put(unpacker->made, str_of(path), unpacker);
    unpacker->counts->links++;
    return ERR_OK;
}

static bool is_file(char kind)
{
    return kind == TAR_FILE || kind == TAR_OLD_FILE || kind == TAR_CONTIGUOUS;
}

static enum err_code check_entries(struct unpacker *unpacker)
{
    const struct tar_target *target = unpacker->target;
    if (++unpacker->entries > target->entries_max) { /* heads that only describe count too */
        return ERR_SET(
            unpacker->err,
            ERR_LIMIT,
            "more than %llu files and folders: copy a part of it",
            (unsigned long long)target->entries_max);
    }
    return ERR_OK;
}

static enum err_code check_size(struct unpacker *unpacker, const struct tar_header *header)
{
    const struct tar_target *target = unpacker->target;
    if (is_file(header->kind) && header->size > target->bytes_max - unpacker->counts->bytes) {
        return ERR_SET(
            unpacker->err,
            ERR_LIMIT,
            "more than %llu bytes: --max-size allows more",
            (unsigned long long)target->bytes_max);
    }
    return ERR_OK;
}

static enum err_code make_member(struct unpacker *unpacker, const struct tar_header *header)
{
    char *path = unpacker->space->path;
    TRY(place(unpacker, header->path, path));
    if (is_file(header->kind)) {
        return make_file(unpacker, header, path);
    }
    if (header->kind == TAR_FOLDER) {
        TRY(make_folder(unpacker, header, path));
    } else if (header->kind == TAR_SYMLINK) {
        TRY(make_symlink(unpacker, header, path));
    } else if (header->kind == TAR_HARD_LINK) {
        TRY(make_hard_link(unpacker, header, path));
        return ERR_OK; /* whatever size it says: POSIX lets it have none */
    } else {
        refuse(unpacker, header->path, "is neither file, folder nor link");
    }
    return take_content(unpacker, header->kind == TAR_SYMLINK ? 0 : header->size, -1);
}

/* ---- the archive ---- */

/* What the heads before a member say of it. */
struct said {
    struct buf records;
    struct buf path;
    struct buf link;
};

/* True: the head describes the next one, and its content is taken. */
static enum err_code take_description(
    struct unpacker *unpacker, const struct tar_header *header, struct said *said, bool *ret_taken)
{
    struct buf *into = NULL;
    *ret_taken = true;
    switch (header->kind) {
    case TAR_PAX:
        into = &said->records;
        break;
    case TAR_LONG_NAME:
        into = &said->path;
        break;
    case TAR_LONG_LINK:
        into = &said->link;
        break;
    case TAR_PAX_GLOBAL:
        break;
    default:
        *ret_taken = false;
        return ERR_OK;
    }
    TRY(take_records(unpacker, header->size));
    if (into != NULL) {
        buf_clear(into);
        buf_append(into, unpacker->space->bytes, (size_t)header->size);
    }
    return ERR_OK;
}

static enum err_code apply(struct unpacker *unpacker, struct tar_header *header, struct said *said)
{
    struct str_view path = str_of(buf_text(&said->path));
    struct str_view link = str_of(buf_text(&said->link));
    bool fits = (path.len == 0 || str_copy(path, header->path, sizeof(header->path)) == ERR_OK)
        && (link.len == 0 || str_copy(link, header->link, sizeof(header->link)) == ERR_OK);
    if (!fits) {
        return ERR_SET(unpacker->err, ERR_CORRUPT, "the sandbox's archive: a path is too long");
    }
    TRY(tar_header_apply(header, buf_view(&said->records), unpacker->err));
    buf_clear(&said->path);
    buf_clear(&said->link);
    buf_clear(&said->records);
    return ERR_OK;
}

static enum err_code take_all(struct unpacker *unpacker, struct said *said)
{
    for (;;) {
        char block[TAR_BLOCK_BYTES];
        struct tar_header *header = &unpacker->space->header;
        bool is_end = false;
        bool is_taken = false;
        TRY(read_exactly(unpacker, block, sizeof(block)));
        TRY(tar_header_read(block, header, &is_end, unpacker->err));
        if (is_end) {
            return ERR_OK;
        }
        TRY(check_entries(unpacker));
        TRY(take_description(unpacker, header, said, &is_taken));
        if (!is_taken) {
            TRY(apply(unpacker, header, said));
            TRY(check_size(unpacker, header));
            TRY(make_member(unpacker, header));
        }
    }
}

/* The deepest first, as they were made last; what fails here loses a mode, not a file. */
static void finish_folders(struct unpacker *unpacker)
{
    while (!list_is_empty(&unpacker->folders)) {
        struct made_folder *made = LIST_ENTRY(unpacker->folders.prev, struct made_folder, link);
        list_remove(&made->link);
        int fd = open_beneath(unpacker, made->path, O_RDONLY);
        if (fd >= 0) {
            (void)!set_times(unpacker, fd, made->mode, made->mtime);
            fd_close(&fd);
        }
        mem_free(made);
    }
}

/* What follows the end is read away, so that the sandbox's tar can end in peace. */
static void drain(struct unpacker *unpacker)
{
    size_t got = 1;
    struct err_info ignored = ERR_INFO_INIT;
    for (unsigned rounds = 0; got > 0 && rounds < 4; rounds++) {
        if (fd_read_full(unpacker->in_fd, unpacker->space->bytes, COPY_BYTES, &got, &ignored)
            != ERR_OK) {
            return;
        }
    }
}

enum err_code tar_unpack(
    int in_fd, const struct tar_target *target, struct tar_counts *counts, struct err_info *err)
{
    AUTO_FREE struct space *space = mem_alloc(sizeof(*space));
    struct unpacker unpacker = {
        .in_fd = in_fd, .target = target, .counts = counts, .err = err, .space = space
    };
    struct said said = { .records = BUF_INIT(TAR_RECORDS_MAX),
                         .path = BUF_INIT(TAR_RECORDS_MAX),
                         .link = BUF_INIT(TAR_RECORDS_MAX) };
    if (strlen(target->name) > COMPONENT_MAX) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "\"%.32s...\": a name of more than %d bytes",
            target->name,
            COMPONENT_MAX);
    }
    list_init(&unpacker.folders);
    unpacker.made = map_create();
    enum err_code code = take_all(&unpacker, &said);
    if (code == ERR_OK) {
        drain(&unpacker);
    }
    finish_folders(&unpacker);
    map_destroy(unpacker.made, NULL);
    buf_deinit(&said.records);
    buf_deinit(&said.path);
    buf_deinit(&said.link);
    return code;
}
