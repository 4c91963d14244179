/** The list of the streams that the mesh knows, one row each, kept up to date in place. */

import { type StreamInfo, tsUrl } from "../api";
import { bitrate, plural, stateWords, trackLine } from "../format";
import { copyButton, h, setAttribute, setText } from "./dom";

export class StreamList {
  readonly element = h("ul", { class: "streams" });
  readonly #onToggle: (name: string) => void;
  readonly #rows = new Map<string, Row>();

  constructor(onToggle: (name: string) => void) {
    this.#onToggle = onToggle;
  }

  focus(name: string): void {
    this.#rows.get(name)?.focus();
  }

  update(streams: readonly StreamInfo[], playing: ReadonlySet<string>): void {
    const sorted = [...streams].sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
    const names = new Set(sorted.map((stream) => stream.name));
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      row.element.remove();
      this.#rows.delete(name);
    }
    sorted.forEach((stream, index) => {
      let row = this.#rows.get(stream.name);
      if (!row) {
        row = new Row(stream.name, this.#onToggle);
        this.#rows.set(stream.name, row);
      }
      row.update(stream, playing.has(stream.name));
      // Rows move only when the order changes, so that focus stays where it is.
      if (this.element.children[index] !== row.element) {
        this.element.insertBefore(row.element, this.element.children[index] ?? null);
      }
    });
  }
}

class Row {
  readonly element: HTMLLIElement;
  readonly #toggle: HTMLButtonElement;
  readonly #name: string;
  readonly #state = h("span", { class: "state" });
  readonly #media = h("span", { class: "media" });
  readonly #flow = h("span", { class: "flow" });
  readonly #path = h("span", { class: "path" });

  constructor(name: string, onToggle: (name: string) => void) {
    this.#name = name;
    this.#toggle = h("button", { type: "button", class: "play-button" });
    this.#toggle.addEventListener("click", () => onToggle(name));
    this.element = h(
      "li",
      { class: "row", "data-name": name },
      this.#toggle,
      h(
        "div",
        { class: "facts" },
        h("div", { class: "headline" }, h("h3", {}, name), this.#state),
        h("div", { class: "details" }, this.#media, this.#flow, this.#path),
      ),
      h(
        "div",
        { class: "links" },
        h("a", { href: tsUrl(name), title: "MPEG-TS over HTTP, for VLC, mpv or ffplay" }, "TS link"),
        copyButton(`Copy the address of ${name} for VLC, mpv or ffplay`, () => tsUrl(name)),
      ),
    );
  }

  focus(): void {
    this.#toggle.focus();
  }

  update(stream: StreamInfo, playing: boolean): void {
    const { word, sentence } = stateWords(stream);
    setAttribute(this.element, "data-state", stream.state);
    setAttribute(this.#toggle, "aria-pressed", String(playing));
    setAttribute(this.#toggle, "aria-label", `${playing ? "Close" : "Play"} ${this.#name}`);
    setText(this.#toggle, playing ? "Close" : "Play");
    setText(this.#state, word);
    setAttribute(this.#state, "title", sentence);
    setText(this.#media, trackLine(stream.tracks));
    setText(this.#flow, flowLine(stream));
    setText(this.#path, pathLine(stream));
  }
}

function flowLine(stream: StreamInfo): string {
  const parts = [plural(stream.viewers, "viewer")];
  if (stream.bitrateBps !== undefined) parts.push(bitrate(stream.bitrateBps));
  if (stream.newestAgeMs !== undefined && stream.newestAgeMs >= 2000) {
    parts.push(`silent for ${Math.round(stream.newestAgeMs / 1000)} s`);
  }
  return parts.join(" · ");
}

function pathLine(stream: StreamInfo): string {
  if (stream.path.length > 1) return stream.path.join(" → ");
  if (stream.origins.length > 0) return `from ${stream.origins.join(", ")}`;
  return "";
}
