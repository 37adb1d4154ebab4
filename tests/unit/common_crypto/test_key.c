#include "common/base/mem.h"
#include "common/crypto/key.h"
#include "tests/support/test.h"

static struct str_view decode(const char *hex, uint8_t out[32])
{
    assert_ok(str_hex_decode(str_of(hex), out, 32));
    return str_from((const char *)out, 32);
}

/* RFC 8032 section 7.1, test 1. */
static void test_signature_matches_rfc8032(void **state)
{
    (void)state;
    uint8_t seed[32];
    struct key_sign *key = NULL;
    assert_ok(key_sign_from_seed(
        decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", seed), &key));
    char hex[2 * KEY_SIGNATURE_BYTES + 1];
    str_hex_encode(key_sign_public(key), KEY_PUBLIC_BYTES, hex);
    assert_string_equal(hex, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    uint8_t signature[KEY_SIGNATURE_BYTES];
    key_sign_message(key, STR_NONE, signature);
    str_hex_encode(signature, sizeof(signature), hex);
    assert_string_equal(
        hex,
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
    key_sign_destroy(key);
}

static void test_signatures_verify_and_damage_does_not(void **state)
{
    (void)state;
    struct key_sign *key = key_sign_create();
    struct key_sign *other = key_sign_create();
    uint8_t signature[KEY_SIGNATURE_BYTES];
    key_sign_message(key, STR("hello"), signature);
    assert_true(key_verify(key_sign_public(key), STR("hello"), signature));
    assert_false(key_verify(key_sign_public(key), STR("hellO"), signature));
    assert_false(key_verify(key_sign_public(other), STR("hello"), signature));
    for (size_t i = 0; i < sizeof(signature); i += 7) {
        signature[i] ^= 1;
        assert_false(key_verify(key_sign_public(key), STR("hello"), signature));
        signature[i] ^= 1;
    }
    key_sign_destroy(key);
    key_sign_destroy(other);
    key_sign_destroy(NULL);
}

static void test_seed_gives_the_same_key_back(void **state)
{
    (void)state;
    struct key_sign *key = key_sign_create();
    struct key_sign *again = NULL;
    assert_int_equal(key_sign_peek_seed(key).len, KEY_SEED_BYTES);
    assert_ok(key_sign_from_seed(key_sign_peek_seed(key), &again));
    assert_memory_equal(key_sign_public(key), key_sign_public(again), KEY_PUBLIC_BYTES);
    key_sign_destroy(again);
    key_sign_destroy(key);

    struct key_box *box = key_box_create();
    struct key_box *box_again = NULL;
    assert_ok(key_box_from_seed(key_box_peek_seed(box), &box_again));
    assert_memory_equal(key_box_public(box), key_box_public(box_again), KEY_PUBLIC_BYTES);
    key_box_destroy(box_again);
    key_box_destroy(box);
    key_box_destroy(NULL);

    assert_code(ERR_INVALID, key_sign_from_seed(STR("short"), &again));
    assert_code(ERR_INVALID, key_box_from_seed(STR_NONE, &box_again));
}

/* The expected half was computed by `openssl pkey` from the same scalar. */
static void test_box_public_matches_openssl(void **state)
{
    (void)state;
    uint8_t scalar[32];
    struct key_box *key = NULL;
    assert_ok(key_box_from_seed(
        decode("77076d0a7318a57d3c16c17251b26645df4c2f92ebc099ac4a1b3c4f9cc5e37a", scalar), &key));
    char hex[2 * KEY_PUBLIC_BYTES + 1];
    str_hex_encode(key_box_public(key), KEY_PUBLIC_BYTES, hex);
    assert_string_equal(hex, "0451c8b5728926b99ccfa628c509842329fc490114796737295567218ca28a20");
    key_box_destroy(key);
}

static void test_small_order_points_are_refused(void **state)
{
    (void)state;
    static const char *const montgomery[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
    };
    uint8_t point[32];
    for (size_t i = 0; i < sizeof(montgomery) / sizeof(montgomery[0]); i++) {
        (void)decode(montgomery[i], point);
        assert_false(key_box_public_is_valid(point));
        AUTO_BUF struct buf box = BUF_INIT(256);
        assert_code(ERR_INVALID, key_seal(point, STR("x"), &box));
        assert_int_equal(box.len, 0);
    }
    static const char *const edwards[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "0200000000000000000000000000000000000000000000000000000000000000", /* not on the curve */
    };
    for (size_t i = 0; i < sizeof(edwards) / sizeof(edwards[0]); i++) {
        (void)decode(edwards[i], point);
        assert_false(key_sign_public_is_valid(point));
    }
    struct key_sign *sign = key_sign_create();
    struct key_box *key = key_box_create();
    assert_true(key_sign_public_is_valid(key_sign_public(sign)));
    assert_true(key_box_public_is_valid(key_box_public(key)));
    key_sign_destroy(sign);
    key_box_destroy(key);
}

/* The identity point verifies anything for a signature (R = identity, S = 0) in a lax verifier. */
static void test_small_order_key_verifies_nothing(void **state)
{
    (void)state;
    uint8_t identity[32] = { 1 };
    uint8_t signature[KEY_SIGNATURE_BYTES] = { 1 };
    assert_false(key_verify(identity, STR("anything"), signature));
}

static void test_sealed_boxes_open_for_their_owner_only(void **state)
{
    (void)state;
    struct key_box *key = key_box_create();
    struct key_box *other = key_box_create();
    static const struct str_view messages[] = { { "", 0 }, { "secret\0text", 11 } };
    for (size_t i = 0; i < 2; i++) {
        AUTO_BUF struct buf box = BUF_INIT(256);
        assert_ok(key_seal(key_box_public(key), messages[i], &box));
        assert_int_equal(box.len, messages[i].len + 48);
        AUTO_SECRET struct secret *opened = NULL;
        assert_ok(key_open(key, buf_view(&box), &opened));
        assert_true(str_equal(secret_peek(opened), messages[i]));
        struct secret *none = NULL;
        assert_code(ERR_CORRUPT, key_open(other, buf_view(&box), &none));
        assert_code(ERR_CORRUPT, key_open(key, str_from(box.data, 47), &none));
        box.data[box.len - 1] ^= 1;
        assert_code(ERR_CORRUPT, key_open(key, buf_view(&box), &none));
        assert_null(none);
    }
    AUTO_BUF struct buf small = BUF_INIT(20);
    assert_code(ERR_LIMIT, key_seal(key_box_public(key), STR("x"), &small));
    key_box_destroy(key);
    key_box_destroy(other);
}

static bool seal_and_open(void *context)
{
    struct key_box *key = context;
    AUTO_BUF struct buf box = BUF_INIT(256);
    enum err_code code = key_seal(key_box_public(key), STR("hello"), &box);
    if (code != ERR_OK) {
        assert_true(code == ERR_NOMEM || code == ERR_LIMIT);
        return false;
    }
    AUTO_SECRET struct secret *opened = NULL;
    code = key_open(key, buf_view(&box), &opened);
    if (code != ERR_OK) {
        assert_code(ERR_NOMEM, code);
        assert_null(opened);
        return false;
    }
    return true;
}

static void test_boxes_survive_failing_allocations(void **state)
{
    (void)state;
    struct key_box *key = key_box_create();
    test_allocation_sweep(seal_and_open, key, 16);
    key_box_destroy(key);
}

static void test_fingerprint_is_sixteen_bytes_in_groups(void **state)
{
    (void)state;
    uint8_t zeros[KEY_PUBLIC_BYTES] = { 0 };
    char text[KEY_FINGERPRINT_TEXT_BYTES];
    assert_string_equal(key_fingerprint(zeros, text), "6668-7aad-f862-bd77-6c8f-c18b-8e9f-8e20");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signature_matches_rfc8032),
        cmocka_unit_test(test_signatures_verify_and_damage_does_not),
        cmocka_unit_test(test_seed_gives_the_same_key_back),
        cmocka_unit_test(test_box_public_matches_openssl),
        cmocka_unit_test(test_small_order_points_are_refused),
        cmocka_unit_test(test_small_order_key_verifies_nothing),
        cmocka_unit_test(test_sealed_boxes_open_for_their_owner_only),
        cmocka_unit_test(test_boxes_survive_failing_allocations),
        cmocka_unit_test(test_fingerprint_is_sixteen_bytes_in_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
