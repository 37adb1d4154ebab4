#!/usr/bin/python3
"""Several servers on one PostgreSQL behave as one: commands find the agent wherever its stream is, watches see what
happens anywhere, and work that is nobody's in particular is done once."""
from replicas import *


class Commands(ReplicaCase):
    def test_a_command_given_anywhere_arrives_at_once(self):
        agent = self.agent_on(self.replicas[0])
        stream = agent.stream()
        for operator in self.operators * 3:
            # A stream looks by itself every 30 s: what comes sooner was woken for.
            sent = self.carry(operator, agent, stream, within=10)
            for other in self.operators:
                self.ends_well(other, sent.id)
        stream.cancel()

    def test_commands_arrive_when_notifications_were_cut_off(self):
        agent = self.agent_on(self.replicas[0])
        stream = agent.stream()
        for _ in range(3):
            self.server.database.query(LISTEN_GONE)
            self.carry(self.operators[1], agent, stream, within=15)
        stream.cancel()

    def test_one_command_by_two_servers_with_one_key_is_one(self):
        agent = self.agent_on(self.replicas[0])
        sent = in_threads(8, lambda i: self.operators[i % self.count].SendCommand(
            agent=str(agent.id), command=TELEMETRY_NOW, ttl_seconds=60, idempotency_key="once"))
        self.assertEqual(1, len({command.id for command in sent}))

    def test_sequences_given_by_all_at_once_have_no_gap(self):
        agent = self.agent_on(self.replicas[1])
        sent = in_threads(16, lambda i: self.operators[i % self.count].SendCommand(
            agent=str(agent.id), command=TELEMETRY_NOW, ttl_seconds=60))
        self.assertEqual(list(range(1, 17)), sorted(command.sequence for command in sent))
        stream = agent.stream()
        self.assertEqual(list(range(1, 17)), [stream.command().sequence for _ in sent])
        stream.cancel()


class Deaf(ReplicaCase):
    """Servers that hear no notifications, as behind PgBouncer."""

    options = ("--no-database-prepared-statements",)

    @classmethod
    def make(cls, name, first):
        replica = super().make(name, first)
        if first is None:
            replica.migrate()
        return replica

    def test_commands_arrive_by_looking(self):
        agent = self.agent_on(self.replicas[0])
        stream = agent.stream()
        for _ in range(3):
            sent = self.carry(self.operators[1], agent, stream, within=15)
            self.ends_well(self.operators[1], sent.id)
        stream.cancel()


class Watches(ReplicaCase):
    count = 3

    def test_every_event_is_seen_once_whoever_stored_it(self):
        total = 150
        agents = [self.agent_on(replica) for replica in self.replicas]
        watches = [Watch(operator.WatchEvents(kind_prefix="flood.", timeout=120)) for operator in self.operators]
        # A watch that has begun answers: the events before the flood's show that each has.
        marks = iter(range(1, 1000))
        eventually(lambda: agents[0].upload([event(next(marks), "flood.mark")], events=True)
                   and all(watch.got for watch in watches), "each watch has begun")
        first = next(marks)

        def send(index):
            base_sequence = first if index == 0 else 1
            for i in range(0, total, 5):
                agents[index].upload([event(base_sequence + i + k, f"flood.{index}") for k in range(5)], events=True)
        self.assertEqual([None] * 3, in_threads(3, send))
        for watch in watches:
            def seen(watch=watch):
                return [(one.kind, one.text) for one in list(watch.got) if one.kind != "flood.mark"]
            eventually(lambda: len(seen()) >= 3 * total, "every event is seen")
            self.assertEqual(3 * total, len(set(seen())))
            self.assertEqual(3 * total, len(seen()))
            watch.cancel()

    def test_telemetry_of_elsewhere_is_seen_whatever_the_agents_clock_says(self):
        agent = self.agent_on(self.replicas[0])
        watch = Watch(self.operators[1].WatchTelemetry(metric="there.", timeout=60))
        sequence = iter(range(1, 1000))
        eventually(lambda: agent.upload([sample(next(sequence), "there.now", 1)]) and watch.got, "the watch has begun")
        old = gateway.TelemetryBatch(series=[gateway.TelemetrySeries(metric="there.late")],
                                     samples=[gateway.TelemetrySample(time_us=1_000_000, value=7)])
        agent.upload([gateway.UploadTelemetryRequest(payload=old.SerializeToString(), captured_at=now(),
                                                     sequence=next(sequence),
                                                     format=gateway.PAYLOAD_FORMAT_TELEMETRY_BATCH)])
        eventually(lambda: [one for one in watch.got if one.metric == "there.late"], "an old value is news as well")
        watch.cancel()

    def test_agents_commands_and_audit_of_elsewhere_are_seen(self):
        agents = Watch(self.operators[1].WatchAgents(timeout=60))
        audit = Watch(self.operators[2].WatchAuditRecords(timeout=60))
        eventually(lambda: any(change.initial_done for change in agents.got), "the watch of agents has begun")
        agent = self.agent_on(self.replicas[0])
        eventually(lambda: any(change.agent.id == agent.id for change in agents.got), "the agent is seen")
        eventually(lambda: any(one.target == f"agent/{agent.id}" and one.action == "agent.session_begun"
                               for one in audit.got), "its session is in the trail")
        stream = agent.stream()
        sent = self.operators[2].SendCommand(agent=str(agent.id), command=TELEMETRY_NOW, ttl_seconds=60)
        command = Watch(self.operators[1].WatchCommand(id=sent.id, timeout=60))
        self.assertEqual(sent.id, stream.command().command_id)
        stream.send(ack(sent.id))
        eventually(lambda: command.end, "the watch of the command ends with it")
        self.assertEqual(admin.COMMAND_STATE_SUCCEEDED, command.got[-1].state)
        eventually(lambda: any(one.action == "command.acknowledged" and sent.id in one.target for one in audit.got),
                   "the acknowledgement is in the trail")
        sequences = [one.sequence for one in audit.got]
        self.assertEqual(sorted(set(sequences)), sequences)
        for watch in (agents, audit, command):
            watch.cancel()
        stream.cancel()


class Periodic(ReplicaCase):
    count = 3
    log_level = "debug"

    def runs(self, task):
        return [line for replica in self.replicas for line in replica.log_lines("housekeeping_ran")
                if line["task"] == task]

    def at_it(self):
        """Who holds the lock of a task and waits for another's."""
        return [row[0] for row in self.server.database.query(
            "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND a.wait_event_type = 'Lock' "
            "AND a.datname = current_database()")]

    def test_it_is_done_once_and_by_another_when_its_server_dies(self):
        self.assertEqual(1, len(self.runs("partitions")))
        held = Holder(self.server.database, "LOCK TABLE challenge IN ACCESS EXCLUSIVE MODE")
        try:
            name, = eventually(self.at_it, "somebody is at it and waits")
            victim = next(replica for replica in self.replicas if replica.name == name)
            others = [replica for replica in self.replicas if replica is not victim]
            self.assertEqual([name], self.at_it())
            victim.kill()
        finally:
            held.release()
        alive = others[0]
        operator = alive.operator()
        before = {replica.name: len(replica.log_lines("housekeeping_ran")) for replica in others}
        created = operator.CreateEnrollmentToken(ttl_seconds=60)
        self.server.database.query(f"UPDATE enrollment SET expires_at = 1 WHERE id = '{created.token.id}'")
        eventually(lambda: any(token.state == admin.ENROLLMENT_STATE_EXPIRED for token in
                               operator.ListEnrollmentTokens(page_size=1000).tokens if token.id == created.token.id),
                   "another expires what is due")
        eventually(lambda: any(len(replica.log_lines("housekeeping_ran")) > before[replica.name] for replica in others),
                   "it says so")
        victim.start()


if __name__ == "__main__":
    main()
