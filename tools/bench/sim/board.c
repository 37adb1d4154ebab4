#include "tools/bench/sim/board.h"

#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/sys/fd.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t bytes_of(unsigned slot_count)
{
    return sizeof(struct board) + slot_count * sizeof(struct board_slot);
}

static enum err_code map(int fd, size_t bytes, struct board **ret_board, struct err_info *err)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return ERR_SET_ERRNO(err, ERR_NOMEM, errno, "shared memory");
    }
    *ret_board = memory;
    return ERR_OK;
}

enum err_code board_create(
    unsigned slot_count, struct board **ret_board, int *ret_fd, struct err_info *err)
{
    AUTO_FD int fd = memfd_create("belay-sim", 0); /* inherited by the processes */
    if (fd < 0 || ftruncate(fd, (off_t)bytes_of(slot_count)) != 0) {
        return ERR_SET_ERRNO(err, ERR_NOMEM, errno, "shared memory");
    }
    struct board *board = NULL;
    TRY(map(fd, bytes_of(slot_count), &board, err));
    uint8_t run[(BOARD_RUN_BYTES - 1) / 2];
    id_random(run, sizeof(run));
    str_hex_encode(run, sizeof(run), board->run);
    board->slot_count = slot_count;
    *ret_board = board;
    *ret_fd = fd_steal(&fd);
    return ERR_OK;
}

enum err_code board_open(int fd, struct board **ret_board, struct err_info *err)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_size < (off_t)bytes_of(1)) {
        return ERR_SET(err, ERR_INVALID, "--board: not for people to give");
    }
    struct board *board = NULL;
    TRY(map(fd, (size_t)status.st_size, &board, err));
    if (bytes_of(board->slot_count) != (size_t)status.st_size) {
        (void)munmap(board, (size_t)status.st_size);
        return ERR_SET(err, ERR_INVALID, "--board: not of this program");
    }
    *ret_board = board;
    return ERR_OK;
}

void board_close(struct board *board)
{
    if (board != NULL) {
        (void)munmap(board, bytes_of(board->slot_count));
    }
}

unsigned board_online(struct board *board)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < board->slot_count; i++) {
        sum += atomic_load(&board->slots[i].online);
    }
    return sum;
}

unsigned board_cuts(struct board *board)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < board->slot_count; i++) {
        sum += atomic_load(&board->slots[i].cuts);
    }
    return sum;
}

int64_t board_last_online_us(struct board *board)
{
    int64_t last = 0;
    for (unsigned i = 0; i < board->slot_count; i++) {
        int64_t one = atomic_load(&board->slots[i].last_online_us);
        last = one > last ? one : last;
    }
    return last;
}

bool board_is_finished(struct board *board)
{
    for (unsigned i = 0; i < board->slot_count; i++) {
        if (!atomic_load(&board->slots[i].is_finished)) {
            return false;
        }
    }
    return true;
}
