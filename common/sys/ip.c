#include "common/sys/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>

enum {
    BITS_V4 = 32,
    BITS_V6 = 128,
    BYTES_V4 = 4
};

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void unmap(struct ip_address *address)
{
    if (address->family == AF_INET6
        && memcmp(address->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        memmove(address->bytes, address->bytes + sizeof(mapped_prefix), BYTES_V4);
        memset(address->bytes + BYTES_V4, 0, IP_BYTES_MAX - BYTES_V4);
        address->family = AF_INET;
    }
}

bool ip_parse(struct str_view text, struct ip_address *ret_address)
{
    char copy[IP_TEXT_BYTES];
    struct ip_address address = { .family = AF_INET };
    if (str_copy(text, copy, sizeof(copy)) != ERR_OK) {
        return false;
    }
    if (inet_pton(AF_INET, copy, address.bytes) != 1) {
        address.family = AF_INET6;
        if (inet_pton(AF_INET6, copy, address.bytes) != 1) {
            return false;
        }
    }
    unmap(&address);
    *ret_address = address;
    return true;
}

char *ip_format(const struct ip_address *address, char out[IP_TEXT_BYTES])
{
    if (inet_ntop(address->family, address->bytes, out, IP_TEXT_BYTES) == NULL) {
        out[0] = '\0';
    }
    return out;
}

static bool shares_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8;
    uint8_t mask = (uint8_t)(0xff00U >> (bits % 8));
    return memcmp(a, b, whole) == 0 && (mask == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

enum err_code ip_range_parse(struct str_view text, struct ip_range *ret_range)
{
    struct str_view base = text;
    struct str_view digits = STR_NONE;
    struct ip_range range;
    uint64_t bits = 0;
    bool has_bits = str_cut(text, '/', &base, &digits);
    if (!ip_parse(has_bits ? base : text, &range.base)) {
        return ERR_INVALID;
    }
    unsigned most = range.base.family == AF_INET ? BITS_V4 : BITS_V6;
    bits = most;
    if (has_bits && str_parse_uint64(digits, most, &bits) != ERR_OK) {
        return ERR_INVALID;
    }
    range.bits = (unsigned)bits;
    for (unsigned bit = range.bits; bit < most; bit++) {
        if ((range.base.bytes[bit / 8] & (0x80U >> (bit % 8))) != 0) {
            return ERR_INVALID;
        }
    }
    *ret_range = range;
    return ERR_OK;
}

bool ip_is_in(const struct ip_address *address, const struct ip_range *range)
{
    return address->family == range->base.family
        && shares_prefix(address->bytes, range->base.bytes, range->bits);
}

bool ip_equal(const struct ip_address *a, const struct ip_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, IP_BYTES_MAX) == 0;
}

/* ---- What kind of place ---- */

struct known {
    uint8_t bytes[IP_BYTES_MAX];
    unsigned bits;
    enum ip_kind kind;
    const char *name;
};

/* The first match decides. After the IANA special-purpose registries, and what clouds add. */
static const struct known known_v4[] = {
    { { 0 }, 8, IP_NEVER, "this network" },
    { { 127 }, 8, IP_NEVER, "loopback" },
    { { 169, 254 }, 16, IP_NEVER, "link-local" },
    { { 100, 100, 100, 200 }, 32, IP_NEVER, "metadata service" },
    { { 192, 0, 0, 192 }, 32, IP_NEVER, "metadata service" },
    { { 168, 63, 129, 16 }, 32, IP_NEVER, "metadata service" },
    { { 224 }, 4, IP_NEVER, "multicast" },
    { { 240 }, 4, IP_NEVER, "reserved" },
    { { 10 }, 8, IP_PRIVATE, "private" },
    { { 172, 16 }, 12, IP_PRIVATE, "private" },
    { { 192, 168 }, 16, IP_PRIVATE, "private" },
    { { 100, 64 }, 10, IP_PRIVATE, "carrier-grade NAT" },
    { { 192, 0, 0 }, 24, IP_PRIVATE, "protocol assignments" },
    { { 192, 0, 2 }, 24, IP_PRIVATE, "documentation" },
    { { 192, 88, 99 }, 24, IP_PRIVATE, "6to4 relay" },
    { { 198, 18 }, 15, IP_PRIVATE, "benchmarking" },
    { { 198, 51, 100 }, 24, IP_PRIVATE, "documentation" },
    { { 203, 0, 113 }, 24, IP_PRIVATE, "documentation" },
};

static const struct known known_v6[] = {
    { { 0 }, 128, IP_NEVER, "nowhere" },
    { { [15] = 1 }, 128, IP_NEVER, "loopback" },
    { { 0xfe, 0x80 }, 10, IP_NEVER, "link-local" },
    { { 0xff }, 8, IP_NEVER, "multicast" },
    { { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 }, 128, IP_NEVER, "metadata service" },
    { { 0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54 }, 128, IP_NEVER, "metadata service" },
    { { 0xfc }, 7, IP_PRIVATE, "private" },
    { { 0xfe, 0xc0 }, 10, IP_PRIVATE, "site-local" },
    { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48, IP_PRIVATE, "local NAT64" },
    { { 0x01 }, 8, IP_PRIVATE, "discarded" },
    { { 0x20, 0x01, 0x0d, 0xb8 }, 32, IP_PRIVATE, "documentation" },
    { { 0x20, 0x01, 0x00, 0x02 }, 48, IP_PRIVATE, "benchmarking" },
    { { 0x3f, 0xff }, 20, IP_PRIVATE, "documentation" },
    { { 0x5f }, 16, IP_PRIVATE, "segment routing" },
};

static enum ip_kind look_up(
    const uint8_t *bytes, const struct known *rows, size_t count, const char **ret_name)
{
    for (size_t i = 0; i < count; i++) {
        if (shares_prefix(bytes, rows[i].bytes, rows[i].bits)) {
            *ret_name = rows[i].name;
            return rows[i].kind;
        }
    }
    *ret_name = "public";
    return IP_PUBLIC;
}

/* Where IPv6 addresses of this prefix carry an IPv4 address. */
static const struct {
    uint8_t bytes[IP_BYTES_MAX];
    unsigned bits;
    unsigned offset;
    uint8_t mask; /* XORed over each byte */
} carriers[] = {
    { { 0 }, 96, 12, 0 },                                  /* IPv4-compatible */
    { { [10] = 0xff, [11] = 0xff }, 96, 12, 0 },           /* IPv4-mapped */
    { { [8] = 0xff, [9] = 0xff }, 96, 12, 0 },             /* IPv4-translated */
    { { 0x00, 0x64, 0xff, 0x9b }, 96, 12, 0 },             /* NAT64 */
    { { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48, 12, 0 }, /* NAT64 of one's own */
    { { 0x20, 0x02 }, 16, 2, 0 },                          /* 6to4 */
    { { 0x20, 0x01, 0x00, 0x00 }, 32, 4, 0 },              /* Teredo: its server */
    { { 0x20, 0x01, 0x00, 0x00 }, 32, 12, 0xff },          /* Teredo: its client */
};

static bool is_isatap(const uint8_t *bytes)
{
    return (bytes[8] & 0xfc) == 0 && bytes[9] == 0 && bytes[10] == 0x5e && bytes[11] == 0xfe;
}

static enum ip_kind kind_of_v4(const uint8_t *bytes, uint8_t mask, const char **ret_name)
{
    uint8_t plain[IP_BYTES_MAX] = { 0 };
    for (size_t i = 0; i < BYTES_V4; i++) {
        plain[i] = bytes[i] ^ mask;
    }
    return look_up(plain, known_v4, sizeof(known_v4) / sizeof(known_v4[0]), ret_name);
}

static void worsen(
    enum ip_kind kind, const char *name, enum ip_kind *worst, const char **worst_name)
{
    if (kind > *worst) {
        *worst = kind;
        *worst_name = name;
    }
}

enum ip_kind ip_kind(const struct ip_address *address, const char **ret_name)
{
    const char *name = NULL;
    const char *inner = NULL;
    enum ip_kind worst = IP_PUBLIC;
    if (address->family == AF_INET) {
        worst = kind_of_v4(address->bytes, 0, &name);
    } else {
        const uint8_t *bytes = address->bytes;
        worst = look_up(bytes, known_v6, sizeof(known_v6) / sizeof(known_v6[0]), &name);
        for (size_t i = 0; i < sizeof(carriers) / sizeof(carriers[0]); i++) {
            if (shares_prefix(bytes, carriers[i].bytes, carriers[i].bits)) {
                enum ip_kind kind =
                    kind_of_v4(bytes + carriers[i].offset, carriers[i].mask, &inner);
                worsen(kind, inner, &worst, &name);
            }
        }
        if (is_isatap(bytes)) {
            enum ip_kind kind = kind_of_v4(bytes + 12, 0, &inner);
            worsen(kind, inner, &worst, &name);
        }
    }
    if (ret_name != NULL) {
        *ret_name = name;
    }
    return worst;
}

/* ---- Sockets ---- */

socklen_t ip_to_socket(
    const struct ip_address *address, unsigned port, struct sockaddr_storage *ret_socket)
{
    memset(ret_socket, 0, sizeof(*ret_socket));
    if (address->family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)ret_socket;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        memcpy(&v4->sin_addr, address->bytes, BYTES_V4);
        return sizeof(*v4);
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_socket;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    memcpy(&v6->sin6_addr, address->bytes, IP_BYTES_MAX);
    return sizeof(*v6);
}

bool ip_from_socket(
    const struct sockaddr *socket, struct ip_address *ret_address, unsigned *ret_port)
{
    struct ip_address address = { .family = socket->sa_family };
    if (socket->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, socket, sizeof(v4));
        memcpy(address.bytes, &v4.sin_addr, BYTES_V4);
        *ret_port = ntohs(v4.sin_port);
    } else if (socket->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, socket, sizeof(v6));
        memcpy(address.bytes, &v6.sin6_addr, IP_BYTES_MAX);
        *ret_port = ntohs(v6.sin6_port);
        unmap(&address);
    } else {
        return false;
    }
    *ret_address = address;
    return true;
}
