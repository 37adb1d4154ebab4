/*
 * The number of a control stream: unique among an agent's streams, and ordered where the agent
 * counts them (ControlHello.stream_number). Stored in the agent's row, never sent.
 */
#ifndef SERVER_GATEWAY_STREAM_NUMBER_H
#define SERVER_GATEWAY_STREAM_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* count: what the agent told, 0: it does not count. Never 0. */
int64_t stream_number_make(uint32_t count);

/* Of two streams of one session; false if one of them was not counted, or newest is 0 (none). */
bool stream_number_is_older(int64_t number, int64_t newest);

#endif
