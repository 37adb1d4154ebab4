/* Programs under measurement: started, awaited, ended; and what they cost. One thread. */
#ifndef TOOLS_BENCH_COMMON_PROCESS_H
#define TOOLS_BENCH_COMMON_PROCESS_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    pid_t pid; /* 0: not running */
    char *log; /* file that gets its standard output and error */
};

#define PROCESS_INIT \
    {                \
        .pid = 0     \
    }

/*
 * argv: ended by NULL; argv[0] is the program's path. What it prints is appended to the file log.
 * It inherits the environment without what begins with BELAY_.
 */
enum err_code process_start(
    char *const *argv, const char *log, struct process *ret_process, struct err_info *err)
    MUST_CHECK;

/*
 * Waits until a line that it prints holds `mark`, and copies that line. ERR_UNAVAILABLE: it ended
 * before; ERR_TIMEOUT. The text of an error ends with the last line.
 */
enum err_code process_await(
    struct process *process,
    const char *mark,
    int64_t timeout_us,
    char *ret_line,
    size_t line_bytes,
    struct err_info *err) MUST_CHECK;

/* SIGTERM, then SIGKILL after ten seconds; waits. Not running: nothing. */
void process_stop(struct process *process);

#define AUTO_PROCESS __attribute__((cleanup(process_stop)))

/* The unsigned number behind `"name":` in a line of JSON; 0: there is none. */
uint64_t process_line_number(const char *line, const char *name);

/* CPU time used so far by all its threads, user and system; pid 0: this process. */
int64_t process_cpu_us(pid_t pid);

/* Keeps a process (0: this one, from the calling thread on) on one core, so that a ratio of two
 * that talk to each other is one of their work and not of where the scheduler puts them. name: what
 * it must be called (/proc/PID/comm), NULL: anything. Whether it could. */
bool process_keep_on_core(pid_t pid, const char *name, int core);

/* A field of /proc/PID/smaps_rollup ("Rss", "Private_Dirty") in bytes; -1: no such field. */
int64_t process_memory_bytes(pid_t pid, const char *field);

/* Path of a built program: $BELAY_BIN/name, else ../bin/name beside this program; mem_free. */
char *process_program(const char *name);

/* A new folder for a bench's files, and its end with everything in it; mem_free the path. */
char *process_folder_make(const char *bench);
void process_folder_remove(const char *path);

#endif
