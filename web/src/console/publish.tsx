/** Publishing a file of the node's media folder, and putting one there. */

import { useEffect, useState } from "preact/hooks";
import { bytes } from "../format";
import { Cancelled, operate, upload } from "./operator";
import { Dialog, Outcome, useDoing } from "./parts";
import { type Media, parseMedia } from "./tables";

export function PublishDialog({ onClose }: { onClose(): void }) {
  const [media, setMedia] = useState<Media>();
  const [file, setFile] = useState("");
  const [stream, setStream] = useState("");
  const [sent, setSent] = useState<number>();
  const [looking, publishing, putting] = [useDoing(), useDoing(), useDoing()];
  const look = async (): Promise<string> => {
    try {
      setMedia(parseMedia(await operate("GET", "api/v1/media")));
    } catch (error) {
      // Without a token there is nothing to choose from.
      if (error instanceof Cancelled) onClose();
      throw error;
    }
    return "";
  };
  const pick = (name: string, usual: string | undefined): void => {
    setFile(name);
    setStream(usual ?? "");
  };
  useEffect(() => void looking.run(look), []);

  const publish = async (): Promise<string> => {
    await operate("POST", "api/v1/publish", { file, ...(stream.trim() ? { stream: stream.trim() } : {}) });
    return `${stream.trim() || file} is published.`;
  };
  const put = async (chosen: File): Promise<string> => {
    if (media && chosen.size > media.uploadBytesMax) {
      throw new Error(`${chosen.name} has ${bytes(chosen.size)}; the node takes ${bytes(media.uploadBytesMax)} at most.`);
    }
    try {
      await upload(chosen, setSent);
    } finally {
      setSent(undefined);
    }
    const now = parseMedia(await operate("GET", "api/v1/media"));
    setMedia(now);
    pick(chosen.name, now.files.find((known) => known.file === chosen.name)?.stream);
    return `${chosen.name} is on the node.`;
  };
  return (
    <Dialog title="Publish a file" onClose={onClose}>
      {media && media.folder === undefined && (
        <p>
          This node has no media folder, so it publishes nothing on demand. Start it with <code>--media DIR</code>.
        </p>
      )}
      {media?.folder !== undefined && (
        <form
          class="form"
          onSubmit={(event) => {
            event.preventDefault();
            void publishing.run(publish);
          }}
        >
          <label class="field">
            <span>File in {media.folder}</span>
            <select
              required
              value={file}
              onChange={({ currentTarget: { value } }) =>
                pick(value, media.files.find((known) => known.file === value)?.stream)
              }
            >
              <option value="">{media.files.length === 0 ? "there are none yet" : "choose one"}</option>
              {media.files.map((known) => (
                <option key={known.file} value={known.file}>
                  {known.file} ({bytes(known.bytes)})
                </option>
              ))}
            </select>
          </label>
          <label class="field">
            <span>Name of the stream</span>
            <input
              required
              maxLength={64}
              value={stream}
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              onInput={(event) => setStream(event.currentTarget.value)}
            />
          </label>
          <label class="field">
            <span>Or upload one, up to {bytes(media.uploadBytesMax)}</span>
            <input
              type="file"
              accept=".mp4,.m4v,.mov,.ts,.m2ts"
              disabled={putting.busy}
              onChange={(event) => {
                const chosen = event.currentTarget.files?.[0];
                if (chosen) void putting.run(() => put(chosen));
              }}
            />
          </label>
          {sent !== undefined && <progress aria-label="Upload" value={sent} max={1} />}
          <Outcome doing={putting} />
          <Outcome doing={publishing} />
          <div class="choices">
            <span class="quiet">It is looped in real time until it is stopped.</span>
            <button type="submit" class="primary" disabled={publishing.busy || putting.busy}>
              Publish
            </button>
          </div>
        </form>
      )}
      <Outcome doing={looking} />
    </Dialog>
  );
}
