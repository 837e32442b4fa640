// `McpClient` against the servers of the official SDKs, and the Python SDK's client over the bridge.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { bounded, eventually, expectEqual, expectThat } from '../expect.mjs';
import { Driver, signIn } from '../linchpin.mjs';

const SESSIONS = '2025-11-25';
const WITHOUT_SESSIONS = '2026-07-28';
const SAID = 'line\u2028\n"ß"';
const five = (nonce) => Array.from({ length: 5 }, (_, number) => `${nonce}-${number}`);

// What every server has a tool for.
function expectMessages(told, revision, server) {
  const { tools, ...answers } = told;
  expectThat('the tools', ['count', 'echo', 'elicit', 'progress', 'sample'].every((name) => tools.includes(name)), tools);
  expectEqual('what the messages came to', answers, {
    revision, server, echo: SAID, progress: 'done', steps: [1, 2, 3], elicit: 'accept: Ada', sample: 'parrot: word',
    interrupted: 'resumed it',
  });
}

// Five calls with a token that the server refuses: one exchange, each carried out once.
async function expectRecovery(world, driver, nonce) {
  const before = await world.counts();
  await world.refuseAccessTokens();
  expectEqual('calls with a refused token', await driver.calls(nonce), five(nonce));
  const { presentations, replays, counted, doubled, unauthorized } = await world.since(before);
  expectEqual('what was counted', { presentations, replays, counted, doubled },
    { presentations: 1, replays: 0, counted: 5, doubled: 0 });
  expectThat('some call was refused', unauthorized > 0, unauthorized);
  return unauthorized;
}

async function session(world, name, [revision, server]) {
  const home = world.home();
  await signIn(world, home);
  const before = await world.counts();
  const driver = Driver.start(world, home, [world.url, ...revision]);
  expectMessages(await driver.told(), SESSIONS, server);
  const { resumptions, initializations } = await world.since(before);
  expectThat('the stream was taken up again', resumptions > 0, resumptions);
  expectEqual('sessions opened', initializations, 1);
  const refused = await expectRecovery(world, driver, `${name}-refused`);
  return { home, before, driver, figures: `${resumptions} resumptions, ${refused} refusals and 1 exchange` };
}

export async function typescript_server(world) {
  const { before, driver, figures } = await session(world, 'typescript', [[], 'interop']);
  await world.forgetSessions();
  expectEqual('calls in a forgotten session', await driver.calls('forgotten'), five('forgotten'));
  await driver.end();
  await eventually('the session is ended', () => world.counts(), ({ sessions }) => sessions === 0);
  const ended = await world.since(before);
  expectEqual('sessions', [ended.initializations, ended.endings, ended.doubled], [2, 1, 0]);
  return `every message, ${figures}, 2 sessions, the second ended`;
}

export async function python_server({ other: world }) {
  const { before, driver, figures } = await session(world, 'python', [[SESSIONS], 'interop-python']);
  await driver.end();
  const ended = await world.since(before);
  expectEqual('sessions', [ended.initializations, ended.endings, ended.doubled], [1, 1, 0]);
  return `every message, ${figures}, 1 session, ended`;
}

export async function python_server_without_sessions({ other: world }) {
  const home = world.home();
  await signIn(world, home);
  const before = await world.counts();
  const driver = Driver.start(world, home, [world.url]);
  expectMessages(await driver.told(), WITHOUT_SESSIONS, 'interop-python');
  const refused = await expectRecovery(world, driver, 'stateless');
  await driver.end();
  const { initializations, doubled } = await world.since(before);
  expectEqual('sessions and doubles', [initializations, doubled], [0, 0]);
  return `every message, ${refused} refusals and 1 exchange`;
}

export async function python_client_over_the_bridge(world) {
  const home = world.home();
  await signIn(world, home);
  const script = fileURLToPath(new URL('../python/client.py', import.meta.url));
  const options = { env: world.environment(home), stdio: ['ignore', 'pipe', 'pipe'] };
  const child = world.own(spawn(world.python, [script, world.linchpin, 'bridge', world.url], options));
  const stdout = world.record('stdout of the Python client', child.stdout);
  const stderr = world.record('stderr of the Python client', child.stderr);
  const [code] = await bounded('the Python client ends', 80_000, once(child, 'close'));
  expectEqual(`the exit code of the Python client (${stderr.text().slice(-2000)})`, code, 0);
  const { tools, ...answers } = JSON.parse(stdout.text());
  expectEqual('what it got', answers, {
    revision: SESSIONS, echo: SAID, progress: 'done', steps: [1, 2, 3], elicit: 'accept: Ada',
    interrupted: 'resumed python-interrupted', together: five('python'),
  });
  return `${tools.length} tools, progress, elicitation, a stream taken up again, concurrent calls`;
}

export function python_client_to_python_server_over_the_bridge({ other: world }) {
  return python_client_over_the_bridge(world);
}
