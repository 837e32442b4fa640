// The `linchpin` command as a person or a client runs it.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { bounded, expectEqual } from './expect.mjs';

const COMMAND = 60_000;
export const CALL = { timeout: 30_000 };

// Runs a command to its end. `prints` names a command whose answer is a secret.
export async function run(world, home, args, { prints = 'nothing' } = {}) {
  const what = `linchpin ${args.join(' ')}`;
  const options = { env: world.environment(home), stdio: ['ignore', 'pipe', 'pipe'] };
  const child = world.own(spawn(world.linchpin, args, options));
  const stdout = world.record(`stdout of ${what}`, child.stdout, { scanned: prints !== 'a secret' });
  const stderr = world.record(`stderr of ${what}`, child.stderr);
  const [code] = await bounded(`${what} ends`, COMMAND, once(child, 'close'));
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

export async function succeed(world, home, args, options) {
  const { code, stdout, stderr } = await run(world, home, args, options);
  expectEqual(`the exit code of linchpin ${args.join(' ')} (stderr: ${stderr.trim()})`, code, 0);
  return stdout;
}

export const signIn = (world, home) => succeed(world, home, ['login', world.url, '--json']).then(JSON.parse);

// A process of `linchpin bridge`, which outlives the clients that talk through it.
export class Bridge {
  static async start(world, home, args = []) {
    const bridge = new Bridge();
    bridge.transport = new StdioClientTransport({
      command: world.linchpin,
      args: ['bridge', world.url, ...args],
      env: world.environment(home),
      stderr: 'pipe',
    });
    world.record('stderr of linchpin bridge', bridge.transport.stderr);
    await bridge.transport.start();
    world.record('stdout of linchpin bridge', bridge.transport._process.stdout);
    world.own(bridge.transport._process);
    bridge.pid = bridge.transport.pid;
    return bridge;
  }

  // The SDK's client over this process. A client whose first request fails closes its transport; here that ends the
  // client alone, as the next one has to find the same process.
  async connect() {
    const { transport } = this;
    const kept = {
      start: async () => {},
      send: (message) => transport.send(message),
      close: async () => kept.onclose?.(),
    };
    transport.onmessage = (message) => kept.onmessage?.(message);
    transport.onerror = (error) => kept.onerror?.(error);
    transport.onclose = () => kept.onclose?.();
    const capabilities = { elicitation: { form: {} }, sampling: {} };
    const client = new Client({ name: 'interop', version: '1.0.0' }, { capabilities });
    client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Ada' } }));
    client.setRequestHandler(CreateMessageRequestSchema, () => ({
      role: 'assistant', model: 'parrot', content: { type: 'text', text: 'word' },
    }));
    await client.connect(kept, CALL);
    return client;
  }

  close() {
    return this.transport.close();
  }
}

// The lines of a stream of JSON; `readline` also ends one at U+2028.
async function* lines(stream) {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of stream) {
    const whole = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = whole.pop();
    yield* whole;
  }
}

// A program on the library: `driver/`.
export class Driver {
  static start(world, home, args) {
    const driver = new Driver();
    const options = { env: world.environment(home), stdio: ['pipe', 'pipe', 'pipe'] };
    driver.process = world.own(spawn(world.driver, args, options));
    driver.complaints = world.record('stderr of the driver', driver.process.stderr);
    world.record('stdout of the driver', driver.process.stdout);
    driver.lines = lines(driver.process.stdout);
    return driver;
  }

  // What it got.
  async told() {
    const { value, done } = await bounded('the driver says what it got', COMMAND, this.lines.next());
    if (done) throw new Error(`the driver ended:\n${this.complaints.text()}`);
    return JSON.parse(value);
  }

  // Five calls at once.
  calls(nonce) {
    this.process.stdin.write(`${nonce}\n`);
    return this.told();
  }

  async end() {
    this.process.stdin.end();
    const [code] = await bounded('the driver ends', COMMAND, once(this.process, 'close'));
    expectEqual('the exit code of the driver', code, 0);
  }
}

export async function connected(world, home) {
  const bridge = await Bridge.start(world, home);
  return { bridge, client: await bridge.connect() };
}

export async function call(client, name, args = {}, options = {}) {
  const result = await client.callTool({ name, arguments: args }, undefined, { ...CALL, ...options });
  expectEqual(`an error of the tool ${name}`, result.isError ?? false, false);
  return result.content[0].text;
}
