// What a stand-in for a node tells of a mesh that does not exist: map, neighbours, PoPs, figures, events, and what an
// operator may change (docs/openapi.json). The token is "secret". By POST, /fake/mesh/kill/NODE and /fake/mesh/start/NODE.

const TOKEN = "secret";
const HERE = "pop1";
const NODES = {
  origin1: ["origin"],
  origin2: ["origin", "pop"],
  relay1: ["relay"],
  relay2: ["relay"],
  relay3: ["relay"],
  relay4: ["relay"],
  pop1: ["relay", "pop"],
  pop2: ["relay", "pop"],
  pop3: ["relay", "pop"],
  leaf1: ["leaf"],
};
/** Round trips in milliseconds. */
const LINKS = [
  ["origin1", "relay1", 8.2],
  ["origin1", "relay2", 14],
  ["origin2", "relay2", 5.1],
  ["relay1", "relay2", 11],
  ["relay1", "relay3", 24],
  ["relay2", "relay4", 3.4],
  ["relay2", "pop1", 9.6],
  ["relay3", "pop1", 12],
  ["relay3", "pop2", 31],
  ["relay4", "pop2", 7.7],
  ["relay4", "pop3", 0.4],
  ["pop2", "leaf1", 2.2],
];
const SAMPLES = 600;

export class FakeMesh {
  /** `base` is where this stand-in is reached, once it is known; `streams` are those of the fake node. */
  constructor(streams) {
    this.streams = streams;
    this.base = "";
    this.dead = new Set();
    this.added = [];
    this.removed = new Set();
    this.published = new Map();
    this.files = [
      { file: "harbour.mp4", bytes: 48_200_000, stream: "harbour" },
      { file: "market square.ts", bytes: 7_400_000, stream: null },
    ];
    this.followers = new Set();
    this.entries = [];
    this.parents = new Map();
    this.noise = new Map();
    this.history = { end: 0, rows: [] };
    for (let n = 0; n < SAMPLES; n += 1) this.sample(Date.now() - (SAMPLES - n) * 1000);
    setInterval(() => {
      this.sample(Date.now());
      this.tell();
    }, 1000).unref();
    this.log("link_up", "link to relay2 is up", { node: "relay2" });
    this.log("link_up", "link to relay3 is up", { node: "relay3" });
  }

  log(kind, text, more = {}) {
    const entry = { id: Date.now() * 1000 + this.entries.length, at_ms: Date.now(), kind, text, ...more };
    this.entries.push(entry);
    for (const response of this.followers) this.send(response, "entry", entry, entry.id);
  }

  send(response, event, data, id) {
    response.write(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  tell(to = this.followers) {
    for (const response of to) {
      this.send(response, "streams", this.listing(HERE));
      this.send(response, "neighbours", { node: HERE, neighbours: this.neighbours() });
      this.send(response, "map", this.map());
    }
  }

  links() {
    const live = (name) => !this.dead.has(name);
    return [...LINKS, ...this.added.map((name) => [HERE, name, 4.4])].filter(
      ([a, b]) => live(a) && live(b) && !(a === HERE && this.removed.has(b)) && !(b === HERE && this.removed.has(a)),
    );
  }

  wobble(key, value) {
    const before = this.noise.get(key) ?? 1;
    const next = 1 + (before - 1) * 0.9 + (Math.random() - 0.5) * 0.06;
    this.noise.set(key, next);
    return value * next;
  }

  /** Who feeds whom: shortest ways from the origin. */
  tree(origin, links = this.links()) {
    const far = new Map([[origin, { cost: 0, path: [origin] }]]);
    const open = new Set(this.dead.has(origin) ? [] : [origin]);
    while (open.size > 0) {
      const [at] = [...open].sort((a, b) => far.get(a).cost - far.get(b).cost);
      open.delete(at);
      for (const [a, b, rtt] of links) {
        const next = a === at ? b : b === at ? a : undefined;
        if (!next) continue;
        const cost = far.get(at).cost + rtt;
        if (far.has(next) && far.get(next).cost <= cost) continue;
        far.set(next, { cost, path: [...far.get(at).path, next] });
        open.add(next);
      }
    }
    return far;
  }

  viewersAt(stream, node) {
    if (node === HERE) return stream.sockets?.size ?? 0;
    return stream.name.endsWith("2") ? { pop3: 41 }[node] ?? 0 : { pop2: 212, pop3: 9, leaf1: 1 }[node] ?? 0;
  }

  listing(node) {
    return { node, streams: [...this.streams.values(), ...this.published.values()].map((one) => this.entry(one, node)) };
  }

  entry(stream, node) {
    const fake = stream.listing?.();
    const origin = stream.file ? HERE : stream.name.endsWith("2") ? "origin2" : "origin1";
    const ways = this.tree(origin);
    const wanted = [...ways.keys()].filter((name) => this.viewersAt(stream, name) > 0);
    const fed = new Set(wanted.flatMap((name) => ways.get(name).path));
    const path = fed.has(node) ? ways.get(node).path : [];
    const parent = path.at(-2) ?? null;
    const around = parent
      ? this.tree(origin, this.links().filter(([a, b]) => ![a, b].includes(parent) || parent === origin)).get(node)
      : undefined;
    const backup = around && around.path.at(-2) !== parent ? around.path.at(-2) : null;
    const children = [...fed].filter((name) => ways.get(name).path.at(-2) === node);
    const viewers = this.viewersAt(stream, node);
    const flows = path.length > 0 || node === origin;
    return {
      name: stream.name,
      state: node === origin ? "published" : viewers > 0 ? "watched" : flows ? "passed" : "idle",
      waiting: viewers > 0 && !flows,
      origins: this.dead.has(origin) ? [] : [origin],
      parent,
      backup,
      path,
      backup_path: [],
      children,
      viewers,
      switches: 0,
      bitrate_bps: flows ? Math.round(this.wobble(stream.name, 812_000)) : null,
      group_ms: flows ? 2000 : null,
      latency_ms: flows ? Math.round(ways.get(node)?.cost ?? 0) : null,
      newest_age_ms: flows ? 12 : null,
      tracks: flows ? (fake?.tracks ?? []) : [],
    };
  }

  map() {
    const reached = this.tree(HERE);
    const carried = (a, b) =>
      [...this.streams.values()].some((stream) => this.entry(stream, b).parent === a) ? this.wobble(`${a}>${b}`, 830_000) : 9000;
    const links = this.links().flatMap(([a, b, rtt]) => {
      const own = [a, b].includes(HERE);
      const one = (from, to) => ({
        from,
        to,
        rtt_us: Math.round(this.wobble(`${a}${b}`, rtt * 1000)),
        cost_us: Math.round(rtt * 500 + 1000),
        loss: own ? ([a, b].includes("relay3") ? 0.021 : 0) : null,
        bps: own ? Math.round(carried(from, to)) : null,
      });
      return [one(a, b), one(b, a)];
    });
    const nodes = Object.entries(NODES).map(([name, roles], n) => ({
      name,
      id: `${n}f3a9c1d`,
      addresses: [`192.0.2.${n + 1}:4440`],
      http: roles.includes("leaf") ? null : name === HERE ? this.base : `${this.base}/at/${name}`,
      transit: roles.includes("relay"),
      reachable: reached.has(name),
      roles,
    }));
    const load = { children: 2, children_max: 64, egress_bps: 1_600_000, egress_max_bps: null };
    return { node: HERE, load, nodes, links, neighbours: this.neighbours(), streams: [] };
  }

  neighbours() {
    const names = ["relay2", "relay3", ...this.added, "far-away"].filter((name) => !this.removed.has(name));
    return names.map((name) => {
      const link = this.links().find(([a, b]) => [a, b].includes(HERE) && [a, b].includes(name));
      const up = link !== undefined;
      return {
        name,
        up,
        failure: up ? null : this.dead.has(name) ? "the connection timed out" : "no answer from 198.51.100.7:4440; is it running?",
        rtt_us: up ? Math.round(this.wobble(`n${name}`, link[2] * 1000)) : null,
        jitter_us: up ? 220 : null,
        loss: up ? (name === "relay3" ? 0.021 : 0) : null,
        in_use: name === "relay2",
        kind: this.added.includes(name) ? "added" : "listed",
        addresses: ["192.0.2.4:4440"],
        sent_bps: up ? 12_000 : null,
        received_bps: up ? (name === "relay2" ? 1_630_000 : 9000) : null,
      };
    });
  }

  /** What a node elsewhere tells of its links. */
  neighboursOf(node) {
    return this.links().filter(([a, b]) => [a, b].includes(node)).map(([a, b, rtt]) => ({
      name: a === node ? b : a,
      up: true,
      rtt_us: Math.round(this.wobble(`${a}${b}`, rtt * 1000)),
      loss: 0,
      in_use: false,
      kind: "listed",
      sent_bps: 9000,
      received_bps: 9000,
    }));
  }

  /** As `node` tells it: of viewers it knows its own only. */
  pops(stream, node = HERE) {
    const origin = stream?.endsWith("2") ? "origin2" : "origin1";
    const ways = this.tree(origin);
    const all = [...this.streams.values()];
    return Object.entries(NODES)
      .filter(([, roles]) => roles.includes("pop"))
      .map(([name]) => ({
        name,
        http: name === HERE ? this.base : `${this.base}/at/${name}`,
        stream_metric_us: ways.has(name) ? Math.round(ways.get(name).cost * 500) : null,
        viewers: name === node ? all.reduce((sum, one) => sum + this.viewersAt(one, name), 0) : null,
        viewers_max: name === node ? 10_000 : null,
        load: { pop1: 0.04, pop2: 0.71, pop3: 0.22, origin2: 0 }[name],
        reachable: this.tree(HERE).has(name),
      }));
  }

  sample(now) {
    const down = this.dead.has("relay2");
    this.history.end = now;
    this.history.rows.push({
      in: this.wobble("in", 1_630_000),
      out: this.wobble("out", 24_000),
      cam1: this.wobble("h1", 812_000),
      cam2: this.wobble("h2", 640_000),
      latency: this.wobble("l", 27),
      relay2: down ? null : this.wobble("r2", 9600),
      relay3: this.wobble("r3", 12_000),
      loss3: Math.max(0, this.wobble("x3", 0.021)),
    });
    this.history.rows = this.history.rows.slice(-SAMPLES);
  }

  figures(last) {
    const rows = this.history.rows.slice(-last);
    const column = (key) => rows.map((row) => (row[key] === null ? null : key === "loss3" ? row[key] : Math.round(row[key])));
    const zero = rows.map(() => 0);
    const stream = (name) => ({ name, bitrate_bps: column(name), latency_ms: column("latency"), viewers: zero });
    const neighbour = (name, loss) => ({ name, rtt_us: column(name), jitter_us: zero, loss, sent_bps: zero, received_bps: zero });
    return {
      node: HERE,
      step_ms: 1000,
      end_ms: this.history.end,
      samples: rows.length,
      viewers: zero,
      in_bps: column("in"),
      out_bps: column("out"),
      streams: [stream("cam1"), stream("cam2")],
      neighbours: [neighbour("relay2", zero), neighbour("relay3", column("loss3"))],
    };
  }

  fault(what, name) {
    if (!(name in NODES) || !["kill", "start"].includes(what)) return false;
    const before = new Map([...this.streams].map(([key, one]) => [key, this.entry(one, HERE).parent]));
    if (what === "kill") this.dead.add(name);
    else this.dead.delete(name);
    this.log(what === "kill" ? "node_down" : "node_up", `${name} is ${what === "kill" ? "reached no more" : "back"}`, { node: name });
    for (const [key, one] of this.streams) {
      const parent = this.entry(one, HERE).parent;
      if (parent !== before.get(key)) this.log("parent", `${key} is fed by ${parent ?? "nobody"} now, before by ${before.get(key)}`);
    }
    this.tell();
    return true;
  }

  /** Answers a request of the API; false where it is none. */
  async answer(request, response, url) {
    const json = (status, value) => {
      response.writeHead(status, { "content-type": "application/json", "access-control-allow-origin": "*" });
      response.end(value === undefined ? undefined : JSON.stringify(value));
      return true;
    };
    const [, node, table] = /^\/at\/([^/]+)\/api\/v1\/(streams|neighbours|pops)$/.exec(url.pathname) ?? [];
    if (this.dead.has(node)) return request.socket.destroy(), true;
    if (table === "streams") return json(200, this.listing(node));
    if (table === "neighbours") return json(200, { node, neighbours: this.neighboursOf(node) });
    if (table === "pops") return json(200, { node, pops: this.pops(url.searchParams.get("stream"), node) });
    const [, api, version, what, name] = url.pathname.split("/");
    if (api !== "api" || version !== "v1") return false;
    const allowed = request.headers.authorization === `Bearer ${TOKEN}`;
    const open = request.method === "GET" && !["operator", "media"].includes(what);
    if (!open && !allowed) return json(401, { error: "this needs an operator's token; send it as Authorization: Bearer TOKEN" });
    const body = [];
    for await (const chunk of request) body.push(chunk);
    const given = request.headers["content-type"] === "application/json" ? JSON.parse(Buffer.concat(body).toString()) : undefined;
    switch (`${request.method} ${what}`) {
      case "GET operator":
        return json(204);
      case "GET streams":
        return json(200, this.listing(HERE));
      case "GET pops":
        return json(200, { node: HERE, pops: this.pops(url.searchParams.get("stream")) });
      case "GET history":
        return json(200, this.figures(Number(url.searchParams.get("last") ?? SAMPLES)));
      case "GET media":
        return json(200, { node: HERE, folder: "/srv/media", upload_bytes_max: 4e9, files: this.files });
      case "PUT media":
        this.files.push({ file: decodeURIComponent(name), bytes: Buffer.concat(body).length, stream: name.split(".")[0] });
        return json(201, this.files.at(-1));
      case "POST publish":
        if (this.published.has(given.stream)) return json(409, { error: `stream "${given.stream}" is already published` });
        this.published.set(given.stream, { name: given.stream, file: given.file });
        this.log("published", `${given.stream} is published from ${given.file}`, { stream: given.stream });
        this.tell();
        return json(201, { stream: given.stream, file: given.file });
      case "DELETE streams":
        this.published.delete(decodeURIComponent(name));
        this.log("stopped", `${name} is published here no more`, { stream: name });
        this.tell();
        return json(204);
      case "POST neighbours":
        if (!given.address.startsWith("pop3")) return json(502, { error: `nobody accepts links at ${given.address}` });
        this.added.push("pop3");
        this.removed.delete("pop3");
        this.log("neighbour_added", `pop3 is a neighbour now`, { node: "pop3" });
        this.tell();
        return json(200, { name: "pop3", address: given.address });
      case "DELETE neighbours":
        this.removed.add(name);
        this.log("neighbour_removed", `${name} is no neighbour any more`, { node: name });
        this.tell();
        return json(204);
      case "GET events":
        response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
        for (const entry of this.entries) if (entry.id > Number(url.searchParams.get("after"))) this.send(response, "entry", entry, entry.id);
        this.followers.add(response);
        response.on("close", () => this.followers.delete(response));
        this.tell([response]);
        return true;
      default:
        return false;
    }
  }
}
