/** Pieces that several parts of the console are made of. */

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { ICONS, type IconName } from "../ui/dom";
import { Cancelled } from "./operator";

export function Icon({ name }: { name: IconName }) {
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true">
      <path d={ICONS[name]} />
    </svg>
  );
}

export function IconButton(props: { icon: IconName; label: string; onClick(): void; disabled?: boolean }) {
  const { icon, label, onClick, disabled = false } = props;
  return (
    <button type="button" class="icon-button" aria-label={label} title={label} onClick={onClick} disabled={disabled}>
      <Icon name={icon} />
    </button>
  );
}

export function CardSection(props: {
  name: string;
  title: string;
  aside?: ComponentChildren;
  children: ComponentChildren;
}) {
  const { name, title, aside, children } = props;
  return (
    <section class={`card ${name}`} aria-labelledby={`${name}-title`}>
      <div class="heading">
        <h2 id={`${name}-title`}>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** A window in front of the page; the browser keeps the focus in it. Escape closes it. */
export function Dialog(props: { title: string; onClose(): void; children: ComponentChildren }) {
  const { title, onClose, children } = props;
  const frame = useRef<HTMLDialogElement>(null);
  // The one for the token stands over the one that needs it.
  const id = useId();
  useEffect(() => {
    const opener = document.activeElement;
    frame.current?.showModal();
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog ref={frame} class="card dialog" aria-labelledby={id} onClose={onClose}>
      <div class="heading">
        <h2 id={id}>{title}</h2>
        <IconButton icon="close" label="Close" onClick={onClose} />
      </div>
      {children}
    </dialog>
  );
}

export interface Doing {
  readonly busy: boolean;
  readonly problem: string | undefined;
  /** What went well. */
  readonly done: string | undefined;
  /** Runs work that ends with words for people; the first one only, until it has ended. */
  run(work: () => Promise<string>): Promise<boolean>;
}

/** What went well is old news after this. */
const DONE_MS = 8000;

/** The state of something that is done on request: running, what went wrong, what came of it. */
export function useDoing(): Doing {
  const [busy, setBusy] = useState(false);
  const [said, say] = useState<{ problem?: string; done?: string }>({});
  const run = async (work: () => Promise<string>): Promise<boolean> => {
    if (busy) return false;
    setBusy(true);
    say({});
    try {
      say({ done: await work() });
      window.setTimeout(() => say((now) => (now.done === undefined ? now : {})), DONE_MS);
      return true;
    } catch (error) {
      if (!(error instanceof Cancelled)) say({ problem: error instanceof Error ? error.message : String(error) });
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, problem: said.problem, done: said.done, run };
}

/** What came of it, read aloud. */
export function Outcome({ doing }: { doing: Doing }) {
  return (
    <>
      <p class="done" role="status">
        {doing.done}
      </p>
      <p class="problem" role="alert">
        {doing.problem}
      </p>
    </>
  );
}

/** Asks once more before something that others notice. */
export function Confirm(props: {
  title: string;
  verb: string;
  children: ComponentChildren;
  onClose(): void;
  work(): Promise<string>;
}) {
  const { title, verb, children, onClose, work } = props;
  const doing = useDoing();
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{children}</p>
      <Outcome doing={doing} />
      <div class="choices">
        <button type="button" class="secondary" onClick={onClose}>
          Keep it
        </button>
        <button
          type="button"
          class="primary"
          data-tone="bad"
          disabled={doing.busy}
          onClick={() => void doing.run(work).then((done) => done && onClose())}
        >
          {verb}
        </button>
      </div>
    </Dialog>
  );
}
