// A client in JavaScript that was given the OpenShell contract alone: the life of a sandbox, programs in it, its
// logs, forwards and policies, and every refusal. Reads {target, ca, protos, key, weak, serve} as JSON from standard
// input; serve is a command whose main process echoes what connects to port 8080 of the sandbox. Exit status 1 with a
// text at the first difference.
'use strict';
const assert = require('assert');
const fs = require('fs');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const given = JSON.parse(fs.readFileSync(0, 'utf8'));
const options = { keepCase: true, longs: String, enums: String, oneofs: true, defaults: true };
const credentials = grpc.credentials.createSsl(Buffer.from(given.ca));
const definition = loader.loadSync(['openshell/v1/openshell.proto'], { ...options, includeDirs: [given.protos] });
const { OpenShell } = grpc.loadPackageDefinition(definition).openshell.v1;
const client = new OpenShell(given.target, credentials);
const name = 'js-sandbox';
const called = new Set();

function bearer(token) {
  const metadata = new grpc.Metadata();
  if (token) {
    metadata.set('authorization', 'Bearer ' + token);
  }
  return metadata;
}

const until = (ms) => ({ deadline: new Date(Date.now() + ms) });

function ask(method, request, key = given.key) {
  called.add(method);
  return new Promise((resolve, reject) => {
    client[method](request || {}, bearer(key), until(20000), (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

function open(method, request, key = given.key) {
  called.add(method);
  return request ? client[method](request, bearer(key), until(30000)) : client[method](bearer(key), until(30000));
}

async function refused(code, promise, words = '') {
  await assert.rejects(promise, (error) => {
    assert.strictEqual(error.code, grpc.status[code], error.message);
    assert.ok(error.details.includes(words), error.details);
    return true;
  });
}

async function all(call) {
  const got = [];
  for await (const message of call) {
    got.push(message);
  }
  return got;
}

async function eventually(probe, what) {
  for (let i = 0; i < 400; i++) {
    const answer = await probe();
    if (answer) {
      return answer;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('not in time: ' + what);
}

const phase = (wanted) => eventually(async () => {
  const { sandbox } = await ask('GetSandbox', { name });
  return sandbox.status.phase === wanted ? sandbox : null;
}, wanted);

// What an exec wrote, and how it ended; the exit comes once, last.
function sum(events) {
  const exits = events.filter((event) => event.payload === 'exit');
  assert.strictEqual(exits.length, 1);
  assert.strictEqual(events[events.length - 1].payload, 'exit');
  const bytes = (kind) => Buffer.concat(events.filter((event) => event.payload === kind).map((event) => event[kind].data));
  return { out: bytes('stdout'), err: bytes('stderr'), code: exits[0].exit.exit_code };
}

const policyFor = (host) => ({
  version: 1,
  network_policies: { web: { endpoints: [{ host, port: 443 }], binaries: [{ path: '/**' }] } },
});

async function server() {
  assert.strictEqual((await ask('Health', {}, null)).status, 'SERVICE_STATUS_HEALTHY');
  const user = await ask('GetCurrentUser');
  assert.ok(user.subject.startsWith('key:') && user.scopes.includes('sandbox:write'));
  assert.deepStrictEqual((await ask('GetGatewayConfig')).settings, {});
  await refused('PERMISSION_DENIED', ask('GetGatewayInfo'), 'platform admin role required');
}

async function create() {
  const spec = { command: given.serve, environment: { A: '1' }, policy: policyFor('one.example') };
  const request = { name, spec, labels: { by: 'js' } };
  const { sandbox } = await ask('CreateSandbox', request);
  assert.strictEqual(sandbox.status.phase, 'SANDBOX_PHASE_PROVISIONING');
  const id = sandbox.metadata.id;
  const seen = await all(open('WatchSandbox', { id, follow_status: true, stop_on_terminal: true }));
  assert.strictEqual(seen[seen.length - 1].sandbox.status.phase, 'SANDBOX_PHASE_READY');
  const listed = await ask('ListSandboxes', { label_selector: 'by=js', limit: 5 });
  assert.deepStrictEqual(listed.sandboxes.map((one) => one.metadata.name), [name]);
  await refused('ALREADY_EXISTS', ask('CreateSandbox', request), name);
  return id;
}

async function exec(id) {
  const run = async (request) => sum(await all(open('ExecSandbox', { sandbox_id: id, ...request })));
  const plain = await run({
    command: ['sh', '-c', 'cat; echo $WORD >&2; pwd; exit 7'], stdin: Buffer.from('given\n'), environment: { WORD: 'oops' },
    workdir: '/tmp',
  });
  assert.deepStrictEqual([plain.out.toString(), plain.err.toString(), plain.code], ['given\n/tmp\n', 'oops\n', 7]);
  const large = await run({ command: ['head', '-c', '3000000', '/dev/zero'] });
  assert.deepStrictEqual([large.out.length, large.code], [3000000, 0]);
  const late = await run({ command: ['sleep', '60'], timeout_seconds: 1 });
  assert.strictEqual(late.code, 124);
  const killed = await run({ command: ['sh', '-c', 'kill -9 $$'] });
  assert.strictEqual(killed.code, 137);
  const terminal = await run({ command: ['tty'], tty: true });
  assert.ok(terminal.out.toString().startsWith('/dev/') && terminal.code === 0, terminal.out.toString());
  assert.notStrictEqual((await run({ command: ['tty'] })).code, 0);
}

async function interactive(id) {
  const pipe = open('ExecSandboxInteractive');
  pipe.write({ start: { sandbox_id: id, command: ['cat'] } });
  for (let i = 0; i < 20; i++) {
    pipe.write({ stdin: Buffer.alloc(50000, i) });
  }
  pipe.end();
  const echoed = sum(await all(pipe));
  assert.deepStrictEqual([echoed.out.length, echoed.code], [1000000, 0]);

  const terminal = open('ExecSandboxInteractive');
  let text = '';
  const events = [];
  const over = new Promise((resolve, reject) => {
    terminal.on('data', (event) => {
      events.push(event);
      text += event.payload === 'stdout' ? event.stdout.data.toString() : '';
    });
    terminal.on('end', resolve);
    terminal.on('error', reject);
  });
  terminal.write({ start: { sandbox_id: id, command: ['sh'], tty: true, cols: 100, rows: 30 } });
  terminal.write({ stdin: Buffer.from('stty size\n') });
  await eventually(async () => text.includes('30 100'), 'the size it was given');
  terminal.write({ resize: { cols: 120, rows: 40 } });
  await eventually(async () => {
    terminal.write({ stdin: Buffer.from('stty size\n') });
    return text.includes('40 120');
  }, 'the size it was changed to');
  terminal.write({ stdin: Buffer.from('echo asleep $((40 + 2)); sleep 60\n') });
  await eventually(async () => text.includes('asleep 42'), 'it sleeps');
  await eventually(async () => {
    terminal.write({ stdin: Buffer.from([3]) }); // Ctrl-C
    terminal.write({ stdin: Buffer.from('echo awake $((40 + 2))\n') });
    return text.includes('awake 42');
  }, 'it is woken');
  terminal.write({ stdin: Buffer.from('exit 3\n') });
  terminal.end();
  await over;
  assert.strictEqual(sum(events).code, 3);
}

async function logs(id) {
  const line = await eventually(async () => {
    const got = await ask('GetSandboxLogs', { sandbox_id: id, sources: ['sandbox'] });
    return got.logs.find((one) => one.message === 'main says hello');
  }, 'the line of the main process');
  assert.deepStrictEqual([line.source, line.target, line.sandbox_id], ['sandbox', 'stdout', id]);
  const news = await ask('GetSandboxLogs', { sandbox_id: id, sources: ['gateway'] });
  const [placed] = news.logs;
  assert.deepStrictEqual([placed.source, placed.target, placed.fields.phase], ['gateway', 'sandbox.phase', 'provisioning']);
  assert.ok(placed.message.includes('ordered by key:') && placed.fields.agent !== '', placed.message);
  const watch = open('WatchSandbox', { id, follow_logs: true, log_tail_lines: 10 });
  watch.on('error', () => {});
  let first = true;
  for await (const event of watch) {
    assert.strictEqual(event.payload === 'sandbox', first); // how it stands, and then the log
    first = false;
    if (event.payload === 'log' && event.log.message === 'main says hello') {
      break;
    }
  }
  watch.cancel();
}

async function forward(id) {
  const session = await ask('CreateSshSession', { sandbox_id: id });
  assert.ok(session.token.startsWith('blf_'));
  const init = { sandbox_id: id, tcp: { host: 'localhost', port: 8080 }, authorization_token: session.token };
  const call = open('ForwardTcp');
  call.write({ init });
  call.write({ data: Buffer.from('ping') });
  let got = '';
  for await (const frame of call) {
    got += frame.data.toString();
    if (got === 'ping') {
      call.end(); // the echo ends with its input
    }
  }
  assert.strictEqual(got, 'ping');
  const outside = open('ForwardTcp');
  outside.write({ init: { ...init, tcp: { host: '10.0.0.1', port: 80 } } });
  await refused('INVALID_ARGUMENT', all(outside), 'loopback');
  assert.strictEqual((await ask('RevokeSshSession', { token: session.token })).revoked, true);
  const late = open('ForwardTcp');
  late.write({ init });
  await refused('PERMISSION_DENIED', all(late), 'CreateSshSession');
}

async function policy(id) {
  const first = await ask('GetSandboxConfig', { sandbox_id: id });
  const changed = await ask('UpdateConfig', { name, policy: policyFor('two.example') });
  assert.strictEqual(changed.version, 2);
  assert.notStrictEqual(changed.policy_hash, first.policy_hash);
  const status = await eventually(async () => {
    const now = await ask('GetSandboxPolicyStatus', { name });
    return now.revision.status === 'POLICY_STATUS_PENDING' ? null : now;
  }, 'the policy is settled');
  const settled = [status.revision.status, status.active_version];
  assert.deepStrictEqual(settled, ['POLICY_STATUS_LOADED', 2], status.revision.load_error);
  const merge = { merge_operations: [{ remove_rule: { rule_name: 'web' } }] };
  assert.strictEqual((await ask('UpdateConfig', { name, ...merge })).version, 3);
  const listed = await ask('ListSandboxPolicies', { name, limit: 2 });
  assert.deepStrictEqual(listed.revisions.map((one) => one.version), [3, 2]);
  await refused('ABORTED', ask('UpdateConfig', { name, ...merge, expected_resource_version: '1' }), 'resource_version');
}

async function refusals(id) {
  await refused('UNAUTHENTICATED', ask('ListSandboxes', {}, null));
  await refused('PERMISSION_DENIED', ask('DeleteSandbox', { name }, given.weak), 'sandbox:write');
  await refused('INVALID_ARGUMENT', ask('CreateSandbox', { name: 'Not-A-Name', spec: { command: ['a'] } }), 'name');
  await refused('INVALID_ARGUMENT', ask('CreateSandbox', { name: 'none' }), 'spec');
  await refused('NOT_FOUND', ask('GetSandbox', { name: 'nothing' }), 'sandbox not found');
  await refused('INVALID_ARGUMENT', ask('ListSandboxes', { label_selector: 'a!=b' }), 'label_selector');
  await refused('INVALID_ARGUMENT', all(open('ExecSandbox', { sandbox_id: id, command: [] })), 'command');
  await refused('NOT_FOUND', all(open('ExecSandbox', { sandbox_id: 'sbx_none', command: ['a'] })), 'sandbox not found');
  await refused('RESOURCE_EXHAUSTED', all(open('ExecSandbox', {
    sandbox_id: id, command: ['cat'], stdin: Buffer.alloc(1 << 20),
  })));
  const early = open('ExecSandboxInteractive');
  early.write({ stdin: Buffer.from('x') });
  await refused('INVALID_ARGUMENT', all(early), 'start');
  await refused('FAILED_PRECONDITION', ask('CreateSandbox', { name: 'p', spec: { command: ['a'], providers: ['x'] } }), 'x');
  await refused('UNIMPLEMENTED', ask('ListProviders', {}));
  called.delete('ListProviders');
}

async function end(id) {
  assert.strictEqual((await ask('StopSandbox', { name })).sandbox.status.phase, 'SANDBOX_PHASE_STOPPING');
  await phase('SANDBOX_PHASE_STOPPED');
  await refused('FAILED_PRECONDITION', all(open('ExecSandbox', { sandbox_id: id, command: ['a'] })), 'stopped');
  await ask('StartSandbox', { name });
  await phase('SANDBOX_PHASE_READY');
  assert.strictEqual((await ask('DeleteSandbox', { name })).deleted, true);
  await eventually(async () => {
    try {
      await ask('GetSandbox', { name });
      return false;
    } catch (error) {
      assert.strictEqual(error.code, grpc.status.NOT_FOUND);
      return true;
    }
  }, 'it is gone');
}

async function main() {
  await server();
  const id = await create();
  await exec(id);
  await interactive(id);
  await logs(id);
  await forward(id);
  await policy(id);
  await refusals(id);
  await end(id);
  assert.strictEqual(called.size, 21, [...called].join(' ')); // every method that is served
}

main().then(() => process.exit(0), (error) => {
  console.error(error.stack);
  process.exit(1);
});
