/** What is known of the node or link that is chosen, and what can be done to it. */

import { useState } from "preact/hooks";
import type { Direction, Doing, LabLink, LabNode } from "./api";
import { besides, bits, ends, linkLine, percent, rate, type Way } from "./notation";
import { linkOf, mapNodes, perform, selected, state, stream } from "./store";

export function Panel() {
  const target = selected.value;
  if (target && "node" in target) {
    const node = state.value?.nodes.find((known) => known.name === target.node);
    if (node) return <NodePanel node={node} />;
  }
  const link = linkOf(target);
  // A key of its own: what was entered for one link is nothing to another.
  if (link) return <LinkPanel key={`${link.a}-${link.b}`} link={link} />;
  return (
    <section class="card panel">
      <h2>Nothing chosen</h2>
      <p class="quiet">Click a node or a link. Kill a relay on the way of the stream, and see who takes over.</p>
    </section>
  );
}

function Close() {
  return (
    <button
      type="button"
      class="plain close"
      aria-label="Close"
      onClick={() => {
        selected.value = undefined;
      }}
    >
      ✕
    </button>
  );
}

/** A button that is a line of the script, and what comes of it. */
function Act({ line, children, tone }: { line: string; children: string; tone?: "bad" | "good" }) {
  return (
    <li>
      <button type="button" class="act" data-tone={tone} onClick={() => void perform(line)}>
        {line}
      </button>
      <span>{children}</span>
    </li>
  );
}

function NodePanel({ node }: { node: LabNode }) {
  const { name } = node;
  const role = mapNodes.value.find((one) => one.name === name)?.role;
  return (
    <section class="card panel" aria-label={`Node ${name}`}>
      <div class="heading">
        <h2 class="name">{name}</h2>
        <span class="badge" data-state={node.state}>
          {node.state}
        </span>
        <span class="quiet">{role === "pop" ? "PoP" : role}</span>
        <Close />
      </div>
      <Place node={node} />
      <ul class="acts">
        {node.state === "dead" && (
          <Act line={`start ${name}`} tone="good">
            it comes back, and is used when it is the better way
          </Act>
        )}
        {node.state === "stalled" && (
          <Act line={`resume ${name}`} tone="good">
            it goes on where it stood
          </Act>
        )}
        {node.state !== "dead" && (
          <Act line={`kill ${name}`} tone="bad">
            it dies without a word
          </Act>
        )}
        {node.state === "running" && (
          <>
            <Act line={`stall ${name}`} tone="bad">
              it stands still; sockets stay open
            </Act>
            {!node.leaf && <Act line={`drain ${name}`}>its children move, then it ends</Act>}
            {!node.leaf && <Act line={`restart ${name}`}>it dies and starts at once</Act>}
          </>
        )}
        <StreamActs node={node} />
      </ul>
      {node.page && node.state === "running" && (
        <p>
          <a href={node.page} target="_blank" rel="noreferrer">
            the page of {name} ↗
          </a>
        </p>
      )}
    </section>
  );
}

function Place({ node }: { node: LabNode }) {
  const [shown, { name }] = [stream.value, node];
  const place = shown?.nodes.find((one) => one.node === name);
  if (!shown || node.state === "dead") return null;
  const rows: [string, string][] = [];
  if (shown.origins.includes(name)) rows.push(["publishes", shown.name]);
  if (place?.parent) rows.push(["fed by", place.headers ? `${place.parent}, headers only` : place.parent]);
  if (place && !place.parent && !shown.origins.includes(name)) rows.push(["fed by", "nobody: it waits"]);
  if (place?.backup) rows.push(["stands by", place.backup]);
  if (place && place.children.length > 0) rows.push(["feeds", place.children.join(", ")]);
  if (place && place.switches > 0) rows.push(["parents so far", String(place.switches)]);
  if (rows.length === 0) return <p class="quiet">{node.answers ? `No ${shown.name} here.` : "It does not answer."}</p>;
  return (
    <dl>
      {rows.map(([word, value]) => (
        <div key={word}>
          <dt>{word}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function StreamActs({ node }: { node: LabNode }) {
  const known = state.value;
  const shown = stream.value;
  if (!known || !shown || node.state !== "running") {
    // A leaf that has ended begins anew with a viewer.
    if (!node.leaf || !shown || node.state !== "dead") return null;
    return <Act line={`watch ${node.name} ${shown.name}`}>it watches</Act>;
  }
  const watched = known.viewers.some((viewer) => viewer.node === node.name && viewer.stream === shown.name);
  const target = `${node.name} ${shown.name}`;
  return (
    <>
      {(!watched || !node.leaf) && <Act line={`watch ${target}`}>a viewer begins here</Act>}
      {watched && <Act line={`unwatch ${target}`}>viewers leave</Act>}
      {!node.leaf &&
        (shown.origins.includes(node.name) ? (
          <Act line={`withdraw ${target}`}>it publishes the stream no more</Act>
        ) : (
          <Act line={`publish ${target}`}>one more origin of the stream</Act>
        ))}
    </>
  );
}

function LinkPanel({ link }: { link: LabLink }) {
  const { a, b } = link;
  const cuts = Number(link.there.cut) + Number(link.back.cut);
  return (
    <section class="card panel" aria-label={`Link ${a}-${b}`}>
      <div class="heading">
        <h2 class="name">
          {a}-{b}
        </h2>
        <span class="badge" data-state={cuts === 2 ? "dead" : cuts === 1 ? "stalled" : "running"}>
          {cuts === 2 ? "cut" : cuts === 1 ? "cut one way" : "passes"}
        </span>
        <Close />
      </div>
      <table class="directions">
        <thead>
          <tr>
            <th scope="col">from</th>
            <th scope="col" class="figure">
              sent now
            </th>
            <th scope="col" class="figure" title="as the sending node measures it">
              round trip
            </th>
          </tr>
        </thead>
        <tbody>
          <DirectionRow from={a} to={b} direction={link.there} />
          <DirectionRow from={b} to={a} direction={link.back} />
        </tbody>
      </table>
      {link.planned ? (
        <>
          <ul class="acts">
            {cuts < 2 && (
              <Act line={`cut ${a}-${b}`} tone="bad">
                nothing passes
              </Act>
            )}
            {!link.there.cut && (
              <Act line={`cut ${a}>${b}`} tone="bad">
                nothing passes this way
              </Act>
            )}
            {!link.back.cut && (
              <Act line={`cut ${b}>${a}`} tone="bad">
                nothing passes that way
              </Act>
            )}
            {cuts > 0 && (
              <Act line={`heal ${a}-${b}`} tone="good">
                it passes again
              </Act>
            )}
          </ul>
          <Impairments link={link} />
        </>
      ) : (
        <p class="quiet">
          The nodes made this link themselves. Its packets go over the links of the file; impair one of those.
        </p>
      )}
    </section>
  );
}

function DirectionRow({ from, to, direction }: { from: string; to: string; direction: Direction }) {
  const { sentBps, rttMs } = direction;
  return (
    <tr>
      <th scope="row">
        {from} → {to}
      </th>
      <td class="figure">{sentBps === undefined ? "" : bits(sentBps)}</td>
      <td class="figure">{rttMs === undefined ? "" : `${rttMs} ms`}</td>
    </tr>
  );
}

/** Rates that can be chosen, in bits a second; a stream of the test card takes about 0.5 Mbit/s. */
const RATES = [20e6, 10e6, 5e6, 2e6, 1e6, 600e3, 300e3] as const;

function Impairments({ link }: { link: LabLink }) {
  const [way, setWay] = useState<Way>("both");
  const [touched, setTouched] = useState<Partial<Doing>>({});
  const now = (way === "back" ? link.back : link.there).doing;
  if (!now) return null;
  const wanted: Doing = { ...now, ...touched };
  const line = linkLine(link, way, wanted);
  const usual = link.usual && linkLine(link, "both", link.usual);
  const set = (change: Partial<Doing>): void => setTouched((before) => ({ ...before, ...change }));
  const perhaps = (doing: string): void => {
    void perform(doing).then((done) => {
      if (done) setTouched({});
    });
  };
  const rates = [...new Set([...RATES, ...(wanted.rateBps === undefined ? [] : [wanted.rateBps])])].sort((x, y) => y - x);
  return (
    <form
      class="impairments"
      onSubmit={(event) => {
        event.preventDefault();
        if (line) perhaps(line);
      }}
    >
      <div class="ways" role="radiogroup" aria-label="Direction">
        {(["both", "there", "back"] as const).map((one) => (
          <label key={one}>
            <input type="radio" name="way" checked={way === one} onChange={() => setWay(one)} />
            <span>{one === "both" ? "both ways" : ends(link, one)}</span>
          </label>
        ))}
      </div>
      <Slider label="delay" unit="ms" max={300} step={5} value={wanted.delayMs} onValue={(delayMs) => set({ delayMs })} />
      <Slider label="jitter" unit="ms" max={100} step={1} value={wanted.jitterMs} onValue={(jitterMs) => set({ jitterMs })} />
      <Slider
        label="loss"
        unit="%"
        max={30}
        step={0.5}
        value={Number(percent(wanted.loss))}
        onValue={(loss) => set({ loss: Number((loss / 100).toFixed(6)) })}
      />
      <label class="slider">
        <span>rate</span>
        <select
          value={wanted.rateBps === undefined ? "none" : String(wanted.rateBps)}
          onChange={(event) => {
            const { value } = event.currentTarget;
            set({ rateBps: value === "none" ? undefined : Number(value) });
          }}
        >
          <option value="none">no limit</option>
          {rates.map((one) => (
            <option key={one} value={String(one)}>
              {rate(one)}
            </option>
          ))}
        </select>
      </label>
      <Besides link={link} />
      <p class="this-is" aria-live="polite">
        {line ? (
          <>
            this is: <code>{line}</code>
          </>
        ) : (
          <span class="quiet">this is what the link does now</span>
        )}
      </p>
      <div class="entry">
        <button type="submit" class="primary" disabled={!line}>
          Apply
        </button>
        {usual && (
          <button type="button" class="secondary" onClick={() => perhaps(usual)} title={usual}>
            As in the file
          </button>
        )}
      </div>
    </form>
  );
}

/** What no slider shows, of each direction where they differ. */
function Besides({ link }: { link: LabLink }) {
  const [there, back] = [link.there, link.back].map(({ doing }) => (doing ? besides(doing).join(" · ") : ""));
  const named = (way: Way, words = ""): string => words && `${ends(link, way)}: ${words}`;
  const lines = there === back ? [there] : [named("there", there), named("back", back)];
  return lines.map((line) => line && <p key={line} class="quiet">{line}</p>);
}

function Slider(props: {
  label: string;
  unit: string;
  max: number;
  step: number;
  value: number;
  onValue(value: number): void;
}) {
  const { label, unit, max, step, value, onValue } = props;
  const read = (event: { currentTarget: HTMLInputElement }): void => {
    const entered = event.currentTarget.valueAsNumber;
    if (Number.isFinite(entered) && entered >= 0) onValue(entered);
  };
  return (
    <div class="slider">
      <label for={`${label}-number`}>{label}</label>
      <input
        type="range"
        aria-label={label}
        min={0}
        max={Math.max(max, value)}
        step={step}
        value={value}
        onInput={read}
      />
      <span class="number">
        <input id={`${label}-number`} type="number" min={0} step="any" value={value} onInput={read} />
        {unit}
      </span>
    </div>
  );
}
