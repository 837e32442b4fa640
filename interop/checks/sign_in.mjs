// Signing in, and what a person or a script does with the sign-in afterwards.
import { expectEqual, expectMatch, expectThat } from '../expect.mjs';
import { run, signIn, succeed } from '../linchpin.mjs';

export async function sign_in(world) {
  const home = world.home();
  const before = await world.counts();
  const told = await signIn(world, home);
  expectEqual('whether the sign-in renews itself', told.renewable, true);
  expectEqual('the issuer', told.issuer, world.provider);
  const { signIns, registrations, presentations, withoutResource } = await world.since(before);
  expectEqual('what the provider counted', { signIns, registrations, presentations, withoutResource },
    { signIns: 1, registrations: 1, presentations: 0, withoutResource: 0 });
  return `${registrations} registration, ${signIns} sign-in, scopes ${told.scopes.join(' ')}`;
}

export async function sign_in_with_chosen_scopes(world) {
  const home = world.home();
  const chosen = ['--scope', 'mcp:read', '--scope', 'mcp:write'];
  const stdout = await succeed(world, home, ['login', world.url, '--json', ...chosen]);
  const told = JSON.parse(stdout);
  expectEqual('whether a sign-in with chosen scopes renews itself', told.renewable, true);
  return `scopes ${told.scopes.join(' ')}`;
}

export async function commands(world) {
  const home = world.home();
  const unknown = await run(world, home, ['token', world.url]);
  expectEqual('the exit code of token without a sign-in', unknown.code, 3);
  expectMatch('its message', unknown.stderr, /linchpin login/);

  await signIn(world, home);
  const token = (await succeed(world, home, ['token', world.url], { prints: 'a secret' })).trim();
  const answer = await fetch(world.url, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
    },
    body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
  });
  // Authorized, but without a session.
  expectEqual('the answer to a request with the printed token', answer.status, 400);

  const tools = JSON.parse(await succeed(world, home, ['tools', world.url, '--json'])).map(({ name }) => name);
  expectEqual('the tools', tools.sort(), ['count', 'echo', 'elicit', 'interrupted', 'progress', 'sample', 'slow']);
  const echoed = await succeed(world, home, ['call', world.url, 'echo', '{"text":"grüße"}']);
  expectEqual('what call printed', echoed, 'grüße\n');
  const rows = JSON.parse(await succeed(world, home, ['status', '--json']));
  expectEqual('the status', rows.map(({ server, state, renewable }) => ({ server, state, renewable })),
    [{ server: world.url, state: 'valid', renewable: true }]);
  expectThat('the status names no token', !JSON.stringify(rows).includes(token), rows);
  return `token, ${tools.length} tools, call, status`;
}
