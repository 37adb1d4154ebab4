/* belay-agent: see agent.h. */
#include "cmd/agent/agent.h"

int main(int argc, char **argv)
{
    return agent_main(argc, argv);
}
