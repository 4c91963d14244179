/** Places on the screen, and the curves between them. */

import type { Places } from "./layout";
import type { Point } from "./model";

export interface Size {
  readonly width: number;
  readonly height: number;
}

/** How far the reader has zoomed and moved the map; in pixels. */
export interface Lens {
  readonly zoom: number;
  readonly x: number;
  readonly y: number;
}

export const UNMOVED: Lens = { zoom: 1, x: 0, y: 0 };
const ZOOM_MIN = 0.5;
const ZOOM_MAX = 6;
/** Pixels of a wheel that zoom by a factor of e: what browsers make of a pinch on a touchpad. */
const WHEEL_PX = 100;
/** One event counts as no more; a notch of a wheel is a hundred pixels and more. */
const WHEEL_PX_MAX = 20;
/** Length of a link, in pixels, beyond which a small map is not stretched. */
const LINK_MAX = 230;
/** A map is stretched in one direction by no more than this. */
const STRETCH_MAX = 1.7;

/** Fits places into a frame. A map that is wide is turned where the frame is high. */
export function fit(places: Places, size: Size, margin: Point, lens: Lens): Map<string, Point> {
  const entries = [...places];
  let points = entries.map(([, point]) => point);
  let spread = extent(points);
  const [room, tall] = [
    { x: Math.max(1, size.width - 2 * margin.x), y: Math.max(1, size.height - 2 * margin.y) },
    size.height > 1.1 * size.width,
  ];
  if (tall !== spread.y > spread.x && Math.abs(spread.x - spread.y) > 0.2) {
    points = points.map((point) => ({ x: point.y, y: point.x }));
    spread = extent(points);
  }
  let [sx, sy] = [
    Math.min(LINK_MAX, room.x / Math.max(0.01, spread.x)),
    Math.min(LINK_MAX, room.y / Math.max(0.01, spread.y)),
  ];
  [sx, sy] = [Math.min(sx, sy * STRETCH_MAX), Math.min(sy, sx * STRETCH_MAX)];
  return new Map(
    entries.map(([name], n) => {
      const point = points[n] ?? { x: 0, y: 0 };
      const x = (point.x - spread.middle.x) * sx * lens.zoom + size.width / 2 + lens.x;
      const y = (point.y - spread.middle.y) * sy * lens.zoom + size.height / 2 + lens.y;
      return [name, { x, y }];
    }),
  );
}

function extent(points: readonly Point[]): { x: number; y: number; middle: Point } {
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
  return { x: right - left, y: bottom - top, middle: { x: (left + right) / 2, y: (top + bottom) / 2 } };
}

/** What a wheel zooms by; undefined: it scrolls the page. Browsers tell of a pinch on a touchpad as of a wheel with Ctrl. */
export function wheelFactor({ ctrlKey, metaKey, deltaY }: Pick<WheelEvent, "ctrlKey" | "metaKey" | "deltaY">): number | undefined {
  if (!ctrlKey && !metaKey) return undefined;
  return Math.exp(-Math.max(-WHEEL_PX_MAX, Math.min(WHEEL_PX_MAX, deltaY)) / WHEEL_PX);
}

/** Zooms about a point of the screen. */
export function zoomed(lens: Lens, factor: number, at: Point, size: Size): Lens {
  const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, lens.zoom * factor));
  const [by, dx, dy] = [zoom / lens.zoom, at.x - size.width / 2, at.y - size.height / 2];
  return { zoom, x: dx - (dx - lens.x) * by, y: dy - (dy - lens.y) * by };
}

export interface Curve {
  readonly d: string;
  at(share: number): Point;
  /** Direction at a share of the way, in degrees. */
  angle(share: number): number;
  readonly length: number;
}

/**
 * From one point to another: bent by a share of its length, moved aside by some pixels, and shortened at both ends.
 * To the right of its direction, as traffic is.
 */
export function curve(from: Point, to: Point, bend: number, aside: number, short: number): Curve {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.max(1, Math.hypot(dx, dy));
  const [nx, ny] = [-dy / length, dx / length];
  const moved = (point: Point): Point => ({ x: point.x + nx * aside, y: point.y + ny * aside });
  const control = moved({
    x: (from.x + to.x) / 2 + nx * bend * length,
    y: (from.y + to.y) / 2 + ny * bend * length,
  });
  const [p, q] = [toward(moved(from), control, short), toward(moved(to), control, short)];
  const at = (t: number): Point => ({
    x: (1 - t) ** 2 * p.x + 2 * t * (1 - t) * control.x + t * t * q.x,
    y: (1 - t) ** 2 * p.y + 2 * t * (1 - t) * control.y + t * t * q.y,
  });
  const angle = (t: number): number => {
    const x = 2 * (1 - t) * (control.x - p.x) + 2 * t * (q.x - control.x);
    const y = 2 * (1 - t) * (control.y - p.y) + 2 * t * (q.y - control.y);
    return (Math.atan2(y, x) * 180) / Math.PI;
  };
  const n = (value: number): string => value.toFixed(1);
  return { d: `M${n(p.x)} ${n(p.y)}Q${n(control.x)} ${n(control.y)} ${n(q.x)} ${n(q.y)}`, at, angle, length };
}

function toward(from: Point, to: Point, by: number): Point {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.max(1, Math.hypot(dx, dy));
  const share = Math.min(by / length, 0.9);
  return { x: from.x + dx * share, y: from.y + dy * share };
}

/** Something that wants to be written on a curve. */
export interface Wish {
  readonly key: string;
  readonly line: Curve;
  readonly width: number;
  /** The higher, the earlier it chooses. From 1 on it is written whatever lies below. */
  readonly urgency: number;
}

const LABEL_HEIGHT = 18;
/** Places on a curve that are tried, in this order. */
const SHARES = [0.5, 0.38, 0.62, 0.28, 0.72] as const;

/** Where labels go, so that they cover neither each other nor a node; those without room are left out. */
export function labelPlaces(wishes: readonly Wish[], nodes: Iterable<Point>, radius: number): Map<string, Point> {
  const taken = [...nodes].map((point) => ({ ...point, width: 2 * radius, height: 2 * radius }));
  const places = new Map<string, Point>();
  for (const wish of [...wishes].sort((one, other) => other.urgency - one.urgency)) {
    const { key, line, width } = wish;
    const isFree = (at: Point): boolean =>
      taken.every(
        (box) =>
          Math.abs(box.x - at.x) > (box.width + width) / 2 || Math.abs(box.y - at.y) > (box.height + LABEL_HEIGHT) / 2,
      );
    const share = SHARES.find((one) => isFree(line.at(one))) ?? (wish.urgency >= 1 ? 0.5 : undefined);
    if (share === undefined) continue;
    const at = line.at(share);
    taken.push({ ...at, width, height: LABEL_HEIGHT });
    places.set(key, at);
  }
  return places;
}
