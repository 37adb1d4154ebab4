#include "tools/bench/seed/seed.h"

#include "belay_descriptors.h"
#include "cmd/server/auth/credentials.h"
#include "cmd/server/store/access.h"
#include "cmd/server/store/agent.h"
#include "cmd/server/store/enrollment/enrollment.h"
#include "cmd/server/store/session.h"
#include "cmd/server/store/telemetry.h"
#include "common/base/cleanup.h"
#include "common/base/id.h"
#include "common/crypto/hash.h"
#include "common/wire/wire.h"
#include "tools/bench/common/process.h"

#include <unistd.h>

#define OWNER "belay_bench"

enum {
    PARTITION_DAYS = 4,
    KEY_BYTES = 32
};

static enum err_code script(const char *url, const char *text, struct err_info *err)
{
    const struct store_options options = { .url = url };
    struct sql_conn *conn = NULL;
    TRY(store_connect(&options, &conn, err));
    enum err_code code = sql_exec_script(conn, text, err);
    sql_close(conn);
    return code;
}

/* "postgresql://user@host/name" with another user and another database. */
static char *url_with(const char *url, const char *user, const char *database)
{
    const char *at = strchr(url, '@');
    const char *slash = at == NULL ? NULL : strchr(at, '/');
    return slash == NULL
        ? NULL
        : mem_printf("postgresql://%s%.*s/%s", user, (int)(slash - at), at, database);
}

static enum err_code make_database(struct seed *seed, const char *server, struct err_info *err)
{
    AUTO_FREE char *name = mem_printf("belay_bench_%d", getpid());
    AUTO_FREE char *create = mem_printf("CREATE DATABASE %s OWNER " OWNER, name);
    seed->url = url_with(server, OWNER, name);
    if (seed->url == NULL) {
        return ERR_SET(err, ERR_INVALID, "--postgres: postgresql://USER@HOST:PORT/DATABASE");
    }
    const char *at = strchr(server, '@');
    AUTO_FREE char *user =
        mem_printf("%.*s", (int)(at - server - (ptrdiff_t)strlen("postgresql://")), server + 13);
    seed->super_url = url_with(server, user, name);
    seed->server_url = mem_strdup(server);
    TRY(script(
        server,
        "DO $$ BEGIN CREATE ROLE " OWNER " LOGIN NOSUPERUSER; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        err));
    return script(server, create, err);
}

static enum err_code migrate(const struct seed *seed, struct err_info *err)
{
    struct sql_conn *conn = NULL;
    size_t count = 0;
    TRY(store_connect(&seed->service.store, &conn, err));
    const struct sql_migration *migrations = store_migrations(sql_engine_of(conn), &count);
    enum err_code code = sql_migrate_up(conn, migrations, count, NULL, NULL, err);
    sql_close(conn);
    return code;
}

static enum err_code make_partitions(struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct seed *seed = context;
    struct wall_us from = { clock_wall(seed->service.clock).value - US_PER_DAY };
    bool all = false;
    TRY(store_sample_partitions(conn, from, PARTITION_DAYS, &all, err));
    return all ? ERR_OK : ERR_SET(err, ERR_BUSY, "somebody holds a lock on the samples");
}

static enum err_code build(struct seed *seed, const char *postgres, struct err_info *err)
{
    struct service *service = &seed->service;
    struct wire_schema *schema = NULL;
    service->clock = clock_system();
    if (postgres != NULL && postgres[0] != '\0') {
        TRY(make_database(seed, postgres, err));
    } else {
        seed->url = mem_printf("sqlite:%s/belay.db", seed->folder);
    }
    service->store.url = seed->url;
    TRY(migrate(seed, err));
    TRY(store_open(&service->store, &seed->conn, err));
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &schema, err));
    service->schema = schema;
    service->engine = sql_engine_of(seed->conn);
    service->metrics = metrics_create();
    service->hub = hub_create();
    service->credentials = credentials_create(service->clock);
    return sql_transact(seed->conn, SQL_ALL_WORKSPACES, make_partitions, seed, err);
}

enum err_code seed_open(
    const char *bench, const char *postgres, struct seed **ret_seed, struct err_info *err)
{
    TRY(crypto_start(err));
    struct seed *seed = mem_alloc(sizeof(*seed));
    seed->folder = process_folder_make(bench);
    enum err_code code = build(seed, postgres, err);
    if (code != ERR_OK) {
        seed_close(seed);
        return code;
    }
    *ret_seed = seed;
    return ERR_OK;
}

/* The schema is const to the service, which does not own it. */
static void destroy_schema(const struct wire_schema *schema)
{
    union {
        const struct wire_schema *in;
        struct wire_schema *out;
    } value = { .in = schema };

    wire_schema_destroy(value.out);
}

void seed_close(struct seed *seed)
{
    if (seed == NULL) {
        return;
    }
    sql_close(seed->conn);
    credentials_destroy(seed->service.credentials);
    hub_destroy(seed->service.hub);
    metrics_destroy(seed->service.metrics);
    destroy_schema(seed->service.schema);
    if (seed->server_url != NULL) {
        struct err_info err = ERR_INFO_INIT;
        AUTO_FREE char *drop =
            mem_printf("DROP DATABASE IF EXISTS belay_bench_%d WITH (FORCE)", getpid());
        (void)script(seed->server_url, drop, &err);
    }
    process_folder_remove(seed->folder);
    mem_free(seed->folder);
    mem_free(seed->url);
    mem_free(seed->super_url);
    mem_free(seed->server_url);
    mem_free(seed);
}

struct agent_ask {
    const char *name;
    struct wall_us now;
    struct seed_agent *agent;
};

/* Enrolled and confirmed, as an operator would. */
static enum err_code enroll(
    struct sql_conn *conn, const struct agent_ask *ask, int64_t *ret_id, struct err_info *err)
{
    uint8_t keys[2][KEY_BYTES];
    id_random(keys, sizeof(keys));
    const struct str_view identity = str_from((const char *)keys[0], KEY_BYTES);
    const struct enrollment_record enrollment = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = ask->name,
        .state = ENROLLMENT_AWAITING_CONFIRMATION,
        .labels = "{}",
        .created_by = "bench",
        .created_at = ask->now.value,
        .expires_at = ask->now.value + US_PER_DAY,
    };
    struct agent_record agent = {
        .workspace_id = WORKSPACE_DEFAULT,
        .name = ask->name,
        .state = AGENT_AWAITING_CONFIRMATION,
        .labels = "{}",
        .identity_key = identity,
        .encryption_key = identity,
        .version = "0.1.0",
        .host = STR(""),
        .enrollment_id = ask->name,
        .created_at = ask->now.value,
        .created_by = "bench",
    };
    TRY(store_enrollment_add(conn, &enrollment, keys[0], err));
    TRY(store_agent_add(conn, &agent, err));
    TRY(store_agent_confirm(conn, WORKSPACE_DEFAULT, agent.id, keys[1], STR("sealed"), err));
    *ret_id = agent.id;
    return ERR_OK;
}

static enum err_code add_agent(struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct agent_ask *ask = context;
    uint8_t hash[HASH_SHA256_BYTES];
    struct session_record session = {
        .workspace_id = WORKSPACE_DEFAULT,
        .expires_at = ask->now.value + US_PER_DAY,
    };
    TRY(enroll(conn, ask, &session.agent_id, err));
    TRY(store_agent_begin_session(
        conn, WORKSPACE_DEFAULT, session.agent_id, ask->now, &session.epoch, err));
    token_hash(secret_peek(ask->agent->token), hash);
    TRY(store_session_put(conn, &session, hash, ask->now, err));
    ask->agent->id = session.agent_id;
    ask->agent->epoch = session.epoch;
    return ERR_OK;
}

enum err_code seed_agent_add(
    struct seed *seed, const char *name, struct seed_agent *ret_agent, struct err_info *err)
{
    struct agent_ask ask = { name, clock_wall(seed->service.clock), ret_agent };
    ret_agent->token = token_create("bls_");
    return sql_transact(seed->conn, SQL_ALL_WORKSPACES, add_agent, &ask, err);
}

struct key_ask {
    const char *id;
    struct wall_us now;
    const struct secret *key;
};

static enum err_code add_key(struct sql_conn *conn, void *context, struct err_info *err)
{
    const struct key_ask *ask = context;
    uint8_t hash[HASH_SHA256_BYTES];
    const struct api_key_record record = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = ask->id,
        .name = ask->id,
        .scopes = "*",
        .created_by = "bench",
        .created_at = ask->now.value,
        .expires_at = ask->now.value + US_PER_DAY,
    };
    token_hash(secret_peek(ask->key), hash);
    return store_api_key_add(conn, &record, hash, err);
}

enum err_code seed_key_add(
    struct seed *seed, const char *id, struct secret **ret_key, struct err_info *err)
{
    *ret_key = token_create("blk_");
    struct key_ask ask = { id, clock_wall(seed->service.clock), *ret_key };
    return sql_transact(seed->conn, SQL_ALL_WORKSPACES, add_key, &ask, err);
}
