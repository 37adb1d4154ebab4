/*
 * A disk that loses power: a shared library that is preloaded into a program and becomes SQLite's
 * default VFS. Everything goes through to the file at once, and what was there before is kept until
 * the file is synced. When its moment has come, the library takes back, sector by sector and by
 * chance, what was written since (so some of it is lost, some is out of order, some is half a
 * sector), and ends the process with SIGKILL. What SQLite has synced stays as it is.
 *
 * The test says when through a file that the process maps, named by BELAY_TORN_PAGE.
 * One mutex; other processes that have the database open at that moment are not part of the model.
 */
#include <sqlite3.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    SECTOR = 512,
    SIZE_UNKNOWN = -1,
    PATHS_MAX = 64,
    TEAR_ONE_IN = 8
};

/* The file, in the machine's byte order. The test writes everything, `armed` last. */
struct torn_page {
    _Atomic uint32_t armed;
    _Atomic uint32_t skip;  /* writes, truncations and syncs that still go well */
    _Atomic uint32_t fired; /* 1: the power is gone */
    _Atomic uint32_t seed;
};

/* How a range looked before it was written; the newest first. */
struct undo {
    struct undo *older;
    sqlite3_int64 offset;
    sqlite3_int64 size_before; /* of the whole file */
    size_t length;
    unsigned char before[];
};

struct torn_path {
    char *path; /* NULL: free */
    struct undo *newest;
};

struct torn_file {
    sqlite3_file base;
    struct torn_path *path;
    sqlite3_file real[]; /* the VFS below says how large it is */
};

static struct {
    pthread_mutex_t mutex;
    struct torn_path paths[PATHS_MAX];
    struct torn_page *page;
    sqlite3_vfs *real;
    uint64_t random;
} disk = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static struct torn_file *cast(sqlite3_file *file)
{
    return (struct torn_file *)(void *)file;
}

static sqlite3_file *below(sqlite3_file *file)
{
    return cast(file)->real;
}

static uint64_t chance(uint64_t limit)
{
    disk.random ^= disk.random << 13;
    disk.random ^= disk.random >> 7;
    disk.random ^= disk.random << 17;
    return disk.random % limit;
}

static void forget(struct torn_path *path)
{
    while (path->newest != NULL) {
        struct undo *undo = path->newest;
        path->newest = undo->older;
        free(undo);
    }
}

/* A sector that is on the disk stays there, whatever was written to it before. */
struct kept {
    bool *sectors;
    size_t count;
};

static void put_back(int fd, const struct undo *undo, size_t at, size_t bytes)
{
    ssize_t written = pwrite(fd, undo->before + at, bytes, undo->offset + (off_t)at);
    (void)written;
}

/* One sector's share of a range: back to what it was, or kept, or half of each. */
static void take_back_sector(
    int fd, const struct undo *undo, size_t at, size_t bytes, bool *ret_kept)
{
    *ret_kept = chance(2) != 0;
    if (!*ret_kept) {
        put_back(fd, undo, at, bytes);
    } else if (chance(TEAR_ONE_IN) == 0) {
        put_back(fd, undo, at, (size_t)chance(bytes));
    }
}

static void take_back_range(int fd, const struct undo *undo, struct kept *kept)
{
    size_t at = 0;
    while (at < undo->length) {
        size_t place = (size_t)undo->offset + at;
        size_t sector = place / SECTOR;
        size_t room = SECTOR - place % SECTOR;
        size_t bytes = undo->length - at < room ? undo->length - at : room;
        if (sector < kept->count && !kept->sectors[sector]) {
            take_back_sector(fd, undo, at, bytes, &kept->sectors[sector]);
        }
        at += bytes;
    }
}

static void lose(struct torn_path *path)
{
    int fd = open(path->path, O_RDWR | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    bool size_kept = chance(2) == 0;
    for (const struct undo *undo = path->newest; undo != NULL; undo = undo->older) {
        off_t end = undo->offset + (off_t)undo->length;
        size = end > size ? end : size;
    }
    struct kept kept = { .count = (size_t)size / SECTOR + 1 };
    kept.sectors = calloc(kept.count, sizeof(bool));
    for (const struct undo *undo = path->newest; fd >= 0 && kept.sectors != NULL && undo != NULL;
         undo = undo->older) {
        take_back_range(fd, undo, &kept);
        if (!size_kept && ftruncate(fd, undo->size_before) != 0) {
            break;
        }
    }
    free(kept.sectors);
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Under the mutex: nobody writes, and nobody who has not heard of a sync hears of it any more. */
static void lose_power(void)
{
    disk.random = (uint64_t)atomic_load(&disk.page->seed) * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < PATHS_MAX; i++) {
        if (disk.paths[i].path != NULL && disk.paths[i].newest != NULL) {
            lose(&disk.paths[i]);
        }
    }
    atomic_store(&disk.page->fired, 1);
    (void)kill(getpid(), SIGKILL);
    for (;;) {
        (void)pause();
    }
}

static void count_operation(void)
{
    if (disk.page == NULL || atomic_load(&disk.page->armed) == 0) {
        return;
    }
    uint32_t skip = atomic_load(&disk.page->skip);
    if (skip == 0) {
        lose_power();
    }
    atomic_store(&disk.page->skip, skip - 1);
}

/* What [offset, offset + length) holds now, zeros beyond the end. */
static int note(struct torn_file *file, sqlite3_int64 offset, size_t length)
{
    sqlite3_int64 size = 0;
    int rc = file->real->pMethods->xFileSize(file->real, &size);
    if (rc != SQLITE_OK) {
        return rc;
    }
    struct undo *undo = calloc(1, sizeof(*undo) + length);
    if (undo == NULL) {
        return SQLITE_NOMEM;
    }
    size_t there = offset >= size               ? 0
        : size - offset < (sqlite3_int64)length ? (size_t)(size - offset)
                                                : length;
    if (there > 0) {
        rc = file->real->pMethods->xRead(file->real, undo->before, (int)there, offset);
    }
    if (rc != SQLITE_OK) {
        free(undo);
        return rc;
    }
    undo->offset = offset;
    undo->length = length;
    undo->size_before = size;
    undo->older = file->path->newest;
    file->path->newest = undo;
    return SQLITE_OK;
}

static int torn_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset)
{
    struct torn_file *self = cast(file);
    (void)pthread_mutex_lock(&disk.mutex);
    int rc = self->path == NULL ? SQLITE_OK : note(self, offset, (size_t)bytes);
    if (rc == SQLITE_OK) {
        rc = self->real->pMethods->xWrite(self->real, data, bytes, offset);
    }
    count_operation();
    (void)pthread_mutex_unlock(&disk.mutex);
    return rc;
}

static int torn_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct torn_file *self = cast(file);
    sqlite3_int64 now = 0;
    (void)pthread_mutex_lock(&disk.mutex);
    int rc = self->real->pMethods->xFileSize(self->real, &now);
    if (rc == SQLITE_OK && self->path != NULL && now > size) {
        rc = note(self, size, (size_t)(now - size));
    }
    if (rc == SQLITE_OK) {
        rc = self->real->pMethods->xTruncate(self->real, size);
    }
    count_operation();
    (void)pthread_mutex_unlock(&disk.mutex);
    return rc;
}

static int torn_sync(sqlite3_file *file, int flags)
{
    struct torn_file *self = cast(file);
    (void)pthread_mutex_lock(&disk.mutex);
    count_operation();
    int rc = self->real->pMethods->xSync(self->real, flags);
    if (rc == SQLITE_OK && self->path != NULL) {
        forget(self->path);
    }
    (void)pthread_mutex_unlock(&disk.mutex);
    return rc;
}

static int torn_close(sqlite3_file *file)
{
    return below(file)->pMethods->xClose(below(file));
}

static int torn_read(sqlite3_file *file, void *data, int bytes, sqlite3_int64 offset)
{
    return below(file)->pMethods->xRead(below(file), data, bytes, offset);
}

static int torn_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return below(file)->pMethods->xFileSize(below(file), size);
}

static int torn_lock(sqlite3_file *file, int level)
{
    return below(file)->pMethods->xLock(below(file), level);
}

static int torn_unlock(sqlite3_file *file, int level)
{
    return below(file)->pMethods->xUnlock(below(file), level);
}

static int torn_check_reserved(sqlite3_file *file, int *out)
{
    return below(file)->pMethods->xCheckReservedLock(below(file), out);
}

static int torn_file_control(sqlite3_file *file, int operation, void *argument)
{
    return below(file)->pMethods->xFileControl(below(file), operation, argument);
}

static int torn_sector_size(sqlite3_file *file)
{
    return below(file)->pMethods->xSectorSize(below(file));
}

static int torn_characteristics(sqlite3_file *file)
{
    return below(file)->pMethods->xDeviceCharacteristics(below(file));
}

static int torn_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **out)
{
    return below(file)->pMethods->xShmMap(below(file), page, bytes, extend, out);
}

static int torn_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return below(file)->pMethods->xShmLock(below(file), offset, count, flags);
}

static void torn_shm_barrier(sqlite3_file *file)
{
    below(file)->pMethods->xShmBarrier(below(file));
}

static int torn_shm_unmap(sqlite3_file *file, int remove)
{
    return below(file)->pMethods->xShmUnmap(below(file), remove);
}

/* Version 2: without xFetch SQLite reads and writes through the calls above alone. */
static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = torn_close,
    .xRead = torn_read,
    .xWrite = torn_write,
    .xTruncate = torn_truncate,
    .xSync = torn_sync,
    .xFileSize = torn_file_size,
    .xLock = torn_lock,
    .xUnlock = torn_unlock,
    .xCheckReservedLock = torn_check_reserved,
    .xFileControl = torn_file_control,
    .xSectorSize = torn_sector_size,
    .xDeviceCharacteristics = torn_characteristics,
    .xShmMap = torn_shm_map,
    .xShmLock = torn_shm_lock,
    .xShmBarrier = torn_shm_barrier,
    .xShmUnmap = torn_shm_unmap,
};

static struct torn_path *find_path(const char *name)
{
    struct torn_path *found = NULL;
    for (size_t i = 0; i < PATHS_MAX; i++) {
        struct torn_path *path = &disk.paths[i];
        if (path->path != NULL && strcmp(path->path, name) == 0) {
            return path;
        }
        found = found == NULL && path->path == NULL ? path : found;
    }
    if (found != NULL) {
        found->path = strdup(name);
    }
    return found;
}

static int torn_open(
    sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    (void)vfs;
    struct torn_file *self = cast(file);
    self->base.pMethods = NULL;
    self->path = NULL;
    int rc = disk.real->xOpen(disk.real, name, self->real, flags, ret_flags);
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (name != NULL && (flags & SQLITE_OPEN_DELETEONCLOSE) == 0) {
        (void)pthread_mutex_lock(&disk.mutex);
        self->path = find_path(name);
        (void)pthread_mutex_unlock(&disk.mutex);
    }
    self->base.pMethods = &methods;
    return SQLITE_OK;
}

static int torn_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    (void)pthread_mutex_lock(&disk.mutex);
    int rc = disk.real->xDelete(disk.real, name, sync_folder);
    struct torn_path *path = find_path(name);
    if (rc == SQLITE_OK && path != NULL) {
        forget(path);
    }
    (void)pthread_mutex_unlock(&disk.mutex);
    return rc;
}

static void map_page(void)
{
    const char *name = getenv("BELAY_TORN_PAGE");
    int fd = name == NULL ? -1 : open(name, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *page = mmap(NULL, sizeof(*disk.page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    disk.page = page == MAP_FAILED ? NULL : page;
    (void)close(fd);
}

__attribute__((constructor)) static void take_place(void)
{
    static sqlite3_vfs vfs;
    map_page();
    disk.real = sqlite3_vfs_find(NULL);
    if (disk.page == NULL || disk.real == NULL) {
        return;
    }
    vfs = *disk.real;
    vfs.pNext = NULL;
    vfs.zName = "torn";
    vfs.szOsFile = (int)sizeof(struct torn_file) + disk.real->szOsFile;
    vfs.xOpen = torn_open;
    vfs.xDelete = torn_delete;
    (void)sqlite3_vfs_register(&vfs, 1);
}
