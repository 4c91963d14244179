/** The streams that the mesh knows: what this node does with each, and what can be done about it. */

import { useState } from "preact/hooks";
import { type StreamInfo, tsUrl } from "../api";
import { bitrate, millis, plural, stateWords, trackLine } from "../format";
import { PLAYERS_MAX } from "../hash";
import { copyText } from "../ui/dom";
import type { Watchers } from "./audience";
import { operate } from "./operator";
import { CardSection, Confirm, Icon, IconButton } from "./parts";
import { close, full, play, playing } from "./players";
import { PublishDialog } from "./publish";
import { choose, listing, shown, streams, watchers } from "./store";

/** A stream of which nothing came for longer is called silent. */
const SILENT_MS = 2000;
const TOO_MANY = `${PLAYERS_MAX} streams play, as many as this page takes. Close one first.`;

export function Streams() {
  const [publishing, setPublishing] = useState(false);
  const [stopping, setStopping] = useState<string>();
  const known = streams.value;
  const publish = (
    <button type="button" class="secondary" onClick={() => setPublishing(true)}>
      <Icon name="plus" /> Publish
    </button>
  );
  return (
    <CardSection name="streams-card" title="Streams" aside={publish}>
      {listing.value && known.length === 0 && (
        <div class="empty">
          <p>No streams yet.</p>
          <p>
            Publish a file here, or one from elsewhere with <code>levada publish FILE</code>
          </p>
        </div>
      )}
      <ul class="streams">
        {known.map((stream) => (
          <Row key={stream.name} stream={stream} onStop={() => setStopping(stream.name)} />
        ))}
      </ul>
      {publishing && <PublishDialog onClose={() => setPublishing(false)} />}
      {stopping && (
        <Confirm
          title={`Stop ${stopping}`}
          verb={`Stop ${stopping}`}
          onClose={() => setStopping(undefined)}
          work={async () => {
            await operate("DELETE", `api/v1/streams/${encodeURIComponent(stopping)}`);
            return `${stopping} is published here no more.`;
          }}
        >
          This node publishes <strong>{stopping}</strong> no more. Whoever watches it loses it, unless another node
          publishes it too.
        </Confirm>
      )}
    </CardSection>
  );
}

function Row({ stream, onStop }: { stream: StreamInfo; onStop(): void }) {
  const { name } = stream;
  const { word, sentence } = stateWords(stream);
  const [open, chosen] = [playing.value.includes(name), shown.value?.name === name];
  const [refused, setRefused] = useState(false);
  const tooMany = full.value && !open ? TOO_MANY : undefined;
  const toggle = (): void => {
    setRefused(tooMany !== undefined);
    if (open) close(name);
    else play(name);
  };
  return (
    <li class="row" data-name={name} data-state={stream.waiting ? "waiting" : stream.state} data-chosen={chosen}>
      <button
        type="button"
        class="play-button"
        aria-pressed={open}
        aria-disabled={tooMany !== undefined}
        aria-label={`${open ? "Close" : "Play"} ${name}`}
        title={tooMany}
        onClick={toggle}
      >
        <Icon name={open ? "close" : "play"} />
      </button>
      <div class="facts">
        <div class="headline">
          <button
            type="button"
            class="name-button"
            aria-pressed={chosen}
            title={`Show the tree and the figures of ${name}`}
            onClick={() => choose(name)}
          >
            {name}
          </button>
          <span class="state" title={sentence}>
            {stream.waiting ? "waiting" : word}
          </span>
        </div>
        <p class="details problem" role="status">
          {refused && tooMany}
        </p>
        <p class="details">{flowLine(stream)}</p>
        <p class="details">{viewerLine(stream, watchers.value.get(name) ?? [])}</p>
        <p class="details">{trackLine(stream.tracks)}</p>
        <p class="details path">{pathLine(stream)}</p>
      </div>
      <div class="row-tools">
        {stream.state === "published" && <IconButton icon="stop" label={`Stop ${name}`} onClick={onStop} />}
        <CopyLink name={name} />
      </div>
    </li>
  );
}

function CopyLink({ name }: { name: string }) {
  const [said, say] = useState("");
  const copy = async (): Promise<void> => {
    say((await copyText(tsUrl(name))) ? "Copied" : "Not copied");
    window.setTimeout(() => say(""), 1500);
  };
  return (
    <span class="copy">
      <IconButton icon="copy" label={`Copy the address of ${name} for VLC, mpv or ffplay`} onClick={() => void copy()} />
      <span class="copied" role="status">
        {said}
      </span>
    </span>
  );
}

function flowLine({ bitrateBps, groupMs, latencyMs, newestAgeMs, state }: StreamInfo): string {
  return [
    ...(bitrateBps === undefined ? [] : [bitrate(bitrateBps)]),
    ...(groupMs === undefined ? [] : [`group ${millis(groupMs)}`]),
    ...(latencyMs === undefined || state === "published" ? [] : [`latency ${millis(latencyMs)}`]),
    ...(newestAgeMs !== undefined && newestAgeMs >= SILENT_MS ? [`silent for ${Math.round(newestAgeMs / 1000)} s`] : []),
  ]
    .map((part) => part.replaceAll(" ", "\u00a0"))
    .join(" · ");
}

/** Nodes that are named in the row; the map shows all. */
const NAMED_MAX = 4;

/** Viewers of this node, and of the others where they are known. */
function viewerLine({ viewers }: StreamInfo, others: Watchers): string {
  const named = others.slice(0, NAMED_MAX).map(([node, count]) => `${count} at ${node}`.replaceAll(" ", "\u00a0"));
  const more = others.length - named.length;
  return [`${plural(viewers, "viewer")} here`, ...named, ...(more > 0 ? [`${plural(more, "node")} more`] : [])].join(", ");
}

function pathLine({ path, origins, waiting }: StreamInfo): string {
  if (waiting) return "wanted here, and no path leads to it";
  if (path.length > 1) return path.join(" → ");
  return origins.length > 0 ? `from ${origins.join(", ")}` : "nobody publishes it now";
}
