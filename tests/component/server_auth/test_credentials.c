/* Sessions and API keys as the gate finds them: from the store, from memory, and no longer. */
#include "cmd/server/auth/credentials.h"
#include "cmd/server/auth/key_uses.h"
#include "cmd/server/store/session.h"
#include "common/crypto/hash.h"
#include "common/sys/thread.h"
#include "tests/component/server_store/fixture.h"

#include <stdatomic.h>

struct bench {
    struct place *place;
    struct service service;
    struct worker *worker;
    struct test_clock clock;
    int64_t agent;
    struct secret *session;
    struct secret *key;
    atomic_bool ended;
};

static struct worker *open_worker(struct bench *bench)
{
    struct err_info err = ERR_INFO_INIT;
    void *worker = NULL;
    assert_ok_err(err, worker_open(&bench->service, &worker, &err));
    return worker;
}

static void bench_init(struct bench *bench, void **state)
{
    struct err_info err = ERR_INFO_INIT;
    uint8_t hash[HASH_SHA256_BYTES];
    memset(bench, 0, sizeof(*bench));
    bench->place = place_of(state);
    test_clock_init(&bench->clock);
    bench->service.clock = &bench->clock.clock;
    bench->service.engine = sql_engine_of(bench->place->conn);
    bench->service.store.url = bench->place->url;
    bench->service.hub = hub_create();
    bench->service.credentials = credentials_create(bench->service.clock);
    bench->worker = open_worker(bench);
    bench->agent = place_add_agent(bench->place, WORKSPACE_DEFAULT, "edge", 1);
    bench->session = token_create("bls_");
    bench->key = token_create("blk_");
    struct session_record session = {
        .workspace_id = WORKSPACE_DEFAULT,
        .agent_id = bench->agent,
        .expires_at = clock_wall(bench->service.clock).value + US_PER_HOUR,
    };
    const struct api_key_record key = {
        .workspace_id = WORKSPACE_DEFAULT,
        .id = "key_1",
        .name = "ci",
        .scopes = "agent:read",
        .created_by = "user:local/0",
        .expires_at = session.expires_at,
    };
    struct sql_conn *conn = bench->place->conn;
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(
        err,
        store_agent_begin_session(
            conn, WORKSPACE_DEFAULT, bench->agent, PLACE_NOW, &session.epoch, &err));
    token_hash(secret_peek(bench->session), hash);
    assert_ok_err(err, store_session_put(conn, &session, hash, PLACE_NOW, &err));
    token_hash(secret_peek(bench->key), hash);
    assert_ok_err(err, store_api_key_add(conn, &key, hash, &err));
    place_commit(bench->place);
}

static void bench_deinit(struct bench *bench)
{
    worker_close(&bench->service, bench->worker);
    credentials_destroy(bench->service.credentials);
    hub_destroy(bench->service.hub);
    secret_destroy(bench->session);
    secret_destroy(bench->key);
}

static enum err_code load(struct bench *bench, struct str_view token, struct principal *principal)
{
    struct err_info err = ERR_INFO_INIT;
    enum err_code code = credentials_load(&bench->service, bench->worker, token, principal, &err);
    if (code != ERR_OK) {
        assert_string_equal(err.text, "the credential is unknown, expired or revoked");
    }
    return code;
}

static bool is_kept(struct bench *bench, const struct secret *token)
{
    struct principal principal;
    uint8_t hash[HASH_SHA256_BYTES];
    token_hash(secret_peek(token), hash);
    return credentials_find(bench->service.credentials, hash, &principal);
}

static void test_what_is_found_is_kept_for_a_while(void **state)
{
    struct bench bench;
    struct principal principal;
    bench_init(&bench, state);
    assert_false(is_kept(&bench, bench.session));
    assert_ok(load(&bench, secret_peek(bench.session), &principal));
    assert_int_equal(principal.kind, PRINCIPAL_AGENT);
    assert_int_equal(principal.agent_id, bench.agent);
    assert_int_equal(principal.workspace_id, WORKSPACE_DEFAULT);
    assert_int_equal(principal.epoch, 1);
    assert_string_equal(principal.workspace, "default");
    assert_false(principal.is_platform_admin);
    assert_true(is_kept(&bench, bench.session));
    test_clock_advance(&bench.clock, 5 * US_PER_SECOND);
    assert_false(is_kept(&bench, bench.session));
    assert_ok(load(&bench, secret_peek(bench.key), &principal));
    assert_int_equal(principal.kind, PRINCIPAL_KEY);
    assert_int_equal(
        principal.scopes, AUTH_SCOPE_BIT(AUTH_SCOPE_NONE) | AUTH_SCOPE_BIT(AUTH_AGENT_READ));
    assert_string_equal(principal.subject, "key:key_1");
    bench_deinit(&bench);
}

/* Where the end of a session is heard of, a heartbeat each ten seconds need not ask the store. */
static void test_a_session_is_kept_for_longer_where_its_end_is_heard(void **state)
{
    struct bench bench;
    struct principal principal;
    bench_init(&bench, state);
    atomic_store(&bench.service.hears_all, true);
    assert_ok(load(&bench, secret_peek(bench.session), &principal));
    assert_ok(load(&bench, secret_peek(bench.key), &principal));
    test_clock_advance(&bench.clock, 59 * US_PER_SECOND);
    assert_true(is_kept(&bench, bench.session));
    assert_false(is_kept(&bench, bench.key));
    credentials_forget(bench.service.credentials, bench.agent);
    assert_false(is_kept(&bench, bench.session));
    assert_ok(load(&bench, secret_peek(bench.session), &principal));
    test_clock_advance(&bench.clock, 60 * US_PER_SECOND);
    assert_false(is_kept(&bench, bench.session));
    bench_deinit(&bench);
}

static const struct sql_statement RENAME = {
    .name = "rename_workspace",
    .postgres = "UPDATE workspace SET name = $2 WHERE id = $1",
    .sqlite = "UPDATE workspace SET name = $2 WHERE id = $1",
};

static void rename_workspace(struct bench *bench, const char *name)
{
    struct err_info err = ERR_INFO_INIT;
    place_begin(bench->place, SQL_ALL_WORKSPACES);
    assert_ok_err(
        err,
        sql_exec(
            bench->place->conn,
            &RENAME,
            SQL_ARGS(SQL_INT(WORKSPACE_DEFAULT), SQL_TEXT(name)),
            NULL,
            &err));
    place_commit(bench->place);
}

static void assert_workspace(struct bench *bench, const struct secret *token, const char *name)
{
    struct principal principal;
    assert_ok(load(bench, secret_peek(token), &principal));
    assert_string_equal(principal.workspace, name);
}

/* Its name is asked for once a minute, whoever of it comes. */
static void test_a_workspace_is_known_for_a_minute(void **state)
{
    struct bench bench;
    bench_init(&bench, state);
    assert_workspace(&bench, bench.session, "default");
    rename_workspace(&bench, "acme");
    test_clock_advance(&bench.clock, 59 * US_PER_SECOND);
    assert_workspace(&bench, bench.session, "default");
    assert_workspace(&bench, bench.key, "default");
    test_clock_advance(&bench.clock, US_PER_SECOND);
    assert_workspace(&bench, bench.key, "acme");
    assert_workspace(&bench, bench.session, "acme");
    assert_true(is_kept(&bench, bench.session));
    rename_workspace(&bench, "default");
    credentials_forget(bench.service.credentials, 0);
    assert_workspace(&bench, bench.session, "default");
    bench_deinit(&bench);
}

static void test_everything_else_gets_one_answer(void **state)
{
    struct bench bench;
    struct principal principal;
    bench_init(&bench, state);
    struct secret *unknown = token_create("bls_");
    struct secret *stranger = token_create("blk_");
    assert_code(ERR_UNAUTHENTICATED, load(&bench, secret_peek(unknown), &principal));
    assert_code(ERR_UNAUTHENTICATED, load(&bench, secret_peek(stranger), &principal));
    assert_code(ERR_UNAUTHENTICATED, load(&bench, STR(""), &principal));
    assert_code(ERR_UNAUTHENTICATED, load(&bench, STR("bls_short"), &principal));
    assert_code(ERR_UNAUTHENTICATED, load(&bench, STR("bla_"), &principal));
    secret_destroy(unknown);
    secret_destroy(stranger);
    test_clock_advance(&bench.clock, US_PER_HOUR); /* both have run out */
    assert_code(ERR_UNAUTHENTICATED, load(&bench, secret_peek(bench.session), &principal));
    assert_code(ERR_UNAUTHENTICATED, load(&bench, secret_peek(bench.key), &principal));
    bench_deinit(&bench);
}

static void test_an_end_is_seen_at_once(void **state)
{
    struct bench bench;
    struct principal session;
    struct principal key;
    struct err_info err = ERR_INFO_INIT;
    bench_init(&bench, state);
    assert_ok(load(&bench, secret_peek(bench.session), &session));
    assert_ok(load(&bench, secret_peek(bench.key), &key));
    credentials_forget(bench.service.credentials, bench.agent + 1);
    assert_true(is_kept(&bench, bench.session));
    credentials_forget(bench.service.credentials, bench.agent);
    assert_false(is_kept(&bench, bench.session));
    assert_true(is_kept(&bench, bench.key));
    assert_ok(credentials_recheck(&bench.service, bench.worker, &session, &err));
    place_begin(bench.place, SQL_ALL_WORKSPACES);
    assert_ok(store_agent_revoke(bench.place->conn, WORKSPACE_DEFAULT, bench.agent, &err));
    assert_ok(
        store_api_key_revoke(bench.place->conn, WORKSPACE_DEFAULT, STR("key_1"), PLACE_NOW, &err));
    place_commit(bench.place);
    credentials_forget(bench.service.credentials, bench.agent);
    credentials_forget(bench.service.credentials, 0);
    assert_false(is_kept(&bench, bench.key));
    assert_code(
        ERR_UNAUTHENTICATED, credentials_recheck(&bench.service, bench.worker, &session, &err));
    assert_code(ERR_UNAUTHENTICATED, credentials_recheck(&bench.service, bench.worker, &key, &err));
    bench_deinit(&bench);
}

static int64_t last_used(struct bench *bench)
{
    struct err_info err = ERR_INFO_INIT;
    struct api_key_record key;
    place_begin(bench->place, WORKSPACE_DEFAULT);
    assert_ok_err(
        err,
        store_api_key_get(
            bench->place->conn, WORKSPACE_DEFAULT, STR("key_1"), bench->place->arena, &key, &err));
    place_commit(bench->place);
    return key.last_used_at;
}

static void flush_uses(struct bench *bench, bool is_last)
{
    struct err_info err = ERR_INFO_INIT;
    struct key_uses *uses = credentials_key_uses(bench->service.credentials);
    assert_ok_err(err, key_uses_flush(uses, bench->worker, is_last, &err));
}

static int64_t use_key(struct bench *bench)
{
    struct principal principal;
    assert_ok(load(bench, secret_peek(bench->key), &principal));
    return clock_wall(bench->service.clock).value;
}

static void test_the_use_of_a_key_is_written_once_a_minute(void **state)
{
    struct bench bench;
    struct principal principal;
    bench_init(&bench, state);
    struct secret *stranger = token_create("blk_");
    flush_uses(&bench, true); /* nothing */
    int64_t first = use_key(&bench);
    assert_int_equal(last_used(&bench), 0); /* the call itself writes nothing */
    flush_uses(&bench, false);
    assert_int_equal(last_used(&bench), first);
    for (int i = 0; i < 5; i++) {
        test_clock_advance(&bench.clock, 10 * US_PER_SECOND);
        assert_true(use_key(&bench) > first);
        assert_code(ERR_UNAUTHENTICATED, load(&bench, secret_peek(stranger), &principal));
        flush_uses(&bench, false);
        assert_int_equal(last_used(&bench), first);
    }
    int64_t sixth = clock_wall(bench.service.clock).value;
    test_clock_advance(&bench.clock, 10 * US_PER_SECOND);
    flush_uses(&bench, false);
    assert_int_equal(last_used(&bench), sixth); /* when it was used, not when it was written */
    test_clock_advance(&bench.clock, US_PER_SECOND);
    int64_t seventh = use_key(&bench);
    flush_uses(&bench, false);
    assert_int_equal(last_used(&bench), sixth);
    flush_uses(&bench, true); /* a server that stops leaves nothing unsaid */
    assert_int_equal(last_used(&bench), seventh);
    test_clock_advance(&bench.clock, 2 * US_PER_MINUTE);
    flush_uses(&bench, false); /* forgotten */
    assert_int_equal(last_used(&bench), seventh);
    secret_destroy(stranger);
    bench_deinit(&bench);
}

static void look_up(void *context)
{
    struct bench *bench = context;
    struct worker *worker = open_worker(bench);
    struct err_info err = ERR_INFO_INIT;
    for (int i = 0; i < 100 && !atomic_load(&bench->ended); i++) {
        struct principal principal;
        if (!is_kept(bench, bench->session)) {
            assert_ok_err(
                err,
                credentials_load(
                    &bench->service, worker, secret_peek(bench->session), &principal, &err));
        }
    }
    worker_close(&bench->service, worker);
}

static void forget(void *context)
{
    struct bench *bench = context;
    for (int i = 0; i < 300; i++) {
        credentials_forget(bench->service.credentials, i % 10 == 0 ? 0 : bench->agent);
    }
}

static void test_threads_look_up_and_forget(void **state)
{
    struct bench bench;
    struct err_info err = ERR_INFO_INIT;
    struct thread threads[4] = { { .running = false } };
    bench_init(&bench, state);
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_ok_err(
            err, thread_start(&threads[i], "look", i == 0 ? forget : look_up, &bench, &err));
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        thread_join(&threads[i]);
    }
    credentials_forget(bench.service.credentials, bench.agent);
    assert_false(is_kept(&bench, bench.session));
    bench_deinit(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_BOTH(test_what_is_found_is_kept_for_a_while),
        PLACE_BOTH(test_a_session_is_kept_for_longer_where_its_end_is_heard),
        PLACE_BOTH(test_a_workspace_is_known_for_a_minute),
        PLACE_BOTH(test_everything_else_gets_one_answer),
        PLACE_BOTH(test_an_end_is_seen_at_once),
        PLACE_BOTH(test_the_use_of_a_key_is_written_once_a_minute),
        PLACE_BOTH(test_threads_look_up_and_forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
