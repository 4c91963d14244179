/** Where the operator's token is asked for, and how the page shows that it has one. */

import { useState } from "preact/hooks";
import { asking, askFor, lock, token, unlock } from "./operator";
import { Dialog, Icon, Outcome, useDoing } from "./parts";

export function OperatorButton() {
  const unlocked = token.value !== undefined;
  return (
    <button
      type="button"
      class="operator"
      aria-pressed={unlocked}
      aria-label="Operator"
      title={unlocked ? "This tab has the operator's token. Forget it" : "Give the operator's token"}
      onClick={() => (unlocked ? lock() : void askFor("Changes need the operator's token."))}
    >
      <Icon name="key" />
      <span>Operator</span>
    </button>
  );
}

export function UnlockDialog() {
  const request = asking.value;
  return request && <Unlock why={request.why} done={request.done} />;
}

function Unlock({ why, done }: { why: string; done(given: boolean): void }) {
  const [entered, setEntered] = useState("");
  const doing = useDoing();
  return (
    <Dialog title="Operator" onClose={() => done(false)}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          const work = async (): Promise<string> => {
            await unlock(entered.trim());
            return "";
          };
          void doing.run(work).then((given) => given && done(true));
        }}
      >
        <p class="quiet">
          {why} The node was started with it, or made it at its first start and keeps it in the file{" "}
          <code>operator-token</code> of its directory. This tab remembers it until it is closed.
        </p>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            autocomplete="off"
            autofocus
            required
            value={entered}
            onInput={(event) => setEntered(event.currentTarget.value)}
          />
        </label>
        <Outcome doing={doing} />
        <div class="choices">
          <button type="submit" class="primary" disabled={doing.busy}>
            Unlock
          </button>
        </div>
      </form>
    </Dialog>
  );
}
