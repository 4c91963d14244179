/**
 * The console that every node serves: its streams and their players, the mesh around it, its neighbours, the PoPs, figures
 * over time and what happened.
 */

import { render } from "preact";
import { Chosen } from "./console/chosen";
import { Log } from "./console/log";
import { Neighbours } from "./console/neighbours";
import { askFor } from "./console/operator";
import { Players, startPlayers } from "./console/players";
import { Plots } from "./console/plots";
import { Pops } from "./console/pops";
import {
  busy,
  choose,
  connection,
  flows,
  linksOnMap,
  listing,
  mesh,
  nodesOnMap,
  selected,
  shown,
  start,
  streams,
} from "./console/store";
import { Streams } from "./console/streams";
import { OperatorButton, UnlockDialog } from "./console/unlock";
import { plural } from "./format";
import { Legend, MeshMap, type Sign } from "./map/map";

const SIGNS: readonly Sign[] = [
  "origin",
  "relay",
  "PoP",
  "leaf",
  "not reached",
  "feeds",
  "stands by",
  "made for repair",
  "loses packets",
  "down",
];

function Console() {
  const all = connection.value !== "operators" && connection.value !== "busy";
  return (
    <>
      <Top />
      <Connection />
      <main>
        <div class="side">
          <Streams />
          {all && <Pops />}
          {all && <Neighbours />}
          {all && <Log />}
        </div>
        <div class="middle">
          <Players />
          {all ? <Mesh /> : <Closed />}
          {all && <Plots />}
        </div>
      </main>
      <UnlockDialog />
    </>
  );
}

function Top() {
  const [known, around] = [listing.value, mesh.value];
  const viewers = streams.value.reduce((sum, stream) => sum + stream.viewers, 0);
  const summary = [
    plural(streams.value.length, "stream"),
    `${plural(viewers, "viewer")} here`,
    ...(around ? [plural(around.nodes.length, "node")] : []),
  ];
  return (
    <header class="top">
      <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="8" />
        <path d="M5 12c4-4 7-4 11 0s7 4 11 0M5 20c4-4 7-4 11 0s7 4 11 0" />
      </svg>
      <h1>Levada</h1>
      <span class="node">{known?.node}</span>
      <span class="summary">{known && summary.join(" · ")}</span>
      <OperatorButton />
    </header>
  );
}

function Connection() {
  const now = connection.value;
  if (typeof now !== "object") return null;
  return (
    <p class="banner" role="alert">
      The node does not answer ({now.reason}). What is shown may be old. Trying again.
    </p>
  );
}

function Mesh() {
  return (
    <section class="card mesh" aria-labelledby="mesh-title">
      <div class="heading">
        <h2 id="mesh-title">The mesh</h2>
        {streams.value.length > 0 && (
          <label class="tree">
            <span>tree of</span>
            <select value={shown.value?.name} onChange={(event) => choose(event.currentTarget.value)}>
              {streams.value.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
      </div>
      <MeshMap
        nodes={nodesOnMap.value}
        links={linksOnMap.value}
        flows={flows.value}
        selected={selected.value}
        onSelect={(target) => {
          selected.value = target;
        }}
      />
      <Chosen />
      <Legend signs={SIGNS} />
    </section>
  );
}

/** In place of the mesh. */
function Closed() {
  if (connection.value === "busy") {
    return (
      <section class="card closed">
        <p>The node cannot show its mesh now: {busy.value}. Streams play as long as it gives them.</p>
      </section>
    );
  }
  return (
    <section class="card closed">
      <p>This node shows its mesh to operators only.</p>
      <button type="button" class="primary" onClick={() => void askFor("Looking at this node needs the operator's token.")}>
        Give the token
      </button>
    </section>
  );
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) selected.value = undefined;
});
listing.subscribe((known) => {
  document.title = known?.node ? `${known.node} · Levada` : "Levada";
});
const root = document.getElementById("console");
if (!root) throw new Error('index.html has no element with the id "console"');
startPlayers();
render(<Console />, root);
start();
