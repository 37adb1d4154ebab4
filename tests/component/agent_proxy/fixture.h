/*
 * A proxy with one gate, in a network namespace of the test's own: on its loopback stand the gate
 * (127.0.0.1), a server and a resolver (10.77.0.1, fd77::1), and a victim that nobody may reach
 * (127.0.0.1). Everything runs on one loop; time can be pushed forward.
 */
#ifndef TESTS_COMPONENT_AGENT_PROXY_FIXTURE_H
#define TESTS_COMPONENT_AGENT_PROXY_FIXTURE_H

#include "cmd/agent/proxy/proxy.h"
#include "common/base/buf.h"
#include "tests/support/test.h"

enum {
    FIXTURE_PEERS = 512,
    FIXTURE_NAMES = 16,
    FIXTURE_DENIALS = 64
};

#define GATE "box"

struct fixture;

/* One end of a connection: a client of the gate, or what the server accepted. */
struct peer {
    struct fixture *fixture;
    int fd;
    struct loop_watch *watch;
    struct buf got;
    bool ended; /* no more comes */
    bool reset;
    bool is_server;
    bool answered;
    bool deaf; /* reads nothing */
};

struct name {
    const char *name;
    const char *addresses[4]; /* NULL at the end */
    const char *later[4];     /* from the second question on, if there are any */
    bool silent;
    bool is_half;       /* silent when it is asked for IPv6 */
    unsigned questions; /* for IPv4 addresses */
};

struct denial {
    char host[256];
    char reason[256];
    char rule[64];
    char path[64];
    unsigned port;
    bool audited;
    uint64_t count;
};

struct fixture {
    struct clock clock;
    int64_t shift_us;
    struct loop *loop;
    struct proxy *proxy;
    unsigned gate_port;
    bool narrow; /* clients have a small window */
    int server;
    struct loop_watch *server_watch;
    unsigned port; /* of the server, and of the victim */
    int victim;
    int resolver;
    struct loop_watch *resolver_watch;
    char resolvers[64];
    struct name names[FIXTURE_NAMES];
    const char *answer; /* the server's to a request; NULL: it echoes */
    struct peer *peers[FIXTURE_PEERS];
    size_t peer_count;
    size_t accepted; /* by the server */
    struct denial denials[FIXTURE_DENIALS];
    size_t denial_count;
};

struct fixture *fixture_create(void);
void fixture_destroy(struct fixture *fixture);

/* Rules with one endpoint: a host, and the port of the server. */
struct rules *fixture_rules(const struct fixture *fixture, const char *host);
/* In force: this host on the server's port, with the server's private address named. */
void fixture_allow(struct fixture *fixture, const char *host);
void fixture_add(
    const struct fixture *fixture, struct rules *rules, const struct rules_endpoint *endpoint);

struct peer *fixture_connect(struct fixture *fixture);
void peer_send(struct peer *peer, struct str_view data);
void peer_say(struct peer *peer, const char *text);
void peer_close(struct peer *peer);
struct peer *fixture_accepted(struct fixture *fixture, size_t at); /* by the server */
bool peer_has(const struct peer *peer, const char *text);

/* Connects, sends, and reads until the end; what came is in peer->got. */
struct peer *fixture_ask(struct fixture *fixture, const char *text);
unsigned peer_status(const struct peer *peer); /* of the first answer; 0: none */

/* The server takes no connection any more: one fills its backlog, the next ones wait for an answer.
 * Then it takes them again. */
struct peer *fixture_fill_server(struct fixture *fixture);
void fixture_drain_server(struct fixture *fixture);
bool fixture_has_syn_sent(void); /* of anybody in this network: one is on its way */

/* The gate again, and clients of it, with sockets that hold next to nothing. */
void fixture_narrow_gate(struct fixture *fixture);
/* A gate of another proxy, with a listener of its own, which clients connect to from now on. */
void fixture_open_gate(struct fixture *fixture, struct proxy *proxy, const char *id);

void fixture_turn(struct fixture *fixture);
void fixture_pass(struct fixture *fixture, int64_t us); /* time goes by at once */
bool fixture_is_late(const struct fixture *fixture, int64_t since_us);
int64_t fixture_now(void);
/* Whether anything came to the victim. */
bool fixture_victim_saw(struct fixture *fixture);

/* Turns the loop until the condition holds; fails after 10 s. */
#define UNTIL(fixture, condition)                       \
    do {                                                \
        int64_t since_ = fixture_now();                 \
        while (!(condition)) {                          \
            fixture_turn(fixture);                      \
            if (fixture_is_late((fixture), since_)) {   \
                print_error("never: %s\n", #condition); \
                fail();                                 \
            }                                           \
        }                                               \
    } while (0)

#endif
