// Other people's players of the same streams, each on a page of its own with nothing else on it.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";

/** Library, global and start of each; as near to live as it goes without stalls. */
const OTHERS = {
  "hls.js": {
    library: "hls.js/dist/hls.min.js",
    address: (name) => `hls/${name}/index.m3u8`,
    play: (video, url) => {
      const hls = new window.Hls({ maxLiveSyncPlaybackRate: 1.1 });
      hls.loadSource(url);
      hls.attachMedia(video);
    },
  },
  "mpegts.js": {
    library: "mpegts.js/dist/mpegts.js",
    address: (name) => `live/${name}.ts`,
    play: (video, url) => {
      const nearest = { enableStashBuffer: false, lazyLoad: false, liveSync: true };
      const latency = { liveSyncTargetLatency: 0.15, liveSyncMaxLatency: 0.3, liveSyncPlaybackRate: 1.1 };
      const player = window.mpegts.createPlayer({ type: "mpegts", isLive: true, url }, { ...nearest, ...latency });
      player.attachMediaElement(video);
      player.load();
    },
  },
};

/** Serves their pages; `url` is that of the one that plays a stream of a node. */
export async function serveOthers() {
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    const other = OTHERS[pathname.slice(1)];
    if (!other) return void response.writeHead(404).end();
    const script = searchParams.has("library");
    response.setHeader("content-type", script ? "text/javascript" : "text/html");
    response.end(script ? await readFile(new URL(`../node_modules/${other.library}`, import.meta.url)) : page(pathname, other));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = (player, node, name) => {
    const wanted = new URLSearchParams({ stream: name, url: new URL(OTHERS[player].address(name), node).href });
    return `http://127.0.0.1:${server.address().port}/${player}?${wanted}`;
  };
  return { url, close: () => server.close() };
}

/** `data-stream` is how barcode.mjs finds the picture. */
const page = (path, { play }) => `<!doctype html><title>${path}</title><body style="margin:0;background:#111">
<video muted autoplay playsinline style="width:100vw;height:100vh"></video><script src="${path}?library"></script><script>
  const video = document.querySelector("video");
  const asked = new URLSearchParams(location.search);
  video.dataset.stream = asked.get("stream");
  window.stalls = 0;
  video.addEventListener("waiting", () => (window.stalls += 1));
  (${play})(video, asked.get("url"));
</script>`;
