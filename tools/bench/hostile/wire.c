#include "tools/bench/hostile/wire.h"

#include "common/base/cleanup.h"
#include "common/base/time.h"
#include "common/sys/fd.h"

#include <openssl/err.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

SSL_CTX *wire_context(void)
{
    static const unsigned char protocols[] = "\x02h2";
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    (void)SSL_CTX_set_alpn_protos(context, protocols, sizeof(protocols) - 1);
    return context;
}

static void set_timeouts(int fd, int64_t receive_us, int64_t send_us)
{
    struct timeval receive = { receive_us / US_PER_SECOND, receive_us % US_PER_SECOND };
    struct timeval send = { send_us / US_PER_SECOND, send_us % US_PER_SECOND };
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
}

int wire_connect(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_timeouts(fd, 5 * US_PER_SECOND, 5 * US_PER_SECOND);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        fd_close(&fd);
    }
    return fd;
}

static bool read_all(struct wire *wire, uint8_t *data, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        int got = SSL_read(wire->ssl, data + at, (int)(bytes - at));
        if (got <= 0) {
            ERR_clear_error();
            return false;
        }
        at += (size_t)got;
    }
    return true;
}

/* One frame, its payload thrown away. */
static bool read_frame(struct wire *wire, uint8_t head[WIRE_HEAD_BYTES])
{
    uint8_t part[1024];
    bool is_whole = read_all(wire, head, WIRE_HEAD_BYTES);
    size_t left = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    while (is_whole && left > 0) {
        size_t bytes = left < sizeof(part) ? left : sizeof(part);
        is_whole = read_all(wire, part, bytes);
        left -= bytes;
    }
    return is_whole;
}

bool wire_send(struct wire *wire, const void *data, size_t bytes)
{
    int sent = SSL_write(wire->ssl, data, (int)bytes);
    ERR_clear_error();
    return sent == (int)bytes;
}

size_t wire_head(uint8_t *out, size_t length, enum wire_type type, unsigned flags, uint32_t stream)
{
    const uint8_t head[WIRE_HEAD_BYTES] = {
        (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length,
        (uint8_t)type,           (uint8_t)flags,         (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream,
    };
    memcpy(out, head, sizeof(head));
    return sizeof(head);
}

static bool greet(struct wire *wire, bool has_ack)
{
    static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    uint8_t head[WIRE_HEAD_BYTES];
    uint8_t ack[WIRE_HEAD_BYTES];
    (void)wire_head(ack, 0, WIRE_SETTINGS, WIRE_ACK, 0);
    /* the literal's NUL is the last byte of the frame */
    return wire_send(wire, hello, sizeof(hello))
        && (!has_ack || (read_frame(wire, head) && wire_send(wire, ack, sizeof(ack))));
}

bool wire_open(struct wire *wire, SSL_CTX *context, uint16_t port, bool has_ack)
{
    *wire = (struct wire){ .fd = wire_connect(port), .stream = 1 };
    if (wire->fd < 0) {
        return false;
    }
    wire->ssl = SSL_new(context);
    if (SSL_set_fd(wire->ssl, wire->fd) != 1 || SSL_connect(wire->ssl) != 1
        || !greet(wire, has_ack)) {
        ERR_clear_error();
        wire_close(wire);
        return false;
    }
    set_timeouts(wire->fd, 5 * US_PER_SECOND, US_PER_SECOND / 2);
    return true;
}

void wire_close(struct wire *wire)
{
    SSL_free(wire->ssl);
    wire->ssl = NULL;
    fd_close(&wire->fd);
}

static size_t put_field(uint8_t *out, const char *name, const char *value)
{
    size_t name_bytes = strlen(name);
    size_t value_bytes = strlen(value);
    size_t at = 0;
    out[at++] = 0; /* literal, not indexed */
    out[at++] = (uint8_t)name_bytes;
    memcpy(out + at, name, name_bytes);
    at += name_bytes;
    out[at++] = (uint8_t)value_bytes;
    memcpy(out + at, value, value_bytes);
    return at + value_bytes;
}

size_t wire_request(uint8_t out[WIRE_BLOCK_MAX], const char *path, const char *key)
{
    size_t at = 0;
    out[at++] = 0x83; /* POST */
    out[at++] = 0x87; /* https */
    at += put_field(out + at, ":path", path);
    at += put_field(out + at, ":authority", "localhost");
    at += put_field(out + at, "content-type", "application/grpc");
    at += put_field(out + at, "te", "trailers");
    if (key != NULL) {
        AUTO_FREE char *value = mem_printf("Bearer %s", key);
        at += put_field(out + at, "authorization", value);
    }
    return at;
}

int64_t wire_call(struct wire *wire, const char *path, const char *key)
{
    uint8_t frames[WIRE_HEAD_BYTES * 2 + WIRE_BLOCK_MAX + 5] = { 0 };
    uint8_t head[WIRE_HEAD_BYTES];
    uint32_t stream = wire->stream;
    struct mono_us began = clock_mono(clock_system());
    size_t block = wire_request(frames + WIRE_HEAD_BYTES, path, key);
    size_t at = wire_head(frames, block, WIRE_HEADERS, WIRE_END_HEADERS, stream) + block;
    at += wire_head(frames + at, 5, WIRE_DATA, WIRE_END_STREAM, stream);
    memset(frames + at, 0, 5);
    wire->stream += 2;
    if (!wire_send(wire, frames, at + 5)) {
        return -1;
    }
    do {
        if (!read_frame(wire, head)) {
            return -1;
        }
    } while (head[3] != WIRE_HEADERS || (head[4] & WIRE_END_STREAM) == 0
             || head[8] != (uint8_t)stream);
    return clock_mono(clock_system()).value - began.value;
}
