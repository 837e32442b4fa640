// Runs the checks: node run.mjs --linchpin PATH --driver PATH --python PATH [NAME]. NAME leaves the checks whose name contains it.
import { parseArgs } from 'node:util';
import { commands, sign_in, sign_in_with_chosen_scopes } from './checks/sign_in.mjs';
import { grant_revoked_by_a_replay, not_signed_in, sign_out } from './checks/endings.mjs';
import { messages, session_lost } from './checks/session.mjs';
import {
  python_client_over_the_bridge, python_client_to_python_server_over_the_bridge, python_server,
  python_server_without_sessions, typescript_server,
} from './checks/library.mjs';
import { expiry, refusal, storm_of_refusals, storm_on_an_expired_token } from './checks/renewal.mjs';
import { bounded, expectEqual, expectThat, Unmet } from './expect.mjs';
import { World } from './world.mjs';

const EACH = 90_000;

async function no_secret_was_said(world) {
  const { leaks, ...figures } = await world.leaks();
  expectEqual('what contains a secret', leaks, []);
  expectThat('there was something to look for', figures.secrets > 0 && figures.outputs > 0, figures);
  return `${figures.secrets} secrets in none of ${figures.outputs} outputs and ${figures.files} files`;
}

const CHECKS = [
  sign_in, sign_in_with_chosen_scopes, commands, messages, session_lost, expiry, refusal,
  storm_on_an_expired_token, storm_of_refusals, not_signed_in, sign_out, grant_revoked_by_a_replay,
  typescript_server, python_server, python_server_without_sessions, python_client_over_the_bridge,
  python_client_to_python_server_over_the_bridge,
];

const options = { linchpin: { type: 'string' }, driver: { type: 'string' }, python: { type: 'string' } };
const { values, positionals: [only = ''] } = parseArgs({ options, allowPositionals: true });
if (Object.keys(values).length < 3) throw new Error('usage: run.mjs --linchpin PATH --driver PATH --python PATH [NAME]');
const chosen = CHECKS.filter(({ name }) => name.includes(only));
if (chosen.length === 0) throw new Error(`no check has a name with ${only}`);

const world = await World.start(values);
process.on('exit', () => world.stop());
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

let passed = 0;
let failed = 0;
for (const check of [...chosen, no_secret_was_said]) {
  await world.accessTokensLive(3600);
  const begun = Date.now();
  try {
    const figures = await bounded(`${check.name} ends`, EACH, check(world));
    passed += 1;
    console.log(`ok ${check.name} (${figures}; ${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${check.name}: ${error instanceof Unmet ? error.message : error.stack}`);
  }
  await world.endProcesses();
}
console.log(`interop: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
