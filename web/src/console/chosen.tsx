/** What is known of the node or the link that was chosen on the map. */

import type { ComponentChildren } from "preact";
import { bitrate, millis, percent, plural } from "../format";
import { isAlive, type Pair } from "./mesh";
import { IconButton } from "./parts";
import { flows, mesh, pairOf, pops, selected } from "./store";
import type { Mesh, MeshLink, MeshNode } from "./tables";

export function Chosen() {
  const [target, known] = [selected.value, mesh.value];
  if (!target || !known) return null;
  if ("node" in target) {
    const node = known.nodes.find((one) => one.name === target.node);
    return node ? <NodeFacts node={node} known={known} /> : null;
  }
  const pair = pairOf(target);
  return pair ? <LinkFacts pair={pair} /> : null;
}

function Facts({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="chosen" aria-label={title}>
      <div class="heading">
        <h3>{title}</h3>
        <IconButton
          icon="close"
          label="Close"
          onClick={() => {
            selected.value = undefined;
          }}
        />
      </div>
      <dl>{children}</dl>
    </section>
  );
}

function Fact({ word, children }: { word: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{word}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function NodeFacts({ node, known }: { node: MeshNode; known: Mesh }) {
  const { name } = node;
  const pop = pops.value.find((one) => one.name === name);
  const fed = flows.value.find((flow) => flow.to === name && !flow.backup)?.from;
  const backup = flows.value.find((flow) => flow.to === name && flow.backup)?.from;
  const feeds = flows.value.filter((flow) => flow.from === name && !flow.backup).map((flow) => flow.to);
  const links = known.links.filter((link) => link.from === name).length;
  return (
    <Facts title={name}>
      {!isAlive(node, known) && <Fact word="state">not reached; no link leads to it</Fact>}
      {node.roles.length > 0 && <Fact word="can be">{node.roles.map(roleWord).join(", ")}</Fact>}
      {fed && <Fact word="fed by">{fed}</Fact>}
      {backup && <Fact word="backup">{backup}</Fact>}
      {feeds.length > 0 && <Fact word="feeds">{feeds.join(", ")}</Fact>}
      {pop?.viewers !== undefined && <Fact word="viewers">{`${pop.viewers} of ${pop.viewersMax} at most`}</Fact>}
      {pop && <Fact word="load">{percent(pop.load)}</Fact>}
      <Fact word="has">{plural(links, "link")}</Fact>
      {node.addresses.length > 0 && <Fact word="links at">{node.addresses.join(", ")}</Fact>}
      {node.http && (
        <Fact word="page">{name === known.node ? "this one" : <a href={node.http}>{node.http}</a>}</Fact>
      )}
    </Facts>
  );
}

const roleWord = (role: string): string => (role === "pop" ? "PoP" : role);

function LinkFacts({ pair }: { pair: Pair }) {
  const { a, b, there, back, goneMs } = pair;
  return (
    <Facts title={`${a} – ${b}`}>
      {goneMs !== undefined && <Fact word="state">down</Fact>}
      {there && <Fact word={`${a} → ${b}`}>{directionLine(there)}</Fact>}
      {back && <Fact word={`${b} → ${a}`}>{directionLine(back)}</Fact>}
    </Facts>
  );
}

function directionLine({ rttUs, costUs, loss, bps }: MeshLink): string {
  return [
    `${millis(rttUs / 1000)} round trip`,
    `costs ${millis(costUs / 1000)}`,
    ...(loss === undefined ? [] : [`${percent(loss)} lost`]),
    ...(bps === undefined ? [] : [bitrate(bps)]),
  ].join(" · ");
}
