// What the provider and the server have in common as child processes of run.mjs.
import { createServer } from 'node:http';

// A port is free only once it is held, and an issuer names its port: so listen first, build afterwards.
export async function serve(build) {
  const server = createServer();
  await new Promise((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  server.on('request', await build(url));
  // Nobody is left to ask anything once run.mjs has gone, however it went.
  process.stdin.resume().on('end', () => process.exit(0));
  console.log(JSON.stringify({ url }));
}
