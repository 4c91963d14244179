/** The map: nodes, links and one tree, drawn as SVG in the pixels of its frame, so that names keep their size. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Curve, curve, fit, type Lens, labelPlaces, type Size, UNMOVED, wheelFactor, zoomed } from "./geometry";
import { layout, type Places } from "./layout";
import {
  type Condition,
  isSame,
  type MapDirection,
  type MapFlow,
  type MapLink,
  type MapNode,
  type Point,
  type Role,
  type Target,
} from "./model";

export interface MapProps {
  readonly nodes: readonly MapNode[];
  readonly links: readonly MapLink[];
  readonly flows: readonly MapFlow[];
  readonly selected: Target | undefined;
  onSelect(target: Target | undefined): void;
}

/** Of a node, in pixels. */
const RADIUS = 14;
/** Room for a name below its node. */
const NAME_ROOM = 14;
/** Room for a node and its name at the edge. */
const MARGIN: Point = { x: 46, y: 42 };
/** The same where there is room beside the tools. */
const MARGIN_WIDE: Point = { x: 66, y: 42 };
const WIDE = 480;
/** A node with less room than this, in pixels, is drawn smaller ... */
const ROOM = 64;
const SCALE_MIN = 0.3;
/** ... and below this without its name, unless that matters. */
const NAMED_SCALE = 0.65;
/** Links that are shorter show no label, unless they are chosen, or bad and there is room. */
const LABEL_LINK_MIN = 92;
/** Links that nodes made themselves are bent, so that they do not run over others. */
const BEND = 0.22;
/** Where on a stroke its arrow is; the middle is the label's. */
const TIP = 0.74;
/** A tree's stroke lies beside its link. */
const ASIDE = 4.5;
/** A pointer that moves less has not dragged. */
const DRAG_MIN = 5;

export function MeshMap({ nodes, links, flows, selected, onSelect }: MapProps) {
  const frame = useRef<HTMLDivElement>(null);
  const size = useSize(frame);
  const [lens, setLens] = useState(UNMOVED);
  const dragged = usePanAndZoom(frame, size, setLens);
  const places = usePlaces(nodes, links);
  const at = fit(places, size, size.width < WIDE ? MARGIN : MARGIN_WIDE, lens);
  const scale = scaleOf(nodes.length, size, lens);
  const byEnds = new Map(links.map((link) => [`${link.a} ${link.b}`, link]));
  const between = (from: string, to: string, aside: number, short: number): Curve | undefined => {
    const [p, q] = [at.get(from), at.get(to)];
    if (!p || !q) return undefined;
    const link = byEnds.get(`${from} ${to}`) ?? byEnds.get(`${to} ${from}`);
    const bend = link && !link.planned ? (link.a === from ? BEND : -BEND) : link ? 0 : BEND;
    return curve(p, q, bend, aside, short);
  };
  const wishes = links.flatMap((link) => {
    const line = between(link.a, link.b, 0, RADIUS * scale);
    if (!line || link.label === "") return [];
    const chosen = isSame(selected, { link: [link.a, link.b] });
    const bad = Math.max(link.there.severity, link.back.severity) > 0;
    const [key, width] = [`${link.a} ${link.b}`, labelWidth(link)];
    const short = line.length < Math.max(LABEL_LINK_MIN, width);
    const urgency = chosen ? 2 : bad ? (short ? 0.5 : 1) : 0;
    return urgency > 0 || !short ? [{ key, line, width, urgency }] : [];
  });
  // A node with its name below takes more than its glyph.
  const bodies = [...at.values()].map(({ x, y }) => ({ x, y: y + NAME_ROOM / 2 }));
  const labels = labelPlaces(wishes, bodies, RADIUS + NAME_ROOM / 2);
  const choose = (target: Target): void => {
    if (!dragged()) onSelect(target);
  };
  return (
    <div class="map" ref={frame} data-moved={lens !== UNMOVED}>
      <svg width={size.width} height={size.height} role="group" aria-label="Map of nodes and links">
        {/* The ground deselects; keyboards have Escape for it. */}
        <rect
          class="map-ground"
          width={size.width}
          height={size.height}
          onClick={() => {
            if (!dragged()) onSelect(undefined);
          }}
        />
        {links.map((link) => {
          const line = between(link.a, link.b, 0, RADIUS * scale);
          const target: Target = { link: [link.a, link.b] };
          return (
            line && (
              <LinkShape
                key={`${link.a} ${link.b}`}
                link={link}
                line={line}
                scale={scale}
                selected={isSame(selected, target)}
                onChoose={() => choose(target)}
              />
            )
          );
        })}
        <g class="map-flows" aria-hidden="true">
          {flows.map((flow) => {
            const line = between(flow.from, flow.to, flow.backup ? 2 * ASIDE : ASIDE, RADIUS * scale + (flow.backup ? 2 : 4));
            return line && <FlowShape key={`${flow.from} ${flow.to} ${flow.backup}`} flow={flow} line={line} />;
          })}
        </g>
        {links.map((link) => {
          const place = labels.get(`${link.a} ${link.b}`);
          return place && <Label key={`${link.a} ${link.b}`} link={link} at={place} />;
        })}
        {nodes.map((node) => {
          const point = at.get(node.name);
          const target: Target = { node: node.name };
          return (
            point && (
              <NodeShape
                key={node.name}
                node={node}
                at={point}
                scale={scale}
                fedBy={flows.find((flow) => flow.to === node.name && !flow.backup)?.from}
                selected={isSame(selected, target)}
                onChoose={() => choose(target)}
              />
            )
          );
        })}
      </svg>
      <div class="map-tools">
        <button
          type="button"
          aria-label="Zoom in"
          title="Zoom in (Ctrl and the wheel)"
          onClick={() => setLens((l) => zoomed(l, 1.3, middle(size), size))}
        >
          +
        </button>
        <button
          type="button"
          aria-label="Zoom out"
          title="Zoom out (Ctrl and the wheel)"
          onClick={() => setLens((l) => zoomed(l, 1 / 1.3, middle(size), size))}
        >
          −
        </button>
        <button type="button" aria-label="Show all" disabled={lens === UNMOVED} onClick={() => setLens(UNMOVED)}>
          ⤢
        </button>
      </div>
    </div>
  );
}

const SIGNS = {
  origin: () => <GlyphSign role="origin" />,
  relay: () => <GlyphSign role="relay" />,
  PoP: () => <GlyphSign role="pop" />,
  leaf: () => <GlyphSign role="leaf" />,
  stalled: () => <GlyphSign role="relay" condition="stalled" />,
  dead: () => <GlyphSign role="relay" condition="dead" />,
  "not reached": () => <GlyphSign role="relay" condition="dead" />,
  feeds: () => <StrokeSign name="map-flow" />,
  "stands by": () => <StrokeSign name="map-backup" />,
  "made for repair": () => <StrokeSign name="map-line map-made" />,
  impaired: () => <StrokeSign name="map-line map-bad" />,
  "loses packets": () => <StrokeSign name="map-line map-bad" />,
  cut: () => <StrokeSign name="map-line map-cut" />,
  down: () => <StrokeSign name="map-line map-cut" />,
};

export type Sign = keyof typeof SIGNS;

/** What the signs of a map mean. */
export function Legend({ signs }: { signs: readonly Sign[] }) {
  return (
    <ul class="map-legend">
      {signs.map((sign) => (
        <li key={sign}>
          {SIGNS[sign]()}
          {sign}
        </li>
      ))}
    </ul>
  );
}

function GlyphSign({ role, condition = "running" }: { role: Role; condition?: Condition }) {
  return (
    <svg width="30" height="26" viewBox="-15 -13 30 26" aria-hidden="true">
      <g transform="scale(0.72)" class="map-node" data-condition={condition}>
        <Glyph role={role} condition={condition} />
      </g>
    </svg>
  );
}

function StrokeSign({ name }: { name: string }) {
  return (
    <svg width="30" height="12" viewBox="0 0 30 12" aria-hidden="true">
      {name === "map-flow" && <path class="map-bed" d="M2 6H28" />}
      <path class={name} d="M2 6H28" />
    </svg>
  );
}

function LinkShape(props: { link: MapLink; line: Curve; scale: number; selected: boolean; onChoose(): void }) {
  const { link, line, scale, selected, onChoose } = props;
  const severity = Math.max(link.there.severity, link.back.severity);
  const cut = link.there.cut && link.back.cut;
  const oneWay = link.there.cut !== link.back.cut;
  const kind = cut ? " map-cut" : oneWay ? " map-cut-one-way" : severity > 0 ? " map-bad" : "";
  return (
    <g
      class="map-link"
      data-link={`${link.a}-${link.b}`}
      data-cut={cut ? "both" : link.there.cut ? "there" : link.back.cut ? "back" : "none"}
      data-selected={selected}
      {...button(onChoose)}
      aria-label={describeLink(link)}
      aria-pressed={selected}
    >
      <title>{describeLink(link)}</title>
      <path class="map-hit" d={line.d} />
      <path class="map-halo" d={line.d} />
      <path
        class={`map-line${kind}${link.planned ? "" : " map-made"}`}
        d={line.d}
        stroke-width={(cut ? 2 : 2.5 + 2.5 * Math.min(1, severity)) * scale}
        data-grade={severity > 0.5 ? "worse" : "bad"}
      />
      {link.there.cut && <CutMark line={line} forward={true} both={cut} />}
      {link.back.cut && <CutMark line={line} forward={false} both={cut} />}
    </g>
  );
}

/** A cross on the half of the link that leads into the cut; with an arrow where the other direction passes. */
function CutMark({ line, forward, both }: { line: Curve; forward: boolean; both: boolean }) {
  const share = forward ? 0.3 : 0.7;
  const { x, y } = line.at(share);
  const turn = line.angle(share) + (forward ? 0 : 180);
  return (
    <g class="map-cut-mark" transform={`translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${turn.toFixed(0)})`}>
      <circle r="9.5" />
      {both ? <path d="M-3.5 -3.500L3.5 3.500M-3.5 3.500L3.5 -3.5" /> : <path d="M-5 0H2M-1 -3.500L2.5 0L-1 3.500M5 -4V4" />}
    </g>
  );
}

function FlowShape({ flow, line }: { flow: MapFlow; line: Curve }) {
  if (flow.backup) return <path class="map-backup" data-flow={`${flow.from}>${flow.to}`} data-kind="backup" d={line.d} />;
  const tip = line.at(TIP);
  return (
    <g data-flow={`${flow.from}>${flow.to}`} data-kind="feed">
      <path class="map-bed" d={line.d} />
      <path class="map-flow" d={line.d} />
      <path
        class="map-tip"
        d="M-6 -5.500L6 0L-6 5.500z"
        transform={`translate(${tip.x.toFixed(1)} ${tip.y.toFixed(1)}) rotate(${line.angle(TIP).toFixed(1)})`}
      />
    </g>
  );
}

/** The face is about 6 pixels wide; the browser cannot be asked before it has drawn. */
const labelWidth = (link: MapLink): number => link.label.length * 6 + 12;

function Label({ link, at }: { link: MapLink; at: Point }) {
  const width = labelWidth(link);
  const bad = link.there.severity > 0 || link.back.severity > 0 || link.there.cut || link.back.cut;
  return (
    <g class="map-label" data-bad={bad} transform={`translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`} aria-hidden="true">
      <rect x={-width / 2} y="-9" width={width} height="18" rx="9" />
      <text dy="3.5">{link.label}</text>
    </g>
  );
}

function NodeShape(props: {
  node: MapNode;
  at: Point;
  scale: number;
  fedBy: string | undefined;
  selected: boolean;
  onChoose(): void;
}) {
  const { node, at, scale, fedBy, selected, onChoose } = props;
  const named = scale >= NAMED_SCALE || selected || node.here || node.role === "origin" || node.condition !== "running";
  const words = describeNode(node, fedBy);
  return (
    <g
      class="map-node"
      data-node={node.name}
      data-condition={node.condition}
      data-carries={node.carries}
      data-waiting={node.waiting}
      data-here={node.here === true}
      data-selected={selected}
      transform={`translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`}
      {...button(onChoose)}
      aria-label={words}
      aria-pressed={selected}
    >
      <title>{words}</title>
      <g transform={`scale(${scale.toFixed(2)})`}>
        <circle class="map-hit" r={RADIUS + 8} />
        <circle class="map-ring" r={RADIUS + 6} />
        <Glyph role={node.role} condition={node.condition} />
      </g>
      {scale >= NAMED_SCALE && node.viewers > 0 && (
        <g class="map-viewers" transform={`translate(${RADIUS} ${-RADIUS + 1})`}>
          <rect x={-7.5} y={-7.5} width={9 + 6 * String(node.viewers).length} height={15} rx={7.5} />
          <text x={-3 + 3 * String(node.viewers).length} dy="3.5">
            {node.viewers}
          </text>
        </g>
      )}
      {named && (
        <text class="map-name" y={RADIUS * scale + 17}>
          {node.name}
        </text>
      )}
    </g>
  );
}

function Glyph({ role, condition }: { role: Role; condition: Condition }) {
  return (
    <>
      {role === "origin" && <rect class="map-body" x="-13" y="-13" width="26" height="26" rx="6" />}
      {role === "relay" && <circle class="map-body" r="12" />}
      {role === "pop" && (
        <>
          <circle class="map-body" r="13.5" />
          <circle class="map-inner" r="8.5" />
        </>
      )}
      {role === "leaf" && (
        <>
          <rect class="map-body" x="-14" y="-11" width="28" height="19" rx="3.5" />
          <path class="map-mark" d="M-6 12.500H6" />
        </>
      )}
      {condition === "stalled" && <path class="map-mark map-strong" d="M-3.5 -5V5M3.5 -5V5" />}
      {condition === "dead" && <path class="map-mark map-strong" d="M-5 -5L5 5M-5 5L5 -5" />}
      {condition === "running" && role === "origin" && <path class="map-sign" d="M-4 -6.500L7 0L-4 6.500z" />}
    </>
  );
}

export function describeNode(node: MapNode, fedBy: string | undefined): string {
  const role = node.role === "pop" ? "PoP" : node.role;
  const parts = [node.name, role, node.condition];
  if (node.here) parts.push("this node");
  if (node.condition === "running") {
    if (fedBy) parts.push(`fed by ${fedBy}`);
    if (node.waiting) parts.push("waiting for the stream");
  }
  if (node.viewers > 0) parts.push(node.viewers === 1 ? "1 viewer" : `${node.viewers} viewers`);
  return parts.join(", ");
}

export function describeLink(link: MapLink): string {
  const parts = [`link ${link.a}-${link.b}`];
  if (!link.planned) parts.push("made for repair");
  if (link.label) parts.push(link.label);
  const cut = (direction: MapDirection, from: string, to: string): string[] =>
    direction.cut ? [`cut from ${from} to ${to}`] : [];
  if (link.there.cut && link.back.cut) parts.push("cut");
  else parts.push(...cut(link.there, link.a, link.b), ...cut(link.back, link.b, link.a));
  return parts.join(", ");
}

/** What a shape needs to be a button for pointers and keyboards. */
function button(onChoose: () => void) {
  return {
    // SVG knows it in lower case only.
    tabindex: 0,
    role: "button" as const,
    onClick: onChoose,
    onKeyDown: (event: KeyboardEvent) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      onChoose();
    },
  };
}

/** Nodes are drawn smaller where many share the room, and grow as one zooms in. */
function scaleOf(nodes: number, size: Size, lens: Lens): number {
  const room = Math.sqrt((size.width * size.height) / Math.max(1, nodes)) * lens.zoom;
  return Math.min(1, Math.max(SCALE_MIN, room / ROOM));
}

const middle = (size: Size): Point => ({ x: size.width / 2, y: size.height / 2 });

function useSize(frame: { current: HTMLDivElement | null }): Size {
  const [size, setSize] = useState<Size>({ width: 640, height: 420 });
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => {
      const { clientWidth: width, clientHeight: height } = element;
      if (width > 0 && height > 0) setSize({ width, height });
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [frame]);
  return size;
}

/** Places are sought anew only when nodes or planned links come or go. */
function usePlaces(nodes: readonly MapNode[], links: readonly MapLink[]): Places {
  const last = useRef<Places>(new Map());
  const planned = links.filter((link) => link.planned);
  const shape = JSON.stringify([nodes.map((node) => [node.name, node.at]), planned.map((link) => [link.a, link.b])]);
  return useMemo(() => {
    last.current = layout(
      nodes,
      planned.map((link) => [link.a, link.b] as const),
      last.current,
    );
    return last.current;
  }, [shape]);
}

/** Drags, pinches and a wheel with Ctrl move the lens. The answer tells whether the pointer that was just lifted had dragged. */
function usePanAndZoom(
  frame: { current: HTMLDivElement | null },
  size: Size,
  setLens: (change: (lens: Lens) => Lens) => void,
): () => boolean {
  const moved = useRef(false);
  const latest = useRef(size);
  latest.current = size;
  useEffect(() => {
    const element = frame.current;
    if (!element) return undefined;
    const pointers = new Map<number, Point>();
    const inFrame = (event: MouseEvent): Point => {
      const box = element.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    let start: Point | undefined;
    const down = (event: PointerEvent): void => {
      if (pointers.size === 0) moved.current = false;
      pointers.set(event.pointerId, inFrame(event));
      start = inFrame(event);
    };
    const move = (event: PointerEvent): void => {
      const before = pointers.get(event.pointerId);
      if (!before || !start) return;
      const now = inFrame(event);
      if (!moved.current && Math.hypot(now.x - start.x, now.y - start.y) < DRAG_MIN) return;
      if (!moved.current) {
        moved.current = true;
        // Until now a click of what lies below was still possible.
        element.setPointerCapture(event.pointerId);
      }
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, now);
      if (!other) {
        setLens((lens) => ({ ...lens, x: lens.x + now.x - before.x, y: lens.y + now.y - before.y }));
        return;
      }
      const spread = (point: Point): number => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
      const centre = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
      setLens((lens) => zoomed(lens, spread(now) / spread(before), centre, latest.current));
    };
    const up = (event: PointerEvent): void => {
      pointers.delete(event.pointerId);
    };
    // Keys choose whatever a pointer did before.
    const key = (): void => {
      moved.current = false;
    };
    const wheel = (event: WheelEvent): void => {
      const factor = wheelFactor(event);
      if (factor === undefined) return;
      event.preventDefault();
      setLens((lens) => zoomed(lens, factor, inFrame(event), latest.current));
    };
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    element.addEventListener("keydown", key, true);
    element.addEventListener("wheel", wheel, { passive: false });
    return () => {
      element.removeEventListener("pointerdown", down);
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", up);
      element.removeEventListener("pointercancel", up);
      element.removeEventListener("keydown", key, true);
      element.removeEventListener("wheel", wheel);
    };
  }, [frame, setLens]);
  return () => moved.current;
}
