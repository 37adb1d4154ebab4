#include "cmd/server/config.h"

#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/rpc/server.h"

static const char *const modes[] = { "server", "combined", "agent", NULL };
static const char *const levels[] = { "debug", "info", "warn", "error", NULL };
static const char *const migrate_modes[] = { "auto", "check", NULL };

const struct config_option server_options[] = {
    { .name = "mode",
      .type = CONFIG_CHOICE,
      .fallback = "server",
      .choices = modes,
      .argument = "MODE",
      .section = "General",
      .help =
          "What runs here: the control plane, control plane and agent on one node, or the agent "
          "alone" },
    { .name = "config",
      .letter = 'c',
      .type = CONFIG_PATH,
      .flags = CONFIG_FLAG_ONLY,
      .argument = "FILE",
      .section = "General",
      .help = "YAML file with these options, underscores for dashes" },
    { .name = "state-dir",
      .type = CONFIG_PATH,
      .fallback = "/var/lib/belay-server",
      .argument = "DIR",
      .section = "General",
      .help = "Keys, certificates, sockets and the embedded database; mode 0700" },
    { .name = "log-level",
      .type = CONFIG_CHOICE,
      .fallback = "info",
      .choices = levels,
      .argument = "LEVEL",
      .section = "General",
      .help = "Least severe events that are logged" },
    { .name = "help",
      .letter = 'h',
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .section = "General",
      .help = "Print this and exit" },
    { .name = "version",
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .section = "General",
      .help = "Print the version and exit" },
    { .name = "json",
      .type = CONFIG_BOOL,
      .flags = CONFIG_FLAG_ONLY,
      .section = "General",
      .help = "JSON output of config show and migrate status" },

    { .name = "listen",
      .type = CONFIG_TEXT,
      .fallback = "127.0.0.1:7443",
      .max = 255,
      .argument = "ADDRESS",
      .section = "Network",
      .help = "TLS address for agents and operators, \"host:port\"; empty: none" },
    { .name = "listen-plaintext",
      .type = CONFIG_TEXT,
      .max = 255,
      .argument = "ADDRESS",
      .section = "Network",
      .help = "Plaintext address for a proxy in front; loopback only" },
    { .name = "allow-remote-plaintext",
      .type = CONFIG_BOOL,
      .fallback = "false",
      .section = "Network",
      .help = "Let --listen-plaintext bind beyond loopback and accept credentials there" },
    { .name = "advertise",
      .type = CONFIG_TEXT,
      .max = 255,
      .argument = "ADDRESS",
      .section = "Network",
      .help = "Address that join strings name; by default the host name and the TLS port" },
    { .name = "replica-address",
      .type = CONFIG_TEXT,
      .max = 255,
      .argument = "ADDRESS",
      .section = "Network",
      .help =
          "Where other servers on the same PostgreSQL reach --listen of this one, not through a "
          "balancer; by default its host, or the host name where it is every address" },
    { .name = "tls-name",
      .type = CONFIG_LIST,
      .argument = "NAME",
      .section = "Network",
      .help = "Further DNS name or IP address of the server certificate" },
    { .name = "tls-certificate",
      .type = CONFIG_PATH,
      .argument = "FILE",
      .section = "Network",
      .help = "PEM chain to use instead of the server's own CA" },
    { .name = "tls-key",
      .type = CONFIG_PATH,
      .argument = "FILE",
      .section = "Network",
      .help = "PEM key of --tls-certificate, mode 0600" },
    { .name = "operator-socket",
      .type = CONFIG_PATH,
      .argument = "PATH",
      .section = "Network",
      .help = "Unix socket of local operators; by default operator.sock in the state folder" },
    { .name = "trusted-proxy",
      .type = CONFIG_LIST,
      .argument = "CIDR",
      .section = "Network",
      .help =
          "Network of proxies that name the client by the PROXY protocol, version 2: from there "
          "each TCP connection must, from elsewhere none may" },
    { .name = "listen-http",
      .type = CONFIG_TEXT,
      .max = 255,
      .argument = "ADDRESS",
      .section = "Network",
      .help = "Address of /metrics, /healthz and /readyz; unset: none" },

    { .name = "database-url",
      .type = CONFIG_TEXT,
      .flags = CONFIG_SECRET,
      .max = 2048,
      .argument = "URL",
      .section = "Database",
      .help = "\"postgresql://...\" or \"sqlite:/path\"; by default belay.db in the state folder" },
    { .name = "database-prepared-statements",
      .type = CONFIG_BOOL,
      .fallback = "true",
      .section = "Database",
      .help = "Use prepared statements; no behind PgBouncer in transaction mode" },
    { .name = "database-direct-url",
      .type = CONFIG_TEXT,
      .flags = CONFIG_SECRET,
      .max = 2048,
      .argument = "URL",
      .section = "Database",
      .help =
          "The same database past PgBouncer, for notifications between servers and migrations" },
    { .name = "database-timeout",
      .type = CONFIG_DURATION,
      .fallback = "10s",
      .min = 100 * US_PER_MS,
      .max = US_PER_HOUR,
      .argument = "TIME",
      .section = "Database",
      .help = "PostgreSQL: longest time of a statement, and of silence inside a transaction" },
    { .name = "migrate",
      .type = CONFIG_CHOICE,
      .choices = migrate_modes,
      .argument = "HOW",
      .section = "Database",
      .help = "Apply missing migrations at start, or refuse to start; by default auto on SQLite, "
              "check on PostgreSQL" },
    { .name = "telemetry-retention",
      .type = CONFIG_DURATION,
      .fallback = "30d",
      .min = US_PER_HOUR,
      .max = 3650 * US_PER_DAY,
      .argument = "TIME",
      .section = "Database",
      .help = "How long samples are kept" },
    { .name = "events-retention",
      .type = CONFIG_DURATION,
      .fallback = "90d",
      .min = US_PER_HOUR,
      .max = 3650 * US_PER_DAY,
      .argument = "TIME",
      .section = "Database",
      .help = "How long events are kept" },
    { .name = "commands-retention",
      .type = CONFIG_DURATION,
      .fallback = "30d",
      .min = US_PER_HOUR,
      .max = 3650 * US_PER_DAY,
      .argument = "TIME",
      .section = "Database",
      .help = "How long finished commands are kept, and their idempotency keys" },
    { .name = "usage-retention",
      .type = CONFIG_DURATION,
      .fallback = "400d",
      .min = US_PER_DAY,
      .max = 3650 * US_PER_DAY,
      .argument = "TIME",
      .section = "Database",
      .help = "How long what sandboxes used is kept for accounting" },

    { .name = "heartbeat-interval",
      .type = CONFIG_DURATION,
      .fallback = "10s",
      .min = US_PER_SECOND,
      .max = US_PER_HOUR,
      .argument = "TIME",
      .section = "Agents",
      .help = "How often agents report; three missed ones are offline" },
    { .name = "session-lifetime",
      .type = CONFIG_DURATION,
      .fallback = "24h",
      .min = US_PER_MINUTE,
      .max = 30 * US_PER_DAY,
      .argument = "TIME",
      .section = "Agents",
      .help = "Life of an agent's session; it renews itself before" },
    { .name = "agent-config",
      .type = CONFIG_PATH,
      .argument = "FILE",
      .section = "Agents",
      .help = "YAML file of the agent that the combined and agent modes run" },

    { .name = "workers",
      .type = CONFIG_INT,
      .fallback = "4",
      .min = 1,
      .max = 256,
      .argument = "N",
      .section = "Limits",
      .help = "Worker threads, each with a database connection" },
    { .name = "max-connections",
      .type = CONFIG_INT,
      .fallback = "20000",
      .min = 16,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "Connections of the whole process" },
    { .name = "max-connections-per-address",
      .type = CONFIG_INT,
      .fallback = "1024",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "Connections of one source address" },
    { .name = "max-connection-idle",
      .type = CONFIG_DURATION,
      .fallback = "1h",
      .min = 0,
      .max = 30 * US_PER_DAY,
      .argument = "TIME",
      .section = "Limits",
      .help = "A connection without calls for so long is asked to go; 0: never" },
    { .name = "max-connection-age",
      .type = CONFIG_DURATION,
      .fallback = "0s",
      .min = 0,
      .max = 365 * US_PER_DAY,
      .argument = "TIME",
      .section = "Limits",
      .help = "A connection this old is asked to go, its calls get 10 s to end; 0: never" },
    { .name = "max-handshakes-per-address",
      .type = CONFIG_INT,
      .fallback = "1000",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "New connections of one source address within a second; loopback is exempt" },
    { .name = "stranger-burst",
      .type = CONFIG_INT,
      .fallback = "400",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "TLS connections of one source address on which no credential was accepted yet; the "
              "next ones wait before their handshake until one is; loopback is exempt" },
    { .name = "stranger-per-second",
      .type = CONFIG_INT,
      .fallback = "20",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "How many of those are let through a second although no credential is accepted" },
    { .name = "bootstrap-per-second",
      .type = CONFIG_INT,
      .fallback = "20",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "Registrations and handshakes a second of one source address (loopback is exempt), "
              "token or key; also credentials of nobody that are looked up for one address, and "
              "log lines about calls without a credential" },
    { .name = "bootstrap-burst",
      .type = CONFIG_INT,
      .fallback = "120",
      .min = 1,
      .max = 1000000,
      .argument = "N",
      .section = "Limits",
      .help = "How many of them may come at once before that rate holds" },
    { .name = "drain-delay",
      .type = CONFIG_DURATION,
      .fallback = "0s",
      .min = 0,
      .max = US_PER_HOUR,
      .argument = "TIME",
      .section = "Limits",
      .help =
          "How long after SIGTERM calls are still taken, with readiness off, so that a balancer "
          "notices first" },
    { .name = "drain-grace",
      .type = CONFIG_DURATION,
      .fallback = "10s",
      .min = 0,
      .max = US_PER_HOUR,
      .argument = "TIME",
      .section = "Limits",
      .help = "How long calls may go on after SIGTERM" },
};

const size_t server_option_count = ARRAY_LENGTH(server_options);

enum server_mode config_mode(const struct config *config)
{
    struct str_view mode = str_of(config_text(config, "mode"));
    return str_equal(mode, STR("agent"))   ? MODE_AGENT
        : str_equal(mode, STR("combined")) ? MODE_COMBINED
                                           : MODE_SERVER;
}

static enum err_code check_proxies(const struct config *config, struct err_info *err)
{
    for (size_t i = 0; i < config_list_count(config, "trusted-proxy"); i++) {
        struct err_info why = ERR_INFO_INIT;
        enum err_code code = rpc_network_check(config_list_item(config, "trusted-proxy", i), &why);
        if (code != ERR_OK) {
            return ERR_SET(err, code, "--trusted-proxy: %s", why.text);
        }
    }
    return ERR_OK;
}

static enum err_code check_address(
    const struct config *config, const char *name, struct err_info *err)
{
    const char *text = config_text(config, name);
    struct err_info why = ERR_INFO_INIT;
    if (text == NULL || text[0] == '\0') {
        return ERR_OK;
    }
    enum err_code code = rpc_address_check(text, &why);
    return code == ERR_OK ? ERR_OK : ERR_SET(err, code, "--%s: %s", name, why.text);
}

enum err_code config_check_mode(const struct config *config, struct err_info *err)
{
    enum server_mode mode = config_mode(config);
    bool has_words = config_word_count(config) > 0;
    bool is_migrate = has_words && strcmp(config_word(config, 0), "migrate") == 0;
    if (mode == MODE_AGENT && is_migrate) {
        return ERR_SET(err, ERR_INVALID, "migrate: the agent mode has no server database");
    }
    const char *dir = config_text(config, "state-dir");
    if (mode != MODE_AGENT && dir[0] != '/') {
        return ERR_SET(err, ERR_INVALID, "--state-dir: \"%s\" is not an absolute path", dir);
    }
    if (mode == MODE_SERVER && config_is_set(config, "agent-config")) {
        return ERR_SET(
            err, ERR_INVALID, "--agent-config: the server mode runs no agent; use --mode combined");
    }
    if (config_is_set(config, "tls-certificate") != config_is_set(config, "tls-key")) {
        return ERR_SET(
            err, ERR_INVALID, "--tls-certificate and --tls-key go together: one is missing");
    }
    if (config_bool(config, "allow-remote-plaintext")
        && !config_is_set(config, "listen-plaintext")) {
        return ERR_SET(
            err, ERR_INVALID, "--allow-remote-plaintext: there is no --listen-plaintext to allow");
    }
    TRY(check_address(config, "listen", err));
    TRY(check_address(config, "listen-plaintext", err));
    return check_proxies(config, err);
}
