#include "cmd/server/http/listener.h"

#include "cmd/server/http/address.h"
#include "cmd/server/http/page.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/base/time.h"
#include "common/sys/fd.h"
#include "common/sys/thread.h"

#include <microhttpd.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTION_MAX = 64,
    CONNECTION_PER_IP_MAX = 16,
    CONNECTION_MEMORY_BYTES = 16 * 1024, /* bounds request line and headers: 431 beyond */
    SWEEP_MS = 250
};

/* One accepted connection; lives from libmicrohttpd's notice of its start to that of its end. */
struct connection {
    struct list node;
    int fd;
    struct mono_us since; /* the accept, or the end of the last answer */
    bool cut;
};

struct http_listener {
    struct http_listener_options options;
    struct MHD_Daemon *daemon; /* driven by our thread alone */
    struct thread thread;
    struct list connections;
    bool run_again; /* a connection ended: below its limit the library listens anew, when run */
    int wake_fd;    /* eventfd: stop */
    int poll_fd;    /* of the daemon */
    uint16_t port;
};

/*
 * Paths are compared as they came. libmicrohttpd's own unescaping would cut a path at %00, so that
 * "/healthz%00x" became "/healthz".
 */
static size_t leave_escaped(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

static void on_library_log(void *context, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void on_library_log(void *context, const char *format, va_list args)
{
    (void)context;
    char text[256];
    (void)vsnprintf(text, sizeof(text), format, args);
    log_debug("http_library", LOG_VIEW("text", str_trim(str_of(text))));
}

static void on_connection(
    void *context,
    struct MHD_Connection *handle,
    void **socket_context,
    enum MHD_ConnectionNotificationCode code)
{
    struct http_listener *listener = context;
    struct connection *connection = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        listener->run_again = true;
        if (connection != NULL) {
            list_remove(&connection->node);
            mem_free(connection);
            *socket_context = NULL;
        }
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD);
    connection = mem_alloc(sizeof(*connection));
    connection->fd = info->connect_fd;
    connection->since = clock_mono(clock_system());
    list_append(&listener->connections, &connection->node);
    *socket_context = connection;
}

static void on_completed(
    void *context,
    struct MHD_Connection *handle,
    void **request_context,
    enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)request_context;
    (void)code;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    if (info != NULL && info->socket_context != NULL) {
        struct connection *connection = info->socket_context;
        connection->since = clock_mono(clock_system());
    }
}

static void free_body(void *body)
{
    mem_free(body);
}

static void count_answer(struct http_listener *listener, const struct http_page *page)
{
    char labels[96];
    (void)snprintf(labels, sizeof(labels), "path=\"%s\",status=\"%u\"", page->label, page->status);
    metric_add(
        metric_get(
            listener->options.metrics,
            METRIC_COUNTER,
            "belay_http_requests_total",
            "Requests to the HTTP listener",
            labels),
        1);
}

static void add_header(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

/* Consumes the page's body. An error also ends the connection: what follows may be a body. */
static enum MHD_Result answer(
    struct http_listener *listener, struct MHD_Connection *handle, struct http_page *page)
{
    count_answer(listener, page);
    size_t bytes = page->body.len;
    char *body = bytes == 0 ? mem_strdup("") : buf_steal(&page->body);
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(bytes, body, free_body);
    if (response == NULL) {
        mem_free(body);
        return MHD_NO;
    }
    add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->content_type);
    add_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    add_header(response, "X-Content-Type-Options", "nosniff");
    if (page->status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        add_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    if (page->status != MHD_HTTP_OK) {
        add_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    }
    enum MHD_Result queued = MHD_queue_response(handle, page->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Headers that decide where a request ends, or whom it is for. */
struct framing {
    unsigned host;
    unsigned length;
    bool has_body;
};

static enum MHD_Result on_header(
    void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct framing *framing = context;
    (void)kind;
    if (str_equal_fold(str_of(name), STR("host"))) {
        framing->host++;
    } else if (str_equal_fold(str_of(name), STR("content-length"))) {
        framing->length++;
        framing->has_body = framing->has_body || !str_equal(str_of(value), STR("0"));
    } else if (str_equal_fold(str_of(name), STR("transfer-encoding"))) {
        framing->has_body = true;
    }
    return MHD_YES;
}

/* The library's signature. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result on_request(
    void *context,
    struct MHD_Connection *handle,
    const char *url,
    const char *method,
    const char *version,
    const char *upload_data,
    size_t *upload_bytes,
    void **request_context)
{
    struct http_listener *listener = context;
    struct http_page page = { 0 };
    struct framing framing = { 0 };
    (void)version;
    (void)upload_data;
    *upload_bytes = 0; /* there is none: a request with a body is answered before it is read */
    if (*request_context == NULL) {
        *request_context = listener; /* the headers were looked at */
        (void)MHD_get_connection_values(handle, MHD_HEADER_KIND, on_header, &framing);
        if (framing.host > 1 || framing.length > 1) {
            http_page_error(MHD_HTTP_BAD_REQUEST, "a header is given twice", &page);
            return answer(listener, handle, &page);
        }
        if (framing.has_body) {
            http_page_error(MHD_HTTP_CONTENT_TOO_LARGE, "no body is taken", &page);
            return answer(listener, handle, &page);
        }
        return MHD_YES; /* called again when the request is complete */
    }
    http_page_make(&listener->options, method, url, &page);
    return answer(listener, handle, &page);
}

/*
 * libmicrohttpd's own timeout starts anew with every byte: a peer that sends one a second would
 * hold its connection for ever.
 */
static void cut_slow(struct http_listener *listener)
{
    int64_t now = clock_mono(clock_system()).value;
    for (struct list *node = listener->connections.next; node != &listener->connections;
         node = node->next) {
        struct connection *connection = CONTAINER_OF(node, struct connection, node);
        if (!connection->cut && now - connection->since.value >= listener->options.request_max_us) {
            /* Reset, not closed: what the peer does not read would stay in the kernel for minutes.
             */
            const struct linger reset = { 1, 0 };
            connection->cut = true;
            (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
            (void)shutdown(connection->fd, SHUT_RDWR);
        }
    }
}

static int wait_ms(struct http_listener *listener)
{
    MHD_UNSIGNED_LONG_LONG library_ms = 0;
    bool asked = MHD_get_timeout(listener->daemon, &library_ms) == MHD_YES;
    bool idle = list_is_empty(&listener->connections);
    if (listener->run_again) {
        listener->run_again = false;
        return 0;
    }
    if (asked && library_ms < SWEEP_MS) {
        return (int)library_ms;
    }
    return idle && !asked ? -1 : SWEEP_MS;
}

static void run(void *context)
{
    struct http_listener *listener = context;
    for (;;) {
        struct pollfd fds[] = { { .fd = listener->poll_fd, .events = POLLIN },
                                { .fd = listener->wake_fd, .events = POLLIN } };
        int ready = poll(fds, ARRAY_LENGTH(fds), wait_ms(listener));
        if (ready < 0 && errno != EINTR) {
            log_error("http_listener_failed", LOG_INT("errno", errno));
            return;
        }
        if (ready > 0 && fds[1].revents != 0) {
            return;
        }
        (void)MHD_run(listener->daemon);
        cut_slow(listener);
    }
}

static enum err_code start_daemon(
    struct http_listener *listener, int listen_fd, struct err_info *err)
{
    const struct http_listener_options *options = &listener->options;
    unsigned idle_seconds = (unsigned)(options->request_max_us / US_PER_SECOND) + 1;
    listener->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG,
        0,
        NULL,
        NULL,
        on_request,
        listener,
        MHD_OPTION_EXTERNAL_LOGGER,
        on_library_log,
        NULL,
        MHD_OPTION_LISTEN_SOCKET,
        listen_fd,
        MHD_OPTION_STRICT_FOR_CLIENT,
        1,
        MHD_OPTION_UNESCAPE_CALLBACK,
        leave_escaped,
        NULL,
        MHD_OPTION_CONNECTION_LIMIT,
        options->connection_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        options->connection_per_ip_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT,
        idle_seconds,
        MHD_OPTION_NOTIFY_CONNECTION,
        on_connection,
        listener,
        MHD_OPTION_NOTIFY_COMPLETED,
        on_completed,
        listener,
        MHD_OPTION_END);
    if (listener->daemon == NULL) {
        (void)close(listen_fd);
        return ERR_SET(err, ERR_UNAVAILABLE, "the HTTP listener does not start");
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    listener->poll_fd = info->epoll_fd;
    return ERR_OK;
}

static void apply_defaults(struct http_listener_options *options)
{
    if (options->address == NULL) {
        options->address = HTTP_LISTENER_ADDRESS;
    }
    if (options->connection_max == 0) {
        options->connection_max = CONNECTION_MAX;
    }
    if (options->connection_per_ip_max == 0) {
        options->connection_per_ip_max = CONNECTION_PER_IP_MAX;
    }
    if (options->request_max_us == 0) {
        options->request_max_us = 10 * US_PER_SECOND;
    }
}

static enum err_code start(struct http_listener *listener, struct err_info *err)
{
    int listen_fd = -1;
    listener->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listener->wake_fd < 0) {
        return ERR_SET_ERRNO(err, ERR_LIMIT, errno, "eventfd");
    }
    TRY(http_address_listen(listener->options.address, &listen_fd, &listener->port, err));
    TRY(start_daemon(listener, listen_fd, err));
    return thread_start(&listener->thread, "http", run, listener, err);
}

enum err_code http_listener_start(
    const struct http_listener_options *options,
    struct http_listener **ret_listener,
    struct err_info *err)
{
    struct http_listener *listener = mem_alloc(sizeof(*listener));
    listener->options = *options;
    listener->wake_fd = -1;
    list_init(&listener->connections);
    apply_defaults(&listener->options);
    enum err_code code = start(listener, err);
    if (code != ERR_OK) {
        http_listener_stop(listener);
        return code;
    }
    listener->options.address = NULL; /* borrowed for the call only */
    *ret_listener = listener;
    return ERR_OK;
}

uint16_t http_listener_port(const struct http_listener *listener)
{
    return listener->port;
}

void http_listener_stop(struct http_listener *listener)
{
    if (listener == NULL) {
        return;
    }
    if (listener->thread.running) {
        const uint64_t one = 1;
        /* The counter cannot be full: nothing else writes to it. */
        (void)!write(listener->wake_fd, &one, sizeof(one));
    }
    thread_join(&listener->thread);
    if (listener->daemon != NULL) {
        MHD_stop_daemon(listener->daemon);
    }
    fd_close(&listener->wake_fd);
    mem_free(listener);
}
