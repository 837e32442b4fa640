// Messages of every kind in both directions, and a session that the server forgets.
import { eventually, expectEqual, expectThat } from '../expect.mjs';
import { CALL, call, connected, signIn } from '../linchpin.mjs';

export async function messages(world) {
  const home = world.home();
  await signIn(world, home);
  const before = await world.counts();
  const { bridge, client } = await connected(world, home);
  expectEqual('the server', client.getServerVersion().name, 'interop');
  const { tools } = await client.listTools({}, CALL);
  expectEqual('the number of tools', tools.length, 7);
  expectEqual('an echo', await call(client, 'echo', { text: 'line\u2028\n"ß"' }), 'line\u2028\n"ß"');

  const steps = [];
  await call(client, 'progress', { steps: 3 }, { onprogress: ({ progress }) => steps.push(progress) });
  expectEqual('the progress', steps, [1, 2, 3]);

  expectEqual('an elicitation within a call', await call(client, 'elicit'), 'accept: Ada');
  // The server has nowhere to send a request of its own before the standalone stream is open.
  await eventually('the bridge listens', () => world.counts(), ({ listening }) => listening === 1);
  expectEqual('a request of the server on the standalone stream', await call(client, 'sample'), 'parrot: word');

  const together = ['a', 'b', 'c'].map((text) => call(client, 'echo', { text }));
  const slow = call(client, 'slow', { ms: 500 });
  expectEqual('calls during a slow one', await Promise.all(together), ['a', 'b', 'c']);
  expectEqual('the slow one', await slow, 'awake');

  const interrupted = await call(client, 'interrupted', { nonce: 'interrupted' });
  expectEqual('an answer whose stream broke off', interrupted, 'resumed interrupted');
  expectThat('the stream was taken up again', (await world.since(before)).resumptions > 0, await world.since(before));

  await bridge.close();
  await eventually('the session is ended', () => world.since(before), ({ sessions }) => sessions === 0);
  expectEqual('sessions ended with DELETE', (await world.since(before)).endings, 1);
  return `${tools.length} tools, progress, elicitation, sampling, concurrent calls, a stream taken up again, session ended`;
}

export async function session_lost(world) {
  const home = world.home();
  await signIn(world, home);
  const { bridge, client } = await connected(world, home);
  await call(client, 'echo', { text: 'before' });
  const before = await eventually('the bridge listens', () => world.counts(), ({ listening }) => listening === 1);
  await world.forgetSessions();
  await eventually('the stream is broken off', () => world.counts(), ({ listening }) => listening === 0);
  const nonces = Array.from({ length: 5 }, (_, index) => `lost-${index}`);
  const answers = await Promise.all(nonces.map((nonce) => call(client, 'count', { nonce })));
  expectEqual('calls after the session was lost', answers, nonces);
  const { initializations, counted, doubled, presentations } = await world.since(before);
  expectEqual('what was counted', { initializations, counted, doubled, presentations },
    { initializations: 1, counted: 5, doubled: 0, presentations: 0 });
  await eventually('the bridge listens again', () => world.counts(), ({ listening }) => listening === 1);
  expectEqual('a request of the server in the new session', await call(client, 'sample'), 'parrot: word');
  await bridge.close();
  return `${counted} calls, ${initializations} new session, ${presentations} exchanges`;
}
