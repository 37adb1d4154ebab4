#include "cmd/shim/builder/filter.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#    define NATIVE_ARCH AUDIT_ARCH_X86_64
#    define X32_BIT     0x40000000U
#elif defined(__aarch64__)
#    define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#    error "the filter's tables were reviewed for x86-64 and arm64 alone"
#endif

#define NAMESPACES                                                                              \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID \
     | CLONE_NEWNET)
#define NAMESPACE_TIME 0x80 /* CLONE_NEWTIME; in clone's flags these bits are the exit signal */

#define REFUSE(number) (SECCOMP_RET_ERRNO | ((number)&SECCOMP_RET_DATA))

/* EPERM without a look at the arguments. */
static const int denied[] = {
    /* mounts, old interface and new */
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_setns,
    /* the kernel itself */
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
#ifdef SYS_kexec_file_load
    SYS_kexec_file_load,
#endif
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
#ifdef SYS_quotactl_fd
    SYS_quotactl_fd,
#endif
    SYS_syslog,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_vhangup,
    SYS_nfsservctl,
    SYS_lookup_dcookie,
#ifdef SYS_iopl
    SYS_iopl,
#endif
#ifdef SYS_ioperm
    SYS_ioperm,
#endif
#ifdef SYS_modify_ldt
    SYS_modify_ldt,
#endif
#ifdef SYS_uselib
    SYS_uselib,
#endif
#ifdef SYS_ustat
    SYS_ustat,
#endif
#ifdef SYS_sysfs
    SYS_sysfs,
#endif
#ifdef SYS__sysctl
    SYS__sysctl,
#endif
    /* interfaces with a history of holes, that programs do without */
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_add_key,
    SYS_request_key,
    SYS_keyctl,
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    SYS_fanotify_init,
    SYS_fanotify_mark,
    SYS_personality,
    SYS_mbind,
    SYS_set_mempolicy,
    SYS_get_mempolicy,
    SYS_migrate_pages,
    SYS_move_pages,
#ifdef SYS_set_mempolicy_home_node
    SYS_set_mempolicy_home_node,
#endif
    /* other processes */
    SYS_kcmp,
    SYS_pidfd_getfd,
    SYS_process_madvise,
#ifdef SYS_process_mrelease
    SYS_process_mrelease,
#endif
};

static const int debugging[] = { SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev };

/* Terminal requests that put bytes into an input queue or change who serves it. */
static const unsigned terminal[] = { TIOCSTI, TIOCLINUX, TIOCSETD };

static void add(struct filter *filter, struct sock_filter instruction)
{
    if (filter->count == FILTER_INSTRUCTIONS_MAX) {
        abort(); /* the tables above have outgrown the array */
    }
    filter->code[filter->count++] = instruction;
}

static void load(struct filter *filter, size_t offset)
{
    add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
}

/* The low half of an argument: what the kernel looks at where the type is int (little endian). */
static void load_argument(struct filter *filter, unsigned index)
{
    load(filter, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

static void give(struct filter *filter, unsigned action)
{
    add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* Skips `count` instructions unless the comparison holds. */
static void unless(struct filter *filter, unsigned short test, unsigned value, unsigned char count)
{
    add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | test | BPF_K, value, 0, count));
}

static void give_if(struct filter *filter, unsigned value, unsigned action)
{
    unless(filter, BPF_JEQ, value, 1);
    give(filter, action);
}

static void check_abi(struct filter *filter)
{
    load(filter, offsetof(struct seccomp_data, arch));
    add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0));
    give(filter, SECCOMP_RET_KILL_PROCESS);
    load(filter, offsetof(struct seccomp_data, nr));
#ifdef X32_BIT
    unless(filter, BPF_JGE, X32_BIT, 1);
    give(filter, SECCOMP_RET_KILL_PROCESS);
#endif
    unless(filter, BPF_JGT, FILTER_NEWEST_CALL, 1);
    give(filter, REFUSE(ENOSYS));
}

/* Each check of arguments ends in a verdict, so that the call's number need not be loaded again. */
static void check_namespaces(struct filter *filter, int call, unsigned flags)
{
    unless(filter, BPF_JEQ, (unsigned)call, 4);
    load_argument(filter, 0);
    unless(filter, BPF_JSET, flags, 1);
    give(filter, REFUSE(EPERM));
    give(filter, SECCOMP_RET_ALLOW);
}

static void check_ioctl(struct filter *filter)
{
    unless(filter, BPF_JEQ, SYS_ioctl, 2 + 2 * ARRAY_LENGTH(terminal));
    load_argument(filter, 1);
    for (size_t i = 0; i < ARRAY_LENGTH(terminal); i++) {
        give_if(filter, terminal[i], REFUSE(EPERM));
    }
    give(filter, SECCOMP_RET_ALLOW);
}

static void check_socket(struct filter *filter)
{
    /* Unix: any kind. */
    unless(filter, BPF_JEQ, SYS_socket, 16);
    load_argument(filter, 0);
    give_if(filter, AF_UNIX, SECCOMP_RET_ALLOW);
    /* Netlink: routes alone (the C library asks them for addresses). */
    unless(filter, BPF_JEQ, AF_NETLINK, 4);
    load_argument(filter, 2);
    unless(filter, BPF_JEQ, 0, 1);
    give(filter, SECCOMP_RET_ALLOW);
    give(filter, REFUSE(EAFNOSUPPORT));
    /* Internet: not raw. */
    add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0));
    unless(filter, BPF_JEQ, AF_INET6, 5);
    load_argument(filter, 1);
    add(filter, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf));
    give_if(filter, SOCK_RAW, REFUSE(EPERM));
    give(filter, SECCOMP_RET_ALLOW);
    give(filter, REFUSE(EAFNOSUPPORT));
}

void filter_build(struct filter *filter, bool allow_debug)
{
    filter->count = 0;
    check_abi(filter);
    for (size_t i = 0; i < ARRAY_LENGTH(denied); i++) {
        give_if(filter, (unsigned)denied[i], REFUSE(EPERM));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(debugging) && !allow_debug; i++) {
        give_if(filter, (unsigned)debugging[i], REFUSE(EPERM));
    }
    /* Its flags are in memory, where a filter cannot look; the C library falls back to clone. */
    give_if(filter, SYS_clone3, REFUSE(ENOSYS));
    check_namespaces(filter, SYS_clone, NAMESPACES);
    check_namespaces(filter, SYS_unshare, NAMESPACES | NAMESPACE_TIME);
    check_ioctl(filter);
    check_socket(filter);
    give(filter, SECCOMP_RET_ALLOW);
}

int filter_load(const struct filter *filter)
{
    struct sock_fprog program = { .len = filter->count,
                                  .filter = CONST_CAST(struct sock_filter *, filter->code) };
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0 ? 0 : errno;
}
