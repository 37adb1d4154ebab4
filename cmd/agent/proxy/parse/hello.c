#include "cmd/agent/proxy/parse/hello.h"

#include "common/base/cleanup.h"

enum {
    RECORD_HEAD = 5,
    RECORD_FIRST = 20,
    RECORD_HANDSHAKE = 22,
    RECORD_LAST = 24,
    VERSION_MAJOR = 3,
    VERSION_MAJORS = 16, /* what the most lenient of servers takes for one */
    SSL2_HEAD = 0x80,
    RECORD_BYTES_MAX = 16384,
    MESSAGE_HEAD = 4,
    MESSAGE_CLIENT_HELLO = 1,
    EXTENSION_NAME = 0,
    NAME_HOST = 0
};

/* What is left to read; good turns false when more was wanted than there was. */
struct cursor {
    const uint8_t *at;
    size_t left;
    bool good;
};

static struct cursor cut(struct cursor *cursor, size_t bytes)
{
    struct cursor part = { cursor->at, bytes, cursor->good && bytes <= cursor->left };
    if (!part.good) {
        cursor->good = false;
        return (struct cursor){ .good = false };
    }
    cursor->at += bytes;
    cursor->left -= bytes;
    return part;
}

static size_t number(struct cursor *cursor, size_t bytes)
{
    size_t value = 0;
    struct cursor part = cut(cursor, bytes);
    for (size_t i = 0; part.good && i < bytes; i++) {
        value = value << 8 | part.at[i];
    }
    return value;
}

/* A part with its length in `bytes` bytes before it. */
static struct cursor vector(struct cursor *cursor, size_t bytes)
{
    return cut(cursor, number(cursor, bytes));
}

static enum hello read_names(struct cursor extension, char *ret_name)
{
    struct cursor list = vector(&extension, 2);
    size_t kind = number(&list, 1);
    struct cursor name = vector(&list, 2);
    if (!name.good || extension.left > 0 || list.left > 0 || kind != NAME_HOST || name.left == 0
        || name.left > HELLO_NAME_BYTES_MAX || memchr(name.at, '\0', name.left) != NULL) {
        return HELLO_BAD; /* one name, of a host: no client sends anything else */
    }
    memcpy(ret_name, name.at, name.left);
    ret_name[name.left] = '\0';
    return HELLO_NAMED;
}

static enum hello read_extensions(struct cursor *hello, char *ret_name)
{
    enum hello found = HELLO_NAMELESS;
    struct cursor extensions = vector(hello, 2);
    while (extensions.good && extensions.left > 0) {
        size_t kind = number(&extensions, 2);
        struct cursor extension = vector(&extensions, 2);
        if (extension.good && kind == EXTENSION_NAME) {
            found = found == HELLO_NAMELESS ? read_names(extension, ret_name) : HELLO_BAD;
        }
        if (found == HELLO_BAD) {
            return HELLO_BAD;
        }
    }
    return extensions.good && hello->left == 0 ? found : HELLO_BAD;
}

static enum hello read_hello(struct cursor hello, char *ret_name)
{
    (void)cut(&hello, 2 + 32); /* version, random */
    (void)vector(&hello, 1);   /* session */
    (void)vector(&hello, 2);   /* ciphers */
    (void)vector(&hello, 1);   /* compression */
    if (!hello.good) {
        return HELLO_BAD;
    }
    return hello.left == 0 ? HELLO_NAMELESS : read_extensions(&hello, ret_name);
}

/* The handshake bytes of the records, put together. MORE with whole = false is no error. */
static enum hello gather(struct cursor data, uint8_t *message, size_t *ret_bytes)
{
    size_t bytes = 0;
    *ret_bytes = 0;
    while (data.left >= RECORD_HEAD) {
        size_t kind = number(&data, 1);
        size_t version = number(&data, 2);
        size_t length = number(&data, 2);
        if (kind != RECORD_HANDSHAKE || version >> 8 != VERSION_MAJOR || length == 0
            || length > RECORD_BYTES_MAX) {
            return HELLO_BAD;
        }
        size_t here = length < data.left ? length : data.left;
        memcpy(message + bytes, data.at, here);
        bytes += here;
        (void)cut(&data, here);
        *ret_bytes = bytes;
        if (bytes >= MESSAGE_HEAD
            && bytes - MESSAGE_HEAD
                >= ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3])) {
            return HELLO_MORE; /* enough: the rest is not the first message's */
        }
    }
    return HELLO_MORE;
}

/*
 * NAMED: a handshake begins, and the rest is read. Other records of TLS before it are BAD: there
 * are servers that skip a warning before the hello, and some that do not look at the version. So is
 * a hello in the form of SSL 2, which has no name in it. Neither begins any other protocol.
 */
static enum hello look_at_first(struct cursor data)
{
    bool record = data.at[0] >= RECORD_FIRST && data.at[0] <= RECORD_LAST;
    bool old = (data.at[0] & SSL2_HEAD) != 0;
    if (!record && !old) {
        return HELLO_OTHER;
    }
    if (data.left < (old ? 3U : 2U)) {
        return HELLO_MORE;
    }
    if (old) {
        return data.at[2] == MESSAGE_CLIENT_HELLO ? HELLO_BAD : HELLO_OTHER;
    }
    if (data.at[0] == RECORD_HANDSHAKE && data.at[1] == VERSION_MAJOR) {
        return HELLO_NAMED;
    }
    return data.at[1] < VERSION_MAJORS ? HELLO_BAD : HELLO_OTHER;
}

enum hello hello_parse(struct str_view data, char ret_name[HELLO_NAME_BYTES_MAX + 1])
{
    struct cursor all = { (const uint8_t *)data.ptr, data.len, true };
    size_t bytes = 0;
    if (data.len == 0) {
        return HELLO_MORE;
    }
    enum hello first = look_at_first(all);
    if (first != HELLO_NAMED) {
        return first;
    }
    if (data.len > HELLO_BYTES_MAX) {
        return HELLO_BAD;
    }
    AUTO_FREE uint8_t *message = mem_alloc(data.len);
    if (gather(all, message, &bytes) == HELLO_BAD) {
        return HELLO_BAD;
    }
    struct cursor cursor = { message, bytes, true };
    size_t kind = number(&cursor, 1);
    size_t length = number(&cursor, 3);
    if ((bytes > 0 && message[0] != MESSAGE_CLIENT_HELLO)
        || (cursor.good && length > HELLO_BYTES_MAX)) {
        return HELLO_BAD;
    }
    (void)kind;
    struct cursor hello = cut(&cursor, length);
    if (!hello.good) {
        return data.len == HELLO_BYTES_MAX ? HELLO_BAD : HELLO_MORE;
    }
    return read_hello(hello, ret_name);
}
