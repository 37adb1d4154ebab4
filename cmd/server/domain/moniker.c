#include "cmd/server/domain/moniker.h"

#include <stdio.h>

enum {
    WORDS = 64
};

static const char *const qualities[WORDS] = {
    "amber",  "ample",  "azure", "bold",   "brave",  "brief",  "bright", "brisk",
    "calm",   "candid", "clear", "clever", "cool",   "coral",  "crisp",  "deep",
    "eager",  "early",  "fair",  "fast",   "firm",   "fleet",  "fond",   "frank",
    "fresh",  "gentle", "glad",  "golden", "grand",  "green",  "handy",  "hardy",
    "honest", "ivory",  "jolly", "keen",   "kind",   "lively", "lucid",  "lucky",
    "mellow", "merry",  "mild",  "modest", "neat",   "noble",  "plain",  "proud",
    "quick",  "quiet",  "rapid", "ready",  "rustic", "sage",   "silver", "smooth",
    "snowy",  "solid",  "stark", "steady", "sunny",  "tidy",   "vivid",  "warm",
};
static const char *const things[WORDS] = {
    "acorn",  "anchor", "arbor",  "aspen",   "badger", "basin",  "beacon", "birch",
    "brook",  "canyon", "cedar",  "cliff",   "cloud",  "comet",  "cove",   "crane",
    "creek",  "delta",  "dune",   "eagle",   "ember",  "falcon", "fern",   "field",
    "finch",  "fjord",  "forest", "gale",    "glade",  "grove",  "harbor", "hazel",
    "heron",  "hill",   "island", "kestrel", "lagoon", "lake",   "lark",   "ledge",
    "maple",  "marsh",  "meadow", "mesa",    "moss",   "oak",    "orchid", "otter",
    "pebble", "pine",   "plover", "pond",    "quartz", "raven",  "reef",   "ridge",
    "river",  "robin",  "shore",  "spruce",  "summit", "thorn",  "tide",   "willow",
};

char *moniker_create(uint64_t random, char out[MONIKER_BYTES])
{
    (void)snprintf(
        out, MONIKER_BYTES, "%s-%s", qualities[random % WORDS], things[random / WORDS % WORDS]);
    return out;
}
