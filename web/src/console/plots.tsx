/** Bitrate, latency and loss over the last minutes. */

import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { bitrate, clock, millis, percent } from "../format";
import { type History, type Line, line, times } from "./history";
import { CardSection } from "./parts";
import { figures, neighbours, shown } from "./store";

/** Colours of lines; more cannot be told apart. */
const TONES = 6;
const HEIGHT = 150;
const SPANS = [
  { word: "2 min", samples: 120 },
  { word: "10 min", samples: 600 },
] as const;

/** A third of the page, and nobody waits for it: it comes when there is something to draw. */
const SCRIPT = "./plots.js";
const drawing = signal<typeof uPlot | undefined>(undefined);
let coming: Promise<void> | undefined;

function fetchDrawing(): void {
  coming ??= (import(SCRIPT) as Promise<{ default: typeof uPlot }>).then(
    ({ default: Plot }) => {
      drawing.value = Plot;
    },
    () => {
      coming = undefined; // the next figures ask again
    },
  );
}

const span = signal<(typeof SPANS)[number]>(SPANS[0]);

export function Plots() {
  const known = figures.value;
  useEffect(() => {
    if (known) fetchDrawing();
  }, [known]);
  const spans = (
    <div class="choice" role="group" aria-label="Time that is shown">
      {SPANS.map((one) => (
        <button
          key={one.word}
          type="button"
          aria-pressed={one === span.value}
          onClick={() => {
            span.value = one;
          }}
        >
          {one.word}
        </button>
      ))}
    </div>
  );
  return (
    <CardSection name="plots-card" title="Over time" aside={spans}>
      {known ? (
        <div class="plots">
          <Plot title="Bitrate" at={known} lines={bitrates(known)} words={bitrate} least={100_000} />
          <Plot title="Latency" at={known} lines={latencies(known)} words={millis} least={5} />
          <Plot title="Loss" at={known} lines={losses(known)} words={percent} least={0.01} />
        </div>
      ) : (
        <p class="quiet">No figures yet.</p>
      )}
    </CardSection>
  );
}

function bitrates(known: History): Line[] {
  return some(known, [...ofStream("bitrate", ""), ["in", "all received", 1], ["out", "all sent", 2]]);
}

function latencies(known: History): Line[] {
  return [...some(known, ofStream("latency", " from its origin")), ...perNeighbour(known, "rtt", "RTT ", 1e-3)];
}

function losses(known: History): Line[] {
  return perNeighbour(known, "loss", "", 1);
}

type Wanted = readonly [column: string, label: string, tone: number];

function ofStream(what: string, words: string): Wanted[] {
  const name = shown.value?.name;
  return name === undefined ? [] : [[`stream ${name} ${what}`, `${name}${words}`, 0]];
}

/** A neighbour has the same colour in each plot; the first one is the stream's. */
function perNeighbour(known: History, what: string, words: string, by: number): Line[] {
  // Those that are in use come first: there may be more than can be told apart.
  const used = [...neighbours.value].sort((a, b) => Number(b.inUse) - Number(a.inUse)).slice(0, TONES - 1);
  used.sort((a, b) => a.name.localeCompare(b.name));
  const wanted = used.map(({ name }, n): Wanted => [`neighbour ${name} ${what}`, `${words}${name}`, n + 1]);
  return some(known, wanted, by);
}

function some(known: History, wanted: readonly Wanted[], by = 1): Line[] {
  return wanted.flatMap(([column, label, tone]) => line(known, column, { label, tone }, span.value.samples, by) ?? []);
}

interface PlotProps {
  readonly title: string;
  readonly at: History;
  readonly lines: readonly Line[];
  words(value: number): string;
  /** The axis is never shorter: noise is not to look like mountains. */
  readonly least: number;
}

function Plot({ title, at, lines, words, least }: PlotProps) {
  const frame = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const [under, setUnder] = useState<number | null>(null);
  const theme = useTheme();
  const Drawing = drawing.value;
  const labels = lines.map(({ label, tone }) => `${tone} ${label}`).join("\n");
  const data = [times(at, span.value.samples), ...lines.map(({ values }) => [...values])] as uPlot.AlignedData;
  useEffect(() => {
    const element = frame.current;
    if (!element || !Drawing) return undefined;
    const made = new Drawing(options(element, lines, words, least, setUnder), data, element);
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [labels, theme, Drawing]);
  useEffect(() => plot.current?.setData(data), [at, span.value]);
  const shownAt = under ?? data[0].length - 1;
  return (
    <figure class="plot">
      <figcaption>
        <h3>{title}</h3>
        <ul>
          {lines.map(({ label, tone, values }) => (
            <li key={label} data-line={tone}>
              {label} <b>{told(values[shownAt] ?? null, words)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={frame} aria-hidden="true" />
    </figure>
  );
}

const told = (value: number | null, words: (value: number) => string): string => (value === null ? "–" : words(value));

function options(
  element: HTMLElement,
  lines: readonly Line[],
  words: (value: number) => string,
  least: number,
  onCursor: (index: number | null) => void,
): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--soft"),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 24, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, __, most) => [0, Math.max(least, (most ?? 0) * 1.1)] } },
    axes: [
      { ...axis, space: 70, size: 26, values: (_, splits) => splits.map((at) => clock(at * 1000)) },
      { ...axis, space: 32, size: 62, values: (_, splits) => splits.map((value) => (value === 0 ? "0" : words(value))) },
    ],
    series: [
      {},
      ...lines.map(({ label, tone }) => ({
        label,
        stroke: colour(`--line-${tone}`),
        width: tone === 0 ? 2 : 1.5,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [({ cursor }) => onCursor(cursor.idx ?? null)] },
  };
}

/** Changes with the colours of the page, which a canvas does not see. */
function useTheme(): boolean {
  const [query] = useState(() => matchMedia("(prefers-color-scheme: dark)"));
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const changed = (): void => setDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, [query]);
  return dark;
}
