"""Which test shows which item of the negative checklist, and what is taken away to see each test fail.

CHECKLIST: item -> (what, tests). A test is "path:function", in Python "path:Class.function".
MUTATIONS: defences, each as an edit of the sources that takes it away, and a test that must then fail;
tests/security/without_defence builds and runs them."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

RPC = "tests/component/common_rpc/"
ESCAPE = "tests/component/agent_sandbox/test_escape.c:"
CHECKLIST = {
    31: ("identity headers sent by a client", [
        "tests/security/test_matrix.py:Matrix.test_identity_headers_mean_nothing",
        RPC + "test_proxied.c:test_who_is_trusted_must_say_and_nobody_else_may",
        "tests/e2e/test_balancer.py:Proxied.test_who_is_not_trusted_may_not_name_anybody"]),
    32: ("repeated or joined authorization, bad binary headers", [
        "tests/security/test_matrix.py:Matrix.test_no_and_malformed_credentials",
        "tests/security/test_peers.py:Requests.test_credentials_stand_once_and_as_text",
        RPC + "test_unary.c:test_the_gate_refuses"]),
    33: ("paths that are none, unknown methods and services", [
        "tests/security/test_peers.py:Requests.test_paths",
        "tests/security/test_matrix.py:Matrix.test_unknown_methods_and_services"]),
    36: ("plaintext to the TLS port", [
        "tests/security/test_transport.py:Transport.test_plaintext_to_the_tls_port",
        "tests/security/test_transport.py:Transport.test_http_1_after_the_handshake"]),
    37: ("certificates of another CA", [
        RPC + "test_door_tls.c:test_client_certificates",
        RPC + "test_tls.c:test_another_ca_a_wrong_name_and_no_tls_are_told_apart",
        RPC + "test_pin.c:test_other_ca",
        RPC + "test_pin.c:test_forged_leaf",
        "tests/security/test_tampering.py:Tampering.test_a_server_with_another_ca_is_not_spoken_to"]),
    39: ("header floods", [
        "tests/security/test_peers.py:Floods.test_header_blocks_without_end",
        "tests/security/test_peers.py:Floods.test_references_to_the_table",
        "tests/security/test_transport.py:Transport.test_headers_without_end",
        "tests/security/test_transport.py:Transport.test_large_metadata",
        RPC + "test_attacks.c:test_continuation",
        RPC + "test_attacks.c:test_header_bomb"]),
    40: ("rapid reset, floods of small frames", [
        "tests/security/test_peers.py:Floods.test_streams_that_are_reset",
        "tests/security/test_peers.py:Floods.test_small_frames",
        RPC + "test_attacks.c:test_rapid_reset",
        "tests/unit/common_rpc/test_guard.c:test_strangers_reset_less",
        RPC + "test_attacks.c:test_pings"]),
    41: ("slow readers, slow headers, idle before a credential", [
        RPC + "test_door.c:test_slow_preface",
        RPC + "test_door.c:test_slow_headers",
        RPC + "test_door.c:test_no_request",
        RPC + "test_door_pressure.c:test_unread_bytes_have_a_deadline",
        RPC + "test_door_tls.c:test_handshake_timeout",
        RPC + "test_strangers.c:test_who_asks_for_nothing_goes"]),
    42: ("more streams, connections, descriptors, calls than may be", [
        RPC + "test_attacks.c:test_streams",
        RPC + "test_door.c:test_connection_cap",
        RPC + "test_door.c:test_the_silent_give_way",
        RPC + "test_door.c:test_address_cap",
        RPC + "test_door.c:test_handshake_rate",
        RPC + "test_door_tls.c:test_strangers_of_one_address_wait",
        RPC + "test_proxied.c:test_limits_are_of_the_client",
        RPC + "test_door.c:test_no_descriptors",
        RPC + "test_strangers.c:test_few_calls_at_once_without_a_credential",
        RPC + "test_strangers.c:test_watches_of_health_are_counted",
        RPC + "test_strangers.c:test_strangers_calls_have_a_price",
        RPC + "test_strangers.c:test_who_is_refused_again_and_again_goes",
        "tests/security/test_peers.py:Calls.test_tokens_of_nobody_are_looked_up_at_a_rate",
        "tests/security/test_peers.py:Calls.test_refusals_do_not_fill_the_audit_trail",
        "tests/security/test_peers.py:Calls.test_strangers_do_not_fill_the_log",
        RPC + "test_unary.c:test_calls_beyond_the_queue_are_refused",
        "tests/security/test_transport.py:Transport.test_more_streams_than_a_connection_may_have"]),
    43: ("oversize, compression, bad length prefixes; bytes before a credential", [
        RPC + "test_unary.c:test_an_oversized_request_is_refused",
        RPC + "test_strangers.c:test_a_call_is_refused_before_its_request_is_read",
        RPC + "test_strangers.c:test_strangers_are_read_slowly_until_they_are_known",
        "tests/security/test_peers.py:Requests.test_message_prefixes",
        "tests/security/test_peers.py:Requests.test_a_stranger_is_refused_before_its_request_is_sent",
        "tests/security/test_transport.py:Transport.test_a_frame_that_is_too_long",
        "tests/security/test_transport.py:Transport.test_compressed_bomb",
        "tests/e2e/test_uploads.py:Uploads.test_a_mebibyte_fits_more_does_not"]),
    44: ("a message before hello, a second hello, a second stream", [
        "tests/e2e/test_sessions.py:Order.test_message_before_hello",
        "tests/e2e/test_sessions.py:Order.test_second_hello",
        "tests/e2e/test_sessions.py:Order.test_newest_stream_of_a_session_is_served"]),
    45: ("a session that a newer one has replaced", [
        "tests/e2e/test_sessions.py:Sessions.test_an_older_sessions_upload_is_fenced",
        "tests/e2e/test_sessions.py:Sessions.test_newer_session_ends_the_older_and_its_stream",
        "tests/cluster/server_api/test_fence.c:test_a_fenced_replicas_late_records_are_not_stored",
        "tests/cluster/server_api/test_faults.c:test_faults_on_sqlite",
        "tests/e2e/test_fencing.py:StoppedWithSandboxes.test_a_report",
        "tests/e2e/test_fencing.py:StoppedWithSandboxes.test_a_capacity",
        "tests/e2e/test_fencing.py:StoppedWithSandboxes.test_older_stream",
        "tests/e2e/test_fencing.py:StoppedWithSandboxes.test_readings",
        "tests/e2e/test_sessions.py:Order.test_hello_that_comes_late"]),
    46: ("replayed batches", [
        "tests/e2e/test_uploads.py:Uploads.test_replayed_batches_are_stored_once_and_acknowledged_again",
        "tests/e2e/test_uploads.py:Uploads.test_replayed_events_are_stored_once"]),
    47: ("the same sequence with another payload", [
        "tests/e2e/test_uploads.py:Uploads.test_replayed_batches_are_stored_once_and_acknowledged_again"]),
    48: ("sequence 0, gaps, steps back, beyond int64; a wiped spool", [
        "tests/e2e/test_uploads.py:Uploads.test_a_gap_is_allowed_a_step_back_is_a_repeat",
        "tests/e2e/test_uploads.py:Uploads.test_sequence_beyond_int64_is_refused",
        "tests/component/agent_spool/test_spool.c:test_a_fresh_spool_follows_the_servers_mark"]),
    49: ("times of 1970 and 9999", [
        "tests/e2e/test_uploads.py:Uploads.test_timestamps_of_1970_and_9999",
        "tests/unit/common_wire/test_scan.c:test_times_are_bounded"]),
    50: ("enrollment tokens reused, expired, raced, foreign", [
        "tests/e2e/test_enrollment.py:Enrollment.test_another_key_is_refused_and_audited",
        "tests/e2e/test_enrollment.py:Enrollment.test_every_wrong_token_gets_one_text",
        "tests/e2e/test_enrollment.py:Enrollment.test_fifty_registrations_at_once_with_one_token",
        "tests/security/test_matrix.py:Matrix.test_ids_of_another_workspace_are_as_unknown_as_none"]),
    51: ("unknown enums, bad UTF-8, depth, truncated numbers", [
        "tests/e2e/test_uploads.py:Uploads.test_unknown_enums",
        "tests/e2e/test_uploads.py:Uploads.test_malformed_messages_are_refused",
        "tests/security/test_transport.py:Transport.test_wrong_wire_types_for_every_method",
        "tests/unit/common_wire/test_scan.c:test_depth_is_bounded",
        "tests/unit/common_wire/test_scan.c:test_malformed_bytes_are_refused",
        "tests/unit/common_wire/test_scan.c:test_text_rules_name_field_and_bound",
        "tests/unit/common_wire/test_scan.c:test_required_things"]),
    64: ("everything that a program tries to get out of its sandbox", [
        ESCAPE + "test_nothing_of_what_a_program_tries_leaves_the_sandbox",
        ESCAPE + "test_nothing_leaves_a_sandbox_with_a_bind",
        ESCAPE + "test_the_namespaces_hold_without_the_filter",
        ESCAPE + "test_the_namespaces_hold_without_the_filter_and_with_a_bind",
        ESCAPE + "test_a_link_on_the_way_of_a_bind_is_refused",
        "tests/component/agent_sandbox/test_hostile.c:test_lies_about_programs_stay_with_their_sandbox"]),
    65: ("keys, tokens and the spool of the agent, looked for from inside", [
        "tests/e2e/test_sandboxes_real.py:Life.test_no_key_token_or_spool_of_the_agent_is_to_be_had_inside",
        ESCAPE + "test_nothing_of_what_a_program_tries_leaves_the_sandbox"]),
    66: ("commands of another key, replayed, for another agent, expired", [
        "tests/security/test_tampering.py:Tampering.test_altered_commands_are_refused_and_the_next_good_one_obeyed",
        "tests/security/test_tampering.py:Tampering.test_a_command_for_another_agent_is_refused",
        "tests/security/test_tampering.py:Tampering.test_a_replayed_command_is_answered_from_the_log",
        "tests/security/test_tampering.py:Tampering.test_a_server_with_another_command_key_is_not_obeyed",
        "tests/security/test_tampering.py:Tampering.test_a_server_with_another_ca_is_not_spoken_to",
        "tests/unit/agent_command/test_verify.c:test_every_field_is_covered",
        "tests/unit/agent_command/test_verify.c:test_order_and_time"]),
    68: ("a spool with flipped bits, cut, on a full disk; state of the wrong owner, mode, kind", [
        "tests/component/agent_spool/test_spool.c:test_damaged_records_are_quarantined",
        "tests/component/agent_spool/test_spool.c:test_truncated_files_never_stop_it",
        "tests/component/agent_spool/test_spool.c:test_a_foreign_file_is_set_aside",
        "tests/component/agent_spool/test_spool.c:test_a_full_disk_degrades_and_recovers",
        "tests/component/agent_state/test_state.c:test_loose_modes_and_links_are_refused"]),
    69: ("secrets in logs, errors, metrics, arguments, dumps", [
        "tests/e2e/test_surface.py:Secrets.test_no_secret_is_seen_anywhere"]),
    70: ("forged log lines", [
        "tests/e2e/test_surface.py:Secrets.test_every_log_line_is_json_and_names_its_request",
        "tests/unit/common_base/test_log.c:test_one_json_line_with_every_kind",
        "tests/unit/common_base/test_log.c:test_hostile_values_do_not_suppress_the_line"]),
    71: ("metacharacters of SQL", [
        "tests/security/test_peers.py:Texts.test_metacharacters_of_sql"]),
    72: ("metrics, health and reflection without tenants' data", [
        "tests/security/test_peers.py:Texts.test_pages_for_everybody_tell_nothing_of_tenants",
        "tests/e2e/test_surface.py:Surface.test_metrics_and_health_pages",
        "tests/e2e/test_surface.py:Surface.test_reflection_describes_what_answers"]),
    73: ("audit: a gap, an edit, another order; no effect without its record", [
        "tests/security/test_peers.py:Evidence.test_a_gap_an_edit_and_another_order_are_seen",
        "tests/e2e/test_admin.py:Audit.test_the_chain_recomputed_after_every_kind_of_call",
        "tests/e2e/test_admin.py:Audit.test_a_refused_write_leaves_no_effect_and_one_record"]),
    74: ("clocks that jump by years", [
        "tests/component/agent_spool/test_spool.c:test_age_is_running_time_and_clock_jumps_do_not_matter",
        "tests/e2e/test_uploads.py:Uploads.test_timestamps_of_1970_and_9999"]),
    75: ("unknown options, loose keys, options that contradict each other", [
        "tests/e2e/test_startup.py:Options.test_unknown_and_malformed_options",
        "tests/e2e/test_startup.py:Options.test_unknown_key_in_the_file_names_place_and_nearest",
        "tests/e2e/test_startup.py:Options.test_combinations_that_cannot_be",
        "tests/e2e/test_startup.py:State.test_loose_modes_of_a_key",
        "tests/e2e/test_startup.py:State.test_loose_modes_of_the_state_folder",
        "tests/e2e/test_startup.py:State.test_loose_modes_of_an_agents_state_folder"]),
}

WANTED = [31, 32, 33, 36, 37, *range(39, 52), 64, 65, 66, *range(68, 76)]


class Mutation:
    """edits: (file, what stands there once, what stands there instead)."""

    def __init__(self, item, defence, test, *edits):
        self.item = item
        self.defence = defence
        self.test = test
        self.edits = edits


GUARD = "common/rpc/door/guard.c"
NATIVE = "cmd/shim/builder/native.c"
DOOR = "common/rpc/door/"
FENCE = ("cmd/server/ingest/batch.c",
         "bool fenced = record->source.epoch != marks->session_epoch || !marks->is_confirmed;", "bool fenced = false;")
ANY_CA = ("common/rpc/channel.c", "        : grpc_ssl_credentials_create(options->ca_pem, NULL, NULL, NULL);",
          "        : grpc_tls_credentials_create(trusting);"), (
    "common/rpc/channel.c", "    grpc_channel_credentials *credentials = options->ca_pem == NULL\n",
    "    grpc_tls_credentials_options *trusting = grpc_tls_credentials_options_create();\n"
    "    grpc_tls_credentials_options_set_verify_server_cert(trusting, 0);\n"
    "    grpc_channel_credentials *credentials = options->ca_pem == NULL\n")
LOOSE_FOLDER = ("common/sys/file.c", "if ((info.st_mode & 07777U & ~mode) != 0) {",
                "if ((info.st_mode & 07777U & ~mode) > 07777U) {")
MUTATIONS = [
    Mutation(31, "no header but authorization tells who calls", CHECKLIST[31][1][0], (
        "cmd/server/auth/gate.c", "if (!is_local_operator(rpc_call_peer(call))) {",
        "if (!is_local_operator(rpc_call_peer(call))\n"
        "            && rpc_call_metadata(call, \"x-forwarded-user\", NULL).len == 0) {")),
    Mutation(31, "only trusted proxies name the client",
             RPC + "test_proxied.c:test_who_is_trusted_must_say_and_nobody_else_may", (
                 DOOR + "door_listen.c", "arrival->is_proxied = is_trusted_proxy(door, address);",
                 "arrival->is_proxied = is_trusted_proxy(door, address) || door->options.trusted_proxy_count > 0;")),
    Mutation(32, "one authorization header, not two", CHECKLIST[32][1][0], (
        "cmd/server/auth/gate.c", "if (count > 1 || value.len < 8", "if (value.len < 8")),
    Mutation(33, "paths are compared as they stand", CHECKLIST[33][1][0], (
        "common/rpc/call.c", "map_find(server->rows, view_of(&call->details.method));",
        "map_find(server->rows, str_trim(str_from(view_of(&call->details.method).ptr,\n"
        "        strcspn((const char *)view_of(&call->details.method).ptr, \"?#\"))));")),
    Mutation(36, "TLS on the TLS port", CHECKLIST[36][1][0], (
        "cmd/server/app.c", ".tls = &files };", ".tls = NULL };")),
    Mutation(37, "client certificates of another CA are refused", CHECKLIST[37][1][0],
             (DOOR + "tls.c", "static enum err_code fill_context(",
              "static int take_all(int good, X509_STORE_CTX *context)\n{\n    return good | (context != NULL);\n}\n\n"
              "static enum err_code fill_context("),
             (DOOR + "tls.c", "SSL_CTX_set_verify(ssl, mode, NULL);", "SSL_CTX_set_verify(ssl, mode, take_all);")),
    Mutation(37, "a server's certificate is of the noted CA", CHECKLIST[37][1][1], *ANY_CA),
    Mutation(37, "an agent speaks to a server of its CA alone", CHECKLIST[37][1][4], *ANY_CA),
    Mutation(37, "the CA is the one whose fingerprint was told", CHECKLIST[37][1][2], (
        DOOR + "pin.c", "&& memcmp(digest, pin, 32) == 0) {",
        "&& (memcmp(digest, pin, 32) == 0 || X509_check_ca(certificate) == 1)) {")),
    Mutation(37, "a shown CA has signed what is shown with it", CHECKLIST[37][1][3], (
        DOOR + "pin.c", "problem = X509_verify_cert(context) == 1\n", "problem = X509_verify_cert(context) < 2\n")),
    Mutation(39, "header blocks are bounded", RPC + "test_attacks.c:test_continuation",
             (DOOR + "guard.h", "GUARD_HEADER_BLOCK_BYTES = 16384", "GUARD_HEADER_BLOCK_BYTES = 1 << 30"),
             (DOOR + "guard.h", "GUARD_HEADER_BLOCK_FRAMES = 32", "GUARD_HEADER_BLOCK_FRAMES = 1 << 30")),
    Mutation(39, "header blocks before the settings were acknowledged are bounded",
             RPC + "test_attacks.c:test_header_bomb",
             (DOOR + "guard.h", "GUARD_UNACKED_HEADER_BYTES = 8192", "GUARD_UNACKED_HEADER_BYTES = 1 << 30"),
             (DOOR + "guard.h", "GUARD_UNACKED_STREAMS = 100", "GUARD_UNACKED_STREAMS = 1 << 30")),
    Mutation(40, "resets are counted", "tests/unit/common_rpc/test_guard.c:test_strangers_reset_less", (
        GUARD, "return rate == GUARD_RATE_RESET && !guard->is_known ? GUARD_STRANGER_RESETS",
        "return rate == GUARD_RATE_RESET && !guard->is_known ? UINT32_MAX")),
    Mutation(40, "PINGs are counted", RPC + "test_attacks.c:test_pings", (
        GUARD, "[GUARD_RATE_PING] = { 100,", "[GUARD_RATE_PING] = { 2000000000,")),
    Mutation(40, "SETTINGS are counted", "tests/security/test_peers.py:Floods.test_small_frames", (
        GUARD, "[GUARD_RATE_SETTINGS] = { 50,", "[GUARD_RATE_SETTINGS] = { 2000000000,")),
    Mutation(40, "empty DATA frames are counted", "tests/security/test_peers.py:Floods.test_small_frames", (
        GUARD, "[GUARD_RATE_EMPTY_DATA] = { 100,", "[GUARD_RATE_EMPTY_DATA] = { 2000000000,")),
    Mutation(40, "WINDOW_UPDATEs are counted", "tests/security/test_peers.py:Floods.test_small_frames", (
        GUARD, "[GUARD_RATE_WINDOW] = { 1000,", "[GUARD_RATE_WINDOW] = { 2000000000,")),
    Mutation(41, "the preface has a deadline", RPC + "test_door.c:test_slow_preface", (
        DOOR + "door.c", "return door->options.limits.handshake_timeout_us;", "return -1;")),
    Mutation(41, "the first header block has a deadline", RPC + "test_door.c:test_slow_headers", (
        DOOR + "door_conn.c", "conn->phase == CONN_QUIET && guard_has_request(&conn->guard)",
        "conn->phase == CONN_QUIET && conn->guard.opened > 0")),
    Mutation(42, "whom a proxy names is counted", RPC + "test_proxied.c:test_limits_are_of_the_client", (
        DOOR + "door_arrival.c", "    conn->source = door_enter_source(conn->door, header->address);\n"
        "    if (conn->source == NULL) {", "    if (conn->phase == CONN_DEAD) {")),
    Mutation(41, "what is not read has a deadline", RPC + "test_door_pressure.c:test_unread_bytes_have_a_deadline", (
        DOOR + "door.c", "    expire_unread(door, now);\n", "    (void)expire_unread;\n")),
    Mutation(41, "who asks for nothing goes", RPC + "test_strangers.c:test_who_asks_for_nothing_goes", (
        DOOR + "door.c", "return limit > 0 && now.value", "return limit > US_PER_DAY && now.value")),
    Mutation(42, "connections are counted", RPC + "test_door.c:test_connection_cap", (
        DOOR + "door_listen.c", "if (door->open >= door->open_max && !make_room(door)) {",
        "(void)make_room;\n    if (door->open >= UINT32_MAX) {")),
    Mutation(42, "the silent give way", RPC + "test_door.c:test_the_silent_give_way", (
        DOOR + "door_listen.c", "if (door->open >= door->open_max && !make_room(door)) {",
        "(void)make_room;\n    if (door->open >= door->open_max) {")),
    Mutation(42, "connections of one address are counted", RPC + "test_door.c:test_address_cap", (
        DOOR + "door_source.c", "source->open >= limits->connections_per_address", "source->open == UINT32_MAX")),
    Mutation(42, "strangers of one address wait for each other",
             RPC + "test_door_tls.c:test_strangers_of_one_address_wait", (
                 DOOR + "door_source.c", "    if (list_is_empty(&source->waiting) && has_room(door, source)) {",
                 "    if (list_is_empty(&source->waiting)) {")),
    Mutation(42, "who is accepted makes room for the next",
             RPC + "test_door_tls.c:test_strangers_of_one_address_wait", (
                 DOOR + "door_conn.c", "    door_vouch(conn); /* whatever is accepted is answered */\n", "")),
    Mutation(42, "a shortage of descriptors is waited out", RPC + "test_door.c:test_no_descriptors", (
        DOOR + "door_listen.c", "    loop_timer_arm_after(listener->retry, accept_retry_us);\n",
        "    (void)accept_retry_us;\n")),
    Mutation(42, "strangers' calls are counted", RPC + "test_strangers.c:test_few_calls_at_once_without_a_credential", (
        "common/rpc/call.c", "return others < call->server->limits.stranger_calls", "return others < UINT32_MAX")),
    Mutation(42, "strangers' calls have a price", RPC + "test_strangers.c:test_strangers_calls_have_a_price", (
        DOOR + "door_conn.c", "guard->openable = opened + conn->allowance / limits->stranger_call_bytes;",
        "guard->openable = UINT64_MAX;")),
    Mutation(42, "who is refused again and again goes",
             RPC + "test_strangers.c:test_who_is_refused_again_and_again_goes", (
                 DOOR + "door_conn.c", "atomic_load(&state->refusals) >= limits->stranger_refusals",
                 "atomic_load(&state->refusals) == UINT32_MAX")),
    Mutation(42, "tokens of nobody are not looked up for ever",
             "tests/security/test_peers.py:Calls.test_tokens_of_nobody_are_looked_up_at_a_rate", (
                 "cmd/server/auth/gate.c", "    TRY(check_refusals(call, err));\n", "    (void)check_refusals;\n")),
    Mutation(43, "requests are bounded by their row", RPC + "test_unary.c:test_an_oversized_request_is_refused", (
        "common/rpc/unary.c", "grpc_byte_buffer_length(call->in) > call->method->max_request_bytes",
        "grpc_byte_buffer_length(call->in) > SIZE_MAX - 1")),
    Mutation(43, "the gate speaks before the request is read",
             "tests/security/test_peers.py:Requests.test_a_stranger_is_refused_before_its_request_is_sent", (
                 "common/rpc/unary.c", "    admit_here(call, poller, false);\n",
                 "    call->admitted.value = -US_PER_DAY;\n    (void)poller;\n    (void)admit_here;\n"
                 "    start_read(call);\n")),
    Mutation(43, "strangers' bytes are read slowly",
             RPC + "test_strangers.c:test_strangers_are_read_slowly_until_they_are_known", (
                 DOOR + "door_conn.c", "conn->is_stranger = arrival->peer->kind != RPC_PEER_UNIX;",
                 "conn->is_stranger = false;")),
    Mutation(44, "hello comes before everything else", CHECKLIST[44][1][0], (
        "cmd/server/gateway/control.c",
        "    if (!is_hello && control->sm.state == CONTROL_AWAITING_HELLO) {\n", "    if (false && is_hello) {\n")),
    Mutation(45, "an older session's records are fenced", CHECKLIST[45][1][0], FENCE),
    Mutation(45, "a replica's late records are fenced", CHECKLIST[45][1][2], FENCE),
    Mutation(45, "records that come late, as chance has it, are fenced", CHECKLIST[45][1][3], FENCE),
    Mutation(45, "an older session's reports are fenced",
             "tests/e2e/test_fencing.py:StoppedWithSandboxes.test_a_report", (
                 "cmd/server/gateway/intake.c",
                 "    return store_agent_fence(\n        work->conn, principal->workspace_id, principal->agent_id, "
                 "principal->epoch, err);\n", "    (void)work, (void)principal, (void)err;\n    return ERR_OK;\n")),
    Mutation(45, "an older stream's capacity is not stored",
             "tests/e2e/test_fencing.py:StoppedWithSandboxes.test_older_stream", (
                 "cmd/server/gateway/intake.c", "marks.stream != self->from.stream", "false")),
    Mutation(45, "a hello that comes late is refused",
             "tests/e2e/test_sessions.py:Order.test_hello_that_comes_late", (
                 "cmd/server/gateway/intake.c", "stream_number_is_older(self->from.stream, marks.stream)", "false")),
    Mutation(46, "what was stored is not stored again",
             "tests/e2e/test_uploads.py:Uploads.test_replayed_events_are_stored_once", (
                 "cmd/server/ingest/batch.c",
                 "bool repeat = record->sequence != 0 && record->sequence <= *mark;", "bool repeat = false;")),
    Mutation(47, "a sequence that was stored stands", CHECKLIST[47][1][0], (
        "cmd/server/ingest/batch.c", "bool repeat = record->sequence != 0 && record->sequence <= *mark;",
        "bool repeat = false;")),
    Mutation(48, "sequences fit the store", CHECKLIST[48][1][1], (
        "cmd/server/ingest/record.c", "if (upload->sequence > INT64_MAX) {", "if (upload->sequence > UINT64_MAX - 1) {")),
    Mutation(48, "a step back is a repeat", CHECKLIST[48][1][0], (
        "cmd/server/ingest/batch.c", "record->sequence != 0 && record->sequence <= *mark;",
        "record->sequence != 0 && record->sequence == *mark;")),
    Mutation(48, "a fresh spool follows the server's mark", CHECKLIST[48][1][2], (
        "cmd/agent/spool/spool_write.c", "        TRY(finish(spool, renumber(spool, stream, first, acked, err), err));\n",
        "        (void)first;\n        (void)renumber;\n")),
    Mutation(48, "a mark has a bound", CHECKLIST[48][1][2], (
        "cmd/agent/spool/spool_write.c", "    if (acked > SEQUENCE_MAX) {\n        return ERR_SET(err, ERR_INVALID, \"spool: the s",
        "    if (acked > UINT64_MAX - 1) {\n        return ERR_SET(err, ERR_INVALID, \"spool: the s")),
    Mutation(49, "times are bounded", CHECKLIST[49][1][0], (
        "common/wire/scan_check.c", "seconds < 0 || seconds > WIRE_TIMESTAMP_SECONDS_MAX || nanos < 0",
        "seconds > INT64_MAX - 1 || nanos < 0")),
    Mutation(50, "a spent token answers its own key alone", CHECKLIST[50][1][0], (
        "cmd/server/gateway/register.c", "if (enrollment->agent_id == 0 || !secret_equal(enrollment->identity_key, key)) {",
        "if (enrollment->agent_id == 0 && secret_equal(enrollment->identity_key, key)) {")),
    Mutation(50, "tokens expire", CHECKLIST[50][1][1], (
        "cmd/server/gateway/register.c", "if (registration->enrollment.expires_at <= work->now.value) {",
        "if (registration->enrollment.expires_at <= 0) {")),
    Mutation(51, "nesting is bounded", "tests/unit/common_wire/test_scan.c:test_depth_is_bounded", (
        "common/wire/scan.c", "if (scan->depth == WIRE_DEPTH_MAX || slots", "if (scan->depth == WIRE_DEPTH_MAX + 1 || slots")),
    Mutation(51, "text is UTF-8", "tests/unit/common_wire/test_scan.c:test_malformed_bytes_are_refused", (
        "common/wire/scan_check.c", "    if (!str_is_utf8(text, &chars)) {\n        return scan_fail_at(scan, field, scan_entry(scan, field), \"not UTF-8\");",
        "    if (!str_is_utf8(text, &chars) && text.len > 1000) {\n        return scan_fail_at(scan, field, scan_entry(scan, field), \"not UTF-8\");")),
    Mutation(51, "unknown values of an enum are refused",
             "tests/unit/common_wire/test_scan.c:test_required_things", (
                 "common/wire/scan.c", "wire_enum_find(field->enumeration, (int32_t)(uint32_t)value) == NULL) {",
                 "value == UINT64_MAX) {")),
    Mutation(64, "the filter of system calls", CHECKLIST[64][1][0], (
        NATIVE, "if ((child->build.spec->flags & SANDBOX_FLAG_UNFILTERED) != 0) {", "if (child->filter != NULL) {")),
    Mutation(64, "a network of its own", CHECKLIST[64][1][0], (
        NATIVE, "if (child->build.spec->network == SANDBOX_NETWORK_HOST) {", "if (child->sync >= 0) {")),
    Mutation(64, "shared memory and queues of its own", CHECKLIST[64][1][0], (
        NATIVE, "(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS", "(CLONE_NEWPID | CLONE_NEWUTS")),
    Mutation(64, "the host's control groups are hidden", CHECKLIST[64][1][0], (
        NATIVE, "return unshare(CLONE_NEWCGROUP);", "return 0;")),
    Mutation(64, "no further namespaces, filter or not", CHECKLIST[64][1][2], (
        NATIVE, "if (fd < 0 || write(fd, \"0\", 1) != 1) {", "if (fd < 0 || write(fd, \"9\", 1) != 1) {")),
    Mutation(64, "nobody looks into init", CHECKLIST[64][1][2], (
        "cmd/shim/init.c", "prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0", "prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0")),
    Mutation(64, "what is bound is named without links", CHECKLIST[64][1][4], (
        "cmd/shim/builder/mounts.c", ".resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };",
        ".resolve = RESOLVE_NO_MAGICLINKS };")),
    Mutation(65, "the host's processes are out of sight", CHECKLIST[65][1][0], (
        NATIVE, "(CLONE_NEWPID | CLONE_NEWIPC", "(CLONE_NEWIPC")),
    Mutation(66, "commands are signed", CHECKLIST[66][1][0], (
        "cmd/agent/command/verify.c", "bool good = buf_ok(&message)\n        && key_verify(",
        "bool good = buf_ok(&message)\n        || key_verify(")),
    Mutation(66, "commands are in order", "tests/unit/agent_command/test_verify.c:test_order_and_time", (
        "cmd/agent/command/verify.c", "if (command->sequence <= context->last_sequence) {",
        "if (command->sequence < 1 + 0 * context->last_sequence) {")),
    Mutation(66, "commands expire", "tests/unit/agent_command/test_verify.c:test_order_and_time", (
        "cmd/agent/command/verify.c", "return context->now.value >= time_of(command->expires_at).value ? VERIFY_EXPIRED : VERIFY_OK;",
        "return context->now.value < 0 ? VERIFY_EXPIRED : VERIFY_OK;")),
    Mutation(66, "a command names its agent", CHECKLIST[66][1][1], (
        "common/crypto/command_signature.c", "    append_signed(message, fields->agent_id);\n",
        "    append_signed(message, 0 * fields->agent_id);\n")),
    Mutation(66, "a replayed command is answered from the log", CHECKLIST[66][1][2], (
        "cmd/agent/command/commands.c", "        send_ack(commands, id, &outcome);\n        return true;\n    }\n    *ret_cut_off",
        "        return false;\n    }\n    *ret_cut_off")),
    Mutation(66, "another command key signs nothing", CHECKLIST[66][1][3], (
        "cmd/agent/command/verify.c", "bool good = buf_ok(&message)\n        && key_verify(",
        "bool good = buf_ok(&message)\n        || key_verify(")),
    Mutation(68, "records have a checksum", CHECKLIST[68][1][0], (
        "cmd/agent/spool/record.c", "&& memcmp(checksum.ptr, expected, sizeof(expected)) == 0;",
        "&& memcmp(checksum.ptr, expected, sizeof(expected)) < 256;")),
    Mutation(68, "keys of a loose mode are refused", CHECKLIST[68][1][4], (
        "common/sys/file.c", "if (private && (info.st_mode & 077) != 0) {", "if (private && (info.st_mode & 077) > 0777) {")),
    Mutation(68, "an agent's state folder of a loose mode is refused", CHECKLIST[68][1][4], LOOSE_FOLDER),
    Mutation(68, "and not looked into", CHECKLIST[68][1][4], (
        "cmd/agent/state/state.c", "if ((info.st_mode & 077) != 0) {", "if ((info.st_mode & 077) > 077) {")),
    Mutation(68, "a link to a key is refused", CHECKLIST[68][1][4], (
        "common/sys/file.c", "bool private, struct buf *buf, struct err_info *err)\n{\n    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);",
        "bool private, struct buf *buf, struct err_info *err)\n{\n    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);")),
    Mutation(68, "a key of another owner is refused", CHECKLIST[68][1][4], (
        "common/sys/file.c", "if (private && info.st_uid != geteuid() && info.st_uid != 0) {",
        "if (private && info.st_uid == UINT32_MAX) {")),
    Mutation(68, "a key is a file", CHECKLIST[68][1][4], (
        "common/sys/file.c", "    if (!S_ISREG(info.st_mode)) {", "    if (S_ISSOCK(info.st_mode)) {")),
    Mutation(68, "a damaged spool is set aside", CHECKLIST[68][1][1], (
        "cmd/agent/spool/spool.c", "    if (code == ERR_CORRUPT && !spool->read_only) {\n        TRY(set_file_aside(spool, err));",
        "    if (code == ERR_CORRUPT && spool->read_only) {\n        TRY(set_file_aside(spool, err));")),
    Mutation(68, "few of them are kept", CHECKLIST[68][1][2], (
        "cmd/agent/spool/spool.c", "if (count <= SPOOL_CORRUPT_FILES_MAX || unlink", "if (count <= 1000 || unlink")),
    Mutation(68, "a disk that refuses is waited out", CHECKLIST[68][1][3], (
        "cmd/agent/spool/spool.c", "    spool->is_degraded = true;\n", "    spool->is_degraded = false;\n")),
    Mutation(69, "credentials are not logged", CHECKLIST[69][1][0], (
        "cmd/server/auth/gate.c", "LOG_STR(\"error\", text == NULL ? \"\" : text),",
        "LOG_VIEW(\"error\", rpc_call_metadata(call, \"authorization\", NULL)),")),
    Mutation(70, "control characters are escaped", CHECKLIST[70][1][2], (
        "common/base/buf.c", "bool plain = c >= 0x80 ? utf8 : c >= 0x20 && c != 0x7F && c != '\"' && c != '\\\\';",
        "bool plain = c >= 0x80 ? utf8 : true;")),
    Mutation(71, "a prefix is compared, not matched as a pattern", CHECKLIST[71][1][0], (
        "cmd/server/store/agent.sql", "AND substr(a.name, 1, CAST($4 AS integer)) = $3 AND",
        "AND a.name LIKE $3 || '%' AND CAST($4 AS integer) >= 0 AND")),
    Mutation(72, "metrics are labelled with methods alone", CHECKLIST[72][1][0], (
        "cmd/server/auth/gate.c", "    call_metrics_count(service->calls, method, status, elapsed_us);\n",
        "    call_metrics_count(service->calls, method, status, elapsed_us);\n    char label[300];\n"
        "    struct str_view told = rpc_call_metadata(call, \"authorization\", NULL);\n"
        "    (void)snprintf(label, sizeof(label), \"told=\\\"%.*s\\\"\", STR_ARG(told));\n"
        "    metric_add(metric_get(service->metrics, METRIC_COUNTER, \"belay_errors_total\", \"Errors\", label), 1);\n")),
    Mutation(73, "a record's hash covers the one before", CHECKLIST[73][1][0], (
        "common/crypto/audit_chain.c", "        domain,\n        previous,\n",
        "        domain,\n        str_from(previous.ptr, 0),\n")),
    Mutation(73, "a record's hash covers its place", CHECKLIST[73][1][0], (
        "common/crypto/audit_chain.c", "number[i] = (uint8_t)((uint64_t)sequence >> (56 - 8 * i));",
        "number[i] = (uint8_t)(0 * (uint64_t)sequence >> (56 - 8 * i));")),
    Mutation(73, "what changes something has its record", CHECKLIST[73][1][1], (
        "cmd/server/api/api.c", "return unary->method->rule.is_audited ? audit_allowed(unary->api, err) : ERR_OK;",
        "return unary->method->rule.is_audited && unary->api == NULL ? audit_allowed(unary->api, err) : ERR_OK;")),
    Mutation(73, "what is refused has its record", CHECKLIST[73][1][2], (
        "cmd/server/api/api.c", "if (unary.method->rule.is_audited && gate_is_refusal(code)) {",
        "if (unary.method->rule.is_audited && gate_is_refusal(code) && code == ERR_OK) {")),
    Mutation(74, "the age of records is running time, not the clock's", CHECKLIST[74][1][0], (
        "cmd/agent/spool/spool.c", "return spool->clock_base_us + clock_mono(spool->clock).value - spool->opened_at.value;",
        "return clock_wall(spool->clock).value;")),
    Mutation(74, "running time goes on over a restart", CHECKLIST[74][1][0], (
        "cmd/agent/spool/spool.c", "spool->clock_base_us = (int64_t)running_us;",
        "spool->clock_base_us = 0 * (int64_t)running_us;")),
    Mutation(75, "a server's state folder of a loose mode is refused", CHECKLIST[75][1][4], LOOSE_FOLDER),
    Mutation(75, "unknown keys of a file are refused", CHECKLIST[75][1][1], (
        "common/config/config_yaml.c", "    return FAIL_AT(\n        reader, mark, \"unknown key %s%s\", buf_text(&shown), config_hint_text(&hint, \"\", suffix));",
        "    (void)config_hint_text(&hint, \"\", suffix);\n    (void)mark;\n    return ERR_OK;")),
]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def exists(test):
    """There is such a test, and it is run."""
    path, name = test.split(":")
    text = read(path)
    if path.endswith(".c"):
        defined = re.search(rf"^(static void {name}\(|ATTACK_TEST\({name[5:]},)", text, re.M)
        return defined and re.search(rf"^ .*\b{name}\b", text, re.M)
    kind, function = name.split(".")
    body = re.search(rf"^class {kind}\(.*?(?=^class |\Z)", text, re.M | re.S)
    return body and re.search(rf"^    def {function}\(self\):", body.group(0), re.M)


def problems():
    """What is wrong with the two tables, as texts."""
    if sorted(CHECKLIST) != WANTED:
        yield f"items {sorted(set(CHECKLIST) ^ set(WANTED))} are missing or not wanted"
    for item, (_, tests) in CHECKLIST.items():
        yield from (f"item {item}: no test {test}" for test in tests if not exists(test))
        if item not in {mutation.item for mutation in MUTATIONS}:
            yield f"item {item}: no defence is taken away"
    for mutation in MUTATIONS:
        if mutation.test not in CHECKLIST[mutation.item][1]:
            yield f"item {mutation.item}: {mutation.test} is not one of its tests"
        for path, before, after in mutation.edits:
            count = read(path).count(before)
            if count != 1 or before == after:
                yield f"item {mutation.item}, {mutation.defence}: stands {count} times in {path}: {before[:60]!r}"


def table():
    """The checklist as the page docs/security-tests.md shows it."""
    lines = ["| item | what | shown by |", "| --- | --- | --- |"]
    for item, (what, tests) in sorted(CHECKLIST.items()):
        names = ", ".join(f"`{test.split(':')[0].split('/')[-1].rsplit('.', 1)[0]}: {test.split(':')[1].split('.')[-1]}`"
                          for test in tests)
        lines.append(f"| {item} | {what} | {names} |")
    return "\n".join(lines) + "\n"


def between(text, mark, part=None):
    """What stands between the page's marks, or the page with part there."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->\n"
    head, rest = text.split(begin)
    inside, tail = rest.split(end)
    return inside if part is None else head + begin + part + end + tail


PAGE = "docs/security-tests.md"


def write_page(mark, part):
    text = between(read(PAGE), mark, part)
    with open(os.path.join(ROOT, PAGE), "w", encoding="utf-8") as file:
        file.write(text)
