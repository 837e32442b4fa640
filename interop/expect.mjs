// Saying what was expected and what was there.
import { inspect, isDeepStrictEqual } from 'node:util';

const shown = (value) => inspect(value, { depth: 6, breakLength: 110 });

export class Unmet extends Error {}

export function expectEqual(what, actual, expected) {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Unmet(`${what}\n  expected: ${shown(expected)}\n  actual:   ${shown(actual)}`);
}

export function expectThat(what, holds, actual) {
  if (!holds) throw new Unmet(`${what}\n  actual: ${shown(actual)}`);
}

export function expectMatch(what, actual, pattern) {
  expectThat(`${what}\n  expected to match: ${pattern}`, pattern.test(actual), actual);
}

// Waits for what comes to hold by itself, like a stream that is being opened.
export async function eventually(what, actual, holds, within = 10_000) {
  const deadline = Date.now() + within;
  for (;;) {
    const value = await actual();
    if (holds(value)) return value;
    expectThat(`${what}, within ${within} ms`, Date.now() < deadline, value);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function expectRejection(what, promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Unmet(`${what}\n  expected: an error\n  actual:   ${shown(value)}`);
}

export async function bounded(what, ms, promise) {
  let timer;
  const over = new Promise((_, reject) => {
    const late = new Unmet(`${what}\n  expected: done within ${ms} ms\n  actual:   still running`);
    timer = setTimeout(() => reject(late), ms);
  });
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}
