/* Disks and partitions: of a loop device made for it. */
#include "common/base/cleanup.h"
#include "common/sandbox/disk.h"
#include "common/sys/fd.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
    SECTOR = 512,
    DISK_BYTES = 64 * SECTOR,
    TRIES = 64
};

static int create_disk(const char *dir)
{
    AUTO_FREE char *path = mem_printf("%s/disk", dir);
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, DISK_BYTES), 0);
    return file;
}

/* By hand: kernels need not know any kind of table. */
static bool add_partition(int device)
{
    struct blkpg_partition partition = { .start = 8 * SECTOR,
                                         .length = DISK_BYTES - 8 * SECTOR,
                                         .pno = 1 };
    struct blkpg_ioctl_arg argument = { .op = BLKPG_ADD_PARTITION,
                                        .datalen = sizeof(partition),
                                        .data = &partition };
    return ioctl(device, BLKPG, &argument) == 0;
}

/* -1: this machine gives us none. */
static int attach(int file)
{
    AUTO_FD int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    for (int i = 0; control >= 0 && i < TRIES; i++) {
        char path[32];
        const struct loop_config config = {
            .fd = (unsigned)file, .info = { .lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_PARTSCAN }
        };
        (void)snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
        AUTO_FD int device = open(path, O_RDWR | O_CLOEXEC);
        if (device >= 0 && ioctl(device, LOOP_CONFIGURE, &config) == 0) {
            return fd_steal(&device);
        }
    }
    return -1;
}

static dev_t read_partition(dev_t disk)
{
    char path[96];
    unsigned high = 0;
    unsigned low = 0;
    (void)snprintf(
        path,
        sizeof(path),
        "/sys/dev/block/%u:%u/loop%up1/dev",
        major(disk),
        minor(disk),
        minor(disk));
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    bool good = fscanf(file, "%u:%u", &high, &low) == 2;
    (void)fclose(file);
    return good ? makedev(high, low) : 0;
}

static void test_a_partition_is_of_its_disk(void **unused)
{
    (void)unused;
    struct stat info;
    char *dir = test_dir_create();
    int file = create_disk(dir);
    int device = attach(file);
    dev_t partition = 0;
    if (device >= 0 && add_partition(device)) {
        assert_int_equal(fstat(device, &info), 0);
        partition = read_partition(info.st_rdev);
    }
    if (partition != 0) {
        assert_true(partition != info.st_rdev);
        assert_true(disk_whole(partition) == info.st_rdev);
        assert_true(disk_whole(info.st_rdev) == info.st_rdev);
    }
    fd_close(&device);
    fd_close(&file);
    test_dir_remove(dir);
    if (partition == 0) {
        print_message("skipped: no loop device with partitions here\n");
        skip();
    }
}

static void test_folders_on_no_disk(void **unused)
{
    (void)unused;
    assert_true(disk_of_folder("/proc") == 0);
    assert_true(disk_of_folder("/nowhere/at/all") == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_partition_is_of_its_disk),
        cmocka_unit_test(test_folders_on_no_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
