// Without a sign-in, and at the end of one.
import { expectEqual, expectMatch, expectRejection } from '../expect.mjs';
import { Bridge, call, connected, run, signIn, succeed } from '../linchpin.mjs';

const SIGN_IN_REQUIRED = -32001;

async function expectSignInRequired(what, promise) {
  const error = await expectRejection(what, promise);
  expectEqual(`the code of ${what}`, error.code, SIGN_IN_REQUIRED);
  expectMatch(`the message of ${what}`, error.message, /linchpin login/);
}

export async function not_signed_in(world) {
  const home = world.home();
  const bridge = await Bridge.start(world, home);
  await expectSignInRequired('initialize without a sign-in', bridge.connect());
  await signIn(world, home);
  const client = await bridge.connect();
  expectEqual('a call after a sign-in elsewhere', await call(client, 'echo', { text: 'hello' }), 'hello');
  expectEqual('the process', bridge.transport.pid, bridge.pid);
  await bridge.close();
  return 'refused, signed in elsewhere, served by the same process';
}

export async function sign_out(world) {
  const home = world.home();
  await signIn(world, home);
  const { bridge, client } = await connected(world, home);
  await call(client, 'echo', { text: 'hello' });
  const before = await world.counts();
  const owned = await world.refreshToken('issued');
  expectEqual('whether the refresh token is active', await world.isActive(owned), true);
  const told = JSON.parse(await succeed(world, home, ['logout', world.url, '--json']));
  expectEqual('what logout says', [told.signed_out, told.revocation], [true, 'revoked']);
  const counted = await world.since(before);
  expectEqual('grants revoked at the provider', counted.grantsRevoked, 1);
  await expectSignInRequired('a call after the sign-out', call(client, 'echo', { text: 'gone' }));
  expectEqual('presentations after the sign-out', (await world.since(before)).presentations, 0);
  expectEqual('whether the refresh token is active after the sign-out', await world.isActive(owned), false);
  expectEqual('the answer to somebody who presents it', await world.present(owned), 'invalid_grant');
  const again = JSON.parse(await succeed(world, home, ['logout', world.url, '--json']));
  expectEqual('a second logout', again.signed_out, false);

  await signIn(world, home);
  expectEqual('a call of the same process after a new sign-in', await call(client, 'echo', { text: 'back' }), 'back');
  await bridge.close();
  return `${counted.revocations} revocation requests, ${counted.grantsRevoked} grant revoked, refresh token inactive`;
}

// Shows that the provider's reuse detection is on and counted, and that Linchpin stops at once when a grant is gone.
export async function grant_revoked_by_a_replay(world) {
  const home = world.home();
  await signIn(world, home);
  const { bridge, client } = await connected(world, home);
  await world.refuseAccessTokens();
  await call(client, 'echo', { text: 'renewed' });
  const before = await world.counts();
  expectEqual('the answer to a replay', await world.present(await world.refreshToken('spent')), 'invalid_grant');
  await expectSignInRequired('a call after the replay', call(client, 'echo', { text: 'gone' }));
  await expectSignInRequired('the next call', call(client, 'echo', { text: 'gone' }));
  const other = await run(world, home, ['call', world.url, 'echo', '{"text":"gone"}']);
  expectEqual('the exit code of another process', other.code, 3);
  const { replays, grantsRevoked, presentations } = await world.since(before);
  // The replay, and one presentation of Linchpin's.
  expectEqual('what was counted', { replays, grantsRevoked, presentations },
    { replays: 1, grantsRevoked: 1, presentations: 2 });
  await bridge.close();
  return `${replays} replay by another, 1 presentation, then none`;
}
