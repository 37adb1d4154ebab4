#include "common/crypto/hash.h"
#include "tests/support/test.h"

static const char *hex_of(const uint8_t *data, size_t bytes, char *out)
{
    str_hex_encode(data, bytes, out);
    return out;
}

static void test_digests_match_published_vectors(void **state)
{
    (void)state;
    uint8_t digest[HASH_SHA512_BYTES];
    char hex[2 * HASH_SHA512_BYTES + 1];
    hash_sha256(STR("abc"), digest);
    assert_string_equal(
        hex_of(digest, HASH_SHA256_BYTES, hex),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_sha256(STR_NONE, digest);
    assert_string_equal(
        hex_of(digest, HASH_SHA256_BYTES, hex),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash_sha512(STR("abc"), digest);
    assert_string_equal(
        hex_of(digest, HASH_SHA512_BYTES, hex),
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
}

static void test_blake2b_parts_are_framed(void **state)
{
    (void)state;
    uint8_t one[HASH_BLAKE2B_BYTES];
    uint8_t two[HASH_BLAKE2B_BYTES];
    hash_blake2b_parts((struct str_view[]){ STR("ab"), STR("c") }, 2, one);
    hash_blake2b_parts((struct str_view[]){ STR("a"), STR("bc") }, 2, two);
    assert_memory_not_equal(one, two, sizeof(one));
    hash_blake2b_parts((struct str_view[]){ STR("a"), STR("bc") }, 2, one);
    assert_memory_equal(one, two, sizeof(one));
    hash_blake2b_parts((struct str_view[]){ STR("a"), STR("bc"), STR("") }, 3, one);
    assert_memory_not_equal(one, two, sizeof(one));
}

/* python3: hashlib.blake2b((3).to_bytes(8, "big") + b"abc", digest_size=32) */
static void test_blake2b_framing_is_length_as_u64_big_endian(void **state)
{
    (void)state;
    uint8_t digest[HASH_BLAKE2B_BYTES];
    char hex[2 * HASH_BLAKE2B_BYTES + 1];
    hash_blake2b_parts((struct str_view[]){ STR("abc") }, 1, digest);
    assert_string_equal(
        hex_of(digest, sizeof(digest), hex),
        "7481e9dc42d8247a21e3207b4865a791d7ab7f7119c932efd03508b1148efc29");
}

static void test_base64url_round_trip(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 800; bytes += bytes < 10 ? 1 : 37) {
        uint8_t data[800];
        for (size_t i = 0; i < bytes; i++) {
            data[i] = (uint8_t)(i * 151 + bytes);
        }
        AUTO_BUF struct buf text = BUF_INIT(2048);
        AUTO_BUF struct buf back = BUF_INIT(2048);
        base64url_encode(str_from((const char *)data, bytes), &text);
        assert_int_equal(text.len, (bytes * 8 + 5) / 6);
        assert_ok(base64url_decode(buf_view(&text), &back));
        assert_int_equal(back.len, bytes);
        assert_true(bytes == 0 || memcmp(back.data, data, bytes) == 0);
    }
    AUTO_BUF struct buf text = BUF_INIT(64);
    base64url_encode(STR("\xfb\xff\xfe"), &text);
    assert_string_equal(buf_text(&text), "-__-");
}

static void test_base64url_refuses_other_forms(void **state)
{
    (void)state;
    static const char *const bad[] = { "A",   "AAAAA", "QQ==", "+/+/", "QR",   "QUI=",
                                       "QUJ", "QQ ",   " QQ",  "Q\nQ", "QQ\n", "=" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO_BUF struct buf out = BUF_INIT(64);
        buf_append_str(&out, STR("kept"));
        assert_code(ERR_INVALID, base64url_decode(str_of(bad[i]), &out));
        assert_string_equal(buf_text(&out), "kept");
    }
    AUTO_BUF struct buf out = BUF_INIT(64);
    assert_code(ERR_INVALID, base64url_decode(STR("QU\0J"), &out));
    assert_int_equal(out.len, 0);
}

/* libsodium alone takes 0xbe for a character. */
static void test_base64url_takes_its_alphabet_alone(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4] = { 'A', (char)(unsigned char)byte, 'A', 'A' };
        static const char alphabet[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        bool known = memchr(alphabet, (int)byte, sizeof(alphabet) - 1) != NULL;
        AUTO_BUF struct buf out = BUF_INIT(64);
        assert_int_equal(base64url_decode(str_from(text, 4), &out), known ? ERR_OK : ERR_INVALID);
        char token[47];
        memset(token, 'A', sizeof(token));
        memcpy(token, "blt_", 4);
        token[20] = (char)(unsigned char)byte;
        assert_int_equal(token_has_form(str_from(token, sizeof(token)), "blt_"), known);
        token[20] = 'A';
        token[46] = (char)(unsigned char)byte; /* its last two bits are none of the 256 */
        bool is_whole = known && (strchr(alphabet, (int)byte) - alphabet) % 4 == 0;
        assert_int_equal(token_has_form(str_from(token, sizeof(token)), "blt_"), is_whole);
    }
}

static void test_base64url_bad_tail_after_whole_steps_leaves_nothing(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'A', sizeof(text));
    text[299] = '!';
    AUTO_BUF struct buf out = BUF_INIT(1024);
    assert_code(ERR_INVALID, base64url_decode(str_from(text, sizeof(text)), &out));
    assert_int_equal(out.len, 0);
    AUTO_BUF struct buf small = BUF_INIT(10);
    assert_code(ERR_LIMIT, base64url_decode(str_from(text, 100), &small));
}

static void test_tokens_have_form_and_differ(void **state)
{
    (void)state;
    AUTO_SECRET struct secret *one = token_create("blt_");
    AUTO_SECRET struct secret *two = token_create("blt_");
    struct str_view text = secret_peek(one);
    assert_int_equal(text.len, 4 + 43);
    assert_true(text.len < TOKEN_TEXT_BYTES);
    assert_true(token_has_form(text, "blt_"));
    assert_false(token_has_form(text, "blk_"));
    assert_false(token_has_form(text, ""));
    assert_false(str_equal(text, secret_peek(two)));
    uint8_t hash[HASH_SHA256_BYTES];
    uint8_t again[HASH_SHA256_BYTES];
    token_hash(text, hash);
    hash_sha256(text, again);
    assert_memory_equal(hash, again, sizeof(hash));
}

static void test_token_form_refuses_damage(void **state)
{
    (void)state;
    AUTO_SECRET struct secret *token = token_create("bls_");
    char copy[TOKEN_TEXT_BYTES];
    assert_ok(str_copy(secret_peek(token), copy, sizeof(copy)));
    assert_false(token_has_form(str_from(copy, strlen(copy) - 1), "bls_"));
    copy[10] = '+';
    assert_false(token_has_form(str_of(copy), "bls_"));
    copy[10] = '\0';
    assert_false(token_has_form(str_from(copy, 47), "bls_"));
    /* 43 characters carry 258 bits: the last two must be zero, else one token had four spellings.
     */
    assert_ok(str_copy(STR("bls_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), copy, sizeof(copy)));
    assert_true(token_has_form(str_of(copy), "bls_"));
    copy[46] = 'B';
    assert_false(token_has_form(str_of(copy), "bls_"));
    assert_false(token_has_form(STR_NONE, "bls_"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digests_match_published_vectors),
        cmocka_unit_test(test_blake2b_parts_are_framed),
        cmocka_unit_test(test_blake2b_framing_is_length_as_u64_big_endian),
        cmocka_unit_test(test_base64url_round_trip),
        cmocka_unit_test(test_base64url_refuses_other_forms),
        cmocka_unit_test(test_base64url_takes_its_alphabet_alone),
        cmocka_unit_test(test_base64url_bad_tail_after_whole_steps_leaves_nothing),
        cmocka_unit_test(test_tokens_have_form_and_differ),
        cmocka_unit_test(test_token_form_refuses_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
