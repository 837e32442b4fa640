// A browser for one sign-in: follows redirects and keeps cookies, which the provider's interactions need.
const MAX_HOPS = 20;
const jar = new Map(); // name and path to value, of the provider alone

function remember(header) {
  const [pair, ...attributes] = header.split(';').map((part) => part.trim());
  const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
  const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice(5) ?? '/';
  if (value) jar.set(`${name} ${path}`, { name, value, path });
  else jar.delete(`${name} ${path}`);
}

function cookies(url) {
  const fitting = [...jar.values()].filter(({ path }) => url.pathname.startsWith(path));
  return fitting.map(({ name, value }) => `${name}=${value}`).join('; ');
}

let url = new URL(process.argv[2]);
const provider = url.origin;
for (let hop = 0; hop < MAX_HOPS; hop += 1) {
  const headers = url.origin === provider ? { cookie: cookies(url) } : {};
  const response = await fetch(url, { headers, redirect: 'manual' });
  if (url.origin === provider) response.headers.getSetCookie().forEach(remember);
  const location = response.headers.get('location');
  if (!location) {
    await response.text();
    process.exit(response.ok ? 0 : 1);
  }
  url = new URL(location, url);
}
process.exit(1);
