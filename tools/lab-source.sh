#!/bin/sh
# Makes what examples/lab/figures/ publish: 20 s of moving noise at 6 Mbit/s, in groups of 2 s, with sound.
set -eu

to=${1:?usage: tools/lab-source.sh FILE}
[ ! -s "$to" ] || exit 0
mkdir -p "$(dirname "$to")"
ffmpeg -loglevel error -y \
    -f lavfi -i "testsrc2=size=1280x720:rate=25,noise=alls=12:allf=t" -f lavfi -i "sine=frequency=440:sample_rate=48000" -t 20 \
    -c:v libx264 -preset ultrafast -b:v 5900k -minrate 5900k -maxrate 5900k -bufsize 3000k -x264-params nal-hrd=cbr:force-cfr=1 \
    -g 50 -keyint_min 50 -sc_threshold 0 -bf 0 -pix_fmt yuv420p -c:a aac -b:a 96k -movflags +faststart "$to.part.mp4"
mv "$to.part.mp4" "$to"
