/*
 * The agents of a round, and what each of them says on its connection: how it asks for its token as
 * an operator, registers with it, begins a session and opens its control stream. They cost little,
 * so that what is measured is the server: keys are made before, and all share one TLS set-up. One
 * thread.
 */
#ifndef TOOLS_BENCH_ENROLL_CREW_H
#define TOOLS_BENCH_ENROLL_CREW_H

#include "tools/bench/stage/stage.h"

struct crew;

/* operator_key is borrowed; names are unique by the run. */
struct crew *crew_create(
    const struct wire_schema *schema, unsigned count, unsigned run, struct str_view operator_key);
void crew_destroy(struct crew *crew); /* NULL is allowed */

/* A connection of operators: makes every token of the crew's that no other connection makes. */
enum err_code crew_order(
    void *crew, unsigned connection, struct str_view answer, struct raw_said *said);

/* An agent's connection, until its registration is confirmed. */
enum err_code crew_register(
    void *crew, unsigned connection, struct str_view answer, struct raw_said *said);

/* An agent's connection, until its control stream is accepted. */
enum err_code crew_come_online(
    void *crew, unsigned connection, struct str_view answer, struct raw_said *said);

#endif
