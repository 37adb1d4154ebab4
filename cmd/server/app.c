#include "cmd/server/app.h"

#include "belay_descriptors.h"
#include "cmd/server/api/api.h"
#include "cmd/server/auth/call_metrics.h"
#include "cmd/server/auth/credentials.h"
#include "cmd/server/auth/gate.h"
#include "cmd/server/config.h"
#include "cmd/server/core/identity.h"
#include "cmd/server/core/notifier.h"
#include "cmd/server/core/throttle.h"
#include "cmd/server/gateway/methods.h"
#include "cmd/server/gateway/presence.h"
#include "cmd/server/housekeeping.h"
#include "cmd/server/http/listener.h"
#include "cmd/server/ingest/ingest.h"
#include "cmd/server/local_agent.h"
#include "cmd/server/openshell/openshell.h"
#include "cmd/server/relay/link.h"
#include "cmd/server/relay/relay.h"
#include "common/base/log.h"
#include "common/crypto/cert.h"
#include "common/sql/sqlite_mapping.h"
#include "common/sys/fd.h"
#include "common/sys/file.h"
#include "common/sys/loop.h"
#include "common/sys/notify.h"
#include "common/sys/thread.h"
#include "common/wire/wire.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum {
    PEM_BYTES_MAX = 256 * 1024,
    TLS_NAMES_MAX = 32,
};

#define LISTENER_TLS   "tls"
#define LISTENER_PLAIN "plaintext"
#define LISTENER_LOCAL "local-agent"

struct app {
    const struct config *config;
    struct service service;
    char *database_url;
    char *operator_socket;
    char *agent_socket;
    int lock_fd;
    struct key_sign *command_key;
    struct wire_schema *schema;
    struct rpc_server *rpc;
    struct housekeeping *housekeeping;
    struct http_listener *http;
    struct loop *loop;
    struct loop_timer *certificate_timer;
    struct loop_timer *drain_timer; /* the end of --drain-delay */
    struct local_agent *local_agent;
    uint16_t tls_port;
    uint16_t plain_port;
    atomic_bool ready;
    atomic_bool drained;
    bool drain_begins;
};

int server_exit_of(int code)
{
    switch ((enum err_code)code) {
    case ERR_OK:
        return EXIT_OK;
    case ERR_INVALID:
    case ERR_CORRUPT:
    case ERR_UNSUPPORTED:
    case ERR_PRECONDITION:
    case ERR_NOT_FOUND: /* a file or folder that the configuration names */
        return EXIT_CONFIG;
    case ERR_UNAVAILABLE:
    case ERR_TIMEOUT:
        return EXIT_UNAVAILABLE;
    case ERR_BUSY:
    case ERR_EXISTS:
    case ERR_LIMIT:
        return EXIT_TEMPORARY;
    case ERR_DENIED:
    case ERR_UNAUTHENTICATED:
        return EXIT_NO_PERMISSION;
    case ERR_CONFLICT:
    case ERR_CANCELED:
    case ERR_UNCERTAIN:
    case ERR_NOMEM:
    case ERR_INTERNAL:
    case ERR_CODE_COUNT:
        break;
    }
    return EXIT_FAILED;
}

char *server_database_url(const struct config *config)
{
    const char *url = config_text(config, "database-url");
    return url != NULL ? mem_strdup(url)
                       : mem_printf("sqlite:%s/belay.db", config_text(config, "state-dir"));
}

static enum err_code open_state(struct app *app, struct err_info *err)
{
    const char *dir = config_text(app->config, "state-dir");
    TRY(file_make_dir(dir, 0700, err));
    TRY(file_lock_dir(dir, &app->lock_fd, err));
    const char *socket = config_text(app->config, "operator-socket");
    app->operator_socket =
        socket != NULL ? mem_strdup(socket) : mem_printf("%s/operator.sock", dir);
    app->agent_socket = mem_printf("%s/agents.sock", dir);
    return identity_load_command_key(dir, &app->command_key, err);
}

static enum err_code migrate(const struct app *app, struct sql_conn *conn, struct err_info *err)
{
    size_t count = 0;
    const struct sql_migration *migrations = store_migrations(sql_engine_of(conn), &count);
    const char *how = config_text(app->config, "migrate");
    bool automatic = how == NULL ? sql_engine_of(conn) == SQL_SQLITE : strcmp(how, "auto") == 0;
    if (automatic) {
        return sql_migrate_up(conn, migrations, count, NULL, NULL, err);
    }
    return sql_migrate_check(conn, migrations, count, err);
}

static enum err_code open_database(struct app *app, struct err_info *err)
{
    struct service *service = &app->service;
    struct sql_conn *conn = NULL;
    app->database_url = server_database_url(app->config);
    service->store = (struct store_options){
        .url = app->database_url,
        .direct_url = config_text(app->config, "database-direct-url"),
        .no_prepared_statements = !config_bool(app->config, "database-prepared-statements"),
        .statement_timeout_us = config_int(app->config, "database-timeout"),
    };
    TRY(store_connect(&service->store, &conn, err));
    service->engine = sql_engine_of(conn);
    enum err_code code = migrate(app, conn, err);
    sql_close(conn);
    TRY(code);
    TRY(store_open(&service->store, &conn, err));
    code = identity_load_server_id(
        conn, clock_wall(service->clock), service->server_id, sizeof(service->server_id), err);
    sql_close(conn);
    return code;
}

static void fill_settings(struct app *app)
{
    const struct config *config = app->config;
    app->service.settings = (struct service_settings){
        .heartbeat_us = config_int(config, "heartbeat-interval"),
        .session_us = config_int(config, "session-lifetime"),
        .challenge_us = 30 * US_PER_SECOND,
        .telemetry_keep_us = config_int(config, "telemetry-retention"),
        .events_keep_us = config_int(config, "events-retention"),
        .commands_keep_us = config_int(config, "commands-retention"),
        .usage_keep_us = config_int(config, "usage-retention"),
        .allow_remote_plaintext = config_bool(config, "allow-remote-plaintext"),
    };
}

static enum err_code make_service(struct app *app, struct err_info *err)
{
    struct service *service = &app->service;
    service->mode = config_text(app->config, "mode");
    service->version = BELAY_VERSION_TEXT;
    service->started_at = clock_wall(service->clock);
    fill_settings(app);
    TRY(wire_schema_load(belay_descriptors, belay_descriptors_size, &app->schema, err));
    service->schema = app->schema;
    service->command_key = app->command_key;
    service->metrics = metrics_create();
    service->hub = hub_create();
    atomic_store(&service->hears_all, service->engine == SQL_SQLITE); /* one process has it */
    service->credentials = credentials_create(service->clock);
    service->presence = presence_create();
    service->relays = relays_create();
    service->throttle = throttle_create(
        service->clock,
        (unsigned)config_int(app->config, "bootstrap-burst"),
        (unsigned)config_int(app->config, "bootstrap-per-second"));
    hub_set_listener(service->hub, HUB_SESSION, credentials_forget, service->credentials);
    return service->engine == SQL_SQLITE ? ERR_OK
                                         : relay_links_create(service, &service->links, err);
}

static enum err_code make_rpc(struct app *app, struct err_info *err)
{
    const struct rpc_table tables[] = { gateway_methods(), api_methods(), openshell_methods() };
    app->service.calls = call_metrics_create(app->service.metrics, tables, ARRAY_LENGTH(tables));
    size_t proxies = config_list_count(app->config, "trusted-proxy");
    AUTO_FREE const char **networks = mem_alloc_array(proxies + 1, sizeof(*networks));
    for (size_t i = 0; i < proxies; i++) {
        networks[i] = config_list_item(app->config, "trusted-proxy", i);
    }
    const struct rpc_server_options options = {
        .schema = app->schema,
        .tables = tables,
        .table_count = ARRAY_LENGTH(tables),
        .gate = gate_create(&app->service),
        .service = &app->service,
        .workers = (unsigned)config_int(app->config, "workers"),
        .worker_open = worker_open,
        .worker_close = worker_close,
        .limits = {
            .connections = (unsigned)config_int(app->config, "max-connections"),
            .connections_per_address =
                (unsigned)config_int(app->config, "max-connections-per-address"),
            .idle_timeout_us = config_int(app->config, "max-connection-idle"),
            .age_us = config_int(app->config, "max-connection-age"),
            .handshakes_per_second_per_address =
                (unsigned)config_int(app->config, "max-handshakes-per-address"),
            .strangers_per_address = (unsigned)config_int(app->config, "stranger-burst"),
            .strangers_per_second_per_address =
                (unsigned)config_int(app->config, "stranger-per-second"),
        },
        .trusted_proxies = networks,
        .trusted_proxy_count = proxies,
    };
    return rpc_server_create(&options, &app->rpc, err);
}

struct tls_material { /* what a TLS listener shows, and who vouches for it */
    struct cert_pair pair;
    char *ca_pem; /* NULL: given by the operator */
    bool renewed;
};

static void tls_material_deinit(struct tls_material *material)
{
    cert_pair_deinit(&material->pair);
    mem_free(material->ca_pem);
}

static enum err_code load_given(
    const struct app *app, struct tls_material *material, struct err_info *err)
{
    AUTO_BUF struct buf certificate = BUF_INIT(PEM_BYTES_MAX);
    AUTO_BUF struct buf key = BUF_INIT(PEM_BYTES_MAX);
    TRY(file_read(config_text(app->config, "tls-certificate"), PEM_BYTES_MAX, &certificate, err));
    TRY(file_read_private(config_text(app->config, "tls-key"), PEM_BYTES_MAX, &key, err));
    material->pair.certificate_pem = buf_steal(&certificate);
    material->pair.key_pem = secret_create(buf_text(&key), key.len);
    secret_wipe(key.data, key.len);
    return ERR_OK;
}

static enum err_code load_own(
    const struct app *app, struct tls_material *material, struct err_info *err)
{
    const char *names[TLS_NAMES_MAX] = { NULL };
    char host[256] = "localhost";
    size_t count = 0;
    (void)gethostname(host, sizeof(host) - 1);
    names[count++] = host;
    names[count++] = "localhost";
    names[count++] = "127.0.0.1";
    names[count++] = "::1";
    for (size_t i = 0; i < config_list_count(app->config, "tls-name") && count < TLS_NAMES_MAX;
         i++) {
        names[count++] = config_list_item(app->config, "tls-name", i);
    }
    AUTO_FREE char *dir = mem_printf("%s/tls", config_text(app->config, "state-dir"));
    TRY(file_make_dir(dir, 0700, err));
    return cert_store_load(
        dir,
        names,
        count,
        clock_wall(app->service.clock),
        &material->pair,
        &material->ca_pem,
        &material->renewed,
        err);
}

static enum err_code load_tls(
    const struct app *app, struct tls_material *material, struct err_info *err)
{
    return (config_is_set(app->config, "tls-certificate") ? load_given : load_own)(
        app, material, err);
}

static struct rpc_tls_files tls_files_of(const struct tls_material *material)
{
    return (struct rpc_tls_files){
        .certificate_pem = material->pair.certificate_pem,
        .key_pem = secret_peek(material->pair.key_pem).ptr,
    };
}

/* The address of join strings: what the operator says, or this host's name and the port that was
 * bound. */
static enum err_code set_join_target(struct app *app, const char *address, struct err_info *err)
{
    const char *advertised = config_text(app->config, "advertise");
    char host[256] = "localhost";
    (void)gethostname(host, sizeof(host) - 1);
    struct str_view bound = str_of(address);
    bool is_local = str_has_prefix(bound, STR("127.")) || str_has_prefix(bound, STR("localhost:"));
    AUTO_FREE char *own = mem_printf("%s:%u", is_local ? "127.0.0.1" : host, app->tls_port);
    return str_copy(
               str_of(advertised != NULL ? advertised : own),
               app->service.join_target,
               sizeof(app->service.join_target))
            == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_INVALID, "--advertise: too long");
}

/* Where other servers reach this one, not a balancer: what the operator says, or the host that is
 * listened on (this host's name where that is every address) and the port. */
static enum err_code set_replica_address(struct app *app, const char *address, struct err_info *err)
{
    const char *given = config_text(app->config, "replica-address");
    const char *colon = strrchr(address, ':');
    struct str_view host = str_from(address, colon == NULL ? 0 : (size_t)(colon - address));
    char name[256] = "localhost";
    (void)gethostname(name, sizeof(name) - 1);
    bool is_any = host.len == 0 || str_equal(host, STR("*")) || str_equal(host, STR("0.0.0.0"))
        || str_equal(host, STR("[::]"));
    host = is_any ? str_of(name) : host;
    AUTO_FREE char *own = mem_printf("%.*s:%u", STR_ARG(host), app->tls_port);
    return str_copy(
               str_of(given != NULL ? given : own),
               app->service.replica_address,
               sizeof(app->service.replica_address))
            == ERR_OK
        ? ERR_OK
        : ERR_SET(err, ERR_INVALID, "--replica-address: too long");
}

static void trust(const struct app *app, const struct tls_material *material)
{
    if (app->service.links != NULL) {
        relay_links_trust(
            app->service.links,
            material->ca_pem != NULL ? material->ca_pem : material->pair.certificate_pem);
    }
}

static enum err_code listen_tls(struct app *app, struct err_info *err)
{
    const char *address = config_text(app->config, "listen");
    struct tls_material material = { .renewed = false };
    if (address == NULL || address[0] == '\0') {
        return ERR_OK;
    }
    enum err_code code = load_tls(app, &material, err);
    if (code == ERR_OK) {
        const struct rpc_tls_files files = tls_files_of(&material);
        const struct rpc_listen_options options = { .name = LISTENER_TLS,
                                                    .address = address,
                                                    .tls = &files };
        code = rpc_server_listen(app->rpc, &options, &app->tls_port, err);
    }
    uint8_t pin[32];
    if (code == ERR_OK) {
        const char *pem = material.ca_pem != NULL ? material.ca_pem : material.pair.certificate_pem;
        code = cert_fingerprint(pem, true, pin, err);
    }
    if (code == ERR_OK) {
        str_hex_encode(pin, sizeof(pin), app->service.ca_sha256);
        trust(app, &material);
        code = set_join_target(app, address, err);
    }
    if (code == ERR_OK) {
        code = set_replica_address(app, address, err);
    }
    tls_material_deinit(&material);
    return code;
}

static enum err_code listen_others(struct app *app, struct err_info *err)
{
    AUTO_FREE char *operator_address = mem_printf("unix:%s", app->operator_socket);
    AUTO_FREE char *agent_address = mem_printf("unix:%s", app->agent_socket);
    struct rpc_listen_options options = { .name = GATE_LISTENER_OPERATOR };
    options.address = operator_address;
    TRY(rpc_server_listen(app->rpc, &options, NULL, err));
    if (config_mode(app->config) == MODE_COMBINED) {
        options = (struct rpc_listen_options){ .name = LISTENER_LOCAL, .address = agent_address };
        TRY(rpc_server_listen(app->rpc, &options, NULL, err));
    }
    const char *plain = config_text(app->config, "listen-plaintext");
    if (plain == NULL || plain[0] == '\0') {
        return ERR_OK;
    }
    options = (struct rpc_listen_options){
        .name = LISTENER_PLAIN,
        .address = plain,
        .allow_remote_plaintext = config_bool(app->config, "allow-remote-plaintext"),
    };
    return rpc_server_listen(app->rpc, &options, &app->plain_port, err);
}

static bool is_ready(void *context, char *reason, size_t reason_bytes)
{
    struct app *app = context;
    bool ready = atomic_load(&app->ready);
    bool away = atomic_load(&app->service.database_away);
    if (ready && !away) {
        return true;
    }
    (void)snprintf(
        reason, reason_bytes, "%s", ready ? "the database is away" : "starting or draining");
    return false;
}

static int64_t read_streams(void *context)
{
    return (int64_t)presence_stream_count(((struct app *)context)->service.presence);
}

static int64_t read_connections(void *context)
{
    struct rpc_server_stats stats;
    rpc_server_get_stats(((struct app *)context)->rpc, &stats);
    return (int64_t)stats.connections_open;
}

static enum err_code start_http(struct app *app, struct err_info *err)
{
    struct metrics *metrics = app->service.metrics;
    metric_set_source(
        metric_get(
            metrics,
            METRIC_GAUGE,
            "belay_control_streams",
            "Agents with a control stream here",
            NULL),
        read_streams,
        app);
    metric_set_source(
        metric_get(metrics, METRIC_GAUGE, "belay_connections_open", "Open connections", NULL),
        read_connections,
        app);
    const char *address = config_text(app->config, "listen-http");
    if (address == NULL || address[0] == '\0') {
        return ERR_OK;
    }
    const struct http_listener_options options = {
        .address = address,
        .metrics = metrics,
        .is_ready = is_ready,
        .context = app,
    };
    return http_listener_start(&options, &app->http, err);
}

/* Certificates are renewed and given files read again, without dropping a connection. */
static void reload_tls(struct app *app)
{
    struct err_info err = ERR_INFO_INIT;
    struct tls_material material = { .renewed = false };
    enum err_code code = load_tls(app, &material, &err);
    if (code == ERR_OK) {
        const struct rpc_tls_files files = tls_files_of(&material);
        code = rpc_server_set_tls(app->rpc, LISTENER_TLS, &files, &err);
    }
    if (code == ERR_OK) {
        trust(app, &material);
    }
    tls_material_deinit(&material);
    if (code == ERR_OK) {
        log_info("certificates_loaded", LOG_BOOL("renewed", material.renewed));
    } else {
        log_error("certificates_not_loaded", LOG_ERR(&err));
    }
}

static void on_certificate_timer(void *context)
{
    struct app *app = context;
    if (app->tls_port != 0) {
        reload_tls(app);
    }
    loop_timer_arm_after(app->certificate_timer, US_PER_HOUR);
}

static void on_signal(void *context, int signal)
{
    struct app *app = context;
    if (signal == SIGHUP) {
        on_certificate_timer(app);
        return;
    }
    bool is_first = atomic_exchange(&app->ready, false);
    int64_t delay_us = config_int(app->config, "drain-delay");
    log_info("stopping", LOG_INT("signal", signal), LOG_BOOL("again", !is_first));
    notify_manager("STOPPING=1");
    rpc_server_set_serving(app->rpc, false);
    if (is_first && delay_us > 0) {
        loop_timer_arm_after(app->drain_timer, delay_us);
        return;
    }
    if (app->drain_begins) { /* the second of a pair that came at once */
        rpc_server_hurry(app->rpc);
    }
    app->drain_begins = true;
    loop_stop(app->loop);
}

static void on_drain_timer(void *context)
{
    struct app *app = context;
    app->drain_begins = true;
    loop_stop(app->loop);
}

static enum err_code start_loop(struct app *app, struct err_info *err)
{
    TRY(loop_create(app->service.clock, &app->loop, err));
    TRY(loop_signals(app->loop, on_signal, app, err));
    app->certificate_timer = loop_timer_create(app->loop, on_certificate_timer, app);
    loop_timer_arm_after(app->certificate_timer, US_PER_HOUR);
    app->drain_timer = loop_timer_create(app->loop, on_drain_timer, app);
    return ERR_OK;
}

static enum err_code open_parts(struct app *app, struct err_info *err)
{
    TRY(open_state(app, err));
    TRY(open_database(app, err));
    TRY(make_service(app, err));
    TRY(make_rpc(app, err));
    TRY(listen_tls(app, err));
    return listen_others(app, err);
}

static enum err_code start_parts(struct app *app, struct err_info *err)
{
    if (app->service.engine == SQL_POSTGRES) {
        TRY(notifier_start(&app->service.store, app->service.hub, &app->service.notifier, err));
    }
    TRY(housekeeping_start(&app->service, &app->housekeeping, err));
    TRY(ingest_start(&app->service, &app->service.ingest, err));
    TRY(rpc_server_start(app->rpc, err));
    TRY(start_http(app, err));
    TRY(start_loop(app, err));
    if (config_mode(app->config) != MODE_COMBINED) {
        return ERR_OK;
    }
    return local_agent_start(
        &app->service, app->loop, app->config, app->agent_socket, &app->local_agent, err);
}

static enum err_code start(struct app *app, struct err_info *err)
{
    TRY(open_parts(app, err));
    TRY(start_parts(app, err));
    rpc_server_set_serving(app->rpc, true);
    atomic_store(&app->ready, true);
    notify_manager("READY=1");
    log_info(
        "ready",
        LOG_STR("mode", app->service.mode),
        LOG_STR("server_id", app->service.server_id),
        LOG_STR("database", app->service.engine == SQL_POSTGRES ? "postgresql" : "sqlite"),
        LOG_STR("operator_socket", app->operator_socket),
        LOG_UINT("tls_port", app->tls_port),
        LOG_UINT("plaintext_port", app->plain_port),
        LOG_UINT("http_port", app->http == NULL ? 0 : http_listener_port(app->http)));
    return ERR_OK;
}

static void fill_stop_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
}

/* The loop has ended, so the signals are waited for here: one more of them, and the calls are
 * waited for no longer. */
static void watch_for_impatience(void *context)
{
    struct app *app = context;
    sigset_t set;
    const struct timespec moment = { .tv_nsec = 50000000 };
    fill_stop_signals(&set);
    while (!atomic_load(&app->drained)) {
        if (sigtimedwait(&set, NULL, &moment) > 0) {
            log_info("stopping_at_once");
            rpc_server_hurry(app->rpc);
        }
    }
}

static void drain(struct app *app)
{
    struct err_info err = ERR_INFO_INIT;
    struct thread impatience = { .running = false };
    rpc_server_set_serving(app->rpc, false);
    if (thread_start(&impatience, "impatience", watch_for_impatience, app, &err) != ERR_OK) {
        log_warn("drain_not_interruptible", LOG_ERR(&err));
    }
    atomic_store(&app->service.draining, true);
    presence_drain(app->service.presence);
    hub_wake_all(app->service.hub);
    rpc_server_drain(app->rpc, config_int(app->config, "drain-grace"));
    atomic_store(&app->drained, true);
    thread_join(&impatience);
    sigset_t set; /* from here on they have their usual effect: all that was promised is stored */
    fill_stop_signals(&set);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* What takes calls goes first, what they use afterwards. */
static void stop(struct app *app)
{
    atomic_store(&app->ready, false);
    local_agent_stop(app->local_agent);
    if (app->rpc != NULL) {
        drain(app);
    }
    ingest_stop(app->service.ingest);
    rpc_server_destroy(app->rpc);
    housekeeping_stop(app->housekeeping);
    http_listener_stop(app->http);
    notifier_stop(app->service.notifier);
    loop_timer_destroy(app->certificate_timer);
    loop_timer_destroy(app->drain_timer);
    loop_destroy(app->loop);
    throttle_destroy(app->service.throttle);
    presence_destroy(app->service.presence);
    relay_links_destroy(app->service.links);
    relays_destroy(app->service.relays);
    credentials_destroy(app->service.credentials);
    call_metrics_destroy(app->service.calls);
    hub_destroy(app->service.hub);
    metrics_destroy(app->service.metrics);
    wire_schema_destroy(app->schema);
    key_sign_destroy(app->command_key);
    mem_free(app->operator_socket);
    mem_free(app->agent_socket);
    if (app->database_url != NULL) {
        secret_wipe(app->database_url, strlen(app->database_url));
        mem_free(app->database_url);
    }
    fd_close(&app->lock_fd);
}

static void block_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int server_run(const struct config *config)
{
    struct err_info err = ERR_INFO_INIT;
    struct app app = { .config = config, .lock_fd = -1 };
    app.service.clock = clock_system();
    block_signals();
    sqlite_mapping_end_in_words();
    size_t descriptors = fd_raise_limit();
    log_debug("descriptors", LOG_UINT("limit", descriptors));
    enum err_code code = crypto_start(&err);
    if (code == ERR_OK) {
        code = start(&app, &err);
    }
    if (code == ERR_OK) {
        loop_run(app.loop);
    } else {
        (void)fprintf(stderr, "belay-server: %s\n", err.text);
    }
    stop(&app);
    return server_exit_of((int)code);
}
