/*
 * Sandboxes in a folder of the test's own, and a recorder of what is told about them. The driver is
 * the one of $BELAY_TEST_DRIVER ("native" unless set), so that one suite runs on each.
 */
#ifndef TESTS_COMPONENT_AGENT_SANDBOX_FIXTURE_H
#define TESTS_COMPONENT_AGENT_SANDBOX_FIXTURE_H

#include "cmd/agent/sandbox/sandbox.h"

enum {
    FIXTURE_PROGRAMS = 64
};

struct recorded_program {
    char id[64];
    uint64_t exec;
    struct buf out;
    struct buf err;
    uint64_t received[2];
    uint64_t input_taken;
    bool started;
    int number;
    bool exited;
    int status;
    bool hold; /* takes nothing, so that the window fills */
};

struct fixture {
    struct loop *loop;
    struct sandboxes *all;
    char *dir;
    enum sandbox_driver driver;
    const char *shim_path; /* NULL: the build's */
    struct recorded_program programs[FIXTURE_PROGRAMS];
    size_t program_count;
    unsigned ready_count;
    unsigned ended_count;
    unsigned waits_count;
    unsigned removed_count;
    unsigned sample_count;
    unsigned connected_count;
    int connected_number; /* of the last one: errno */
    unsigned denied_count;
    char denied[256];
    struct sandbox_exit exit; /* of the one that ended last */
    enum sandbox_status status;
    bool rebooted;
    struct message_sample sample;
    /* Takes the listener of a sandbox with a proxy; NULL: it is closed. */
    void (*listening)(struct fixture *fixture, const char *id, int take_fd);
    void *egress; /* of who takes it */
};

/* Skips the test (and says why) where the driver cannot work. */
struct fixture *fixture_create(void);
void fixture_destroy(struct fixture *fixture); /* removes what is left */
/* Skips the test, with the fixture gone, where the driver has no control groups and no disks. */
void fixture_need_native(struct fixture *fixture);

/* The agent goes (its sandboxes run on), and comes back. */
void fixture_close(struct fixture *fixture);
void fixture_open(struct fixture *fixture);

/* Turns the loop until *flag (or *count reaches least); fails the test after 30 s
 * ($BELAY_TEST_PATIENCE: seconds). */
void fixture_wait(struct fixture *fixture, const bool *flag);
void fixture_wait_count(struct fixture *fixture, const unsigned *count, unsigned least);
void fixture_turn(struct fixture *fixture, unsigned turns); /* some turns of at most 10 ms */

struct recorded_program *fixture_program(struct fixture *fixture, const char *id, uint64_t exec);

/* A sandbox with no main program, ready. */
void fixture_start(struct fixture *fixture, const char *id);
/* Makes and waits until ready (or ended). */
void fixture_create_sandbox(struct fixture *fixture, const struct sandbox_spec *spec);

/* The shim that waits for the next sandbox, once the agent has done all it had to; 0: none. Fails
 * the test if there are two. */
pid_t fixture_spare(struct fixture *fixture);
/* Until the process is gone with all it held: a moment after the signal that ends it. */
void fixture_wait_end(pid_t pid);

/* Runs a program to its end and returns it; argv ends with NULL. */
struct recorded_program *fixture_run(
    struct fixture *fixture, const char *id, const char *const *argv);
/* "sh -c script". */
struct recorded_program *fixture_shell(struct fixture *fixture, const char *id, const char *script);

#endif
