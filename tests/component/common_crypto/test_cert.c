#include "common/base/cleanup.h"
#include "common/crypto/cert.h"
#include "common/sys/file.h"
#include "tests/support/test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct wall_us now(void)
{
    return clock_wall(clock_system());
}

static struct wall_us in_days(int64_t days)
{
    return (struct wall_us){ now().value + days * US_PER_DAY };
}

static X509 *parse(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(certificate);
    return certificate;
}

/* Verification as a TLS client does it: purpose, host name or address, time. */
static int verify_as_client(
    const char *leaf_pem, const char *ca_pem, const char *host, bool address)
{
    X509 *leaf = parse(leaf_pem);
    X509 *ca = parse(ca_pem);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_add_cert(store, ca), 1);
    assert_int_equal(X509_STORE_CTX_init(context, store, leaf, NULL), 1);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
    assert_int_equal(X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER), 1);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
    if (address) {
        assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(param, host), 1);
    } else {
        assert_int_equal(X509_VERIFY_PARAM_set1_host(param, host, 0), 1);
    }
    (void)X509_verify_cert(context);
    int result = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    X509_free(ca);
    X509_free(leaf);
    return result;
}

static int run(const char *const *args)
{
    pid_t child = 0;
    int status = 0;
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    char *copy[16] = { NULL };
    for (size_t i = 0; args[i] != NULL && i < 15; i++) {
        copy[i] = mem_strdup(args[i]);
    }
    assert_int_equal(posix_spawnp(&child, copy[0], &actions, NULL, copy, environ), 0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; copy[i] != NULL; i++) {
        mem_free(copy[i]);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *const names[] = { "belay.example.org", "192.0.2.7", "2001:db8::7", "localhost" };

enum {
    NAME_COUNT = 4
};

static void test_chain_verifies_as_a_tls_client_would(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair server = { 0 };
    assert_ok_err(err, cert_create_ca("Test CA", now(), &ca, &err));
    assert_ok_err(err, cert_create_server(&ca, names, NAME_COUNT, now(), &server, &err));
    const char *leaf = server.certificate_pem;
    assert_int_equal(
        verify_as_client(leaf, ca.certificate_pem, "belay.example.org", false), X509_V_OK);
    assert_int_equal(verify_as_client(leaf, ca.certificate_pem, "belay-server", false), X509_V_OK);
    assert_int_equal(verify_as_client(leaf, ca.certificate_pem, "192.0.2.7", true), X509_V_OK);
    assert_int_equal(verify_as_client(leaf, ca.certificate_pem, "2001:db8::7", true), X509_V_OK);
    assert_int_equal(
        verify_as_client(leaf, ca.certificate_pem, "other.example.org", false),
        X509_V_ERR_HOSTNAME_MISMATCH);
    assert_int_equal(
        verify_as_client(leaf, ca.certificate_pem, "192.0.2.8", true),
        X509_V_ERR_IP_ADDRESS_MISMATCH);
    AUTO(cert_pair_deinit) struct cert_pair stranger = { 0 };
    assert_ok_err(err, cert_create_ca("Test CA", now(), &stranger, &err));
    assert_int_not_equal(
        verify_as_client(leaf, stranger.certificate_pem, "belay-server", false), X509_V_OK);
}

static void test_certificates_have_the_promised_fields(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair server = { 0 };
    assert_ok_err(err, cert_create_ca("Test CA", now(), &ca, &err));
    assert_ok_err(err, cert_create_server(&ca, NULL, 0, now(), &server, &err));
    X509 *issuer = parse(ca.certificate_pem);
    X509 *leaf = parse(server.certificate_pem);
    assert_int_equal(X509_get_pathlen(issuer), 0);
    assert_int_equal(X509_get_key_usage(issuer), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_get_key_usage(leaf), KU_DIGITAL_SIGNATURE);
    assert_int_equal(X509_get_extended_key_usage(leaf), XKU_SSL_SERVER);
    assert_int_equal(X509_check_ca(leaf), 0);
    assert_int_equal(X509_check_issued(issuer, leaf), X509_V_OK);
    assert_int_equal(
        ASN1_OCTET_STRING_cmp(X509_get0_authority_key_id(leaf), X509_get0_subject_key_id(issuer)),
        0);
    assert_int_not_equal(
        ASN1_INTEGER_cmp(X509_get0_serialNumber(issuer), X509_get0_serialNumber(leaf)), 0);
    time_t moment = (time_t)(now().value / US_PER_SECOND) - 240;
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(leaf), &moment), -1);
    X509_free(issuer);
    X509_free(leaf);
    struct wall_us end = { 0 };
    assert_ok(cert_expiry(server.certificate_pem, &end, NULL));
    assert_in_range(
        end.value,
        in_days(CERT_SERVER_DAYS).value - US_PER_MINUTE,
        in_days(CERT_SERVER_DAYS).value);
    assert_ok(cert_expiry(ca.certificate_pem, &end, NULL));
    assert_in_range(
        end.value, in_days(CERT_CA_DAYS).value - US_PER_MINUTE, in_days(CERT_CA_DAYS).value);
}

static void test_fingerprints_of_first_and_last(void **state)
{
    (void)state;
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair server = { 0 };
    assert_ok(cert_create_ca("Test CA", now(), &ca, NULL));
    assert_ok(cert_create_server(&ca, names, 1, now(), &server, NULL));
    uint8_t of_ca[32];
    uint8_t of_last[32];
    uint8_t of_first[32];
    assert_ok(cert_fingerprint(ca.certificate_pem, false, of_ca, NULL));
    assert_ok(cert_fingerprint(server.certificate_pem, true, of_last, NULL));
    assert_ok(cert_fingerprint(server.certificate_pem, false, of_first, NULL));
    assert_memory_equal(of_ca, of_last, 32);
    assert_memory_not_equal(of_ca, of_first, 32);
    X509 *certificate = parse(ca.certificate_pem);
    uint8_t digest[32];
    unsigned bytes = 0;
    assert_int_equal(X509_digest(certificate, EVP_sha256(), digest, &bytes), 1);
    assert_memory_equal(digest, of_ca, 32);
    X509_free(certificate);
    struct err_info err = ERR_INFO_INIT;
    assert_code(ERR_CORRUPT, cert_fingerprint("not a certificate", false, digest, &err));
    assert_code(ERR_CORRUPT, cert_fingerprint("", false, digest, &err));
}

static void test_names_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = { "",     "a b", "a,DNS:evil", "-x",           ".x",
                                       "x\ny", "*",   "a.*.b",      "192.0.2.7/24", "m\xc3\xbc" };
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair server = { 0 };
    assert_ok(cert_create_ca("Test CA", now(), &ca, NULL));
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_code(ERR_INVALID, cert_create_server(&ca, &bad[i], 1, now(), &server, NULL));
    }
    assert_code(ERR_INVALID, cert_create_ca("", now(), &server, NULL));
    assert_ok(cert_create_server(&ca, names, NAME_COUNT, now(), &server, NULL));
    static const char *const folded[] = { "BELAY.example.ORG" };
    static const char *const other_form[] = { "2001:0db8:0:0::7" };
    static const char *const absent[] = { "belay.example.org", "absent.example.org" };
    assert_true(cert_has_names(server.certificate_pem, names, NAME_COUNT));
    assert_true(cert_has_names(server.certificate_pem, folded, 1));
    assert_true(cert_has_names(server.certificate_pem, other_form, 1));
    assert_true(cert_has_names(server.certificate_pem, NULL, 0));
    assert_false(cert_has_names(server.certificate_pem, absent, 2));
    assert_false(cert_has_names(ca.certificate_pem, names, 1));
    assert_false(cert_has_names("rubbish", names, 1));
}

static void test_server_never_outlives_its_ca(void **state)
{
    (void)state;
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair server = { 0 };
    assert_ok(cert_create_ca("Test CA", in_days(10 - CERT_CA_DAYS), &ca, NULL));
    assert_ok(cert_create_server(&ca, NULL, 0, now(), &server, NULL));
    struct wall_us ca_end = { 0 };
    struct wall_us server_end = { 0 };
    assert_ok(cert_expiry(ca.certificate_pem, &ca_end, NULL));
    assert_ok(cert_expiry(server.certificate_pem, &server_end, NULL));
    assert_int_equal(ca_end.value, server_end.value);
    cert_pair_deinit(&server);
    assert_code(ERR_PRECONDITION, cert_create_server(&ca, NULL, 0, in_days(11), &server, NULL));
}

static void test_key_of_another_ca_is_refused(void **state)
{
    (void)state;
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    AUTO(cert_pair_deinit) struct cert_pair other = { 0 };
    struct cert_pair server = { 0 };
    assert_ok(cert_create_ca("Test CA", now(), &ca, NULL));
    assert_ok(cert_create_ca("Test CA", now(), &other, NULL));
    struct cert_pair mixed = { ca.certificate_pem, other.key_pem };
    assert_code(ERR_CORRUPT, cert_create_server(&mixed, NULL, 0, now(), &server, NULL));
    assert_null(server.certificate_pem);
}

struct loaded {
    struct cert_pair server;
    char *ca_pem;
    bool renewed;
};

static void loaded_deinit(struct loaded *loaded)
{
    cert_pair_deinit(&loaded->server);
    mem_free(loaded->ca_pem);
    *loaded = (struct loaded){ 0 };
}

static enum err_code load(
    const char *dir, struct wall_us when, struct loaded *loaded, struct err_info *err)
{
    return cert_store_load(
        dir, names, 1, when, &loaded->server, &loaded->ca_pem, &loaded->renewed, err);
}

static mode_t mode_of(const char *dir, const char *file)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, file);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 07777;
}

static void put_file(const char *dir, const char *file, const char *text, mode_t mode)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, file);
    assert_ok(file_write_atomic(path, text, strlen(text), mode, NULL));
}

static void copy_file(const char *dir, const char *from, const char *to, mode_t mode)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, from);
    AUTO_BUF struct buf text = BUF_INIT(65536);
    assert_ok(file_read(path, 65536, &text, NULL));
    put_file(dir, to, buf_text(&text), mode);
}

static void remove_file(const char *dir, const char *file)
{
    AUTO_FREE char *path = mem_printf("%s/%s", dir, file);
    assert_int_equal(unlink(path), 0);
}

static void test_store_makes_keeps_and_renews(void **state)
{
    (void)state;
    struct err_info err = ERR_INFO_INIT;
    char *base = test_dir_create();
    AUTO_FREE char *dir = mem_printf("%s/tls", base);
    AUTO(loaded_deinit) struct loaded first = { 0 };
    AUTO(loaded_deinit) struct loaded second = { 0 };
    assert_ok_err(err, load(dir, now(), &first, &err));
    assert_true(first.renewed);
    assert_int_equal(mode_of(base, "tls"), 0700);
    assert_int_equal(mode_of(dir, "ca.key"), 0600);
    assert_int_equal(mode_of(dir, "server.key"), 0600);
    assert_int_equal(mode_of(dir, "ca.pem"), 0644);
    assert_ok_err(err, load(dir, now(), &second, &err));
    assert_false(second.renewed);
    assert_string_equal(first.ca_pem, second.ca_pem);
    assert_string_equal(first.server.certificate_pem, second.server.certificate_pem);
    assert_true(
        secret_equal(secret_peek(first.server.key_pem), secret_peek(second.server.key_pem)));

    loaded_deinit(&second);
    assert_ok_err(err, load(dir, in_days(59), &second, &err));
    assert_false(second.renewed);
    loaded_deinit(&second);
    assert_ok_err(err, load(dir, in_days(61), &second, &err));
    assert_true(second.renewed);
    assert_string_equal(first.ca_pem, second.ca_pem);
    assert_string_not_equal(first.server.certificate_pem, second.server.certificate_pem);
    loaded_deinit(&second);
    assert_ok_err(err, load(dir, now(), &second, &err)); /* the clock went back: not valid yet */
    assert_true(second.renewed);
    test_dir_remove(base);
}

static void test_store_renews_when_a_name_is_missing(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO(loaded_deinit) struct loaded loaded = { 0 };
    assert_ok(load(dir, now(), &loaded, NULL));
    loaded_deinit(&loaded);
    assert_ok(cert_store_load(
        dir, names, 2, now(), &loaded.server, &loaded.ca_pem, &loaded.renewed, NULL));
    assert_true(loaded.renewed);
    assert_true(cert_has_names(loaded.server.certificate_pem, names, 2));
    loaded_deinit(&loaded);
    assert_ok(load(dir, now(), &loaded, NULL)); /* more names than asked for are fine */
    assert_false(loaded.renewed);
    test_dir_remove(dir);
}

static void test_openssl_command_verifies_the_stored_chain(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO(loaded_deinit) struct loaded loaded = { 0 };
    assert_ok(load(dir, now(), &loaded, NULL));
    AUTO_FREE char *ca = mem_printf("%s/ca.pem", dir);
    AUTO_FREE char *server = mem_printf("%s/server.pem", dir);
    const char *const good[] = { "openssl",  "verify",    "-x509_strict",
                                 "-purpose", "sslserver", "-verify_hostname",
                                 names[0],   "-CAfile",   ca,
                                 server,     NULL };
    assert_int_equal(run(good), 0);
    const char *const bad[] = { "openssl", "verify", "-verify_hostname", "x.example", "-CAfile", ca,
                                server,    NULL };
    assert_int_not_equal(run(bad), 0);
    test_dir_remove(dir);
}

static void refuse(const char *dir, enum err_code code, const char *text)
{
    struct err_info err = ERR_INFO_INIT;
    struct loaded loaded = { 0 };
    assert_code(code, load(dir, now(), &loaded, &err));
    if (strstr(err.text, text) == NULL) {
        fail_msg("\"%s\" does not name \"%s\"", err.text, text);
    }
    assert_null(loaded.server.certificate_pem);
    assert_null(loaded.ca_pem);
}

static void test_store_never_replaces_a_damaged_ca(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO(loaded_deinit) struct loaded loaded = { 0 };
    assert_ok(load(dir, now(), &loaded, NULL));
    copy_file(dir, "ca.key", "ca.key.saved", 0600);
    copy_file(dir, "ca.pem", "ca.pem.saved", 0644);

    put_file(dir, "ca.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0600);
    refuse(dir, ERR_CORRUPT, "ca.key");
    put_file(dir, "ca.key", "", 0600);
    refuse(dir, ERR_CORRUPT, "ca.key");
    copy_file(dir, "server.key", "ca.key", 0600);
    refuse(dir, ERR_CORRUPT, "does not belong to");
    remove_file(dir, "ca.key");
    refuse(dir, ERR_PRECONDITION, "ca.key is missing");
    copy_file(dir, "ca.key.saved", "ca.key", 0644);
    refuse(dir, ERR_DENIED, "chmod 600");
    copy_file(dir, "ca.key.saved", "ca.key", 0600);
    put_file(dir, "ca.pem", "rubbish", 0644);
    refuse(dir, ERR_CORRUPT, "ca.pem");
    copy_file(dir, "server.pem", "ca.pem", 0644);
    refuse(dir, ERR_CORRUPT, "not the certificate of a CA");
    remove_file(dir, "ca.pem");
    refuse(dir, ERR_PRECONDITION, "ca.pem is missing");
    copy_file(dir, "ca.pem.saved", "ca.pem", 0644);
    loaded_deinit(&loaded);
    assert_ok(load(dir, now(), &loaded, NULL));
    assert_false(loaded.renewed);

    struct err_info err = ERR_INFO_INIT;
    loaded_deinit(&loaded);
    assert_code(ERR_PRECONDITION, load(dir, in_days(CERT_CA_DAYS + 1), &loaded, &err));
    assert_non_null(strstr(err.text, "expired"));
    test_dir_remove(dir);
}

static void test_store_and_the_server_pair(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO(loaded_deinit) struct loaded loaded = { 0 };
    assert_ok(load(dir, now(), &loaded, NULL));
    copy_file(dir, "server.pem", "server.pem.saved", 0644);

    /* A renewal cut short between its two files leaves the new key with the old certificate. */
    AUTO(cert_pair_deinit) struct cert_pair ca = { 0 };
    assert_ok(cert_create_ca("Other", now(), &ca, NULL));
    AUTO(cert_pair_deinit) struct cert_pair stranger = { 0 };
    assert_ok(cert_create_server(&ca, names, 1, now(), &stranger, NULL));
    put_file(dir, "server.key", secret_peek(stranger.key_pem).ptr, 0600);
    loaded_deinit(&loaded);
    assert_ok(load(dir, now(), &loaded, NULL));
    assert_true(loaded.renewed);

    remove_file(dir, "server.pem");
    loaded_deinit(&loaded);
    assert_ok(load(dir, now(), &loaded, NULL));
    assert_true(loaded.renewed);

    put_file(dir, "server.pem", stranger.certificate_pem, 0644);
    refuse(dir, ERR_CORRUPT, "not issued by");
    put_file(dir, "server.pem", "rubbish", 0644);
    refuse(dir, ERR_CORRUPT, "server.pem");
    copy_file(dir, "server.pem.saved", "server.pem", 0644);
    put_file(dir, "server.key", "rubbish", 0600);
    refuse(dir, ERR_CORRUPT, "server.key");
    put_file(dir, "server.key", secret_peek(stranger.key_pem).ptr, 0640);
    refuse(dir, ERR_DENIED, "chmod 600");
    test_dir_remove(dir);
}

static void test_store_refuses_an_open_folder(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    assert_int_equal(chmod(dir, 0777), 0);
    refuse(dir, ERR_DENIED, "looser");
    assert_int_equal(chmod(dir, 0755), 0);
    AUTO(loaded_deinit) struct loaded loaded = { 0 };
    assert_ok(load(dir, now(), &loaded, NULL));
    AUTO_FREE char *target = mem_printf("%s/elsewhere", dir);
    AUTO_FREE char *key = mem_printf("%s/ca.key", dir);
    assert_int_equal(rename(key, target), 0);
    assert_int_equal(symlink(target, key), 0);
    refuse(dir, ERR_DENIED, "symbolic link");
    test_dir_remove(dir);
}

/* A key under a passphrase must be refused without asking a terminal for it. */
static void test_store_refuses_a_key_with_passphrase(void **state)
{
    (void)state;
    char *dir = test_dir_create();
    AUTO(loaded_deinit) struct loaded loaded = { 0 };
    assert_ok(load(dir, now(), &loaded, NULL));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned char passphrase[] = "secret";
    assert_int_equal(
        PEM_write_bio_PKCS8PrivateKey(
            bio, key, EVP_aes_128_cbc(), (char *)passphrase, 6, NULL, NULL),
        1);
    char *data = NULL;
    long bytes = BIO_get_mem_data(bio, &data);
    AUTO_FREE char *path = mem_printf("%s/server.key", dir);
    assert_ok(file_write_atomic(path, data, (size_t)bytes, 0600, NULL));
    BIO_free(bio);
    EVP_PKEY_free(key);
    refuse(dir, ERR_CORRUPT, "passphrase");
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain_verifies_as_a_tls_client_would),
        cmocka_unit_test(test_certificates_have_the_promised_fields),
        cmocka_unit_test(test_fingerprints_of_first_and_last),
        cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_server_never_outlives_its_ca),
        cmocka_unit_test(test_key_of_another_ca_is_refused),
        cmocka_unit_test(test_store_makes_keeps_and_renews),
        cmocka_unit_test(test_store_renews_when_a_name_is_missing),
        cmocka_unit_test(test_openssl_command_verifies_the_stored_chain),
        cmocka_unit_test(test_store_never_replaces_a_damaged_ca),
        cmocka_unit_test(test_store_and_the_server_pair),
        cmocka_unit_test(test_store_refuses_an_open_folder),
        cmocka_unit_test(test_store_refuses_a_key_with_passphrase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
