#include "common/base/log.h"
#include "common/rpc/door/door_private.h"
#include "common/rpc/door/proxy_header.h"

#include <errno.h>
#include <sys/socket.h>

/* ---- A proxy's header ---- */

/* From here on the client that the header names is the one that is counted and named. */
static void take_client(struct conn *conn, const struct proxy_header *header)
{
    conn->awaits_header = false;
    if (header->is_local) {
        return;
    }
    door_describe_client(header->address, header->port, conn->peer);
    conn->peer->is_loopback = false;
    conn->source = door_enter_source(conn->door, header->address);
    if (conn->source == NULL) {
        conn_refuse(conn, "too many connections of the address that the proxy names");
    }
}

/* Said aloud now and then: a proxy that is not set up for it gets nobody in. */
static void refuse_header(struct conn *conn)
{
    struct mono_us now = loop_now(conn->door->loop);
    if (now.value >= conn->door->proxies_warned.value) {
        conn->door->proxies_warned.value = now.value + US_PER_MINUTE;
        log_warn(
            "proxy_header_refused",
            LOG_STR("listener", conn->peer->listener),
            LOG_STR("proxy", conn->peer->address));
    }
    conn_refuse(conn, "no usable header of the PROXY protocol");
}

/* How long the header is, as far as what has come tells; 0: it is none. */
static size_t measure_header(const struct conn *conn)
{
    size_t wanted = PROXY_HEADER_HEAD_BYTES;
    size_t have = spill_len(&conn->up);
    bool fine = have == 0 || proxy_header_measure(spill_data(&conn->up), have, &wanted) == ERR_OK;
    return fine ? wanted : 0;
}

/*
 * Reads no byte beyond the header: what follows is for TLS, which reads the socket itself. Returns
 * when there is nothing more to read now, or when the header is complete, or wrong.
 */
void conn_read_header(struct conn *conn)
{
    uint8_t *chunk = conn->door->chunk;
    size_t wanted = measure_header(conn);
    while (spill_len(&conn->up) < wanted) {
        ssize_t got = recv(conn->outer, chunk, wanted - spill_len(&conn->up), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        bool fine = got > 0 && spill_append(&conn->up, chunk, (size_t)got);
        wanted = fine ? measure_header(conn) : 0;
    }
    struct proxy_header header;
    if (wanted == 0 || proxy_header_parse(spill_data(&conn->up), wanted, &header) != ERR_OK) {
        refuse_header(conn);
        return;
    }
    spill_clear(&conn->up);
    take_client(conn, &header);
}

/* ---- The handshake ---- */

void conn_step_handshake(struct conn *conn)
{
    struct door *door = conn->door;
    if (!door_admit_stranger(conn)) {
        conn->handshake_waits = true;
        return;
    }
    if (door->handshakes_left == 0) {
        conn->handshake_waits = true;
        list_remove(&conn->ready);
        list_append(&door->handshakes, &conn->ready);
        door_after_batch(door);
        return;
    }
    door->handshakes_left--;
    enum tls_result result = tls_session_handshake(conn->tls);
    conn->handshake_writes = result == TLS_WANT_WRITE;
    switch (result) {
    case TLS_DONE:
        conn->shaken = true;
        break;
    case TLS_WANT_READ:
    case TLS_WANT_WRITE:
        break;
    case TLS_CLOSED:
    case TLS_FAILED:
        conn_refuse(conn, tls_last_error());
        break;
    }
}
