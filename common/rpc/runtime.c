#include "common/rpc/runtime.h"

#include "common/base/log.h"
#include "common/base/mem.h"
#include "common/sys/lock.h"
#include "common/sys/thread.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

/*
 * Peers provoke most of what the library calls errors, and calls report them; what is ours to know
 * is that it is about to abort.
 */
static void write_log(gpr_log_func_args *line)
{
    bool is_fatal = line->severity == GPR_LOG_SEVERITY_ERROR
        && strstr(line->message, "assertion failed") != NULL;
    if (is_fatal) {
        log_error("grpc", LOG_STR("text", line->message));
    } else {
        log_debug("grpc", LOG_STR("text", line->message));
    }
}

void rpc_signals_block(sigset_t *ret_before)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void rpc_signals_restore(const sigset_t *before)
{
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

/*
 * absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle), of absl/synchronization/mutex.h. C
 * can call it, but has to know its C++ name: that of Debian 12, whose abseil 20220623 has the
 * inline namespace "debian3" (nm -D libabsl_synchronization.so; its archives have the same). Weak,
 * for any other abseil.
 */
extern void set_deadlock_mode(int mode) __asm__(
    "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE") __attribute__((weak));

enum {
    ON_DEADLOCK_IGNORE = 0 /* absl::OnDeadlockCycle::kIgnore: neither look for cycles nor track */
};

bool rpc_ignore_deadlocks(void)
{
    if (set_deadlock_mode == NULL) {
        return false;
    }
    set_deadlock_mode(ON_DEADLOCK_IGNORE);
    return true;
}

void rpc_runtime_acquire(void)
{
    sigset_t before;
    rpc_signals_block(&before);
    gpr_set_log_function(write_log);
    (void)rpc_ignore_deadlocks(); /* without it only slower */
    grpc_init();
    rpc_signals_restore(&before);
}

/*
 * The library's last shutdown joins threads, one of which may sleep for ten seconds after a write
 * that had to wait. A program that ends need not wait for that: after RELEASE_WAIT_US it goes on
 * alone.
 */
#define RELEASE_WAIT_US US_PER_SECOND

struct release {
    atomic_uint refs; /* this thread's and the one that shuts down */
    struct thread thread;
    struct lock lock;
    struct lock_cond changed;
    bool done;
};

static void release_unref(struct release *release)
{
    if (atomic_fetch_sub(&release->refs, 1) == 1) {
        lock_cond_deinit(&release->changed);
        lock_deinit(&release->lock);
        mem_free(release);
    }
}

static void shut_down(void *context)
{
    struct release *release = context;
    grpc_shutdown();
    lock_acquire(&release->lock);
    release->done = true;
    lock_cond_broadcast(&release->changed);
    lock_release(&release->lock);
    release_unref(release);
}

static bool wait_done(struct release *release)
{
    struct mono_us deadline = { rpc_now().value + RELEASE_WAIT_US };
    bool in_time = true;
    LOCK_GUARD(&release->lock);
    while (!release->done && in_time) {
        in_time = lock_cond_wait_until(&release->changed, &release->lock, deadline);
    }
    return release->done;
}

void rpc_runtime_release(void)
{
    struct release *release = mem_alloc(sizeof(*release));
    atomic_init(&release->refs, 2);
    lock_init(&release->lock, LOCK_RANK_LEAF);
    lock_cond_init(&release->changed);
    struct thread *thread = &release->thread;
    if (thread_start(thread, "rpc-end", shut_down, release, NULL) != ERR_OK) {
        shut_down(release);
    } else if (wait_done(release)) {
        thread_join(thread);
    } else {
        (void)pthread_detach(thread->handle);
    }
    release_unref(release);
}

/* The library's struct takes char pointers and copies what they point at. */
static char *unconst(const char *text)
{
    union {
        const char *in;
        char *out;
    } value = { .in = text };

    return value.out;
}

grpc_arg rpc_arg_int(const char *name, int value)
{
    grpc_arg arg = { .type = GRPC_ARG_INTEGER, .key = unconst(name) };
    arg.value.integer = value;
    return arg;
}

grpc_arg rpc_arg_text(const char *name, const char *value)
{
    grpc_arg arg = { .type = GRPC_ARG_STRING, .key = unconst(name) };
    arg.value.string = unconst(value);
    return arg;
}

grpc_byte_buffer *rpc_message_pack(const ProtobufCMessage *message, size_t max_bytes)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (bytes > max_bytes) {
        return NULL;
    }
    grpc_slice slice = grpc_slice_malloc(bytes);
    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

bool rpc_message_gather(grpc_byte_buffer *buffer, grpc_slice *ret_slice)
{
    grpc_byte_buffer_reader reader;
    if (buffer->data.raw.compression != GRPC_COMPRESS_NONE
        || !grpc_byte_buffer_reader_init(&reader, buffer)) {
        return false;
    }
    *ret_slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

struct mono_us rpc_now(void)
{
    return clock_mono(clock_system());
}

gpr_timespec rpc_time_of(struct mono_us deadline)
{
    if (deadline.value == INT64_MAX) {
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    }
    int64_t left = deadline.value - rpc_now().value;
    return gpr_time_add(
        gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros(left < 0 ? 0 : left, GPR_TIMESPAN));
}

struct mono_us rpc_time_from(gpr_timespec deadline)
{
    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
        return (struct mono_us){ INT64_MAX };
    }
    gpr_timespec left = gpr_time_sub(
        gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC), gpr_now(GPR_CLOCK_MONOTONIC));
    if (left.tv_sec > 3650 * US_PER_DAY / US_PER_SECOND) {
        return (struct mono_us){ INT64_MAX };
    }
    return (struct mono_us){ rpc_now().value + left.tv_sec * US_PER_SECOND + left.tv_nsec / 1000 };
}
