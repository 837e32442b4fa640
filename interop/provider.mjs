// The authorization server: the certified oidc-provider with its own defaults wherever they are strict. Rotation is
// always on. A refresh token that comes a second time revokes the whole grant, which is oidc-provider's own doing.
import { createHash } from 'node:crypto';
import express from 'express';
import Provider from 'oidc-provider';
import { serve } from './served.mjs';

const ACCOUNT = 'ada';
const RESOURCE_SCOPES = 'mcp:read mcp:write';
const digest = (token) => createHash('sha256').update(token).digest('base64url');

let accessTokenSeconds = 3600;
const counts = {
  registrations: 0, // clients registered
  registrationsRefused: 0, // registrations answered with an error
  signIns: 0, // authorization codes exchanged
  exchanges: 0, // refresh tokens exchanged
  presentations: 0, // refresh tokens presented, with whatever outcome
  mostPresented: 0, // how often the refresh token that was presented most was presented
  replays: 0, // refused because the refresh token was spent
  refused: 0, // refused with invalid_grant for any reason
  withScope: 0, // refreshes that asked for a scope
  withoutResource: 0, // token requests that named no resource
  revocations: 0, // revocation requests
  grantsRevoked: 0,
  accessTokens: 0, // issued; each knows its number
};
const presented = new Map();
const secrets = new Set();
const refreshTokens = {}; // the one issued last and the one spent last, with the client

function configuration(introspector) {
  return {
    clients: [{ ...introspector, redirect_uris: [], response_types: [], grant_types: [] }],
    // As deployed by the book: the scopes of a resource belong to the resource, not to the provider.
    scopes: ['openid', 'offline_access'],
    clientAuthMethods: ['none', 'client_secret_basic'],
    rotateRefreshToken: () => true,
    clockTolerance: 0,
    // The default issueRefreshToken stays: only with offline_access, which only survives with prompt=consent.
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === introspector.client_id },
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: RESOURCE_SCOPES,
          audience: resource,
          accessTokenTTL: accessTokenSeconds,
          accessTokenFormat: 'opaque',
        }),
      },
      revocation: { enabled: true, allowedPolicy: (_, client, token) => client.clientId === token.clientId },
    },
    extraTokenClaims: () => ({ number: (counts.accessTokens += 1) }),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    cookies: { keys: ['interop'] },
    ttl: {
      AccessToken: (_, token) => token.resourceServer?.accessTokenTTL ?? accessTokenSeconds,
      AuthorizationCode: 60,
      Grant: 86_400,
      IdToken: 3600,
      Interaction: 600,
      RefreshToken: 86_400,
      Session: 86_400,
    },
  };
}

function count(provider) {
  provider.on('registration_create.success', () => (counts.registrations += 1));
  provider.on('registration_create.error', () => (counts.registrationsRefused += 1));
  provider.on('grant.revoked', () => (counts.grantsRevoked += 1));
  provider.on('grant.success', ({ oidc, body }) => {
    counts[oidc.params.grant_type === 'refresh_token' ? 'exchanges' : 'signIns'] += 1;
    const client = oidc.client.clientId;
    refreshTokens.issued = { token: body.refresh_token, client };
    if (oidc.params.grant_type === 'refresh_token') refreshTokens.spent = { token: oidc.params.refresh_token, client };
  });
  provider.on('grant.error', ({ oidc }, error) => {
    if (oidc?.params?.grant_type !== 'refresh_token' || error.error !== 'invalid_grant') return;
    counts.refused += 1;
    if (error.error_detail === 'refresh token already used') counts.replays += 1;
  });
  for (const kind of ['access_token', 'refresh_token', 'authorization_code']) {
    provider.on(`${kind}.saved`, ({ jti }) => secrets.add(jti));
  }
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.oidc?.route === 'revocation') counts.revocations += 1;
    if (ctx.oidc?.route !== 'token') return;
    const { code_verifier: verifier, grant_type: grant, refresh_token: token, resource, scope } = ctx.oidc.params ?? {};
    if (verifier) secrets.add(verifier);
    if (ctx.body?.id_token) secrets.add(ctx.body.id_token);
    if (!resource) counts.withoutResource += 1;
    if (grant !== 'refresh_token') return;
    counts.presentations += 1;
    if (scope) counts.withScope += 1;
    presented.set(digest(token), (presented.get(digest(token)) ?? 0) + 1);
    counts.mostPresented = Math.max(...presented.values());
  });
}

// Whoever comes is the one account and consents to what is asked: each visit answers the prompt that is due.
async function interaction(provider, request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: ACCOUNT } });
  }
  const grant = (grantId && (await provider.Grant.find(grantId)))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

const introspector = { client_id: 'mcp-server', client_secret: process.env.INTROSPECTION_SECRET };

await serve((issuer) => {
  const provider = new Provider(issuer, configuration(introspector));
  count(provider);
  const app = express();
  app.get('/admin/counts', (_, response) => response.json(counts));
  app.get('/admin/secrets', (_, response) => response.json([...secrets]));
  app.get('/admin/refresh-token/:which', (request, response) => response.json(refreshTokens[request.params.which]));
  app.post('/admin/lifetime/:seconds', (request, response) => {
    accessTokenSeconds = Number(request.params.seconds);
    response.json({ accessTokenSeconds });
  });
  app.get('/interaction/:uid', (request, response, next) => {
    interaction(provider, request, response).catch(next);
  });
  app.use(provider.callback());
  return app;
});
