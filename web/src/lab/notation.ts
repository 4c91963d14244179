/** The script's notation: what a click is in it, and what was done as steps of a file. */

import type { Direction, Doing, Entry, LabLink } from "./api";

/** Which way a change of a link goes. */
export type Way = "both" | "there" | "back";

/** The queue of a link of which nothing else is said, as in crates/sim/src/link.rs. */
const QUEUE_USUAL = "250kB";

export function ends(link: { readonly a: string; readonly b: string }, way: Way): string {
  if (way === "both") return `${link.a}-${link.b}`;
  return way === "there" ? `${link.a}>${link.b}` : `${link.b}>${link.a}`;
}

/** The line that makes a link do this; undefined where it does already. */
export function linkLine(link: LabLink, way: Way, wanted: Doing): string | undefined {
  const now = [...(way === "back" ? [] : [link.there.doing]), ...(way === "there" ? [] : [link.back.doing])];
  // The lab counts in binary fractions: 7 % come back as a little more.
  const same = (one = -1, other = -1): boolean => Math.abs(one - other) < 1e-9;
  const differs = (of: (doing: Doing) => number | undefined): boolean =>
    now.some((doing) => doing && !same(of(doing), of(wanted)));
  const reads = (of: (doing: Doing) => string): string[] =>
    now.some((doing) => doing && of(doing) !== of(wanted)) ? [of(wanted)] : [];
  const parts = [
    ...(differs((doing) => doing.delayMs) ? [`delay=${ms(wanted.delayMs)}`] : []),
    ...(differs((doing) => doing.jitterMs) ? [`jitter=${ms(wanted.jitterMs)}`] : []),
    ...(differs((doing) => doing.loss) ? [`loss=${percent(wanted.loss)}%`] : []),
    ...(differs((doing) => doing.rateBps) ? [`rate=${rate(wanted.rateBps)}`] : []),
    ...reads(({ burst = "none" }) => `burst=${burst}`),
    ...reads(({ reorder = false }) => `reorder=${reorder}`),
    ...reads(({ queue = QUEUE_USUAL }) => `queue=${queue}`),
  ];
  return parts.length === 0 ? undefined : `link ${ends(link, way)} ${parts.join(" ")}`;
}

/** What was done, as steps of a lab file. */
export function script(entries: readonly Entry[]): string {
  let before: number | undefined;
  const steps = entries.flatMap((entry) => {
    if (entry.kind !== "did" || entry.line === undefined) return [];
    const after = before === undefined ? "" : `after = "${(entry.atS - before).toFixed(1)}s"\n`;
    before = entry.atS;
    return [`[[step]]\n${after}do = ${JSON.stringify(entry.line)}\n`];
  });
  return steps.join("\n");
}

/** For the map: what packets meet, and what is lost; both directions where they differ. */
export function linkLabel(link: LabLink): string {
  const one = (direction: Direction): string => {
    const { doing, rttMs } = direction;
    if (!doing) return rttMs === undefined ? "" : `${round(rttMs)} ms RTT`;
    const parts = [`${round(doing.delayMs)} ms`];
    if (doing.jitterMs > 0) parts[0] += ` ±${round(doing.jitterMs)}`;
    if (doing.loss > 0) parts.push(`${percent(doing.loss)} %`);
    if (doing.rateBps !== undefined) parts.push(bits(doing.rateBps));
    // There is room for a word of each; the panel has the figures.
    return [...parts, ...besides(doing).map((words) => words.replace(/ .*/, ""))].join(" · ");
  };
  const [there, back] = [one(link.there), one(link.back)];
  return there === back || !link.planned ? there : `${there} ⇄ ${back}`;
}

/** For people: what a link does that no slider shows. */
export function besides({ burst, reorder, queue = QUEUE_USUAL }: Doing): string[] {
  return [
    ...(burst === undefined ? [] : [`bursts ${burst}`]),
    ...(reorder ? ["reorders"] : []),
    ...(queue === QUEUE_USUAL ? [] : [`queue ${queue}`]),
  ];
}

/** How much worse a direction is than the file has it: 0 no worse, 1 hardly usable. */
export function severity(direction: Direction, usual: Doing | undefined): number {
  const { doing } = direction;
  if (!doing || !usual) return 0;
  const late = Math.max(0, doing.delayMs + doing.jitterMs - usual.delayMs - usual.jitterMs) / 150;
  const lossy = Math.max(0, lost(doing) - lost(usual)) / 0.08;
  const narrow =
    doing.rateBps !== undefined && doing.rateBps < (usual.rateBps ?? Number.POSITIVE_INFINITY)
      ? Math.min(1, 2e6 / doing.rateBps)
      : 0;
  return Math.min(1, Math.max(late, lossy, narrow));
}

/** Share of packets that are lost in all, also in bursts: these last for enter / (enter + leave) of the time. */
function lost({ loss, burst = "" }: Doing): number {
  const [enter = 0, leave = 0, inBurst = 0] = burst.split(",").map((share) => Number.parseFloat(share) / 100);
  return loss + (enter + leave > 0 ? (enter / (enter + leave)) * inBurst : 0);
}

function ms(value: number): string {
  return `${round(value)}ms`;
}

export function percent(share: number): string {
  return round(share * 100);
}

export function rate(bps: number | undefined): string {
  if (bps === undefined) return "none";
  return bps >= 1e6 ? `${round(bps / 1e6)}Mbit/s` : `${round(bps / 1e3)}kbit/s`;
}

export function bits(bps: number): string {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1e3)} kbit/s`;
}

/** Three decimals at most, and no more than there are. */
function round(value: number): string {
  return String(Number(value.toFixed(3)));
}

/** Seconds since the lab began, for people. */
export function clock(seconds: number): string {
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
  return `${minutes}:${rest.toFixed(1).padStart(4, "0")}`;
}
