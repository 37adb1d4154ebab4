/* belay-sim's man page, from the same table as --help. */
#include "tools/bench/sim/plan.h"

static const char head[] =
    ".TH BELAY\\-SIM 8 \"\" \"Belay " BELAY_VERSION "\" \"Belay\"\n"
    ".SH NAME\n"
    "belay\\-sim \\- thousands of simulated agents against a Belay server\n"
    ".SH SYNOPSIS\n"
    ".B belay\\-sim\n"
    "\\fB\\-\\-operator\\-socket\\fR \\fIPATH\\fR [\\fIOPTIONS\\fR]\n"
    ".br\n"
    ".B belay\\-sim\n"
    "\\fBconfig\\fR \\fBreference\\fR|\\fBman\\fR\n"
    ".SH DESCRIPTION\n"
    "Enrolls agents that exist only in this process, keeps their control streams and heartbeats,\n"
    "uploads telemetry with sequence numbers, checks and answers commands, and breaks things on\n"
    "demand. The server is a real one and cannot tell them from others: use one whose data does\n"
    "not matter.\n"
    ".PP\n"
    "At the end it prints counts, latencies and errors, and with \\fB\\-\\-verify\\fR whether every\n"
    "acknowledged record is in the store exactly once.\n"
    ".SH STEPS\n"
    "An option \\fB\\-\\-at\\fR \\fITIME\\fR=\\fIACTION\\fR:\\fIVALUE\\fR each:\n"
    ".TP\n"
    ".B drop:50%\n"
    "Cuts the connections of half of the agents; they come back as real agents do.\n"
    ".TP\n"
    ".B storm:100%\n"
    "The same, but they dial again at once.\n"
    ".TP\n"
    ".B slow:10%\n"
    "These stop reading their control streams, until slow:0%.\n"
    ".TP\n"
    ".B command:25%\n"
    "Gives each of these a command.\n"
    ".TP\n"
    ".B telemetry:1s, heartbeat:2s\n"
    "Another pace from then on.\n"
    ".TP\n"
    ".B jitter:20%\n"
    "Heartbeats and records come up to that much earlier or later than their interval.\n"
    ".TP\n"
    ".B duplicate:5%, lose\\-acks:5%\n"
    "As the options of that name, from then on.\n"
    ".SH OPTIONS\n"
    "Each can also stand in the file of \\-\\-config (telemetry_interval: 1s). A flag wins.\n";

static const char tail[] =
    ".SH EXIT STATUS\n"
    ".TP\n"
    ".B 0\n"
    "Every agent came online, and nothing was lost or stored twice.\n"
    ".TP\n"
    ".B 1\n"
    "Not so.\n"
    ".TP\n"
    ".B 64\n"
    "The command line or the file is wrong.\n"
    ".TP\n"
    ".B 69\n"
    "The server cannot be reached, or a limit of this machine is in the way.\n"
    ".SH SEE ALSO\n"
    ".BR belay (1),\n"
    ".BR belay\\-server (8)\n";

void plan_manual(struct buf *buf)
{
    buf_append_str(buf, STR(head));
    config_man(plan_options, plan_option_count, buf);
    buf_append_str(buf, STR(tail));
}
