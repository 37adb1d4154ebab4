#include "common/sandbox/host_files.h"

#include "common/base/err.h"

#include <stdio.h>
#include <string.h>

const char *const host_files_programs[] = { "usr",   "bin",   "sbin",   "lib",
                                            "lib32", "lib64", "libx32", NULL };

const char *const host_files_etc[] = { "alternatives",
                                       "bash.bashrc",
                                       "ca-certificates",
                                       "ca-certificates.conf",
                                       "debian_version",
                                       "fonts",
                                       "inputrc",
                                       "java",
                                       "ld.so.cache",
                                       "ld.so.conf",
                                       "ld.so.conf.d",
                                       "locale.alias",
                                       "locale.conf",
                                       "localtime",
                                       "magic",
                                       "mime.types",
                                       "nanorc",
                                       "nsswitch.conf",
                                       "os-release",
                                       "perl",
                                       "pki",
                                       "profile",
                                       "profile.d",
                                       "protocols",
                                       "python3",
                                       "python3.11",
                                       "rpc",
                                       "services",
                                       "shells",
                                       "ssl/certs",
                                       "ssl/openssl.cnf",
                                       "terminfo",
                                       "timezone",
                                       "vim",
                                       "xattr.conf",
                                       NULL };

static void note(const char *path, bool follows, struct host_file *ret_file)
{
    struct stat info;
    memset(ret_file, 0, sizeof(*ret_file));
    if ((follows ? stat(path, &info) : lstat(path, &info)) != 0) {
        return;
    }
    ret_file->device = (uint64_t)info.st_dev;
    ret_file->number = (uint64_t)info.st_ino;
    ret_file->mode = (uint64_t)info.st_mode;
    if (!S_ISDIR(info.st_mode)) { /* what is in a folder is seen as it is now */
        ret_file->bytes = (uint64_t)info.st_size;
        ret_file->modified_s = (uint64_t)info.st_mtim.tv_sec;
        ret_file->modified_ns = (uint64_t)info.st_mtim.tv_nsec;
        ret_file->changed_s = (uint64_t)info.st_ctim.tv_sec;
        ret_file->changed_ns = (uint64_t)info.st_ctim.tv_nsec;
    }
}

void host_files_look(struct host_files *ret_files)
{
    char path[64];
    size_t count = 0;
    memset(ret_files, 0, sizeof(*ret_files));
    for (size_t i = 0; host_files_programs[i] != NULL && count < HOST_FILES_MAX; i++) {
        (void)snprintf(path, sizeof(path), "/%s", host_files_programs[i]);
        note(path, false, &ret_files->files[count++]);
    }
    for (size_t i = 0; host_files_etc[i] != NULL && count < HOST_FILES_MAX; i++) {
        (void)snprintf(path, sizeof(path), "/etc/%s", host_files_etc[i]);
        note(path, true, &ret_files->files[count++]);
    }
}

bool host_files_same(const struct host_files *one, const struct host_files *other)
{
    return memcmp(one, other, sizeof(*one)) == 0;
}
