#include "cmd/agent/sandbox/images.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static enum err_code check_name(const char *name, struct err_info *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > 64 || name[0] == '.' || strspn(name, allowed) != bytes) {
        return ERR_SET(
            err, ERR_INVALID, "image name: 1 to 64 letters, digits, '-', '_', '.', not '.' first");
    }
    return ERR_OK;
}

enum err_code images_find(
    const char *dir, const char *name, char *ret_path, size_t path_bytes, struct err_info *err)
{
    struct stat info;
    TRY(check_name(name, err));
    int written = snprintf(ret_path, path_bytes, "%s/%s", dir, name);
    if (written < 0 || (size_t)written >= path_bytes) {
        return ERR_SET(err, ERR_LIMIT, "image %s: its path is too long", name);
    }
    if (lstat(ret_path, &info) != 0 || (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))) {
        return ERR_SET(
            err, ERR_NOT_FOUND, "no image %s: put its folder or squashfs file into %s", name, dir);
    }
    return ERR_OK;
}

void images_each(const char *dir, void (*each)(void *context, const char *name), void *context)
{
    char path[4096];
    DIR *entries = opendir(dir);
    for (const struct dirent *entry = entries == NULL ? NULL : readdir(entries); entry != NULL;
         entry = readdir(entries)) {
        if (images_find(dir, entry->d_name, path, sizeof(path), NULL) == ERR_OK) {
            each(context, entry->d_name);
        }
    }
    if (entries != NULL) {
        (void)closedir(entries);
    }
}
