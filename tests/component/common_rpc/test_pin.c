/* Fetching a CA by its pin: the right one, and a clear text for everything that can be in the way.
 */
#include "common/rpc/client.h"
#include "tests/component/common_rpc/door_fixture.h"
#include "tests/component/common_rpc/pki.h"

#include <dlfcn.h>
#include <netdb.h>
#include <signal.h>

struct world {
    struct pki pki;
    struct pki_leaf leaf;
    struct fixture *fixture;
    struct rpc_tls_files files;
    uint8_t pin[32];
};

static struct world world_create(void)
{
    struct world world = { .pki = pki_create("Test CA") };
    world.leaf = pki_issue(&world.pki, "server");
    world.fixture = fixture_create(LIBRARY_ECHO);
    world.files = (struct rpc_tls_files){
        .certificate_pem = world.leaf.chain_pem,
        .key_pem = world.leaf.key_pem,
    };
    assert_int_equal(X509_digest(world.pki.ca, EVP_sha256(), world.pin, NULL), 1);
    fixture_start(world.fixture);
    return world;
}

static void world_destroy(struct world *world)
{
    fixture_destroy(world->fixture);
    pki_leaf_destroy(&world->leaf);
    pki_destroy(&world->pki);
}

static enum err_code fetch(
    uint16_t port, const uint8_t pin[32], char **ret_pem, struct err_info *err)
{
    AUTO_FREE char *target = mem_printf("127.0.0.1:%u", (unsigned)port);
    return rpc_fetch_pinned_ca(target, pin, 10 * US_PER_SECOND, ret_pem, err);
}

static void expect(enum err_code code, const char *words, uint16_t port, const uint8_t pin[32])
{
    struct err_info err = ERR_INFO_INIT;
    char *pem = NULL;
    assert_code(code, fetch(port, pin, &pem, &err));
    assert_null(pem);
    if (strstr(err.text, words) == NULL) {
        fail_msg("\"%s\" does not hold \"%s\"", err.text, words);
    }
}

static void test_fetch(void **state)
{
    (void)state;
    struct world world = world_create();
    struct err_info err = ERR_INFO_INIT;
    uint16_t port = fixture_listen(world.fixture, "tls", "127.0.0.1:0", &world.files);
    char *pem = NULL;
    assert_ok_err(err, fetch(port, world.pin, &pem, &err));
    assert_string_equal(pem, world.pki.ca_pem);
    mem_free(pem);
    AUTO_FREE char *named = mem_printf("localhost:%u", (unsigned)port);
    assert_ok_err(err, rpc_fetch_pinned_ca(named, world.pin, US_PER_MINUTE, &pem, &err));
    mem_free(pem);
    world_destroy(&world);
}

/* A listener that wants client certificates can be asked all the same. */
static void test_fetch_without_client_certificate(void **state)
{
    (void)state;
    struct world world = world_create();
    struct err_info err = ERR_INFO_INIT;
    char *pem = NULL;
    world.files.client_ca_pem = world.pki.ca_pem;
    world.files.require_client_certificate = true;
    uint16_t port = fixture_listen(world.fixture, "tls", "127.0.0.1:0", &world.files);
    assert_ok_err(err, fetch(port, world.pin, &pem, &err));
    mem_free(pem);
    world_destroy(&world);
}

static void test_other_ca(void **state)
{
    (void)state;
    struct world world = world_create();
    uint16_t port = fixture_listen(world.fixture, "tls", "127.0.0.1:0", &world.files);
    uint8_t pin[32];
    memcpy(pin, world.pin, sizeof(pin));
    pin[31] ^= 1;
    expect(ERR_DENIED, "another CA", port, pin);
    /* The pin of the leaf itself is not the pin of a CA. */
    assert_int_equal(X509_digest(world.leaf.certificate, EVP_sha256(), pin, NULL), 1);
    expect(ERR_DENIED, "another CA", port, pin);
    world_destroy(&world);
}

/* Somebody shows the right CA behind a leaf that the CA never signed. */
static void test_forged_leaf(void **state)
{
    (void)state;
    struct world world = world_create();
    struct pki forger = pki_create("Test CA");
    struct pki_leaf forged = pki_issue(&forger, "server");
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, forged.certificate);
    PEM_write_bio_X509(bio, world.pki.ca);
    AUTO_FREE char *chain = pki_text(bio);
    const struct rpc_tls_files files = { .certificate_pem = chain, .key_pem = forged.key_pem };
    uint16_t port = fixture_listen(world.fixture, "tls", "127.0.0.1:0", &files);
    expect(ERR_DENIED, "not valid", port, world.pin);
    pki_leaf_destroy(&forged);
    pki_destroy(&forger);
    world_destroy(&world);
}

static void test_plaintext_listener(void **state)
{
    (void)state;
    struct world world = world_create();
    uint16_t port = fixture_listen(world.fixture, "plain", "127.0.0.1:0", NULL);
    expect(ERR_UNSUPPORTED, "does not speak TLS", port, world.pin);
    world_destroy(&world);
}

/* ---- Peers made by hand ---- */

struct fake_server {
    pthread_t thread;
    int fd;
    uint16_t port;
    const char *reply; /* NULL: TLS without HTTP/2 */
    SSL_CTX *context;
};

static void *run_fake(void *argument)
{
    struct fake_server *fake = argument;
    AUTO_FD int fd = accept(fake->fd, NULL, NULL);
    char block[1024];
    set_timeouts(fd);
    if (fake->reply != NULL) {
        (void)recv(fd, block, sizeof(block), 0);
        (void)send(fd, fake->reply, strlen(fake->reply), MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, block, sizeof(block), 0) > 0) {
        }
        return NULL;
    }
    SSL *ssl = SSL_new(fake->context);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        (void)SSL_read(ssl, block, sizeof(block));
    }
    SSL_free(ssl);
    return NULL;
}

static struct fake_server fake_listen(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t bytes = sizeof(address);
    struct fake_server fake = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    assert_int_equal(bind(fake.fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake.fd, 5), 0);
    assert_int_equal(getsockname(fake.fd, (struct sockaddr *)&address, &bytes), 0);
    fake.port = ntohs(address.sin_port);
    return fake;
}

static void test_http_server(void **state)
{
    (void)state;
    static const uint8_t pin[32] = { 1 };
    struct fake_server fake = fake_listen();
    fake.reply = "HTTP/1.1 400 Bad Request\r\n\r\n";
    assert_int_equal(pthread_create(&fake.thread, NULL, run_fake, &fake), 0);
    expect(ERR_UNSUPPORTED, "does not speak TLS", fake.port, pin);
    (void)pthread_join(fake.thread, NULL);
    fake.reply = ""; /* closes at once */
    assert_int_equal(pthread_create(&fake.thread, NULL, run_fake, &fake), 0);
    expect(ERR_UNAVAILABLE, "closed the connection", fake.port, pin);
    (void)pthread_join(fake.thread, NULL);
    (void)close(fake.fd);
}

static int refuse_alpn(
    SSL *ssl,
    const unsigned char **out,
    unsigned char *out_len,
    const unsigned char *in,
    unsigned in_len,
    void *context)
{
    (void)ssl;
    (void)out;
    (void)out_len;
    (void)in;
    (void)in_len;
    (void)context;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* What a proxy that ends TLS looks like: it ignores the protocol asked for, or refuses it. */
static void test_no_http2(void **state)
{
    (void)state;
    static const uint8_t pin[32] = { 1 };
    struct pki pki = pki_create("Proxy CA");
    struct pki_leaf leaf = pki_issue(&pki, "proxy");
    struct fake_server fake = fake_listen();
    fake.context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(fake.context, leaf.certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(fake.context, leaf.key), 1);
    for (unsigned refuses = 0; refuses < 2; refuses++) {
        if (refuses == 1) {
            SSL_CTX_set_alpn_select_cb(fake.context, refuse_alpn, NULL);
        }
        assert_int_equal(pthread_create(&fake.thread, NULL, run_fake, &fake), 0);
        expect(ERR_UNSUPPORTED, "proxy", fake.port, pin);
        (void)pthread_join(fake.thread, NULL);
    }
    SSL_CTX_free(fake.context);
    (void)close(fake.fd);
    pki_leaf_destroy(&leaf);
    pki_destroy(&pki);
}

static void test_unreachable(void **state)
{
    (void)state;
    static const uint8_t pin[32] = { 1 };
    struct fake_server fake = fake_listen();
    (void)close(fake.fd);
    expect(ERR_UNAVAILABLE, "connecting to", fake.port, pin);
}

static void test_timeout(void **state)
{
    (void)state;
    static const uint8_t pin[32] = { 1 };
    struct fake_server fake = fake_listen(); /* nobody accepts */
    struct err_info err = ERR_INFO_INIT;
    char *pem = NULL;
    AUTO_FREE char *target = mem_printf("127.0.0.1:%u", (unsigned)fake.port);
    assert_code(ERR_TIMEOUT, rpc_fetch_pinned_ca(target, pin, 200 * US_PER_MS, &pem, &err));
    assert_non_null(strstr(err.text, "in time"));
    (void)close(fake.fd);
}

static int slow_release[2];
static atomic_int slow_ended;

/* In the place of the C library's, which cannot be made to wait. */
int getaddrinfo(
    const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    union {
        void *symbol;
        int (*call)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    } real = { .symbol = dlsym(RTLD_NEXT, "getaddrinfo") };

    if (node != NULL && strcmp(node, "slow.example") == 0) {
        (void)wait_fd(slow_release[0], POLLIN, 20000);
        atomic_store(&slow_ended, 1);
        return EAI_AGAIN;
    }
    return real.call(node, service, hints, found);
}

static void test_a_slow_name_is_within_the_timeout(void **state)
{
    (void)state;
    const uint8_t pin[32] = { 0 };
    struct err_info err = ERR_INFO_INIT;
    char *pem = NULL;
    assert_int_equal(pipe(slow_release), 0);
    assert_code(
        ERR_TIMEOUT, rpc_fetch_pinned_ca("slow.example:443", pin, 200 * US_PER_MS, &pem, &err));
    assert_non_null(strstr(err.text, "slow.example"));
    assert_null(pem);
    assert_int_equal(atomic_load(&slow_ended), 0);
    (void)close(slow_release[1]);
    WAIT_UNTIL(atomic_load(&slow_ended) == 1);
    (void)close(slow_release[0]);
}

static void test_targets(void **state)
{
    (void)state;
    static const uint8_t pin[32] = { 1 };

    static const struct {
        const char *target;
        enum err_code code;
    } rows[] = {
        { "", ERR_INVALID },
        { "host", ERR_INVALID },
        { "host:", ERR_INVALID },
        { "host:0", ERR_INVALID },
        { "host:99999", ERR_INVALID },
        { "::1:80", ERR_INVALID },
        { "unix:/x", ERR_UNSUPPORTED },
        { "no.such.host.invalid:1", ERR_UNAVAILABLE },
    };

    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct err_info err = ERR_INFO_INIT;
        char *pem = NULL;
        assert_code(
            rows[i].code, rpc_fetch_pinned_ca(rows[i].target, pin, US_PER_SECOND, &pem, &err));
        assert_true(err.text[0] != '\0');
    }
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_fetch_without_client_certificate),
        cmocka_unit_test(test_other_ca),
        cmocka_unit_test(test_forged_leaf),
        cmocka_unit_test(test_plaintext_listener),
        cmocka_unit_test(test_http_server),
        cmocka_unit_test(test_no_http2),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_a_slow_name_is_within_the_timeout),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
