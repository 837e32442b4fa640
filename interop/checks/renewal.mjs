// One exchange per life of an access token, whoever asks and however many.
import { setTimeout as sleep } from 'node:timers/promises';
import { expectEqual, expectThat } from '../expect.mjs';
import { Bridge, call, connected, signIn } from '../linchpin.mjs';

const BRIDGES = 8;
const CALLS = 12;

// Every presentation was an exchange, and no refresh token came twice.
function expectExchanges(counted, exchanges) {
  const { presentations, exchanges: done, replays, refused, withScope, mostPresented } = counted;
  expectEqual('exchanges', { presentations, done, replays, refused, withScope, mostPresented },
    { presentations: exchanges, done: exchanges, replays: 0, refused: 0, withScope: 0, mostPresented: 1 });
}

export async function expiry(world) {
  const home = world.home();
  const seconds = 4;
  await world.accessTokensLive(seconds);
  const before = await world.counts();
  const begun = Date.now();
  await signIn(world, home);
  const { bridge, client } = await connected(world, home);
  let calls = 0;
  for (const end = Date.now() + 3 * seconds * 1000; Date.now() < end; calls += 1) {
    await call(client, 'count', { nonce: `expiry-${calls}` });
    await sleep(100);
  }
  await bridge.close();
  const counted = await world.since(before);
  // The tokens that lived are the one of the sign-in and one per exchange.
  expectExchanges(counted, counted.accessTokens - 1);
  // A life is over at its half at the earliest, when renewal in the background begins, and at its end at the latest.
  const halves = Math.ceil((Date.now() - begun) / (seconds * 500));
  expectThat('more than one life', counted.exchanges >= 2, counted);
  expectThat(`no needless exchange in ${halves} half lives`, counted.exchanges <= halves, counted);
  expectThat('every life but the last was used', counted.accepted >= counted.exchanges, counted);
  expectEqual('calls', [counted.counted, counted.doubled], [calls, 0]);
  return `${calls} calls, ${counted.accessTokens} lives, ${counted.exchanges} exchanges, ${counted.replays} replays`;
}

export async function refusal(world) {
  const home = world.home();
  await signIn(world, home);
  const { bridge, client } = await connected(world, home);
  const before = await world.counts();
  await world.refuseAccessTokens();
  expectEqual('the refused call', await call(client, 'count', { nonce: 'refusal' }), 'refusal');
  const counted = await world.since(before);
  expectExchanges(counted, 1);
  expectEqual('the call was carried out', [counted.counted, counted.doubled], [1, 0]);
  await bridge.close();
  return `${counted.unauthorized} refusals, ${counted.exchanges} exchange, ${counted.replays} replays`;
}

const callsOf = (client, round, bridge) => Array.from({ length: CALLS }, (_, index) => {
  const nonce = `${round}-${bridge}-${index}`;
  return call(client, 'count', { nonce }).then((answer) => expectEqual('the answer', answer, nonce));
});

export async function storm_on_an_expired_token(world) {
  const home = world.home();
  await world.accessTokensLive(2);
  await signIn(world, home);
  await sleep(2500);
  await world.accessTokensLive(3600);
  const before = await world.counts();
  const bridges = await Promise.all(Array.from({ length: BRIDGES }, async (_, index) => {
    const { bridge, client } = await connected(world, home);
    await Promise.all(callsOf(client, 'expired', index));
    return bridge;
  }));
  const counted = await world.since(before);
  expectExchanges(counted, 1);
  expectEqual('calls', [counted.counted, counted.doubled], [BRIDGES * CALLS, 0]);
  await Promise.all(bridges.map((bridge) => bridge.close()));
  return `${BRIDGES} processes, ${counted.counted} calls, ${counted.exchanges} exchange, ${counted.replays} replays`;
}

export async function storm_of_refusals(world) {
  const home = world.home();
  await signIn(world, home);
  const bridges = await Promise.all(Array.from({ length: BRIDGES }, () => Bridge.start(world, home)));
  const clients = await Promise.all(bridges.map((bridge) => bridge.connect()));
  await Promise.all(clients.map((client) => call(client, 'echo', { text: 'live' })));
  const before = await world.counts();
  await world.refuseAccessTokens();
  await Promise.all(clients.flatMap((client, index) => callsOf(client, 'refused', index)));
  const counted = await world.since(before);
  expectExchanges(counted, 1);
  expectEqual('calls', [counted.counted, counted.doubled], [BRIDGES * CALLS, 0]);
  await Promise.all(bridges.map((bridge) => bridge.close()));
  return `${BRIDGES} processes, ${counted.counted} calls, ${counted.exchanges} exchange, ${counted.replays} replays`;
}
