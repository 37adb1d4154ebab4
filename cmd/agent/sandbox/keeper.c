#include "cmd/agent/sandbox/keeper.h"

#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/sandbox/spec.h"
#include "common/sandbox/template.h"
#include "common/sys/file.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <dirent.h>
#include <string.h>

struct job {
    struct list link;
    char *dir;           /* of a sandbox, or of the templates; of a shim empty */
    uint64_t disk_bytes; /* of the templates; else 0 */
    struct spare *shim;  /* of a shim; else NULL */
    bool is_dropped;     /* under the lock */
};

struct keeper {
    struct thread thread;
    struct lock lock;
    struct lock_cond more;
    struct lock_cond done;
    struct list jobs;    /* this and the rest: under the lock */
    struct job *current; /* in no list */
    bool ends;
};

static bool is_kept(const char *name)
{
    return strcmp(name, SANDBOX_FILE_SPEC) == 0 || strcmp(name, SANDBOX_FILE_STATE) == 0
        || strncmp(name, "own.", 4) == 0;
}

static bool is_wanted(struct keeper *keeper, const struct job *job)
{
    LOCK_GUARD(&keeper->lock);
    return !job->is_dropped;
}

static void keep_path(struct keeper *keeper, const struct job *job, const char *path)
{
    struct err_info err = ERR_INFO_INIT;
    if (!is_wanted(keeper, job)) {
        return;
    }
    enum err_code code = file_sync(path, &err);
    if (code != ERR_OK && code != ERR_NOT_FOUND) {
        log_warn("sandbox_not_synced", LOG_ERR(&err));
    }
}

/* The files, then the folder with their names, then the name of the folder. The first brings the
 * file system's journal to the disk, and with it most of the rest. */
static void keep(struct keeper *keeper, const struct job *job)
{
    DIR *entries = opendir(job->dir);
    AUTO_FREE char *parent = mem_strdup(job->dir);
    char *slash = strrchr(parent, '/');
    if (entries == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (is_kept(entry->d_name)) {
            AUTO_FREE char *path = mem_printf("%s/%s", job->dir, entry->d_name);
            keep_path(keeper, job, path);
        }
    }
    (void)closedir(entries);
    keep_path(keeper, job, job->dir);
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        keep_path(keeper, job, parent);
    }
}

/* NULL: there is none, and none will come. */
static struct job *next(struct keeper *keeper)
{
    LOCK_GUARD(&keeper->lock);
    while (list_is_empty(&keeper->jobs) && !keeper->ends) {
        lock_cond_wait(&keeper->more, &keeper->lock);
    }
    if (list_is_empty(&keeper->jobs)) {
        return NULL;
    }
    struct job *job = LIST_ENTRY(keeper->jobs.next, struct job, link);
    list_remove(&job->link);
    keeper->current = job;
    return job;
}

static void job_destroy(struct job *job)
{
    mem_free(job->dir);
    mem_free(job);
}

static void run(void *context)
{
    struct keeper *keeper = context;
    struct job *job = NULL;
    while ((job = next(keeper)) != NULL) {
        if (job->shim != NULL) {
            spare_make(job->shim);
        } else if (job->disk_bytes > 0) {
            template_spare(job->dir, job->disk_bytes);
        } else {
            keep(keeper, job);
        }
        lock_acquire(&keeper->lock);
        keeper->current = NULL;
        lock_cond_signal(&keeper->done);
        lock_release(&keeper->lock);
        job_destroy(job);
    }
}

void keeper_forget(struct keeper *keeper, const char *dir)
{
    LOCK_GUARD(&keeper->lock);
    LIST_FOR_EACH(node, &keeper->jobs)
    {
        struct job *job = LIST_ENTRY(node, struct job, link);
        if (strcmp(job->dir, dir) == 0) {
            list_remove(&job->link);
            job_destroy(job);
        }
    }
    while (keeper->current != NULL && strcmp(keeper->current->dir, dir) == 0) {
        keeper->current->is_dropped = true;
        lock_cond_wait(&keeper->done, &keeper->lock);
    }
}

static void add(struct keeper *keeper, const char *dir, uint64_t disk_bytes, struct spare *shim)
{
    struct job *job = mem_alloc(sizeof(*job));
    job->dir = mem_strdup(dir);
    job->disk_bytes = disk_bytes;
    job->shim = shim;
    LOCK_GUARD(&keeper->lock);
    list_append(&keeper->jobs, &job->link);
    lock_cond_signal(&keeper->more);
}

void keeper_add(struct keeper *keeper, const char *dir)
{
    add(keeper, dir, 0, NULL);
}

void keeper_add_disk(struct keeper *keeper, const char *templates, uint64_t bytes)
{
    add(keeper, templates, bytes, NULL);
}

void keeper_add_shim(struct keeper *keeper, struct spare *spare)
{
    add(keeper, "", 0, spare);
}

void keeper_wait(struct keeper *keeper)
{
    LOCK_GUARD(&keeper->lock);
    while (keeper->current != NULL || !list_is_empty(&keeper->jobs)) {
        lock_cond_wait(&keeper->done, &keeper->lock);
    }
}

static void dispose(struct keeper *keeper)
{
    lock_cond_deinit(&keeper->done);
    lock_cond_deinit(&keeper->more);
    lock_deinit(&keeper->lock);
    mem_free(keeper);
}

enum err_code keeper_create(struct keeper **ret_keeper, struct err_info *err)
{
    struct keeper *keeper = mem_alloc(sizeof(*keeper));
    lock_init(&keeper->lock, LOCK_RANK_QUEUE);
    lock_cond_init(&keeper->more);
    lock_cond_init(&keeper->done);
    list_init(&keeper->jobs);
    enum err_code code = thread_start(&keeper->thread, "keeper", run, keeper, err);
    if (code != ERR_OK) {
        dispose(keeper);
        return code;
    }
    *ret_keeper = keeper;
    return ERR_OK;
}

void keeper_destroy(struct keeper *keeper)
{
    if (keeper == NULL) {
        return;
    }
    lock_acquire(&keeper->lock);
    keeper->ends = true;
    lock_cond_signal(&keeper->more);
    lock_release(&keeper->lock);
    thread_join(&keeper->thread);
    dispose(keeper);
}
