/* Processes told apart beyond their number: by the boot they belong to and the tick they began. */
#ifndef COMMON_SANDBOX_PROCESS_H
#define COMMON_SANDBOX_PROCESS_H

#include "common/base/err.h"

#include <stdint.h>
#include <sys/types.h>

enum {
    PROCESS_BOOT_ID_BYTES = 37
};

/* The kernel's id of this boot, as text. */
enum err_code process_boot_id(char out[PROCESS_BOOT_ID_BYTES], struct err_info *err) MUST_CHECK;

/* Its first 64 bits, which are as good as all of it to tell two boots apart; never 0. */
uint64_t process_boot_number(const char boot[PROCESS_BOOT_ID_BYTES]);

/* Clock ticks after boot at which the process began; ERR_NOT_FOUND. */
enum err_code process_start_time(pid_t pid, uint64_t *ret_ticks, struct err_info *err) MUST_CHECK;

/* A pidfd of the process with this number and start; ERR_NOT_FOUND: that one is gone. */
enum err_code process_open(pid_t pid, uint64_t start, int *ret_pidfd, struct err_info *err)
    MUST_CHECK;

void process_kill(int pidfd, int number); /* gone already is as good */

#endif
