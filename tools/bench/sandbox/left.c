#include "tools/bench/sandbox/left.h"

#include "common/base/cleanup.h"
#include "common/sys/file.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum {
    TRIES = 500,
    PAUSE_MS = 10
};

static size_t naming(const char *path, const char *text)
{
    enum {
        BYTES_MAX = 1024 * 1024
    };

    size_t count = 0;
    AUTO_FREE char *data = mem_alloc(BYTES_MAX + 1);
    FILE *file = fopen(path, "re");
    size_t bytes = file == NULL ? 0 : fread(data, 1, BYTES_MAX, file);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = data[i] == '\0' ? ' ' : data[i]; /* between the words of a command line */
    }
    for (const char *at = strstr(data, text); at != NULL; at = strstr(at + 1, text)) {
        count++;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return count;
}

/* Entries of a folder whose name begins so, or, with a file, in which it names the text. */
static size_t entries(const char *path, const char *prefix, const char *file, const char *text)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        AUTO_FREE char *inner = mem_printf("%s/%s/%s", path, entry->d_name, file);
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0) {
            continue;
        }
        count += text == NULL ? 1 : naming(inner, text);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return count;
}

static size_t groups(const char *folder)
{
    static const char *const places[] = { "/sys/fs/cgroup/memory",
                                          "/sys/fs/cgroup/pids",
                                          "/sys/fs/cgroup/cpu",
                                          "/sys/fs/cgroup/unified",
                                          "/sys/fs/cgroup" };
    AUTO_FREE char *path = mem_printf("%s/sandboxes/instance", folder);
    AUTO_BUF struct buf instance = BUF_INIT(64);
    if (file_read(path, 63, &instance, NULL) != ERR_OK) {
        return 1;
    }
    AUTO_FREE char *prefix = mem_printf("belay-%s", buf_text(&instance));
    size_t count = 0;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        count += entries(places[i], prefix, "", NULL);
    }
    return count;
}

size_t left_of(const char *folder)
{
    AUTO_FREE char *runs = mem_printf("%s/sandboxes/run", folder);
    size_t count = 1;
    for (int i = 0; i < TRIES && count > 0; i++) {
        (void)poll(NULL, 0, i == 0 ? 0 : PAUSE_MS);
        count = entries("/proc", "", "cmdline", folder)
            + entries("/sys/block", "loop", "loop/backing_file", folder)
            + naming("/proc/self/mountinfo", folder) + groups(folder) + entries(runs, "", "", NULL);
    }
    return count;
}

size_t left_descriptors(void)
{
    return entries("/proc/self/fd", "", "", NULL);
}
