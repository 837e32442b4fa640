// The MCP server: the official SDK's server, transport, bearer middleware and metadata router, with sessions.
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import {
  getOAuthProtectedResourceMetadataUrl,
  mcpAuthMetadataRouter,
} from '@modelcontextprotocol/sdk/server/auth/router.js';
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import { randomUUID } from 'node:crypto';
import { serve } from './served.mjs';
import { mcpServer } from './tools.mjs';

const SCOPES = ['mcp:read', 'mcp:write'];
const { ISSUER, INTROSPECTION_SECRET } = process.env;

let refusedUpTo = 0; // numbers of access tokens that are not accepted any more
const counts = { unauthorized: 0, initializations: 0, endings: 0, listening: 0, resumptions: 0 };
const accepted = new Set(); // numbers of access tokens that were accepted
const nonces = new Map();
const sessions = new Map();

// Every request is checked at the provider, so that a revocation counts from the next request on.
async function verifyAccessToken(metadata, resource, token) {
  const response = await fetch(metadata.introspection_endpoint, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`mcp-server:${INTROSPECTION_SECRET}`).toString('base64')}` },
    body: new URLSearchParams({ token, token_type_hint: 'access_token' }),
  });
  const told = await response.json();
  const isGood = told.active && told.aud === resource && told.token_type === 'Bearer';
  if (!isGood) throw new InvalidTokenError('unknown token');
  if (told.number <= refusedUpTo) throw new InvalidTokenError('token refused');
  accepted.add(told.number);
  const scopes = told.scope.split(' ');
  return { token, clientId: told.client_id, scopes, expiresAt: told.exp, resource: new URL(resource) };
}

// What was sent in a session, in the order in which it was, so that a stream can be taken up again.
function eventStore() {
  const events = [];
  return {
    async storeEvent(stream, message) {
      events.push({ stream, message });
      return String(events.length);
    },
    async getStreamIdForEventId(id) {
      return events[Number(id) - 1]?.stream;
    },
    async replayEventsAfter(id, { send }) {
      counts.resumptions += 1;
      const { stream } = events[Number(id) - 1];
      for (const [index, event] of events.entries()) {
        const isLater = index >= Number(id) && event.stream === stream;
        // What only primes a stream is no message.
        if (isLater && event.message.jsonrpc) await send(String(index + 1), event.message);
      }
      return stream;
    },
  };
}

async function inSession(request, response) {
  const id = request.headers['mcp-session-id'];
  let transport = sessions.get(id);
  if (!transport && !id && isInitializeRequest(request.body)) {
    counts.initializations += 1;
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: eventStore(),
      retryInterval: 50,
      onsessioninitialized: (opened) => sessions.set(opened, transport),
      onsessionclosed: (closed) => sessions.delete(closed) && (counts.endings += 1),
    });
    await mcpServer(nonces).connect(transport);
  }
  if (!transport) {
    const error = { code: -32001, message: 'Session not found' };
    response.status(id ? 404 : 400).json({ jsonrpc: '2.0', id: null, error });
    return;
  }
  // A command that ends at once is gone before its token is checked.
  if (request.method === 'GET' && !response.closed && !request.socket.destroyed) {
    counts.listening += 1;
    response.on('close', () => (counts.listening -= 1));
  }
  await transport.handleRequest(request, response, request.body);
}

const metadata = await (await fetch(`${ISSUER}/.well-known/openid-configuration`)).json();

await serve((url) => {
  const resource = new URL('/mcp', url);
  const app = createMcpExpressApp();
  app.get('/admin/counts', (_, response) => {
    const doubled = [...nonces.values()].filter((times) => times > 1).length;
    response.json({ ...counts, accepted: accepted.size, counted: nonces.size, doubled, sessions: sessions.size });
  });
  app.post('/admin/refuse/:upTo', (request, response) => {
    refusedUpTo = Number(request.params.upTo);
    response.json({ refusedUpTo });
  });
  app.post('/admin/forget-sessions', async (_, response) => {
    const forgotten = [...sessions.values()];
    sessions.clear();
    for (const transport of forgotten) await transport.close();
    response.json({ forgotten: forgotten.length });
  });
  app.use(mcpAuthMetadataRouter({ oauthMetadata: metadata, resourceServerUrl: resource, scopesSupported: SCOPES }));
  const authenticated = requireBearerAuth({
    verifier: { verifyAccessToken: (token) => verifyAccessToken(metadata, resource.href, token) },
    requiredScopes: SCOPES,
    expectedResource: resource,
    resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
  });
  app.use('/mcp', (_, response, next) => {
    response.on('finish', () => (counts.unauthorized += response.statusCode === 401 ? 1 : 0));
    next();
  });
  app.all('/mcp', authenticated, inSession);
  return app;
});
