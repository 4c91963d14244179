#!/bin/sh
# Makes thirty.mp4, a second video beside the test card: thirty pictures a second instead of 25, so that a frame of one in the
# other is seen; 8 s, groups of 1 s.
set -eu
cd "$(dirname "$0")"
ffmpeg -loglevel error -y -f lavfi -i "testsrc=size=320x180:rate=30" -f lavfi -i "sine=frequency=660:sample_rate=48000" -t 8 \
    -c:v libx264 -preset veryslow -crf 34 -g 30 -keyint_min 30 -sc_threshold 0 -bf 0 -pix_fmt yuv420p \
    -c:a aac -b:a 32k -ac 1 -movflags +faststart -fflags +bitexact -flags:v +bitexact -flags:a +bitexact thirty.mp4
