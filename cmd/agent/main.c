/* belay-agent: see agent.h. */
#include "cmd/agent/agent.h"

#include <stdbool.h>
#include <string.h>

enum {
    WORD_COUNT = 3
};

/* How belay-server is told to be an agent (--mode agent -- WORDS) is taken here too: an agent that
 * starts another one runs its own program, whichever of the two that is. */
static bool is_told_its_mode(int argc, char *const *argv)
{
    static const char *const words[] = { "--mode", "agent", "--" };
    for (int i = 0; i < WORD_COUNT; i++) {
        if (argc <= i + 1 || strcmp(argv[i + 1], words[i]) != 0) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    if (is_told_its_mode(argc, argv)) {
        argv[WORD_COUNT] = argv[0];
        return agent_main(argc - WORD_COUNT, argv + WORD_COUNT);
    }
    return agent_main(argc, argv);
}
