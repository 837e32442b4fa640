// The provider, the server, and directories for Linchpin's files: all that a check needs, and its end.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { bounded } from './expect.mjs';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

export class World {
  _services = []; // provider and server
  _children = new Set(); // Linchpin processes
  _outputs = []; // what every process said

  static async start({ linchpin, driver, python }) {
    const world = new World();
    Object.assign(world, { linchpin, driver, python });
    world.directory = mkdtempSync(join(tmpdir(), 'linchpin-interop-'));
    world.browser = join(world.directory, 'browser');
    // BROWSER is run with the URL as its one argument, so the script is one program.
    const browser = `#!/bin/sh\nexec '${process.execPath}' '${here('browser.mjs')}' "$1"\n`;
    writeFileSync(world.browser, browser, { mode: 0o700 });
    world.introspector = randomBytes(16).toString('hex');
    const environment = { ...process.env, INTROSPECTION_SECRET: world.introspector };
    const node = (name) => [process.execPath, here(`${name}.mjs`)];
    world.provider = await world._serve('provider', node('provider'), environment);
    environment.ISSUER = world.provider;
    world.server = await world._serve('server', node('server'), environment);
    world.url = `${world.server}/mcp`;
    // The server of another SDK, as far as it goes a world of its own.
    world.other = Object.create(world);
    world.other.server = await world._serve('Python server', [python, here('python/server.py')], environment);
    world.other.url = `${world.other.server}/mcp`;
    return world;
  }

  async _serve(name, [program, ...args], env) {
    const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    this._services.push(child);
    const complaints = this.record(`stderr of the ${name}`, child.stderr, { scanned: false });
    const ready = new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', (line) => resolve(JSON.parse(line).url));
      child.once('exit', () => reject(new Error(`the ${name} did not start:\n${complaints.text()}`)));
    });
    return bounded(`the ${name} starts`, 20_000, ready);
  }

  // A Linchpin process, which ends with its check at the latest.
  own(child) {
    this._children.add(child);
    child.once('exit', () => this._children.delete(child));
    return child;
  }

  // Keeps what a process says; what Linchpin says is searched for secrets at the end.
  record(what, stream, { scanned = true } = {}) {
    const output = { what, scanned, chunks: [], text: () => Buffer.concat(output.chunks).toString() };
    this._outputs.push(output);
    stream.on('data', (chunk) => output.chunks.push(chunk));
    return output;
  }

  // A machine without sign-ins.
  home() {
    return mkdtempSync(join(this.directory, 'home-'));
  }

  environment(home) {
    const inherited = ['PATH', 'HOME', 'LANG'].map((name) => [name, process.env[name] ?? '']);
    return {
      ...Object.fromEntries(inherited),
      LINCHPIN_HOME: home,
      LINCHPIN_STORE: 'file',
      // As talkative as it can be, for the search for secrets.
      LINCHPIN_LOG: 'debug',
      BROWSER: this.browser,
    };
  }

  async _admin(base, path, method = 'GET') {
    const response = await fetch(`${base}/admin/${path}`, { method, signal: AbortSignal.timeout(10_000) });
    if (!response.ok) throw new Error(`${method} ${base}/admin/${path}: ${response.status}`);
    return response.json();
  }

  async counts() {
    return { ...(await this._admin(this.provider, 'counts')), ...(await this._admin(this.server, 'counts')) };
  }

  // What happened since; the maximum is not a difference.
  async since(before) {
    const now = await this.counts();
    const grown = Object.entries(now).map(([name, value]) => [name, value - before[name]]);
    return { ...Object.fromEntries(grown), mostPresented: now.mostPresented };
  }

  accessTokensLive(seconds) {
    return this._admin(this.provider, `lifetime/${seconds}`, 'POST');
  }

  async refuseAccessTokens() {
    return this._admin(this.server, `refuse/${(await this.counts()).accessTokens}`, 'POST');
  }

  forgetSessions() {
    return this._admin(this.server, 'forget-sessions', 'POST');
  }

  // The refresh token that the provider issued last, or the one that was last spent on another: { token, client }.
  refreshToken(which) {
    return this._admin(this.provider, `refresh-token/${which}`);
  }

  // Presents a refresh token as a second owner of the sign-in would, and tells the error.
  async present({ token, client }) {
    const form = { grant_type: 'refresh_token', refresh_token: token, client_id: client, resource: this.url };
    const response = await fetch(`${this.provider}/token`, { method: 'POST', body: new URLSearchParams(form) });
    return (await response.json()).error;
  }

  async isActive({ token }) {
    const body = new URLSearchParams({ token });
    const basic = Buffer.from(`mcp-server:${this.introspector}`).toString('base64');
    const headers = { authorization: `Basic ${basic}` };
    const response = await fetch(`${this.provider}/token/introspection`, { method: 'POST', headers, body });
    return (await response.json()).active;
  }

  // Where a secret turned up that has no business there: in what a process said, or in a file other than the store.
  async leaks() {
    const secrets = await this._admin(this.provider, 'secrets');
    const files = readdirSync(this.directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.startsWith('credentials.json'))
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => ({ what: path, content: readFileSync(path, 'utf8') }));
    const said = this._outputs.filter(({ scanned }) => scanned).map(({ what, text }) => ({ what, content: text() }));
    const leaks = [...said, ...files].filter(({ content }) => secrets.some((secret) => content.includes(secret)));
    return { secrets: secrets.length, outputs: said.length, files: files.length, leaks: leaks.map(({ what }) => what) };
  }

  // What a check that failed has left running.
  async endProcesses() {
    const left = [...this._children];
    for (const child of left) child.kill('SIGKILL');
    await Promise.all(left.map((child) => once(child, 'exit')));
  }

  stop() {
    for (const child of [...this._children, ...this._services]) child.kill('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }
}
