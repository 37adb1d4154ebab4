/*
 * A migrated database of the test's own, on either engine. On PostgreSQL it belongs to a role that
 * is no superuser, so that the wall of workspaces holds as it does in production.
 */
#ifndef TESTS_COMPONENT_SERVER_STORE_FIXTURE_H
#define TESTS_COMPONENT_SERVER_STORE_FIXTURE_H

#include "cmd/server/store/access.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "cmd/server/store/store.h"
#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "tests/support/test.h"

/* 2026-01-01T00:00:00Z */
#define PLACE_NOW ((struct wall_us){ INT64_C(1767225600000000) })

enum {
    PLACE_OTHER = 7 /* a second workspace, "other" */
};

struct place {
    char *dir;       /* SQLite */
    char *super_url; /* PostgreSQL: of the superuser; its database goes with it */
    char *url;       /* what the server is given; NULL: this run has no PostgreSQL */
    struct sql_conn *conn;
    struct arena *arena;
};

/* cmocka fixtures: *state becomes a struct place with the workspaces `default` and `other`. */
int place_setup_sqlite(void **state);
int place_setup_postgres(void **state);
int place_teardown(void **state);

/* Each test of a group on both engines. */
#define PLACE_BOTH(test)                                                      \
    { #test " [sqlite]", test, place_setup_sqlite, place_teardown, NULL },    \
    {                                                                         \
#        test " [postgres]", test, place_setup_postgres, place_teardown, NULL \
    }

/* A test of what only PostgreSQL does. */
#define PLACE_POSTGRES(test) \
    cmocka_unit_test_setup_teardown(test, place_setup_postgres, place_teardown)

struct place *place_of(void **state); /* skips the test where the run has no PostgreSQL */

/* A further connection as the server opens them; the caller closes it. */
struct sql_conn *place_connect(const struct place *place);

void place_begin(struct place *place, int64_t workspace_id);
void place_commit(struct place *place);
/* The one number of the one row that the statement gives, of all workspaces. */
int64_t place_count(struct place *place, const struct sql_statement *statement);
extern const struct sql_statement PLACE_SAMPLES; /* how many there are */
extern const struct sql_statement PLACE_UPLOADS;
void place_script(struct place *place, const char *text); /* in a transaction over all workspaces */

/* An enrollment and its confirmed agent, committed. The key is filled with `mark`; the api key's
 * hash is 32 times mark. Gives the agent's id. */
int64_t place_add_agent(struct place *place, int64_t workspace_id, const char *name, uint8_t mark);

/* 32 times the byte. */
const uint8_t *place_hash(uint8_t mark, uint8_t out[32]);

#endif
