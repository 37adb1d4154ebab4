/* The disk that files are on, as control groups name it. */
#ifndef COMMON_SANDBOX_DISK_H
#define COMMON_SANDBOX_DISK_H

#include <sys/types.h>

/* The whole disk, since a rule of a control group cannot name a partition. 0: the file system is on
 * none that it tells of (overlay, btrfs, tmpfs), or there is no such folder. */
dev_t disk_of_folder(const char *dir);

/* Of a partition the disk it is of; of anything else itself. */
dev_t disk_whole(dev_t device);

#endif
