/*
 * A store to measure on: made new, migrated, filled with agents, sessions and keys by the store's
 * own functions, and gone afterwards. On PostgreSQL its owner is no superuser, so that row-level
 * security costs what it costs in production. One thread.
 */
#ifndef TOOLS_BENCH_SEED_SEED_H
#define TOOLS_BENCH_SEED_SEED_H

#include "cmd/server/core/service.h"
#include "common/crypto/secret.h"

struct seed {
    struct service service; /* enough of one for workers, the gate's credentials and ingest */
    struct sql_conn *conn;
    char *folder;     /* of the bench's files */
    char *url;        /* of the store, as its owner */
    char *super_url;  /* PostgreSQL: the same database as the superuser; NULL on SQLite */
    char *server_url; /* PostgreSQL: where databases are made and dropped */
};

struct seed_agent {
    int64_t id;
    int64_t epoch;
    struct secret *token; /* of its session */
};

/* postgres: URL of a server, as a superuser; NULL or "": SQLite in a folder. */
enum err_code seed_open(
    const char *bench, const char *postgres, struct seed **ret_seed, struct err_info *err)
    MUST_CHECK;
void seed_close(struct seed *seed); /* NULL is allowed */

/* A confirmed agent of the default workspace with a session of a day. */
enum err_code seed_agent_add(
    struct seed *seed, const char *name, struct seed_agent *ret_agent, struct err_info *err)
    MUST_CHECK;

/* An API key of a day with every scope. */
enum err_code seed_key_add(
    struct seed *seed, const char *id, struct secret **ret_key, struct err_info *err) MUST_CHECK;

#endif
