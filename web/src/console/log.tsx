/** What happened, the newest first. */

import { clock } from "../format";
import { CardSection } from "./parts";
import { entries } from "./store";

/** What viewers may notice, what went wrong, and what mended it; the rest is news. */
const TONES: Readonly<Record<string, "bad" | "warn" | "good">> = {
  link_down: "bad",
  node_down: "bad",
  waiting: "bad",
  record_refused: "bad",
  missed: "warn",
  suspected: "warn",
  refused: "warn",
  adopting: "warn",
  stream_gone: "warn",
  neighbour_removed: "warn",
  stopped: "warn",
  link_up: "good",
  node_up: "good",
  cleared: "good",
  stream_new: "good",
  published: "good",
  neighbour_added: "good",
};

export function Log() {
  const known = entries.value;
  return (
    <CardSection name="log" title="Events">
      {known.length === 0 && <p class="quiet">Nothing has happened yet.</p>}
      <div class="entries" role="log" aria-label="Events, the newest first" tabIndex={0}>
        <ol>
          {[...known].reverse().map((entry) => (
            <li key={entry.id} data-kind={entry.kind} data-tone={TONES[entry.kind]}>
              {entry.atMs === undefined ? (
                <span aria-hidden="true">…</span>
              ) : (
                <time dateTime={new Date(entry.atMs).toISOString()}>{clock(entry.atMs)}</time>
              )}
              <span>{entry.text}</span>
            </li>
          ))}
        </ol>
      </div>
    </CardSection>
  );
}
