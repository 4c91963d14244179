/** The console of a lab: the map, what can be done to what is chosen on it, who watches, and what happened. */

import { render } from "preact";
import { useState } from "preact/hooks";
import { plural } from "../format";
import { Legend, MeshMap, type Sign } from "../map/map";
import { copyText } from "../ui/dom";
import type { Entry, LabViewer } from "./api";
import { clock, script } from "./notation";
import { Panel } from "./panel";
import {
  chooseStream,
  connection,
  entries,
  mapFlows,
  mapLinks,
  mapNodes,
  pending,
  perform,
  problem,
  selected,
  start,
  state,
  stream,
} from "./store";

const SIGNS: readonly Sign[] = [
  "origin",
  "relay",
  "PoP",
  "leaf",
  "stalled",
  "dead",
  "feeds",
  "stands by",
  "made for repair",
  "impaired",
  "cut",
];

function Lab() {
  const known = state.value;
  return (
    <>
      <header class="top">
        <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M5 12c4-4 7-4 11 0s7 4 11 0M5 20c4-4 7-4 11 0s7 4 11 0" />
        </svg>
        <div class="title">
          <h1>Lab</h1>
          <p title={known?.about}>{known?.about}</p>
        </div>
        <Streams />
      </header>
      <Connection />
      <main>
        <section class="card stage" aria-label="The mesh">
          <MeshMap
            nodes={mapNodes.value}
            links={mapLinks.value}
            flows={mapFlows.value}
            selected={selected.value}
            onSelect={(target) => {
              selected.value = target;
            }}
          />
          <Legend signs={SIGNS} />
        </section>
        <aside>
          <Panel />
          <CommandLine />
        </aside>
        <Viewers viewers={known?.viewers ?? []} />
        <Log />
      </main>
      <footer>{known && `${plural(known.nodes.length, "node")} in ${known.mode}`}</footer>
    </>
  );
}

function Streams() {
  const streams = state.value?.streams ?? [];
  if (streams.length === 0) return null;
  return (
    <div class="streams" role="group" aria-label="Stream whose tree is shown">
      {streams.map((one) => (
        <button
          key={one.name}
          type="button"
          class="chip"
          aria-pressed={one.name === stream.value?.name}
          onClick={() => chooseStream(one.name)}
        >
          {one.name}
        </button>
      ))}
    </div>
  );
}

function Connection() {
  const now = connection.value;
  if (now === "open") return null;
  const words =
    now === "connecting"
      ? "Connecting with the lab …"
      : `The connection with the lab is lost; what is shown may be old. Trying again in ${Math.ceil(now.retryMs / 1000)} s.`;
  return (
    <p class="banner" role="status">
      {words}
    </p>
  );
}

/** A line of the script's notation, for those who prefer to type. */
function CommandLine() {
  const [line, setLine] = useState("");
  const doing = pending.value[0] ?? state.value?.doing;
  return (
    <form
      class="card command"
      onSubmit={(event) => {
        event.preventDefault();
        if (line.trim() === "") return;
        void perform(line).then((done) => {
          if (done) setLine("");
        });
      }}
    >
      <label for="line">A line of a script</label>
      <div class="entry">
        <input
          id="line"
          value={line}
          onInput={(event) => setLine(event.currentTarget.value)}
          placeholder="link n1-n2 delay=80ms loss=5%"
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
        />
        <button type="submit" class="primary">
          Do
        </button>
      </div>
      {problem.value ? (
        <p class="problem" role="alert">
          {problem.value}
        </p>
      ) : (
        <p class="quiet" aria-live="polite">
          {doing ? (
            <>
              being done: <code>{doing}</code>
            </>
          ) : (
            "Every button is such a line; the lines can go into a lab file."
          )}
        </p>
      )}
    </form>
  );
}

const FLOWS = { flowing: "flowing", late: "stuttering", waiting: "waiting" } as const;

function Viewers({ viewers }: { viewers: readonly LabViewer[] }) {
  return (
    <section class="card viewers">
      <h2>Viewers</h2>
      {viewers.length === 0 ? (
        <p class="quiet">Nobody watches. Choose a node, and let somebody watch there.</p>
      ) : (
        <table>
          <thead>
            <tr>
              <th scope="col">at</th>
              <th scope="col">pictures</th>
              <th scope="col" class="figure" title="the longest pause between two pictures">
                gap
              </th>
              <th scope="col" class="figure" title="frames that never came">
                lost
              </th>
              <th scope="col" class="figure" title="frames that came twice">
                doubled
              </th>
            </tr>
          </thead>
          <tbody>
            {viewers.map((viewer, n) => (
              <tr key={`${viewer.node} ${viewer.stream} ${n}`} data-state={viewer.state}>
                <th scope="row">
                  <button
                    type="button"
                    class="plain"
                    onClick={() => {
                      selected.value = { node: viewer.node };
                    }}
                  >
                    {viewer.node}
                  </button>{" "}
                  <span class="quiet">{viewer.stream}</span>
                </th>
                <td>
                  <span class="dot" aria-hidden="true" /> {FLOWS[viewer.state]}
                </td>
                <td class="figure">{viewer.gapMs} ms</td>
                <td class="figure" data-bad={viewer.lost > 0}>
                  {viewer.lost}
                </td>
                <td class="figure" data-bad={viewer.doubled > 0}>
                  {viewer.doubled}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Log() {
  const [copied, setCopied] = useState<"" | "copied" | "not copied">("");
  const steps = script(entries.value);
  const copy = async (): Promise<void> => {
    setCopied((await copyText(steps)) ? "copied" : "not copied");
    window.setTimeout(() => setCopied(""), 1500);
  };
  return (
    <section class="card log">
      <div class="heading">
        <h2>What happened</h2>
        <button
          type="button"
          class="secondary"
          title="What was done, as steps of a lab file"
          disabled={steps === ""}
          onClick={() => void copy()}
        >
          {copied || "Copy as steps"}
        </button>
      </div>
      <div class="entries" role="log" aria-label="What happened, the newest first" tabIndex={0}>
        <ol>
          {[...entries.value].reverse().map((entry) => (
            <LogEntry key={entry.id} entry={entry} />
          ))}
        </ol>
      </div>
    </section>
  );
}

function LogEntry({ entry }: { entry: Entry }) {
  return (
    <li data-kind={entry.kind}>
      <time>{clock(entry.atS)}</time>
      {entry.line ? <code>{entry.line}</code> : <span>{entry.text}</span>}
    </li>
  );
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") selected.value = undefined;
});
const root = document.getElementById("lab");
if (!root) throw new Error('lab.html has no element with the id "lab"');
render(<Lab />, root);
start();
