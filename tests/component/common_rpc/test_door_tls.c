/* TLS at the door: versions, ALPN, client certificates, live swap, deadlines, floods, strangers of
 * one address, order at the end. */
#include "tests/component/common_rpc/door_fixture.h"
#include "tests/component/common_rpc/pki.h"

#include <openssl/err.h>

#include <fcntl.h>
#include <signal.h>

struct tls_client {
    SSL_CTX *context;
    SSL *ssl;
    int fd;
};

struct client_wishes {
    int version;                     /* 0: any */
    const char *alpn;                /* wire form; NULL: none */
    const struct pki_leaf *identity; /* NULL: none */
    const char *ciphers;             /* "ALL:@SECLEVEL=0" for old versions */
};

static const struct client_wishes H2 = { .alpn = "\2h2" };

struct world {
    struct pki pki;
    struct pki_leaf leaf;
    struct fixture *fixture;
    struct rpc_tls_files files;
    uint16_t port;
};

static struct world world_create(enum library_mode mode)
{
    struct world world = { .pki = pki_create("Test CA") };
    world.leaf = pki_issue(&world.pki, "server one");
    world.fixture = fixture_create(mode);
    world.files = (struct rpc_tls_files){
        .certificate_pem = world.leaf.chain_pem,
        .key_pem = world.leaf.key_pem,
    };
    return world;
}

static void world_start(struct world *world)
{
    fixture_start(world->fixture);
    world->port = fixture_listen(world->fixture, "tls", "127.0.0.1:0", &world->files);
}

static void world_destroy(struct world *world)
{
    fixture_destroy(world->fixture);
    pki_leaf_destroy(&world->leaf);
    pki_destroy(&world->pki);
}

static struct tls_client client_create(uint16_t port, const struct client_wishes *wishes)
{
    struct tls_client client = { .context = SSL_CTX_new(TLS_client_method()) };
    if (wishes->ciphers != NULL) {
        assert_int_equal(SSL_CTX_set_cipher_list(client.context, wishes->ciphers), 1);
    }
    if (wishes->version != 0) {
        assert_int_equal(SSL_CTX_set_min_proto_version(client.context, wishes->version), 1);
        assert_int_equal(SSL_CTX_set_max_proto_version(client.context, wishes->version), 1);
    }
    if (wishes->identity != NULL) {
        assert_int_equal(SSL_CTX_use_certificate(client.context, wishes->identity->certificate), 1);
        assert_int_equal(SSL_CTX_use_PrivateKey(client.context, wishes->identity->key), 1);
    }
    client.ssl = SSL_new(client.context);
    if (wishes->alpn != NULL) {
        (void)SSL_set_alpn_protos(
            client.ssl, (const unsigned char *)wishes->alpn, (unsigned)strlen(wishes->alpn));
    }
    client.fd = client_connect(port);
    assert_int_equal(SSL_set_fd(client.ssl, client.fd), 1);
    return client;
}

static void client_destroy(struct tls_client *client)
{
    SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    fd_close(&client->fd);
    ERR_clear_error();
}

static void tls_send(struct tls_client *client, const void *data, size_t bytes)
{
    size_t done = 0;
    assert_int_equal(SSL_write_ex(client->ssl, data, bytes, &done), 1);
    assert_int_equal(done, bytes);
}

static void tls_expect(struct tls_client *client, const void *data, size_t bytes)
{
    uint8_t *got = mem_alloc(bytes);
    size_t at = 0;
    while (at < bytes) {
        size_t part = 0;
        assert_int_equal(SSL_read_ex(client->ssl, got + at, bytes - at, &part), 1);
        at += part;
    }
    assert_memory_equal(got, data, bytes);
    mem_free(got);
}

static void tls_hello(struct tls_client *client)
{
    static const uint8_t both[18] = { 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4 };
    tls_send(client, CLIENT_PREFACE, CLIENT_PREFACE_BYTES);
    tls_expect(client, both, sizeof(both));
}

static struct tls_client client_greeted(struct world *world, const struct client_wishes *wishes)
{
    struct tls_client client = client_create(world->port, wishes);
    if (SSL_connect(client.ssl) != 1) {
        ERR_print_errors_fp(stderr);
        fail();
    }
    tls_hello(&client);
    return client;
}

/* With TLS 1.3 a client learns of a refusal only when it reads. */
static void expect_no_entry(struct world *world, const struct client_wishes *wishes)
{
    uint64_t before = fixture_stats(world->fixture).connections_refused;
    struct tls_client client = client_create(world->port, wishes);
    uint8_t byte;
    if (SSL_connect(client.ssl) == 1) {
        size_t done = 0;
        (void)SSL_write_ex(client.ssl, CLIENT_PREFACE, CLIENT_PREFACE_BYTES, &done);
        assert_int_equal(SSL_read_ex(client.ssl, &byte, 1, &done), 0);
    }
    client_destroy(&client);
    WAIT_UNTIL(fixture_stats(world->fixture).connections_refused == before + 1);
    assert_int_equal(atomic_load(&world->fixture->channel_count), 0);
}

static struct rpc_peer *newest_peer(struct world *world)
{
    unsigned count = atomic_load(&world->fixture->channel_count);
    struct rpc_peer *peer =
        door_find_peer(world->fixture->door, world->fixture->channels[count - 1].number);
    assert_non_null(peer);
    return peer;
}

static void test_versions(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    expect_no_entry(
        &world,
        &(struct client_wishes){
            .version = TLS1_1_VERSION, .alpn = "\2h2", .ciphers = "ALL:@SECLEVEL=0" });
    const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
    for (size_t i = 0; i < ARRAY_LENGTH(versions); i++) {
        struct tls_client client = client_greeted(
            &world, &(struct client_wishes){ .version = versions[i], .alpn = "\2h2" });
        assert_int_equal(SSL_version(client.ssl), versions[i]);
        assert_int_equal(SSL_session_reused(client.ssl), 0);
        struct rpc_peer *peer = newest_peer(&world);
        assert_int_equal(peer->kind, RPC_PEER_TLS);
        assert_string_equal(peer->tls_subject, "");
        rpc_peer_unref(peer);
        client_destroy(&client);
    }
    world_destroy(&world);
}

static void test_alpn(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    expect_no_entry(&world, &(struct client_wishes){ .alpn = NULL });
    expect_no_entry(&world, &(struct client_wishes){ .alpn = "\10http/1.1" });
    expect_no_entry(&world, &(struct client_wishes){ .alpn = NULL, .version = TLS1_2_VERSION });
    struct tls_client client =
        client_greeted(&world, &(struct client_wishes){ .alpn = "\10http/1.1\2h2" });
    client_destroy(&client);
    world_destroy(&world);
}

static void test_plain_bytes_on_tls(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    int fd = client_connect(world.port);
    client_send_preface(fd);
    uint8_t got[64];
    (void)client_read_to_end(fd, got, sizeof(got)); /* an alert at most */
    (void)close(fd);
    WAIT_UNTIL(fixture_stats(world.fixture).connections_refused == 1);
    world_destroy(&world);
}

/* The whole of a large exchange, in both directions at once, unharmed. */
static void test_bulk(void **state)
{
    (void)state;

    enum {
        BULK_FRAMES = 600
    };
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    struct tls_client client = client_greeted(&world, &H2);
    static const uint8_t ack[9] = { 0, 0, 0, 4, 1 };
    uint8_t frame[9 + 16000] = { 0, 0, 4, 1, 4, 0, 0, 0, 1 };
    tls_send(&client, ack, sizeof(ack));
    tls_expect(&client, ack, sizeof(ack));
    tls_send(&client, frame, 9 + 4);
    tls_expect(&client, frame, 9 + 4);
    for (unsigned i = 0; i < BULK_FRAMES; i++) {
        const uint8_t head[9] = { 0, 0x3e, 0x80, 0, 0, 0, 0, 0, 1 };
        memcpy(frame, head, sizeof(head));
        for (size_t at = sizeof(head); at < sizeof(frame); at++) {
            frame[at] = pattern_at(at + i);
        }
        tls_send(&client, frame, sizeof(frame));
        tls_expect(&client, frame, sizeof(frame));
    }
    assert_true(fixture_stats(world.fixture).bytes_received > BULK_FRAMES * 16000);
    client_destroy(&client);
    world_destroy(&world);
}

static void test_client_certificates(void **state)
{
    (void)state;
    struct pki other = pki_create("Other CA");
    struct pki_leaf stranger = pki_issue(&other, "stranger");
    for (unsigned required = 0; required < 2; required++) {
        struct world world = world_create(LIBRARY_ECHO);
        struct pki_leaf known = pki_issue(&world.pki, "agent-7");
        world.files.client_ca_pem = world.pki.ca_pem;
        world.files.require_client_certificate = required == 1;
        world_start(&world);
        expect_no_entry(&world, &(struct client_wishes){ .alpn = "\2h2", .identity = &stranger });
        if (required == 1) {
            expect_no_entry(&world, &H2);
        } else {
            struct tls_client client = client_greeted(&world, &H2);
            struct rpc_peer *peer = newest_peer(&world);
            assert_string_equal(peer->tls_subject, "");
            rpc_peer_unref(peer);
            client_destroy(&client);
        }
        const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
        for (size_t i = 0; i < ARRAY_LENGTH(versions); i++) {
            struct tls_client client = client_greeted(
                &world,
                &(struct client_wishes){
                    .alpn = "\2h2", .identity = &known, .version = versions[i] });
            struct rpc_peer *peer = newest_peer(&world);
            uint8_t digest[32];
            assert_int_equal(X509_digest(known.certificate, EVP_sha256(), digest, NULL), 1);
            assert_string_equal(peer->tls_subject, "agent-7");
            assert_memory_equal(peer->tls_fingerprint, digest, sizeof(digest));
            rpc_peer_unref(peer);
            client_destroy(&client);
        }
        pki_leaf_destroy(&known);
        world_destroy(&world);
    }
    pki_leaf_destroy(&stranger);
    pki_destroy(&other);
}

static void expect_server(struct tls_client *client, const struct pki_leaf *leaf)
{
    X509 *shown = SSL_get1_peer_certificate(client->ssl);
    assert_non_null(shown);
    assert_int_equal(X509_cmp(shown, leaf->certificate), 0);
    X509_free(shown);
    /* leaf and CA */
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(client->ssl)), 2);
}

static void test_live_swap(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    struct pki_leaf second = pki_issue(&world.pki, "server two");
    struct err_info err = ERR_INFO_INIT;
    world_start(&world);
    struct tls_client before = client_greeted(&world, &H2);
    expect_server(&before, &world.leaf);

    struct rpc_tls_files files = { .certificate_pem = second.chain_pem, .key_pem = second.key_pem };
    assert_ok_err(err, door_set_tls(world.fixture->door, "tls", &files, &err));
    struct tls_client after = client_greeted(&world, &H2);
    expect_server(&after, &second);
    static const uint8_t ping[17] = { 0, 0, 8, 6 };
    tls_send(&before, ping, sizeof(ping));
    tls_expect(&before, ping, sizeof(ping));

    assert_code(ERR_NOT_FOUND, door_set_tls(world.fixture->door, "none", &files, &err));
    files.key_pem = world.leaf.key_pem; /* of another certificate: refused, the old one stays */
    assert_code(ERR_INVALID, door_set_tls(world.fixture->door, "tls", &files, &err));
    struct tls_client last = client_greeted(&world, &H2);
    expect_server(&last, &second);
    client_destroy(&last);
    client_destroy(&after);
    client_destroy(&before);
    pki_leaf_destroy(&second);
    world_destroy(&world);
}

static void test_bad_material(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    struct err_info err = ERR_INFO_INIT;
    fixture_start(world.fixture);
    const struct rpc_tls_files wrong[] = {
        { .certificate_pem = "", .key_pem = world.leaf.key_pem },
        { .certificate_pem = "no certificate", .key_pem = world.leaf.key_pem },
        { .certificate_pem = world.leaf.chain_pem, .key_pem = "no key" },
        { .certificate_pem = world.leaf.chain_pem, .key_pem = NULL },
        { .certificate_pem = world.leaf.chain_pem,
          .key_pem = world.leaf.key_pem,
          .client_ca_pem = "no CA" },
        { .certificate_pem = world.leaf.chain_pem,
          .key_pem = world.leaf.key_pem,
          .require_client_certificate = true },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        const struct rpc_listen_options options = {
            .name = "tls",
            .address = "127.0.0.1:0",
            .tls = &wrong[i],
        };
        assert_code(ERR_INVALID, door_listen(world.fixture->door, &options, NULL, &err));
        assert_null(strstr(err.text, "PRIVATE KEY"));
    }
    world_destroy(&world);
}

static void test_handshake_timeout(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world.fixture->options.limits.handshake_timeout_us = 300 * US_PER_MS;
    world_start(&world);
    int silent = client_connect(world.port);
    int half = client_connect(world.port);
    static const uint8_t record[] = { 0x16, 3, 1, 2, 0, 1, 0, 1 };
    client_send(half, record, sizeof(record));
    struct tls_client shaken = client_create(world.port, &H2); /* and then nothing */
    assert_int_equal(SSL_connect(shaken.ssl), 1);
    uint8_t byte;
    size_t got = 0;
    assert_true(recv(silent, &byte, 1, 0) <= 0);
    assert_true(recv(half, &byte, 1, 0) <= 0);
    assert_int_equal(SSL_read_ex(shaken.ssl, &byte, 1, &got), 0);
    WAIT_UNTIL(fixture_stats(world.fixture).connections_refused == 3);
    (void)close(silent);
    (void)close(half);
    client_destroy(&shaken);
    world_destroy(&world);
}

/* The preface in TLS records of one byte. */
static void test_dripping_client(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    struct tls_client client = client_create(world.port, &H2);
    assert_int_equal(SSL_connect(client.ssl), 1);
    for (size_t i = 0; i < CLIENT_PREFACE_BYTES; i++) {
        tls_send(&client, CLIENT_PREFACE + i, 1);
    }
    static const uint8_t both[18] = { 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4 };
    tls_expect(&client, both, sizeof(both));
    client_destroy(&client);
    world_destroy(&world);
}

/* Bytes from offset at of SETTINGS and pattern. */
static void check_block(const uint8_t *block, size_t bytes, size_t at)
{
    for (size_t i = 0; i < bytes; i++) {
        if (at + i >= 9 && block[i] != pattern_at(at + i - 9)) {
            fail_msg("byte %zu differs", at + i);
        }
    }
}

static void test_flush_before_close(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_SEND);
    world.fixture->send_bytes = 3 << 20;
    world_start(&world);
    for (unsigned round = 0; round < 3; round++) {
        struct tls_client client = client_create(world.port, &H2);
        assert_int_equal(SSL_connect(client.ssl), 1);
        tls_send(&client, CLIENT_PREFACE, CLIENT_PREFACE_BYTES);
        size_t total = 0;
        size_t part = 0;
        uint8_t block[8192];
        while (SSL_read_ex(client.ssl, block, sizeof(block), &part) == 1) {
            check_block(block, part, total);
            total += part;
        }
        assert_int_equal(total, 9 + (3 << 20));
        assert_int_equal(SSL_get_error(client.ssl, 0), SSL_ERROR_ZERO_RETURN); /* close_notify */
        client_destroy(&client);
    }
    WAIT_UNTIL(fixture_stats(world.fixture).connections_open == 0);
    world_destroy(&world);
}

static void test_client_never_reads(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_FILL);
    world_start(&world);
    struct tls_client client = client_create(world.port, &H2);
    assert_int_equal(SSL_connect(client.ssl), 1);
    tls_send(&client, CLIENT_PREFACE, CLIENT_PREFACE_BYTES);
    WAIT_UNTIL(atomic_load(&world.fixture->filled_count) == 1);
    size_t filled = atomic_load(&world.fixture->filled);
    assert_true(filled > 100000 && filled < 16 << 20);
    fixture_release(world.fixture);
    size_t total = 0;
    size_t part = 0;
    uint8_t block[8192];
    while (SSL_read_ex(client.ssl, block, sizeof(block), &part) == 1) {
        total += part;
    }
    assert_int_equal(total, filled + 9);
    client_destroy(&client);
    world_destroy(&world);
}

static void test_key_updates(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    struct tls_client client = client_greeted(&world, &H2);
    static const uint8_t ping[17] = { 0, 0, 8, 6 };
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        tls_send(&client, ping, sizeof(ping));
        tls_expect(&client, ping, sizeof(ping));
    }
    /* A flood is cut off. */
    size_t done = 0;
    unsigned sent = 0;
    static const uint8_t ack[17] = { 0, 0, 8, 6, 1 };
    while (sent < 100000 && SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1
           && SSL_do_handshake(client.ssl) == 1) {
        sent++;
        if (sent % 5000 == 0 && SSL_write_ex(client.ssl, ack, sizeof(ack), &done) != 1) {
            break;
        }
    }
    client_destroy(&client);
    WAIT_UNTIL(fixture_stats(world.fixture).connections_open == 0);
    assert_true(sent < 100000);
    world_destroy(&world);
}

/* One segment holds a KeyUpdate and what follows it: nothing else comes that would wake the door.
 */
static void test_key_update_and_data_in_one_segment(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world_start(&world);
    struct tls_client client = client_greeted(&world, &H2);
    static const uint8_t ping[17] = { 0, 0, 8, 6 };
    BIO *held = BIO_new(BIO_s_mem());
    BIO *socket_bio = SSL_get_wbio(client.ssl);
    assert_int_equal(BIO_up_ref(socket_bio), 1);
    SSL_set0_wbio(client.ssl, held);
    assert_int_equal(SSL_key_update(client.ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    tls_send(&client, ping, sizeof(ping));
    char *data = NULL;
    long bytes = BIO_get_mem_data(held, &data);
    assert_int_equal(send(client.fd, data, (size_t)bytes, MSG_NOSIGNAL), bytes);
    SSL_set0_wbio(client.ssl, socket_bio);
    struct timeval soon = { .tv_sec = 5 };
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    tls_expect(&client, ping, sizeof(ping));
    client_destroy(&client);
    world_destroy(&world);
}

static void test_guarded(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_HOLD);
    world_start(&world);
    struct tls_client client = client_create(world.port, &H2);
    assert_int_equal(SSL_connect(client.ssl), 1);
    tls_send(&client, CLIENT_PREFACE, CLIENT_PREFACE_BYTES);
    static const uint8_t settings[9] = { 0, 0, 0, 4 };
    tls_expect(&client, settings, sizeof(settings));
    /* A header block without end. */
    uint8_t frame[9 + 8000] = { 0, 0x1f, 0x40, 1, 0, 0, 0, 0, 1 };
    static const uint8_t ack[9] = { 0, 0, 0, 4, 1 };
    tls_send(&client, ack, sizeof(ack));
    tls_send(&client, frame, sizeof(frame));
    frame[3] = 9;
    tls_send(&client, frame, sizeof(frame));
    size_t done = 0;
    (void)SSL_write_ex(client.ssl, frame, sizeof(frame), &done);
    uint8_t goaway[17] = { 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xb };
    tls_expect(&client, goaway, sizeof(goaway));
    assert_int_equal(SSL_read_ex(client.ssl, goaway, 1, &done), 0);
    client_destroy(&client);
    assert_int_equal(fixture_stats(world.fixture).guard_closes, 1);
    world_destroy(&world);
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

/* ---- Strangers of one address ---- */

static void set_blocking(int fd, bool blocks)
{
    assert_int_equal(fcntl(fd, F_SETFL, blocks ? 0 : O_NONBLOCK), 0);
}

/* Sends its hello, and does not wait for the answer. */
static struct tls_client client_knocking(struct world *world)
{
    struct tls_client client = client_create(world->port, &H2);
    set_blocking(client.fd, false);
    assert_int_equal(SSL_connect(client.ssl), -1);
    assert_int_equal(SSL_get_error(client.ssl, -1), SSL_ERROR_WANT_READ);
    return client;
}

/* What the door was sent before it has been seen. */
static void expect_echo(struct tls_client *client)
{
    static const uint8_t ping[17] = { 0, 0, 8, 6 };
    tls_send(client, ping, sizeof(ping));
    tls_expect(client, ping, sizeof(ping));
}

static bool has_answer(const struct tls_client *client)
{
    uint8_t byte;
    return recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void accept_credential(struct world *world, unsigned channel)
{
    struct rpc_peer *peer =
        door_find_peer(world->fixture->door, world->fixture->channels[channel].number);
    assert_non_null(peer);
    atomic_store(&rpc_peer_state(peer)->is_known, true);
    rpc_peer_unref(peer);
}

static void test_strangers_of_one_address_wait(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world.fixture->options.limit_loopback = true;
    world.fixture->options.limits.strangers_per_address = 2;
    world.fixture->options.limits.strangers_per_second_per_address = 0;
    world_start(&world);
    struct tls_client first = client_greeted(&world, &H2);
    struct tls_client second = client_greeted(&world, &H2);
    struct tls_client gone = client_knocking(&world);
    struct tls_client third = client_knocking(&world);
    expect_echo(&first);
    expect_echo(&second);
    assert_false(has_answer(&gone));
    assert_false(has_answer(&third));
    const struct linger reset = { .l_onoff = 1 };
    (void)setsockopt(gone.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    client_destroy(&gone);
    WAIT_UNTIL(fixture_stats(world.fixture).connections_open == 3);
    accept_credential(&world, 0);
    expect_echo(&first);
    set_blocking(third.fd, true);
    assert_int_equal(SSL_connect(third.ssl), 1);
    client_destroy(&second); /* an end is no credential */
    WAIT_UNTIL(fixture_stats(world.fixture).connections_open == 2);
    struct tls_client fourth = client_knocking(&world);
    expect_echo(&first);
    assert_false(has_answer(&fourth));
    client_destroy(&first);
    client_destroy(&third);
    client_destroy(&fourth);
    world_destroy(&world);
}

static void test_time_lets_strangers_in(void **state)
{
    (void)state;
    struct world world = world_create(LIBRARY_ECHO);
    world.fixture->options.limit_loopback = true;
    world.fixture->options.limits.strangers_per_address = 1;
    world.fixture->options.limits.strangers_per_second_per_address = 10;
    world_start(&world);
    struct tls_client clients[4];
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        clients[i] = client_greeted(&world, &H2);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(clients); i++) {
        client_destroy(&clients[i]);
    }
    world_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_plain_bytes_on_tls),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_live_swap),
        cmocka_unit_test(test_bad_material),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_strangers_of_one_address_wait),
        cmocka_unit_test(test_time_lets_strangers_in),
        cmocka_unit_test(test_dripping_client),
        cmocka_unit_test(test_flush_before_close),
        cmocka_unit_test(test_client_never_reads),
        cmocka_unit_test(test_key_updates),
        cmocka_unit_test(test_key_update_and_data_in_one_segment),
        cmocka_unit_test(test_guarded),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
