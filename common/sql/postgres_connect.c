#include "common/sql/postgres_connect.h"

#include "common/base/mem.h"
#include "common/base/time.h"

#include <stdio.h>
#include <string.h>

/* A server that is gone is noticed within half a minute, in the middle of a statement too. */
#define KEEPALIVE_IDLE_S     "15"
#define KEEPALIVE_INTERVAL_S "5"
#define KEEPALIVE_COUNT      "3"
#define TCP_USER_TIMEOUT_MS  "30000"

enum {
    TIMEOUT_TEXT_BYTES = 24,
    OPTIONS_TEXT_BYTES = 192
};

/* libpq's own complaint about a malformed URL repeats it with the password, so it is not passed on.
 */
static enum err_code check_url(const char *url, char **ret_password, struct err_info *err)
{
    char *message = NULL;
    PQconninfoOption *parsed = PQconninfoParse(url, &message);
    PQfreemem(message);
    if (parsed == NULL) {
        return ERR_SET(
            err,
            ERR_INVALID,
            "the database URL is malformed: use postgresql://user:password@host:port/database "
            "with special characters as %%XX");
    }
    for (const PQconninfoOption *option = parsed; option->keyword != NULL; option++) {
        if (strcmp(option->keyword, "password") == 0 && option->val != NULL) {
            *ret_password = mem_strdup(option->val);
        }
    }
    PQconninfoFree(parsed);
    return ERR_OK;
}

static void wipe(char *secret)
{
    if (secret != NULL) {
        explicit_bzero(secret, strlen(secret));
        mem_free(secret);
    }
}

static enum err_code set_connect_error(const PGconn *pg, const char *password, struct err_info *err)
{
    const char *message = PQerrorMessage(pg);
    size_t length = strcspn(message, "\n");
    bool leaks = password != NULL && password[0] != '\0' && strstr(message, password) != NULL;
    if (leaks) {
        message = "the connection failed";
        length = strlen(message);
    }
    enum err_code code = PQconnectionNeedsPassword(pg) != 0 ? ERR_UNAUTHENTICATED : ERR_UNAVAILABLE;
    const char *hint = strstr(message, "unsupported startup parameter") == NULL
        ? ""
        : ": behind PgBouncer turn prepared statements off";
    return ERR_SET(err, code, "database: %.*s%s", (int)length, message, hint);
}

static PGconn *connect_server(const struct postgres_settings *settings)
{
    char timeout_s[TIMEOUT_TEXT_BYTES];
    char options[OPTIONS_TEXT_BYTES];
    (void)snprintf(
        timeout_s,
        sizeof(timeout_s),
        "%lld",
        (long long)((settings->connect_timeout_us + US_PER_SECOND - 1) / US_PER_SECOND));
    (void)snprintf(
        options,
        sizeof(options),
        "-c statement_timeout=%s -c idle_in_transaction_session_timeout=%s%s",
        settings->statement_timeout_ms,
        settings->statement_timeout_ms,
        settings->read_only ? " -c default_transaction_read_only=on" : "");
    /* What stands before dbname can be changed by the URL, what stands after it cannot. */
    const char *const keywords[] = { "fallback_application_name",
                                     "connect_timeout",
                                     "keepalives",
                                     "keepalives_idle",
                                     "keepalives_interval",
                                     "keepalives_count",
                                     "tcp_user_timeout",
                                     "options",
                                     "dbname",
                                     "client_encoding",
                                     NULL };
    const char *const values[] = { settings->application,
                                   timeout_s,
                                   "1",
                                   KEEPALIVE_IDLE_S,
                                   KEEPALIVE_INTERVAL_S,
                                   KEEPALIVE_COUNT,
                                   TCP_USER_TIMEOUT_MS,
                                   /* PgBouncer refuses this one: see run_begin in postgres.c */
                                   settings->is_pooled ? NULL : options,
                                   settings->url,
                                   "UTF8",
                                   NULL };
    return PQconnectdbParams(keywords, values, 1);
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context;
    (void)result; /* may hold values, and standard error is not for them */
}

enum err_code postgres_connect(
    const struct postgres_settings *settings, PGconn **ret_pg, struct err_info *err)
{
    char *password = NULL;
    TRY(check_url(settings->url, &password, err));
    enum err_code code = ERR_OK;
    PGconn *pg = connect_server(settings);
    if (PQstatus(pg) != CONNECTION_OK) {
        code = set_connect_error(pg, password, err);
        PQfinish(pg);
    } else {
        (void)PQsetnonblocking(pg, 1); /* for postgres_wait; it fails on a lost connection only */
        (void)PQsetNoticeReceiver(pg, ignore_notice, NULL);
        *ret_pg = pg;
    }
    wipe(password);
    return code;
}
