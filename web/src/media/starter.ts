/** Starts a `<video>` as far as the browser allows: with sound, else without, else after a tap. */

export class Starter {
  /** The browser allows sound only after a tap. */
  soundBlocked = false;
  /** The browser or the system has paused playback, or allows it only after a tap. */
  paused = false;
  readonly #video: HTMLVideoElement;
  readonly #changed: () => void;

  constructor(video: HTMLVideoElement, changed: () => void) {
    this.#video = video;
    this.#changed = changed;
  }

  async play(): Promise<void> {
    const video = this.#video;
    if (await this.#tryPlay()) return;
    if (!video.muted) {
      video.muted = true;
      this.soundBlocked = true;
      if (await this.#tryPlay()) return;
    }
    this.paused = true;
    this.#changed();
  }

  setMuted(muted: boolean): void {
    this.#video.muted = muted;
    this.soundBlocked = false;
    this.#changed();
  }

  async #tryPlay(): Promise<boolean> {
    try {
      await this.#video.play();
      return true;
    } catch (error) {
      // Any other refusal (AbortError) means that a rebuild or a close came in between: there is nothing to ask for.
      return !(error instanceof DOMException && error.name === "NotAllowedError");
    }
  }
}
