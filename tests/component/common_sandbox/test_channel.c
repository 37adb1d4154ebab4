/* Messages over a real pair of sockets: small, large, with descriptors, and what is no message. */
#include "common/base/cleanup.h"
#include "common/sandbox/channel.h"
#include "common/sys/fd.h"
#include "tests/support/descriptors.h"
#include "tests/support/test.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct ends {
    int fds[2];
    struct channel_buffer buffer; /* of the second */
};

static void open_ends(struct ends *ends, bool takes_large)
{
    *ends = (struct ends){ .buffer = { .takes_large = takes_large } };
    assert_ok(channel_pair(ends->fds, NULL));
    assert_ok(channel_set_nonblocking(ends->fds[1], NULL));
}

static void close_ends(struct ends *ends)
{
    fd_close(&ends->fds[0]);
    fd_close(&ends->fds[1]);
    channel_buffer_deinit(&ends->buffer);
}

static struct message exec_of(struct buf *argv, size_t bytes)
{
    struct message message = { .type = MESSAGE_EXEC, .id = 7 };
    AUTO_FREE char *word = mem_alloc(32768);
    memset(word, 'w', 32767);
    while (argv->len < bytes) {
        message_list_add(argv, str_of(word));
    }
    assert_true(buf_ok(argv));
    message.exec.argv = message_list_of(argv);
    message.exec.cwd = STR("/");
    return message;
}

static void test_a_large_message_arrives_with_its_descriptors(void **unused)
{
    (void)unused;
    static const size_t sizes[] = { 1000, 390 * 1024, 420 * 1024, MESSAGE_WORDS_BYTES_MAX - 32768 };
    struct ends ends;
    open_ends(&ends, true);
    for (size_t i = 0; i < ARRAY_LENGTH(sizes); i++) {
        AUTO_BUF struct buf argv = BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
        const struct message sent = exec_of(&argv, sizes[i]);
        struct message got;
        struct channel_fds with = { .fds = { 0, 1, 2 }, .count = 3 };
        struct channel_fds came = CHANNEL_FDS_NONE;
        assert_ok(channel_send(ends.fds[0], &sent, &with, NULL));
        assert_ok(channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
        assert_int_equal(got.type, MESSAGE_EXEC);
        assert_int_equal(got.id, 7);
        assert_int_equal(got.exec.argv.len, argv.len);
        assert_memory_equal(got.exec.argv.ptr, argv.data, argv.len);
        assert_int_equal(came.count, 3);
        for (size_t fd = 0; fd < 3; fd++) {
            struct stat ours;
            struct stat theirs;
            assert_int_equal(fstat((int)fd, &ours), 0);
            assert_int_equal(fstat(came.fds[fd], &theirs), 0);
            assert_int_equal(ours.st_ino, theirs.st_ino);
        }
        channel_fds_close(&came);
    }
    close_ends(&ends);
}

static void test_who_does_not_trust_the_other_end_takes_none(void **unused)
{
    (void)unused;
    struct ends ends;
    struct message got;
    struct channel_fds came = CHANNEL_FDS_NONE;
    AUTO_BUF struct buf argv = BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    const struct message sent = exec_of(&argv, 600 * 1024);
    open_ends(&ends, false);
    assert_ok(channel_send(ends.fds[0], &sent, NULL, NULL));
    assert_code(ERR_INVALID, channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
    assert_int_equal(came.count, 0);
    close_ends(&ends);
}

/* A word about memory that is not what it says. */
static void refuse(const struct message *word, int fd, size_t copies, enum err_code code)
{
    struct ends ends;
    struct message got;
    struct channel_fds with = { .fds = { fd, fd, fd, fd }, .count = copies };
    struct channel_fds came = CHANNEL_FDS_NONE;
    open_ends(&ends, true);
    assert_ok(channel_send(ends.fds[0], word, &with, NULL));
    assert_code(code, channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
    assert_int_equal(came.count, 0);
    close_ends(&ends);
}

static void test_memory_that_is_not_as_told_is_refused(void **unused)
{
    (void)unused;
    struct message word = { .type = MESSAGE_LARGE, .large = { 100 } };
    AUTO_BUF struct buf nested = BUF_INIT(MESSAGE_BYTES_MAX);
    int pipe_fds[2];
    AUTO_FD int memory = memfd_create("test", MFD_CLOEXEC);
    assert_true(memory >= 0);
    refuse(&word, memory, 0, ERR_INVALID); /* none at all */
    refuse(&word, memory, 1, ERR_INVALID); /* empty */
    assert_int_equal(ftruncate(memory, 100), 0);
    refuse(&word, memory, 1, ERR_UNSUPPORTED); /* zeros: a version that is none */
    refuse(&word, memory, 4, ERR_UNSUPPORTED);
    assert_int_equal(pipe(pipe_fds), 0);
    word.large.bytes = 0;
    refuse(&word, pipe_fds[0], 1, ERR_INVALID);
    fd_close(&pipe_fds[0]);
    fd_close(&pipe_fds[1]);
    word.large.bytes = 24; /* one in another */
    assert_ok(message_encode(&word, &nested, NULL));
    assert_int_equal(nested.len, 24);
    assert_int_equal(ftruncate(memory, 0), 0);
    assert_ok(fd_write_all(memory, nested.data, nested.len, NULL));
    refuse(&word, memory, 1, ERR_INVALID);
    word.large.bytes = MESSAGE_BYTES_MAX + 1;
    assert_code(ERR_INVALID, channel_send(0, &word, NULL, NULL));
}

static void test_a_large_message_has_room_for_three_descriptors(void **unused)
{
    (void)unused;
    struct ends ends;
    struct channel_fds with = { .fds = { 0, 1, 2, 0 }, .count = 4 };
    AUTO_BUF struct buf argv = BUF_INIT(MESSAGE_WORDS_BYTES_MAX);
    const struct message sent = exec_of(&argv, 600 * 1024);
    open_ends(&ends, true);
    assert_code(ERR_LIMIT, channel_send(ends.fds[0], &sent, &with, NULL));
    close_ends(&ends);
}

static bool has_descriptors(const struct channel_fds *came, size_t count)
{
    struct stat info;
    bool all = came->count == count;
    for (size_t i = 0; i < came->count; i++) {
        all = all && fstat(came->fds[i], &info) == 0;
    }
    return all;
}

static void test_a_message_whose_descriptors_find_no_room_can_wait(void **unused)
{
    (void)unused;
    struct ends ends;
    struct message got;
    const struct message ready = { .type = MESSAGE_READY };
    const struct message later = { .type = MESSAGE_ENDED };
    struct channel_fds with = { .fds = { 0, 1 }, .count = 2 };
    struct channel_fds came = CHANNEL_FDS_NONE;
    struct test_descriptors before;
    open_ends(&ends, false);
    ends.buffer.leaves_cut = true;
    assert_code(ERR_BUSY, channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
    assert_ok(channel_send(ends.fds[0], &ready, &with, NULL));
    assert_ok(channel_send(ends.fds[0], &later, NULL, NULL));
    for (int room = 0; room < 2; room++) { /* for none of them, and not for all */
        test_descriptors_take(&before, room);
        assert_code(ERR_LIMIT, channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
        assert_code(ERR_LIMIT, channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
        test_descriptors_give_back(&before);
    }
    assert_ok(channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
    assert_int_equal(got.type, MESSAGE_READY);
    assert_true(has_descriptors(&came, 2));
    channel_fds_close(&came);
    assert_ok(channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
    assert_int_equal(got.type, MESSAGE_ENDED);
    assert_int_equal(came.count, 0);
    assert_code(ERR_BUSY, channel_receive(ends.fds[1], &ends.buffer, &got, &came, NULL));
    close_ends(&ends);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_message_arrives_with_its_descriptors),
        cmocka_unit_test(test_who_does_not_trust_the_other_end_takes_none),
        cmocka_unit_test(test_memory_that_is_not_as_told_is_refused),
        cmocka_unit_test(test_a_large_message_has_room_for_three_descriptors),
        cmocka_unit_test(test_a_message_whose_descriptors_find_no_room_can_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
