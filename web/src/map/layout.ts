/**
 * Places for nodes by stress majorisation (Gansner, Koren and North, Graph Drawing 2004): the distance between two nodes
 * on the map follows the number of links between them. The same graph always gets the same places, and when nodes come
 * and go, the others move little.
 */

import type { Point } from "./model";

export interface Placed {
  readonly name: string;
  readonly at?: Point | undefined;
}

export type Places = ReadonlyMap<string, Point>;

/** Starts from which places are sought; the one with the least stress wins. */
const STARTS = 12;
const ROUNDS_FIRST = 40;
const ROUNDS = 200;
/** Pairs that are looked at for one of these: in large meshes there are fewer starts and rounds. About 0.1 s. */
const PAIRS_MAX = 10_000_000;
/** No node comes closer to a link of others than this; a link is 1 long. */
const CLEARANCE = 0.32;
const CLEARING_ROUNDS = 60;

/** Finds places; a link is about 1 long. Nodes that have a place keep it if all have one. */
export function layout(
  nodes: readonly Placed[],
  links: readonly (readonly [string, string])[],
  before: Places = new Map(),
): Places {
  if (nodes.length > 0 && nodes.every((node) => node.at)) {
    return new Map(nodes.flatMap((node) => (node.at ? [[node.name, node.at] as const] : [])));
  }
  const index = new Map(nodes.map((node, n) => [node.name, n]));
  const pairs = links.flatMap(([a, b]) => {
    const ends = [index.get(a), index.get(b)] as const;
    return ends[0] !== undefined && ends[1] !== undefined && ends[0] !== ends[1] ? [[ends[0], ends[1]] as const] : [];
  });
  const far = distances(nodes.length, pairs);
  const known = nodes.map((node) => before.get(node.name));
  const places = known.some((place) => place)
    ? settle(beside(known, pairs), far, ROUNDS_FIRST)
    : alongX(best(nodes.length, far));
  clear(places, pairs);
  return new Map(nodes.map((node, n) => [node.name, places[n] ?? { x: 0, y: 0 }]));
}

type Mutable = { x: number; y: number };

/** Links between each two nodes, row by row; parts that hang together in no way are put apart. */
function distances(count: number, pairs: readonly (readonly [number, number])[]): Float64Array {
  const neighbours: number[][] = Array.from({ length: count }, () => []);
  for (const [a, b] of pairs) {
    neighbours[a]?.push(b);
    neighbours[b]?.push(a);
  }
  const far = new Float64Array(count * count).fill(Number.POSITIVE_INFINITY);
  let longest = 1;
  for (let from = 0; from < count; from += 1) {
    const row = far.subarray(from * count, (from + 1) * count);
    row[from] = 0;
    const queue = [from];
    for (const at of queue) {
      const steps = (row[at] ?? 0) + 1;
      for (const next of neighbours[at] ?? []) {
        if (row[next] !== Number.POSITIVE_INFINITY) continue;
        row[next] = steps;
        longest = Math.max(longest, steps);
        queue.push(next);
      }
    }
  }
  return far.map((steps) => (Number.isFinite(steps) ? steps : longest / 2 + 1));
}

function best(count: number, far: Float64Array): Mutable[] {
  let found: { places: Mutable[]; stress: number } | undefined;
  const random = generator(1);
  const starts = Math.max(1, Math.min(STARTS, Math.floor(PAIRS_MAX / (ROUNDS_FIRST * count * count))));
  for (let start = 0; start < starts; start += 1) {
    const radius = Math.max(1, count / 6);
    const turns = start === 0 ? (n: number) => n / count : () => random();
    const circle = Array.from({ length: count }, (_, n) => {
      const turn = turns(n) * 2 * Math.PI;
      return { x: radius * Math.cos(turn), y: radius * Math.sin(turn) };
    });
    const places = settle(circle, far, ROUNDS_FIRST);
    const stress = stressOf(places, far);
    if (!found || stress < found.stress - 1e-9) found = { places, stress };
  }
  return settle(found?.places ?? [], far, ROUNDS);
}

/** Each node goes to where the others, each weighed by its distance, want it. */
function settle(start: readonly Point[], far: Float64Array, roundsWanted: number): Mutable[] {
  const count = start.length;
  // Plain arrays of numbers: this is where all the time goes.
  const xs = Float64Array.from(start, (place) => place.x);
  const ys = Float64Array.from(start, (place) => place.y);
  const rounds = Math.min(roundsWanted, Math.ceil(PAIRS_MAX / Math.max(1, count * count)));
  for (let round = 0; round < rounds; round += 1) {
    for (let n = 0; n < count; n += 1) {
      let x = 0;
      let y = 0;
      let weights = 0;
      for (let m = 0; m < count; m += 1) {
        if (m === n) continue;
        const wanted = far[n * count + m] as number;
        const dx = (xs[n] as number) - (xs[m] as number);
        const dy = (ys[n] as number) - (ys[m] as number);
        const share = wanted / Math.max(1e-6, Math.sqrt(dx * dx + dy * dy));
        const weight = 1 / (wanted * wanted);
        x += weight * ((xs[m] as number) + share * dx);
        y += weight * ((ys[m] as number) + share * dy);
        weights += weight;
      }
      if (weights > 0) {
        xs[n] = x / weights;
        ys[n] = y / weights;
      }
    }
  }
  return start.map((_, n) => ({ x: xs[n] ?? 0, y: ys[n] ?? 0 }));
}

function stressOf(places: readonly Point[], far: Float64Array): number {
  let stress = 0;
  for (const [n, place] of places.entries()) {
    for (let m = 0; m < n; m += 1) {
      const [other, wanted] = [places[m], far[n * places.length + m] ?? 1];
      if (other) stress += (Math.hypot(place.x - other.x, place.y - other.y) / wanted - 1) ** 2;
    }
  }
  return stress;
}

/** New nodes begin at the middle of their neighbours. */
function beside(known: readonly (Point | undefined)[], pairs: readonly (readonly [number, number])[]): Point[] {
  return known.map((place, n) => {
    if (place) return place;
    const others = pairs.flatMap(([a, b]) => (a === n ? [known[b]] : b === n ? [known[a]] : []));
    const near = others.filter((other) => other !== undefined);
    const mean = (of: (point: Point) => number): number =>
      near.length === 0 ? 0 : near.reduce((sum, point) => sum + of(point), 0) / near.length;
    // Two that come at once must not lie on each other.
    return { x: mean((p) => p.x) + 0.5 * Math.cos(n), y: mean((p) => p.y) + 0.5 * Math.sin(n) };
  });
}

/** Turns places so that they are longest from left to right. */
function alongX(places: Mutable[]): Mutable[] {
  const count = Math.max(1, places.length);
  const middle = {
    x: places.reduce((sum, place) => sum + place.x, 0) / count,
    y: places.reduce((sum, place) => sum + place.y, 0) / count,
  };
  let [xx, yy, xy] = [0, 0, 0];
  for (const place of places) {
    const [dx, dy] = [place.x - middle.x, place.y - middle.y];
    xx += dx * dx;
    yy += dy * dy;
    xy += dx * dy;
  }
  const angle = -0.5 * Math.atan2(2 * xy, xx - yy);
  const turned = places.map((place) => {
    const [dx, dy] = [place.x - middle.x, place.y - middle.y];
    return {
      x: dx * Math.cos(angle) - dy * Math.sin(angle),
      y: dx * Math.sin(angle) + dy * Math.cos(angle),
    };
  });
  // The first node, mostly where streams come from, is at the left.
  const flip = (turned[0]?.x ?? 0) > 0 ? -1 : 1;
  return turned.map((place) => ({ x: flip * place.x, y: place.y }));
}

/** Moves nodes away from links that lead past them, and from each other. */
function clear(places: Mutable[], pairs: readonly (readonly [number, number])[]): void {
  const rounds = Math.min(CLEARING_ROUNDS, Math.ceil(PAIRS_MAX / Math.max(1, pairs.length * places.length)));
  for (let round = 0; round < rounds; round += 1) {
    for (const [a, b] of pairs) {
      const from = places[a];
      const to = places[b];
      if (!from || !to) continue;
      for (let n = 0; n < places.length; n += 1) {
        const place = places[n] as Mutable;
        if (n === a || n === b) continue;
        const dx = to.x - from.x;
        const dy = to.y - from.y;
        const length = Math.max(1e-6, dx * dx + dy * dy);
        const along = ((place.x - from.x) * dx + (place.y - from.y) * dy) / length;
        if (along <= 0 || along >= 1) continue;
        const ox = place.x - from.x - along * dx;
        const oy = place.y - from.y - along * dy;
        const off = Math.sqrt(ox * ox + oy * oy);
        if (off >= CLEARANCE) continue;
        // On the link itself there is no side; the left one is as good.
        const [ux, uy] =
          off > 1e-6 ? [ox / off, oy / off] : [-dy / Math.sqrt(length), dx / Math.sqrt(length)];
        place.x += (ux * (CLEARANCE - off)) / 2;
        place.y += (uy * (CLEARANCE - off)) / 2;
      }
    }
  }
}

/** Mulberry32: enough chance for starting points, and always the same. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
