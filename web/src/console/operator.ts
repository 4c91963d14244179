/**
 * The operator's token: asked for once, kept for this tab only, and sent with whatever changes something. Looking at a
 * node that shows itself to operators only needs it too.
 */

import { signal } from "@preact/signals";
import { nodeUrl } from "../api";
import { fields, text } from "../fields";

const KEY = "levada.operator";

export const token = signal(stored());
/** Somebody waits for a token; told whether there is one now. */
export const asking = signal<{ readonly why: string; done(given: boolean): void } | undefined>(undefined);

/** The operator did not want to after all. */
export class Cancelled extends Error {}

/** What a request of this page carries. */
export function authorization(): Record<string, string> {
  return token.value ? { authorization: `Bearer ${token.value}` } : {};
}

/** Tries a token, and keeps it if the node takes it. Throws what is wrong with it. */
export async function unlock(candidate: string): Promise<void> {
  const answer = await fetchNode("api/v1/operator", { headers: { authorization: `Bearer ${candidate}` } });
  if (answer.status === 401) throw new Error("The node refuses this token.");
  if (!answer.ok) throw new Error(await problemOf(answer));
  keep(candidate);
}

export function lock(): void {
  keep(undefined);
}

/** Has a request of an operator carried out, and returns what the node answers. Asks for the token where it is needed. */
export async function operate(method: string, path: string, body?: object): Promise<unknown> {
  return withToken(async (headers) => {
    const json = body && { "content-type": "application/json" };
    return fetchNode(path, { method, headers: { ...headers, ...json }, body: body ? JSON.stringify(body) : null });
  });
}

/** Puts a file into the node's media folder. `progress` gets the share that was sent. */
export async function upload(file: File, progress: (share: number) => void): Promise<unknown> {
  return withToken(
    (headers) =>
      new Promise((resolve, reject) => {
        // fetch tells nothing of how far an upload is.
        const request = new XMLHttpRequest();
        request.open("PUT", nodeUrl(`api/v1/media/${encodeURIComponent(file.name)}`));
        for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
        request.setRequestHeader("content-type", "application/octet-stream");
        request.upload.addEventListener("progress", ({ loaded, total }) => progress(loaded / Math.max(1, total)));
        request.addEventListener("load", () => resolve(new Response(request.response, { status: request.status })));
        request.addEventListener("error", () => reject(new Error("The node closed the connection.")));
        request.send(file);
      }),
  );
}

async function withToken(send: (headers: Record<string, string>) => Promise<Response>): Promise<unknown> {
  let why = "Changes need the operator's token.";
  for (;;) {
    if (!token.value && !(await askFor(why))) throw new Cancelled();
    const answer = await send(authorization());
    if (answer.ok) return answer.json().catch(() => undefined);
    if (answer.status !== 401) throw new Error(await problemOf(answer));
    lock();
    why = "The node refuses the token that it took before.";
  }
}

export function askFor(why: string): Promise<boolean> {
  return new Promise((resolve) => {
    const done = (given: boolean): void => {
      asking.value = undefined;
      resolve(given);
    };
    asking.value = { why, done };
  });
}

async function fetchNode(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(nodeUrl(path), { cache: "no-store", ...init });
  } catch {
    throw new Error("The node does not answer.");
  }
}

/** What the node says of a request that it refused. */
export async function problemOf(answer: Response): Promise<string> {
  const problem = fields(await answer.json().catch(() => undefined));
  return text(problem?.error) ?? `status ${answer.status}`;
}

function keep(given: string | undefined): void {
  token.value = given;
  try {
    if (given) sessionStorage.setItem(KEY, given);
    else sessionStorage.removeItem(KEY);
  } catch {
    // A browser that keeps nothing asks again after a reload.
  }
}

function stored(): string | undefined {
  try {
    return sessionStorage.getItem(KEY) ?? undefined;
  } catch {
    return undefined;
  }
}
