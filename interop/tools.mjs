// The tools of the MCP server: one for each way in which messages travel.
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

const text = (value) => ({ content: [{ type: 'text', text: String(value) }] });

export function mcpServer(nonces) {
  const server = new McpServer({ name: 'interop', version: '1.0.0' }, { capabilities: { logging: {} } });

  server.registerTool('echo', { inputSchema: { text: z.string() } }, ({ text: said }) => text(said));

  // A call that was carried out twice is found by its nonce.
  server.registerTool('count', { inputSchema: { nonce: z.string() } }, ({ nonce }) => {
    nonces.set(nonce, (nonces.get(nonce) ?? 0) + 1);
    return text(nonce);
  });

  server.registerTool('slow', { inputSchema: { ms: z.number() } }, async ({ ms }) => {
    await sleep(ms);
    return text('awake');
  });

  // The SDK's client drops progress that it reads together with the answer, hence the pauses.
  server.registerTool('progress', { inputSchema: { steps: z.number() } }, async ({ steps }, extra) => {
    for (let step = 1; step <= steps; step += 1) {
      const params = { progressToken: extra._meta?.progressToken, progress: step, total: steps };
      await extra.sendNotification({ method: 'notifications/progress', params });
      await sleep(50);
    }
    return text('done');
  });

  // A request of the server on the stream of the client's own request.
  server.registerTool('elicit', { inputSchema: {} }, async (_, extra) => {
    const requestedSchema = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] };
    const params = { mode: 'form', message: 'Who is there?', requestedSchema };
    const answer = await extra.sendRequest({ method: 'elicitation/create', params }, ElicitResultSchema);
    return text(`${answer.action}: ${answer.content?.name}`);
  });

  // A request of the server on the standalone stream.
  server.registerTool('sample', { inputSchema: {} }, async () => {
    const messages = [{ role: 'user', content: { type: 'text', text: 'Say a word.' } }];
    const answer = await server.server.createMessage({ messages, maxTokens: 5 });
    return text(`${answer.model}: ${answer.content.text}`);
  });

  // Its stream ends before its answer is there.
  server.registerTool('interrupted', { inputSchema: { nonce: z.string() } }, async ({ nonce }, extra) => {
    extra.closeSSEStream?.();
    await sleep(300);
    nonces.set(nonce, (nonces.get(nonce) ?? 0) + 1);
    return text(`resumed ${nonce}`);
  });

  return server;
}
