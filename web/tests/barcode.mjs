// Frame numbers as bars: burnt into a clip by ffmpeg, read back from a page.

/** Enough for ten minutes at 25 frames a second. */
export const BITS = 14;
/** Pixels a bar is wide and a row is tall; wide enough to survive any encoder. */
export const BAR = 20;
/** Numbers begin anew here. */
export const STAMPS = 2 ** BITS;

/** A filter that writes the number of each frame into its upper left corner: a row of bits, and their opposites below. */
export function barcodeFilter() {
  const boxes = [];
  for (let bit = 0; bit < BITS; bit++) {
    const isSet = `mod(floor(n/${2 ** bit}),2)`;
    for (const [row, set] of [[0, isSet], [1, `1-${isSet}`]]) {
      const place = `x=${bit * BAR}:y=${row * BAR}:w=${BAR}:h=${BAR}:t=fill`;
      boxes.push(`drawbox=${place}:color=black`, `drawbox=${place}:color=white:enable='${set}'`);
    }
  }
  return boxes.join(",");
}

/**
 * Notes every frame that a stream's player shows: its number (null where the bars cannot be read), when, and of a `<video>`
 * its place on the element's timeline and how many frames were shown before.
 */
export function noteFrames(page, name) {
  return page.evaluate(
    ({ wanted, bits, bar }) => {
      const find = (kind) => document.querySelector(`${kind}[data-stream="${CSS.escape(wanted)}"]`);
      // A canvas covers the video where pictures are drawn as they come.
      const drawn = find("canvas");
      const video = drawn ?? find("video");
      const canvas = document.createElement("canvas");
      canvas.width = bits * bar;
      canvas.height = 2 * bar;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      const noted = [];
      window.noted = { ...window.noted, [wanted]: noted };
      const read = () => {
        context.drawImage(video, 0, 0, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        const light = (bit, row) => data[4 * ((row + 0.5) * bar * canvas.width + (bit + 0.5) * bar)] > 128;
        let number = 0;
        for (let bit = 0; bit < bits; bit++) {
          if (light(bit, 0) === light(bit, 1)) return null;
          if (light(bit, 0)) number += 2 ** bit;
        }
        return number;
      };
      const look = (now) => {
        const number = read();
        if (number !== noted.at(-1)?.number) noted.push({ at: now, wall: Date.now(), number });
        if (drawn.isConnected) requestAnimationFrame(look);
      };
      const note = (now, { mediaTime, presentedFrames }) => {
        noted.push({ at: now, wall: Date.now(), number: read(), mediaTime, presentedFrames });
        video.requestVideoFrameCallback(note);
      };
      if (drawn) requestAnimationFrame(look);
      else video.requestVideoFrameCallback(note);
      window.readAt = { ...window.readAt, [wanted]: readAt };
      async function readAt(time, lasts) {
        const shown = new Promise((resolve) => {
          // The frame of an earlier seek may be told of only now.
          const see = (_, { mediaTime }) =>
            time - lasts < mediaTime && mediaTime <= time ? resolve() : video.requestVideoFrameCallback(see);
          video.requestVideoFrameCallback(see);
          // Where it is missing, another one stands for it.
          setTimeout(resolve, 2_000);
        });
        const sought = new Promise((resolve) => video.addEventListener("seeked", resolve, { once: true }));
        video.currentTime = time;
        await Promise.all([shown, sought]);
        return read();
      }
    },
    { wanted: name, bits: BITS, bar: BAR },
  );
}

/** What was noted so far. */
export const notedFrames = (page, name) => page.evaluate((wanted) => window.noted[wanted], name);

/**
 * Pauses and looks at the frames at these places of the timeline, in seconds, which must still be in the buffer: what a
 * machine that is too busy to show every frame in time has all the same. A frame `lasts` so long.
 */
export function framesAt(page, name, times, lasts) {
  return page.evaluate(
    async ({ wanted, places, each }) => {
      document.querySelector(`video[data-stream="${CSS.escape(wanted)}"]`).pause();
      const numbers = [];
      for (const place of places) numbers.push(await window.readAt[wanted](place, each));
      return numbers;
    },
    { wanted: name, places: times, each: lasts },
  );
}
