/*
 * What a sandbox may use: each bomb goes off in one, while another still answers; and after many
 * lives nothing is left. $BELAY_TEST_CYCLES asks for more lives than the ordinary run has.
 */
#include "common/base/cleanup.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "tests/component/agent_sandbox/fixture.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CYCLES = 20
};

static void assert_neighbour_answers(struct fixture *fixture)
{
    struct recorded_program *program = fixture_shell(fixture, "neighbour", "echo here");
    assert_string_equal(buf_text(&program->out), "here\n");
}

/* Goes off, says so at its limit, and stays there, while the neighbour is asked. */
static struct recorded_program *set_off(
    struct fixture *fixture, const char *id, const char *const *argv, const char *said)
{
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    assert_ok(sandbox_exec(fixture->all, id, &exec, &number, NULL));
    struct recorded_program *program = fixture_program(fixture, id, number);
    for (int i = 0; i < 3000 && program->out.len < strlen(said) && !program->exited; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_string_equal(buf_text(&program->out), said);
    assert_neighbour_answers(fixture);
    assert_false(program->exited);
    return program;
}

static struct fixture *start_with_a_neighbour(const struct sandbox_spec *bomb)
{
    struct fixture *fixture = fixture_create();
    fixture_need_native(fixture);
    fixture_start(fixture, "neighbour");
    fixture_create_sandbox(fixture, bomb);
    return fixture;
}

static void test_a_fork_bomb_stops_at_its_limit(void **unused)
{
    (void)unused;
    struct fixture *fixture =
        start_with_a_neighbour(&(struct sandbox_spec){ .id = "bomb", .pids = 24 });
    const char *const argv[] = { "python3",
                                 "-c",
                                 "import os,signal\n"
                                 "n=0\n"
                                 "try:\n"
                                 "    while n<200:\n"
                                 "        if os.fork()==0: signal.pause(); os._exit(0)\n"
                                 "        n+=1\n"
                                 "except BlockingIOError: print('EAGAIN', n<24, flush=True)\n"
                                 "signal.pause()\n",
                                 NULL };
    (void)set_off(fixture, "bomb", argv, "EAGAIN True\n");
    fixture_destroy(fixture);
}

static void wait_for_kills(struct fixture *fixture, uint64_t least)
{
    for (int i = 0; i < 3000 && fixture->sample.oom_kills < least; i++) {
        sandbox_measure(fixture->all, "bomb");
        loop_step(fixture->loop, 10);
    }
    assert_true(fixture->sample.oom_kills >= least);
}

/* The neighbour answers while one after the other goes off. */
static void test_memory_bombs_without_end_are_killed_beside_a_neighbour(void **unused)
{
    (void)unused;
    struct fixture *fixture =
        start_with_a_neighbour(&(struct sandbox_spec){ .id = "bomb", .memory_bytes = 64 << 20 });
    const char *const argv[] = {
        "sh", "-c", "while :; do python3 -c \"x=b'x'*(512<<20)\"; done 2>/dev/null", NULL
    };
    struct sandbox_exec exec = { .argv = argv };
    uint64_t number = 0;
    assert_ok(sandbox_exec(fixture->all, "bomb", &exec, &number, NULL));
    wait_for_kills(fixture, 1);
    assert_neighbour_answers(fixture);
    wait_for_kills(fixture, fixture->sample.oom_kills + 2); /* they went on meanwhile */
    assert_neighbour_answers(fixture);
    fixture_destroy(fixture);
}

static void test_a_memory_bomb_is_killed_and_counted(void **unused)
{
    (void)unused;
    struct fixture *fixture =
        start_with_a_neighbour(&(struct sandbox_spec){ .id = "bomb", .memory_bytes = 64 << 20 });
    const char *const argv[] = { "python3", "-c", "x=b'x'*(512<<20)", NULL };
    struct recorded_program *program = fixture_run(fixture, "bomb", argv);
    assert_true(WIFSIGNALED(program->status) && WTERMSIG(program->status) == SIGKILL);
    assert_neighbour_answers(fixture);
    wait_for_kills(fixture, 1);
    fixture_destroy(fixture);
}

/* How often a file, or a file in each folder below, names this. */
static size_t count_naming(const char *path, const char *folder)
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
    for (const char *at = strstr(data, folder); at != NULL; at = strstr(at + 1, folder)) {
        count++;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return count;
}

static size_t count_in_each(const char *parent, const char *name, const char *folder)
{
    size_t count = 0;
    DIR *dir = opendir(parent);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        AUTO_FREE char *path = mem_printf("%s/%s/%s", parent, entry->d_name, name);
        count += count_naming(path, folder);
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return count;
}

/* Time of the processor in two seconds by the clock: a fifth of it, and without the limit more,
 * unless others leave no more. */
static void test_a_spinning_program_gets_its_share(void **unused)
{
    (void)unused;
    const char *const argv[] = { "python3",
                                 "-c",
                                 "import time\n"
                                 "start=time.monotonic(); used=time.process_time()\n"
                                 "while time.monotonic()-start<2: pass\n"
                                 "print(int((time.process_time()-used)*1000))\n",
                                 NULL };
    struct fixture *fixture = fixture_create();
    fixture_need_native(fixture);
    fixture_start(fixture, "neighbour");
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "spin", .cpu_milli = 200 });
    struct recorded_program *program = fixture_run(fixture, "spin", argv);
    unsigned long used_ms = strtoul(buf_text(&program->out), NULL, 10);
    assert_in_range(used_ms, 1, 2 * 230 + 60); /* the last period may have begun just before */
    assert_neighbour_answers(fixture);
    fixture_destroy(fixture);
}

/* Away from its parent and its session, deaf to signals: it ends with its sandbox all the same. */
static void test_a_daemon_that_hears_no_signal_ends_at_a_stop(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    AUTO_FREE char *mark = mem_printf("%d.%d", 90000 + (int)getpid(), (int)fixture->driver);
    AUTO_FREE char *script = mem_printf(
        "setsid sh -c 'trap \"\" TERM INT HUP; sleep %s; sleep %s' >/dev/null 2>&1 & echo up",
        mark,
        mark);
    fixture_start(fixture, "daemon");
    assert_string_equal(buf_text(&fixture_shell(fixture, "daemon", script)->out), "up\n");
    for (int i = 0; i < 1000 && count_in_each("/proc", "cmdline", mark) == 0; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_true(count_in_each("/proc", "cmdline", mark) > 0);
    assert_ok(sandbox_stop(fixture->all, "daemon", 100 * US_PER_MS, NULL));
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    for (int i = 0; i < 1000 && count_in_each("/proc", "cmdline", mark) > 0; i++) {
        loop_step(fixture->loop, 10);
    }
    assert_int_equal(count_in_each("/proc", "cmdline", mark), 0);
    fixture_destroy(fixture);
}

/* Files of /tmp and /dev/shm are memory: what fills them is bounded twice. */
static void test_full_places_say_so(void **unused)
{
    (void)unused;
    static const char *const script =
        "for place in /tmp /dev/shm /sandbox; do\n"
        "  head -c 200000000 /dev/zero >$place/fill 2>/dev/null && echo $place has no end\n"
        "done\n"
        "echo full; read line\n"
        "for place in /tmp /dev/shm /sandbox; do\n"
        "  rm -f $place/fill; true >$place/again || echo $place is broken\n"
        "done\n"
        "for place in /tmp /sandbox; do\n"
        "  i=0; mkdir $place/many\n"
        "  while [ $i -lt 20000 ] && true >$place/many/$i; do i=$((i+1)); done 2>/dev/null\n"
        "  [ $i -lt 20000 ] && echo inodes of $place end\n"
        "done\n"
        "read line\n";
    static const char *const said = "full\ninodes of /tmp end\ninodes of /sandbox end\n";
    struct fixture *fixture = fixture_create();
    fixture_need_native(fixture);
    fixture_start(fixture, "neighbour");
    struct sandbox_spec spec = { .id = "bomb", .disk_bytes = 16 << 20, .tmp_bytes = 4 << 20 };
    fixture_create_sandbox(fixture, &spec);
    const char *const argv[] = { "sh", "-c", script, NULL };
    struct recorded_program *bomb = set_off(fixture, "bomb", argv, "full\n");
    assert_ok(sandbox_input(fixture->all, "bomb", bomb->exec, STR("\n"), NULL));
    for (int i = 0; i < 3000 && bomb->out.len < strlen(said); i++) {
        loop_step(fixture->loop, 10);
    }
    assert_string_equal(buf_text(&bomb->out), said);
    assert_neighbour_answers(fixture);
    assert_false(bomb->exited);
    fixture_destroy(fixture);
}

enum {
    SUPERBLOCK_ID = 1024 + 0x68, /* of an ext4 image: 16 bytes that mkfs draws */
    ID_BYTES = 16
};

static void read_image_id(const struct fixture *fixture, const char *path, char ret_id[ID_BYTES])
{
    AUTO_FREE char *whole = mem_printf("%s/sandboxes/%s", fixture->dir, path);
    AUTO_FD int fd = open(whole, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, ret_id, ID_BYTES, SUPERBLOCK_ID), ID_BYTES);
}

static ino_t number_of(const struct fixture *fixture, const char *path)
{
    struct stat info;
    AUTO_FREE char *whole = mem_printf("%s/sandboxes/%s", fixture->dir, path);
    return stat(whole, &info) == 0 ? info.st_ino : 0;
}

/* A copy is ready before it is asked for; the next sandbox of its size has it, and no other. */
static void test_a_spare_disk_is_taken_once(void **unused)
{
    (void)unused;
    static const char *const spare = "templates/16777216.ext4.spare";
    struct fixture *fixture = fixture_create();
    fixture_need_native(fixture);
    struct sandbox_spec spec = { .id = "first", .disk_bytes = 16 << 20 };
    fixture_create_sandbox(fixture, &spec);
    sandboxes_sync(fixture->all);
    ino_t first = number_of(fixture, spare);
    assert_true(first != 0);
    (void)fixture_shell(fixture, "first", "echo mine >/sandbox/file");
    spec.id = "second";
    fixture_create_sandbox(fixture, &spec);
    assert_true(number_of(fixture, "run/second/workspace.ext4") == first);
    struct recorded_program *program = fixture_shell(fixture, "second", "ls -A /sandbox");
    assert_string_equal(buf_text(&program->out), "");
    sandboxes_sync(fixture->all);
    assert_true(number_of(fixture, spare) != first);
    assert_true(number_of(fixture, spare) != 0);
    /* One that is not whole is not taken, and made anew. */
    AUTO_FREE char *path = mem_printf("%s/sandboxes/%s", fixture->dir, spare);
    ino_t damaged = number_of(fixture, spare);
    assert_int_equal(truncate(path, 4096), 0);
    spec.id = "third";
    fixture_create_sandbox(fixture, &spec);
    assert_true(number_of(fixture, "run/third/workspace.ext4") != damaged);
    sandboxes_sync(fixture->all);
    assert_true(number_of(fixture, spare) != damaged);
    fixture_destroy(fixture);
}

/* mkfs.ext4 runs once for a size; what came of it is copied, and never written into. */
static void test_disks_of_one_size_are_copies_that_nobody_shares(void **unused)
{
    (void)unused;
    static const char *const script = "ls -A /sandbox; stat -c %u:%g /sandbox; df -m --output=size "
                                      "/sandbox | tail -n 1 | tr -d ' '; echo mine >/sandbox/file";
    static const char *const ids[] = { "first", "second", "third" };
    struct fixture *fixture = fixture_create();
    fixture_need_native(fixture);
    char template[ID_BYTES];
    char said[64] = "";
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
        char id[ID_BYTES];
        AUTO_FREE char *image = mem_printf("run/%s/workspace.ext4", ids[i]);
        struct sandbox_spec spec = { .id = ids[i], .disk_bytes = 16 << 20 };
        fixture_create_sandbox(fixture, &spec);
        struct recorded_program *program = fixture_shell(fixture, ids[i], script);
        assert_non_null(strstr(buf_text(&program->out), "1000:1000\n"));
        assert_null(strstr(buf_text(&program->out), "file"));
        if (i == 0) {
            (void)snprintf(said, sizeof(said), "%s", buf_text(&program->out));
            read_image_id(fixture, "templates/16777216.ext4", template);
        }
        assert_string_equal(buf_text(&program->out), said);
        read_image_id(fixture, image, id);
        assert_memory_equal(id, template, ID_BYTES);
    }
    /* Nothing of a sandbox is in the template: a damaged one is not copied, but made anew by mkfs.
     */
    AUTO_FREE char *path = mem_printf("%s/sandboxes/templates/16777216.ext4", fixture->dir);
    AUTO_BUF struct buf bytes = BUF_INIT(32 << 20);
    assert_ok(file_read(path, 32 << 20, &bytes, NULL));
    assert_null(memmem(bytes.data, bytes.len, "mine\n", 5));
    AUTO_FREE char *spare = mem_printf("%s.spare", path);
    sandboxes_sync(fixture->all);
    assert_int_equal(truncate(path, 4096), 0);
    assert_int_equal(unlink(spare), 0);
    struct sandbox_spec spec = { .id = "fourth", .disk_bytes = 16 << 20 };
    fixture_create_sandbox(fixture, &spec);
    assert_string_equal(buf_text(&fixture_shell(fixture, "fourth", script)->out), said);
    fixture_destroy(fixture);
}

static void test_a_flood_of_output_is_cut_and_stops_nobody(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct stat info;
    AUTO_FREE char *log = mem_printf("%s/sandboxes/run/flood/out.log", fixture->dir);
    AUTO_FREE char *older = mem_printf("%s.1", log);
    const char *const argv[] = { "head", "-c", "30000000", "/dev/zero", NULL };
    fixture_start(fixture, "neighbour");
    fixture_program(fixture, "flood", 0)->hold = true; /* an agent that takes nothing of it */
    fixture_create_sandbox(
        fixture, &(struct sandbox_spec){ .id = "flood", .argv = argv, .log_bytes = 1 << 20 });
    assert_neighbour_answers(fixture);
    fixture_wait_count(fixture, &fixture->ended_count, 1);
    assert_int_equal(WEXITSTATUS(fixture->exit.status), 0);
    assert_int_equal(stat(log, &info), 0);
    assert_true(info.st_size <= 1 << 20);
    assert_int_equal(stat(older, &info), 0);
    assert_true(info.st_size <= 1 << 20);
    fixture_destroy(fixture);
}

static void test_descriptors_run_out_inside_alone(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    fixture_start(fixture, "neighbour");
    fixture_create_sandbox(fixture, &(struct sandbox_spec){ .id = "bomb", .open_files = 64 });
    const char *const argv[] = { "python3",
                                 "-c",
                                 "import signal,socket\n"
                                 "held=[]\n"
                                 "try:\n"
                                 "    while len(held)<100000: held.append(socket.socketpair())\n"
                                 "except OSError as e: print(e.errno, len(held)<32, flush=True)\n"
                                 "signal.pause()\n",
                                 NULL };
    (void)set_off(fixture, "bomb", argv, "24 True\n");
    fixture_destroy(fixture);
}

static size_t count_entries(const char *path, const char *prefix)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0 ? 1 : 0;
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return count;
}

/* Of what names this test's folder, since others on the machine mount and fork as they like. Loop
 * devices and processes end a moment after they were let go. */
static void assert_nothing_left(const struct fixture *fixture)
{
    size_t processes = 1;
    size_t loops = 1;
    for (int i = 0; i < 500 && processes + loops > 0; i++) {
        processes = count_in_each("/proc", "cmdline", fixture->dir);
        loops = count_in_each("/sys/block", "loop/backing_file", fixture->dir);
        loop_step(fixture->loop, 10);
    }
    assert_int_equal(processes, 0);
    assert_int_equal(loops, 0);
    assert_int_equal(count_naming("/proc/self/mountinfo", fixture->dir), 0);
}

/* By the name that only this test's agent gives its groups. */
static void assert_no_groups(const struct fixture *fixture)
{
    char instance[17] = { 0 };
    AUTO_FREE char *path = mem_printf("%s/sandboxes/instance", fixture->dir);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fread(instance, 1, 16, file), 16);
    (void)fclose(file);
    AUTO_FREE char *prefix = mem_printf("belay-%s", instance);
    assert_int_equal(count_entries("/sys/fs/cgroup/pids", prefix), 0);
    assert_int_equal(count_entries("/sys/fs/cgroup/unified", prefix), 0);
    assert_int_equal(count_entries("/sys/fs/cgroup", prefix), 0);
}

static void live_once(struct fixture *fixture, unsigned round)
{
    unsigned removed = fixture->removed_count;
    struct sandbox_spec spec = { .id = "life" };
    if (fixture->driver == SANDBOX_DRIVER_NATIVE) {
        spec.memory_bytes = 64 << 20;
        spec.pids = 16;
        spec.disk_bytes = round % 5 == 0 ? 8 << 20 : 0;
    }
    fixture_create_sandbox(fixture, &spec);
    assert_int_equal(WEXITSTATUS(fixture_shell(fixture, "life", "exit 3")->status), 3);
    assert_ok(sandbox_remove(fixture->all, "life", NULL));
    fixture_wait_count(fixture, &fixture->removed_count, removed + 1);
}

static void test_many_lives_leave_nothing(void **unused)
{
    (void)unused;
    struct fixture *fixture = fixture_create();
    struct sandbox_info info;
    const char *wanted = getenv("BELAY_TEST_CYCLES");
    unsigned long cycles = wanted == NULL ? CYCLES : strtoul(wanted, NULL, 10);
    AUTO_FREE char *run = mem_printf("%s/sandboxes/run", fixture->dir);
    fixture_start(fixture, "first");
    assert_true(sandbox_find(fixture->all, "first", &info));
    uint64_t base = info.uid_base;
    assert_ok(sandbox_remove(fixture->all, "first", NULL));
    fixture_wait_count(fixture, &fixture->removed_count, 1);
    live_once(fixture, 0);
    sandboxes_sync(fixture->all); /* which has descriptors of its own meanwhile */
    size_t fds = count_entries("/proc/self/fd", "");
    for (unsigned long i = 0; i < cycles; i++) {
        live_once(fixture, (unsigned)i);
    }
    sandboxes_sync(fixture->all);
    assert_int_equal(count_entries("/proc/self/fd", ""), fds);
    assert_nothing_left(fixture);
    assert_int_equal(count_entries(run, "life"), 0);
    assert_no_groups(fixture);
    /* Every time the same slot: none was kept. */
    fixture_start(fixture, "last");
    assert_true(sandbox_find(fixture->all, "last", &info));
    assert_int_equal(info.uid_base, base);
    fixture_destroy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_fork_bomb_stops_at_its_limit),
        cmocka_unit_test(test_a_memory_bomb_is_killed_and_counted),
        cmocka_unit_test(test_memory_bombs_without_end_are_killed_beside_a_neighbour),
        cmocka_unit_test(test_a_spinning_program_gets_its_share),
        cmocka_unit_test(test_a_daemon_that_hears_no_signal_ends_at_a_stop),
        cmocka_unit_test(test_full_places_say_so),
        cmocka_unit_test(test_disks_of_one_size_are_copies_that_nobody_shares),
        cmocka_unit_test(test_a_spare_disk_is_taken_once),
        cmocka_unit_test(test_a_flood_of_output_is_cut_and_stops_nobody),
        cmocka_unit_test(test_descriptors_run_out_inside_alone),
        cmocka_unit_test(test_many_lives_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
