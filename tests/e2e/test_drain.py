#!/usr/bin/python3
"""SIGTERM: readiness goes first, then agents and watches are told, what is under way ends well; a second signal or
the grace ends the patience; and a restart of all servers in turn loses no command and doubles none."""
from replicas import *

HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
LOCK_COMMANDS = "LOCK TABLE command IN ACCESS EXCLUSIVE MODE"


def health(channel):
    return channel.unary_unary(HEALTH)(b"", timeout=TIMEOUT)


def waits_for_a_lock(server):
    return server.database.number("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                                  "AND datname = current_database()")


class DrainCase(ReplicaCase):
    count = 1

    def setUp(self):
        if not self.server.is_running():
            self.server.start()
            eventually(lambda: code_of(self.operator.GetServerInfo)[0] == Code.OK, "the operator's socket is back")

    def blocked_call(self, agent):
        """A call that waits in the database until the holder lets go."""
        held = Holder(self.server.database, LOCK_COMMANDS)
        results = []
        thread = threading.Thread(target=lambda: results.append(code_of(lambda: self.send(agent))))
        thread.start()
        eventually(lambda: waits_for_a_lock(self.server), "the call waits")
        return held, thread, results


class Readiness(DrainCase):
    options = ("--drain-delay", "1h")

    def test_readiness_goes_first_while_all_is_still_served(self):
        agent = self.agent()
        stream = agent.stream()
        channel = self.server.channel()
        self.assertEqual(SERVING, health(channel))
        self.server.signal(signal.SIGTERM)
        eventually(lambda: self.server.http("/readyz")[0] == 503, "readiness is off")
        self.assertEqual(200, self.server.http("/healthz")[0])
        self.assertEqual(NOT_SERVING, health(channel))
        self.assertEqual(NOT_SERVING, health(self.server.channel()))  # a new connection is still taken
        self.carry(self.operator, agent, stream)
        self.server.signal(signal.SIGTERM)  # the second one: enough of the delay
        self.assertEqual("goaway", stream.receive().WhichOneof("message"))
        stream.end()
        self.assertEqual(0, self.server.process.wait(TIMEOUT))


class UnderWay(DrainCase):
    options = ("--drain-grace", "60s")

    def test_what_is_under_way_ends_well(self):
        agent = self.agent()
        records = queue.SimpleQueue()
        upload = agent.channel.stream_unary(GATEWAY + "UploadEvents", lambda m: m.SerializeToString(),
                                            gateway.UploadEventsResponse.FromString)
        upload = upload.future(iter(records.get, None), timeout=60, metadata=agent.credentials)
        records.put(event(1))
        eventually(lambda: self.agent_row(agent).events_sequence == 1, "the upload has begun")
        watch = Watch(self.operator.WatchEvents(timeout=60))
        stream = agent.stream()
        sent = self.send(agent)
        self.assertEqual(sent.id, stream.command().command_id)
        held, thread, results = self.blocked_call(agent)
        self.server.signal(signal.SIGTERM)
        eventually(lambda: watch.end, "the watch is told")
        self.assertEqual(Code.UNAVAILABLE, watch.end[0])
        self.assertIn("draining", watch.end[1])
        self.assertEqual("goaway", stream.receive().WhichOneof("message"))
        stream.send(ack(sent.id))
        records.put(event(2))
        records.put(None)
        held.release()
        thread.join()
        self.assertEqual([(Code.OK, "")], results)
        self.assertEqual(2, upload.result(60).acked_sequence)
        stream.half_close()
        self.assertEqual(0, self.server.process.wait(TIMEOUT))
        state, = self.server.database.query(f"SELECT state FROM command WHERE id = '{sent.id}'")
        self.assertEqual(str(admin.COMMAND_STATE_SUCCEEDED), state[0])

    def test_a_second_signal_ends_the_patience(self):
        records = queue.SimpleQueue()
        agent = self.agent()
        upload = agent.channel.stream_unary(GATEWAY + "UploadEvents", lambda m: m.SerializeToString(),
                                            gateway.UploadEventsResponse.FromString)
        upload = upload.future(iter(records.get, None), timeout=120, metadata=agent.credentials)
        records.put(event(1))
        eventually(lambda: self.agent_row(agent).events_sequence == 1, "the upload has begun")
        self.server.signal(signal.SIGTERM)
        eventually(lambda: self.server.http("/readyz")[0] == 503, "it drains")
        self.assertTrue(self.server.is_running())
        eventually(lambda: self.server.log_lines("stopping"), "the first was heard")
        self.server.signal(signal.SIGTERM)
        self.assertEqual(0, self.server.process.wait(TIMEOUT))
        self.assertTrue(upload.exception(TIMEOUT))


class Impatient(DrainCase):
    options = ("--drain-grace", "1s")

    def test_the_grace_ends_what_does_not_end(self):
        agent = self.agent()
        records = queue.SimpleQueue()
        upload = agent.channel.stream_unary(GATEWAY + "UploadEvents", lambda m: m.SerializeToString(),
                                            gateway.UploadEventsResponse.FromString)
        upload = upload.future(iter(records.get, None), timeout=120, metadata=agent.credentials)
        records.put(event(1))
        eventually(lambda: self.agent_row(agent).events_sequence == 1, "the upload has begun")
        self.assertEqual(0, self.server.terminate())
        self.assertTrue(upload.exception(TIMEOUT))


if __name__ == "__main__":
    main()
