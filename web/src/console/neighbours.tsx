/** The nodes that this one is linked with, reached or not; links are made and unmade here. */

import { useState } from "preact/hooks";
import { fields, text } from "../fields";
import { bitrate, millis, percent } from "../format";
import { operate } from "./operator";
import { CardSection, Confirm, IconButton, Outcome, useDoing } from "./parts";
import { neighbours, selected } from "./store";
import type { Neighbour } from "./tables";

const KINDS: Readonly<Record<Neighbour["kind"], string>> = {
  listed: "by the topology",
  added: "added by hand",
  adopted: "dialled for repair",
  caller: "dialled this node",
};

/** Less loss than this is not worth a word: 0.1 %. */
const LOSS_TOLD = 0.001;

export function Neighbours() {
  const [leaving, setLeaving] = useState<string>();
  const known = neighbours.value;
  return (
    <CardSection name="neighbours" title="Neighbours">
      {known.length === 0 && <p class="quiet">This node has none.</p>}
      <ul class="list">
        {known.map((neighbour) => (
          <Row key={neighbour.name} neighbour={neighbour} onLeave={() => setLeaving(neighbour.name)} />
        ))}
      </ul>
      <Connect />
      {leaving && (
        <Confirm
          title={`Disconnect ${leaving}`}
          verb={`Disconnect ${leaving}`}
          onClose={() => setLeaving(undefined)}
          work={async () => {
            await operate("DELETE", `api/v1/neighbours/${encodeURIComponent(leaving)}`);
            return `${leaving} is no neighbour any more.`;
          }}
        >
          The link to <strong>{leaving}</strong> is closed, and neither end dials the other again until it is added, or
          starts anew.
        </Confirm>
      )}
    </CardSection>
  );
}

function Row({ neighbour, onLeave }: { neighbour: Neighbour; onLeave(): void }) {
  const { name, up, failure, rttUs, loss, sentBps, receivedBps, kind, addresses } = neighbour;
  const figures = [
    ...(rttUs === undefined ? [] : [millis(rttUs / 1000)]),
    ...(loss === undefined || loss < LOSS_TOLD ? [] : [`${percent(loss)} lost`]),
    ...(sentBps === undefined ? [] : [`↑ ${bitrate(sentBps)}`]),
    ...(receivedBps === undefined ? [] : [`↓ ${bitrate(receivedBps)}`]),
  ];
  return (
    <li data-neighbour={name} data-up={up}>
      <span class="dot" aria-hidden="true" />
      <div class="facts">
        <div class="headline">
          <button
            type="button"
            class="name-button"
            title={addresses.join(", ")}
            onClick={() => {
              selected.value = { node: name };
            }}
          >
            {name}
          </button>
          <span class="quiet">{KINDS[kind]}</span>
        </div>
        {up ? (
          <p class="details">{figures.map((part) => part.replaceAll(" ", "\u00a0")).join(" · ")}</p>
        ) : (
          <p class="details problem">not reached{failure ? `: ${failure}` : ""}</p>
        )}
      </div>
      <IconButton icon="close" label={`Disconnect ${name}`} onClick={onLeave} />
    </li>
  );
}

function Connect() {
  const [address, setAddress] = useState("");
  const doing = useDoing();
  const connect = async (): Promise<string> => {
    const met = fields(await operate("POST", "api/v1/neighbours", { address: address.trim() }));
    return `${text(met?.name) ?? "The node"} is a neighbour now.`;
  };
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        void doing.run(connect).then((done) => done && setAddress(""));
      }}
    >
      <div class="entry">
        <input
          aria-label="Address of a node to connect to"
          placeholder="HOST:PORT"
          required
          maxLength={256}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          value={address}
          onInput={(event) => setAddress(event.currentTarget.value)}
        />
        <button type="submit" class="secondary" disabled={doing.busy}>
          {doing.busy ? "Connecting …" : "Connect"}
        </button>
      </div>
      <Outcome doing={doing} />
    </form>
  );
}
