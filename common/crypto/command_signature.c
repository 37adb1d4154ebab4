#include "common/crypto/command_signature.h"

#include "common/crypto/hash.h"

#include <inttypes.h>
#include <stdio.h>

static void append_field(struct buf *message, struct str_view field)
{
    buf_append_u64_be(message, field.len);
    buf_append_str(message, field);
}

static void append_signed(struct buf *message, int64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRId64, number);
    append_field(message, str_of(text));
}

static void append_unsigned(struct buf *message, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    append_field(message, str_of(text));
}

void command_signature_message(const struct command_signature_fields *fields, struct buf *message)
{
    uint8_t digest[HASH_SHA512_BYTES];
    hash_sha512(fields->payload, digest);
    append_field(message, STR(COMMAND_SIGNATURE_DOMAIN));
    append_field(message, fields->server_id);
    append_signed(message, fields->agent_id);
    append_unsigned(message, fields->sequence);
    append_field(message, fields->command_id);
    append_field(message, fields->actor);
    append_signed(message, fields->issued_at.value);
    append_signed(message, fields->expires_at.value);
    append_field(message, str_from((const char *)digest, sizeof(digest)));
}
