/* What agent and shim must mean alike: the numbers in a spec, and the names in a sandbox's folder.
 */
#ifndef COMMON_SANDBOX_SPEC_H
#define COMMON_SANDBOX_SPEC_H

enum sandbox_driver {
    SANDBOX_DRIVER_NATIVE = 1, /* our own builder; needs root */
    SANDBOX_DRIVER_BWRAP = 2   /* bubblewrap builds, our init runs; works for any user */
};

enum sandbox_network {
    SANDBOX_NETWORK_NONE = 0,  /* a loopback of its own and nothing else */
    SANDBOX_NETWORK_PROXY = 1, /* the same, and the egress proxy on SANDBOX_PROXY_PORT */
    SANDBOX_NETWORK_HOST = 2   /* the host's network: no protection at all */
};

enum sandbox_phase {
    SANDBOX_STARTING = 0,
    SANDBOX_RUNNING = 1,
    SANDBOX_ENDING = 2,
    SANDBOX_OVER = 3
};

/* Why a sandbox is over. */
enum sandbox_end {
    SANDBOX_END_MAIN = 0, /* its main program ended */
    SANDBOX_END_STOPPED = 1,
    SANDBOX_END_TIMEOUT = 2, /* its wall time is used up */
    SANDBOX_END_DIED = 3,    /* init is gone: killed from outside, or out of memory as a whole */
    SANDBOX_END_FAILED = 4   /* it could not be built */
};

enum {
    SANDBOX_FLAG_TTY = 1,       /* the main program has a terminal */
    SANDBOX_FLAG_KEEP = 2,      /* the end of the main program does not end the sandbox */
    SANDBOX_FLAG_DEBUG = 4,     /* the filter lets ptrace and process_vm_* pass */
    SANDBOX_FLAG_UNFILTERED = 8 /* no system call filter: for the escape suite alone */
};

enum {
    SANDBOX_UID_COUNT = 65536,
    SANDBOX_UID = 1000, /* inside, unless the spec says otherwise */
    SANDBOX_PROXY_PORT = 3128
};

/* What the last argument of a shim that was started ahead begins with. */
#define SANDBOX_SPARE "spare"

/* Names in the folder of one sandbox (mode 0700, the agent's). */
#define SANDBOX_FILE_SPEC       "spec"       /* MESSAGE_SPEC */
#define SANDBOX_FILE_STATE      "state.json" /* who runs it: written when init answers */
#define SANDBOX_FILE_EXIT       "exit.json"  /* how it ended */
#define SANDBOX_FILE_SOCKET     "sock"
#define SANDBOX_FILE_OUT        "out.log" /* of the main program; out.log.1 is the older half */
#define SANDBOX_FILE_ERR        "err.log"
#define SANDBOX_FILE_EXEC_OUT   "exec-out.log"
#define SANDBOX_FILE_EXEC_ERR   "exec-err.log"
#define SANDBOX_FILE_WORKSPACE  "workspace"      /* folder, without a cap */
#define SANDBOX_FILE_IMAGE      "workspace.ext4" /* the same as an image, with one */
#define SANDBOX_FILE_ROOT       "root"  /* where the new root is put together; empty outside */
#define SANDBOX_FILE_IMAGE_ROOT "image" /* where a squashfs image is mounted; empty outside */
#define SANDBOX_TEMPLATES                                                  \
    "templates" /* of workspace images; beside the folder of all sandboxes \
                 */
#define SANDBOX_DIR_TEMPLATES "../../" SANDBOX_TEMPLATES

#endif
